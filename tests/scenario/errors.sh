#!/bin/sh
# SPDX-License-Identifier: MIT
# errors.sh RUNNER - what a wrong scenario is answered with: the place, what was expected there, and the status.
runner=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

# wrong STATUS "WORDS OF THE MESSAGE" <<TEXT
wrong() {
	cat >"$dir/x.scn"
	out=$("$runner" "$dir/x.scn" 2>&1)
	status=$?
	case $out in
	*"$2"*) [ "$status" = "$1" ] && return ;;
	esac
	printf 'wanted status %s and: %s\nsaw status %s and: %s\nof:\n' "$1" "$2" "$status" "$out"
	cat "$dir/x.scn"
	failed=1
}

wrong 2 ':1:1: expected a statement' <<'E'
jump A
E
wrong 2 ":2:6: expected the name of an area made before, not 'B'" <<'E'
mmap A 4P rw private anon
read B 0
E
wrong 2 ":1:8: expected a length, not 'four'" <<'E'
mmap A four rw private anon
E
wrong 2 ":1:8: expected a length below 2^62, not '99999999999999999999'" <<'E'
mmap A 99999999999999999999 rw private anon
E
wrong 2 ":1:11: expected a protection" <<'E'
mmap A 4P rr private anon
E
wrong 2 ":1:14: expected private or shared, not 'alone'" <<'E'
mmap A 4P rw alone anon
E
wrong 2 ":1:22: expected anon or the name of a file made before, not 'F'" <<'E'
mmap A 4P rw private F
E
wrong 2 ':1:27: expected an address, not the end of the line' <<'E'
mmap A 1 rw shared anon at
E
wrong 2 ":2:15: expected an advice (normal random" <<'E'
mmap A 1 rw shared anon
madvise A 0 1 please
E
wrong 2 ":2:11: expected a byte (0 to 255), not '256'" <<'E'
mmap A 1 rw shared anon
write A 0 256
E
wrong 2 ":2:12: expected the end of the line, not 'more'" <<'E'
mmap A 1 rw shared anon
read A 0 1 more
E
wrong 2 ":1:4: expected the name of a process made before, not 'c'" <<'E'
in c: mark
E
wrong 2 ":1:8: expected a kernel (2.0 2.6 5 host uffd), not '7'" <<'E'
only 5 7
E
wrong 2 'expected a statement after `only`, not the end of the file' <<'E'
only 5
E
wrong 2 ':1:8: expected what to look at' <<'E'
expect peace
E
wrong 2 ':1:24: expected ADRERR' <<'E'
expect signal SIGBUS   MAPERR
E
wrong 1 'wanted 5 minor faults, saw 4' <<'E'
mmap A 4P rw private anon
write A 0 4P 1
expect minflt 5
E
wrong 1 'wanted no signal, saw SIGSEGV MAPERR' <<'E'
mmap A 4P rw private anon
read A 4P
expect ok
E
wrong 1 'wanted SIGSEGV ACCERR, saw no signal' <<'E'
mmap A 4P rw private anon
read A 0
expect signal SIGSEGV ACCERR
E
wrong 1 'wanted the byte 7, saw 6' <<'E'
mmap A 4P rw private anon
write A 0 6
expect byte A 0 7
E
wrong 1 'wanted 2 pages, saw 1' <<'E'
mmap A 4P rw private anon
write A 0 6
expect rss 2
E
wrong 1 'wanted EINVAL, saw success' <<'E'
mmap A 4P rw private anon
expect error EINVAL
E
wrong 1 "process 'main' has no area 'A'" <<'E'
mmap B 4P rw private anon
fork c
in c: mmap A 4P rw private anon
read A 0
E
wrong 1 "no process 'c' is running" <<'E'
fork c
exit c
in c: mark
E
exit $failed
