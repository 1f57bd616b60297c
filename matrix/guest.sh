#!/bin/sh
# Second stage, process 1 of a guest: mounts, the load, power off. Results go to the second serial port, the rest to the
# console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
export PYTHONPATH=/run/tree/src:/run/tree PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs security /sys/kernel/security
ip link set lo up
hostname guest
arguments=
for word in $(cat /proc/cmdline); do
    case $word in matrix.arguments=*) arguments=$(echo "${word#*=}" | tr , ' ') ;; esac
done
cd /run/tree || exit
# shellcheck disable=SC2086  several words on purpose
python3 -m matrix.load $arguments >/dev/ttyS1 && echo end >/dev/ttyS1
echo o >/proc/sysrq-trigger
sleep 60
