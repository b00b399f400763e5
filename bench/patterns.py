# SPDX-License-Identifier: MIT
"""minflt against the kernel's own swap on zram: runs pattern.c on both sides in turn, and writes a table and a plot.

Both sides get the same number of uncompressed pages (half the working set) and LZ4. A cgroup also charges what is not
the region (page tables, stacks, the program's own data): that is measured first, in a cgroup without a limit, and added
to the kernel's limit.
"""
import random
import sys

import plot
import report
import sides
from sides import MIB, Failed

# Name, what it is, the least kernel/minflt that is promised (None: reported only).
SWAP_PATTERNS = [
    ("seq-read", "sequential read", 3.5),
    ("rand-read", "random read", 1.3),
    ("rand-write", "random write", 1.0),
    ("fill", "first fill", 1.0),
    ("stride", "strided read, every 8th page", 3.0),
    ("two-streams", "two interleaved streams, read", 3.0),
    ("threads-rand-read", "random read, two threads", 1.0),
    ("zipf", "Zipf 0.99 read", 1.2),
]
# A working set that fits: the most minflt/native that is promised.
FIT_PATTERNS = [
    ("fit-seq-read", "sequential read", 1.02),
    ("fit-rand-read", "random read", 1.02),
    ("fit-rand-write", "random write", 1.02),
    ("fit-fill", "first fill (every access is a fault)", None),
]
# But for the fill these run without faults, and what differs is which physical pages one happens to get: the runs spread by a
# tenth, whatever their length. So they are short and many: a promise of 2 % needs a hundred on each side (0.5 % of error). And
# a run gets the pages that the one before has given back, in the reverse of its order, so that what came before matters: with sides
# that take turns strictly 0.96 and 1.04 were seen. So who begins is drawn.
FIT_TURNS = 20
# Every access clocked, in runs of their own: what a fault takes.
LATENCY_PATTERNS = [
    ("latency-rand-read", "random read", None),
    ("latency-rand-write", "random write", None),
    ("latency-seq-read", "sequential read", None),
    ("latency-fill", "first fill", None),
]
# What metadata costs: name, what it is, bytes touched, bytes of frames.
RESERVE_RUNS = [
    ("reserve", "1 TiB reserved, 64 MiB of it touched, 32 MiB of frames", 64 * MIB, 32 * MIB),
    ("reserve-256", "1 TiB reserved, 256 MiB of it touched, 128 MiB of frames", 256 * MIB, 128 * MIB),
]
# With as much memory in all as the kernel's side has, whatever the pattern.
EQUAL_TARGET = 1.0


def frames_budget(frames):
    return ["--resident", str(frames), "--pool", str(4 << 30)]


class Bench(sides.Sides):
    def __init__(self, options):
        super().__init__(options)
        self.fit_turns = 2 if options.quick else FIT_TURNS
        self.kernel_total = self.state.setdefault("kernel_total", {})

    def program(self, name, bytes_):
        plain = name.removeprefix("latency-")
        argv = [self.o.pattern_program, "--pattern", plain, "--size", str(bytes_), "--seed", str(self.o.seed)]
        return argv + (["--latency"] if name != plain else [])

    def native(self, name, bytes_, frames):
        result = sides.run(self.program(name, bytes_))
        return dict(result, total=result["rss"])

    def kernel(self, name, bytes_, frames, cluster=None):
        limit = ["--limit", str(frames + self.state["overhead"])] if frames else []
        limit += ["--page-cluster", str(cluster)] if cluster is not None else []
        result, stats = self.in_cgroup(limit, self.program(name, bytes_))
        return dict(result, memory_peak=stats["memory_peak"], zram_peak=stats["zram_peak"],
                    total=stats["memory_peak"] + stats["zram_peak"])

    def kernel_pc0(self, name, bytes_, frames):
        return self.kernel(name, bytes_, frames, cluster=0)

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
            self.kernel_total[name] = self.kernel(name, bytes_, frames)["total"] - self.state["overhead"]
        return self.under_minflt(["--memory", str(self.kernel_total[name])], self.program(name, bytes_))

    def minflt_pages(self, name, bytes_, frames):
        """The same for pages alone, uncompressed and compressed: what minflt needs for its tables is added, as the kernel's tables (struct page,
        page tables, zram's table, the swap map) aren't counted on its side."""
        tables = self.values(name, "minflt_equal", "metadata") or [self.minflt_equal(name, bytes_, frames)["metadata"]]
        return self.under_minflt(["--memory", str(self.kernel_total[name] + tables[-1])], self.program(name, bytes_))

    def measure_overhead(self):
        """What a cgroup charges besides a region that is all resident: page tables, the program's own pages."""
        whole = self.kernel("fill", self.o.size, None)
        self.state["overhead"] = whole["memory_peak"] - self.o.size

    def round(self, patterns, who, bytes_, frames, nr, drawn=False):
        for name, _, _ in patterns:
            # In turn, and starting with the other one in each round: neither always runs on the warmer machine.
            first = random.Random(f"{name} {nr}").random() < 0.5 if drawn else nr % 2 == 0
            for side in who if first else who[::-1]:
                self.keep(name, side, nr, getattr(self, side)(name, bytes_, frames), "ns_per_op", "ns/access")

    def values(self, name, side, key="ns_per_op"):
        return super().values(name, side, key)

    def median(self, name, side, key="ns_per_op"):
        return super().median(name, side, key)

    def ratio(self, name, over, under, key="ns_per_op"):
        return super().ratio(name, over, under, key)


def arguments():
    p = sides.parser("patterns", "minflt against the kernel's own swap on zram, one access pattern after the other", "zram")
    p.add_argument("--size", type=sides.size, help="working set (default 256M); the frames are half of it")
    p.add_argument("--page-cluster-0", action="store_true", help="also the kernel with vm.page-cluster = 0")
    p.add_argument("--no-equal-memory", action="store_true",
                   help="without minflt with the total memory of the kernel's side instead of its frames")
    p.add_argument("--seed", type=int, default=1)
    o = sides.parse(p, [name for name, _, _ in SWAP_PATTERNS + FIT_PATTERNS + LATENCY_PATTERNS] + ["reserve"])
    o.size = o.size or (64 * MIB if o.quick else 256 * MIB)
    return o


def measure(b, kernel, minflt):
    swap, fit, latency = (sides.chosen(b.o, rows) for rows in (SWAP_PATTERNS, FIT_PATTERNS, LATENCY_PATTERNS))
    both = (["kernel"] if kernel else []) + (["minflt"] if minflt else [])
    more = ["kernel_pc0"] if kernel and b.o.page_cluster_0 else []
    more += ["minflt_equal", "minflt_pages"] if kernel and minflt and not b.o.no_equal_memory else []
    if kernel and (swap or latency) and "overhead" not in b.state:
        b.measure_overhead()
    for nr in b.rounds():
        b.round(swap, ["native"] + both + more, b.o.size, b.o.size // 2, nr)
        for turn in range(b.fit_turns):
            b.round(fit, ["native"] + (["minflt"] if minflt else []), b.o.size // 2, b.o.size * 3 // 4, nr * b.fit_turns + turn, drawn=True)
        b.round(latency, both, b.o.size, b.o.size // 2, nr)
    if minflt and (not b.o.only or "reserve" in b.o.only):
        for name, _, touch, frames in RESERVE_RUNS:
            result = b.under_minflt(frames_budget(frames), [b.o.pattern_program, "--reserve", "1T", "--touch", str(touch)])
            b.runs.append(dict(result, side="minflt", round=0, pattern=name))
    for name, _, _ in swap if minflt and kernel else []:
        b.count_minflt(name, b.o.size, b.o.size // 2)


def main():
    o = arguments()
    b = Bench(o)
    notes = sides.load_note(o)
    reasons = {"kernel": sides.why_no_kernel(o), "minflt": sides.why_no_minflt(o)}
    notes += sides.left_out(reasons)
    try:
        measure(b, not reasons["kernel"], not reasons["minflt"])
    except Failed as failure:
        sys.exit(f"bench: {failure}")
    swap, fit, latency = ([row for row in rows if any(r["pattern"] == row[0] for r in b.runs)]
                          for rows in (SWAP_PATTERNS, FIT_PATTERNS, LATENCY_PATTERNS))
    picture = sides.picture(o)
    if swap and picture:
        plot.bars(picture, "Microseconds an access, working set twice the frames (shorter is better)", "kernel, zram",
                  [(title, *[b.median(name, side) and b.median(name, side) / 1000 for side in ("kernel", "minflt")], target)
                   for name, title, target in swap])
    sides.save(b, report.patterns(b, swap, fit, latency, RESERVE_RUNS, EQUAL_TARGET, picture), notes)


main()
