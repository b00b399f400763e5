#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real programs under `minflt run`, with far less memory than they use, against a native run.

    run.py --minflt build/minflt sort [--unprivileged]        one program of the table below
    run.py --list

Standard output, exit status and every file that the program leaves in its folder must be the same. A program takes part by a line
in PROGRAMS. Exit 0: same, 1: different, 77: the program isn't installed, or userfaultfd can't be had here.
"""
import argparse
import dataclasses
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

UNPRIVILEGED = 65534


# ---- data: made from a fixed seed, so that a failure can be looked at again ----

WORDS = ('page fault frame swap cache dirty young table entry map reclaim anon file write read share copy slot pool zero '
         'budget evict cluster handler thread child parent lock batch move').split()


def text_lines(path, count, seed):
    rng = random.Random(seed)
    with open(path, 'w') as f:
        for _ in range(count):
            f.write(f'{rng.randrange(1 << 40):x} {" ".join(rng.choices(WORDS, k=3))}\n')


def write_script(path, text):
    with open(path, 'w') as f:
        f.write(text)


def make_sort(data):
    text_lines(f'{data}/lines.txt', 500_000, 1)


def make_xz(data):
    text_lines(f'{data}/lines.txt', 100_000, 2)


def make_sqlite(data):
    write_script(f'{data}/script.sql', '''
PRAGMA cache_size = -200000;
CREATE TABLE item(id INTEGER PRIMARY KEY, key TEXT, value INTEGER, body TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
  INSERT INTO item SELECT i, printf('%08x', (i * 2654435761) & 4294967295), i % 997, printf('body %d of %d', i, i * i) FROM n;
CREATE INDEX by_key ON item(key);
CREATE INDEX by_value ON item(value, key);
SELECT count(*), sum(value), min(key), max(key) FROM item;
SELECT value, count(*), max(body) FROM item GROUP BY value ORDER BY 2 DESC, 1 LIMIT 10;
UPDATE item SET body = body || ' again' WHERE id % 7 = 0;
DELETE FROM item WHERE value % 11 = 3;
SELECT count(*), sum(length(body)) FROM item;
SELECT a.key, b.key FROM item a JOIN item b ON b.id = a.id + 1 WHERE a.value = 500 ORDER BY a.key LIMIT 10;
PRAGMA integrity_check;
''')


def make_c(data):
    rng = random.Random(3)
    with open(f'{data}/generated.c', 'w') as f:
        f.write('struct s { int a[8]; struct s *next; };\n')
        for i in range(220):
            f.write(f'int f{i}(struct s *p, int n)\n{{\n\tint sum = {i};\n\tfor (int i = 0; i < n; i++) {{\n')
            for _ in range(12):
                f.write(f'\t\tsum {rng.choice(["+=", "^=", "-="])} p->a[(i + {rng.randrange(8)}) & 7] * {rng.randrange(99)};\n')
            f.write(f'\t\tif (sum & {1 << rng.randrange(8)})\n\t\t\tp = p->next;\n\t}}\n')
            f.write(f'\treturn sum{f" + f{rng.randrange(i)}(p, n - 1)" if i else ""};\n}}\n')


def make_python(data):
    write_script(f'{data}/script.py', '''
import collections, hashlib, json, random, subprocess, sys, zlib
rng = random.Random(4)
table = {i: ("key %d" % (i * 7919 % 1000003), i * i, [i] * 3) for i in range(120000)}
print(len(table), sum(v[1] for v in table.values()) % 1000007)
order = sorted(table, key=lambda k: table[k][0])
print(order[:5], hashlib.sha256(repr(order).encode()).hexdigest())
for k in order[::2]:
    del table[k]
text = json.dumps({v[0]: v[2] for v in table.values()})
print(len(text), zlib.crc32(text.encode()), len(json.loads(text)))
count = collections.Counter(rng.randrange(5000) for _ in range(200000))
print(count.most_common(3))
big = bytearray(24 << 20)
for i in range(0, len(big), 4096):
    big[i:i + 8] = i.to_bytes(8, "little")
print(zlib.crc32(big))
print(subprocess.run([sys.executable, "-c", "print(sum(range(1000)))"], capture_output=True, text=True).stdout)
''')


def make_perl(data):
    write_script(f'{data}/script.pl', '''
use strict; use warnings;
my (%h, @a);
my $x = 12345;
for my $i (1 .. 150000) {
    $x = ($x * 1103515245 + 12345) % 2147483648;
    $h{"key $x"} = "value $i";
    push @a, $x;
}
my @sorted = sort { $a <=> $b } @a;
print scalar(keys %h), " $sorted[0] $sorted[-1]\\n";
my $sum = 0;
for my $k (sort keys %h) { $sum = ($sum * 31 + length($h{$k})) % 1000003; }
print "$sum\\n";
my $text = join " ", @a;
my $n = () = $text =~ /(\\d)\\1/g;
print length($text), " $n\\n";
my $pid = fork(); if (!$pid) { print "child ", scalar(keys %h), "\\n"; exit 3 } waitpid($pid, 0); print $? >> 8, "\\n";
''')


def make_bash(data):
    write_script(f'{data}/script.sh', '''
declare -a a
for ((i = 0; i < 120000; i++)); do a[i]="element $((i * 7919 % 100003)) of the array"; done
sum=0
for ((i = 0; i < 150; i++)); do
    got=$(echo "${a[i * 700]}"; exit $((i % 7))); status=$?
    sum=$((sum + ${#got} + status))
done
echo "$sum"
(for ((i = 0; i < 30000; i++)); do a[i]=changed; done; echo "${a[5]} ${a[29999]} ${a[30000]}")
echo "${a[5]} ${a[29999]}"
printf '%s\\n' "${a[@]:0:50000}" | cksum
echo "${a[@]}" | { read -r line; echo "${#line}"; }
( ( ( echo "${a[119999]}" ) ) ) & wait
''')


def make_awk(data):
    text_lines(f'{data}/lines.txt', 200_000, 5)


def make_git(data):
    run = lambda *args: subprocess.run(['git', '-C', f'{data}/repo', *args], check=True, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env=environment())
    os.mkdir(f'{data}/repo')
    run('init', '-q')
    run('config', 'gc.auto', '0')
    rng = random.Random(6)
    lines = [f'{i} {" ".join(rng.choices(WORDS, k=8))}' for i in range(6000)]
    for commit in range(40):
        for _ in range(60):
            lines[rng.randrange(len(lines))] = f'{commit} {" ".join(rng.choices(WORDS, k=8))}'
        for name in range(4):
            with open(f'{data}/repo/file{name}', 'w') as f:
                f.write('\n'.join(lines[name * 100:]))
        run('add', '.')
        run('commit', '-q', '-m', f'commit {commit}')


def git_copy(data, cwd):
    shutil.copytree(f'{data}/repo', f'{cwd}/repo')


def cc1(data):
    return subprocess.run(['gcc', '-print-prog-name=cc1'], capture_output=True, text=True, check=True).stdout.strip()


# ---- the table ----

@dataclasses.dataclass
class Program:
    name: str
    needs: str                  # the program that must be installed
    command: list               # {data} is the folder of what `make` made; callables are called with it
    make: object = None         # makes the data, once
    budget: tuple = ('--resident', '16M', '--pool', '512M')
    prepare: object = None      # prepares the folder of one run: (data, cwd)
    files: bool = True          # compare the files left behind
    after: list = None          # a native command whose output is compared instead of the files
    evicts: int = 500           # the run counts only if so many pages were evicted
    timeout: float = 120


# A program that only starts others (gcc, git gc) hands its memory calls to processes that are no longer under minflt: cc1 and
# pack-objects are run for their memory, gc for its forks.
PROGRAMS = [
    Program('sort', 'sort', ['sort', '-S', '300M', '--parallel=1', '{data}/lines.txt'], make_sort),
    Program('sort-threads', 'sort', ['sort', '-S', '300M', '--parallel=4', '{data}/lines.txt'], make_sort,
            budget=('--memory', '40M')),
    Program('python3', '/usr/bin/python3', ['/usr/bin/python3', '{data}/script.py'], make_python,
            budget=('--memory', '40M')),
    Program('sqlite3', 'sqlite3', ['sqlite3', ':memory:', '.read {data}/script.sql'], make_sqlite,
            budget=('--memory', '26M')),
    Program('cc1', 'gcc', [cc1, '-O2', '-quiet', '{data}/generated.c', '-o', 'out.s'], make_c),
    Program('gcc', 'gcc', ['gcc', '-O1', '-c', '{data}/generated.c', '-o', 'out.o'], make_c,
            budget=('--memory', '8M'), evicts=0),
    Program('xz', 'xz', ['xz', '-9', '-T1', '-c', '{data}/lines.txt'], make_xz),
    Program('perl', 'perl', ['perl', '{data}/script.pl'], make_perl,
            budget=('--resident', '32M', '--pool', '512M')),
    Program('bash', 'bash', ['bash', '{data}/script.sh'], make_bash, budget=('--resident', '4M', '--pool', '256M')),
    Program('awk', 'awk', ['awk', '{ n[$2]++; s[$1] = $0 } END { for (k in n) t += n[k]; for (k in s) u += length(s[k]); '
                           'print t, u, length(n), length(s) }', '{data}/lines.txt'], make_awk),
    Program('git-pack', 'git', ['git', '-C', 'repo', 'pack-objects', '--all', '--threads=1', '--no-reuse-delta', '--stdout', '-q'],
            make_git, prepare=git_copy, files=False, budget=('--resident', '3M', '--pool', '256M')),
    Program('git-gc', 'git', ['git', '-C', 'repo', 'gc', '-q', '--prune=now'], make_git, prepare=git_copy, files=False,
            after=['git', '-C', 'repo', 'fsck', '--full', '--no-dangling'], budget=('--memory', '8M'), evicts=0),
]


# ---- running ----

def environment():
    env = {k: v for k, v in os.environ.items() if not k.startswith(('LD_', 'MINFLT_', 'MALLOC_', 'GIT_', 'PYTHON'))}
    env.update(LC_ALL='C', PYTHONHASHSEED='0', HOME='/nonexistent', GIT_CONFIG_NOSYSTEM='1', GIT_CONFIG_COUNT='1',
               GIT_CONFIG_KEY_0='safe.directory', GIT_CONFIG_VALUE_0='*', GIT_AUTHOR_NAME='a', GIT_AUTHOR_EMAIL='a@example',
               GIT_COMMITTER_NAME='a', GIT_COMMITTER_EMAIL='a@example', GIT_AUTHOR_DATE='1700000000 +0000',
               GIT_COMMITTER_DATE='1700000000 +0000')
    return env


def run(command, cwd, timeout):
    """(exit status, -signal or 'timeout', digest and beginning of stdout, stderr, seconds)"""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment(),
                                   start_new_session=True,
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = 'timeout'
        finally:  # also when this script itself is ended
            seconds = time.monotonic() - start
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        out.seek(0)
        err.seek(0)
        text = out.read()
        return {'status': status, 'stdout': (len(text), hashlib.sha256(text).hexdigest(), text[:2000].decode('latin-1')),
                'stderr': err.read().decode('latin-1'), 'seconds': seconds}


def files_in(folder):
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            with open(path, 'rb') as f:
                found[os.path.relpath(path, folder)] = hashlib.sha256(f.read()).hexdigest()
    return found


def one_run(program, data, cwd, before):
    os.mkdir(cwd)
    if program.prepare:
        program.prepare(data, cwd)
    if os.geteuid() == 0:
        for base, folders, names in os.walk(cwd):
            for name in ['.'] + folders + names:
                os.chown(os.path.join(base, name), *before['owner'])
    command = [part(data) if callable(part) else part.replace('{data}', data) for part in program.command]
    result = run(before['command'] + command, cwd, program.timeout)
    if program.files:
        result['files'] = files_in(cwd)
    if program.after:
        after = run(program.after, cwd, program.timeout)
        result['after'] = (after['status'], after['stdout'], after['stderr'])
    return result


def same(native, managed):
    good = True
    for key in ('status', 'stdout', 'files', 'after'):
        if native.get(key) != managed.get(key):
            print(f'{key}:\n  native {native.get(key)}\n  minflt {managed.get(key)}')
            good = False
    if not good:
        print(f'standard error, native:\n{native["stderr"][-2000:]}\nunder minflt:\n{managed["stderr"][-4000:]}')
    return good


def statistics_good(path, program):
    try:
        with open(path) as f:
            stats = json.load(f)
    except (OSError, ValueError) as e:
        print(f'no statistics: {e}')
        return False
    evicted = stats['swap']['evicted_pages']
    kept, memory = stats['kept']['total_peak_bytes'], stats['budget']['memory_bytes']
    print(f'evicted {evicted} pages, touched {stats["kept"]["touched_peak_bytes"] >> 20} MB, kept at most {kept >> 20} MB')
    if evicted < program.evicts:
        print(f'fewer than {program.evicts} pages were evicted: the budget did not press')
    if memory and kept > memory:
        print(f'kept {kept} bytes, more than the {memory} of --memory')
    if stats['swap']['damaged_pages']:
        print(f'{stats["swap"]["damaged_pages"]} damaged pages')
    return evicted >= program.evicts and not (memory and kept > memory) and not stats['swap']['damaged_pages']


# ---- an unprivileged user who may open /dev/userfaultfd ----

# In a mount namespace of its own, a device node with mode 0666 covers /dev/userfaultfd; nothing outside changes. The node stands on
# a fresh tmpfs, because /tmp is often mounted nodev.
COVER = ('set -e; mount -t tmpfs -o mode=755 none "$1"; mknod -m 666 "$1/node" c "$2" "$3"; '
         'mount --bind "$1/node" /dev/userfaultfd; shift 3; exec "$@"')


def unprivileged_prefix(folder):
    """The words to put before a command, or None when that can't be had here."""
    drop = ['setpriv', f'--reuid={UNPRIVILEGED}', f'--regid={UNPRIVILEGED}', '--clear-groups', '--']
    if os.geteuid() != 0:
        return [] if os.access('/dev/userfaultfd', os.R_OK | os.W_OK) else None
    if not all(shutil.which(tool) for tool in ('unshare', 'setpriv', 'mknod', 'mount')):
        return None
    try:
        device = os.stat('/dev/userfaultfd').st_rdev
    except OSError:
        return None
    cover = os.path.join(folder, 'cover')
    os.mkdir(cover)
    prefix = ['unshare', '-m', '--propagation', 'private', 'sh', '-c', COVER, 'sh', cover, str(os.major(device)),
              str(os.minor(device)), *drop]
    return prefix if subprocess.run([*prefix, 'test', '-w', '/dev/userfaultfd'], stderr=subprocess.DEVNULL).returncode == 0 else None


def skip(why):
    print(f'skipped: {why}')
    return 77


def test(program, minflt, unprivileged, keep):
    runtime = os.path.join(os.path.dirname(minflt), 'libminflt-run.so')
    if not shutil.which(program.needs):
        return skip(f'{program.needs} is not installed')
    for needed in (minflt, runtime):
        if not os.path.exists(needed):
            return skip(f'{needed} has not been built')
    folder = tempfile.mkdtemp(prefix='minflt-programs-')
    os.chmod(folder, 0o755)
    try:
        prefix = unprivileged_prefix(folder) if unprivileged else []
        if prefix is None:
            return skip('no unprivileged user with /dev/userfaultfd can be had here')
        if unprivileged:  # the build folder may be one that this user can't enter
            os.mkdir(f'{folder}/bin')
            minflt, _ = (shutil.copy(path, f'{folder}/bin') for path in (minflt, runtime))
        owner = (UNPRIVILEGED, UNPRIVILEGED) if unprivileged and os.geteuid() == 0 else (os.geteuid(), os.getegid())
        data, stats = f'{folder}/data', f'{folder}/stats/stats.json'
        os.mkdir(data)
        os.mkdir(f'{folder}/stats')
        if os.geteuid() == 0:
            os.chown(f'{folder}/stats', *owner)
        if program.make:
            program.make(data)
        native = one_run(program, data, f'{folder}/native', {'owner': owner, 'command': prefix})
        managed = one_run(program, data, f'{folder}/managed', {
            'owner': owner, 'command': [*prefix, minflt, 'run', '-q', f'--stats={stats}', *program.budget, '--']})
        print(f'{program.name}: native {native["seconds"]:.2f} s, under minflt {managed["seconds"]:.2f} s')
        good = same(native, managed)
        return 0 if statistics_good(stats, program) and good else 1
    finally:
        if keep:
            print(f'kept {folder}')
        else:
            shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--minflt')
    parser.add_argument('--unprivileged', action='store_true')
    parser.add_argument('--keep', action='store_true', help='keep the folder with data and results')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--native', action='store_true', help='run natively twice, to see that the program is fit for this table')
    parser.add_argument('name', nargs='?')
    args = parser.parse_args()
    table = {program.name: program for program in PROGRAMS}
    if args.list:
        print('\n'.join(table))
        return 0
    if args.name not in table:
        parser.error(f'unknown program {args.name!r}; --list shows the table')
    if args.native:
        return native_twice(table[args.name])
    if not args.minflt:
        parser.error('--minflt is missing')
    return test(table[args.name], os.path.abspath(args.minflt), args.unprivileged, args.keep)


def native_twice(program):
    with tempfile.TemporaryDirectory(prefix='minflt-programs-') as folder:
        data = f'{folder}/data'
        os.mkdir(data)
        if program.make:
            program.make(data)
        owner = {'owner': (os.geteuid(), os.getegid()), 'command': []}
        first, second = (one_run(program, data, f'{folder}/{n}', owner) for n in '12')
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        print(f'{program.name}: {first["seconds"]:.2f} s, at most {peak} MB resident, exit {first["status"]}, {first["stdout"][0]} bytes')
        if first['status'] != 0:
            print(first['stdout'][2], first['stderr'])
            return 1
        return 0 if same(first, second) else 1


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
