/**
 * The front of a resident bundle in `sh`, for hosts without Perl. `cgi-fcgi` of libfcgi hands the
 * request over; without it every request runs Node.
 */
import type { FrontSettings } from './front-settings.ts'

/** The shell part, up to and including the line `__END__`. */
export function shellFront({ node, flags, loader, environment, start }: FrontSettings): string {
  const run = `"$node" ${[...flags, '-e'].map(shellWord).join(' ')} ${shellWord(loader)} "$app"`
  const keep = environment.map((name) => `\${${name}+"${name}=$${name}"}`).join(' ')
  return `#!/bin/sh
# A bundle of Portico: this script, and after __END__ the program that it runs.
PATH="\${PATH:-/usr/local/bin:/usr/bin:/bin}"; export PATH
case $0 in /*) app=$0 ;; *) app=$PWD/$0 ;; esac
node=${shellWord(node)}
alone() { exec ${run}; }
bridge=$(command -v cgi-fcgi) || alone
# Not under a group of the user alone: see rule 4 of docs/bundle.md.
user=$(id -u) || alone
directory=\${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/portico}
directory=\${directory:-/tmp/portico-$user}
[ -d "$directory" ] || mkdir -m 700 "$directory" 2>/dev/null
[ ! -h "$directory" ] && [ -O "$directory" ] || alone
case $(ls -ldn "$directory") in drwx------*) ;; *) alone ;; esac
# Inode, size and time of this file: a new upload has a new name.
name=$(ls -lin --time-style=+%s "$app" 2>/dev/null || ls -lin "$app") || alone
socket=$directory/$(printf %s "$name" | cksum | tr ' ' -)
if [ -S "$socket" ]; then
  "$bridge" -bind -connect "$socket"
  code=$?
  # It connects before it reads the body. ENOENT and ECONNREFUSED: the process is gone.
  [ $code = 111 ] || [ $code = 2 ] || exit $code
  rm -f "$socket"
fi
# One request starts the process; it and those that come meanwhile run Node. The lock is a link to the
# pid of its holder, which may have been killed.
holder=$(readlink "$socket.lock") && ! kill -0 "$holder" 2>/dev/null && rm -f "$socket.lock"
(
  ln -s "$(exec sh -c 'echo $PPID')" "$socket.lock" || exit
  trap 'rm -f "$socket.lock"' EXIT
  umask 077
  cd /
  for name in $(env | sed -n 's/^\\(LC_[A-Za-z0-9_]*\\)=.*/\\1/p; s/^\\(NODE_[A-Za-z0-9_]*\\)=.*/\\1/p; s/^\\(PORTICO_[A-Za-z0-9_]*\\)=.*/\\1/p'); do
    eval "set -- \\"\\$@\\" \\"$name=\\$$name\\""
  done
  env -i ${keep} "$@" UV_THREADPOOL_SIZE=${start.threads} PORTICO_RESIDENT="$socket" \\
    setsid ${run} < /dev/null > /dev/null 2>> "$directory/log" &
  i=0
  while [ ! -S "$socket" ] && [ $i -lt ${start.readyTime} ]; do sleep 1; i=$((i + 1)); done
) < /dev/null > /dev/null 2>&1 &
alone
__END__
`
}

/** A word of the shell. */
function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
