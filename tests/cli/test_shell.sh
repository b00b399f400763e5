#!/bin/sh
# SPDX-License-Identifier: MIT
#
# test_shell.sh SOURCE_ROOT - shellcheck over the scripts of the sources, and mandoc over the manual pages.
set -u
cd "$1" || exit 1
failed=0
if command -v mandoc >/dev/null; then
	for page in man/*.[1-9]; do
		mandoc -Tlint -W warning "$page" || failed=1
	done
else
	echo "SKIP: manual pages: mandoc is missing"
fi
if command -v shellcheck >/dev/null; then
	# shellcheck disable=SC2046 # names without spaces
	shellcheck -S warning $(git ls-files '*.sh' .ci/run 2>/dev/null || find tools tests bench .ci -name '*.sh') || failed=1
else
	echo "SKIP: shell scripts: shellcheck is missing"
fi
exit $failed
