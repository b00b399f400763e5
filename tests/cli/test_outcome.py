# SPDX-License-Identifier: MIT
"""What comes out: the exit status, the summary, the figures, and what is said when the runtime does not do its part."""
import errno
import json
import os
import shutil
import subprocess
import time

from helper import DENY, MINFLT, NOBODY, Case, environment, main, run

PTRACE, USERFAULTFD = "101", "323"  # x86-64 system calls


class Status(Case):
    def test_passes_through(self):
        for status in 0, 1, 2, 42, 124, 125, 126, 127, 128, 255:
            p = run("-q", "sh", "-c", f"exit {status}")
            self.assertEqual((p.returncode, p.stderr), (status, ""))

    def test_signal(self):
        for name, number in ("KILL", 9), ("TERM", 15), ("SEGV", 11), ("ABRT", 6), ("USR1", 10):
            p = run("-q", "sh", "-c", f"ulimit -c 0; kill -{name} $$")
            self.assertEqual((p.returncode, p.stderr), (128 + number, ""))


class Summary(Case):
    def test_figures(self):
        p = run("--compress=zstd:3", "sh", "-c", "echo out; echo err >&2; exit 3")
        self.assertEqual((p.returncode, p.stdout), (3, "out\n"))
        lines = p.stderr.splitlines()
        self.assertEqual(lines[:2], ["err", "Command exited with non-zero status 3"])
        self.assertTrue(all(line.startswith("\t") and ": " in line for line in lines[2:]), p.stderr)
        figures = dict(line.strip().rsplit(": ", 1) for line in lines[2:])
        for label, value in {
            "Command being run": "sh -c 'echo out; echo err >&2; exit 3'", "Exit status": "3", "Memory budget": "64.0 MiB",
            "Most kept at any time (pages, pool, tables)": "10.0 MiB", "Uncompressed pages, peak": "4.0 MiB",
            "Compressed pool, peak": "5.0 MiB", "Tables and state of minflt": "1.0 MiB", "Would have needed without minflt": "32.0 MiB",
            "Major page faults of the program (from swap)": "1001", "Minor page faults of the program": "1002",
            "Pages swapped out": "1003", "Pages swapped in": "1004", "Of these brought along by a neighbour": "1006",
            "Evictions of clean pages (stored copy still true)": "1005", "Compression": "zstd:3, ratio 4.00",
            "Stored pages, same-filled": "100", "Stored pages, incompressible": "7", "Damaged pages": "3",
            "Pages come and go by": "UFFDIO_MOVE",
        }.items():
            self.assertEqual(figures.get(label), value, label)
        for label in ("User time (seconds)", "System time (seconds)", "Elapsed (wall clock) time (h:mm:ss or m:ss)",
                      "Maximum resident set size (kbytes)", "Percent of CPU this job got"):
            self.assertIn(label, figures)

    def test_times(self):
        p = run("sleep", "0.3")
        figures = dict(line.strip().rsplit(": ", 1) for line in p.stderr.splitlines())
        minutes, seconds = figures["Elapsed (wall clock) time (h:mm:ss or m:ss)"].split(":")
        self.assertEqual(minutes, "0")
        self.assertTrue(0.3 <= float(seconds) < 5, seconds)

    def test_killed(self):
        p = run("sh", "-c", "kill -9 $$")
        self.assertEqual(p.returncode, 137)
        self.assertTrue(p.stderr.startswith("Command terminated by signal 9 (Killed)\n"), p.stderr)
        self.assertIn("\tPages swapped out: 1003\n", p.stderr)
        self.assertIn("\tExit status: 137\n", p.stderr)

    def test_quiet(self):
        for option in "-q", "--quiet":
            self.assertEqual(run(option, "true").stderr, "")

    def test_quoting(self):
        p = run("printf", "%s", "it's", "", "a b", "$x")
        self.assertIn("\tCommand being run: printf %s 'it'\\''s' '' 'a b' '$x'\n", p.stderr)

    def test_stderr_closed_or_full(self):
        self.assertEqual(subprocess.run(["sh", "-c", '"$@" 2>&-; exit $?', "sh", MINFLT, "run", "--memory=8M", "--stats", "sh", "-c", "exit 4"],
                                        env=environment()).returncode, 4)
        with open("/dev/full", "w") as full:
            self.assertEqual(run("--stats", "sh", "-c", "exit 4", stderr=full).returncode, 4)


class Messages(Case):
    def test_shown_even_when_quiet(self):
        p = run("-q", "true", fake="messages")
        self.assertEqual((p.returncode, p.stderr), (0, "minflt: page 0x1000 is damaged\nminflt: page 0x2000 is damaged\n"))

    def test_pool_full(self):
        p = run("-q", "true", fake="full")
        self.assertEqual((p.returncode, p.stderr), (137, "minflt: the pool is full; give more --memory\n"))


class Runtime(Case):
    """The program must not run unmanaged: its own first instruction waits for the runtime."""

    def test_failed(self):
        self.refused(run("echo", "has run", fake="failed"), 125, "could not start", "give at least 6M")

    def test_mute(self):
        self.refused(run("echo", "has run", fake="mute"), 125, "did not report for duty")

    def test_crash(self):
        self.refused(run("echo", "has run", fake="crash"), 125, "did not report for duty", "signal 11", "'minflt doctor'")

    def test_no_constructor(self):
        # A library that is loadable and knows nothing of the contract.
        lib = self.path("other.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", lib, "-"], input=b"int nothing;", check=True)
        self.refused(run("echo", "has run", env=dict(environment(), MINFLT_RUNTIME=lib)), 125, "did not report for duty")

    def test_not_loadable(self):
        # The dynamic linker's own line about it comes first.
        lib = self.path("needs.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", lib, "-", "-Wl,-z,now"], input=b"int f(void); int g(void) { return f(); }",
                       check=True)
        p = run("echo", "has run", env=dict(environment(), MINFLT_RUNTIME=lib))
        self.assertEqual((p.returncode, p.stdout), (125, ""))

    def test_unusable_file(self):
        for name, text, word in ("lost.so", None, "No such file"), ("text.so", "text\n", "not a shared library"), ("empty.so", "", "not a"):
            lib = self.path(name, text)
            self.refused(run("echo", "has run", env=dict(environment(), MINFLT_RUNTIME=lib)), 125, name, word)
        self.refused(run("true", env=dict(environment(), MINFLT_RUNTIME="")), 125, "MINFLT_RUNTIME")

    def test_hang_and_terminate(self):
        p = subprocess.Popen([MINFLT, "run", "--memory=8M", "echo", "has run"], env=environment("hang"), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)
        self.assertIsNone(p.poll())
        p.terminate()
        out, err = p.communicate(timeout=10)
        self.assertEqual((p.returncode, out), (125, ""), err)
        self.assertIn("signal 15", err)

    def test_without_ptrace(self):
        deny = [DENY, PTRACE, str(errno.EPERM)]
        p = run("-q", "sh", "-c", "exit 9", before=deny)
        self.assertEqual((p.returncode, p.stderr), (9, ""))
        start = time.monotonic()
        p = run("sleep", "30", fake="mute", before=deny)
        self.refused(p, 125, "did not report for duty in time")
        self.assertTrue(4 < time.monotonic() - start < 15)
        p = run("true", fake="mute", before=deny)
        self.assertEqual((p.returncode, p.stdout), (125, ""))

    def test_long_after_the_gate(self):
        # SIGTRAP belongs to the program once the gate is open.
        self.assertEqual(run("-q", "sh", "-c", "ulimit -c 0; kill -TRAP $$").returncode, 128 + 5)


class Replaced(Case):
    """A wrapper that executes another program is no reason for a word: that one is followed, or it is said why not."""

    def test_nothing_said(self):
        self.assertEqual(run("-q", "sh", "-c", "sleep 0.05; exec sleep 0.5").stderr, "")
        self.assertEqual(run("-q", "--no-follow", "sh", "-c", "exec sleep 0.5").stderr, "")
        self.assertEqual(run("-q", "sh", "-c", "sleep 0.3; sh -c 'sleep 0.1'").stderr, "")


class Kernel(Case):
    def test_without_userfaultfd(self):
        deny = [DENY, USERFAULTFD, str(errno.ENOSYS)]
        words = 125, "no userfaultfd", "CONFIG_USERFAULTFD"
        if not os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
            self.refused(run("true", before=deny), *words)
            return
        if os.getuid() != 0 or os.stat("/dev/userfaultfd").st_mode & 0o006:
            self.skipTest("/dev/userfaultfd would be there all the same")
        # For somebody else the device is closed.
        tool, filtered = shutil.copy(MINFLT, self.path("minflt")), shutil.copy(DENY, self.path("deny"))
        p = subprocess.run(["setpriv", f"--reuid={NOBODY}", "--clear-groups", filtered, *deny[1:], tool, "run", "--memory=8M", "true"],
                           env=environment(), capture_output=True, text=True, cwd="/")
        self.refused(p, *words)

    def test_by_the_device(self):
        if not os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
            self.skipTest("/dev/userfaultfd is not there for this user")
        p = run("-q", "true", fake="request", before=[DENY, USERFAULTFD, str(errno.EPERM)])
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertEqual(json.loads(p.stdout)["uffd_source"], 1)
        self.assertEqual(json.loads(run("-q", "true", fake="request").stdout)["uffd_source"], 0)


if __name__ == "__main__":
    main()
