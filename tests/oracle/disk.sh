#!/bin/sh
# SPDX-License-Identifier: MIT
# disk.sh ORACLE KIB N SEED... - N sequences from each seed on a disk of its own: ext4 with its journal on a zram device that reads ahead KIB KiB.
# How far a disk reads ahead (/sys/block/*/queue/read_ahead_kb; mostly 128) decides where the readahead marks lie, and with that how many
# faults a program has.
oracle=$1 kib=$2 n=$3 nr='' dir=''
shift 3

no() { echo "$1: skipped"; exit 77; }

clean() {
	[ -z "$dir" ] || { umount "$dir" 2>/dev/null; rmdir "$dir"; }
	[ -z "$nr" ] || { echo 1 > "/sys/block/zram$nr/reset"; echo "$nr" > /sys/class/zram-control/hot_remove; } 2>/dev/null
}

[ "$(id -u)" = 0 ] || no "a disk is made by root only"
command -v mkfs.ext4 >/dev/null || no "there is no mkfs.ext4 (package e2fsprogs)"
[ -r /sys/class/zram-control/hot_add ] || modprobe zram 2>/dev/null
trap clean EXIT
trap 'exit 130' INT TERM HUP
nr=$(cat /sys/class/zram-control/hot_add 2>/dev/null) && [ -b "/dev/zram$nr" ] || no "no zram device can be had"
echo 256M > "/sys/block/zram$nr/disksize" && echo "$kib" > "/sys/block/zram$nr/queue/read_ahead_kb" || exit 1
mkfs.ext4 -q -b 4096 "/dev/zram$nr" || exit 1
dir=$(mktemp -d)
mount -t ext4 "/dev/zram$nr" "$dir" || no "nothing can be mounted here"
for seed; do
	TMPDIR=$dir "$oracle" "$n" "$seed" || exit 1
done
