# SPDX-License-Identifier: MIT
"""Spilling to a file against the kernel's swap on the same disk.

Both files lie in the same folder. The kernel swaps to a loop device over its file, with direct I/O where the file system has it; minflt has its
own file (--swap), encrypted as always, and in a column of its own plain and uncompressed, so that both write the same bytes. Half of the working set
has room in uncompressed pages on both sides; minflt's pool is small, and the kernel's limit is larger by as much.
"""
import mmap
import os
import random
import sys
import tempfile
import time

import plot
import report
import sides
from sides import MIB, Failed

ROWS = [
    ("seq-read", "sequential read", 1.0),
    ("rand-read", "random read", 1.0),
    ("rand-write", "random write", 1.0),
    ("fill", "first fill", 1.0),
]
SIDES = "kernel", "minflt", "minflt_raw"
POOL = 4 * MIB


class Bench(sides.Sides):
    def __init__(self, o):
        super().__init__(o)
        self.disk = tempfile.TemporaryDirectory(prefix="minflt-bench-disk-", dir=o.folder)
        self.file = os.path.join(self.disk.name, "kernel")

    def make_file(self):
        """Written once, so that neither holes nor unwritten extents slow the kernel down."""
        with open(self.file, "wb", buffering=0) as f:
            for _ in range(2 * self.o.size // MIB):
                f.write(bytes(MIB))
            os.fsync(f.fileno())

    def read_us(self):
        """A direct read of 4 KiB at random, median; None where the file system has no direct I/O."""
        try:
            fd = os.open(self.file, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            return None
        page, times, rng = mmap.mmap(-1, 4096), [], random.Random(1)
        for _ in range(500):
            at = rng.randrange(2 * self.o.size // 4096) * 4096
            start = time.perf_counter_ns()
            os.preadv(fd, [page], at)
            times.append(time.perf_counter_ns() - start)
        os.close(fd)
        return sorted(times)[len(times) // 2] / 1000

    def program(self, name):
        return [self.o.pattern_program, "--pattern", name, "--size", str(self.o.size), "--passes", "1"]

    def measure_overhead(self):
        """What a cgroup charges besides a region that is all resident: page tables, the program's own pages."""
        _, stats = self.in_cgroup(["--count-only"], self.program("fill"))
        self.state["overhead"] = stats["memory_peak"] - self.o.size

    def kernel(self, name):
        limit = self.o.size // 2 + POOL + self.state["overhead"]
        result, stats = self.in_cgroup(["--disk", self.file, "--limit", str(limit)], self.program(name))
        return dict(result, total=stats["memory_peak"], direct=stats["direct"], swapped_in=stats["swapped_in"], swapped_out=stats["swapped_out"],
                    file_read=stats["swapped_in"] * 4096, file_written=stats["swapped_out"] * 4096)

    def minflt(self, name, *options):
        file = os.path.join(self.disk.name, "minflt")
        return self.under_minflt(["--resident", str(self.o.size // 2), "--pool", str(POOL), "--swap", f"{file}:{2 * self.o.size}", *options],
                                 self.program(name))

    def minflt_raw(self, name):
        return self.minflt(name, "--compress", "none", "--swap-plain")


def times(b, rows):
    table = report.head("access", "kernel ns", "minflt ns", "kernel/minflt (rounds)", "promised", "reached", "minflt plain, uncompressed, ns",
                        "kernel/minflt (rounds)")
    for name, title, target in rows:
        table.append([title] + [report.cell(b.median(name, side, "ns_per_op"), "{:.0f}") for side in SIDES[:2]]
                     + report.ratio_cells(b.ratio(name, "kernel", "minflt", "ns_per_op"), target, True)
                     + [report.cell(b.median(name, "minflt_raw", "ns_per_op"), "{:.0f}")]
                     + report.ratio_cells(b.ratio(name, "kernel", "minflt_raw", "ns_per_op"), None, True)[:1])
    return table


def traffic(b, rows):
    """Of the whole run, the fill and the last pass, in which every byte is verified, included."""
    titles = {"kernel": "kernel", "minflt": "minflt", "minflt_raw": "minflt plain"}
    table = report.head("access", *[f"{titles[side]}: {what}" for side in SIDES for what in ("read", "written", "memory")])
    for name, title, _ in rows:
        table.append([title] + [report.mib(b, name, side, key) for side in SIDES for key in ("file_read", "file_written", "total")])
    return table


def text(b, rows, picture):
    direct = {1: "with direct I/O", 0: "through the page cache, for the file system has no direct I/O"}
    seen = b.values(rows[0][0], "kernel", "direct") if rows else []
    ring = b.values(rows[0][0], "minflt", "io_uring") if rows else []
    lines = [f"# Spilling to a disk: minflt and the kernel's swap, {sides.today()}", "",
             f"Working set {b.o.size // MIB} MiB, {b.o.size // 2 // MIB} MiB of uncompressed pages on both sides and {POOL // MIB} MiB more: minflt's pool,",
             f"and as much more for the kernel's limit. Data compressible about 2:1. Medians of {b.count_rounds('ns_per_op')}, the sides in turn; a ratio above 1",
             f"means minflt is faster. The kernel swaps to a loop device over a file, {direct[seen[0]] if seen else '(not measured)'}; minflt to a file in",
             f"the same folder, compressed by LZ4 and encrypted{', through io_uring' if ring and ring[0] else ''}, and in a column of its own neither. Every byte is verified.", "",
             sides.MACHINE, "", "## An access", ""]
    lines += [f"![plot]({picture})", ""] if picture else []
    return lines + [report.markdown(times(b, rows)), "", "## The disk and memory, MiB", "", report.markdown(traffic(b, rows)), "", traffic.__doc__]


def disk_note(b):
    info = os.statvfs(b.disk.name)
    kind = "?"
    with open("/proc/mounts") as f:
        best = ""
        for line in f:
            _, point, fs = line.split()[:3]
            if (b.disk.name + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, kind = point, fs
    us = b.read_us()
    return (f"the disk: {kind}, {info.f_bavail * info.f_frsize >> 30} GiB free; a direct read of 4 KiB at random takes "
            + (f"{us:.0f} us" if us else "- (the file system has none)")), kind


def measure(b, rows, who):
    b.make_file()
    note, kind = disk_note(b)
    if kind in ("tmpfs", "ramfs"):
        raise Failed(f"{b.o.folder} is no disk but memory ({kind}); name another by --folder")
    if "kernel" in who and "overhead" not in b.state:
        b.measure_overhead()
    for nr in b.rounds():
        for name, _, _ in rows:
            for side in who if nr % 2 == 0 else who[::-1]:
                b.keep(name, side, nr, getattr(b, side)(name), "ns_per_op", "ns/access")
    return [note]


def main():
    p = sides.parser("spill", __doc__.split("\n\n", maxsplit=1)[0], "spill")
    p.add_argument("--size", type=sides.size, help="working set (default 64M); the frames are half of it")
    p.add_argument("--folder", default="/var/tmp", help="where both files lie (default /var/tmp)")
    o = sides.parse(p, [row[0] for row in ROWS])
    o.size = o.size or (32 * MIB if o.quick else 64 * MIB)
    b = Bench(o)
    notes = sides.load_note(o)
    reasons = {"kernel": sides.why_no_kernel(o, "--disk", b.file), "minflt": sides.why_no_minflt(o)}
    notes += sides.left_out(reasons)
    who = [side for side in SIDES if not reasons[side.removesuffix("_raw")]]
    try:
        notes += measure(b, sides.chosen(o, ROWS), who)
    except Failed as failure:
        sys.exit(f"bench: {failure}")
    rows = [row for row in ROWS if any(r["pattern"] == row[0] for r in b.runs)]
    picture = sides.picture(o)
    if picture and rows:
        plot.bars(picture, "Microseconds an access, working set twice the frames (shorter is better)", "kernel, the same disk",
                  [(title, *[(ns := b.median(name, side, "ns_per_op")) and ns / 1000 for side in SIDES[:2]], target) for name, title, target in rows])
    sides.save(b, text(b, rows, picture and os.path.basename(picture)), notes)


main()
