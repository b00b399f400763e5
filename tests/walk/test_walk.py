# SPDX-License-Identifier: MIT
"""`minflt walk`: options, errors, and the four kinds of output."""
import json
import os
import pty
import re
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.join(os.environ["SOURCE_ROOT"], "tests", "cli"))
from helper import MINFLT, SOURCE_ROOT, Case, main, minflt  # noqa: E402

EXAMPLES = os.path.join(SOURCE_ROOT, "examples", "scenarios")
ANON = "mmap A 4P rw private anon; read A 0; write A 0 1"
KERNELS = ["2.0", "2.6", "5"]

# What the three documents name, by the generation that is to go there. It must be seen in the examples.
DOCUMENTED = {
    "2.0": "do_page_fault do_no_page get_empty_pgtable get_empty_page swap_in file_mmap_nopage share_page try_to_share copy_page bmap bread_page "
           "put_page do_wp_page expand_stack filemap_nopage",
    "2.6": "handle_mm_fault handle_pte_fault do_linear_fault do_nonlinear_fault __do_fault do_anonymous_page do_swap_page do_wp_page",
    "5": "do_page_fault __do_page_fault find_vma handle_mm_fault __set_current_state __handle_mm_fault pgd_offset p4d_alloc pud_alloc pmd_alloc "
         "handle_pte_fault do_anonymous_page pte_alloc alloc_zeroed_user_highpage_movable mk_pte page_add_new_anon_rmap "
         "lru_cache_add_inactive_or_unevictable set_pte_at do_fault do_read_fault do_fault_around filemap_map_pages __do_fault filemap_fault "
         "do_cow_fault do_shared_fault page_mkwrite fault_dirty_shared_page finish_fault do_swap_page do_wp_page wp_page_reuse wp_page_shared "
         "wp_page_copy __do_user_fault __do_kernel_fault expand_stack",
}


def walk(*args, **more):
    return minflt("walk", *args, **more)


def walk_json(*args):
    p = walk("--json", *args)
    if p.returncode:
        raise AssertionError(f"{args}: {p.returncode}: {p.stderr}")
    return json.loads(p.stdout)


def calls_of(node):
    yield node
    for child in node["calls"]:
        yield from calls_of(child)


def functions(walked):
    return {c["fn"] for s in walked["steps"] for f in s["faults"] for root in f["calls"] for c in calls_of(root)}


def options_of(path):
    with open(path, encoding="utf-8") as f:
        return [line[len("# walk:"):].split() for line in f if line.startswith("# walk:")][0]


def examples():
    return sorted(os.path.join(EXAMPLES, n) for n in os.listdir(EXAMPLES) if n.endswith(".scn"))


class Refused(Case):
    def test_options(self):
        for args, words in [
            ((), ["no scenario", "-e"]),
            (("--kernel", "4", "-e", ANON), ["--kernel '4'", "2.0, 2.6, 5 or host"]),
            (("--arch", "vax", "-e", ANON), ["--arch 'vax'", "x86_64"]),
            (("--rule", "7", "-e", ANON), ["--rule '7'", "5.15"]),
            (("--rule", "5.4", "--rule", "6", "-e", ANON), ["--rule 6", "leave one out"]),
            (("--frames", "3", "-e", ANON), ["--frames '3'", "64"]),
            (("--frames", "many", "-e", ANON), ["--frames 'many'"]),
            (("--color", "blue", "-e", ANON), ["--color 'blue'", "auto"]),
            (("--colour",), ["--colour", "needs a value"]),
            (("--svg=", "-e", ANON), ["--svg"]),
            (("--nonsense", "-e", ANON), ["--nonsense", "minflt help walk"]),
            (("-x",), ["-x"]),
            (("-e", ANON, "file.scn"), ["file.scn", "-e"]),
            (("a.scn", "b.scn"), ["b.scn", "one scenario"]),
            (("--table", "--json", "-e", ANON), ["--table", "--json"]),
            (("--svg", "x.svg", "--kernel", "host", "-e", ANON), ["--svg", "--kernel"]),
            (("/nowhere/at/all.scn",), ["/nowhere/at/all.scn", "No such file", "-e"]),
            ((EXAMPLES,), [EXAMPLES, "directory"]),
        ]:
            with self.subTest(args):
                self.refused(walk(*args), 2, *words)

    def test_syntax(self):
        path = self.path("wrong.scn", "mmap A 4P rw private anon\n\n  read B 0\n")
        self.refused(walk(path), 2, f"{path}:3:8: expected the name of an area made before, not 'B'")
        self.refused(walk("-e", "mmap A 4P rq private anon"), 2, "-e:1:11: expected a protection", "not 'rq'")
        self.refused(walk("-e", "mmap A 4P rw private anon; read A"), 2, "-e:2:", "expected an offset, not the end of the line")
        self.refused(walk("-e", "fly A"), 2, "-e:1:1: expected a statement")

    def test_svg_nowhere(self):
        p = walk("--svg", "/nowhere/at/all.svg", "-e", ANON)
        self.assertEqual(p.returncode, 125)
        self.assertIn("/nowhere/at/all.svg", p.stderr)

    def test_full_disk(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            p = walk("-e", ANON, stdout=full)
        self.assertEqual(p.returncode, 125)
        self.assertIn("cannot write to standard output", p.stderr)


class Files(Case):
    """Those of the scenario, on the software machine and on the host."""
    def both(self, text, **more):
        for kernel in ["5", "host"]:
            yield kernel, walk("--kernel", kernel, "-e", text, **more)

    def test_no_directory(self):
        for _, p in self.both("file F 4P; warm F", env=dict(os.environ, TMPDIR="/no/such")):
            self.assertEqual(p.returncode, 125)
            self.assertIn("no file of 16384 bytes can be made in /no/such: No such file or directory; name another directory by TMPDIR", p.stderr)
            self.assertEqual(p.stderr.count("\n"), 1)

    def test_too_large(self):
        for _, p in self.both("file F 4097M; expect error EFBIG; file F 1P; truncate F 4097M; expect error EFBIG"):
            self.assertEqual((p.returncode, p.stderr), (0, ""))

    def test_nothing_is_left_when_killed(self):
        """Also not by SIGKILL. The sweep takes years."""
        for kernel in ["5", "host"]:
            p = subprocess.Popen([MINFLT, "walk", "--kernel", kernel, "-e", "file F 4P; mmap A 1P rw private anon; sweep A 0 0x2000000000000000"],
                                 env=dict(os.environ, TMPDIR=self.dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                self.until(lambda: any("minflt-scenario" in name for name in self.open_files(p.pid)))
                with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="utf-8") as f:
                    children = f.read().split()
            finally:
                p.kill()
                p.wait()
            self.assertEqual(len(children), kernel == "host")
            self.until(lambda: not any(os.path.exists(f"/proc/{child}") for child in children))
            self.assertEqual(os.listdir(self.dir), [])

    @staticmethod
    def open_files(pid):
        names = []
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                names.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
            except FileNotFoundError:
                pass
        return names

    def until(self, condition):
        end = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)


class Outcome(Case):
    def test_a_dead_process_is_told_once(self):
        p = walk("--kernel", "host", "-e", "mmap A 1P rw private anon; munmap A -1G 0x7fffc0000000")
        self.assertEqual(p.returncode, 125)
        self.assertRegex(p.stderr, r"\Aminflt: -e:2: munmap A .*: the machine failed: the process died\n\Z")

    def test_expectation_fails(self):
        p = walk("-e", ANON + "; expect minflt 7; expect byte A 0 9")
        self.assertEqual(p.returncode, 1)
        self.assertEqual(p.stderr.splitlines(), ["minflt: -e:4: expect minflt 7: wanted 7 minor faults, saw 2",
                                                 "minflt: -e:5: expect byte A 0 9: wanted the byte 9, saw 1"])
        self.assertIn("line 3: write A 0 1", p.stdout)

    def test_expectation_holds(self):
        p = walk("-e", ANON + "; expect minflt 2; expect rss 1")
        self.assertEqual((p.returncode, p.stderr), (0, ""))

    def test_other_kernel(self):
        p = walk("--kernel", "2.6", "-e", "for 5; " + ANON)
        self.assertEqual(p.returncode, 77)
        self.assertIn("other kernels", p.stderr)

    def test_standard_input(self):
        path = self.path("in.scn", "mmap A 1P rw private anon\nwrite A 0 1\n")
        with open(path, encoding="utf-8") as f:
            p = subprocess.run([os.environ["MINFLT"], "walk", "-"], stdin=f, text=True, capture_output=True, timeout=60)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("do_anonymous_page", p.stdout)

    def test_comment_keeps_semicolons(self):
        p = walk("-e", "mmap A 1P rw private anon # a; b", "-e", "read A 0")
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("line 2: read A 0", p.stdout)

    def test_help(self):
        for args in ("walk", "--help"), ("help", "walk"):
            p = minflt(*args)
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            for option in "--kernel", "--arch", "--explain", "--table", "--json", "--svg", "--color":
                self.assertIn(option, p.stdout)


class Text(Case):
    def test_tree(self):
        """The control flow of doc 1, a write to anonymous memory."""
        lines = walk("-e", "mmap A 1P rw private anon; write A 0 1").stdout.splitlines()
        flow = [line for line in lines if re.fullmatch(r" *\w+( \(.*\))?", line)]
        names = [line.split()[0] for line in flow]
        order = ["do_page_fault", "__do_page_fault", "find_vma", "handle_mm_fault", "__set_current_state", "__handle_mm_fault", "pgd_offset",
                 "p4d_alloc", "pud_alloc", "pmd_alloc", "handle_pte_fault", "do_anonymous_page", "pte_alloc",
                 "alloc_zeroed_user_highpage_movable", "set_pte_at"]
        start = names.index("do_page_fault")
        at = [names.index(n, start) for n in order]
        self.assertEqual(at, sorted(at))
        depth = {n: len(flow[i]) - len(flow[i].lstrip()) for n, i in zip(order, at)}
        self.assertEqual(depth["__do_page_fault"], depth["do_page_fault"] + 4)
        self.assertEqual(depth["find_vma"], depth["handle_mm_fault"])
        self.assertEqual(depth["__handle_mm_fault"], depth["handle_mm_fault"] + 4)
        self.assertEqual(depth["do_anonymous_page"], depth["handle_pte_fault"] + 4)
        text = "\n".join(lines)
        self.assertIn("entry: none -> frame 0 RW young dirty; frame 0: refs 1, map 1", text)
        self.assertIn("entry before: none; after: frame 0 RW young dirty", text)
        self.assertIn("rss anon 0 -> 1", text)
        self.assertIn("minor faults 0 -> 1", text)
        self.assertIn("--> nothing there, and nothing behind the mapping: anonymous", text)

    def test_repetitions_are_counted(self):
        p = walk("-e", "mmap A 64P rw private anon; write A 0 64P 1")
        self.assertEqual(p.stdout.count("do_page_fault ("), 2) # the first one makes tables
        self.assertIn("... and 62 more like it, up to 0x4003f000", p.stdout)
        self.assertIn("64 minor", p.stdout)

    def test_explain(self):
        plain, explained = walk("-e", ANON).stdout, walk("--explain", "-e", ANON).stdout
        sentences = [line for line in explained.splitlines() if re.match(r" *\. [A-Z]", line)]
        self.assertGreater(len(sentences), 15)
        self.assertEqual(len(sentences), len(set(sentences)) + sum("The next level" in s for s in sentences) - 1)
        self.assertEqual([line for line in explained.splitlines() if line not in sentences], plain.splitlines())

    def test_every_function_of_the_examples_is_explained(self):
        for path in examples():
            with self.subTest(path):
                options = [o for o in options_of(path) if o != "--explain"]
                p = walk("--explain", *options, path)
                names = functions(walk_json(*options, path))
                lines = p.stdout.splitlines()
                for name in names:
                    where = [i for i, line in enumerate(lines) if re.fullmatch(rf" *{name}( \(.*\))?(   \[.*\])?", line)]
                    self.assertTrue(where, f"{name} is not shown")
                    self.assertRegex(lines[where[0] + 1], r"^ *\. [A-Z].*[.?]$", f"{name} is not explained")

    def test_colour(self):
        self.assertNotIn("\033", walk("-e", ANON).stdout)
        self.assertIn("\033[", walk("--color=always", "-e", ANON).stdout)
        self.assertNotIn("\033", walk("--color=never", "-e", ANON).stdout)

    def on_a_terminal(self, *args, **more):
        terminal, its_end = pty.openpty()
        env = dict(os.environ, TERM="xterm", **more)
        p = subprocess.Popen([os.environ["MINFLT"], "walk", *args, "-e", "mmap A 1P rw private anon; read A 0"], stdin=subprocess.DEVNULL,
                             stdout=its_end, env=env)
        os.close(its_end)
        seen = b""
        while True:
            try:
                more_of_it = os.read(terminal, 4096)
            except OSError:
                break
            if not more_of_it:
                break
            seen += more_of_it
        os.close(terminal)
        self.assertEqual(p.wait(timeout=60), 0)
        return seen

    def test_colour_on_a_terminal(self):
        self.assertIn(b"\033[", self.on_a_terminal())
        self.assertNotIn(b"\033", self.on_a_terminal("--color=never"))
        self.assertNotIn(b"\033", self.on_a_terminal(NO_COLOR="1"))


class Json(Case):
    RESULTS = {"minor", "major", "SIGSEGV/MAPERR", "SIGSEGV/ACCERR", "SIGBUS/ADRERR", "oom"}

    def check(self, walked, kernel, arch):
        self.assertEqual(list(walked), ["kernel", "arch", "steps", "totals"])
        self.assertEqual((walked["kernel"], walked["arch"]), (kernel, arch))
        for step in walked["steps"]:
            self.assertEqual(list(step), ["line", "process", "statement", "faults"])
            self.assertIsInstance(step["line"], int)
            for fault in step["faults"]:
                self.assertEqual(list(fault), ["addr", "write", "result", "calls"])
                self.assertIsInstance(fault["addr"], int)
                self.assertIsInstance(fault["write"], bool)
                self.assertIn(fault["result"], self.RESULTS)
                for root in fault["calls"]:
                    for call in calls_of(root):
                        self.assertEqual(list(call), ["fn", "calls"])
        self.assertEqual(list(walked["totals"]), ["minflt", "majflt", "zeroed", "copied", "read", "written", "frames", "page_tables"])
        for value in walked["totals"].values():
            self.assertIsInstance(value, int)

    def test_examples(self):
        for path in examples():
            with self.subTest(path):
                options = [o for o in options_of(path) if o != "--explain"]
                walked = walk_json(*options, path)
                self.check(walked, options[options.index("--kernel") + 1],
                           options[options.index("--arch") + 1] if "--arch" in options else "x86_64")
                for step in walked["steps"]:
                    for fault in step["faults"]:
                        self.assertEqual([c["fn"] for c in fault["calls"]], ["do_page_fault"])

    def test_statements(self):
        walked = walk_json("-e", "mmap A 4P rw private anon; fork c; in c: read A 0 4P")
        self.assertEqual([(s["line"], s["process"], s["statement"]) for s in walked["steps"]],
                         [(1, "main", "mmap A 4P rw private anon"), (2, "main", "fork c"), (3, "c", "read A 0 4P")])
        self.assertEqual([f["addr"] for f in walked["steps"][2]["faults"]], [0x40000000 + i * 4096 for i in range(4)])

    def test_totals_are_the_faults(self):
        for path in examples():
            options = [o for o in options_of(path) if o != "--explain"]
            if "2.0" in options: # counts by rules of its own
                continue
            with self.subTest(path):
                walked = walk_json(*options, path)
                results = [f["result"] for s in walked["steps"] for f in s["faults"]]
                nested = walked["totals"]["minflt"] - results.count("minor")
                self.assertGreaterEqual(nested, 0) # remap_file_pages brings pages in by itself
                self.assertEqual(walked["totals"]["majflt"], results.count("major"))

    def test_signals(self):
        walked = walk_json("-e", "mmap A 1P r private anon; read A 8P; write A 0 1; file F 1P; mmap B 2P r private F; read B 1P")
        self.assertEqual([f["result"] for s in walked["steps"] for f in s["faults"]], ["SIGSEGV/MAPERR", "SIGSEGV/ACCERR", "SIGBUS/ADRERR"])

    def test_out_of_memory(self):
        p = walk("--json", "--frames", "64", "-e", "mmap A 200P rw private anon; mlock A 0 62P; mlock A 62P 138P; write A 199P 1")
        self.assertEqual(p.returncode, 1)
        self.assertIn("out of memory", p.stderr)
        self.assertEqual(json.loads(p.stdout)["steps"][-1]["faults"][-1]["result"], "oom")

    def test_repetitions_are_all_there(self):
        walked = walk_json("-e", "mmap A 64P rw private anon; write A 0 64P 1")
        self.assertEqual(len(walked["steps"][1]["faults"]), 64)
        self.assertEqual(walked["totals"]["zeroed"], 64)
        self.assertEqual(walked["totals"]["frames"], 64)

    def test_host(self):
        with open(os.environ["MINFLT"], "rb") as f:
            if b"__asan_report_load" in f.read():  # not __asan_init, which lib/foreign.c looks for in programs
                self.skipTest("the sanitizer's handlers and shadow memory fault in the children as well")
        walked = walk_json("--kernel", "host", "-e", "mmap A 4P rw private anon; read A 0 2P; write A 8P 1")
        self.check(walked, "host", "x86_64")
        faults = [f for s in walked["steps"] for f in s["faults"]]
        self.assertEqual([(f["addr"], f["write"], f["result"]) for f in faults],
                         [(0x40000000, False, "minor"), (0x40001000, False, "minor"), (0x40008000, True, "SIGSEGV/MAPERR")])
        self.assertTrue(all(f["calls"] == [] for f in faults))
        self.assertEqual(walked["totals"]["minflt"], 2)

    def test_rules(self):
        """Each rule of linux-5 is in force: mprotect back to writable after the child's end; a store to a shared page."""
        exclusive = "mmap A 8P rw private anon; write A 0 8P 1; fork c; exit c; mprotect A 0 8P r; mprotect A 0 8P rw; write A 0 8P 2"
        shared = "mmap A 8P rw shared anon; write A 0 8P 1"
        for rule, again, major in ("5.4", 0, 0), ("5.15", 0, 8), ("6", 8, 0):
            with self.subTest(rule):
                self.assertEqual(walk_json("--rule", rule, "-e", exclusive)["totals"]["minflt"], 8 + again)
                totals = walk_json("--rule", rule, "-e", shared)["totals"]
                self.assertEqual((totals["minflt"], totals["majflt"]), (8 - major, major))
        self.assertEqual(walk_json("-e", exclusive)["totals"]["minflt"], 16)

    def test_the_hosts_arch(self):
        self.assertEqual(walk_json("--kernel", "host", "--arch", "i386", "-e", "mmap A 1P r private anon")["arch"], "x86_64")

    def test_statement_as_written(self):
        statement = "mmap A 4P" + " " * 1000 + "rw private anon"
        self.assertEqual(walk_json("-e", statement)["steps"][0]["statement"], statement)

    def test_many_mappings(self):
        """Checks of the whole memory after every step would take minutes."""
        walked = walk_json(self.path("many.scn", "mmap A 1P rw private anon\nwrite A 0 1\n" * 5000))
        self.assertEqual(walked["totals"]["minflt"], 5000)

    def test_quotes(self):
        path = self.path('a "quoted"\nname.scn', "mmap A 1P rw private anon\n")
        self.assertEqual(len(walk_json(path)["steps"]), 1)

    def test_documented_functions_are_seen(self):
        seen = {k: set() for k in KERNELS}
        for path in examples():
            options = [o for o in options_of(path) if o != "--explain"]
            seen[options[options.index("--kernel") + 1]] |= functions(walk_json(*options, path))
        for kernel, names in DOCUMENTED.items():
            self.assertEqual(set(names.split()) - seen[kernel], set(), f"linux-{kernel}")


class Table(Case):
    def rows(self, *args):
        p = walk("--table", *args)
        self.assertEqual(p.returncode, 0, p.stderr)
        lines = [line.split() for line in p.stdout.splitlines()]
        self.assertEqual(lines[0], ["kernel", "minor", "major", "zeroed", "copied", "read", "written", "frames", "tables"])
        return {line[0]: line[1:] for line in lines[1:]}

    def test_anonymous_read_then_write(self):
        rows = self.rows("-e", "mmap A 8P rw private anon; read A 0 8P; write A 0 8P 1")
        self.assertEqual(list(rows), ["2.0", "2.6", "5", "host"])
        self.assertEqual(rows["2.0"][:3], ["8", "0", "8"])   # the zero page was there from the start
        self.assertEqual(rows["2.6"][:3], ["8", "0", "8"])   # no zero page: the read took a frame
        self.assertEqual(rows["5"][:3], ["16", "0", "8"])    # both fault
        self.assertEqual(rows["host"][:2], ["16", "0"])
        self.assertEqual([rows[k][6] for k in KERNELS], ["8", "8", "8"])

    def test_not_for_all(self):
        rows = self.rows("-e", "for 5; " + ANON)
        self.assertEqual(rows["5"][:2], ["2", "0"])
        self.assertEqual(rows["2.6"][0], "stopped:")

    def test_not_to_the_end(self):
        p = walk("--table", "-e", "mmap A 1P rw shared anon; write A 0 1") # 2.0 has no such memory
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("stopped: -e:2: write A 0 1: process 'main' has no area 'A'", p.stdout)

    def test_same_as_alone(self):
        for path in examples():
            with self.subTest(path):
                options = [o for o in options_of(path) if o != "--explain"]
                kernel = options[options.index("--kernel") + 1]
                rest = [o for i, o in enumerate(options) if o != "--kernel" and (i == 0 or options[i - 1] != "--kernel")]
                totals = walk_json(*options, path)["totals"]
                self.assertEqual(self.rows(*rest, path)[kernel], [str(v) for v in totals.values()])


class Svg(Case):
    def draw(self, *args):
        path = os.path.join(self.dir, "walk.svg")
        p = walk("--svg", path, *args)
        self.assertEqual(p.returncode, 0, p.stderr)
        return ElementTree.parse(path).getroot()

    @staticmethod
    def of_class(root, name):
        return [e for e in root.iter() if name in e.get("class", "").split()]

    @staticmethod
    def title(e):
        return e[0].text

    def test_examples(self):
        for path in examples():
            with self.subTest(path):
                root = self.draw(*options_of(path), path)
                self.assertTrue(root.tag.endswith("}svg"))
                steps = len(walk_json(*[o for o in options_of(path) if o != "--explain"], path)["steps"])
                self.assertEqual(len(self.of_class(root, "side")), 2 * steps)

    def test_a_write(self):
        root = self.draw("-e", "mmap A 2P rw private anon; write A 0 1; fork child; in child: write A 0 2")
        changed = [self.title(e) for e in self.of_class(root, "rw") if "changed" in e.get("class").split()]
        self.assertIn("0x40000000: frame 0 RW young dirty", changed)
        self.assertIn("0x40000000: frame 1 RW young dirty", changed)
        self.assertTrue(any("child" == (e.text or "") for e in self.of_class(root, "process")))
        self.assertTrue(any("pte from 0x40000000" in self.title(e) for e in self.of_class(root, "table")))
        self.assertTrue(any(self.title(e).startswith("frame 0: anonymous") for e in self.of_class(root, "anonpage")))

    def test_a_new_mapping(self):
        root = self.draw("-e", "mmap A 1P rw private anon; mmap B 1P rw private anon; mprotect A 0 1P r; read A 0")
        self.assertEqual([e.text.split()[0] + e.text.split()[3] for e in self.of_class(root, "differs")],
                         ["0x40000000rw-", "0x40200000rw-", "0x40000000rw-", "0x40000000r--"])

    def test_names_of_children_that_follow_each_other(self):
        root = self.draw("-e", "mmap A 1P rw private anon; fork one; exit one; fork two; exit two")
        names = [e.text for e in self.of_class(root, "process")]
        self.assertEqual([n for n in names if n != "main"], ["one", "one", "two", "two"])

    def test_awkward_text(self):
        self.draw("-e", "mmap A 1P rw private anon # <&\">\n", "-e", "read A 0")


if __name__ == "__main__":
    main()
