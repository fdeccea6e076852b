#!/bin/sh
# Installs the systemd units that stand beside this script, and starts both daemons. For root; may be run again.
# PREFIX is where mu is installed, /opt/mu unless given; ROOT stands before every path that is written.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=${PREFIX:-/opt/mu}
root=${ROOT:-}

install -d "$root/etc/systemd/system" "$root/etc/sysusers.d" "$root/etc/tmpfiles.d" "$root/etc/mu"
for unit in mu-coordinator.service mu-rendezvous.service; do
    sed "s|/opt/mu/|$prefix/|" "$here/$unit" > "$root/etc/systemd/system/$unit"
done
install -m 0644 "$here/mu-coordinator.socket" "$here/mu-rendezvous.socket" "$root/etc/systemd/system/"
install -m 0644 "$here/mu.sysusers.conf" "$root/etc/sysusers.d/mu.conf"
install -m 0644 "$here/mu.tmpfiles.conf" "$root/etc/tmpfiles.d/mu.conf"
for options in coordinator.env rendezvous.env; do
    # What the administrator wrote stays.
    [ -e "$root/etc/mu/$options" ] || install -m 0600 "$here/$options" "$root/etc/mu/"
done
[ -z "$root" ] || exit 0
systemd-sysusers
systemd-tmpfiles --create mu.conf
systemctl daemon-reload
systemctl enable --now mu-coordinator.socket mu-rendezvous.socket mu-coordinator.service mu-rendezvous.service
