#!/bin/bash
# SPDX-License-Identifier: MIT
#
# check.sh - `make check`: set up, then every test there is:
#
#   build        all suites                          as users get it, with assertions
#   build-asan   unit, scenario, freestanding, cli   AddressSanitizer and UndefinedBehaviorSanitizer
#   build-tsan   threads                             ThreadSanitizer
#   clang-tidy   all sources
#
# Each step's results are collected, and what was skipped is named with its reason. Last line: N passed, N failed, N skipped.
# Status: 0 nothing failed.
#
#   SKIP_DEPS=1  leave out the installation of packages
set -u
cd "$(dirname "$0")/.." || exit 1

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
export PYTHONDONTWRITEBYTECODE=1

note() { # note STATUS NAME TEXT: one result
	printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$results/list"
}

headline() {
	printf '\n=== %s (%d s)\n' "$1" $SECONDS
}

# build DIR MESON-OPTION...: configure and compile; the output is shown when it fails
build() {
	local dir=$1
	shift
	if { [ -e "$dir/build.ninja" ] || meson setup "$dir" "$@"; } >"$results/log" 2>&1 && ninja -C "$dir" >>"$results/log" 2>&1; then
		return 0
	fi
	cat "$results/log"
	note FAIL "$dir: build" "does not build; the output is above"
	return 1
}

# run_suites DIR [SUITE...]
run_suites() {
	local dir=$1 args=() suite
	shift
	for suite in "$@"; do
		args+=(--suite "$suite")
	done
	rm -f "$dir/meson-logs/testlog.json"
	meson test -C "$dir" --no-rebuild --print-errorlogs "${args[@]}" </dev/null
	[ -s "$dir/meson-logs/testlog.json" ] || { note SKIP "$dir: $*" "there are no such tests"; return; }
	python3 tests/results.py "$dir" >>"$results/list" || note FAIL "$dir: tests" "no results"
}

tidy() {
	command -v clang-tidy >/dev/null || { note SKIP clang-tidy "clang-tidy is missing"; return; }
	# What the compiler got and gcc's own options that clang does not know. The programs of tests/diff misbehave on purpose.
	mkdir "$results/db"
	python3 tests/results.py --tidy build "$results/db" | grep -v 'tests/diff/' |
		xargs -d '\n' -P "$(nproc)" -n 1 clang-tidy -p "$results/db" --quiet --extra-arg=-Wno-unknown-warning-option >"$results/tidy" 2>"$results/tidy.err"
	if [ $? -eq 0 ]; then
		note PASS clang-tidy ""
		return
	fi
	cat "$results/tidy"
	grep -v 'warnings generated' "$results/tidy.err"
	note FAIL clang-tidy "the findings are above"
}

if [ -z "${SKIP_DEPS:-}" ]; then
	tools/deps.sh || exit 1
fi

headline "build, all tests"
make --no-print-directory all >"$results/log" 2>&1
if [ $? -eq 0 ]; then
	run_suites build
	headline "clang-tidy"
	tidy
else
	cat "$results/log"
	note FAIL "build" "does not build; the output is above"
fi

headline "AddressSanitizer, UndefinedBehaviorSanitizer"
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
build build-asan -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized && run_suites build-asan unit scenario freestanding sanitize
headline "ThreadSanitizer"
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
build build-tsan -Db_sanitize=thread -Db_lundef=false -Dbuildtype=debugoptimized && run_suites build-tsan threads

headline "result"
python3 tests/results.py --summary "$results/list"
