#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh - `make bench`: minflt against the kernel's own swap on zram, same program, same data, same number of
# uncompressed pages. All options are run.py's: see `bench/run.sh --help`. BUILD names the build directory (default:
# build).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-$here/../build}
pattern=$build/bench/pattern
if [ ! -x "$pattern" ]; then
	pattern=$(mktemp /tmp/minflt-pattern.XXXXXX)
	trap 'rm -f "$pattern"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	${CC:-cc} -O2 -std=gnu11 -D_GNU_SOURCE -pthread -o "$pattern" "$here/pattern.c" -lm
fi
python3 -B "$here/run.py" --pattern-program "$pattern" --minflt "$build/minflt" "$@"
