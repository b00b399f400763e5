# SPDX-License-Identifier: MIT
"""The tables of the results, as Markdown."""
import datetime
import os

import sides

MIB = 1 << 20
METADATA_LIMIT = 0.02


def cell(value, form):
    return "-" if value is None else form.format(value)


def markdown(rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def head(*titles, left=1):
    """The first two rows of a table: the first `left` columns hold text, the others numbers."""
    return [list(titles), ["---"] * left + ["---:"] * (len(titles) - left)]


def ratio_cells(ratio, target, at_least):
    if not ratio:
        return ["-", "-" if target is None else f"{target:g}", "not measured"]
    text = f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f})"
    if target is None:
        return [text, "-", "reported"]
    reached = ratio[0] >= target if at_least else ratio[0] <= target
    return [text, f"{target:g}", "yes" if reached else "**no**"]


def mib(b, name, side, key="total"):
    value = b.median(name, side, key)
    return cell(value and value / MIB, "{:.1f}")


def swap_table(b, patterns):
    sides = ["native", "kernel"] + (["kernel_pc0"] if b.o.page_cluster_0 else []) + ["minflt"]
    titles = {"kernel_pc0": "kernel ns, page-cluster 0"}
    rows = head("access", *[titles.get(side, side + " ns") for side in sides], "kernel/minflt (rounds)", "promised",
                "reached", "kernel majflt", "minflt minflt")
    for name, title, target in patterns:
        rows.append([title] + [cell(b.median(name, side), "{:.0f}") for side in sides]
                    + ratio_cells(b.ratio(name, "kernel", "minflt"), target, True)
                    + [cell(b.median(name, "kernel", "majflt"), "{:.0f}"),
                       cell(b.median(name, "minflt", "minflt"), "{:.0f}")])
    return rows


def memory_table(b, patterns):
    rows = head("access", "kernel: cgroup", "kernel: zram", "kernel: in all", "minflt: in all", "minflt: of it pool",
                "minflt: a cgroup's account")
    for name, title, _ in patterns:
        rows.append([title] + [mib(b, name, "kernel", key) for key in ("memory_peak", "zram_peak", "total")]
                    + [mib(b, name, "minflt", key) for key in ("total", "pool_peak", "cgroup")])
    return rows


def fit_table(b, patterns):
    rows = head("access", "native ns", "minflt ns", "minflt/native (rounds)", "at most", "reached")
    for name, title, target in patterns:
        rows.append([title, cell(b.median(name, "native"), "{:.1f}"), cell(b.median(name, "minflt"), "{:.1f}")]
                    + ratio_cells(b.ratio(name, "minflt", "native"), target, False))
    return rows


def equal_table(b, patterns, target):
    """Pages alone; then with minflt's tables, though not the kernel's, within the same memory."""
    rows = head("access", "kernel: MiB of pages", "minflt: MiB of pages", "kernel ns", "minflt ns", "kernel/minflt (rounds)", "promised", "reached",
                "minflt ns, its tables within", "kernel/minflt (rounds)", "promised", "reached")
    for name, title, _ in patterns:
        total, own, tables = b.kernel_total.get(name), b.median(name, "minflt_pages", "total"), b.median(name, "minflt_pages", "metadata")
        cells = [title, cell(total and total / MIB, "{:.1f}"), cell(own and (own - tables) / MIB, "{:.1f}"), cell(b.median(name, "kernel"), "{:.0f}")]
        for side in ("minflt_pages", "minflt_equal"):
            cells += [cell(b.median(name, side), "{:.0f}")] + ratio_cells(b.ratio(name, "kernel", side), target, True)
        rows.append(cells)
    return rows


def latency_table(b, patterns):
    """Of the accesses that took longer than one without a fault can (pattern.c)."""
    keys = ["p50_ns", "p99_ns", "p999_ns", "max_ns"]
    rows = head("access", "side", "accesses", "above 1 us", "faults counted", "p50", "p99", "p99.9", "max", left=2)
    for name, title, _ in patterns:
        for side in ("kernel", "minflt"):
            if b.values(name, side, "slow_count"):
                counts = b.median(name, side, "count"), b.median(name, side, "slow_count"), \
                    b.median(name, side, "majflt") + b.median(name, side, "minflt")
                rows.append([title, side] + [f"{n:.0f}" for n in counts] + [f"{b.median(name, side, 'slow_' + k) / 1000:.2f}" for k in keys])
    return rows


def metadata_lines(b, reserve):
    lines = []
    cases = [run[:2] for run in reserve] + [("seq-read", "the whole working set touched")]
    for name, what in cases:
        metadata, touched = b.median(name, "minflt", "metadata"), b.median(name, "minflt", "touched")
        if metadata and touched:
            share = metadata / touched
            verdict = "reached" if share <= METADATA_LIMIT else "**not reached**"
            lines.append(f"- {what}: {metadata / 1024:.0f} KiB for {touched / MIB:.1f} MiB, {share * 100:.2f} % "
                         f"(at most {METADATA_LIMIT * 100:g} %: {verdict})")
    return lines or ["- not measured"]


def kept_remarks(path):
    """Remarks are written by hand, below the figures, and survive a new run into the same file."""
    if path and os.path.exists(path):
        with open(path) as f:
            text = f.read()
        if "## Remarks" in text:
            return text[text.index("## Remarks"):].rstrip()
    return "## Remarks\n\n(none yet)"


def introduction(b, but):
    o = b.o
    modes = sorted({r["mode"] for r in b.runs if r.get("mode")})
    return [f"# minflt and the kernel's zram swap, {datetime.date.today()}", "",
            f"Working set {o.size // MIB} MiB, {o.size // 2 // MIB} MiB of uncompressed pages on both sides, LZ4 on both,",
            f"data compressible about 2:1 page by page, pages of 4 KiB. Medians of {b.count_rounds('ns_per_op', but)}, the sides in turn; a ratio",
            "above 1 means minflt is faster. Every byte is verified after each run. The kernel's limit has",
            f"{b.state.get('overhead', 0) / 1024:.0f} KiB on top for what a cgroup charges besides the region (measured without limit).",
            f"minflt's way of carrying pages: {', '.join(modes) or '-'}.", "", sides.MACHINE]


def patterns(b, swap, fit, latency, reserve, equal_target, picture):
    """=> the lines of the report"""
    parts = introduction(b, {row[0] for row in [*reserve, *fit]})
    if swap:
        parts += ["", "## Twice the frames", ""] + ([f"![plot]({os.path.basename(picture)})", ""] if picture else [])
        parts += [markdown(swap_table(b, swap)), "", "## Memory, MiB", "", markdown(memory_table(b, swap)), "",
                  "Peaks. The last column is from a run of its own, in a cgroup without a limit: what was charged for",
                  "`minflt run` and the program together, page tables included."]
    if b.kernel_total:
        parts += ["", "## Equal memory in all", "", markdown(equal_table(b, swap, equal_target)), "",
                  "Pages uncompressed and compressed together, as many on both sides; the tables that each side needs for them come on top. In the last four columns",
                  "minflt's tables have to fit into the same memory, and the kernel's (struct page, page tables, zram's table, the swap map) still come on top."]
    if latency:
        parts += ["", "## One fault, microseconds", "", "Accesses of runs of their own, in which each is clocked; those that took more than 1 us,",
                  "which no access without a fault does.", "", markdown(latency_table(b, latency))]
    if fit:
        parts += ["", "## A working set that fits", "",
                  f"{b.o.size // 2 // MIB} MiB, {b.o.size * 3 // 4 // MIB} MiB of frames; {b.fit_turns} times as many rounds.", "",
                  markdown(fit_table(b, fit))]
    return parts + ["", "## Metadata of minflt", "", *metadata_lines(b, reserve)]
