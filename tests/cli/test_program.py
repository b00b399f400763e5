# SPDX-License-Identifier: MIT
"""Which programs are found, and which are refused before they start."""
import os
import shutil
import struct
import subprocess
import unittest

from helper import FAKE, MINFLT, NOBODY, STATIC_PROGRAM, Case, environment, main, minflt, run

TRUE = shutil.which("true")


def elf(bits=64, machine=62, interp=True, kind=3, cut=None):
    """An ELF header with one program header; nothing that could run."""
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    if bits == 64:
        head = ident + struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        head += struct.pack("<IIQQQQQQ", 3 if interp else 1, 4, 0, 0, 0, 0, 0, 0)
    else:
        head = ident + struct.pack("<HHIIIIIHHHHHH", kind, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        head += struct.pack("<8I", 3 if interp else 1, 0, 0, 0, 0, 0, 0, 0)
    return head[:cut] if cut else head


class Find(Case):
    def test_missing(self):
        self.refused(run("no-such-program-at-all"), 127, "no-such-program-at-all", "PATH")
        self.refused(run("/nowhere/program"), 127, "/nowhere/program", "no such program")
        self.refused(run(f"{TRUE}/x"), 127, f"{TRUE}/x")

    def test_not_executable(self):
        self.refused(run(self.path("data", "text\n", 0o644)), 126, "data", "chmod +x")

    def test_directory(self):
        self.refused(run(self.dir), 126, self.dir, "directory")
        self.refused(run("/"), 126, "directory")

    def test_path_search(self):
        a, b = self.path("a"), self.path("b")
        os.mkdir(a)
        os.mkdir(b)
        self.path("a/prog", "no\n", 0o644)
        self.path("b/prog", "#!/bin/sh\necho b\n")
        os.mkdir(self.path("a/folder"))
        p = run("-q", "prog", env=environment(PATH=f"/nowhere:{a}:{b}"))
        self.assertEqual((p.returncode, p.stdout), (0, "b\n"))
        self.refused(run("prog", env=environment(PATH=a)), 126, "prog")
        self.refused(run("folder", env=environment(PATH=a)), 126, "folder")
        for here in ":/nowhere", "/nowhere:", "/nowhere::/x", ".", "":
            with self.subTest(here):
                p = run("-q", "prog", env=environment(PATH=here), cwd=b)
                self.assertEqual((p.returncode, p.stdout), (0, "b\n"))
        env = environment()
        del env["PATH"]
        self.assertEqual(run("-q", "true", env=env).returncode, 0)

    def test_argv0_is_as_typed(self):
        p = run("-q", "cat", "/proc/self/cmdline")
        self.assertEqual(p.stdout, "cat\0/proc/self/cmdline\0")

    def test_name_too_long(self):
        self.assertEqual(run("x" * 5000).returncode, 126)


class Foreign(Case):
    """Programs that the runtime could be preloaded into and that don't run with it."""

    def build(self, name, *flags, code="int main(void) { return 42; }"):
        """Its path. Skipped when this compiler can't, or when it doesn't run natively either."""
        compiler = next((c for c in (name.partition("-")[0], "cc") if shutil.which(c)), None)
        if not compiler:
            self.skipTest("no compiler")
        p = subprocess.run([compiler, *flags, "-x", "c", "-", "-o", self.path(name)], input=code, text=True, capture_output=True)
        if p.returncode or subprocess.run([self.path(name)], capture_output=True).returncode != 42:
            self.skipTest(f"{compiler} makes no such program here: {' '.join(flags)}")
        return self.path(name)

    def test_sanitizers(self):
        for compiler in "gcc", "clang":
            for flags in ["-fsanitize=address"], ["-fsanitize=thread"], ["-fsanitize=leak"], ["-fsanitize=memory"], ["-fsanitize=address", "-static-libasan"], \
                    ["-fsanitize=thread", "-static-libtsan"], ["-fsanitize=address", "-shared-libasan"], ["-fsanitize=address,undefined", "-s"]:
                with self.subTest(compiler + str(flags)):
                    self.refused(run(self.build(f"{compiler}-program", *flags)), 125, "built with a sanitizer", "use a build without")

    def test_undefined_behaviour_alone(self):
        for flags in ["-fsanitize=undefined"], ["-fsanitize=undefined", "-static-libubsan"]:
            with self.subTest(str(flags)):
                self.assertEqual(run("-q", self.build("gcc-program", *flags)).returncode, 42)

    def test_auditors(self):
        self.refused(run(self.build("gcc-program", "-Wl,--audit=/none.so")), 125, "DT_AUDIT")


class Judge(Case):
    def test_static(self):
        self.assertEqual(subprocess.run([STATIC_PROGRAM], stdout=subprocess.PIPE, check=True).stdout, b"the static program has run\n")
        self.refused(run(STATIC_PROGRAM), 125, STATIC_PROGRAM, "statically linked", "dynamically")

    def test_dynamic_linker_itself(self):
        for path in "/lib64/ld-linux-x86-64.so.2",:
            self.refused(run(path, TRUE), 125, "statically linked")

    def test_elf_kinds(self):
        cases = [("32", elf(32, 3), 125, "32-bit"), ("x32", elf(32, 62), 125, "32-bit"), ("arm64", elf(machine=183), 125, "architecture"),
                 ("static", elf(interp=False), 125, "statically"), ("cut", elf(cut=70), 126, "damaged"),
                 ("object", elf(kind=1), 126, "damaged"), ("magic", b"\x7fELF", 126, "damaged")]
        for name, content, status, word in cases:
            with self.subTest(name):
                self.refused(run(self.path(name, content)), status, name, word)

    def test_no_interpreter_line(self):
        for name, text in ("plain", "echo has run\n"), ("empty", ""), ("one", "x"), ("bang", "#!\n"), ("blank", "#!   \n"):
            with self.subTest(name):
                self.refused(run(self.path(name, text)), 126, name)

    def test_scripts(self):
        p = run("-q", self.path("good", "#! /bin/sh -e\necho has run $1\n"), "x")
        self.assertEqual((p.returncode, p.stdout), (0, "has run x\n"))
        inner = self.path("inner", "#!/bin/sh\necho inner $1\n")
        p = run("-q", self.path("outer", f"#!{inner}\n"))
        self.assertEqual((p.returncode, p.stdout), (0, f"inner {self.path('outer')}\n"))
        self.refused(run(self.path("lost", "#!/nowhere/sh\n")), 127, "lost", "/nowhere/sh")
        self.refused(run(self.path("folder", "#!/\n")), 126, "folder")
        static = self.link(STATIC_PROGRAM)
        self.refused(run(self.path("static", f"#!{static}\n")), 125, static, "statically linked")
        loop = self.path("loop")
        self.refused(run(self.path("loop", f"#!{loop}\n")), 126, "loop", "deep")

    def test_line_break_in_a_name(self):
        self.refused(run("/nowhere/two\nlines"), 127, "two lines")


@unittest.skipUnless(os.getuid() == 0, "needs root, to make programs of other users")
class Privileged(Case):
    def setUp(self):
        super().setUp()
        self.prog = self.path("prog")
        shutil.copy(TRUE, self.prog)

    def test_setuid(self):
        os.chown(self.prog, NOBODY, NOBODY)
        os.chmod(self.prog, 0o4755)
        self.refused(run(self.prog), 125, self.prog, "setuid", "copy")
        os.chmod(self.prog, 0o2755)
        self.refused(run(self.prog), 125, self.prog, "setgid", "copy")

    def test_setuid_to_oneself_changes_nothing(self):
        os.chmod(self.prog, 0o6755)
        self.assertEqual(run("-q", self.prog).returncode, 0)

    @unittest.skipUnless(shutil.which("setcap"), "setcap is missing (libcap2-bin)")
    def test_capabilities(self):
        tool = shutil.copy(MINFLT, self.path("minflt"))
        fake = shutil.copy(FAKE, self.path("fake.so"))
        os.chmod(tool, 0o755)
        os.chmod(fake, 0o755)
        subprocess.run(["setcap", "cap_net_raw+ep", self.prog], check=True)
        # CAP_SYS_PTRACE alone: userfaultfd is allowed, and the program is none of root's.
        before = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", "--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"]
        env = dict(environment(), MINFLT_RUNTIME=fake)
        good = subprocess.run([*before, tool, "run", "-q", "--memory=8M", TRUE], env=env, capture_output=True, text=True)
        self.assertEqual(good.returncode, 0, good.stderr)
        self.refused(subprocess.run([*before, tool, "run", "--memory=8M", self.prog], env=env, capture_output=True, text=True),
                     125, self.prog, "file capabilities")


if __name__ == "__main__":
    main()
