#!/bin/sh
# Installs the runtimes that the tests start beside the Node that runs them: Bun, Deno and other
# versions of Node. They come from npm and go to a cache that all clones share. Safe to run at any
# time: when all of them are there it only looks, and needs no network.
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/portico
runtimes=$cache/runtimes

case $(uname -m) in
  x86_64) cpu=x64 ;;
  aarch64 | arm64) cpu=arm64 ;;
  *) cpu=$(uname -m) ;;
esac
platform=$(uname -s | tr '[:upper:]' '[:lower:]')

# An exact version of each, so that two machines test the same.
wanted=$(cat <<END
{
  "private": true,
  "dependencies": {
    "bun": "1.4.5",
    "deno": "2.9.6",
    "node-22": "npm:node-$platform-$cpu@22.23.5",
    "node-24": "npm:node-$platform-$cpu@24.22.3",
    "node-26": "npm:node-$platform-$cpu@26.12.1"
  }
}
END
)

if [ -f "$runtimes/package.json" ] && [ "$(cat "$runtimes/package.json")" = "$wanted" ]; then exit 0; fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/runtimes-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The install scripts of these packages only move the binaries, which are in packages of their own.
printf '%s\n' "$wanted" >"$work/package.json"
# Not with --prefix: npm would look for its global configuration there, and miss a proxy or a CA.
(cd "$work" && npm install --ignore-scripts --no-audit --no-fund --no-package-lock \
  --loglevel=error >/dev/null)

mkdir "$work/bin"
for name in bun deno node-22 node-24 node-26; do
  case $name in
    bun) found=$(echo "$work"/node_modules/@oven/bun-*/bin/bun) ;;
    deno) found=$(echo "$work"/node_modules/@deno/*/deno) ;;
    *) found=$work/node_modules/$name/bin/node ;;
  esac
  # npm may install a build for another libc as well.
  for binary in $found; do
    if "$binary" --version >/dev/null 2>&1; then
      ln -sf "../${binary#"$work"/}" "$work/bin/$name"
      break
    fi
  done
  if [ ! -e "$work/bin/$name" ]; then
    echo "install-runtimes: npm has no $name for $platform-$cpu" >&2
    exit 1
  fi
done

rm -rf "$runtimes"
mv "$work" "$runtimes"
echo "install-runtimes: installed Bun, Deno and Node 22, 24 and 26 in $runtimes"
