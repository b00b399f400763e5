# SPDX-License-Identifier: MIT
"""Reads and adds up test results for check.sh.

results.py BUILD            the last test run of a build directory, one line each: STATUS <tab> NAME <tab> TEXT; for a failed test TEXT goes on,
                            after carriage returns, with the last lines of what it has put out
results.py --summary LIST   such lines added up; status 1 if anything failed or nothing passed
results.py --tidy BUILD OUT the C files of the project that the build compiles, and in OUT/compile_commands.json how: what is compiled
                            several times stands there once for each set of macros that the sources ask for
"""
import json
import os
import re
import shlex
import sys


KEPT_LINES = 40  # of what a failed test has put out, for the summary


def last_line(test):
    lines = [line.strip() for line in (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def ending(test):
    """The last lines of both streams, errors at the end."""
    return [line.rstrip() for stream in ("stdout", "stderr") for line in test.get(stream, "").splitlines()[-KEPT_LINES:] if line.strip()]


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
                yield "FAIL", name, "\r".join([f"{test['result'].lower()}: {last_line(test)}", *ending(test)])


def summary(path):
    with open(path, newline="\n") as f:
        rows = [line.rstrip("\n").split("\t", 2) for line in f]
    count = {status: sum(row[0] == status for row in rows) for status in ("PASS", "FAIL", "SKIP")}
    failed = [(row[1], *row[2].split("\r")) for row in rows if row[0] == "FAIL"]
    for name, _, *lines in failed: # once more where it is read first
        if lines:
            print("\n".join([f"--- {name}", *lines, "---"]))
    for row in rows:
        if row[0] == "SKIP":
            print(f"skipped: {row[1]}: {row[2]}")
    for name, what, *_ in failed:
        print(f"failed: {name}: {what}")
    print(f"{count['PASS']} passed, {count['FAIL']} failed, {count['SKIP']} skipped")
    return 1 if count["FAIL"] or not count["PASS"] else 0


def macros_of_headers(root):
    names = set()
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith((".", "build"))]
        for name in files:
            if name.endswith(".h"):
                with open(os.path.join(folder, name)) as f:
                    names.update(macros_of(f.read()))
    return names


def macros_of(text):
    """What a source asks for by #if and its like."""
    return set(word for line in re.findall(r"^\s*#\s*(?:el)?if.*", text, re.M) for word in re.findall(r"\w+", line))


def tidy(build, out):
    root = os.path.realpath(".")
    asked = macros_of_headers(root)
    entries = {}
    with open(os.path.join(build, "compile_commands.json")) as f:
        for entry in json.load(f):
            path = os.path.realpath(os.path.join(entry["directory"], entry["file"]))
            relative = os.path.relpath(path, root)
            if not path.startswith(root + os.sep) or not path.endswith(".c") or relative.startswith("build"):
                continue
            with open(path) as source:
                wanted = asked | macros_of(source.read())
            defined = {arg[2:].split("=")[0] for arg in shlex.split(entry["command"]) if arg.startswith("-D")}
            entries.setdefault((relative, frozenset(defined & wanted)), entry)
    with open(os.path.join(out, "compile_commands.json"), "w") as f:
        json.dump(list(entries.values()), f)
    return sorted({relative for relative, _ in entries})


def main():
    if sys.argv[1] == "--summary":
        return summary(sys.argv[2])
    if sys.argv[1] == "--tidy":
        print("\n".join(tidy(sys.argv[2], sys.argv[3])))
        return 0
    for row in results(sys.argv[1]):
        print("\t".join(part.replace("\t", " ").replace("\n", " ") for part in row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
