#!/bin/bash
# Boots systemd as PID 1 of namespaces, over a copy-on-write view of this machine's files, and runs a
# script in it. The machine itself is not changed. Needs root.
#
# usage: boot-systemd.sh DIRECTORY SECONDS [SOURCE=TARGET ...]
#   DIRECTORY/run.sh is the script; its output is DIRECTORY/output. SOURCE is mounted at TARGET.
set -eu
directory=$1 seconds=$2
shift 2

if [ "${BOOT_STAGE-}" = '' ]; then
  export BOOT_STAGE=cgroup
  exec unshare --mount --propagation private bash "$0" "$directory" "$seconds" "$@"
fi

if [ "$BOOT_STAGE" = cgroup ]; then
  # A control group of its own, so that this systemd sees no other.
  export BOOT_STAGE=boot
  mkdir -p "$directory/cgroup"
  mount -t cgroup2 cgroup2 "$directory/cgroup"
  group=$directory/cgroup/portico-test-$$
  mkdir "$group"
  (
    echo "$BASHPID" >"$group/cgroup.procs"
    exec timeout --signal KILL "$seconds" unshare --cgroup --mount --pid --fork --uts --ipc \
      --kill-child bash "$0" "$directory" "$seconds" "$@"
  ) || true
  for try in 1 2 3 4 5 6 7 8 9 10; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
    sleep 0.1
  done
  exit 0
fi

root=$directory/root
mkdir "$root" "$directory/changes"
mount -t tmpfs tmpfs "$directory/changes"
mkdir "$directory/changes/upper" "$directory/changes/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$directory/changes/upper,workdir=$directory/changes/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/run/test"
mount --bind "$directory" "$root/run/test"
for pair in "$@"; do
  target=$root${pair#*=}
  if [ -d "${pair%%=*}" ]; then mkdir -p "$target"; else mkdir -p "$(dirname "$target")" && touch "$target"; fi
  mount --bind "${pair%%=*}" "$target"
done

cat >"$root/etc/systemd/system/test.target" <<'UNIT'
[Unit]
Wants=test.service
AllowIsolate=yes
UNIT
cat >"$root/etc/systemd/system/test.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/bash /run/test/run.sh
ExecStopPost=/bin/systemctl --force exit
StandardOutput=file:/run/test/output
StandardError=file:/run/test/output
UNIT
cd "$root"
exec chroot . /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=test.target --log-target=console
