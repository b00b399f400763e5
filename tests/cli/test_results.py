# SPDX-License-Identifier: MIT
"""tests/results.py counts what happened: nothing that failed or was left out may look like success."""
import json
import os
import subprocess
import sys

from helper import SOURCE_ROOT, Case, main

SCRIPT = os.path.join(SOURCE_ROOT, "tests", "results.py")


class Results(Case):
    def call(self, *args):
        return subprocess.run([sys.executable, SCRIPT, *args], cwd=self.dir, capture_output=True, text=True)

    def log(self, *tests):
        os.makedirs(self.path("b/meson-logs"), exist_ok=True)
        with open(self.path("b/meson-logs/testlog.json"), "w") as f:
            for t in tests:
                f.write(json.dumps(t) + "\n")

    def test_rows(self):
        self.log({"name": "minflt:unit / good", "result": "OK", "stdout": "fine\n"},
                 {"name": "partly", "result": "OK", "stdout": "SKIP: Case.one: no root\nmore\n"},
                 {"name": "bad", "result": "FAIL", "stdout": "a\n", "stderr": "it\tbroke\n"},
                 {"name": "slow", "result": "TIMEOUT"}, {"name": "lost", "result": "ERROR"},
                 {"name": "surprise", "result": "UNEXPECTEDPASS"}, {"name": "interrupted", "result": "INTERRUPT"},
                 {"name": "later", "result": "SKIP", "stdout": "starting\nSKIP: kernel too old\n"},
                 {"name": "mute", "result": "SKIP"}, {"name": "open", "result": "EXPECTEDFAIL"})
        p = self.call("b")
        self.assertEqual(p.stdout.splitlines(), [ # carriage returns end lines here
            "PASS\tb: good\t", "PASS\tb: partly\t", "SKIP\tb: partly\tCase.one: no root", "FAIL\tb: bad\tfail: it broke", "a", "it broke",
            "FAIL\tb: slow\ttimeout: ", "FAIL\tb: lost\terror: ", "FAIL\tb: surprise\tunexpectedpass: ",
            "FAIL\tb: interrupted\tinterrupt: ", "SKIP\tb: later\tkernel too old", "SKIP\tb: mute\tno reason given",
            "SKIP\tb: open\tknown to fail: an open fault, kept as a test"])

    def test_no_log(self):
        self.assertEqual(self.call("b").stdout, "")

    def test_broken_log(self):
        os.makedirs(self.path("b/meson-logs"))
        self.path("b/meson-logs/testlog.json", '{"name": "cut sho')
        self.assertNotEqual(self.call("b").returncode, 0)

    def test_summary(self):
        for rows, last, status in (
            ("PASS\ta\t\nPASS\tb\t\nSKIP\tc\twhy\n", "2 passed, 0 failed, 1 skipped", 0),
            ("PASS\ta\t\nFAIL\tb\tbroke\n", "1 passed, 1 failed, 0 skipped", 1),
            ("SKIP\ta\twhy\n", "0 passed, 0 failed, 1 skipped", 1), ("", "0 passed, 0 failed, 0 skipped", 1),
        ):
            p = self.call("--summary", self.path("list", rows))
            self.assertEqual((p.stdout.splitlines()[-1], p.returncode), (last, status), rows)

    def test_summary_tells_what_failed(self):
        """What a failed test has put out stands at the end, where a log that was cut still has it."""
        p = self.call("--summary", self.path("list", "FAIL\tone\tfail: last\rfirst\rlast\nSKIP\ttwo\twhy\nFAIL\tthree\tis above\n"))
        self.assertEqual(p.stdout.splitlines(), ["--- one", "first", "last", "---", "skipped: two: why", "failed: one: fail: last",
                                                 "failed: three: is above", "0 passed, 2 failed, 1 skipped"])
        self.assertIn("failed: b: broke\n", self.call("--summary", self.path("list", "PASS\ta\t\nFAIL\tb\tbroke\n")).stdout)
        self.assertIn("skipped: c: why\n", self.call("--summary", self.path("list", "PASS\ta\t\nSKIP\tc\twhy\n")).stdout)


if __name__ == "__main__":
    main()
