#!/bin/sh
# SPDX-License-Identifier: MIT
# runtime.sh MINFLT SCENARIO-HOST CASES OPTION... - the scenarios under `minflt run OPTION...`, as TAP.
minflt=$1 runner=$2 cases=$3
shift 3
if ! [ -x "$minflt" ]; then
	echo "1..0 # SKIP $minflt is not built"
	exit 0
fi
if ! out=$("$minflt" run --memory 64M -- true 2>&1); then
	echo "1..0 # SKIP minflt run does not work here: $(printf %s "$out" | head -n 1)"
	exit 0
fi
exec "$minflt" run "$@" -- "$runner" --tap --strict $SCENARIO_OPTIONS "$cases"
