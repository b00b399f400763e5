#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""smoke.py BUILD BENCH [OPTION...] - a test: the bench runs with little data, and its report and figures hold what they should.

A side that can't be had here must be named in the report, with the reason. 77 when none can be had."""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
# Sides by bench, the key of their figure, and the row that a table must hold.
EXPECTED = {
    "patterns": ({"kernel", "minflt", "minflt_equal", "minflt_pages"}, "ns_per_op", "| sequential read |"),
    "programs": ({"kernel", "minflt", "minflt_equal"}, "seconds", "| sort, one thread |"),
    "spill": ({"kernel", "minflt", "minflt_raw"}, "ns_per_op", "| random read |"),
    "start": ({"native", "minflt"}, None, "| true |"),
    "where": ({"kernel", "minflt"}, "faults", "fault path"),
}


def check(folder, bench):
    """=> what is wrong, or None; exits with 77 when nothing could be measured"""
    want, key, row = EXPECTED[bench]
    [path] = glob.glob(f"{folder}/*.md")
    with open(path) as f:
        text = f.read()
    with open(path[:-3] + ".json") as f:
        runs = json.load(f)["runs"]
    absent = set(re.findall(r"the side of (\w+) was not measured: ..", text))
    absent |= {side for side in want if side.split("_")[0] in absent} | ({"minflt_equal", "minflt_pages"} if absent else set())
    if want <= absent | {"native"}:
        print(text)
        sys.exit(77)
    seen = {run["side"] for run in runs}
    if not want - absent <= seen:
        return f"no figures for {want - absent - seen}"
    bad = [run for run in runs if run["side"] in want and key and key in run and not run[key] > 0]
    if bad:
        return f"no time at all: {bad}"
    if row not in text:
        return f"no row '{row}' in the report"
    for picture in re.findall(r"\]\((.*\.svg)\)", text):
        xml.etree.ElementTree.parse(os.path.join(folder, picture))
    return None


def main(build, bench, *options):
    with tempfile.TemporaryDirectory(prefix="minflt-bench-smoke-") as folder:
        command = [os.path.join(HERE, "run.sh"), bench, "--quick", "--out", folder, *options]
        done = subprocess.run(command, env=dict(os.environ, BUILD=build))
        wrong = f"status {done.returncode}" if done.returncode else check(folder, bench)
        if not wrong: # rounds can be added to what is there
            done = subprocess.run([*command, "--add"], env=dict(os.environ, BUILD=build), stdout=subprocess.PIPE, text=True)
            wrong = None if done.returncode == 0 and "2 rounds" in done.stdout else f"--add: status {done.returncode}: {done.stdout}"
    if wrong:
        sys.exit(f"smoke: {wrong}")


main(*sys.argv[1:])
