# SPDX-License-Identifier: MIT
"""What starting a program and forking cost under `minflt run`, beside a native run."""
import os
import statistics
import sys

import report
import sides
from sides import MIB, Failed

# Row, title, command, the most milliseconds more than natively that are promised.
STARTS = [
    ("true", "true", ["/bin/true"], 10),
    ("python", "python3 -c pass", ["/usr/bin/python3", "-c", "pass"], 10),
    ("shell", "sh -c 'true; /bin/true'", ["/bin/sh", "-c", "true; /bin/true"], None),
]
# Row, title, bytes of the process, the most times native that is promised.
FORKS = [
    ("fork-1M", "fork, exit, wait; 1 MiB in use", MIB, 3.0),
    ("fork-16M", "fork, exit, wait; 16 MiB in use", 16 * MIB, None),
]
BUDGET = ["--memory", "256M"]


class Bench(sides.Sides):
    def start(self, side, row, n):
        """n starts one after the other, both sides in turn by the caller. => median milliseconds"""
        command = row[2] if side == "native" else [self.o.minflt, "run", "-q", *BUDGET, "--", *row[2]]
        return {"ms": statistics.median(sides.clock(command) * 1000 for _ in range(n))}

    def fork(self, side, row, n):
        command = [os.path.join(self.o.build, "bench", "forks"), str(row[2]), str(n)]
        result = sides.run(command) if side == "native" else self.under_minflt(BUDGET, command)
        return dict(result, us=result["median_ns"] / 1000)


def measure(b, starts, forks, who):
    few, many = (3, 30) if b.o.quick else (20, 300)
    for nr in b.rounds():
        for rows, how, n, unit in ((starts, b.start, few, "ms"), (forks, b.fork, many, "us")):
            for row in rows:
                for side in who if nr % 2 == 0 else who[::-1]:
                    b.keep(row[0], side, nr, how(side, row, n), unit, unit)


def start_table(b, rows):
    table = report.head("program", "native ms", "minflt ms", "more, ms (rounds)", "at most", "reached")
    for name, title, _, most in rows:
        native, minflt = b.values(name, "native", "ms"), b.values(name, "minflt", "ms")
        if not minflt:
            continue
        each = [y - x for x, y in zip(native, minflt)]
        more = statistics.median(minflt) - statistics.median(native)
        table.append([title, f"{statistics.median(native):.2f}", f"{statistics.median(minflt):.2f}", f"{more:.2f} ({min(each):.2f}-{max(each):.2f})",
                      "-" if most is None else f"{most:g}", "reported" if most is None else "yes" if more <= most else "**no**"])
    return table


def fork_table(b, rows):
    table = report.head("process", "native us", "minflt us", "minflt/native (rounds)", "at most", "reached")
    for name, title, _, most in rows:
        table.append([title] + [report.cell(b.median(name, side, "us"), "{:.0f}") for side in ("native", "minflt")]
                     + report.ratio_cells(b.ratio(name, "minflt", "native", "us"), most, False))
    return table


def main():
    o = sides.parse(sides.parser("start", __doc__, "start"), [row[0] for row in STARTS + FORKS])
    b = Bench(o)
    notes = sides.load_note(o)
    why = sides.why_no_minflt(o)
    notes += sides.left_out({"minflt": why})
    try:
        measure(b, sides.chosen(o, STARTS), sides.chosen(o, FORKS), ["native"] + ([] if why else ["minflt"]))
    except Failed as failure:
        sys.exit(f"bench: {failure}")
    sides.save(b, [f"# Starting and forking, {sides.today()}", "",
                   f"Under `minflt run {' '.join(BUDGET)}` and natively, in turn; medians of {b.count_rounds('ms')}, of which each is the median of many starts or forks.",
                   "", sides.MACHINE, "", "## Start to end", "", "The whole command, from the start of `minflt run` to its end, and what that is more than natively.", "",
                   report.markdown(start_table(b, STARTS)), "", "## Fork to exit", "",
                   "Inside one program, from before fork to after wait; the child exits at once.", "", report.markdown(fork_table(b, FORKS))], notes)


main()
