#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run one of the tests here as a user who has been given the device, as the udev rule that the doctor prints would do: on a device node of our own, in a
mount namespace of our own.

    unprivileged.py test_tree.py

77: not root, or no device nodes of our own here."""
import os
import shutil
import subprocess
import sys
import tempfile

from helper import NOBODY, OWN_DEVICE

PYTHON = "/usr/bin/python3"


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    if os.getuid() != 0 or not os.path.exists("/dev/userfaultfd") or not os.path.exists(PYTHON):
        print("skipped: needs root, to become an unprivileged user, /dev/userfaultfd and", PYTHON)
        return 77
    with tempfile.TemporaryDirectory(prefix="minflt-cli.") as folder:
        os.chmod(folder, 0o755)
        env = dict(os.environ, TMPDIR="/tmp", HOME=folder)
        # Wherever this has been built, that user may not be let in.
        for name in "MINFLT", "STATIC_PROGRAM", "OUTSIDER", "NOISE":
            env[name] = shutil.copy(os.environ[name], folder)
        shutil.copy(os.path.join(os.environ["BUILD_ROOT"], "libminflt-run.so"), folder)
        for name in "helper.py", sys.argv[1]:
            shutil.copy(os.path.join(here, name), folder)
        node = os.path.join(folder, "node")
        os.mknod(node, 0o660 | 0o020000, os.stat("/dev/userfaultfd").st_rdev)
        os.chown(node, 0, NOBODY)
        os.chmod(node, 0o660)
        p = subprocess.run([*OWN_DEVICE, node, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", PYTHON, os.path.join(folder, sys.argv[1])], env=env, cwd="/")
        return p.returncode


if __name__ == "__main__":
    sys.exit(main())
