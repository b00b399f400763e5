#!/bin/sh
# SPDX-License-Identifier: MIT
# The engine, linked by itself, may ask for machine_*() and for what compilers emit by themselves; and for nothing else.
set -eu
lib=$1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

ld -r -o "$tmp/mm.o" --whole-archive "$lib"
bad=$(nm -u "$tmp/mm.o" | awk '{ print $NF }' |
	grep -Ev '^(machine_[a-z_]+|memcpy|memmove|memset|memcmp|_GLOBAL_OFFSET_TABLE_)$' || true)
if [ -n "$bad" ]; then
	echo "mm/ asks for symbols that machine/machine.h does not have:" $bad >&2
	exit 1
fi
if nm "$tmp/mm.o" | grep -q ' [Uu] machine_map$'; then :; else
	echo "mm/ does not call machine_map(): was the library empty?" >&2
	exit 1
fi
# Thread-local storage and constructors would not work on the other side of a fault.
if objdump -h "$tmp/mm.o" | grep -E '\.(tbss|tdata|init_array|ctors)' >&2; then
	echo "mm/ must not have thread-local storage or constructors" >&2
	exit 1
fi
