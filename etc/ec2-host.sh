#!/bin/bash
# Makes this EC2 instance the host of a stack of cloudformation.yaml: its address, the volume with journal and CA, its
# options, its units. For root; may be run again. ROOT stands before every path that is written.
set -euo pipefail
: "${INSTANCE:?the id of this instance}" "${VOLUME:?the id of the volume}" "${ALLOCATION:?the id of the address}"
here=$(cd "$(dirname "$0")" && pwd)
root=${ROOT:-}
state=/var/lib/private/mu # where systemd keeps /var/lib/mu for a user that it makes
device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${VOLUME/-/}

give_up() {
    echo "ec2-host.sh: $*" >&2
    exit 1
}

# Until the host before has gone with it; one that is attached here stays.
attach_volume() {
    local status=unknown holder=unknown found _
    for _ in {1..120}; do
        # A role's rights are there some seconds after it, and calls may be throttled.
        found=$(aws ec2 describe-volumes --volume-ids "$VOLUME" --output text \
            --query 'Volumes[0].[State,Attachments[0].InstanceId]') || found="unknown unknown"
        read -r status holder <<< "$found"
        [ "$holder" != "$INSTANCE" ] || return 0
        if [ "$status" = available ]; then
            aws ec2 attach-volume --volume-id "$VOLUME" --instance-id "$INSTANCE" --device /dev/sdf >/dev/null
            return 0
        fi
        sleep "${PAUSE:-5}"
    done
    give_up "volume $VOLUME is still $status, at $holder: stop that instance, or detach the volume"
}

await_device() {
    local _
    for _ in {1..60}; do
        [ ! -e "$root$device" ] || return 0
        sleep "${PAUSE:-1}"
    done
    give_up "$device does not appear: the instance's type must be one that has EBS volumes as NVMe devices"
}

# A new volume is all zeros; what has anything on it is never formatted.
make_filesystem() {
    local kind
    if cmp -s -n 1048576 "$root$device" /dev/zero; then
        mkfs.ext4 -q "$root$device"
    fi
    kind=$(blkid -p -o value -s TYPE "$root$device") || true
    [ "$kind" = ext4 ] || give_up "volume $VOLUME has ${kind:-something else} on it, not what a host of mu has left"
}

# The daemons never start without it: on the instance's own disk they would make another CA.
mount_state() {
    local units=x-systemd.before=mu-coordinator.service,x-systemd.before=mu-rendezvous.service
    units=$units,x-systemd.required-by=mu-coordinator.service,x-systemd.required-by=mu-rendezvous.service
    install -d -m 0700 "$root/var/lib/private" "$root$state"
    grep -qs "^$device " "$root/etc/fstab" || echo "$device $state ext4 defaults,nofail,$units 0 2" >> "$root/etc/fstab"
    mountpoint -q "$root$state" || mount "$root$device" "$root$state"
    # Where the volume was made larger; what there is does as well.
    resize2fs "$root$device" >/dev/null || echo "ec2-host.sh: the file system could not be enlarged" >&2
}

# The template is what says them, so a new host has them too.
write_options() {
    install -d "$root/etc/mu"
    (
        umask 077
        printf 'MU_COORDINATOR_OPTIONS=%s\nAWS_DEFAULT_REGION=%s\n' \
            "${COORDINATOR_OPTIONS:-}" "${AWS_DEFAULT_REGION:-}" > "$root/etc/mu/coordinator.env"
        printf 'MU_RENDEZVOUS_OPTIONS=%s\n' "${RENDEZVOUS_OPTIONS:-}" > "$root/etc/mu/rendezvous.env"
    )
}

attach_volume
await_device
make_filesystem
mount_state
aws ec2 associate-address --instance-id "$INSTANCE" --allocation-id "$ALLOCATION" --allow-reassociation >/dev/null
write_options
sh "$here/install-units.sh"
