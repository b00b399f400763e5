#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/walkthrough.md: every scenario of examples/scenarios with what `minflt walk` prints of it.

    walkthrough.py MINFLT           compare; 1 and the first difference if they differ
    walkthrough.py MINFLT --write   write it anew

Each scenario begins with comments: a title, an empty one, what it shows, and a line `# walk: OPTIONS`."""
import difflib
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCENARIOS = os.path.join(ROOT, "examples", "scenarios")
DOCUMENT = os.path.join(ROOT, "docs", "walkthrough.md")

HEAD = """# Page faults of three kernels, step by step

This page is made by `make walkthrough` from the scenarios in [examples/scenarios](../examples/scenarios), and a test compares it with what the
command prints. minflt-walk(1) tells about the command, minflt-scenario(5) about the language.

How to read it: a statement, then each page fault that it took, as the tree of the calls that resolved it, indented as they call each other.
`-->` tells why a function went on as it did, ` = ` what has changed: the entry of the page, the references to a frame (refs) and the entries that map
it (map), counters. `[and 3 more]` stands for calls that repeat the one before, with other pages. At the end of each fault stands the entry of the
page before and after it. Addresses and numbers of frames are the engine's.

"""

PARTS = [
    ("5-", "linux-5", "The fault path of Linux 5 and 6; where they differ, by the rules of 6.x if nothing else is said."),
    ("2.6-", "linux-2.6", "The fault path of Linux 2.6.24: no zero page, no fault-around, and entries that hold places in files."),
    ("2.0-", "linux-2.0", "The fault path of Linux 1.0, whose functions are described under the name of 2.0: no reverse map, no page cache, pages "
                          "shared by looking into other tasks' tables; and that of 2.0.33."),
]
FIRST = ["5-anonymous", "5-two-levels", "5-five-levels", "5-fork", "5-fork-advice", "5-reuse-rules", "5-mprotect", "5-file-read", "5-file-cold",
         "5-file-advice", "5-file-private-write", "5-file-shared-write", "5-shared-anonymous", "5-truncate", "5-swap", "5-swap-fork", "5-reclaim", "5-workingset",
         "5-populate", "5-stack", "5-signals", "5-kernel-fault", "5-arm",
         "2.6-anonymous", "2.6-linear", "2.6-cold", "2.6-advice", "2.6-wp", "2.6-fork", "2.6-nonlinear", "2.6-swap", "2.6-arm", "2.6-signals",
         "2.0-anonymous", "2.0-file", "2.0-share", "2.0-write", "2.0-heap-and-stack", "2.0-swap", "2.0-reclaim", "2.0-signals", "2.0-page-cache"]


def read(name):
    """title, description, options, statements"""
    with open(os.path.join(SCENARIOS, name + ".scn"), encoding="utf-8") as f:
        lines = f.read().splitlines()
    head = [line[1:].strip() for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#")]
    options = [line[len("walk:"):].split() for line in head if line.startswith("walk:")]
    if len(options) != 1:
        sys.exit(f"{name}.scn: one line '# walk: OPTIONS' is needed")
    return head[0], " ".join(line for line in head[1:] if line and not line.startswith("walk:")), options[0], body


def walk(minflt, name, options):
    p = subprocess.run([minflt, "walk", "--color=never", *options, f"examples/scenarios/{name}.scn"], cwd=ROOT, stdin=subprocess.DEVNULL,
                       text=True, capture_output=True, timeout=60)
    if p.returncode:
        sys.exit(f"{name}.scn: status {p.returncode}: {p.stderr}")
    return p.stdout


def names():
    here = sorted(n[:-4] for n in os.listdir(SCENARIOS) if n.endswith(".scn"))
    return [n for n in FIRST if n in here] + [n for n in here if n not in FIRST]


def document(minflt):
    text = HEAD
    for prefix, title, about in PARTS:
        text += f"## {title}\n\n{about}\n\n"
        for name in [n for n in names() if n.startswith(prefix)]:
            title, about, options, body = read(name)
            shown = " ".join(["minflt walk", *options, f"examples/scenarios/{name}.scn"])
            text += f"### {title}\n\n" + (f"{about}\n\n" if about else "")
            text += "```\n" + "\n".join(body) + "\n```\n\n"
            text += f"```\n$ {shown}\n{walk(minflt, name, options)}```\n\n"
    return text


def main():
    new = document(sys.argv[1])
    if sys.argv[2:] == ["--write"]:
        with open(DOCUMENT, "w", encoding="utf-8") as f:
            f.write(new)
        return
    with open(DOCUMENT, encoding="utf-8") as f:
        old = f.read()
    if old != new:
        diff = difflib.unified_diff(old.splitlines(), new.splitlines(), "docs/walkthrough.md", "what is printed now", lineterm="", n=2)
        print("\n".join(list(diff)[:60]))
        sys.exit("docs/walkthrough.md is not what the command prints: 'make walkthrough' writes it anew")


main()
