#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""engine.py ENGINE HOST [--check] [--quick] [--counts=FILE]: what a fault costs in the engine, and in the host's kernel.

ENGINE is bench/engine, HOST is bench/engine-host. Prints a Markdown table and writes it into results/ (not with --quick). Instructions are counted by valgrind
(callgrind) if it is there: the difference of two runs of different length, so that what is done once does not count.

  --check   no table: the anonymous fault has to stay within its 250 instructions. Status 77: valgrind is missing.
  --counts=FILE   instructions that were counted before are taken from FILE, others are added to it: counting takes long, and doesn't mind what
            else the machine does, which timing does
"""
import datetime
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import machine

LIMIT_ANON, LIMIT_AROUND = 250, 60
ENTRY = {"fork": "dup_mm"}
SHORT, LONG = 16384, 81920
counts_file = None


def own_cost(path):
    """The instructions in a file of callgrind's, those that copy pages (memcpy) apart."""
    names, total, copying, inclusive = {}, 0, False, False
    with open(path) as f:
        for line in f:
            found = re.match(r"fn=\((\d+)\)(?: (.*))?", line)
            if found:
                if found.group(2):
                    names[found.group(1)] = found.group(2)
                copying = re.search(r"mem(cpy|move)", names[found.group(1)]) is not None
            elif (found := re.match(r"cfn=\((\d+)\) (.*)", line)):
                names[found.group(1)] = found.group(2)
            elif line.startswith("calls="):
                inclusive = True # what the called function costs, which is counted there
            elif (found := re.match(r"[+*\d-]\S* (\d+)$", line)):
                total += 0 if inclusive or copying else int(found.group(1))
                inclusive = False
    return total


def instructions(engine, mode, beside=0, short=SHORT, long=LONG):
    """Instructions for one access, in do_page_fault() or dup_mm() and what they call."""
    def collected(n):
        with tempfile.TemporaryDirectory() as tmp:
            out = os.path.join(tmp, "callgrind")
            subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                            f"--toggle-collect={ENTRY.get(mode, 'do_page_fault')}", engine, mode, str(n), str(beside)],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return own_cost(out)

    known = json.load(open(counts_file)) if counts_file and os.path.exists(counts_file) else {}
    key = f"{mode} {beside}"
    if key not in known:
        known[key] = (collected(long) - collected(short)) / (long - short)
        if counts_file:
            with open(counts_file, "w") as f:
                json.dump(known, f)
    return known[key]


def ns(program, *args, rounds=5):
    """The median, in nanoseconds an access; None: the host can't."""
    times = []
    for _ in range(rounds):
        run = subprocess.run([program, *map(str, args)], capture_output=True, text=True)
        if run.returncode == 77:
            return None
        run.check_returncode()
        times.append(float(re.search(r": ([0-9.]+) ns", run.stdout).group(1)))
    return statistics.median(times)


def ratio(program, mode, n, rounds=7):
    values = []
    for _ in range(rounds):
        run = subprocess.run([program, mode, str(n)], capture_output=True, text=True, check=True)
        values.append(float(re.search(r"ratio ([0-9.]+)", run.stdout).group(1)))
    return statistics.median(values), min(values), max(values)


def check(engine):
    if not shutil.which("valgrind"):
        print("SKIP: valgrind is missing, and instructions can't be counted")
        return 77
    got = instructions(engine, "anon")
    print(f"anonymous fault: {got:.0f} instructions, at most {LIMIT_ANON} are allowed")
    return got > LIMIT_ANON


ROWS = [
    ("anon", "anonymous fault, without the zeroing", "a store to each page of a fresh mapping"),
    ("file", "load of one cached page of a file", "mappings of one page each"),
    ("around", "fault-around, per page of 16", "a load every 16 pages"),
    ("cow-reuse", "copy on write: reuse", "after the child's end"),
    ("cow-copy", "copy on write: copy", "the child lives"),
    ("fork", "fork, per mapped page of 1 GiB", "fork(2) alone"),
]


def report(engine, host, quick):
    n = 32768 if quick else 262144
    rounds = 3 if quick else 7
    counted = shutil.which("valgrind") is not None
    lines = ["# One resolved fault", "", *[f"- {line}" for line in machine.describe()], "",
             "The engine runs on a machine that costs nothing; the host's kernel zeroes, changes real tables and returns to the program, "
             "so that the two columns of times are no contest, but the same pattern.", "",
             "| | instructions | engine | host's kernel | pattern on the host |", "|---|---|---|---|---|"]
    for mode, title, pattern in ROWS:
        count = instructions(engine, mode) if counted else None
        if mode == "cow-copy":
            title += " (instructions without the copying)"
        theirs = ns(host, mode, min(n, 30000) if mode == "file" else n, rounds=rounds)
        lines.append(f"| {title} | {'-' if count is None else f'{count:.0f}'} | {ns(engine, mode, n, rounds=rounds):.0f} ns "
                     f"| {'-' if theirs is None else f'{theirs:.0f} ns'} | {pattern} |")
    lines += ["", "Two threads against one, anonymous faults, work done in the same time (2.00: twice as much):", "",
              "| | median | lowest | highest |", "|---|---|---|---|"]
    for mode, title in (("threads-spaces", "two address spaces"), ("threads-tables", "one address space, separate tables"),
                        ("threads-nothing", "arithmetic in registers: what the machine can give")):
        lines.append("| %s | %.2f | %.2f | %.2f |" % (title, *ratio(engine, mode, n)))
    lines += ["", "Cost beside other mappings and resident pages, anonymous fault:", "", "| | instructions | time |", "|---|---|---|"]
    for mode, title, sizes in (("maps", "mappings, faults at random among them", (1, 100, 10000, 1000000)),
                               ("resident", "resident pages", (0, 10000, 1000000))):
        for m in sizes:
            count = f"{instructions(engine, mode, m, 4096, 20480):.0f}" if counted else "-"
            lines.append(f"| {m} {title} | {count} | {ns(engine, mode, 65536, m, rounds=3):.0f} ns |")
    return "\n".join(lines) + "\n"


def main(argv):
    global counts_file
    args = [a for a in argv if not a.startswith("--")]
    engine, host = args[0], args[1] if len(args) > 1 else None
    counts_file = next((a[len("--counts="):] for a in argv if a.startswith("--counts=")), None)
    if "--check" in argv:
        return check(engine)
    text = report(engine, host, "--quick" in argv)
    print(text)
    if "--quick" not in argv:
        results = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results")
        with open(os.path.join(results, f"{datetime.date.today()}-{machine.slug()}-engine.md"), "w") as f:
            f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
