# The first process of a small system, until systemd takes its place: this
# machine's programs, its own everything else. $1: an empty directory, $2: the
# agent, $3: a directory both sides write to.
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 mig-test "$1"
cd "$1"
mkdir -p usr etc/systemd/system etc/mig var/lib var/log run tmp proc sys dev root .above .work .old
if ! mount -t overlay -o "lowerdir=/usr,upperdir=$1/.above,workdir=$1/.work" mig-test usr; then
    echo "cannot boot: no overlays of file systems"
    exit 1
fi
for name in bin sbin lib lib64; do ln -s "usr/$name" "$name"; done
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount --bind /sys sys
# Settings of the kernel are the other system's, too.
for shared in proc/sys sys; do mount -o remount,bind,ro "$shared"; done
mount -t cgroup2 mig-test sys/fs/cgroup
mount -t tmpfs -o mode=755 mig-test dev
mkdir dev/shm
for name in null zero full random urandom; do
    : >"dev/$name"
    mount --bind "/dev/$name" "dev/$name"
done
mount -t tmpfs -o mode=755 mig-test run
: >usr/sbin/mig-agent
mount --bind "$2" usr/sbin/mig-agent
mkdir -p ".$3"
mount --bind "$3" ".$3"
echo 'root:x:0:0:root:/root:/bin/sh' >etc/passwd
echo 'nobody:x:65534:65534::/:/bin/false' >>etc/passwd
echo 'root:x:0:' >etc/group
echo 0123456789abcdef0123456789abcdef >etc/machine-id
# Nothing of what this machine would start, make or clean up: the journal alone.
rm -rf usr/lib/systemd/system/*.wants usr/lib/systemd/system-generators usr/lib/tmpfiles.d
mkdir usr/lib/systemd/system/sysinit.target.wants
ln -s ../systemd-journald.service usr/lib/systemd/system/sysinit.target.wants
ln -s /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target
pivot_root . .old
cd /
umount -l /.old
exec env -i container=mig-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/lib/systemd/systemd --log-target=console --show-status=no
