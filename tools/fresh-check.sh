#!/bin/bash
# SPDX-License-Identifier: MIT
#
# fresh-check.sh [FOLDER] - do the two commands work on a fresh Debian 12? Makes a minimal one in FOLDER (a temporary one by default) with
# nothing but git, make and a compiler, clones the committed state of this repository into it, and runs make deps, make,
# and build/minflt doctor there. With CHECK=1 also make check, with DEMO=1 also make demo.
#
# Needs root, debootstrap, and the network. MIRROR=URL overrides the mirror, which is the one that this machine's apt uses; the
# cache of packages of earlier runs is kept in CACHE if that is set.
set -eu
cd "$(dirname "$0")/.."

[ "$(id -u)" -eq 0 ] || { echo "fresh-check.sh: needs root, for debootstrap and chroot" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "fresh-check.sh: debootstrap is missing; apt-get install debootstrap" >&2; exit 1; }

# What is mounted here goes with this process.
[ -n "${FRESH_CHECK_MOUNTS:-}" ] || FRESH_CHECK_MOUNTS=own exec unshare -m tools/fresh-check.sh "$@"

mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 2>/dev/null | head -n 1)}
[ -n "$mirror" ] || { echo "fresh-check.sh: apt names no mirror of bookworm; give MIRROR=URL" >&2; exit 1; }

if [ $# -gt 0 ]; then
	root=$1
	mkdir -p "$root"
else
	root=$(mktemp -d)
fi
root=$(realpath "$root")

if [ $# -eq 0 ]; then
	trap 'cd /; umount -R -l "$root" || true; rm -rf --one-file-system "$root"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
fi

inside() {
	chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
		${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
}

echo "=== a minimal Debian 12 in $root"
if [ ! -e "$root/etc/debian_version" ]; then
	debootstrap ${CACHE:+--cache-dir="$(realpath "$CACHE")"} --variant=minbase bookworm "$root" "$mirror" >"$root/debootstrap.out" 2>&1 ||
		{ tail -n 20 "$root/debootstrap.out" >&2; exit 1; }
fi
# The names of the network are this machine's.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
mount --bind "$root" "$root" # a mount, as a root is
for fs in proc sys dev; do
	mount --rbind "/$fs" "$root/$fs"
done

echo "=== git, make and a compiler"
inside apt-get -qq update
inside env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends git make gcc libc6-dev ca-certificates >/dev/null

echo "=== the repository"
rm -rf "$root/root/minflt"
git clone -q --no-hardlinks . "$root/root/minflt"

step() {
	echo "=== $*"
	inside sh -c 'cd /root/minflt && exec "$@"' sh "$@"
}
step make deps
step make deps # nothing to do: silent
step make
step build/minflt doctor || echo "fresh-check.sh: the doctor is not content (see above)" >&2
if [ -n "${DEMO:-}" ]; then step make demo; fi
if [ -n "${CHECK:-}" ]; then step make check; fi
echo "=== done"
