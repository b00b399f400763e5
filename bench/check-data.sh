#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check-data.sh PATTERN COMPRESSIBILITY - the benchmark says that its data are compressible about 2:1, page by page:
# are they?
set -eu
said=$("$2" -n 2000 -- "$1" --pattern fit-seq-read --size 64M --passes 200 2>&1 >/dev/null)
ratio=$(echo "$said" | sed -n 's/^LZ4, page by page: \([0-9.]*\) : 1.*/\1/p')
echo "$said"
[ -n "$ratio" ] || { echo "check-data: no ratio in what compressibility said" >&2; exit 1; }
awk -v r="$ratio" 'BEGIN { exit !(r >= 1.9 && r <= 2.2) }' || {
	echo "check-data: $ratio is not within 1.9 to 2.2" >&2
	exit 1
}
