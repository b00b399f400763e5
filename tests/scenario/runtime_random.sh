#!/bin/sh
# SPDX-License-Identifier: MIT
# runtime_random.sh MINFLT SCENARIO-HOST SCENARIO-RANDOM N SEED OPTION...
# N random scenarios under `minflt run OPTION...`, as TAP. What the host's kernel makes of each without minflt is what is
# expected: bytes, signals, errors. Faults are not compared. KEEP=DIRECTORY keeps the scenarios of a run that failed.
minflt=$1 runner=$2 random=$3 nr=$4 seed=$5
shift 5
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
for i in $(seq "$nr"); do
	if ! "$random" emit $((seed + i)) >"$dir/seed-$((seed + i)).scn"; then
		echo "Bail out! the host itself can't run seed $((seed + i))"
		exit 1
	fi
done
SCENARIO_OPTIONS=--no-counts "$(dirname "$0")/runtime.sh" "$minflt" "$runner" "$dir" "$@"
status=$?
if [ $status -ne 0 ] && [ -n "$KEEP" ]; then
	cp "$dir"/*.scn "$KEEP"
fi
exit $status
