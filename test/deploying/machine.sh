#!/usr/bin/env bash
# A machine of its own to try the page on, with this machine's programs and a systemd that runs as its first process:
#
#   machine.sh ROOT SOURCES
#
# ROOT is an empty folder, on which the machine's file system appears: this machine's, of which nothing is changed, with all that is
# written in memory. SOURCES is the repository, seen at /src and not to be written. It runs in namespaces of its own, which the caller has
# made (unshare --pid --fork --mount --uts --ipc --net --cgroup), so that it ends as a whole, reaches no network and no process outside.
set -euo pipefail
root=$1 sources=$2

mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$root"
mkdir "$root"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/root"
root=$root/root

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
chmod 0755 "$root/run"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mkdir -p "$root/src"
mount --bind "$sources" "$root/src"
mount -o remount,bind,ro "$root/src"

# As freshly installed, but for the packages: no services, no other version of the host.
rm -rf "$root"/etc/systemd/system "$root"/etc/agenthost "$root"/var/lib/agenthost "$root"/opt/agenthost "$root"/usr/local/bin/agenthost
mkdir -p "$root/etc/systemd/system"
printf '%s\n' '[Unit]' 'Description=A machine to try a page on' 'Wants=systemd-journald.service sockets.target' >"$root/etc/systemd/system/default.target"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id" # with none it would be its first boot, and ask
echo localhost >"$root/etc/hostname"

mkdir "$root/old"
cd "$root"
pivot_root . old
umount --lazy /old
mount --make-rshared / # as systemd has it on a machine: so its services see the secrets that it mounts for them
exec env --ignore-environment container=deploying PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
  /lib/systemd/systemd --system --log-target=journal --show-status=false
