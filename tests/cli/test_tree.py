# SPDX-License-Identifier: MIT
"""Trees of processes under the real runtime: what is executed is followed, what can't be followed is said, and all of it is counted."""
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
import time

from helper import MINFLT, NOBODY, STATIC_PROGRAM, Case, main

OUTSIDER = os.environ["OUTSIDER"]
NOISE = os.environ["NOISE"]
M = 1 << 20
ORPHAN = "minflt: a process that shared its memory with another one (vfork, or clone with CLONE_VM) was ended"
MANAGED = "grep -c libminflt /proc/self/maps"  # 0 when the runtime isn't there


def environment(**more):
    env = {k: v for k, v in os.environ.items() if k not in ("MINFLT_RUNTIME", "MINFLT_FAKE", "LD_PRELOAD")}
    return dict(env, LC_ALL="C", **more)


def kill_session(session):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) == session:
                os.kill(int(pid), 9)
        except ProcessLookupError:
            pass


class Tree(Case):
    def run_tree(self, *command, memory="64M", options=(), status=0, setup=None, **more):
        """(standard output, standard error, figures)"""
        path = self.path("s.json")
        before = ["sh", "-c", setup + '\nexec "$@"', "sh"] if setup else []
        p = subprocess.run([*before, MINFLT, "run", "-q", f"--memory={memory}", f"--stats={path}", *options, "--", *command],
                           env=environment(**more), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
        self.assertEqual(p.returncode, status, p.stderr)
        with open(path) as f:
            return p.stdout, p.stderr, json.load(f)


class Followed(Tree):
    def test_everything_executed(self):
        out, err, s = self.run_tree("sh", "-c", f"{MANAGED}; env -i /bin/{MANAGED}; sh -c 'exec {MANAGED}'; (exec {MANAGED})")
        counts = [int(n) for n in out.split()]
        self.assertEqual((len(counts), err), (4, ""))
        self.assertTrue(all(counts), out)
        self.assertGreaterEqual(s["tree"]["execs"], 4)
        self.assertGreaterEqual(s["tree"]["processes"], 5)
        self.assertEqual(s["tree"]["unfollowed"], 0)

    def test_no_new_executable_memory(self):
        script = f"{MANAGED}; env -i /bin/{MANAGED}"
        out, err, s = self.run_tree(sys.executable, "-c", "import ctypes, os, subprocess\nif ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): print('no MDWE')\n"
                                    f"subprocess.run(['sh', '-c', {script!r}])\nos.system({MANAGED!r})\nos.execv('/bin/sh', ['sh', '-c', {script!r}])")
        if "no MDWE" in out:
            self.skipTest("a kernel without PR_SET_MDWE")
        counts = [int(n) for n in out.split()]
        self.assertEqual((len(counts), err), (5, ""))
        self.assertTrue(all(counts), out)
        self.assertEqual(s["tree"]["unfollowed"], 0)

    def test_not_wanted(self):
        out, err, s = self.run_tree("sh", "-c", f"{MANAGED}; exec {MANAGED}", options=["--no-follow"], status=1)
        self.assertEqual((out, err), ("0\n0\n", ""))
        self.assertEqual((s["tree"]["execs"], s["tree"]["unfollowed"]), (0, 0))

    def test_nothing_of_ours_to_see(self):
        out, _, _ = self.run_tree("sh", "-c", "env; ls -l /proc/self/fd; tr '\\0' '\\n' < /proc/self/environ", LD_PRELOAD="libm.so.6")
        self.assertNotIn("MINFLT_", out)
        self.assertNotIn("/fd/2", out)
        self.assertNotIn("memfd", out)
        self.assertNotIn("libminflt-run", out)
        self.assertEqual(out.count("LD_PRELOAD=libm.so.6\n"), 2, out)

    def test_counted_together(self):
        eat = "b = [bytes([i % 250 + 1]) * 4096 for i in range(6000)]; assert all(x[0] == i % 250 + 1 for i, x in enumerate(b))"
        _, _, one = self.run_tree(sys.executable, "-c", eat)
        _, _, two = self.run_tree("sh", "-c", '"$0" -c "$1"; "$0" -c "$1"', sys.executable, eat)
        self.assertGreater(two["faults"]["minor"], 1.8 * one["faults"]["minor"])
        self.assertEqual(two["tree"]["processes_peak"], 2)
        self.assertGreater(two["kept"]["touched_peak_bytes"], 24 * M)

    def test_main_program_is_replaced(self):
        out, err, s = self.run_tree("sh", "-c", f"exec sh -c 'exec {MANAGED}'")
        self.assertGreater(int(out), 0)
        self.assertEqual((err, s["tree"]["processes"], s["tree"]["execs"]), ("", 3, 2))

    def test_a_failed_execution_takes_nothing(self):
        """Other threads map memory meanwhile, in a process that has limited its address space."""
        out, err, _ = self.run_tree(OUTSIDER, "fail", "3000")
        self.assertEqual((out, err), ("0\n", ""))

    def test_after_rights_are_dropped(self):
        if os.getuid() != 0:
            self.skipTest("needs root, to become an unprivileged user")
        drop = f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups"
        out, err, _ = self.run_tree("sh", "-c", f"{drop} {MANAGED}; {drop} sh -c '{MANAGED}; exec {MANAGED}'")
        self.assertEqual((len(out.split()), err), (3, ""))
        self.assertNotIn("0", out.split())


class Loaded(Tree):
    """What a program brings along, and loads."""

    def compiled(self, name, text, *flags):
        p = subprocess.run(["gcc", "-x", "c", "-", *flags, "-o", self.path(name)], input=text, capture_output=True, text=True)
        if p.returncode:
            self.skipTest(f"no compiler here: {p.stderr}")
        return self.path(name)

    def test_deep_binding(self):
        """A library that wants libc's malloc first, as PHP's extensions: what it gives is freed by the program, and the other way round."""
        lib = self.compiled("deep.so", "#include <stdlib.h>\nvoid *make(void) { return malloc(100); }\nvoid drop(void *p) { free(p); }", "-shared", "-fPIC")
        script = f'''
import ctypes, os
libc, deep = ctypes.CDLL(None), ctypes.CDLL({lib!r}, mode=os.RTLD_NOW | os.RTLD_DEEPBIND)
for f in libc.malloc, deep.make:
    f.restype = ctypes.c_void_p
for f in libc.free, deep.drop:
    f.argtypes = [ctypes.c_void_p]
for n in range(1000):
    deep.drop(libc.malloc(n * 100))
    libc.free(deep.make())
print("right")
'''
        out, err, _ = self.run_tree(sys.executable, "-c", script)
        self.assertEqual((out, err), ("right\n", ""))

    def test_a_debugger_and_its_program(self):
        """It looks for all that its program has loaded, by name."""
        if not shutil.which("gdb"):
            self.skipTest("no gdb here")
        out, _, s = self.run_tree("gdb", "-q", "-batch", "-nx", "-ex", "run", "--args", "/bin/echo", "hi", memory="256M")
        self.assertIn("hi\n", out)
        self.assertIn("exited normally", out)

    def test_a_getenv_of_its_own(self):
        """As sudo has one: nobody calls it before there is an environment."""
        program = self.compiled("own", "#include <stdio.h>\n#include <stdlib.h>\nextern char **environ;\nchar *getenv(const char *name) { return *environ; }\n"
                                       "char *secure_getenv(const char *name) { return *environ; }\n"
                                       "int main(void) { puts(getenv(\"x\") ? \"right\" : \"wrong\"); return 0; }\n", "-D_GNU_SOURCE", "-w")
        out, err, _ = self.run_tree(program)
        self.assertEqual((out, err), ("right\n", ""))


class NotFollowed(Tree):
    def test_static(self):
        _, err, s = self.run_tree("sh", "-c", f"{shlex.quote(STATIC_PROGRAM)}; {shlex.quote(STATIC_PROGRAM)}; true")
        self.assertEqual(err, "minflt: ran without minflt: static-program (statically linked, 2 times)\n")
        self.assertEqual(s["tree"]["unfollowed"], 2)

    def test_script_by_its_interpreter(self):
        script = self.path("script", f"#!{self.link(STATIC_PROGRAM)}\n")
        _, err, _ = self.run_tree("sh", "-c", f"{script}; true")
        self.assertEqual(err, "minflt: ran without minflt: script (statically linked)\n")
        script = self.path("followed", f"#!/bin/sh\n{MANAGED}\n")
        out, err, _ = self.run_tree("sh", "-c", f"{script}; true")
        self.assertEqual((out == "0\n", err), (False, ""))

    def test_privileged(self):
        if os.getuid() != 0:
            self.skipTest("needs root, to make a setuid program")
        program = shutil.copy("/bin/grep", self.path("suid"))
        os.chown(program, NOBODY, NOBODY)
        os.chmod(program, 0o4755)
        out, err, _ = self.run_tree("sh", "-c", f"{program} -c libminflt /proc/self/maps; ls -l /proc/self/fd >/dev/null")
        self.assertEqual((out, err), ("0\n", "minflt: ran without minflt: suid (runs with other privileges)\n"))

    def test_built_with_a_sanitizer(self):
        for flags in ["-fsanitize=address"], ["-fsanitize=thread"], ["-fsanitize=address", "-static-libasan"]:
            with self.subTest(str(flags)):
                p = subprocess.run(["gcc", *flags, "-x", "c", "-", "-o", self.path("sanitized")], capture_output=True, text=True,
                                   input="#include <stdlib.h>\nint main(void) { return malloc(20 << 20) ? 42 : 1; }")
                if p.returncode or subprocess.run([self.path("sanitized")], capture_output=True, env=environment(ASAN_OPTIONS="detect_leaks=0")).returncode != 42:
                    self.skipTest("gcc makes no such program here")
                _, err, _ = self.run_tree("sh", "-c", self.path("sanitized"), status=42, ASAN_OPTIONS="detect_leaks=0")
                self.assertEqual(err, "minflt: ran without minflt: sanitized (built with a sanitizer)\n")

    def test_audited(self):
        out, err, _ = self.run_tree("sh", "-c", "LD_AUDIT=/none.so /bin/echo runs; LD_AUDIT= /bin/echo followed")
        self.assertEqual(out, "runs\nfollowed\n")
        self.assertEqual([line for line in err.splitlines() if line.startswith("minflt")], ["minflt: ran without minflt: echo (audited by LD_AUDIT)"])

    def test_sanitizer_preloaded(self):
        out, err, _ = self.run_tree("sh", "-c", "LD_PRELOAD=/nowhere/libasan.so /bin/echo runs")
        self.assertEqual(out, "runs\n")
        self.assertIn("minflt: ran without minflt: echo (built with a sanitizer)\n", err)

    def test_libraries_are_listed(self):
        """ldd: nothing of ours is in the list, and no program has run without us."""
        out, err, s = self.run_tree("sh", "-c", "LD_TRACE_LOADED_OBJECTS=1 /bin/echo")
        self.assertIn("libc.so.6", out)
        self.assertNotIn("/proc/self/fd", out)
        self.assertEqual((err, s["tree"]["unfollowed"]), ("", 0))

    def test_32_bits(self):
        code = bytes.fromhex("b801000000bb2a000000cd80")  # exit(42)
        header = b"\x7fELF\1\1\1" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x8048054, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        segment = struct.pack("<IIIIIIII", 1, 0, 0x8048000, 0x8048000, 84 + len(code), 84 + len(code), 5, 4096)
        program = self.path("thirtytwo", header + segment + code)
        if subprocess.run([program], check=False, stderr=subprocess.DEVNULL).returncode != 42:
            self.skipTest("this kernel runs no 32-bit programs")
        _, err, _ = self.run_tree("sh", "-c", f"{program}; test $? = 42")
        self.assertEqual(err, "minflt: ran without minflt: thirtytwo (a 32-bit program)\n")

    def test_executed_outside_of_libc(self):
        out, err, _ = self.run_tree(OUTSIDER, "exec", "/bin/sh", "-c", "sleep 2; echo ends")
        self.assertEqual((out, err), ("ends\n", "minflt: ran without minflt: sh (executed by a system call outside of libc)\n"))

    def test_started_outside_of_libc(self):
        """As Go's runtime starts its children: no function of libc is called, and the child has no slot. Seen by who looks at a process's children"""
        out, err, s = self.run_tree(OUTSIDER, "spawn", "/bin/sh", "-c", "sleep 2; echo ends")
        self.assertEqual((out, err), ("ends\n", "minflt: ran without minflt: sh (executed by a system call outside of libc)\n"))
        self.assertEqual(s["tree"]["unfollowed"], 1)

    def test_started_by_libc_is_no_stranger(self):
        """Children in all the ways of libc, some of them long enough to be looked at often"""
        _, err, s = self.run_tree("sh", "-c", "sleep 1.2 & (sleep 1.1; :) & sh -c 'sleep 1 & wait' & python3 -c '"
                                  "import os, subprocess, time\nfor i in range(20): subprocess.Popen([\"sleep\", \"0.3\"]); time.sleep(0.02)\n"
                                  "os.fork(); time.sleep(0.5)'; wait")
        self.assertEqual((err, s["tree"]["unfollowed"]), ("", 0))

    def test_runtime_cannot_start(self):
        out, err, _ = self.run_tree(OUTSIDER, "limit", "60000000", "/bin/echo", "runs")
        self.assertEqual((out, err), ("runs\n", "minflt: ran without minflt: echo (its runtime could not start)\n"))

    def test_who_cannot_start_is_noted_once(self):
        """It lives on as a child without an engine, and is no stranger."""
        _, err, s = self.run_tree("sh", "-c", '"$0" limit 60000000 /bin/sleep 2; true', OUTSIDER)
        self.assertEqual((err, s["tree"]["unfollowed"]), ("minflt: ran without minflt: sleep (its runtime could not start)\n", 1))

    def test_failed_to_execute(self):
        self.path("nothing", "\x7fELF\2\1\1 broken")
        _, err, s = self.run_tree(sys.executable, "-c", f"import os\ntry:\n os.execv({self.path('nothing')!r}, ['x'])\nexcept OSError: pass")
        self.assertEqual((err, s["tree"]["unfollowed"]), ("", 0))

    def test_no_proc(self):
        if os.getuid() != 0:
            self.skipTest("needs root, for chroot")
        root = self.path("root")
        libs = [w for w in subprocess.run(["ldd", "/bin/echo"], capture_output=True, text=True).stdout.split() if w.startswith("/")]
        for file in ["/bin/echo", *libs]:
            os.makedirs(root + os.path.dirname(file), exist_ok=True)
            shutil.copy(file, root + file)
        out, err, _ = self.run_tree(sys.executable, "-c", f"import os; os.chroot({root!r}); os.execv('/bin/echo', ['echo', 'runs'])")
        self.assertEqual((out, err), ("runs\n", "minflt: ran without minflt: echo (no /proc where it was executed)\n"))


def anonymous(pid):
    """Bytes of its own, and its share of what it shares."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(line.split()[1]) << 10 for line in f if line.startswith("Pss_Anon:"))


EAT = """
import sys, time
pages = [(b"%08d" % i) * 512 for i in range(int(sys.argv[1]) * 256)]
for _ in range(2):
    assert all(p[:8] == b"%08d" % i for i, p in enumerate(pages))
print("right", flush=True)
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
"""


class Account(Tree):
    """One budget for all of them."""

    def eat(self):
        return f"{sys.executable} {self.path('eat.py', EAT)}"

    def bounded(self, s):
        # What a process can't exist without may come on top.
        self.assertLessEqual(s["kept"]["total_peak_bytes"], s["budget"]["memory_bytes"] + s["tree"]["processes_peak"] * M)

    def test_side_by_side(self):
        eat = self.eat()
        out, err, s = self.run_tree("sh", "-c", f"{eat} 40 & {eat} 40 & {eat} 40 & wait", memory="48M")
        self.assertEqual((out, err), ("right\n" * 3, ""))
        self.bounded(s)
        self.assertGreater(s["kept"]["touched_peak_bytes"], 60 * M)
        self.assertGreater(s["swap"]["swapped_out_pages"], 10000)

    def driver(self, body):
        """A Python program with eat(MIB), which starts one that eats, and waits until it has."""
        return self.path("driver.py", f"""
import subprocess, sys
def eat(mib):
    p = subprocess.Popen([sys.executable, {self.path('eat.py', EAT)!r}, str(mib), "60"], stdout=subprocess.PIPE, text=True)
    print(p.stdout.readline().strip(), flush=True)
    return p
{body}""")

    def test_the_idle_give_back(self):
        """The first one holds everything and sleeps; without a fault of its own it has to make room for the second."""
        out, err, s = self.run_tree(sys.executable, self.driver("a = eat(50)\nb = eat(50)\na.kill()\nb.kill()\n"), memory="64M")
        self.assertEqual((out, err), ("right\n" * 2, ""))
        self.bounded(s)
        self.assertGreater(s["tree"]["pressed"], 0)
        self.assertLess(s["faults"]["major"], 20000)

    def test_the_share_of_the_killed_returns(self):
        for how in "kill", "terminate":
            out, err, s = self.run_tree(sys.executable, self.driver(f"for i in range(3):\n    a = eat(36)\n    a.{how}()\n    a.wait()\n"), memory="64M")
            self.assertEqual((out, err), ("right\n" * 3, ""))
            self.bounded(s)
            self.assertEqual(s["faults"]["major"], 0)  # each had all of it to itself

    def test_a_child_shares_with_its_parent(self):
        """A fork doubles nothing, as long as nobody writes."""
        script = self.path("fork.py", """
import mmap, os
memory = mmap.mmap(-1, 40 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for i in range(0, len(memory), 4096):
    memory[i:i + 4096] = b"%08d" % i * 512
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        assert all(memory[i:i + 8] == b"%08d" % i for i in range(0, len(memory), 4096))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print("right")
""")
        out, err, s = self.run_tree(sys.executable, script, memory="64M")
        self.assertEqual((out, err, s["tree"]["forks"]), ("right\n", "", 3))
        self.bounded(s)
        self.assertLess(s["swap"]["swapped_out_pages"], 4000)

    def test_a_child_that_writes(self):
        script = self.path("fork.py", """
import os, time
pages = [bytearray((b"%08d" % i) * 512) for i in range(40 * 256)]
pid = os.fork()
for i, p in enumerate(pages):
    p[100] = 7 if pid else 8
assert all(p[100] == (7 if pid else 8) and p[:8] == b"%08d" % i for i, p in enumerate(pages))
time.sleep(1)
assert all(p[100] == (7 if pid else 8) and p[:8] == b"%08d" % i for i, p in enumerate(pages))
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print("right")
""")
        out, err, s = self.run_tree(sys.executable, script, memory="64M")
        self.assertEqual((out, err), ("right\n", ""))
        self.assertGreater(s["swap"]["swapped_out_pages"], 1000)

    def test_shared_and_then_stored_to(self):
        """The kernel makes the copies, and asks nobody. The tree comes down to its budget nevertheless, also when nobody does anything any more."""
        for who in "child", "parent", "both":
            with self.subTest(who):
                p = subprocess.Popen([MINFLT, "run", "-q", "--memory=16M", OUTSIDER, "share", "12", who], env=environment(),
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                self.addCleanup(lambda p=p: (p.poll() is None and p.kill(), p.communicate()))
                pids = p.stdout.readline().split()
                self.assertEqual(len(pids), 2)
                # Each may have a MiB to exist, and has memory that is not managed.
                self.assertTrue(wait_for(lambda: sum(map(anonymous, pids)) < 18.5 * M, 20), [anonymous(pid) / M for pid in pids])
                self.assertEqual(p.communicate("go\n", timeout=50)[0], "right\nright\n")

    def test_nothing_to_be_had(self):
        """Nobody can give: the one that needs is ended, the others go on. It is a program that uses nothing twice: one with a heap that it works in
        would squeeze its own pages first, for a minute or two."""
        fill = self.path("fill.py", "import os, sys, time\nb = [os.urandom(4096) for i in range(24 * 256)]\nprint('filled', flush=True)\n"
                                    "time.sleep(float(sys.argv[1]))\n")
        script = self.path("both.py", f"""
import subprocess, sys
a = subprocess.Popen([sys.executable, {fill!r}, "600"], stdout=subprocess.PIPE, text=True)
print(a.stdout.readline().strip(), subprocess.run([{NOISE!r}, "40", "0", "0"]).returncode)
a.kill()
""")
        out, err, s = self.run_tree(sys.executable, script, memory="36M")
        self.assertEqual(out, "filled -9\n")
        self.assertIn("minflt: out of memory: the processes of this run together", err)

    def test_a_full_tree_is_known(self):
        """Nobody gives anything. Only the first to find that out waits for it long."""
        fill = self.path("fill.py", "import os, time\nb = [os.urandom(4096) for i in range(8 * 256)]\nprint('filled', flush=True)\ntime.sleep(600)\n")
        script = self.path("many.py", f"""
import subprocess, sys, time
a = subprocess.Popen([sys.executable, {fill!r}], stdout=subprocess.PIPE, text=True)
a.stdout.readline()
start = time.monotonic()
print(*[subprocess.run([{NOISE!r}, "16", "0", "0"]).returncode for i in range(30)])
print(time.monotonic() - start)
a.kill()
""")
        out, err, _ = self.run_tree(sys.executable, script, memory="16M")
        self.assertEqual(out.splitlines()[0], " ".join(["-9"] * 30))
        self.assertLess(float(out.splitlines()[1]), 30)  # 60 if each of them waited
        self.assertEqual(err.count("minflt: out of memory: the processes of this run together"), 1)

    def test_too_many_for_the_budget(self):
        """With a swap file that is all but empty, it is the processes themselves that fill the budget."""
        script = f"for i in 1 2 3 4 5 6 7 8; do perl -e '$a = join q( ), 1 .. 40000; sleep 3' & done; wait"
        _, err, _ = self.run_tree("sh", "-c", script, memory="5M", options=[f"--swap={self.path('swap')}:256M"])
        self.assertIn("minflt: out of memory: the processes of this run together", err)
        self.assertNotIn("are full", err)


class Cheap(Tree):
    def test_a_fork_touches_little(self):
        """With one thread, parent and child write no page for locks that nobody else could hold: malloc's and stdio's."""
        native = subprocess.run([OUTSIDER, "fork", "200"], capture_output=True, text=True).stdout
        out, _, s = self.run_tree(OUTSIDER, "fork", "200")
        self.assertEqual(s["tree"]["forks"], 200)
        self.assertLess(int(out), int(native) + 45)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False


def children(pid):
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children") as f:
            found += f.read().split()
    return found


def stays(pid):
    """It has a child, and still the same one after a while."""
    before = children(pid)
    time.sleep(0.1)
    return before and children(pid) == before


def opens(pid):
    """It waits in the system call open() or openat()."""
    try:
        with open(f"/proc/{pid}/syscall") as f:
            return f.read().split()[0] in ("2", "257")
    except OSError:
        return False


def open_read_fifo(path):
    """For writing, when somebody has opened it for reading: or else this would wait for good."""
    fds = []

    def opened():
        try:
            fds.append(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    if not wait_for(opened, 20):
        raise AssertionError(f"nobody reads {path}")
    return fds[0]


class Ends(Tree):
    """Who goes with whom."""

    def start(self, body, lines):
        """A Python program under minflt, up to the given number of lines of its output."""
        p = subprocess.Popen([MINFLT, "run", "-q", "--memory=64M", sys.executable, self.path("p.py", body)], env=environment(),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.communicate()))
        return p, [int(p.stdout.readline()) for _ in range(lines)]

    BODY = """
import os, subprocess, sys, time
memory = bytearray(os.urandom(4096) * 500)
ready, tell = os.pipe()
if os.fork() == 0:
    if MODE == "daemon":
        os.setsid()
        if os.fork():
            os._exit(0)
    p = subprocess.Popen(["sleep", "60"])
    os.write(tell, b"%d\\n%d\\n" % (os.getpid(), p.pid))
    if MODE == "daemon":
        wanted = bytes(memory)
        while not os.path.exists(SIGN):
            time.sleep(0.05)
        more = [bytes([i % 251]) * 4096 for i in range(20 * 256)]
        memory[5] ^= 1
        good = memory[:5] == wanted[:5] and memory[6:] == wanted[6:] and all(m[0] == i % 251 for i, m in enumerate(more))
        out = subprocess.run(["grep", "-c", "libminflt", "/proc/self/maps"], capture_output=True, text=True).stdout
        p.kill()
        with open(SIGN + ".answer", "w") as f:
            f.write(f"{good} {int(out) > 0}")
        os._exit(0)
    time.sleep(60)
sys.stdout.write(os.read(ready, 100).decode())
sys.stdout.flush()
time.sleep(60)
"""

    def test_the_guard_is_killed(self):
        """It is a process like others. What minflt says at the end doesn't depend on it."""
        path = self.path("s.json")
        p = subprocess.Popen([MINFLT, "run", "-q", "--memory=64M", f"--stats={path}", "sh", "-c", "echo; read x; exit 7"], env=environment(),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        p.stdout.readline()
        guard = lambda: subprocess.run(["pgrep", "-P", str(p.pid), "-x", "minflt-guard"], capture_output=True, text=True).stdout
        self.assertTrue(wait_for(guard))
        os.kill(int(guard()), 9)
        p.communicate(b"\n", timeout=20)
        self.assertEqual(p.returncode, 7)
        with open(path) as f:
            self.assertEqual(json.load(f)["process"]["status"], 7)

    def test_the_tree_goes_with_minflt(self):
        p, pids = self.start(self.BODY.replace("MODE", "'child'"), 2)
        p.kill()
        p.wait()
        for pid in pids:
            self.assertTrue(wait_for(lambda: not alive(pid)), pid)

    def test_daemons_go_on(self):
        sign = self.path("sign")
        p, pids = self.start(self.BODY.replace("MODE", "'daemon'").replace("SIGN", repr(sign)), 2)
        p.kill()
        p.wait()
        time.sleep(0.3)
        self.assertEqual([alive(pid) for pid in pids], [True, True])
        self.path("sign", "go")
        self.assertTrue(wait_for(lambda: os.path.exists(sign + ".answer") and os.path.getsize(sign + ".answer"), 30))
        with open(sign + ".answer") as f:
            self.assertEqual(f.read(), "True True")  # its memory is right, and what it executes is followed still
        self.assertTrue(wait_for(lambda: not alive(pids[0])))

    def test_a_child_outlives_the_program(self):
        sign = self.path("sign")
        out, err, _ = self.run_tree("sh", "-c", f"(sleep 0.7; {MANAGED} > {sign}.new; mv {sign}.new {sign}) >/dev/null 2>&1 & echo ends")
        self.assertEqual((out, err), ("ends\n", ""))
        self.assertTrue(wait_for(lambda: os.path.exists(sign)))
        with open(sign) as f:
            self.assertGreater(int(f.read()), 0)


    def test_memory_is_shared_with_the_killed(self):
        """Nobody is left to bring back what is evicted: the other one ends, and doesn't see zeros."""
        for _ in range(5):
            p = subprocess.Popen([MINFLT, "run", "-q", "--memory=8M", OUTSIDER, "beside", "10"], env=environment(),
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(lambda p=p: (p.poll() is None and p.kill(), p.communicate()))
            maker, other = map(int, p.stdout.readline().split())
            os.kill(maker, 9)
            out, err = p.communicate(timeout=30)
            self.assertTrue(wait_for(lambda: not alive(other)))
            self.assertEqual(out, "")
            self.assertIn(ORPHAN, err)

    def start_outsider(self, *command):
        """A running `minflt run` of the outsider, and the process that it has printed the number of."""
        p = subprocess.Popen([MINFLT, "run", "-q", "--memory=8M", OUTSIDER, *command], env=environment(),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self.addCleanup(lambda: (kill_session(p.pid), p.communicate()))
        return p, int(p.stdout.readline())

    def test_memory_is_shared_with_the_killed_however_it_was_made(self):
        for how in "vfork", "clone-vfork", "syscall", "syscall3":
            p, maker = self.start_outsider("orphan", "10", how)
            self.assertTrue(wait_for(lambda: stays(maker)), how)
            os.kill(maker, 9)
            out, err = p.communicate(timeout=30)
            self.assertEqual(out, "", how)
            self.assertIn(ORPHAN, err, how)

    def test_the_maker_of_a_spawned_process_is_killed(self):
        """Before the program is executed: by a process whose arguments nobody brings back, and which nobody gives the runtime."""
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        p, maker = self.start_outsider("held-spawn", "10", fifo)
        self.assertTrue(wait_for(lambda: any(opens(pid) for pid in children(maker))))
        os.kill(maker, 9)
        self.assertTrue(wait_for(lambda: not alive(maker)))
        fd = open_read_fifo(fifo)
        self.addCleanup(os.close, fd)
        out, err = p.communicate(timeout=30)
        self.assertEqual(out, "")
        self.assertIn(ORPHAN, err)

    def test_children_are_killed_on_their_way_to_an_execution(self):
        """Of what they share with their maker nothing stays taken: its next fork would wait for that, or its next child find no room."""
        out, err, _ = self.run_tree(OUTSIDER, "kill", "400")
        self.assertEqual((out, err), ("killed\n", ""))

    def test_a_spawned_process(self):
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        p, _ = self.start_outsider("held-spawn", "10", fifo)
        fd = open_read_fifo(fifo)
        self.addCleanup(os.close, fd)
        self.assertEqual(p.communicate(timeout=30), ("argument environment\n", ""))


class Namespace(Tree):
    """Processes whose own number is another one where the command runs."""

    def setUp(self):
        super().setUp()
        if subprocess.run(["unshare", "-pf", "--mount-proc", "true"], capture_output=True).returncode:
            self.skipTest("no pid namespaces with a /proc of their own here (needs root)")

    def test_nobody_else_is_measured(self):
        """Number 1 in there is not number 1 out here, whose memory has nothing to do with it."""
        out, err, s = self.run_tree("unshare", "-pf", "--mount-proc", "sh", "-c", f"sleep 1.2; sh -c '{MANAGED}; sleep 1.2; true'", memory="16M")
        self.assertEqual((out == "0\n", err), (False, ""))
        self.assertLess(s["tree"]["unmanaged_peak_bytes"], 4 * M)

    def test_its_own_memory_is_measured(self):
        for inside in [OUTSIDER, "map", "20", "0.6"], ["sh", "-c", "(sh -c '\"$0\" map 20 0.6; true' \"$0\" & wait); true", OUTSIDER]:
            _, err, s = self.run_tree("unshare", "-pf", *inside)
            self.assertIn("of anonymous memory was outside of minflt", err)
            self.assertTrue(20 * M <= s["tree"]["unmanaged_peak_bytes"] < 23 * M, s["tree"])

    def test_the_tree_goes_with_minflt(self):
        """Nothing in there is a child of somebody out here who would go first."""
        marks = [f"{os.getpid()}{i}" for i in range(3)]
        inside = f"import os, subprocess, time\nfor n in {marks[1:]!r}:\n    subprocess.Popen(['sleep', n])\ntime.sleep({marks[0]})"
        p = subprocess.Popen([MINFLT, "run", "-q", "--memory=64M", "unshare", "-pf", "--mount-proc", sys.executable, "-c", inside], env=environment())
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.wait()))
        found = lambda: [m for m in marks[1:] if subprocess.run(["pgrep", "-x", "-f", f"sleep {m}"], capture_output=True).returncode == 0]
        self.assertTrue(wait_for(lambda: len(found()) == 2))
        p.kill()
        self.assertTrue(wait_for(lambda: not found()), found())


class Progress(Tree):
    def test_one_line_erased_at_the_end(self):
        p = subprocess.run([MINFLT, "run", "-q", "--progress", "--memory=32M", sys.executable, "-c",
                            "import time; b = [bytes([i % 250]) * 4096 for i in range(15000)]; time.sleep(1)"], env=environment(), capture_output=True)
        shown = p.stderr.decode()
        self.assertEqual(p.returncode, 0, shown)
        self.assertNotIn("\n", shown)
        self.assertRegex(shown, r"\rminflt: resident [\d.]+ MiB, pool [\d.]+ [KM]iB, ratio [\d.]+, \d+ faults/s")
        parts = shown.split("\r")
        self.assertTrue(3 <= len([x for x in parts if x.startswith("minflt:")]) <= 10, parts)
        self.assertEqual((parts[-1], parts[-2].strip()), ("", ""))

    def test_nobody_reads(self):
        """A pipe that is full doesn't hold the program up."""
        r, w = os.pipe()
        os.set_blocking(w, False)
        try:
            while True:
                os.write(w, bytes(4096))
        except BlockingIOError:
            os.set_blocking(w, True)
        start = time.monotonic()
        p = subprocess.run([MINFLT, "run", "-q", "--progress", "--memory=32M", "sleep", "1"], env=environment(), stderr=w)
        self.assertEqual(p.returncode, 0)
        self.assertLess(time.monotonic() - start, 8)
        os.close(r)
        os.close(w)


class Unmanaged(Tree):
    def test_warned(self):
        _, err, s = self.run_tree(OUTSIDER, "map", "20", "0.6")
        self.assertIn("of anonymous memory was outside of minflt", err)
        self.assertTrue(20 * M <= s["tree"]["unmanaged_peak_bytes"] < 22 * M, s["tree"])

    def test_little_is_only_counted(self):
        _, err, s = self.run_tree(OUTSIDER, "map", "4", "0.6")
        self.assertEqual(err, "")
        self.assertTrue(4 * M <= s["tree"]["unmanaged_peak_bytes"] < 6 * M, s["tree"])

    def test_what_went_to_the_pool_is_none(self):
        """Whichever fault of a program is its last: what that has evicted is told. (What isn't told was only so after each sixteenth.)"""
        p = subprocess.Popen([MINFLT, "run", "-q", "--memory=12M", OUTSIDER, "stream"], env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.communicate()))
        look = lambda: int(subprocess.run([OUTSIDER, "unmanaged", str(p.pid)], capture_output=True, text=True, check=True).stdout)
        for step in range(64):
            p.stdin.write("\n")
            p.stdin.flush()
            self.assertEqual(p.stdout.readline(), "done\n")
            self.assertTrue(wait_for(lambda: look() < M // 2, 2), f"{look()} bytes after step {step}")

    def test_managed_memory_is_none(self):
        _, err, s = self.run_tree(sys.executable, "-c", "import time; b = [bytes([i % 250]) * 4096 for i in range(30000)]; time.sleep(0.5)")
        self.assertEqual(err, "")
        self.assertLess(s["tree"]["unmanaged_peak_bytes"], 4 * M)


if __name__ == "__main__":
    main()
