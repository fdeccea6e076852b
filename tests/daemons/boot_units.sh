#!/bin/sh
# Boots a systemd in namespaces of its own, which runs the units of etc/ as they are installed, then the script PROBE.
# Nothing of the machine changes but for a control group, which the caller removes. For root.
# Usage: boot_units.sh PROJECT SITE_PACKAGES PROBE GROUP
set -eu
top=/sys/fs/cgroup
if [ -e $top/cgroup.procs ]; then kind=v2 groups=$top; else kind=v1 groups="$top/unified $top/systemd"; fi
for each in $groups; do
    mkdir "$each/$4"
    echo $$ > "$each/$4/cgroup.procs"
done
export kind
exec unshare --cgroup --mount --net --pid --fork --kill-child=KILL --propagation private sh -euc '
mount -t proc proc /proc
umount -l /sys/fs/cgroup
if [ $kind = v2 ]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    mount -t tmpfs tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/unified /sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd systemd /sys/fs/cgroup/systemd
fi
mount -t tmpfs tmpfs /run
mkdir -p /run/x/upper /run/x/work /run/x/lib /run/x/opt
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/x/upper,workdir=/run/x/work /etc
mount --bind /run/x/lib /var/lib
mount --bind /run/x/opt /opt
mkdir -p /opt/mu/bin /opt/mu/project /opt/mu/site
mount --bind "$0" /opt/mu/project
mount --bind "$1" /opt/mu/site
for command in mu twistd; do
    printf "#!/usr/bin/python3\nimport sys\nsys.path[:0] = [\"/opt/mu/project\", \"/opt/mu/site\"]\n" > /opt/mu/bin/$command
done
echo "from twisted.scripts.twistd import run; run()" >> /opt/mu/bin/twistd
echo "from mu_twisted.cli import main; sys.exit(main())" >> /opt/mu/bin/mu
chmod 755 /opt/mu/bin/*
ROOT=/ sh /opt/mu/project/etc/install-units.sh
systemd-sysusers mu.conf
: > /etc/machine-id
units=/etc/mu-units
mkdir $units
cp /etc/systemd/system/mu-*.s* $units
for target in basic final network network-online paths shutdown slices sockets sysinit timers umount; do
    printf "[Unit]\nDefaultDependencies=no\n" > $units/$target.target
done
both="mu-coordinator.service mu-rendezvous.service"
printf "[Unit]\nWants=mu-coordinator.socket mu-rendezvous.socket $both probe.service\n" > $units/test.target
printf "[Unit]\nAfter=$both\n[Service]\nType=oneshot\nExecStart=/bin/sh $2\n" > $units/probe.service
printf "StandardOutput=file:$2.out\nStandardError=inherit\n" >> $units/probe.service
for unit in mu-coordinator mu-rendezvous; do
    mkdir $units/$unit.service.d
    # A daemon that is well may be silent for long where the machine is busy.
    printf "[Service]\nStandardError=file:$2.$unit\nStandardOutput=inherit\nWatchdogSec=1h\n" \
        > $units/$unit.service.d/probed.conf
done
echo systemd begins
export SYSTEMD_UNIT_PATH=$units container=lxc
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
' "$1" "$2" "$3"
