#!/bin/sh
# Installs the web servers and the browser that the tests start, on Debian and Ubuntu, or the
# packages that are named instead. Safe to run at any time: when all of them are there it only
# looks, and needs neither root nor the network.
set -eu

packages=${*:-'
  nginx
  apache2
  apache2-suexec-pristine
  libapache2-mod-fcgid
  libapache2-mod-xsendfile
  lighttpd
  lighttpd-mod-openssl
  haproxy
  caddy
  h2o
  fcgiwrap
  busybox
  mini-httpd
  uwsgi-core
  libfcgi-bin
  spawn-fcgi
  systemd
  php-fpm
  php-cgi
  postgresql
  redis-server
  wrk
  zsh
  fish
  uwsgi-core
  uwsgi-plugin-python3
  python3
  libcgi-pm-perl
  libplack-perl
  chromium
'}

fail() {
  echo "install-servers: $*" >&2
  exit 1
}

command -v apt-get >/dev/null || fail "no apt-get here; install by hand:" $packages

missing=
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
  [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=
elif sudo -n true 2>/dev/null; then
  as_root='sudo -n'
else
  fail "needs root, or sudo without a password, to install:$missing"
fi

work=$(mktemp -d)
policy=/usr/sbin/policy-rc.d
made_policy=
clean_up() {
  [ -z "$made_policy" ] || $as_root rm -f "$policy"
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# Debian starts a service as it installs it; four of them would fight for port 80. 101 is
# "action forbidden by policy" (invoke-rc.d(8)). A policy that is there already is not ours.
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$work/policy"
  made_policy=yes
  $as_root install -m 755 "$work/policy" "$policy"
fi

# The lock's timeout is for machines that update themselves in the background.
apt() {
  $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >"$work/log" 2>&1
}

# Package lists may be absent (a fresh container) or too old: then once more with new ones.
if ! apt install --no-install-recommends $missing; then
  if ! apt update || ! apt install --no-install-recommends $missing; then
    cat "$work/log" >&2
    fail "apt-get could not install:$missing"
  fi
fi

echo "install-servers: installed$missing"
if [ -d /run/systemd/system ]; then
  echo 'install-servers: not started now, but at the next boot unless you disable them'
fi
