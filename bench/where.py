# SPDX-License-Identifier: MIT
"""Where the time of a fault goes: perf's samples of the timed part of one pattern, as a table of stages and a flame graph.

The clock of the processor is sampled (cpu-clock), so it works where there are no hardware counters. While one program runs with one thread, either
the program or the handler is on a processor, never both: the samples of the two add up to the time of the pattern. What the command compresses runs
beside them and is a line of its own.
"""
import os
import re
import shutil
import subprocess
import sys

import flame
import report
import sides
from sides import Failed, MIB

ROWS = [("rand-read", "random read"), ("rand-write", "random write"), ("seq-read", "sequential read")]
FREQUENCY = 2999

# The first rule that fits a stack gives its stage: thread, stage, what one of the function names must match. Innermost work first.
MINFLT_STAGES = [
    ("program", "program: trap, kernel's fault entry, sleep and return", r"exc_page_fault|asm_exc_page_fault|handle_userfault|error_entry"),
    ("program", "program: its own work", r""),
    ("handler", "read: the message, and the switch to the handler", r"^sys_read$|userfaultfd_read|ksys_read"),
    ("handler", "wake: UFFDIO_WAKE, and the switch to the program", r"uffd_wake"),
    ("handler", "evict: hash (is the copy in the pool still true?)", (r"^hash_page|XXH", r"pool_store|store_page|store_cluster|swap_writepage")),
    ("handler", "evict: UFFDIO_MOVE out", r"machine_unmap|take_out"),
    ("handler", "evict: compress in place", r"LZ4_compress|codec_pack"),
    ("handler", "evict: hand to the compressor, keep in the pool", r"pool_store|store_page|store_cluster|swap_writepage|mail_"),
    ("handler", "in: decompress", r"LZ4_decompress|codec_unpack"),
    ("handler", "in: checksum", r"^hash_page|XXH"),
    ("handler", "in: UFFDIO_MOVE or COPY", r"machine_map|map_home|move_pages|copy_pages"),
    ("handler", "in: find and read the copy", r"slot_read|swap_read|pool_load|swap_load"),
    ("handler", "evict: choose victims, rmap, tables", r"shrink_|try_to_free|evict_|isolate|unmap_cluster|rmap"),
    ("handler", "fault path (engine)", r"do_page_fault|handle_mm_fault|do_swap_page|swapin|do_anonymous_page|find_vma|mm_account"),
    ("handler", "handler: residency, budget, counters, pinning", r""),
    ("beside", "beside, another processor: compression in the command", r""),
]
KERNEL_STAGES = [
    ("program", "evict: compress (zram)", r"(?i)lz4_compress|zcomp_compress"),
    ("program", "evict: the rest of zram's write", r"swap_writeout|swap_writepage"),
    ("program", "evict: flush of other processors' TLBs", r"arch_tlbbatch_flush|try_to_unmap_flush"),
    ("program", "evict: choose victims, rmap, tables, swap cache", r"try_to_free_mem_cgroup_pages|shrink_"),
    ("program", "in: decompress (zram)", r"(?i)lz4_decompress|zcomp_decompress"),
    ("program", "in: the rest of zram's read", r"swap_read_folio|zram_"),
    ("program", "charging", r"charge_memcg|try_charge"),
    ("program", "fault path", r"do_swap_page|handle_mm_fault|do_anonymous_page|do_wp_page"),
    ("program", "trap and return", r"exc_page_fault|error_entry|error_return"),
    ("program", "program: its own work", r""),
]
STAGES = {"minflt": MINFLT_STAGES, "kernel": KERNEL_STAGES}


def why_no_perf():
    if not shutil.which("perf"):
        return "perf is not installed (Debian: linux-perf)"
    tried = subprocess.run(["perf", "record", "-q", "-e", "cpu-clock", "-o", "/dev/null", "true"], capture_output=True, text=True)
    return f"perf can't record here: {tried.stderr.strip()[-200:]}" if tried.returncode else None


def kind(name, library):
    if "kernel" in library or library.startswith("["):
        return "kernel"
    return "minflt" if "minflt" in library else "program" if "/pattern" in library else "other"


def samples(path):
    """=> (thread's name, ns, [(function, kind) from the innermost]) for each sample"""
    script = subprocess.Popen(["perf", "script", "-i", path, "-F", "comm,tid,time,ip,sym,dso", "--ns"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, errors="replace")
    for block in script.stdout.read().split("\n\n"):
        lines = block.strip("\n").split("\n")
        head = re.match(r"\s*(.*\S)\s+\d+\s+(\d+)\.(\d{9}):", lines[0])
        if not head:
            continue
        frames = []
        for line in reversed(lines[1:]): # inlined functions stand before the one they are in, which names the library
            found = re.match(r"\s*[0-9a-f]+ (.*) \((.*)\)$", line)
            if found:
                name, library = found.groups()
                frames.append((name, frames[-1][1] if library == "inlined" and frames else kind(name, library)))
        if frames and frames[0][0] == "[unknown]": # the unwinder has lost its way; what is above is right
            frames = frames[1:]
        yield head.group(1), int(head.group(2)) * 10**9 + int(head.group(3)), frames[::-1]
    script.wait()


def thread_of(name, frames):
    if name == "pattern":
        return "program"
    if name == "minflt" and any(k == "minflt" for _, k in frames):
        return "handler"
    return "beside" if name.startswith("minflt") else None


def stage_of(side, thread, frames):
    names = [name for name, _ in frames]
    for whose, stage, rules in STAGES[side]:
        rules = rules if isinstance(rules, tuple) else (rules,)
        if whose == thread and all(any(re.search(rule, name) for name in names) for rule in rules):
            return stage
    return None


def counted(path, side, window):
    """=> ({stage: samples}, {stack: samples}) of the timed part"""
    stages, stacks = {}, {}
    for name, ns, frames in samples(path):
        thread = thread_of(name, frames)
        stage = thread and window[0] <= ns <= window[1] and stage_of(side, thread, frames)
        if not stage:
            continue
        stages[stage] = stages.get(stage, 0) + 1
        if thread != "beside":
            stack = ((thread, "program" if thread == "program" else "minflt"), *frames[::-1])
            stacks[stack] = stacks.get(stack, 0) + 1
    return stages, stacks


class Bench(sides.Sides):
    def record(self, argv):
        path = os.path.join(self.folder.name, "perf.data")
        result = sides.run(["perf", "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-k", "CLOCK_MONOTONIC", "--call-graph", "dwarf,8192",
                            "-m", "4096", "-o", path, "--", *argv])
        return path, result

    def program(self, name):
        return [self.o.pattern_program, "--pattern", name, "--size", str(self.o.size), "--passes", str(self.o.passes)]

    def minflt(self, name):
        budget = ["--resident", str(self.o.size // 2), "--pool", str(4 << 30)]
        return self.under_minflt(budget, self.program(name), lambda argv: dict(zip(("path", "result"), self.record(argv))))

    def kernel(self, name):
        limit = ["--limit", str(self.o.size // 2 + self.state["overhead"])]
        return self.in_cgroup(limit, self.program(name), lambda argv: dict(zip(("path", "result"), self.record(argv))))[0]

    def measure_overhead(self):
        _, stats = self.in_cgroup(["--count-only"], self.program("fill"))
        self.state["overhead"] = stats["memory_peak"] - self.o.size

    def measure(self, name, side, nr):
        recorded = getattr(self, side)(name)
        result = recorded["result"]
        stages, stacks = counted(recorded["path"], side, (result["from_ns"], result["to_ns"]))
        os.unlink(recorded["path"])
        faults = result["majflt"] if side == "kernel" else result["minflt"]
        self.keep(name, side, nr, dict(result, stages=stages, faults=faults), "ns_per_op", "ns/access")
        return stacks


def stage_table(b, name, side):
    """Summed up over the rounds."""
    runs = [r for r in b.runs if r["pattern"] == name and r["side"] == side]
    faults, ns = sum(r["faults"] for r in runs), sum(r["ns"] for r in runs)
    beside = {stage for whose, stage, _ in STAGES[side] if whose == "beside"}
    sums = {stage: sum(r["stages"].get(stage, 0) for r in runs) for _, stage, _ in STAGES[side]}
    total = sum(n for stage, n in sums.items() if stage not in beside)
    table = report.head("stage", "share", "ns of a fault")
    if not total or not faults:
        return table, 0, 0
    for stage, n in sums.items():
        if n:
            table.append([stage, f"{n / total * 100:.1f} %", f"{n / total * ns / faults:.0f}"])
    table.append(["in all (without what runs beside)", "100 %", f"{ns / faults:.0f}"])
    return table, faults, total


def text(b, rows, pictures):
    lines = [f"# Where the time of a fault goes, {sides.today()}", "", __doc__.split("\n\n")[1].strip(), "",
             f"Working set {b.o.size // MIB} MiB, half of it in uncompressed pages, LZ4; {b.count_rounds('ns_per_op')}; {FREQUENCY} samples a second. Time without a sample",
             "(the machine's other work) is spread over all stages. Sampling makes everything slower, so the last lines are above what the other benches say.", "",
             sides.MACHINE]
    for name, title in rows:
        for side in ("minflt", "kernel"):
            table, faults, total = stage_table(b, name, side)
            if total:
                lines += ["", f"## {title.capitalize()}, {'minflt' if side == 'minflt' else 'the kernel with zram'}", "", f"{total} samples, {faults} faults.", "",
                          report.markdown(table)]
                lines += ["", f"![flame graph]({pictures[name, side]})"] if (name, side) in pictures else []
    return lines


def main():
    p = sides.parser("where", __doc__.split("\n\n", maxsplit=1)[0], "where")
    p.add_argument("--size", type=sides.size, help="working set (default 128M); the frames are half of it")
    p.add_argument("--passes", type=int, help="timed passes (default 12)")
    p.set_defaults(rounds=1)
    o = sides.parse(p, [row[0] for row in ROWS])
    o.size, o.passes = o.size or (32 * MIB if o.quick else 128 * MIB), o.passes or (4 if o.quick else 12)
    b = Bench(o)
    notes = sides.load_note(o)
    perf = why_no_perf()
    reasons = {"kernel": perf or sides.why_no_kernel(o), "minflt": perf or sides.why_no_minflt(o)}
    notes += sides.left_out(reasons)
    who, pictures = [side for side in STAGES if not reasons[side]], {}
    try:
        if "kernel" in who and "overhead" not in b.state:
            b.measure_overhead()
        for nr in b.rounds():
            for name, title in sides.chosen(o, ROWS):
                for side in who:
                    stacks = b.measure(name, side, nr)
                    if sides.stem(o) and stacks:
                        flame.write(f"{sides.stem(o)}-{name}-{side}.svg", f"{title}, {side}", stacks)
    except Failed as failure:
        sys.exit(f"bench: {failure}")
    for name, _ in ROWS:
        for side in STAGES:
            if sides.stem(o) and os.path.exists(path := f"{sides.stem(o)}-{name}-{side}.svg"):
                pictures[name, side] = os.path.basename(path)
    sides.save(b, text(b, ROWS, pictures), notes)


main()
