# SPDX-License-Identifier: MIT
"""Reads and adds up test results for check.sh.

results.py BUILD            the last test run of a build directory, one line each: STATUS <tab> NAME <tab> TEXT
results.py --summary LIST   such lines added up; status 1 if anything failed or nothing passed
results.py --sources BUILD  the C files of the project that the build compiles
"""
import json
import os
import sys


def last_line(test):
    lines = [line.strip() for line in (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def reason(test):
    """Why a test that ended with 77 was skipped: what it said about it, else its last line."""
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    said = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.lower().startswith(("skip:", "skipped:"))]
    return "; ".join(dict.fromkeys(said)) or last_line(test) or "no reason given"


def results(build):
    path = os.path.join(build, "meson-logs", "testlog.json")
    if not os.path.exists(path):
        return  # no test of these suites in this build
    with open(path) as f:
        for line in f:
            test = json.loads(line)
            name = f"{build}: {test['name'].split(' / ')[-1]}"
            if test["result"] == "EXPECTEDFAIL":
                yield "SKIP", name, "known to fail: an open fault, kept as a test"
            elif test["result"] == "OK":
                yield "PASS", name, ""
                # A test of many cases says of each that it left out.
                for said in test.get("stdout", "").splitlines():
                    if said.startswith("SKIP: "):
                        yield "SKIP", name, said[6:]
            elif test["result"] == "SKIP":
                yield "SKIP", name, reason(test)
            else:
                yield "FAIL", name, f"{test['result'].lower()}: {last_line(test)}"


def summary(path):
    with open(path) as f:
        rows = [line.rstrip("\n").split("\t", 2) for line in f]
    count = {status: sum(row[0] == status for row in rows) for status in ("PASS", "FAIL", "SKIP")}
    for status, word in ("SKIP", "skipped"), ("FAIL", "failed"):
        for row in rows:
            if row[0] == status:
                print(f"{word}: {row[1]}: {row[2]}")
    print(f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped")
    return 1 if count["FAIL"] or not count["PASS"] else 0


def sources(build):
    with open(os.path.join(build, "compile_commands.json")) as f:
        files = {os.path.realpath(os.path.join(c["directory"], c["file"])) for c in json.load(f)}
    root = os.path.realpath(".")
    return sorted(os.path.relpath(f, root) for f in files if f.startswith(root + os.sep) and f.endswith(".c") and
                  not os.path.relpath(f, root).startswith("build"))


def main():
    if sys.argv[1] == "--summary":
        return summary(sys.argv[2])
    if sys.argv[1] == "--sources":
        print("\n".join(sources(sys.argv[2])))
        return 0
    for row in results(sys.argv[1]):
        print("\t".join(part.replace("\t", " ").replace("\n", " ") for part in row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
