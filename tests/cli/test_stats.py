# SPDX-License-Identifier: MIT
"""--stats: valid JSON with stable keys, in a file that is complete or not there."""
import json
import os
import stat
import subprocess
import unittest

from helper import FAKE, MINFLT, NOBODY, Case, environment, main, run

KEYS = {
    "version": None, "command": None,
    "process": {"status", "signal", "elapsed_seconds", "user_seconds", "system_seconds", "max_resident_bytes", "kernel_major_faults",
                "kernel_minor_faults", "voluntary_context_switches", "involuntary_context_switches"},
    "budget": {"compress", "level", "memory_bytes", "resident_bytes", "pool_bytes", "frame_limit_pages"},
    "kept": {"total_peak_bytes", "total_bytes", "frames_peak_pages", "frames_pages", "pool_peak_bytes", "pool_bytes", "metadata_bytes",
             "managed_peak_bytes", "touched_peak_bytes"},
    "faults": {"major", "minor", "messages", "zeroed_pages", "zeroed_around_pages", "cow_copied_pages", "cow_reused_pages",
               "moved_in_pages", "moved_out_pages", "copied_in_pages", "copied_out_pages"},
    "swap": {"swapped_out_pages", "swapped_in_pages", "swapped_in_around_pages", "evicted_pages", "clean_evictions_pages",
             "pinned_refusals", "stored_pages", "same_filled_pages", "incompressible_pages", "stored_bytes", "compression_ratio",
             "packed_pages", "packed_bytes", "damaged_pages", "compactions"},
    "swap_file": {"size_bytes", "encrypted", "io_uring", "stored_in_file_pages", "used_bytes", "used_peak_bytes", "to_file_pages",
                  "from_file_pages", "written_bytes", "read_bytes", "write_errors", "read_errors", "cleaned_segments", "waits"},
    "tree": {"processes", "processes_peak", "forks", "execs", "unfollowed", "unmanaged_peak_bytes", "pressed"},
    "runtime": {"mode", "start_ns", "memory_calls", "forks", "invariant_checks"},
}


class Stats(Case):
    def load(self, path):
        with open(path) as f:
            return json.load(f)

    def test_keys_and_manual(self):
        path = self.path("s.json")
        p = run("-q", f"--stats={path}", "sh", "-c", "exit 6")
        self.assertEqual((p.returncode, p.stderr), (6, ""))
        s = self.load(path)
        self.assertEqual(set(s), set(KEYS))
        with open(os.path.join(os.environ["SOURCE_ROOT"], "man", "minflt-run.1")) as f:
            manual = f.read()
        for group, keys in KEYS.items():
            self.assertIn(group, manual)
            if keys:
                self.assertEqual(set(s[group]), keys)
                for key in keys:
                    self.assertIn(key, manual)

    def test_values(self):
        path = self.path("s.json")
        run("-q", "--compress=zstd:5", "--resident=8M", f"--stats={path}", "sh", "-c", "kill -9 $$")
        s = self.load(path)
        self.assertEqual(s["command"], ["sh", "-c", "kill -9 $$"])
        self.assertEqual((s["process"]["status"], s["process"]["signal"]), (137, 9))
        self.assertEqual(s["budget"]["compress"], "zstd")
        self.assertEqual(s["budget"]["level"], 5)
        self.assertEqual((s["budget"]["memory_bytes"], s["budget"]["resident_bytes"], s["budget"]["pool_bytes"]), (64 << 20, 8 << 20, None))
        self.assertEqual((s["faults"]["major"], s["faults"]["minor"]), (1001, 1002))
        self.assertEqual(s["swap"]["compression_ratio"], 4.0)
        self.assertEqual(s["kept"]["total_peak_bytes"], 10 << 20)
        self.assertEqual(s["runtime"]["mode"], "move")
        self.assertGreater(s["process"]["max_resident_bytes"], 100 << 10)

    def test_standard_error(self):
        p = run("-q", "--stats", "true")
        self.assertEqual(json.loads(p.stderr)["process"]["status"], 0)
        p = run("--stats", "true")
        self.assertEqual(json.loads(p.stderr[p.stderr.index("{\n"):])["process"]["status"], 0)
        self.assertTrue(p.stderr.startswith("\tCommand being run: true\n"))

    def test_awkward_arguments(self):
        path = self.path("s.json")
        args = ['"', "\\", "\n\t\x01\x7f", "ä€😀", os.fsdecode(b"\xff\xc0\xaf\xed\xa0\x80")]
        run("-q", f"--stats={path}", "true", *args)
        command = self.load(path)["command"]
        self.assertEqual(command[1:5], args[:4])
        self.assertEqual(command[5], "\ufffd" * 6)

    def test_replaced_and_nothing_left(self):
        path = self.path("s.json", "old\n", 0o600)
        p = run("-q", f"--stats={path}", "sh", "-c", f"cat {path}; ls -A {self.dir}")
        self.assertEqual(p.stdout, "old\ns.json\n")
        self.load(path)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(os.listdir(self.dir), ["s.json"])

    def test_mode_of_a_new_file(self):
        path = self.path("new.json")
        subprocess.run(["sh", "-c", 'umask 027; exec "$@"', "sh", MINFLT, "run", "-q", "--memory=8M", f"--stats={path}", "true"],
                       env=environment(), check=True)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)

    def test_symbolic_link(self):
        os.mkdir(self.path("there"))
        os.symlink("there/s.json", self.path("link"))
        for _ in range(2):  # dangling, then not
            run("-q", f"--stats={self.path('link')}", "true", cwd=self.dir)
            self.assertTrue(os.path.islink(self.path("link")))
            self.load(self.path("there/s.json"))
            self.assertEqual(sorted(os.listdir(self.dir)), ["link", "there"])

    def test_relative_although_the_program_moves(self):
        run("-q", "--stats=s.json", "sh", "-c", "cd /", cwd=self.dir)
        self.load(self.path("s.json"))

    def test_pipe(self):
        p = run("-q", "--stats=/dev/stdout", "true")
        self.assertEqual(json.loads(p.stdout)["process"]["status"], 0)
        self.assertEqual(run("-q", "--stats=/dev/null", "sh", "-c", "exit 5").returncode, 5)

    def test_refused_before_the_start(self):
        for path, word in (("/nowhere/s.json", "No such file"), (self.dir, "directory"), ("/proc/s.json", ""), ("x" * 300, "too long")):
            with self.subTest(path):
                self.refused(run(f"--stats={path}", "echo", "has run"), 125, "--stats=", word, "folder that you may write to")
        self.assertEqual(os.listdir(self.dir), [])

    @unittest.skipUnless(os.getuid() == 0, "needs root, to be somebody else")
    def test_refused_without_permission(self):
        as_nobody = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"]
        import shutil
        tool = shutil.copy(MINFLT, self.path("minflt"))
        fake = shutil.copy(FAKE, self.path("fake.so"))
        before = sorted(os.listdir(self.dir))
        p = subprocess.run([*as_nobody, tool, "run", "--memory=8M", f"--stats={self.path('s.json')}", "echo", "has run"],
                           env=dict(environment(), MINFLT_RUNTIME=fake), capture_output=True, text=True)
        self.refused(p, 125, "--stats=", "Permission denied")
        self.assertEqual(sorted(os.listdir(self.dir)), before)

    def test_not_written_when_it_did_not_run(self):
        path = self.path("s.json")
        self.assertEqual(run(f"--stats={path}", "true", fake="failed").returncode, 125)
        self.assertEqual(run(f"--stats={path}", "true", fake="mute").returncode, 125)
        self.assertEqual(os.listdir(self.dir), [])

    def test_folder_vanishes(self):
        os.mkdir(self.path("d"))
        p = run("-q", f"--stats={self.path('d')}/s.json", "rmdir", self.path("d"))
        self.assertEqual(p.returncode, 125)
        self.assertIn("the program has run", p.stderr)
        p = run("-q", f"--stats={self.path('s.json')}", "sh", "-c", f"mkdir {self.path('s.json')}; exit 3")
        self.assertEqual(p.returncode, 3)
        self.assertEqual(os.listdir(self.dir), ["s.json"])


if __name__ == "__main__":
    main()
