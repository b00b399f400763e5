#!/bin/sh
# SPDX-License-Identifier: MIT
#
# kernel-swap.sh - run one program over the kernel's own swap under a memory cgroup (v1 or v2): LZ4 zram, or a file on a disk.
#
#   kernel-swap.sh [--limit BYTES] [--page-cluster N] [--disksize SIZE | --disk FILE] [--count-only] [--stats FILE] -- PROGRAM ARGS
#   kernel-swap.sh --check [--disk FILE]      can it be done here? 0, or 77 and the reason on standard error
#
# Without --limit the cgroup only counts; --count-only leaves the swap out as well. --disk swaps to a loop device over FILE, which
# must be there, with direct I/O where the file system has it; what is in FILE is lost. The statistics are lines NAME=VALUE:
# memory_peak (bytes, of the cgroup), zram_peak (bytes, mem_used_max: the device's compressed pool, which no cgroup is
# charged for), oom_kills, swapped_in and swapped_out (pages, whole system), wall_ns (of the program), direct (1: the loop
# device does direct I/O). Whatever is changed (the device, swap, page-cluster, swappiness, the cgroup) is put back at exit,
# Ctrl-C included.
set -eu

limit='' cluster='' disksize=4G disk='' stats='' check='' count=''
while [ $# -gt 0 ]; do
	case $1 in
	--limit) limit=$2; shift 2 ;;
	--page-cluster) cluster=$2; shift 2 ;;
	--disksize) disksize=$2; shift 2 ;;
	--disk) disk=$2; shift 2 ;;
	--stats) stats=$2; shift 2 ;;
	--count-only) count=1; shift ;;
	--check) check=1; shift ;;
	--) shift; break ;;
	*) echo "kernel-swap.sh: unknown option '$1'" >&2; exit 2 ;;
	esac
done

no() { echo "kernel-swap.sh: $*" >&2; exit 77; }

[ "$(id -u)" = 0 ] || no "only root can set up swap and a memory cgroup; run as root for the kernel's side"
if [ -n "$disk" ]; then
	command -v losetup >/dev/null || no "losetup is not installed (Debian: mount)"
	[ -e /dev/loop-control ] || modprobe loop 2>/dev/null || no "this kernel has no loop device (CONFIG_BLK_DEV_LOOP)"
else
	[ -e /sys/class/zram-control ] || modprobe zram 2>/dev/null || no "this kernel has no zram (CONFIG_ZRAM)"
fi

# One at a time: two swap devices of the same priority share the pages, and neither's pool could be told.
exec 9< "$0"
flock 9

version='' root=''
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
	grep -qw memory /sys/fs/cgroup/cgroup.controllers ||
		no "the memory controller is not in /sys/fs/cgroup/cgroup.controllers"
	version=2 root=/sys/fs/cgroup
elif [ -e /sys/fs/cgroup/memory/memory.limit_in_bytes ]; then
	version=1 root=/sys/fs/cgroup/memory
else
	no "no memory cgroup is mounted at /sys/fs/cgroup"
fi

nr='' added='' dev='' sys='' algorithm='' direct=0
remove_added() { [ -z "$added" ] || echo "$nr" > /sys/class/zram-control/hot_remove; }

find_zram() {
	for d in /sys/block/zram*; do
		[ -e "$d/disksize" ] && [ "$(cat "$d/disksize")" = 0 ] && { nr=${d#/sys/block/zram}; break; }
	done
	if [ -z "$nr" ]; then # all are in use
		nr=$(cat /sys/class/zram-control/hot_add) || no "no zram device is free and none could be added"
		added=1
	fi
	dev=/dev/zram$nr sys=/sys/block/zram$nr
	algorithm=$(sed 's/.*\[\(.*\)\].*/\1/' "$sys/comp_algorithm")
	grep -qw lz4 "$sys/comp_algorithm" || no "zram here has no lz4, only: $(cat "$sys/comp_algorithm")"
}

[ -n "$disk" ] || find_zram
if [ -n "$check" ]; then
	remove_added
	exit 0
fi

group=$root/minflt-bench.$$
old_cluster=$(cat /proc/sys/vm/page-cluster) old_swappiness=$(cat /proc/sys/vm/swappiness)

# Nothing of the program may be left when swap goes: bringing its pages back would not fit into the limit, and the OOM
# killer could choose swapoff itself.
end_program() {
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=$(cat "$group/cgroup.procs" 2>/dev/null || :)
		[ -n "$left" ] || return 0
		# shellcheck disable=SC2086 # a list; all of them were started by this script
		kill -KILL $left 2>/dev/null || :
		sleep 0.1
	done
}

free_swap() {
	[ -n "$dev" ] || return 0
	if grep -q "^$dev " /proc/swaps && ! swapoff "$dev"; then
		echo "kernel-swap.sh: $dev is still swap; as root: swapoff $dev" >&2
		return 0
	fi
	if [ -n "$disk" ]; then
		losetup -d "$dev"
		return 0
	fi
	for _ in 1 2 3 4 5; do echo 1 > "$sys/reset" 2>/dev/null && break; sleep 0.1; done
	echo "$algorithm" > "$sys/comp_algorithm" 2>/dev/null || :
}

restore() {
	trap - EXIT INT TERM HUP
	end_program
	[ -n "$count" ] || free_swap
	remove_added || :
	echo "$old_cluster" > /proc/sys/vm/page-cluster
	echo "$old_swappiness" > /proc/sys/vm/swappiness
	for _ in 1 2 3 4 5; do rmdir "$group" 2>/dev/null && break; sleep 0.1; done
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -z "$count" ] && [ -n "$disk" ]; then
	dev=$(losetup --find --show "$disk") || { echo "kernel-swap.sh: no loop device over $disk" >&2; exit 2; }
	losetup --direct-io=on "$dev" 2>/dev/null && direct=1
elif [ -z "$count" ]; then
	echo lz4 > "$sys/comp_algorithm"
	echo "$disksize" > "$sys/disksize"
fi
if [ -z "$count" ]; then
	mkswap "$dev" >/dev/null
	swapon -p 32767 "$dev" # before any other swap of the machine
fi
[ -z "$cluster" ] || echo "$cluster" > /proc/sys/vm/page-cluster
[ $version = 1 ] || echo +memory > "$root/cgroup.subtree_control"
mkdir "$group"
if [ $version = 1 ]; then
	echo 100 > "$group/memory.swappiness"
	[ -z "$limit" ] || echo "$limit" > "$group/memory.limit_in_bytes"
	peak=memory.max_usage_in_bytes events=memory.oom_control
else
	echo 100 > /proc/sys/vm/swappiness
	[ -z "$limit" ] || echo "$limit" > "$group/memory.max"
	peak=memory.peak events=memory.events
fi
counter() { awk -v n="$1" '$1 == n { print $2 }' /proc/vmstat; }
in0=$(counter pswpin) out0=$(counter pswpout)

status=0 start=$(date +%s%N)
# The program joins by itself before it starts, so the shell is never charged.
sh -c 'exec 9<&-; echo $$ > "$0/cgroup.procs" && exec "$@"' "$group" "$@" || status=$?
end=$(date +%s%N)

if [ -n "$stats" ]; then
	{
		echo "memory_peak=$(cat "$group/$peak" 2>/dev/null || echo 0)"
		echo "zram_peak=$(if [ -n "$sys" ]; then awk '{ print $5 }' "$sys/mm_stat"; else echo 0; fi)"
		echo "oom_kills=$(awk '$1 == "oom_kill" { print $2 }' "$group/$events")"
		echo "swapped_in=$(($(counter pswpin) - in0))"
		echo "swapped_out=$(($(counter pswpout) - out0))"
		echo "wall_ns=$((end - start))"
		echo "direct=$direct"
	} > "$stats"
fi
exit $status
