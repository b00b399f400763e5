# SPDX-License-Identifier: MIT
"""A user who may not use userfaultfd gets one line with the remedy, and the doctor's orders; the remedy works."""
import os
import shutil
import subprocess
import unittest

from helper import FAKE, MINFLT, NOBODY, OWN_DEVICE, Case, environment, main

SYSCTL = "/proc/sys/vm/unprivileged_userfaultfd"


@unittest.skipUnless(os.getuid() == 0, "needs root, to become an unprivileged user")
class Permission(Case):
    def setUp(self):
        super().setUp()
        self.tool = shutil.copy(MINFLT, self.path("minflt"))
        shutil.copy(FAKE, self.path("libminflt-run.so"))
        os.chmod(self.tool, 0o755)
        with open(SYSCTL) as f:
            if f.read().strip() != "0":
                self.skipTest("vm.unprivileged_userfaultfd allows everybody here")

    def as_nobody(self, *args, **more):
        env = environment()
        del env["MINFLT_RUNTIME"]
        return subprocess.run(["setpriv", f"--reuid={NOBODY}", "--clear-groups", *more.pop("setpriv", []), self.tool, *args], env=env,
                              capture_output=True, text=True, cwd="/")

    def device_is_open(self):
        return os.path.exists("/dev/userfaultfd") and os.stat("/dev/userfaultfd").st_mode & 0o006 == 0o006

    def test_refused_with_the_remedy(self):
        if self.device_is_open():
            self.skipTest("/dev/userfaultfd is open to everybody here")
        p = self.as_nobody("run", "--memory=8M", "echo", "has run")
        self.refused(p, 125, "no permission for userfaultfd (user mode only is not enough: system calls on managed memory would fail)", "sysctl vm.unprivileged_userfaultfd=1", "minflt doctor")

    def test_doctor(self):
        if self.device_is_open():
            self.skipTest("/dev/userfaultfd is open to everybody here")
        p = self.as_nobody("doctor")
        self.assertEqual(p.returncode, 1, p.stdout)
        self.assertIn("\nFAIL    userfaultfd:", p.stdout)
        self.assertIn("remedy:   sysctl vm.unprivileged_userfaultfd=1\n", p.stdout)
        self.assertIn("/etc/sysctl.d/60-minflt.conf", p.stdout)
        if os.path.exists("/dev/userfaultfd"):
            self.assertIn("/etc/udev/rules.d/60-userfaultfd.rules", p.stdout)
        self.assertEqual(p.stderr, "")

    @unittest.skipUnless(os.path.exists("/dev/userfaultfd"), "/dev/userfaultfd is not there")
    def test_by_group(self):
        """What the udev rule does: the device belongs to a group. Tried on a device node of our own, in a mount namespace of our own."""
        st = os.stat("/dev/userfaultfd")
        node = self.path("node")
        os.mknod(node, 0o660 | 0o020000, st.st_rdev)
        os.chown(node, 0, NOBODY)
        os.chmod(node, 0o660)
        env = environment()
        del env["MINFLT_RUNTIME"]
        p = subprocess.run([*OWN_DEVICE, node, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", self.tool, "run", "-q", "--memory=8M", "echo", "has run"],
                           env=env, capture_output=True, text=True, cwd="/")
        if "mount" in p.stderr or "unshare" in p.stderr or "ermission denied" in p.stderr:
            self.skipTest(f"no device nodes of our own here: {p.stderr.strip()}")
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "has run\n", ""))


class Doctor(Case):
    def doctor(self, **more):
        return subprocess.run([MINFLT, "doctor"], env=more.pop("env", environment()), capture_output=True, text=True, **more)

    def test_well(self):
        p = self.doctor()
        tags = {line[:8].strip() for line in p.stdout.splitlines()[:-2]}
        self.assertEqual(p.stderr, "")
        self.assertLessEqual(tags, {"ok", "note", "FAIL", "remedy:"})
        if "FAIL" in tags:
            self.skipTest("userfaultfd is not there for this user")
        self.assertEqual(p.returncode, 0)
        self.assertRegex(p.stdout, r"ok      runtime: a trial program ran under it \(start ")
        self.assertTrue(p.stdout.endswith("This machine can run programs under minflt.\n"))

    def test_runtime_missing_or_sick(self):
        p = self.doctor(env=dict(environment(), MINFLT_RUNTIME="/nowhere/lib.so"))
        self.assertEqual(p.returncode, 1)
        self.assertIn("FAIL    runtime: the runtime /nowhere/lib.so", p.stdout)
        self.assertIn("remedy: unset it", p.stdout)
        for how in "mute", "failed", "crash":
            p = self.doctor(env=environment(how))
            self.assertEqual(p.returncode, 1, p.stdout)
            self.assertIn("FAIL    runtime: a trial program", p.stdout)

    def test_environment(self):
        for name, value in ("LD_AUDIT", "/none.so"), ("LD_PRELOAD", "/nowhere/libasan.so.8"):
            p = self.doctor(env=environment(**{name: value}))
            self.assertEqual(p.returncode, 1)
            self.assertRegex(p.stdout, rf"FAIL    environment: {name} .*\nremedy: unset {name}\n")

    def test_limits(self):
        p = subprocess.run(["sh", "-c", 'ulimit -v 2000000; ulimit -n 40; exec "$0" doctor', MINFLT], env=environment(), capture_output=True,
                           text=True)
        self.assertIn("note    limits: address space (RLIMIT_AS) is 1.9 GiB", p.stdout)
        self.assertIn("note    limits: open files (RLIMIT_NOFILE) is 40", p.stdout)
        self.assertIn("remedy: ulimit -v unlimited", p.stdout)

    def test_full_disk(self):
        with open("/dev/full", "w") as full:
            p = subprocess.run([MINFLT, "doctor"], env=environment(), stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(p.returncode, 125)


if __name__ == "__main__":
    main()
