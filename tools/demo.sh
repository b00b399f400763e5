#!/bin/sh
# SPDX-License-Identifier: MIT
#
# demo.sh - `make demo`: three real programs over real data, each natively and under `minflt run` in a fraction of its
# memory.
#
# The budget is a share of the native peak that was just measured: how small it can be depends on how far the data
# compress page by page (tools/compressibility.c says it). Peak memory is the kernel's account of the program
# (ru_maxrss, which covers minflt too: it lives in the same process); the outputs of both runs are compared byte by
# byte. Everything lies in one temporary folder, which is removed at the end.
#
#   tools/demo.sh [--keep]          BUILD: build directory (build); TMPDIR: where the data go (about 1 GB)
#   status: 0 all outputs identical, 1 not, 125 minflt can't run here
set -eu

here=$(cd "$(dirname "$0")" && pwd)
minflt=${BUILD:-$here/../build}/minflt
keep=
[ "${1:-}" != --keep ] || keep=1

fail() { echo "demo: $*" >&2; exit 125; }

for need in sort python3 sqlite3 cmp awk; do
	command -v $need >/dev/null ||
		fail "$need is missing; as root: apt-get install coreutils diffutils mawk python3 sqlite3"
done
[ -x /usr/bin/time ] || fail "/usr/bin/time is missing; as root: apt-get install time"
[ -x "$minflt" ] || fail "build/minflt is not there; run make first"
minflt=$(cd "$(dirname "$minflt")" && pwd)/minflt
if ! "$minflt" doctor > /dev/null 2>&1; then
	echo "demo: minflt can't serve page faults on this machine. What its doctor says:" >&2
	"$minflt" doctor >&2 || :
	exit 125
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/minflt-demo.XXXXXX")
clean() {
	trap - EXIT INT TERM HUP
	[ -n "$keep" ] || rm -rf "$work"
}
trap clean EXIT
trap 'clean; exit 130' INT
trap 'clean; exit 143' TERM HUP
cd "$work"

texts=$(find /usr/share/common-licenses /usr/share/doc -maxdepth 1 -type f 2>/dev/null || :)
${CC:-cc} -O2 -std=gnu11 -D_GNU_SOURCE -o data "$here/demo-data.c"
# shellcheck disable=SC2086 # a list of files
./data log 320000000 $texts "$here/../README.md" "$here/../ARCHITECTURE.md" > log
# shellcheck disable=SC2086
./data csv 40000000 $texts > orders.csv

# The interpreter itself: a wrapper in shell would be run under minflt too, and measured.
python=$(python3 -c 'import sys; print(sys.executable)')
export LC_ALL=C PYTHONHASHSEED=0 TMPDIR="$work"

job_sort() { "$@" sort -S 800M log -o "$out"; }
job_python() { "$@" "$python" "$here/demo-orders.py" orders.csv > "$out"; }
job_sqlite() { "$@" sqlite3 :memory: < "$here/demo-orders.sql" > "$out"; }

timed() { # timed FILE PROGRAM...: seconds, peak KiB, minor faults, major faults in FILE
	file=$1
	shift
	/usr/bin/time -q -o "$file" -f '%e %M %R %F' "$@"
}

value() { # value NAME: a number of minflt's statistics
	sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p" stats | head -n 1
}

different=0
row() { printf '%-8s %-22s %8s %9s %9s %9s %9s  %s\n' "$@"; }

# demo NAME SHARE CODEC: both runs of one program; SHARE of the native peak, in percent, is the budget
demo() {
	name=$1 share=$2 codec=$3
	out=$name.native
	"job_$name" timed native.time || fail "$name failed natively"
	read -r seconds kib minor major < native.time
	row "$name" "native" "$seconds" "$((kib / 1024))" "$minor" "$major" "-" "-"
	budget=$((kib * share / 100))
	out=$name.minflt
	status=0
	"job_$name" timed minflt.time "$minflt" run -q --memory "${budget}K" --compress "$codec" --stats=stats -- || status=$?
	read -r seconds kib minor major < minflt.time || :
	same="differs: status $status"
	[ $status != 0 ] || { cmp -s "$name.native" "$name.minflt" && same=identical || same=DIFFERENT; }
	[ "$same" = identical ] || different=1
	[ -n "$keep" ] || rm -f "$name.native" "$name.minflt"
	row "" "minflt $((budget / 1024))M ($share %) $codec" "$seconds" "$((kib / 1024))" "$minor" "$major" "$(ratio)" "$same"
}

# Of all pages that were compressed: their bytes, to what became of them.
ratio() {
	awk -v pages="$(value packed_pages)" -v bytes="$(value packed_bytes)" \
		'BEGIN { if (bytes > 0) printf "%.2f", pages * 4096 / bytes; else print "-" }'
}

row program run seconds "peak MiB" minflt majflt ratio output
demo sort 33 zstd
demo python 33 zstd
demo sqlite 75 zstd
echo
if [ $different = 0 ]; then
	echo "All outputs are identical to the native ones."
else
	echo "NOT all outputs are identical to the native ones."
fi
exit $different
