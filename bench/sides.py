# SPDX-License-Identifier: MIT
"""The sides of a comparison: a program natively, over the kernel's own swap in a memory cgroup, and under `minflt run`."""
import argparse
import datetime
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import machine
import report

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20
MACHINE = object()  # in a report: here come the machine and the notes
# Should the kernel's OOM killer end a program though swap is free, the run has no figure; it is repeated, and how often it happened
# is reported.
OOM_REPEATS = 8
# What is taken from the statistics of `minflt run --stats`, and what it is called there.
OWN_KEYS = {"total": "total_peak_bytes", "metadata": "metadata_bytes", "touched": "touched_peak_bytes",
            "pool_peak": "pool_peak_bytes", "mode": "mode", "start_ns": "start_ns", "pool_ratio": "compression_ratio",
            "major": "major", "file_written": "written_bytes", "file_read": "read_bytes", "file_peak": "used_peak_bytes",
            "io_uring": "io_uring", "encrypted": "encrypted"}


class Failed(Exception):
    pass


class Killed(Failed):
    """By the kernel's OOM killer, again and again."""


def size(text):
    units = {"K": 10, "M": 20, "G": 30}
    return int(text[:-1]) << units[text[-1].upper()] if text[-1].upper() in units else int(text)


def number(path):
    with open(path) as f:
        return int(f.read())


def run(argv):
    """=> the program's line of JSON, with its peak resident bytes by the kernel's account as `rss`; Failed when it failed"""
    with tempfile.TemporaryFile() as err:
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=err)
        out = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            err.seek(0)
            said = err.read().decode(errors="replace").strip()
            raise Failed(f"{' '.join(argv)}\nended with status {child.returncode}: {said}")
    return dict(json.loads(out), rss=usage.ru_maxrss * 1024)


def find(tree, name):
    """The first value called `name` anywhere in a JSON document."""
    if isinstance(tree, dict):
        if name in tree:
            return tree[name]
        tree = list(tree.values())
    for branch in tree if isinstance(tree, list) else []:
        if (value := find(branch, name)) is not None:
            return value
    return None


class Watched:
    """Reads the statistics of kernel-swap.sh's cgroup 50 times a second: what is charged at the peak, and how much of that is
    anonymous memory. For the kernel's reclaim it is a help: it goes by counters that are up to 2 s old (they are summed up when somebody
    reads them), takes the inactive list for longer than it is, moves nothing there, and the OOM killer ends a program although swap
    is free: sort and Python in half of their memory, each time."""

    GROUPS = "/sys/fs/cgroup/memory/minflt-bench.*", "/sys/fs/cgroup/minflt-bench.*"

    def __init__(self):
        self.peak = self.anon = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def look(self, group):
        old = "/memory/" in group
        path = group + ("/memory.usage_in_bytes" if old else "/memory.current")
        before = number(path)
        with open(group + "/memory.stat") as f:
            stat = dict(line.split() for line in f)
        usage = number(path)
        if usage > self.peak and abs(usage - before) <= usage // 100: # else the two don't belong together
            self.peak, self.anon = usage, min(usage, int(stat["rss" if old else "anon"]))

    def watch(self):
        while not self.ended.wait(0.02):
            for group in sum((glob.glob(g) for g in self.GROUPS), []):
                try:
                    self.look(group)
                except OSError:
                    pass # it has just ended


class Sides:
    """Runs commands on the sides, and keeps what came out of them. `runner` takes a command and returns a table."""

    def __init__(self, options):
        self.o = options
        self.runs = []
        self.state = {}  # what else is kept with the figures, so that later rounds can be added
        self.first = 0   # number of the first round to be run
        self.load()
        self.folder = tempfile.TemporaryDirectory(prefix="minflt-bench-")
        self.stats = os.path.join(self.folder.name, "stats")
        self.own_stats = os.path.join(self.folder.name, "own-stats")

    def load(self):
        path = stem(self.o)
        if self.o.add and path and os.path.exists(path + ".json"):
            with open(path + ".json") as f:
                kept = json.load(f)
            self.runs, self.state = kept["runs"], kept["state"]
            self.first = 1 + max((r["round"] for r in self.runs), default=-1)

    def store(self):
        """After each run: what an interrupted bench has measured is there for --add."""
        path = stem(self.o)
        if path:
            with open(path + ".json.new", "w") as f:
                runs = ",\n".join(map(json.dumps, self.runs))
                f.write(f'{{"machine": {json.dumps(machine.describe())},\n"state": {json.dumps(self.state)},\n"runs": [\n{runs}\n]}}\n')
            os.replace(path + ".json.new", path + ".json")

    def rounds(self):
        return range(self.first, self.first + self.o.rounds)

    def count_rounds(self, key, but=()):
        """As words: rows may have been measured in different numbers of rounds. `but`: rows with rounds of their own."""
        rows = {}
        for r in self.runs:
            if r["pattern"] not in but and key in r:
                rows.setdefault(r["pattern"], set()).add(r["round"])
        few, many = min(map(len, rows.values()), default=0), max(map(len, rows.values()), default=0)
        return f"{few} to {many} rounds" if few != many else "one round" if many == 1 else f"{many} rounds"

    def cgroup_stats(self):
        with open(self.stats) as f:
            return {k: int(v) for k, v in (line.strip().split("=") for line in f)}

    def in_cgroup(self, options, program, runner=run):
        argv = [os.path.join(HERE, "kernel-swap.sh"), "--stats", self.stats, *options, "--", *program]
        for _ in range(OOM_REPEATS):
            if os.path.exists(self.stats):
                os.unlink(self.stats)
            try:
                with Watched() as watched:
                    result = runner(argv)
                return result, dict(self.cgroup_stats(), peak=watched.peak, anon=watched.anon)
            except Failed:
                if not os.path.exists(self.stats) or not self.cgroup_stats()["oom_kills"]:
                    raise
                self.state["ooms"] = self.state.get("ooms", 0) + 1
                print("bench: the kernel's OOM killer ended this run; repeated", file=sys.stderr)
        raise Killed(f"{' '.join(argv)}: the kernel's OOM killer ended it {OOM_REPEATS} times")

    def minflt_command(self, options, program):
        return [self.o.minflt, "run", "-q", "--compress", "lz4", *options, f"--stats={self.own_stats}", "--", *program]

    def under_minflt(self, options, program, runner=run):
        if os.path.exists(self.own_stats):
            os.unlink(self.own_stats)
        result = runner(self.minflt_command(options, program))
        with open(self.own_stats) as f:
            stats = json.load(f)
        own = {key: find(stats, name) for key, name in OWN_KEYS.items()}
        return dict(result, **own)

    def keep(self, name, side, nr, result, key, unit):
        self.runs.append(dict(result, side=side, round=nr, pattern=name))
        self.store()
        print(f"round {nr + 1}  {name:18} {side:14} {result[key]:10.1f} {unit}", file=sys.stderr)

    def by_round(self, name, side, key):
        return {r["round"]: r[key] for r in sorted(self.runs, key=lambda r: r["round"])
                if r["pattern"] == name and r["side"] == side and r.get(key) is not None}

    def values(self, name, side, key):
        return list(self.by_round(name, side, key).values())

    def median(self, name, side, key):
        values = self.values(name, side, key)
        return statistics.median(values) if values else None

    def ratio(self, name, over, under, key):
        """=> (ratio of the medians, smallest, largest of the rounds), or None"""
        a, b = self.by_round(name, over, key), self.by_round(name, under, key)
        each = [a[nr] / b[nr] for nr in a if nr in b]
        if not each:
            return None
        return statistics.median(a.values()) / statistics.median(b.values()), min(each), max(each)


def why_no_kernel(o, *options):
    if o.no_kernel:
        return "--no-kernel was given"
    check = subprocess.run([os.path.join(HERE, "kernel-swap.sh"), "--check", *options], stderr=subprocess.PIPE, text=True)
    return check.stderr.strip() if check.returncode else None


def why_no_minflt(o):
    if o.no_minflt:
        return "--no-minflt was given"
    if not os.access(o.minflt, os.X_OK):
        return f"{os.path.relpath(o.minflt, os.path.dirname(HERE))} is not there: build it first"
    doctor = subprocess.run([o.minflt, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not doctor.returncode:
        return None
    trouble = [line for line in doctor.stdout.splitlines() if line and not line.startswith("ok ")]
    return "`minflt doctor` says it can't run here: " + "; ".join(trouble)


def parser(name, description, kind):
    p = argparse.ArgumentParser(prog=f"bench/run.sh {name}", description=description)
    p.add_argument("--rounds", type=int, help="rounds, each running every side once (default 5)")
    p.add_argument("--quick", action="store_true", help="one round with little data: a look, no result")
    p.add_argument("--only", action="append", metavar="NAME", help="only this one of the rows (may be repeated)")
    p.add_argument("--add", action="store_true", help="add rounds to the results of today, if there are any (--rounds 0: only write the report anew)")
    p.add_argument("--no-kernel", action="store_true", help="leave the kernel's side out")
    p.add_argument("--no-minflt", action="store_true", help="leave minflt's side out")
    p.add_argument("--out", help="folder for the results (default: bench/results; with --quick: none are written)")
    p.add_argument("--kind", help=f"last part of the file's name (default: {kind}, or {kind}-quick)")
    p.add_argument("--build", required=True, help=argparse.SUPPRESS)
    p.set_defaults(default_kind=kind)
    return p


def parse(p, known):
    o = p.parse_args()
    o.minflt = os.path.join(o.build, "minflt")
    o.pattern_program = os.path.join(o.build, "bench", "pattern")
    o.rounds = (1 if o.quick else 5) if o.rounds is None else o.rounds
    o.kind = o.kind or o.default_kind + ("-quick" if o.quick else "")
    o.out = o.out or (None if o.quick else os.path.join(HERE, "results"))
    for name in o.only or []:
        if name not in known:
            p.error(f"nothing here is called '{name}'; there are: {', '.join(known)}")
    return o


def chosen(o, rows):
    return [row for row in rows if not o.only or row[0] in o.only]


def busy():
    """The share of the processors' time that is used, within half a second."""
    def look():
        with open("/proc/stat") as f:
            times = [int(word) for word in f.readline().split()[1:9]]
        return sum(times), times[3] + times[4]
    (before, idle_before), _, (after, idle) = look(), time.sleep(0.5), look()
    return 1 - (idle - idle_before) / max(1, after - before)


def load_note(o):
    """=> the note, in a list; none when nothing is measured"""
    if not o.rounds:
        return []
    share = busy()
    return [f"busy before the run: {share * 100:.0f} % of the processors" + (" (**the figures are disturbed**)" if share > 0.1 else "")]


def left_out(reasons):
    """reasons: {side: why or None} => notes, said on standard error as well"""
    notes = [f"the side of {side} was not measured: {why}" for side, why in reasons.items() if why]
    for note in notes:
        print("bench: " + note, file=sys.stderr)
    return notes


def stem(o):
    """The results' path without an extension; None: nothing is written."""
    if not o.out:
        return None
    os.makedirs(o.out, exist_ok=True)
    return os.path.join(o.out, f"{today()}-{machine.slug()}-{o.kind}")


def today():
    return datetime.date.today()


def picture(o):
    """The path of the results' plot; None: nothing is written."""
    return stem(o) and stem(o) + ".svg"


def save(b, parts, notes):
    """The report and the raw figures; the report is printed as well."""
    path = stem(b.o)
    if b.state.get("ooms"):
        notes = notes + [f"the kernel's OOM killer ended {b.state['ooms']} runs of the kernel's side although swap was free; they were repeated"]
    parts = [part for p in parts for part in ([f"- {line}" for line in machine.describe() + notes] if p is MACHINE else [p])]
    text = "\n".join(parts + ["", report.kept_remarks(path and path + ".md"), ""])
    if path:
        with open(path + ".md", "w") as f:
            f.write(text)
        b.store()
    print(text)


def clock(argv):
    """=> seconds from the start of a program to its end, which must be a good one"""
    start = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise Failed(f"{' '.join(argv)}\nended with status {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return seconds
