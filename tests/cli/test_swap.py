# SPDX-License-Identifier: MIT
"""--swap: what is refused, and real programs whose data don't fit: right bytes, forks, kills, errors, full disks."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from helper import Case, main

from test_runtime import M, minflt

NOISE = os.environ["NOISE"]
MEMORY = "--memory=16M"


class Swap(Case):
    def swap(self, size=""):
        return f"--swap={self.path('swap')}{':' if size else ''}{size}"

    def noise(self, *args, options=(), swap=None):
        """Runs the program under 16M; its figures, after it has found every byte right."""
        stats = self.path("s.json")
        p = minflt("run", "-q", MEMORY, swap or self.swap("256M"), *options, f"--stats={stats}", "--", NOISE, *args)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("right\n", p.stdout)
        with open(stats) as f:
            s = json.load(f)
        self.assertEqual(s["swap"]["damaged_pages"], 0)
        if len(args) < 2 or args[1] == "0":
            self.assertLessEqual(s["kept"]["total_peak_bytes"], 16 * M)
        return s

    def mount(self, kind, options, *device):
        where = self.path("mnt")
        os.mkdir(where)
        p = subprocess.run(["mount", "-t", kind, "-o", options, *(device or ["none"]), where], capture_output=True, text=True)
        if p.returncode:
            self.skipTest(f"mount is not allowed here: {p.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", where], capture_output=True)
        return where

    # ---- what is refused

    def test_refused(self):
        for spec, *words in (("/", "folder"), ("", "names no file"), (":2M", "names no file"), (self.path("x") + ":1M", "too small", "2.0 MiB"),
                             (self.path("x") + ":999T", "more than"), ("/dev/null", "no file"), (self.path("no/x"), "folder that you may write to")):
            with self.subTest(spec):
                self.refused(minflt("run", MEMORY, f"--swap={spec}", "echo", "ran"), 125, "--swap", *words)
        self.refused(minflt("run", MEMORY, f"--swap={self.path('x')}:100T", "true"), 125, "there is room for")
        self.refused(minflt("run", MEMORY, self.swap("8M"), "true", setup="ulimit -f 1024"), 125, "ulimit -f")
        self.refused(minflt("run", "--resident=8M", self.swap("8M"), "true"), 125, "--memory SIZE, or --pool")
        self.refused(minflt("run", MEMORY, "--swap-plain", "true"), 125, "--swap FILE")
        self.refused(minflt("run", MEMORY, "--on-full=maybe", "true"), 125, "--on-full", "wait")
        self.assertEqual(os.listdir(self.dir), [])

    def test_content_is_kept(self):
        path = self.path("swap", "my thesis\n")
        self.refused(minflt("run", MEMORY, f"--swap={path}", "true"), 125, "holds something", "truncate -s 0")
        with open(path) as f:
            self.assertEqual(f.read(), "my thesis\n")

    def test_not_writable(self):
        path = self.path("swap", "", 0o400)
        if os.geteuid() == 0:
            where = self.mount("tmpfs", "size=16m")
            subprocess.run(["mount", "-o", "remount,ro", where], check=True)
            path = where + "/swap"
        self.refused(minflt("run", MEMORY, f"--swap={path}", "true"), 125, "cannot be opened")

    def test_in_use(self):
        path = self.path("swap")
        p = subprocess.Popen([os.environ["MINFLT"], "run", "-q", MEMORY, f"--swap={path}:8M", "sh", "-c", "echo ready; read line"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "ready\n")
        self.refused(minflt("run", MEMORY, f"--swap={path}:8M", "true"), 125, "in use by another run")
        p.communicate("go on\n")
        self.assertEqual(p.returncode, 0)
        self.assertFalse(os.path.exists(path))

    # ---- what is left behind

    def test_empty_file_stays_and_is_empty(self):
        path = self.path("swap", "", 0o600)
        self.noise("40", swap=f"--swap={path}:128M")
        self.assertEqual(os.stat(path).st_size, 0)

    def test_killed_and_used_again(self):
        path = self.path("swap")
        p = subprocess.Popen([os.environ["MINFLT"], "run", "-q", MEMORY, f"--swap={path}:256M", NOISE, "60", "0", "1000000"], stdout=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while (not os.path.exists(path) or os.stat(path).st_blocks < 40 * 2048) and time.monotonic() < deadline:
            time.sleep(0.05)
        p.kill()
        p.wait()
        self.assertTrue(os.path.exists(path))
        # Until the last process of the run has gone.
        while minflt("run", "-q", MEMORY, f"--swap={path}:8M", "true").returncode and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertLess(time.monotonic(), deadline)
        self.noise("40", swap=f"--swap={path}:128M")

    # ---- what works

    def test_several_times_the_memory(self):
        s = self.noise("80")
        f = s["swap_file"]
        self.assertTrue(f["encrypted"])
        self.assertGreater(f["to_file_pages"], 60 * 256)
        self.assertGreater(f["from_file_pages"], 60 * 256)
        self.assertGreater(f["used_peak_bytes"], 60 * M)
        self.assertEqual((f["write_errors"], f["read_errors"], f["waits"]), (0, 0, 0))

    def test_ways_to_write(self):
        for options in ("--swap-plain",), ("--swap-trouble=no-ring",), ("--compress=zstd",), ("--no-move",), ("--check-every=50",):
            with self.subTest(options):
                s = self.noise("48", options=options)
                self.assertEqual(s["swap_file"]["encrypted"], "--swap-plain" not in options)
                if "no-ring" in options[0]:
                    self.assertFalse(s["swap_file"]["io_uring"])

    def test_forks(self):
        """Children with pages of their parent in the file; all of them change what they have."""
        self.noise("32", "3", swap=self.swap("512M"))

    def test_room_is_reclaimed(self):
        """Twenty times the file's size goes through it."""
        s = self.noise("40", "0", "12", swap=self.swap("72M"))
        self.assertGreater(s["swap_file"]["written_bytes"], 200 * M)

    def test_daemon_goes_on(self):
        path, out = self.path("swap", ""), self.path("out")
        p = minflt("run", "-q", MEMORY, f"--swap={path}:256M", "--", NOISE, "48", "daemon", out)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.refused(minflt("run", MEMORY, f"--swap={path}", "true"), 125, "in use")
        self.wait_for_daemon(out)

    def wait_for_daemon(self, out):
        deadline = time.monotonic() + 60
        while not os.path.exists(out) and time.monotonic() < deadline:
            time.sleep(0.1)
        with open(out) as f:
            self.assertEqual(f.read(), "right\n")

    def test_no_file_stays_with_a_daemon(self):
        """The file has lost its name, and the daemon has its pages."""
        path, out = self.path("swap"), self.path("out")
        p = minflt("run", "-q", MEMORY, f"--swap={path}:256M", "--", NOISE, "48", "daemon", out)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertFalse(os.path.exists(path))
        self.noise("40", swap=f"--swap={path}:128M")
        self.wait_for_daemon(out)
        self.assertFalse(os.path.exists(path))

    def test_no_file_stays_with_children_of_the_killed(self):
        """The program is killed, a child of it lives on for a moment: nobody would remove the file later."""
        path = self.path("swap")
        p = minflt("run", "-q", MEMORY, f"--swap={path}:64M", "--", "sh", "-c", "sleep 1 >/dev/null 2>&1 & kill -9 $$")
        self.assertEqual(p.returncode, 128 + signal.SIGKILL)
        self.assertFalse(os.path.exists(path))

    def test_secret(self):
        needle = b"a very secret sentence that is in every page of it"
        found = {}
        for plain in False, True:
            path = self.path(f"swap{plain}")
            p = subprocess.Popen([os.environ["MINFLT"], "run", "-q", MEMORY, "--compress=none", f"--swap={path}:128M", *(["--swap-plain"] if plain else []),
                                  NOISE, "40", "say", needle.decode()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.assertEqual(p.stdout.readline(), "ready\n")
            subprocess.run(["sync", path])
            with open(path, "rb") as f:
                found[plain] = needle in f.read()
            p.communicate("end\n")
            self.assertEqual(p.returncode, 0)
        self.assertEqual(found, {False: False, True: True})

    # ---- trouble

    def test_write_errors_lose_nothing(self):
        for trouble in ("write:3",), ("write:4:28",), ("short:2",), ("write:5", "short:3", "no-ring"):
            with self.subTest(trouble):
                s = self.noise("40", options=[f"--swap-trouble={t}" for t in trouble])
                self.assertGreater(s["swap_file"]["written_bytes"], 20 * M)
                self.assertEqual(s["swap_file"]["write_errors"] > 0, trouble != ("short:2",))

    def test_all_writes_fail(self):
        p = minflt("run", "-q", MEMORY, self.swap("128M"), "--swap-trouble=write:1:28", NOISE, "40")
        self.assertEqual(p.returncode, 137)
        self.assertIn("writing to the swap file fails", p.stderr)

    def test_unreadable_is_a_sigbus(self):
        p = minflt("run", "-q", MEMORY, self.swap("128M"), "--swap-trouble=read:1", NOISE, "40")
        self.assertEqual(p.returncode, 128 + signal.SIGBUS, p.stderr)
        self.assertIn("can't be read back from the swap file (error 5)", p.stderr)

    def test_everything_full(self):
        p = minflt("run", "-q", MEMORY, self.swap("16M"), NOISE, "60")
        self.assertEqual(p.returncode, 137)
        self.assertIn("the compressed pool and the swap file are full", p.stderr)

    def test_on_full_wait(self):
        """A disk that is full for a while: the program stands still, says so once, and goes on when there is room."""
        where = self.mount("tmpfs", "size=96m")
        p = subprocess.Popen([os.environ["MINFLT"], "run", "-q", MEMORY, f"--swap={where}/swap:80M", "--on-full=wait", NOISE, "70", "wait"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "ready\n")
        fd = os.open(where + "/other", os.O_WRONLY | os.O_CREAT)
        with self.assertRaises(OSError):
            while True:
                os.write(fd, bytes(M))
        os.close(fd)
        p.stdin.write("go\n")
        p.stdin.flush()
        line = p.stderr.readline()
        self.assertIn("waits until there is room", line)
        self.assertIsNone(p.poll())
        time.sleep(0.5)
        self.assertIsNone(p.poll())
        os.remove(where + "/other")
        out, err = p.communicate(timeout=100)
        self.assertEqual((p.returncode, out), (0, "right\n"), err)
        self.assertNotIn("waits", err)

    def test_full_tmpfs(self):
        where = self.mount("tmpfs", "size=40m")
        p = minflt("run", "-q", MEMORY, f"--swap={where}/swap", NOISE, "28")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        with open(where + "/other", "wb") as f:
            f.write(bytes(20 * M))
        self.refused(minflt("run", "-q", MEMORY, f"--swap={where}/swap:30M", NOISE, "28"), 125, "there is room for")

    def device(self, size):
        """A block device of so many MiB, by dmsetup or losetup; skips where neither can be had."""
        image = self.path("image")
        with open(image, "wb") as f:
            f.truncate(size * M)
        p = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
        if p.returncode:
            self.skipTest(f"no loop device can be had here: {p.stderr.strip()}")
        dev = p.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", dev])
        return dev

    def test_block_device(self):
        dev = self.device(64)
        s = self.noise("40", swap=f"--swap={dev}")
        self.assertEqual(s["swap_file"]["size_bytes"], 64 * M)
        # What was a file system is not overwritten.
        with open(dev, "r+b") as f:
            f.write(bytes(4096))
            f.seek(1080)
            f.write(b"\x53\xef")
        self.refused(minflt("run", MEMORY, f"--swap={dev}", "true"), 125, "holds something", "wipefs")

    def full_disk_below(self, size, *kept):
        """A block device of so many MiB that is real and fails: its image lies on a file system without room. Only the `kept` MiB can be written. => the
        device, and the image"""
        where = self.mount("tmpfs", f"size={size}m")
        image = where + "/image"
        with open(image, "wb") as f:
            f.truncate(size * M)
            for mib in kept:
                f.seek(mib * M)
                f.write(bytes(M))
        with open(where + "/other", "wb", 0) as f, contextlib.suppress(OSError):
            while f.write(bytes(4096)) == 4096:
                pass
        p = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
        if p.returncode:
            self.skipTest(f"no loop device can be had here: {p.stderr.strip()}")
        dev = p.stdout.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", dev])
        with open(dev, "r+b", 0) as f, self.assertRaises(OSError):
            f.seek(min(set(range(size)) - set(kept)) * M)
            f.write(bytes(M))
            os.fsync(f.fileno())
        return dev, image

    def test_device_with_bad_parts(self):
        dev, _ = self.full_disk_below(96, *range(4), *range(5, 90))
        s = self.noise("60", swap=f"--swap={dev}")
        self.assertGreater(s["swap_file"]["write_errors"], 0)
        self.assertGreater(s["swap_file"]["written_bytes"], 30 * M)

    def test_device_that_takes_nothing(self):
        dev, _ = self.full_disk_below(96, 0)
        p = minflt("run", "-q", MEMORY, f"--swap={dev}", NOISE, "60")
        self.assertEqual(p.returncode, 137, p.stderr)
        self.assertIn("writing to the swap file fails", p.stderr)

    def test_device_that_forgets(self):
        """What is below the device loses its end: an I/O error, or zeros, as the kernel likes. The program sees neither."""
        dev, image = self.full_disk_below(96, *range(90))
        p = subprocess.Popen([os.environ["MINFLT"], "run", "-q", MEMORY, f"--swap={dev}", NOISE, "80", "wait"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(p.stdout.readline(), "ready\n")
        os.truncate(image, 0)
        subprocess.run(["blockdev", "--flushbufs", dev], capture_output=True)
        out, err = p.communicate("go\n", timeout=100)
        self.assertEqual((p.returncode, out), (128 + signal.SIGBUS, ""), err)
        self.assertRegex(err, "can't be read back from the swap file|is damaged")

    def test_failing_device(self):
        if not shutil.which("dmsetup") or subprocess.run(["dmsetup", "version"], capture_output=True).returncode:
            self.skipTest("dmsetup or the device mapper is not there")
        dev, name = self.device(128), f"minflt-test-{os.getpid()}"
        # The third quarter fails.
        table = f"0 131072 linear {dev} 0\n131072 65536 error\n196608 65536 linear {dev} 196608\n"
        p = subprocess.run(["dmsetup", "create", name], input=table, capture_output=True, text=True)
        if p.returncode:
            self.skipTest(f"no device can be mapped here: {p.stderr.strip()}")
        self.addCleanup(subprocess.run, ["dmsetup", "remove", "--force", name], capture_output=True)
        s = self.noise("70", swap=f"--swap=/dev/mapper/{name}")
        self.assertGreater(s["swap_file"]["write_errors"], 0)


if __name__ == "__main__":
    main()
