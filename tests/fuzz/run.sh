#!/bin/sh
# SPDX-License-Identifier: MIT
# run.sh SECONDS [DIRECTORY]: libFuzzer over scenarios on the software machine (scenario_soft.c), with AddressSanitizer and
# UndefinedBehaviorSanitizer: half of the time as it is, half with allocations that fail. Needs clang. DIRECTORY keeps the corpus and findings;
# another run goes on from there.
set -eu
seconds=${1:?usage: run.sh SECONDS [DIRECTORY]} dir=${2:-build/fuzz}
cd "$(dirname "$0")/../.."
mkdir -p "$dir/corpus"
find tests/scenario/cases examples/scenarios -name '*.scn' | while read -r seed; do
	cp -n "$seed" "$dir/corpus/$(echo "$seed" | tr / -)" || true
done
sources="tests/fuzz/scenario_soft.c scenario/parse.c scenario/run.c scenario/file.c scenario/soft.c scenario/soft_calls.c scenario/soft_files.c machine/soft/soft.c
	$(ls mm/*.c mm/fault/*.c)"
for variant in plain alloc; do
	flags=
	[ $variant = plain ] || flags=-DFAIL_ALLOC
	# shellcheck disable=SC2086
	if [ ! -x "$dir/$variant" ] || [ -n "$(find $sources mm machine scenario -newer "$dir/$variant" -name '*.[ch]')" ]; then
		clang -g -O1 -std=gnu11 -D_GNU_SOURCE -DMM_DEBUG $flags -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
			-I. -Iinclude -w -o "$dir/$variant" $sources -pthread
	fi
	"$dir/$variant" -max_total_time=$((seconds / 2)) -timeout=20 -max_len=4000 -close_fd_mask=1 -dict=tests/fuzz/scenario.dict \
		-artifact_prefix="$dir/$variant-" -print_final_stats=1 "$dir/corpus"
done
