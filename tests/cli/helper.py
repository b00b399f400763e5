# SPDX-License-Identifier: MIT
"""What the tests of the command share. The build says by the environment where things are:
MINFLT the command, FAKE_RUNTIME, STATIC_PROGRAM, DENY the helpers, SOURCE_ROOT the sources, BUILD_ROOT the build directory."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

MINFLT = os.environ["MINFLT"]
FAKE = os.environ["FAKE_RUNTIME"]
STATIC_PROGRAM = os.environ["STATIC_PROGRAM"]
DENY = os.environ["DENY"]
SOURCE_ROOT = os.environ["SOURCE_ROOT"]
BUILD_ROOT = os.environ["BUILD_ROOT"]
NOBODY = 65534

# `OWN_DEVICE NODE COMMAND...`: run it with this node as /dev/userfaultfd, in a mount namespace of its own. (In a chroot the root is no mount and
# can't be made private; /dev is one.)
OWN_DEVICE = ["unshare", "-m", "--propagation", "unchanged", "sh", "-c", '{ mount --make-rprivate / 2>/dev/null || mount --make-rprivate /dev; } && '
              'mount --bind "$1" /dev/userfaultfd || exit 77; shift; exec "$@"', "sh"]


def environment(fake="", **more):
    env = dict(os.environ, MINFLT_RUNTIME=FAKE, LC_ALL="C", **more)
    env.pop("LD_PRELOAD", None) if "LD_PRELOAD" not in more else None
    env.pop("MINFLT_FAKE", None)
    if fake:
        env["MINFLT_FAKE"] = fake
    return env


def minflt(*args, fake="", env=None, before=(), timeout=60, **more):
    """Runs `minflt ARGS`; returns the finished process with text in stdout and stderr."""
    return subprocess.run([*before, MINFLT, *args], env=env or environment(fake), stdin=subprocess.DEVNULL, text=True,
                          errors="surrogateescape", stdout=more.pop("stdout", subprocess.PIPE),
                          stderr=more.pop("stderr", subprocess.PIPE), timeout=timeout, **more)


def run(*args, **more):
    """`minflt run --memory 64M ARGS`"""
    return minflt("run", "--memory", "64M", *args, **more)


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="minflt-cli.")
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir, True)

    def path(self, name, text=None, mode=0o755):
        path = os.path.join(self.dir, name)
        if text is not None:
            with open(path, "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
            os.chmod(path, mode)
        return path

    def link(self, program):
        """Another name for a program, which a script's first line can hold: where this was built may have spaces."""
        link = self.path(os.path.basename(program))
        os.symlink(program, link)
        return link

    def refused(self, p, status, *words):
        """One line on standard error that has all the words in it, nothing on standard output, and this status."""
        self.assertEqual(p.returncode, status, p.stderr)
        self.assertEqual(p.stdout, "")
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        self.assertTrue(p.stderr.startswith("minflt: "), p.stderr)
        for word in words:
            self.assertIn(word, p.stderr)


class Result(unittest.TextTestResult):
    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"SKIP: {test.id().removeprefix('__main__.')}: {reason}", flush=True)


def main():
    result = unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]], exit=False,
                           testRunner=unittest.TextTestRunner(resultclass=Result, verbosity=2)).result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.testsRun and len(result.skipped) == result.testsRun else 0)
