#!/bin/bash
# Makes a machine out of private namespaces: with its own /etc, users, homes and share. Runs as the first process in
# them, and then waits, collecting orphans, until its standard input ends. $1 is the program under test, $2 the machine's
# name, $3 says whether a share is there already that another machine made, $4 is a directory that is seen at /run/tools, or
# empty.
set -eu
tmpfs() { mount -t tmpfs -o "mode=${2:-0755}" tmpfs "$1"; }

hostname "$2"
# Held open: its place may be covered below.
exec 9<"$1"
# What the machine keeps, taken aside before its place is covered.
tmpfs /run
mkdir -p /run/bin /run/aside/etc /run/aside/share
touch /run/bin/dsvm-agent
mount --no-canonicalize --bind /proc/self/fd/9 /run/bin/dsvm-agent
exec 9<&-
# What tests bring along, which is not the machine's.
if [ -n "$4" ]; then
    mkdir /run/tools
    mount --bind "$4" /run/tools
    mount -o remount,bind,ro /run/tools
fi
cp -a /etc/alternatives /etc/ld.so.cache /etc/ld.so.conf /etc/ld.so.conf.d /run/aside/etc/ 2>/dev/null || true
if [ "$3" = shared ]; then
    mount --bind /srv/share /run/aside/share
else
    tmpfs /run/aside/share
fi

for place in /etc /home /root /srv /var/lib; do tmpfs $place; done
tmpfs /tmp 1777
mkdir /srv/share
mount --move /run/aside/share /srv/share
cp -a /run/aside/etc/. /etc/
rm -rf /run/aside

# Terminals of its own, as systemd mounts them: with the group that wall(1) has.
mount -t devpts -o newinstance,gid=5,mode=0620,ptmxmode=0666 devpts /dev/pts

mkdir -p /etc/dsvm-agent /etc/pam.d /etc/default
for kind in auth account password session; do echo "$kind required pam_permit.so"; done >/etc/pam.d/other
printf 'passwd: files\ngroup: files\nshadow: files\nhosts: files\n' >/etc/nsswitch.conf
printf 'UID_MIN 1000\nUID_MAX 60000\nGID_MIN 1000\nGID_MAX 60000\nUSERGROUPS_ENAB yes\nCREATE_HOME no\n' >/etc/login.defs
printf 'root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/:/usr/sbin/nologin\n' >/etc/passwd
printf 'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' >>/etc/passwd
printf 'dsvm-agent:x:990:990:agent:/nonexistent:/usr/sbin/nologin\n' >>/etc/passwd
printf 'root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\ndsvm-agent:x:990:\n' >/etc/group
printf 'root:*:1::::::\n' >/etc/shadow
printf 'root:*::\n' >/etc/gshadow
chmod 0600 /etc/shadow /etc/gshadow

# What is not covered is this machine's own: nothing in here can write to it, whatever a test does.
mount --no-canonicalize -o remount,bind,ro /

echo ready
while read -r _; do :; done
