# SPDX-License-Identifier: MIT
"""minflt against the kernel's own swap on zram: runs pattern.c on both sides in turn, and writes a table and a plot.

Both sides get the same number of uncompressed pages (half the working set) and LZ4. A cgroup also charges what is not
the region (page tables, stacks, the program's own data): that is measured first, in a cgroup without a limit, and added
to the kernel's limit.
"""
import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile

import machine
import plot
import report

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1 << 20

# Name, what it is, the least kernel/minflt that is promised (None: reported only).
SWAP_PATTERNS = [
    ("seq-read", "sequential read", 2.5),
    ("rand-read", "random read", 1.1),
    ("rand-write", "random write", 0.9),
    ("fill", "first fill", 1.0),
    ("stride", "strided read, every 8th page", None),
    ("two-streams", "two interleaved streams, read", None),
    ("threads-rand-read", "random read, two threads", None),
    ("zipf", "Zipf 0.99 read", None),
]
# A working set that fits: the most minflt/native that is promised.
FIT_PATTERNS = [
    ("fit-seq-read", "sequential read", 1.03),
    ("fit-rand-read", "random read", 1.03),
    ("fit-rand-write", "random write", 1.03),
    ("fit-fill", "first fill (every access is a fault)", None),
]
# But for the fill these run without faults, and what differs is which physical pages one happens to get: the rounds spread by
# a tenth, so there are more of them.
FIT_TURNS = 4
# What metadata costs: name, what it is, bytes touched, bytes of frames.
RESERVE_RUNS = [
    ("reserve", "1 TiB reserved, 64 MiB of it touched, 32 MiB of frames", 64 * MIB, 32 * MIB),
    ("reserve-256", "1 TiB reserved, 256 MiB of it touched, 128 MiB of frames", 256 * MIB, 128 * MIB),
]
# At a limit this tight the kernel's reclaim sometimes finds nothing in time, and its OOM killer ends the program though
# swap is free. Such a run has no figure; it is repeated, and how often it happened is reported.
OOM_REPEATS = 10
# What is taken from the statistics of `minflt run --stats`, and what it is called there.
OWN_KEYS = {"total": "total_peak_bytes", "metadata": "metadata_bytes", "touched": "touched_peak_bytes",
            "pool_peak": "pool_peak_bytes", "mode": "mode", "start_ns": "start_ns", "pool_ratio": "compression_ratio"}


class Failed(Exception):
    pass


def size(text):
    units = {"K": 10, "M": 20, "G": 30}
    return int(text[:-1]) << units[text[-1].upper()] if text[-1].upper() in units else int(text)


def run(argv):
    """=> (parsed output, peak resident bytes by the kernel's account); Failed when it failed or found a wrong byte"""
    with tempfile.TemporaryFile() as err:
        child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=err)
        out = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            err.seek(0)
            said = err.read().decode(errors="replace").strip()
            raise Failed(f"{' '.join(argv)}\nended with status {child.returncode}: {said}")
    return json.loads(out), usage.ru_maxrss * 1024


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


def frames_budget(frames):
    return ["--resident", str(frames), "--pool", str(4 << 30)]


class Bench:
    def __init__(self, options):
        self.o = options
        self.overhead = 0
        self.ooms = 0
        self.fit_turns = FIT_TURNS
        self.kernel_total = {}
        self.runs = []
        self.folder = tempfile.TemporaryDirectory(prefix="minflt-bench-")
        self.stats = os.path.join(self.folder.name, "stats")
        self.own_stats = os.path.join(self.folder.name, "own-stats")

    def program(self, name, bytes_):
        argv = [self.o.pattern_program, "--pattern", name, "--size", str(bytes_), "--seed", str(self.o.seed)]
        return argv + (["--latency"] if self.o.latency else [])

    def native(self, name, bytes_, frames):
        result, rss = run(self.program(name, bytes_))
        return dict(result, total=rss)

    def cgroup_stats(self):
        with open(self.stats) as f:
            return {k: int(v) for k, v in (line.strip().split("=") for line in f)}

    def in_cgroup(self, options, program):
        argv = [os.path.join(HERE, "kernel-swap.sh"), "--stats", self.stats, *options, "--", *program]
        for attempt in range(OOM_REPEATS):
            if os.path.exists(self.stats):
                os.unlink(self.stats)
            try:
                result, _ = run(argv)
                return result, self.cgroup_stats()
            except Failed:
                if attempt == OOM_REPEATS - 1 or not os.path.exists(self.stats) or not self.cgroup_stats()["oom_kills"]:
                    raise
                self.ooms += 1
                print("bench: the kernel's OOM killer ended this run; repeated", file=sys.stderr)
        return None

    def kernel(self, name, bytes_, frames, cluster=None):
        limit = ["--limit", str(frames + self.overhead)] if frames else []
        limit += ["--page-cluster", str(cluster)] if cluster is not None else []
        result, stats = self.in_cgroup(limit, self.program(name, bytes_))
        return dict(result, memory_peak=stats["memory_peak"], zram_peak=stats["zram_peak"],
                    total=stats["memory_peak"] + stats["zram_peak"])

    def kernel_pc0(self, name, bytes_, frames):
        return self.kernel(name, bytes_, frames, cluster=0)

    def minflt_command(self, budget, program):
        return [self.o.minflt, "run", "-q", *budget, "--compress", "lz4", f"--stats={self.own_stats}", "--", *program]

    def under_minflt(self, budget, program):
        if os.path.exists(self.own_stats):
            os.unlink(self.own_stats)
        result, rss = run(self.minflt_command(budget, program))
        with open(self.own_stats) as f:
            stats = json.load(f)
        own = {key: find(stats, name) for key, name in OWN_KEYS.items()}
        return dict(result, rss=rss, **own)

    def count_minflt(self, name, bytes_, frames):
        """minflt's memory by the kernel's account, in a cgroup without limit or swap; not timed."""
        argv = self.minflt_command(frames_budget(frames), self.program(name, bytes_))
        _, stats = self.in_cgroup(["--count-only"], argv)
        self.runs.append({"side": "minflt", "round": 0, "pattern": name, "cgroup": stats["memory_peak"]})

    def minflt(self, name, bytes_, frames):
        return self.under_minflt(frames_budget(frames), self.program(name, bytes_))

    def minflt_equal(self, name, bytes_, frames):
        """minflt with as much memory in all as the kernel's side took in all, to divide as it likes."""
        if name not in self.kernel_total:
            self.kernel_total[name] = self.kernel(name, bytes_, frames)["total"] - self.overhead
        return self.under_minflt(["--memory", str(self.kernel_total[name])], self.program(name, bytes_))

    def measure_overhead(self):
        """What a cgroup charges besides a region that is all resident: page tables, the program's own pages."""
        whole = self.kernel("fill", self.o.size, None)
        self.overhead = whole["memory_peak"] - self.o.size

    def round(self, patterns, sides, bytes_, frames, nr):
        for name, _, _ in patterns:
            # In turn, and starting with the other one in each round: neither always runs on the warmer machine.
            for side in sides if nr % 2 == 0 else sides[::-1]:
                result = getattr(self, side)(name, bytes_, frames)
                self.runs.append(dict(result, side=side, round=nr, pattern=name))
                print(f"round {nr + 1}  {name:18} {side:11} {result['ns_per_op']:10.1f} ns/access", file=sys.stderr)

    def values(self, name, side, key="ns_per_op"):
        return [r[key] for r in sorted(self.runs, key=lambda r: r["round"])
                if r["pattern"] == name and r["side"] == side and r.get(key) is not None]

    def median(self, name, side, key="ns_per_op"):
        values = self.values(name, side, key)
        return statistics.median(values) if values else None

    def ratio(self, name, over, under):
        """=> (ratio of the medians, smallest, largest of the rounds), or None"""
        a, b = self.values(name, over), self.values(name, under)
        if not a or not b:
            return None
        each = [x / y for x, y in zip(a, b)]
        return statistics.median(a) / statistics.median(b), min(each), max(each)


def why_no_kernel(o):
    if o.no_kernel:
        return "--no-kernel was given"
    check = subprocess.run([os.path.join(HERE, "kernel-swap.sh"), "--check"], stderr=subprocess.PIPE, text=True)
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


def arguments():
    p = argparse.ArgumentParser(prog="bench/run.sh", description="minflt against the kernel's own swap on zram")
    p.add_argument("--rounds", type=int, help="rounds, each running every side once (default 5)")
    p.add_argument("--size", type=size, help="working set (default 256M); the frames are half of it")
    p.add_argument("--quick", action="store_true", help="one round over 64 MiB: a look, no result")
    p.add_argument("--only", action="append", metavar="PATTERN", help="only this pattern (may be repeated)")
    p.add_argument("--latency", action="store_true", help="also the percentiles of one access")
    p.add_argument("--page-cluster-0", action="store_true", help="also the kernel with vm.page-cluster = 0")
    p.add_argument("--equal-memory", action="store_true",
                   help="also minflt with the total memory of the kernel's side instead of its frames")
    p.add_argument("--no-kernel", action="store_true", help="leave the kernel's side out")
    p.add_argument("--no-minflt", action="store_true", help="leave minflt's side out")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--out", default=os.path.join(HERE, "results"), help="folder for the results")
    p.add_argument("--kind", help="last part of the file's name (default: zram, or quick)")
    p.add_argument("--pattern-program", required=True, help=argparse.SUPPRESS)
    p.add_argument("--minflt", required=True, help=argparse.SUPPRESS)
    o = p.parse_args()
    o.rounds = o.rounds or (1 if o.quick else 5)
    o.size = o.size or (64 * MIB if o.quick else 256 * MIB)
    o.kind = o.kind or ("quick" if o.quick else "zram")
    known = [name for name, _, _ in SWAP_PATTERNS + FIT_PATTERNS] + ["reserve"]
    for name in o.only or []:
        if name not in known:
            p.error(f"no pattern is called '{name}'; there are: {', '.join(known)}")
    return o


def measure(b, swap, fit, kernel, minflt):
    sides = ["native"] + (["kernel"] if kernel else []) + (["minflt"] if minflt else [])
    sides += ["kernel_pc0"] if kernel and b.o.page_cluster_0 else []
    sides += ["minflt_equal"] if kernel and minflt and b.o.equal_memory else []
    if kernel and swap:
        b.measure_overhead()
    for nr in range(b.o.rounds):
        b.round(swap, sides, b.o.size, b.o.size // 2, nr)
        for turn in range(FIT_TURNS):
            b.round(fit, ["native"] + (["minflt"] if minflt else []), b.o.size // 2, b.o.size * 3 // 4, nr * FIT_TURNS + turn)
    if minflt and (not b.o.only or "reserve" in b.o.only):
        for name, _, touch, frames in RESERVE_RUNS:
            result = b.under_minflt(frames_budget(frames), [b.o.pattern_program, "--reserve", "1T", "--touch", str(touch)])
            b.runs.append(dict(result, side="minflt", round=0, pattern=name))
    for name, _, _ in swap if minflt and kernel else []:
        b.count_minflt(name, b.o.size, b.o.size // 2)


def main():
    o = arguments()
    b = Bench(o)
    swap = [p for p in SWAP_PATTERNS if not o.only or p[0] in o.only]
    fit = [p for p in FIT_PATTERNS if not o.only or p[0] in o.only]
    load = os.getloadavg()[0]
    notes = [f"load average before the run: {load:.2f}" + (" (**busy: the figures are disturbed**)" if load > 0.5 else "")]
    no_kernel, no_minflt = why_no_kernel(o), why_no_minflt(o)
    for side, why in (("kernel", no_kernel), ("minflt", no_minflt)):
        if why:
            notes.append(f"the side of {side} was not measured: {why}")
            print("bench: " + notes[-1], file=sys.stderr)
    try:
        measure(b, swap, fit, not no_kernel, not no_minflt)
    except Failed as failure:
        sys.exit(f"bench: {failure}")
    os.makedirs(o.out, exist_ok=True)
    stem = os.path.join(o.out, f"{datetime.date.today()}-{machine.slug()}-{o.kind}")
    if swap:
        plot.bars(stem + ".svg", [(title, b.median(name, "kernel"), b.median(name, "minflt"), target)
                                  for name, title, target in swap])
    report.write(b, swap, fit, RESERVE_RUNS, stem + ".md", stem + ".svg", notes)
    with open(stem + ".json", "w") as f:
        json.dump({"machine": machine.describe(), "overhead": b.overhead, "size": o.size, "runs": b.runs}, f, indent=1)
    with open(stem + ".md") as f:
        print(f.read())


main()
