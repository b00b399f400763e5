#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh [all | BENCH...] [OPTIONS] - the benches, one after the other; without a name: patterns. BUILD names the build
# directory (default: build).
#
#   engine     what one fault costs in the engine
#   patterns   access patterns against the kernel's swap on zram; latencies of one fault; a working set that fits
#   programs   sort, Python, SQLite and redis against the kernel's swap on zram
#   spill      access patterns against the kernel's swap on a disk
#   start      what starting a program and forking cost
#   where      where the time of a fault goes (perf), a table and a flame graph
#
# Options are passed to each: --quick, --rounds N, --only ROW, --out FOLDER, ...; `bench/run.sh programs --help` lists them.
# A bench that can't be had here says so and is no failure.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
BUILD=${BUILD:-$here/../build}
export BUILD
[ -x "$BUILD/bench/pattern" ] || { echo "run.sh: $BUILD/bench/pattern is missing: ninja -C $BUILD" >&2; exit 1; }

names=''
while [ $# -gt 0 ]; do
	case $1 in
	engine | patterns | programs | spill | start | where) names="$names $1" ;;
	all) names='engine patterns programs spill start where' ;;
	-*) break ;;
	*) echo "run.sh: no bench is called '$1'; there are: engine patterns programs spill start where" >&2; exit 2 ;;
	esac
	shift
done
for name in ${names:-patterns}; do
	echo "bench: $name" >&2
	case $name in
	engine) "$here/engine.sh" "$@" ;;
	*) python3 -B "$here/$name.py" --build "$BUILD" "$@" ;;
	esac
done
