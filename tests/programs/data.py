# SPDX-License-Identifier: MIT
"""What the programs work on: made from fixed seeds, so that a failure can be looked at again. `size` is 1 in `make check`, more in soaks."""
import os
import random
import shutil
import subprocess

from harness import environment, give, tool, user_ids

WORDS = ('page fault frame swap cache dirty young table entry map reclaim anon file write read share copy slot pool zero '
         'budget evict cluster handler thread child parent lock batch move').split()


def text_lines(path, count, seed):
    rng = random.Random(seed)
    with open(path, 'w') as f:
        for _ in range(count):
            f.write(f'{rng.randrange(1 << 40):x} {" ".join(rng.choices(WORDS, k=3))}\n')


INITDB = ['-A', 'trust', '-U', 'postgres', '-k', '-N', '--locale=C', '-E', 'UTF8', '-D']


def write_script(path, text, **numbers):
    for name, value in numbers.items():
        text = text.replace(name, str(value))
    with open(path, 'w') as f:
        f.write(text)


def make_sort(data, size):
    text_lines(f'{data}/lines.txt', 500_000 * size, 1)


def make_xz(data, size):
    text_lines(f'{data}/lines.txt', 100_000 * size, 2)


def make_sqlite(data, size):
    write_script(f'{data}/script.sql', '''
PRAGMA cache_size = -200000;
CREATE TABLE item(id INTEGER PRIMARY KEY, key TEXT, value INTEGER, body TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ROWS)
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
''', ROWS=120_000 * size)


def make_c(data, size):
    rng = random.Random(3)
    with open(f'{data}/generated.c', 'w') as f:
        f.write('struct s { int a[8]; struct s *next; };\n')
        for i in range(220 * size):
            f.write(f'int f{i}(struct s *p, int n)\n{{\n\tint sum = {i};\n\tfor (int i = 0; i < n; i++) {{\n')
            for _ in range(12):
                f.write(f'\t\tsum {rng.choice(["+=", "^=", "-="])} p->a[(i + {rng.randrange(8)}) & 7] * {rng.randrange(99)};\n')
            f.write(f'\t\tif (sum & {1 << rng.randrange(8)})\n\t\t\tp = p->next;\n\t}}\n')
            f.write(f'\treturn sum{f" + f{rng.randrange(i)}(p, n - 1)" if i else ""};\n}}\n')


def make_python(data, size):
    write_script(f'{data}/script.py', '''
import collections, hashlib, json, random, subprocess, sys, zlib
rng = random.Random(4)
table = {i: ("key %d" % (i * 7919 % 1000003), i * i, [i] * 3) for i in range(ENTRIES)}
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
''', ENTRIES=120_000 * size)


def make_perl(data, size):
    write_script(f'{data}/script.pl', '''
use strict; use warnings;
my (%h, @a);
my $x = 12345;
for my $i (1 .. ENTRIES) {
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
''', ENTRIES=150_000 * size)


def make_bash(data, size):
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


def make_awk(data, size):
    text_lines(f'{data}/lines.txt', 200_000 * size, 5)


def make_git(data, size):
    run = lambda *args: subprocess.run(['git', '-C', f'{data}/repo', *args], check=True, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env=environment())
    os.mkdir(f'{data}/repo')
    run('init', '-q')
    run('config', 'gc.auto', '0')
    rng = random.Random(6)
    lines = [f'{i} {" ".join(rng.choices(WORDS, k=8))}' for i in range(6000)]
    for commit in range(40 * size):
        for _ in range(60):
            lines[rng.randrange(len(lines))] = f'{commit} {" ".join(rng.choices(WORDS, k=8))}'
        for name in range(4):
            with open(f'{data}/repo/file{name}', 'w') as f:
                f.write('\n'.join(lines[name * 100:]))
        run('add', '.')
        run('commit', '-q', '-m', f'commit {commit}')


def make_tree(data, size):
    """A folder of files, a third of which hardly compress."""
    rng = random.Random(8)
    for folder in range(6):
        os.makedirs(f'{data}/tree/{folder}')
        for name in range(20):
            with open(f'{data}/tree/{folder}/{name}', 'wb') as f:
                f.write(rng.randbytes(30_000 * size) if name % 3 == 0 else ' '.join(rng.choices(WORDS, k=10_000 * size)).encode())


def make_git_branches(data, size):
    """With a branch that can be rebased, and a script of a day's work."""
    make_git(data, size)
    run = lambda *args: subprocess.run(['git', '-C', f'{data}/repo', *args], check=True, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL, env=environment())
    run('checkout', '-q', '-b', 'side', 'HEAD~10')
    for commit in range(6):
        with open(f'{data}/repo/side{commit}', 'w') as f:
            f.write('\n'.join(f'{commit} {line}' for line in range(3000)))
        run('add', '.')
        run('commit', '-q', '-m', f'side {commit}')
    run('checkout', '-q', '-')
    write_script(f'{data}/script.sh', '''
set -e
main=$(git -C repo symbolic-ref --short HEAD)
git clone -q --no-local repo copy
cd copy
git log -p --all | cksum
git blame file0 | cksum
git checkout -q side
git rebase -q origin/"$main"
git log --format=%H | cksum
git diff HEAD~9 | cksum
git fsck --full
git worktree add -q ../tree HEAD~3
cat ../tree/* | cksum
git -c pack.threads=2 repack -qadf
git fsck --full
git count-objects -v | grep -e ^in-pack -e ^packs -e ^garbage
''')


def git_copy(data, cwd):
    shutil.copytree(f'{data}/repo', f'{cwd}/repo')


def cc1(data):
    return subprocess.run(['gcc', '-print-prog-name=cc1'], capture_output=True, text=True, check=True).stdout.strip()




def make_node(data, size):
    write_script(f'{data}/script.js', '''
const crypto = require('crypto'), zlib = require('zlib');
const hash = x => crypto.createHash('sha256').update(x).digest('hex');
let rows = [];
for (let i = 0; i < ENTRIES; i++)
	rows.push({ key: 'key' + (i * 7919 % 1000003), value: [i, i * 2] });
rows.sort((x, y) => x.key < y.key ? -1 : x.key > y.key ? 1 : 0);
console.log(rows.length, hash(JSON.stringify(rows)));
const map = new Map(rows.map(x => [x.key, x]));
let sum = 0;
for (const [, x] of map)
	sum += x.value[0];
console.log(sum);
const big = Buffer.alloc(24 << 20);
for (let i = 0; i < big.length; i += 4096)
	big.writeUInt32LE(i, i);
console.log(hash(big));
zlib.deflate(big, (e, packed) => zlib.inflate(packed, (e, again) => console.log(packed.length, hash(again))));
''', ENTRIES=150_000 * size)


def make_forks(data, size):
    write_script(f'{data}/script.sh', '''
declare -a a
pad='which is long enough that a few of them fill a page, and more of them many pages'
for ((i = 0; i < 30000; i++)); do a[i]="element $((i * 7919 % 100003)) of the array, $pad"; done
sum=0
for ((i = 0; i < FORKS; i++)); do
    got=$(echo "${a[i * 12377 % 30000]}"; exit $((i % 7))); status=$?
    sum=$((sum + ${#got} + status))
done
echo "$sum"
for ((i = 0; i < FORKS / 20; i++)); do (exit 3) & done
wait
(set +e; for ((i = 0; i < FORKS / 20; i++)); do echo "$i" | { read -r x; (echo "$x ${a[x]}"); }; done) | cksum
''', FORKS=1200 * size)


def make_redis(data, size):
    # One program, which goes by its name: the server's package, which would start a server, is not needed.
    os.symlink('/usr/bin/redis-check-rdb', f'{data}/redis-server')
    rng = random.Random(7)
    with open(f'{data}/commands', 'w') as f:
        for i in range(60_000 * size):
            f.write(f'SET plain:{i} "{i} {" ".join(rng.choices(WORDS, k=20))}"\n')
        for i in range(2000 * size):
            f.write(f'RPUSH list:{i} {" ".join(rng.choices(WORDS, k=100))}\n')
            f.write(f'HSET hash:{i} {" ".join(f"{word}{n} {i * n}" for n, word in enumerate(WORDS))}\n')
            f.write(f'ZADD sorted:{i} {" ".join(f"{rng.randrange(1000)} {word}" for word in WORDS)}\n')
            f.write(f'SADD set:{i} {" ".join(str(rng.randrange(1 << 30)) for _ in range(30))}\n')


def make_postgres(data, size):
    """A cluster made natively; every run works on a copy."""
    owner = user_ids('postgres')
    os.mkdir(f'{data}/cluster')
    give(f'{data}/cluster', owner)
    become = ['setpriv', f'--reuid={owner[0]}', f'--regid={owner[1]}', '--clear-groups', '--'] if os.geteuid() == 0 else []
    subprocess.run([*become, tool('initdb'), *INITDB, f'{data}/cluster'], check=True, cwd='/', stdout=subprocess.DEVNULL, env=environment())
    write_script(f'{data}/queries.sql', '''
SET work_mem = '256MB';
SELECT count(*), md5(string_agg(x, ',' ORDER BY x)) FROM (SELECT md5(i::text) x FROM generate_series(1, ROWS) i) s;
SELECT count(*), sum(n), max(m) FROM (SELECT md5((i % (ROWS / 2))::text) x, count(*) n, max(md5(i::text)) m
  FROM generate_series(1, ROWS) i GROUP BY 1) s;
SELECT count(*) FROM (SELECT md5(i::text) x FROM generate_series(1, ROWS) i) a
  JOIN (SELECT md5((i * 3)::text) x FROM generate_series(1, ROWS) i) b USING (x);
''', ROWS=100_000 * size)


def postgres_copy(data, cwd):
    shutil.copytree(f'{data}/cluster', f'{cwd}/cluster', symlinks=True)
