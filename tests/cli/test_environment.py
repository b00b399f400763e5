# SPDX-License-Identifier: MIT
"""What the program finds around it: the same as without minflt, wherever minflt lies and however it was started."""
import os
import shutil
import signal
import subprocess

from helper import FAKE, MINFLT, Case, environment, main, run


def started(setup, *args, env=None):
    """`minflt run ARGS` from a shell that has done `setup` before."""
    return subprocess.run(["sh", "-c", setup + '\nexec "$@"', "sh", MINFLT, "run", "-q", "--memory=8M", *args], env=env or environment(),
                          capture_output=True, text=True)


class Paths(Case):
    def test_spaces_and_colons(self):
        for name in "with space", "with:colon", "a b:c  d:", "new\nline", "äöü", "$(false)'\"":
            with self.subTest(name):
                folder = self.path(name)
                os.mkdir(folder)
                tool = shutil.copy(MINFLT, os.path.join(folder, "minflt"))
                shutil.copy(FAKE, os.path.join(folder, "libminflt-run.so"))
                prog = shutil.copy(shutil.which("env"), os.path.join(folder, "my prog:1"))
                env = environment()
                del env["MINFLT_RUNTIME"]
                p = subprocess.run([tool, "run", "-q", "--memory=8M", prog, "echo", "fine"], env=env, cwd=folder, capture_output=True, text=True)
                self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "fine\n", ""))
                p = subprocess.run(["./minflt", "run", "-q", "--memory=8M", "./my prog:1"], env=env, cwd=folder, capture_output=True, text=True)
                self.assertEqual((p.returncode, p.stderr), (0, ""))

    def test_where_the_runtime_is(self):
        tool = shutil.copy(MINFLT, self.path("minflt"))
        env = environment()
        del env["MINFLT_RUNTIME"]
        os.mkdir(self.path("run"))
        shutil.copy(FAKE, self.path("run/libminflt-run.so"))
        p = subprocess.run([tool, "run", "-q", "--memory=8M", "true"], env=env, capture_output=True, text=True)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        os.unlink(self.path("run/libminflt-run.so"))
        p = subprocess.run([tool, "run", "-q", "--memory=8M", "echo", "has run"], env=env, capture_output=True, text=True)
        if p.returncode == 0:
            self.skipTest("an installed runtime was found")
        self.refused(p, 125, "libminflt-run.so", "neither beside", "MINFLT_RUNTIME")


class Inherited(Case):
    def test_environment(self):
        env = environment()
        plain = subprocess.run(["env"], env=env, capture_output=True, text=True).stdout
        self.assertEqual(run("-q", "env", env=env).stdout, plain)

    def refused_for(self, words, **more):
        """What the dynamic linker says about minflt itself comes first."""
        p = run("echo", "has run", env=environment(**more))
        self.assertEqual((p.returncode, p.stdout), (125, ""), p.stderr)
        self.assertIn(words, p.stderr.splitlines()[-1])

    def test_auditor(self):
        self.refused_for("LD_AUDIT is set", LD_AUDIT="/none.so")
        self.assertEqual(run("-q", "true", env=environment(LD_AUDIT="")).returncode, 0)

    def test_sanitizer_preloaded(self):
        for name in "/nowhere/libasan.so.8", "libm.so.6:libtsan.so", "libm.so.6 /usr/lib/libclang_rt.asan-x86_64.so":
            self.refused_for("LD_PRELOAD names the runtime of a sanitizer", LD_PRELOAD=name)
        self.assertEqual(run("-q", "true", env=environment(LD_PRELOAD="libm.so.6")).returncode, 0)

    def test_old_preload(self):
        # Something harmless that the dynamic linker can load anywhere.
        other = subprocess.run(["sh", "-c", "ldd /bin/sh | grep -o '/[^ ]*libc.so.6'"], capture_output=True, text=True).stdout.strip()
        self.assertTrue(other)
        for old in other, "", f"{other}:{other}":
            env = environment(LD_PRELOAD=old)
            self.assertEqual(run("-q", "printenv", "LD_PRELOAD", env=env).stdout, old + "\n")
        self.refused(run("true", env=environment(LD_PRELOAD=":" * 5000)), 125, "LD_PRELOAD", "shorter")

    def test_descriptors(self):
        p = run("-q", "ls", "/proc/self/fd")  # 3: the folder itself
        self.assertEqual(p.stdout.split(), ["0", "1", "2", "3"])

    def test_closed_descriptors(self):
        check = "for f in 0 1 2; do [ -e /proc/$$/fd/$f ] && s=$s$f; done; echo \"$s\" > $OUT"
        for close, there in (("<&-", "12"), (">&-", "02"), ("2>&-", "01"), ("<&- >&-", "2"), ("<&- >&- 2>&-", "")):
            with self.subTest(close):
                out = self.path("out")
                # sh -c would itself reuse a closed number while it runs a redirection; -e looks at it before.
                started(f"exec {close}", "sh", "-c", check, env=environment(OUT=out))
                with open(out) as f:
                    self.assertEqual(f.read().strip(), there)

    def test_closed_input_with_stats(self):
        path = self.path("s.json")
        started("exec <&- >&- 2>&-", f"--stats={path}", "true")
        with open(path) as f:
            self.assertTrue(f.read().endswith("}\n"))

    def test_few_descriptors(self):
        for limit in 20, 32, 64, 128, 210, 256, 1024:
            p = started(f"ulimit -n {limit}", "sh", "-c", "ulimit -n")
            self.assertEqual((p.returncode, p.stdout), (0, f"{limit}\n"), p.stderr)
        for limit in range(0, 14):
            p = started(f"ulimit -n {limit}", "echo", "ran")
            with self.subTest(limit):
                # Too few for the dynamic linker (127, and it says so), too few for minflt (125), or it works: never unmanaged.
                self.assertIn((p.returncode, p.stdout), ((0, "ran\n"), (125, ""), (127, "")), p.stderr)

    def test_signals_as_before(self):
        show = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]
        for ignored in (), (signal.SIGCHLD,), (signal.SIGHUP, signal.SIGINT), (signal.SIGTSTP, signal.SIGUSR1):
            def ignore():
                for s in ignored:
                    signal.signal(s, signal.SIG_IGN)
            plain = subprocess.run(show, preexec_fn=ignore, capture_output=True, text=True).stdout
            p = subprocess.run([MINFLT, "run", "-q", "--memory=8M", *show], env=environment(), preexec_fn=ignore, capture_output=True, text=True)
            self.assertEqual(p.stdout, plain, p.stderr)

    def test_blocked_as_before(self):
        show = ["grep", "-E", "^SigBlk", "/proc/self/status"]

        def block():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM])
        plain = subprocess.run(show, preexec_fn=block, capture_output=True, text=True).stdout
        p = subprocess.run([MINFLT, "run", "-q", "--memory=8M", *show], env=environment(), preexec_fn=block, capture_output=True, text=True)
        self.assertEqual(p.stdout, plain)

    def test_input_and_working_directory(self):
        p = subprocess.run([MINFLT, "run", "-q", "--memory=8M", "sh", "-c", "cat; pwd"], env=environment(), input="in\n", cwd=self.dir,
                           capture_output=True, text=True)
        self.assertEqual(p.stdout, f"in\n{self.dir}\n")

    def test_not_traced_any_more(self):
        self.assertEqual(run("-q", "grep", "TracerPid", "/proc/self/status").stdout, "TracerPid:\t0\n")

    def test_limits(self):
        p = started("ulimit -v 40000", "echo", "ran")
        self.assertIn(p.returncode, (0, 125), p.stderr)


if __name__ == "__main__":
    main()
