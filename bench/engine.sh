#!/bin/sh
# SPDX-License-Identifier: MIT
#
# engine.sh - what one fault costs in the engine, and beside it in the host's kernel: a Markdown table, also written into results/.
# BUILD names the build directory (default: build). --quick: a look, nothing is written.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${BUILD:-$here/../build}
[ -x "$build/bench/engine" ] || { echo "engine.sh: $build/bench/engine is missing: ninja -C $build" >&2; exit 1; }
exec python3 -B "$here/engine.py" "$build/bench/engine" "$build/bench/engine-host" "$@"
