# SPDX-License-Identifier: MIT
"""Real programs (workloads.py) in a quarter and in a half of their native peak: wall time over the kernel's swap on zram, under
`minflt run`, and natively.

The peak is what a cgroup charges a native run for anonymous memory (where the kernel's side can't be had: what was resident). The kernel's
limit is the share of that, and on top what the cgroup charges besides (page tables, the program's stack of the kernel, ...). minflt runs twice:
with the same number of uncompressed pages, and with as much memory in all (pages, pool, tables) as the kernel's side took in all (cgroup and
zram, without what is charged besides).
"""
import os
import sys
import tempfile

import plot
import report
import sides
import workloads
from sides import MIB, Failed

SHARES = (25, 50)
TARGET = 1.2
PEAK_REPEATS = 10
RESIDENT_PEAK = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as f:
    f.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""
# Row, program, percent of its native peak.
ROWS = [(f"{w.name}-{share}", w, share) for w in workloads.WORKLOADS for share in SHARES]


class Bench(sides.Sides):
    def __init__(self, o):
        super().__init__(o)
        self.peaks, self.answers = self.state.setdefault("peaks", {}), self.state.setdefault("answers", {})
        self.totals = self.state.setdefault("totals", {})
        self.killed = self.state.setdefault("killed", [])
        self.data = {}
        self.work = tempfile.TemporaryDirectory(prefix="minflt-bench-work-")

    def prepare(self, w):
        self.data[w.name] = tempfile.TemporaryDirectory(prefix=f"minflt-bench-{w.name}-")
        w.make(self.data[w.name].name, max(1, w.peak * self.o.scale // 100))

    def runner(self, w):
        def run(argv):
            try:
                return workloads.run(argv, w, self.data[w.name].name, self.work.name)
            except workloads.Broken as broken:
                raise Failed(broken) from broken
        return run

    def argv(self, w):
        return [part.replace("{data}", self.data[w.name].name).replace("{work}", self.work.name) for part in w.command]

    def checked(self, w, result):
        if self.answers.setdefault(w.name, result["answer"]) != result["answer"]:
            raise Failed(f"{w.name} gave another answer than natively: {result['answer']}, not {self.answers[w.name]}")
        return result

    def native(self, w):
        return self.checked(w, self.runner(w)(self.argv(w)))

    def measure_peak(self, w, kernel):
        """The cgroup's own peak is exact; how much of it isn't anonymous memory is taken from a look at about that moment. A program that
        runs for some tens of milliseconds may be over before one. Without a cgroup: the peak of what is resident."""
        if not kernel:
            self.peaks[w.name] = {"anon": self.resident_peak(w), "besides": 0}
            return
        for _ in range(PEAK_REPEATS):
            _, stats = self.in_cgroup(["--count-only"], self.argv(w), self.runner(w))
            if stats["peak"] >= stats["memory_peak"] * 3 // 4:
                besides = stats["peak"] - stats["anon"]
                self.peaks[w.name] = {"anon": stats["memory_peak"] - besides, "besides": besides}
                return
        raise Failed(f"{w.name}: {PEAK_REPEATS} runs were over before its peak was seen; take more data (--scale)")

    def resident_peak(self, w):
        path = os.path.join(self.work.name, "peak")
        self.checked(w, self.runner(w)([sys.executable, "-c", RESIDENT_PEAK, path, *self.argv(w)]))
        return sides.number(path) * 1024

    def frames(self, w, share):
        return self.peaks[w.name]["anon"] * share // 100

    def kernel(self, w, share):
        limit = self.frames(w, share) + self.peaks[w.name]["besides"]
        result, stats = self.in_cgroup(["--limit", str(limit)], self.argv(w), self.runner(w))
        if not w.drive: # by the clock beside the program: without the setting up of swap
            result["seconds"] = stats["wall_ns"] / 1e9
        total = stats["memory_peak"] + stats["zram_peak"]
        self.totals.setdefault(f"{w.name}-{share}", total - self.peaks[w.name]["besides"])
        return dict(result, memory_peak=stats["memory_peak"], zram_peak=stats["zram_peak"], total=total, swapped_in=stats["swapped_in"])

    def same_frames(self, w, share):
        return ["--resident", str(self.frames(w, share)), "--pool", str(4 << 30)]

    def minflt(self, w, share):
        return self.under_minflt(self.same_frames(w, share), self.argv(w), self.runner(w))

    def minflt_equal(self, w, share):
        if f"{w.name}-{share}" not in self.totals:
            self.kernel(w, share)
        return self.under_minflt(["--memory", str(self.totals[f"{w.name}-{share}"])], self.argv(w), self.runner(w))

    def measure(self, name, side, nr, w, share):
        """A row for which the kernel's side never comes to its end has no figure for it, and says so."""
        if name in self.killed and side != "minflt":
            return
        try:
            self.keep(name, side, nr, self.checked(w, getattr(self, side)(w, share)), "seconds", "s")
        except sides.Killed:
            self.killed.append(name)
        except sides.Failed as failure:
            # What the kernel's side took in so short a run can be less than its peak would have been: there is no figure, and the report has none.
            if side != "minflt_equal" or "the compressed pool is full" not in str(failure):
                raise
            print(f"bench: {name}: not within the kernel's total of {self.totals[name] / (1 << 20):.1f} MiB", file=sys.stderr)

    def count_minflt(self, w, share):
        """minflt's memory by the kernel's account, in a cgroup without limit or swap; not timed."""
        _, stats = self.in_cgroup(["--count-only"], self.minflt_command(self.same_frames(w, share), self.argv(w)), self.runner(w))
        self.state.setdefault("charged", {})[f"{w.name}-{share}"] = stats["memory_peak"]


def measure(b, rows, kernel, minflt):
    who = (["kernel"] if kernel else []) + (["minflt"] if minflt else []) + (["minflt_equal"] if kernel and minflt else [])
    programs = [w for w in workloads.WORKLOADS if any(row[1] is w for row in rows)]
    for w in programs:
        b.prepare(w)
        b.native(w) # not counted: the first one reads the program from the disk
        if w.name not in b.peaks and who:
            b.measure_peak(w, kernel)
    for nr in b.rounds():
        for w in programs:
            b.keep(w.name, "native", nr, b.native(w), "seconds", "s")
        for name, w, share in rows:
            for side in who if nr % 2 == 0 else who[::-1]:
                b.measure(name, side, nr, w, share)
    for name, w, share in rows if kernel and minflt and not b.o.no_count else []:
        if name not in b.state.get("charged", {}):
            b.count_minflt(w, share)


def times(b, rows):
    table = report.head("program", "peak MiB", "of it", "native s", "kernel s", "minflt s, same frames", "kernel/minflt (rounds)", "promised",
                        "reached", "minflt s, same total", "kernel/minflt (rounds)", "promised", "reached")
    for name, w, share in rows:
        peak = b.peaks.get(w.name)
        table.append([w.title, report.cell(peak and peak["anon"] / MIB, "{:.0f}"), f"{share} %",
                      report.cell(b.median(w.name, "native", "seconds"), "{:.2f}")]
                     + [report.cell(b.median(name, side, "seconds"), "{:.2f}") for side in ("kernel", "minflt")]
                     + report.ratio_cells(b.ratio(name, "kernel", "minflt", "seconds"), TARGET, True)
                     + [report.cell(b.median(name, "minflt_equal", "seconds"), "{:.2f}")]
                     + report.ratio_cells(b.ratio(name, "kernel", "minflt_equal", "seconds"), TARGET, True))
    return table


def memory(b, rows):
    table = report.head("program", "of its peak", "kernel: cgroup", "kernel: zram", "kernel: in all", "kernel: pages swapped in",
                        "minflt, same frames: in all", "of it pool", "a cgroup's account", "major faults", "minflt, same total: in all",
                        "major faults", left=2)
    for name, w, share in rows:
        charged = b.state.get("charged", {}).get(name)
        table.append([w.title, f"{share} %"] + [report.mib(b, name, "kernel", key) for key in ("memory_peak", "zram_peak", "total")]
                     + [report.cell(b.median(name, "kernel", "swapped_in"), "{:.0f}")]
                     + [report.mib(b, name, "minflt", key) for key in ("total", "pool_peak")]
                     + [report.cell(charged and charged / MIB, "{:.1f}"), report.cell(b.median(name, "minflt", "major"), "{:.0f}"),
                        report.mib(b, name, "minflt_equal", "total"), report.cell(b.median(name, "minflt_equal", "major"), "{:.0f}")])
    return table


def text(b, rows, picture):
    lines = [f"# Real programs in a part of their memory: minflt and the kernel's zram swap, {sides.today()}", "",
             f"Wall time, medians of {b.count_rounds('seconds')}, the sides in turn; a ratio above 1 means minflt is faster. LZ4 on both sides. What the programs put",
             "out is compared with the native run. The peak is what a cgroup charges the native run for anonymous memory (without the",
             "kernel's side: what was resident); the kernel's limit is the share of it, with what is charged besides on top. *Same frames*: `--resident` the share, the pool without a limit. *Same total*:",
             "`--memory` what the kernel's side took in all, cgroup and zram, without what is charged besides. The time of `minflt run` has its start-up",
             "in it; setting up zram and cgroup is not in the kernel's. The program's own malloc is glibc's (Redis: jemalloc), and jemalloc under minflt.",
             "", sides.MACHINE, "", "## Wall time", ""]
    lines += [f"![plot]({picture})", ""] if picture else []
    return lines + [report.markdown(times(b, rows)), "", "## Memory, MiB", "", report.markdown(memory(b, rows)), "",
                    "Peaks. *A cgroup's account* is from a run of its own in a cgroup without a limit: what was charged for `minflt run` and the program",
                    "together, code and page tables included."]


def main():
    p = sides.parser("programs", __doc__.split("\n\n", maxsplit=1)[0], "programs")
    p.add_argument("--scale", type=int, help="how much data, in percent of what is usual (peaks of 32 to 96 MiB)")
    p.add_argument("--no-count", action="store_true", help="don't run minflt once more to see what a cgroup charges for it")
    o = sides.parse(p, [row[0] for row in ROWS])
    o.scale = o.scale or (50 if o.quick else 100)
    b = Bench(o)
    notes = sides.load_note(o)
    reasons = {"kernel": sides.why_no_kernel(o), "minflt": sides.why_no_minflt(o)}
    notes += sides.left_out(reasons)
    rows = []
    for row in sides.chosen(o, ROWS):
        need = workloads.missing(row[1])
        if not need:
            rows.append(row)
        elif f"{row[1].name} was not measured: {need} is not installed" not in notes:
            notes.append(f"{row[1].name} was not measured: {need} is not installed")
            print("bench: " + notes[-1], file=sys.stderr)
    try:
        measure(b, rows, not reasons["kernel"], not reasons["minflt"])
    except Failed as failure:
        sys.exit(f"bench: {failure}")
    notes += [f"{name}: the kernel's OOM killer ended it {sides.OOM_REPEATS} times one after the other; no figure for the kernel" for name in b.killed]
    rows = [row for row in ROWS if any(r["pattern"] in (row[0], row[1].name) for r in b.runs)]
    picture = sides.picture(o)
    if picture and rows:
        plot.bars(picture, "Wall time in seconds, same frames (shorter is better)", "kernel, zram",
                  [(f"{w.name}, {share} % of its peak", b.median(name, "kernel", "seconds"), b.median(name, "minflt", "seconds"), TARGET)
                   for name, w, share in rows])
    sides.save(b, text(b, rows, picture and picture.rsplit("/", 1)[-1]), notes)


main()
