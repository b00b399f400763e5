# SPDX-License-Identifier: MIT
"""The command line: what is taken, what is refused, and what the runtime gets to see of it."""
import json
import unittest

from helper import Case, main, minflt

K, M, G, T = 1 << 10, 1 << 20, 1 << 30, 1 << 40

GOOD = [
    ("8388608", 8 * M), ("8192K", 8 * M), ("8M", 8 * M), ("8m", 8 * M), ("8MB", 8 * M), ("8MiB", 8 * M), ("1G", G), ("1GiB", G),
    ("2T", 2 * T), ("128T", 128 * T), ("4M", 4 * M), ("1.5G", G + G // 2), ("4.5M", 4 * M + M // 2), ("0.5G", G // 2),
    ("0.0048828125G", 5 * M - 4 * K), ("8388609", 8 * M), ("8390K", 8388 * K), ("0008M", 8 * M), ("5.0000001M", 5 * M),
]
NOT_A_SIZE = ["-1", "-1M", "+8M", "12Q", "M", "", " 8M", "8M ", "8 M", "8MM", "8iB", "8Mi", "8MBB", "0x10M", "1e9", "8.M", ".5G",
              "8..5M", "8,5G", "NaN", "inf", "8M8", "\u0668M"]
TOO_SMALL = ["0", "0M", "0.0", "00", "1", "1K", "4095K", "3.9M", "0.001M"]
TOO_LARGE = ["128.1T", "129T", "99999T", "18446744073709551616", "18446744073709551615", "9999999999999999999999999999G"]


def request(*options):
    p = minflt("run", "-q", *options, "--", "true", fake="request")
    if p.returncode:
        raise AssertionError(f"{options}: {p.returncode} {p.stderr}")
    return json.loads(p.stdout)


class Sizes(Case):
    def test_good(self):
        for text, value in GOOD:
            with self.subTest(text):
                self.assertEqual(request("--memory", text)["memory"], value)

    def test_not_a_size(self):
        for text in NOT_A_SIZE:
            for option in "--memory", "--resident", "--pool":
                with self.subTest(f"{option} {text}"):
                    self.refused(minflt("run", f"{option}={text}", "true"), 125, option, f"'{text}'", "not a size", "256M")

    def test_too_small(self):
        for text in TOO_SMALL:
            with self.subTest(text):
                self.refused(minflt("run", "--memory", text, "true"), 125, "--memory", "too small", "4.0 MiB")
        self.refused(minflt("run", "--resident", "1023K", "true"), 125, "--resident", "too small", "1.0 MiB")
        self.refused(minflt("run", "--memory=64M", "--pool", "1023K", "true"), 125, "--pool", "too small", "1.0 MiB")

    def test_too_large(self):
        for text in TOO_LARGE:
            with self.subTest(text):
                self.refused(minflt("run", "--memory", text, "true"), 125, "--memory", "128T")


class Budget(Case):
    def test_parts(self):
        r = request("--resident", "8M")
        self.assertEqual((r["memory"], r["resident"], r["pool"]), (0, 8 * M, 0))
        r = request("--resident", "8M", "--pool", "16M")
        self.assertEqual((r["memory"], r["resident"], r["pool"]), (0, 8 * M, 16 * M))
        r = request("--memory=64M", "--resident", "8M", "--pool", "16M")
        self.assertEqual((r["memory"], r["resident"], r["pool"]), (64 * M, 8 * M, 16 * M))

    def test_parts_must_fit(self):
        self.refused(minflt("run", "--memory=16M", "--resident=10M", "--pool=7M", "true"), 125, "--memory", "smaller")
        self.refused(minflt("run", "--memory=16M", "--resident=17M", "true"), 125, "--memory", "smaller")

    def test_none(self):
        self.refused(minflt("run", "true"), 125, "no budget", "--memory")
        self.refused(minflt("run", "--pool=16M", "true"), 125, "--pool alone", "--memory")

    def test_last_one_counts(self):
        self.assertEqual(request("--memory=64M", "--memory=32M")["memory"], 32 * M)


class Options(Case):
    def test_compress(self):
        lz4, zstd, none = 0, 1, 2
        for text, codec, level in (("lz4", lz4, 0), ("zstd", zstd, 0), ("zstd:1", zstd, 1), ("zstd:19", zstd, 19), ("none", none, 0)):
            r = request("--memory=8M", "--compress", text)
            self.assertEqual((r["codec"], r["level"]), (codec, level), text)
        self.assertEqual(request("--memory=8M")["codec"], lz4)
        for text in "zstd:0", "zstd:20", "zstd:", "zstd:-1", "zstd:x", "zstd:1x", "zstd:007", "lz4:1", "LZ4", "gzip", "":
            with self.subTest(text):
                self.refused(minflt("run", "--memory=8M", f"--compress={text}", "true"), 125, "--compress", f"'{text}'", "zstd")

    def test_for_testing(self):
        r = request("--memory=8M", "--no-move", "--check-every", "100", "--around=1")
        self.assertEqual((r["no_move"], r["check_every"], r["around"]), (1, 100, 1))
        r = request("--memory=8M")
        self.assertEqual((r["no_move"], r["check_every"], r["around"]), (0, 0, 0))
        for text in "-1", "x", "", "3", "128", "4294967297":
            self.refused(minflt("run", "--memory=8M", f"--around={text}", "true"), 125, "--around", f"'{text}'")
        for text in "-1", "x", "", "4294967296", "1.5", " 1":
            self.refused(minflt("run", "--memory=8M", f"--check-every={text}", "true"), 125, "--check-every", f"'{text}'")

    def test_swap_trouble(self):
        for value in "write", "write:", "write:0", "write:x", "write:-1", "write:7:", "write:7:x", "write:7:28x", "other:3", "writer:3", "":
            self.refused(minflt("run", "--memory=8M", "--swap", self.path("f") + ":64M", f"--swap-trouble={value}", "true"), 125, f"'{value}'", "no-ring")

    def test_unknown(self):
        self.refused(minflt("run", "--memory=8M", "--nonsense", "true"), 125, "unknown option", "'--nonsense'", "help run")
        self.refused(minflt("run", "--memory=8M", "--nonsense=3", "true"), 125, "unknown option", "'--nonsense=3'")
        self.refused(minflt("run", "-x", "--memory=8M", "true"), 125, "unknown option", "'-x'")
        self.refused(minflt("run", "-qx", "--memory=8M", "true"), 125, "unknown option", "'-x'")

    def test_values(self):
        self.refused(minflt("run", "--memory"), 125, "--memory", "needs a value")
        self.refused(minflt("run", "--memory=8M", "--no-move=1", "true"), 125, "--no-move", "takes no value")
        self.refused(minflt("run", "--memory=8M", "--stats=", "true"), 125, "--stats")

    def test_where_options_end(self):
        p = minflt("run", "-q", "--memory=8M", "echo", "--memory", "-q", "--", "x")
        self.assertEqual((p.returncode, p.stdout), (0, "--memory -q -- x\n"))
        p = minflt("run", "-q", "--memory=8M", "--", "echo", "--", "x")
        self.assertEqual((p.returncode, p.stdout), (0, "-- x\n"))

    def test_no_program(self):
        self.refused(minflt("run", "--memory=8M"), 125, "no program")
        self.refused(minflt("run", "--memory=8M", "--"), 125, "no program")
        self.refused(minflt("run", "--memory=8M", "--", ""), 127, "empty")
        self.refused(minflt("run"), 125, "no budget")


class Subcommands(Case):
    def test_help(self):
        for args in ("--help",), ("-h",), ("help",):
            p = minflt(*args)
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            for word in "usage:", "run", "doctor", "help":
                self.assertIn(word, p.stdout)
        for args in ("help", "run"), ("run", "--help"):
            p = minflt(*args)
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            for word in "--memory", "--resident", "--pool", "--compress", "--stats", "--no-move", "-q":
                self.assertIn(word, p.stdout)
        self.assertEqual(minflt("help", "doctor").stdout, minflt("doctor", "--help").stdout)

    def test_version(self):
        p = minflt("--version")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertRegex(p.stdout, r"^minflt \d+\.\d+\.\d+\n$")

    def test_wrong(self):
        self.refused(minflt("runn"), 125, "'runn'", "run, walk, doctor, help")
        self.refused(minflt("--nonsense"), 125, "'--nonsense'")
        self.refused(minflt("help", "runn"), 125, "'runn'", "run, walk, doctor, help")
        for args in ("help", "run", "x"), ("--version", "x"), ("--help", "x"):
            self.refused(minflt(*args), 125, "'x'")
        self.refused(minflt(), 125, "no subcommand", "run, walk, doctor, help")
        self.refused(minflt("doctor", "x"), 125, "'x'")

    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            self.assertEqual(minflt("--help", stdout=full).returncode, 125)
            self.assertEqual(minflt("run", "--help", stdout=full).returncode, 125)


if __name__ == "__main__":
    main()
