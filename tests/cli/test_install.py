# SPDX-License-Identifier: MIT
"""make install: what lands where, and that it runs from there. The sources are configured anew in a folder of their own."""
import os
import subprocess

from helper import BUILD_ROOT, SOURCE_ROOT, Case, environment, main


class Install(Case):
    def test_staged(self):
        stage = self.path("stage")
        p = subprocess.run(["meson", "install", "-C", BUILD_ROOT, "--no-rebuild", "--quiet", "--destdir", stage], capture_output=True, text=True,
                           env=environment())
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        found = {os.path.relpath(os.path.join(d, f), stage) for d, _, fs in os.walk(stage) for f in fs}
        prefix = subprocess.run(["meson", "introspect", "--buildoptions", BUILD_ROOT], capture_output=True, text=True, check=True).stdout
        import json
        options = {o["name"]: o["value"] for o in json.loads(prefix)}
        base = options["prefix"].lstrip("/")
        tool = os.path.join(base, options["bindir"], "minflt")
        runtime = os.path.join(base, options["libdir"], "minflt", "libminflt-run.so")
        for name in tool, runtime, os.path.join(base, options["mandir"], "man1", "minflt.1"), \
                os.path.join(base, options["mandir"], "man1", "minflt-run.1"):
            self.assertTrue(name in found or name + ".gz" in found, f"{name} is not among {sorted(found)}")
        env = environment()
        del env["MINFLT_RUNTIME"]
        p = subprocess.run([os.path.join(stage, tool), "doctor"], env=env, capture_output=True, text=True)
        self.assertIn(f"runtime: {os.path.join(stage, os.path.dirname(tool))}", p.stdout)

    def test_makefile_passes_prefix_and_destdir(self):
        p = subprocess.run(["make", "-n", "-C", SOURCE_ROOT, "install", "PREFIX=/opt/x y", "DESTDIR=/tmp/stage"], capture_output=True, text=True)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("--prefix '/opt/x y'", p.stdout)
        self.assertIn("DESTDIR='/tmp/stage'", p.stdout)


if __name__ == "__main__":
    main()
