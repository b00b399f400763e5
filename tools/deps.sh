#!/bin/sh
# SPDX-License-Identifier: MIT
#
# deps.sh [build] [demo] [check] [bench] - install the Debian packages that are missing; all of them without an argument.
# With nothing missing it says nothing and leaves the network alone.
set -eu

build="gcc libc6-dev meson ninja-build pkg-config python3 libcmocka-dev liblz4-dev libzstd-dev libxxhash-dev libjemalloc-dev libssl-dev liburing-dev"
demo="sqlite3 python3 time"
check="clang-tidy strace gdb xz-utils mandoc shellcheck sqlite3 python3 libcap2-bin procps redis-tools nodejs stress-ng postgresql valgrind"
bench="linux-perf valgrind redis-tools sqlite3 mount"

[ $# -gt 0 ] || set -- build demo check bench
wanted=""
for set in "$@"; do
	case $set in
	build) wanted="$wanted $build" ;;
	demo) wanted="$wanted $demo" ;;
	check) wanted="$wanted $check" ;;
	bench) wanted="$wanted $bench" ;;
	*) echo "deps.sh: unknown set '$set'; there are build, demo, check and bench" >&2; exit 2 ;;
	esac
done

if ! command -v dpkg-query >/dev/null; then
	echo "deps.sh: this is no Debian; install by hand what corresponds to:$wanted" >&2
	exit 1
fi

missing=""
for package in $wanted; do
	# shellcheck disable=SC2016 # the dollar is dpkg-query's
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	case "$missing " in *" $package "*) continue ;; esac
	[ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
	as_root=""
elif command -v sudo >/dev/null; then
	as_root="sudo"
else
	echo "deps.sh: not root and no sudo; as root run: apt-get install$missing" >&2
	exit 1
fi

# The tests need PostgreSQL's programs; without this its package makes a cluster and starts it.
no_cluster=/etc/postgresql-common/createcluster.conf
case "$missing " in
*" postgresql "*)
	[ -e "$no_cluster" ] ||
		$as_root sh -c "mkdir -p ${no_cluster%/*} && echo 'create_main_cluster = false' >$no_cluster"
	;;
esac

export DEBIAN_FRONTEND=noninteractive
echo "deps.sh: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be old or not there at all, as in a container image; a second try is for a mirror that was busy.
# shellcheck disable=SC2086 # words are meant
try() {
	$as_root apt-get -qq update >"$log" 2>&1 &&
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >>"$log" 2>&1
}
if ! try && ! { sleep 5; try; }; then
	cat "$log" >&2
	echo "deps.sh: could not install; as root run: apt-get update && apt-get install$missing" >&2
	exit 1
fi
