#!/bin/sh
# SPDX-License-Identifier: MIT
# host_stack.sh ORACLE SCENARIO - the scenario on the host and on the engine, with the runner's stack at 256 places in its page: wherever a page
# ends between the frames of the runner, none of its own faults is counted.
oracle=$1 scenario=$2 failed=0 pad=
for i in $(seq 256); do
	pad=${pad}xxxxxxxxxxxxxxxx
	# Without random addresses, where that can be had, so that every place comes up.
	if ! out=$(PAD=$pad setarch -R "$oracle" files "$scenario" 2>&1); then
		echo "with $((i * 16)) bytes more: $out"
		failed=1
	fi
done
exit $failed
