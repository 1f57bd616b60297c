#!/bin/sh
# First stage of a guest: modules, the root disk (vda), the tree on it (vdb, a tar archive), then guest.sh.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" || echo "matrix: $module does not go in"; done </modules/order
tries=0
while [ ! -b /dev/vdb ] && [ $tries -lt 100 ]; do
    sleep 0.1
    tries=$((tries + 1))
done
mount -t ext4 /dev/vda /newroot || poweroff -f
mount -t tmpfs run /newroot/run
mkdir /newroot/run/tree
tar -xf /dev/vdb -C /newroot/run/tree || poweroff -f
mount --move /dev /newroot/dev
umount /proc
umount /sys
exec switch_root /newroot /bin/sh /run/tree/matrix/guest.sh
