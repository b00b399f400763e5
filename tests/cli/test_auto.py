# SPDX-License-Identifier: MIT
"""--memory auto: the program shrinks to what it needs, grows when it needs more, and the curve is told."""
import json
import os
import subprocess
import unittest

from helper import BUILD_ROOT, MINFLT, Case, environment, main

PHASES = os.path.join(BUILD_ROOT, "tests", "cli", "phases")
MIB = 256  # pages
NEEDS, HOT, SECONDS = 96, 8, 6


def kept(sample):
    return (sample["frames_pages"] + sample["pool_pages"]) / MIB


def own_group(case):
    """A memory cgroup and one in it, and the name of its limit."""
    for root, file, at in ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory"), ("/sys/fs/cgroup", "memory.max", ""):
        with open("/proc/self/cgroup") as f:
            lines = [line.rstrip("\n").split(":", 2) for line in f]
        for _, controllers, path in lines:
            outer = f"{root}{path.rstrip('/')}/minflt-test.{os.getpid()}"
            if at not in controllers.split(","):
                continue
            try:
                os.mkdir(outer)
                case.addCleanup(os.rmdir, outer)
                os.mkdir(outer + "/inner")
                case.addCleanup(os.rmdir, outer + "/inner")
            except OSError:
                continue
            if os.path.exists(f"{outer}/{file}"):
                return outer, outer + "/inner", file
    case.skipTest("no memory cgroup can be made here")


class Auto(Case):
    def phases(self, *options, seconds=SECONDS):
        argv = [PHASES, str(NEEDS), str(HOT), str(seconds)]
        path = self.path("stats.json")
        p = subprocess.run([MINFLT, "run", *options, f"--stats={path}", "--", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True, timeout=120)
        with open(path) as f:
            return p, json.load(f)

    def test_phases(self):
        native = subprocess.run([PHASES, str(NEEDS), str(HOT), "0"], stdout=subprocess.PIPE, text=True, timeout=120)
        p, stats = self.phases("--memory", "auto")
        self.assertEqual((p.returncode, p.stdout), (native.returncode, native.stdout), p.stderr)
        curve = stats["auto"]["curve"]
        self.assertEqual(stats["auto"]["share"], 0.05)
        self.assertIsNone(stats["budget"]["memory_bytes"])
        self.assertEqual([s["at_seconds"] for s in curve], sorted(s["at_seconds"] for s in curve))
        frames = [s["frames_pages"] / MIB for s in curve]
        hot = [s for s in curve if s["at_seconds"] < SECONDS]
        all_ = [s for s in curve if s["at_seconds"] > SECONDS + 1]
        # Half of the cold pages at least are compressed, which takes half of what they were.
        low = min(kept(s) for s in hot)
        self.assertLess(low, NEEDS * 0.8, frames)
        self.assertLess(min(s["frames_pages"] for s in hot) / MIB, NEEDS * 0.5, frames)
        # ... and come back in the second phase, which reads all of them.
        self.assertGreater(max(s["frames_pages"] for s in all_) / MIB, NEEDS * 0.7, frames)
        self.assertGreater(stats["auto"]["lost_ns"], 0)
        # Compressed copies of pages that are back don't pile up.
        self.assertLess(max(kept(s) for s in all_[len(all_) // 2:]), NEEDS * 1.3, curve)
        self.assertIn("Memory budget: as little as loses at most 5.0% of the time", p.stderr)
        self.assertIn("\tKept after ", p.stderr)

    def test_swap_file(self):
        """With a file, pages that don't shrink go there soon, little stays in the pool, and all of it is right when it comes back."""
        native = subprocess.run([PHASES, str(NEEDS), str(HOT), "0"], stdout=subprocess.PIPE, text=True, timeout=120)
        p, stats = self.phases("--memory", "auto", "--compress=none", "--swap", self.path("swap") + ":512M")
        self.assertEqual((p.returncode, p.stdout), (native.returncode, native.stdout), p.stderr)
        self.assertGreater(stats["swap_file"]["to_file_pages"], 10 * MIB)
        self.assertGreater(stats["swap_file"]["from_file_pages"], 10 * MIB)
        for s in stats["auto"]["curve"]:
            self.assertLess(s["pool_pages"] / MIB, kept(s) / 4 + 4, s)

    def test_group_limit(self):
        """A limit of the memory cgroup above the program's own is what auto starts from."""
        outer, inner, file = own_group(self)
        limit = 300 << 20
        with open(os.path.join(outer, file), "w") as f:
            f.write(str(limit))
        p = subprocess.run(["sh", "-c", f'echo $$ > {inner}/cgroup.procs && exec "$@"', "sh", MINFLT, "run", "-q", "--memory", "auto", "--", "true"],
                           env=environment("request"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertEqual(json.loads(p.stdout)["memory"], limit)

    def test_idle(self):
        """A program that waits takes no faults, and gives back all the same."""
        path = self.path("stats.json")
        program = "import time; a = [str(i) * 20 for i in range(400000)]; time.sleep(6); print(len(a))"
        p = subprocess.run([MINFLT, "run", "-q", "--memory", "auto:2%", f"--stats={path}", "--", "python3", "-c", program],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "400000\n", ""))
        with open(path) as f:
            stats = json.load(f)
        frames = [s["frames_pages"] for s in stats["auto"]["curve"]]
        self.assertLess(min(frames), max(frames) / 2, frames)

    def test_bad(self):
        for value in "auto:", "auto:0", "auto:x", "auto:-1", "auto:5%%", "auto:91", "auto:1e999", "auto:nan", "auto:0.01", "auto:0x10", "auto:5e0", "auto:.", "auto:1.2.3", "auto:%", "auto: 5", "auto:+5":
            p = subprocess.run([MINFLT, "run", "--memory", value, "true"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.refused(p, 125, f"'{value}'", "0.1 to 90")
        for value in "automatic", "aut":
            p = subprocess.run([MINFLT, "run", "--memory", value, "true"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.refused(p, 125, f"'{value}'", "is not a size")
        for option in "--resident", "--pool":
            p = subprocess.run([MINFLT, "run", "--memory", "auto", option, "16M", "true"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
            self.refused(p, 125, option, "--memory auto")


if __name__ == "__main__":
    main()
