# SPDX-License-Identifier: MIT
"""The command with the real runtime: figures that hang together, and refusals that only the runtime can make."""
import json
import os
import subprocess
import sys

from helper import BUILD_ROOT, MINFLT, Case, main

M = 1 << 20
DAMAGE = os.path.join(BUILD_ROOT, "tests", "cli", "damage")
EARLY = os.path.join(BUILD_ROOT, "tests", "cli", "early")
PLACED = os.path.join(BUILD_ROOT, "tests", "cli", "placed")
RUNTIME = os.path.join(BUILD_ROOT, "libminflt-run.so")

# Touches and keeps 4096-byte pages that compress well and differ, then reads them all back.
EATER = """
import sys
n = int(sys.argv[1])
pages = [(b"%08d" % i) * 512 for i in range(n)]
ok = all(p[:8] == b"%08d" % i for i, p in enumerate(pages))
print("right" if ok else "wrong")
"""


def minflt(*args, setup="", **more):
    env = {k: v for k, v in os.environ.items() if k not in ("MINFLT_RUNTIME", "MINFLT_FAKE", "LD_PRELOAD")}
    env.update(LC_ALL="C")
    before = ["sh", "-c", setup + '\nexec "$@"', "sh"] if setup else []
    return subprocess.run([*before, MINFLT, *args], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, **more)


class Real(Case):
    def stats(self, *args):
        path = self.path("s.json")
        p = minflt("run", "-q", f"--stats={path}", *args)
        self.assertEqual((p.returncode, p.stderr), (0, ""), args)
        with open(path) as f:
            return p.stdout, json.load(f)

    def python(self, n):
        return sys.executable, "-c", EATER, str(n)

    def test_doctor(self):
        p = minflt("doctor")
        if "FAIL    userfaultfd" in p.stdout:
            self.skipTest("userfaultfd is not there for this user")
        self.assertEqual((p.returncode, p.stderr), (0, ""), p.stdout)
        self.assertIn(f"ok      runtime: {RUNTIME}\n", p.stdout)

    def test_budget_is_kept(self):
        pages = 30000  # 117 MiB
        for options in ("--memory=48M",), ("--memory=48M", "--no-move"), ("--memory=64M", "--compress=zstd:3"):
            with self.subTest(options):
                out, s = self.stats(*options, *self.python(pages))
                self.assertEqual(out, "right\n")
                memory = s["budget"]["memory_bytes"]
                self.assertGreater(s["kept"]["touched_peak_bytes"], pages * 4096)
                self.assertLessEqual(s["kept"]["total_peak_bytes"], memory)
                self.assertGreater(s["kept"]["total_peak_bytes"], memory // 4)
                self.assertGreater(s["swap"]["swapped_out_pages"], (pages * 4096 - memory) // 4096)
                self.assertGreater(s["faults"]["major"], 0)
                self.assertEqual(s["swap"]["damaged_pages"], 0)
                self.assertGreater(s["swap"]["packed_pages"], s["swap"]["stored_pages"] - s["swap"]["same_filled_pages"] - 64)
                self.assertGreater(s["swap"]["packed_pages"] * 4096, s["swap"]["packed_bytes"] * 1.2)
                self.assertEqual(s["runtime"]["mode"], "copy" if "--no-move" in options else s["runtime"]["mode"])
                # The kernel's own account: the budget, and the code, libraries and stacks that are not managed.
                self.assertLess(s["process"]["max_resident_bytes"], memory + 24 * M)

    def test_resident_and_pool(self):
        out, s = self.stats("--resident=16M", *self.python(20000))
        self.assertEqual(out, "right\n")
        self.assertLessEqual(s["kept"]["frames_peak_pages"] * 4096, 16 * M)
        out, s = self.stats("--resident=32M", "--pool=64M", *self.python(20000))
        self.assertEqual(out, "right\n")
        self.assertLessEqual(s["kept"]["pool_peak_bytes"], 64 * M)
        self.assertLessEqual(s["kept"]["frames_peak_pages"] * 4096, 32 * M)

    def test_resident_by_the_kernels_account(self):
        """Frames that are free don't keep their pages beyond the limit: frames beyond it exist only for what is pinned."""
        pattern = os.path.join(BUILD_ROOT, "bench", "pattern")
        _, s = self.stats("--resident=64M", "--compress=lz4", pattern, "--pattern", "rand-write", "--size", "128M")
        self.assertLess(s["process"]["max_resident_bytes"], s["kept"]["total_peak_bytes"] + 24 * M)

    def test_checking_takes_no_budget(self):
        # What the check of the invariants looks at became resident and counted: the whole table of slots, 8 MiB at least.
        out, s = self.stats("--memory=12M", "--compress=zstd", "--check-every=500", *self.python(6000))
        self.assertEqual(out, "right\n")
        self.assertGreater(s["runtime"]["invariant_checks"], 2)
        self.assertLess(s["kept"]["metadata_bytes"], 2 * M)

    def test_metadata_is_a_fiftieth_of_what_is_touched(self):
        """64 MiB of 1 TiB, in 16 places far from each other: page tables cost by what is touched, too."""
        pattern = os.path.join(BUILD_ROOT, "bench", "pattern")
        for _ in range(3):  # where the places begin differs from run to run, and with it how many tables they need
            _, s = self.stats("--resident=32M", "--pool=1G", pattern, "--reserve", "1T", "--touch", "64M")
            self.assertLess(s["kept"]["metadata_bytes"] / s["kept"]["touched_peak_bytes"], 0.02)

    def test_pool_full(self):
        p = minflt("run", "-q", "--memory=16M", "--compress=none", *self.python(30000))
        self.assertEqual(p.returncode, 137, p.stderr)
        self.assertTrue(p.stderr.startswith("minflt: "), p.stderr)

    def test_damaged_page(self):
        """Stored bytes that are wrong are a SIGBUS where they are read, and a message; never the program's bytes."""
        for options in ((), ("--no-move",)):
            with self.subTest(options):
                path = self.path("s.json")
                p = minflt("run", "-q", "--resident=8M", "--pool=64M", f"--stats={path}", *options, DAMAGE)
                with open(path) as f:
                    s = json.load(f)
                self.assertGreater(s["swap"]["damaged_pages"], 0)
                self.assertRegex(p.stderr, r"^minflt: the stored copy of the page at 0x[0-9a-f]+ is damaged \(checksum mismatch\); its bytes are lost")
                if "no UFFDIO_POISON" in p.stderr:  # Linux before 6.6: ended instead
                    self.assertEqual((p.returncode, p.stdout), (137, ""))
                else:
                    self.assertEqual((p.returncode, p.stdout), (0, "SIGBUS in my memory\n"), p.stderr)

    def test_first_faults_share_a_processor(self):
        """What malloc looks at when it starts doesn't keep the handler and the program on two processors for the next 20 ms."""
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("there is one processor")
        runs = []
        for _ in range(20): # a busy machine may be too slow for the pace that is asked for
            p = minflt("run", "-q", "--memory=64M", EARLY)
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            touched, micros, whole = map(int, p.stdout.split())
            self.assertEqual(whole, 1)
            runs.append((touched, micros))
            if touched and micros < 15000:
                return
        self.fail(f"never in time: {runs}")

    def test_one_of_several_threads_shares_a_processor(self):
        """A server's thread that faults all the time and others that wait: the first is kept beside the handler, too."""
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("there is one processor")
        p = minflt("run", "-q", "--memory=64M", PLACED, "1")
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "1 1 1\n", ""))

    def test_two_threads_have_a_processor_each(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("there is one processor")
        p = minflt("run", "-q", "--memory=64M", PLACED, "2")
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "2 2 1\n", ""))

    def test_what_is_only_read_leaves_where_it_stands(self):
        """Though its bytes are compressed each time: no MOVE for each page, which interrupts the processor of the other thread."""
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("there is one processor")
        pattern = os.path.join(BUILD_ROOT, "bench", "pattern")
        _, s = self.stats("--memory=64M", "--compress=lz4", pattern, "--pattern", "threads-rand-read", "--size", "96M", "--passes", "10")
        if s["runtime"]["mode"] == "copy":
            self.skipTest("there is no MOVE here")
        self.assertEqual(s["swap"]["clean_evictions_pages"], 0)
        self.assertGreater(s["faults"]["copied_out_pages"], 2 * s["faults"]["moved_out_pages"])

    def test_frames_of_the_first_fill_do_not_displace_those_in_use(self):
        """When the pool has grown, half of the frames of the first fill are free. What they keep must not make each page that leaves go back to the host."""
        pattern = os.path.join(BUILD_ROOT, "bench", "pattern")
        _, s = self.stats("--memory=49M", "--compress=lz4", pattern, "--pattern", "rand-write", "--size", "64M", "--passes", "8")
        if s["runtime"]["mode"] == "copy":
            self.skipTest("there is no MOVE here")
        self.assertGreater(s["faults"]["moved_in_pages"], 2 * s["faults"]["major"] / 3)

    def test_smallest_budget(self):
        p = minflt("run", "-q", "--memory=4M", "true")
        self.assertEqual((p.returncode, p.stderr), (0, ""))

    def test_huge_budget(self):
        p = minflt("run", "-q", "--memory=128T", "true")
        self.refused(p, 125, "true", "a smaller budget")

    def test_no_address_space(self):
        p = minflt("run", "--memory=64M", "echo", "has run", setup="ulimit -v 60000")
        self.refused(p, 125, "ulimit -v", "a smaller budget")

    def test_little_swapping_costs_nothing_visible(self):
        out, s = self.stats("--memory=512M", *self.python(1000))
        self.assertEqual((out, s["swap"]["swapped_out_pages"], s["faults"]["major"]), ("right\n", 0, 0))


if __name__ == "__main__":
    main()
