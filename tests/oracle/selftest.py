#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""selftest.py BUILD [NAME...] | --check: would the oracle notice?

Breaks one line of the engine at a time (mutations.txt), builds the oracle with it, and lets it look at random sequences until it finds a
difference. The unbroken engine has to pass the same sequences. Prints caught or missed for each; status 0: all were caught.

  --check           only whether each line to break is still there

  N=4000 SEED=100000   how many sequences at most, and which
"""
import json, os, shlex, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
N, SEED = os.environ.get("N", "4000"), os.environ.get("SEED", "100000")
PATIENCE = 240


def mutations():
    blocks = open(os.path.join(HERE, "mutations.txt")).read().split("\n\n")
    for block in blocks:
        lines = [l for l in block.split("\n") if l and not l.startswith("# ")]
        if lines:
            name, path, old, new = lines
            yield name, path, old, new


def mutate(path, old, new):
    lines = open(os.path.join(ROOT, path)).read().split("\n")
    found = [i for i, l in enumerate(lines) if l == old]
    if len(found) != 1:
        sys.exit(f"selftest: {path} has this line {len(found)} times, not once: {old.strip()}")
    lines[found[0]] = new
    return "\n".join(lines)


class Builder:
    """The commands and objects of the oracle as ninja built them."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        with open(os.path.join(self.build, "compile_commands.json")) as f:
            commands = json.load(f)
        self.by_source, self.objects = {}, []
        for c in commands:
            output = c["output"]
            if output.startswith(("mm/libmm_debug.a.p/", "machine/soft/libsoft_debug.a.p/", "tests/oracle/oracle.p/")):
                source = os.path.relpath(os.path.join(c["directory"], c["file"]), ROOT)
                self.by_source[source] = c
                self.objects.append(output)

    def link(self, to, instead=None, by=None):
        objects = [by if o == instead else o for o in self.objects]
        subprocess.run(["cc", "-o", to, *objects, "-Wl,-z,now", "-pthread"], cwd=self.build, check=True)

    def compile(self, source, text, directory):
        command = self.by_source[source]
        changed, output = os.path.join(directory, "changed.c"), os.path.join(directory, "changed.o")
        with open(changed, "w") as f:
            f.write(f'#line 1 "{source}"\n' + text)
        args = shlex.split(command["command"])
        args = [output if a == command["output"] else changed if a == command["file"] else a for a in args]
        args += ["-I" + os.path.dirname(os.path.join(ROOT, source)), "-w"]
        subprocess.run(args, cwd=self.build, check=True)
        return command["output"], output


def look(program):
    """=> (found something, what it said)"""
    try:
        p = subprocess.run([program, "--stop", "1", "--fast", N, SEED], capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return True, "it does not come to an end"
    if p.returncode not in (0, 1):
        sys.exit(f"selftest: the oracle can't run: {p.stdout}{p.stderr}")
    first = next((l for l in p.stdout.split("\n") if l.startswith("# seed")), "")
    return p.returncode == 1, first


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--check":
        print(len([mutate(path, old, new) for _, path, old, new in mutations()]), "mutations")
        return 0
    builder, wanted, missed, nr = Builder(sys.argv[1]), sys.argv[2:], [], 0
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "oracle")
        builder.link(program)
        found, what = look(program)
        if found:
            sys.exit(f"selftest: the unbroken engine differs from the host already: {what}")
        print(f"unbroken: no divergence in {N} sequences from seed {SEED}", flush=True)
        for name, path, old, new in mutations():
            if wanted and name not in wanted:
                continue
            begin = time.monotonic()
            builder.link(program, *builder.compile(path, mutate(path, old, new), directory))
            found, what = look(program)
            nr += 1
            if not found:
                missed.append(name)
            print(f"{'caught' if found else 'MISSED'}  {name}  ({path}, {time.monotonic() - begin:.1f} s)  {what[:110]}", flush=True)
    print(f"{nr - len(missed)} of {nr} mutations caught" + (f"; missed: {' '.join(missed)}" if missed else ""))
    return 1 if missed else 0


sys.exit(main())
