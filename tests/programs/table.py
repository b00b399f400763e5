# SPDX-License-Identifier: MIT
"""The programs: a line each. Standard output, exit status, the files left behind and what was seen meanwhile must be as in a native run."""
import dataclasses
import subprocess

import data
import servers
from harness import tool


@dataclasses.dataclass
class Program:
    name: str
    needs: str                  # the program that must be installed
    command: list               # {data} is the folder of what `make` made, {cwd} the run's own; callables are called with the former
    make: object = None         # makes the data, once: (data, size)
    budget: tuple = ('--resident', '16M', '--pool', '512M')
    soak: tuple = (8, 64)       # MiB of uncompressed pages, least and most, for random budgets
    prepare: object = None      # prepares the folder of one run: (data, cwd)
    files: bool = True          # compare the files left behind
    after: list = None          # a native command whose output is compared instead of the files
    drive: object = None        # talks to the running program: (Live) -> what it saw
    after_kill: object = None   # what must still be true when one of the program's children was killed: (Live)
    user: str = None            # whom it runs as if the driver is root
    majors: int = 500           # the run counts only with so many major faults
    timeout: float = 120
    linger: float = 2           # seconds that its children may live on


def cc1(_):
    return subprocess.run(['gcc', '-print-prog-name=cc1'], capture_output=True, text=True, check=True).stdout.strip()


def postgres(name):
    return lambda _: tool(name)


TAR = 'tar --sort=name --mtime=@0 --owner=0 --group=0 -C {data} -cf - tree'

POSTGRES_OPTIONS = ['-D', 'cluster', '-c', 'listen_addresses=', '-c', 'unix_socket_directories={cwd}', '-c', 'fsync=off',
                    '-c', 'shared_buffers=16MB', '-c', 'jit=off', '-c', 'max_parallel_workers_per_gather=0',
                    '-c', 'dynamic_shared_memory_type=mmap', '-c', 'logging_collector=off']

PROGRAMS = [
    Program('sort', 'sort', ['sort', '-S', '300M', '--parallel=1', '{data}/lines.txt'], data.make_sort,
            soak=(4, 24)),
    Program('sort-threads', 'sort', ['sort', '-S', '300M', '--parallel=4', '{data}/lines.txt'], data.make_sort,
            budget=('--memory', '40M'),
            soak=(6, 40)),
    Program('python3', '/usr/bin/python3', ['/usr/bin/python3', '{data}/script.py'], data.make_python,
            budget=('--memory', '40M'),
            soak=(16, 60)),
    Program('sqlite3', 'sqlite3', ['sqlite3', ':memory:', '.read {data}/script.sql'], data.make_sqlite,
            budget=('--memory', '26M'),
            soak=(4, 24)),
    Program('node', 'node', ['node', '{data}/script.js'], data.make_node, budget=('--resident', '24M', '--pool', '512M'), soak=(20, 80)),
    Program('cc1', 'gcc', [cc1, '-O2', '-quiet', '{data}/generated.c', '-o', 'out.s'], data.make_c,
            soak=(8, 40)),
    Program('gcc', 'gcc', ['gcc', '-O1', '-c', '{data}/generated.c', '-o', 'out.o'], data.make_c,
            budget=('--memory', '24M'),
            soak=(16, 48)),
    Program('xz', 'xz', ['xz', '-9', '-T1', '-c', '{data}/lines.txt'], data.make_xz, budget=('--resident', '24M', '--pool', '512M'),
            soak=(24, 40)),
    Program('perl', 'perl', ['perl', '{data}/script.pl'], data.make_perl,
            budget=('--resident', '32M', '--pool', '512M'), soak=(24, 50)),
    Program('bash', 'bash', ['bash', '{data}/script.sh'], data.make_bash, budget=('--resident', '4M', '--pool', '256M'), soak=(2, 6)),
    Program('bash-forks', 'bash', ['bash', '{data}/script.sh'], data.make_forks, budget=('--resident', '1M', '--pool', '256M'), majors=5000,
            soak=(1, 4)),
    Program('awk', 'awk', ['awk', '{ n[$2]++; s[$1] = $0 } END { for (k in n) t += n[k]; for (k in s) u += length(s[k]); '
                           'print t, u, length(n), length(s) }', '{data}/lines.txt'], data.make_awk, soak=(16, 26)),
    Program('git-pack', 'git', ['git', '-C', 'repo', 'pack-objects', '--all', '--threads=1', '--no-reuse-delta', '--stdout', '-q'],
            data.make_git, prepare=data.git_copy, files=False, budget=('--resident', '3M', '--pool', '256M'), soak=(3, 8)),
    Program('git-gc', 'git', ['git', '-C', 'repo', 'gc', '-q', '--prune=now'], data.make_git, prepare=data.git_copy, files=False,
            after=['git', '-C', 'repo', 'fsck', '--full', '--no-dangling'], budget=('--memory', '24M'), soak=(16, 40)),
    Program('redis', 'redis-check-rdb',
            ['{data}/redis-server', *servers.REDIS_OPTIONS, '--unixsocket', 'redis.sock', '--logfile', 'redis.log'], data.make_redis,
            files=False, drive=servers.redis, after_kill=servers.after_kill_redis, soak=(6, 24), linger=20),
    Program('stress-ng', 'stress-ng', ['stress-ng', '-q', '--temp-path', '.', '--vm', '1', '--vm-bytes', '32M', '--vm-method', 'all',
                                       '--verify', '--vm-ops', '200', '-t', '60'], budget=('--resident', '8M', '--pool', '256M'), majors=500,
            soak=(4, 24)),
    Program('initdb', 'initdb', [postgres('initdb'), *data.INITDB, 'cluster'], user='postgres', files=False, majors=3000,
            budget=('--resident', '2M', '--pool', '256M'), soak=(2, 8),
            after=['sh', '-c', 'ls cluster; find cluster/base -type f | wc -l; cat cluster/PG_VERSION']),
    Program('pgbench', 'pgbench', [postgres('postgres'), *POSTGRES_OPTIONS], data.make_postgres, user='postgres', files=False,
            prepare=data.postgres_copy, drive=servers.pgbench, after_kill=servers.after_kill_pgbench, majors=5000,
            budget=('--resident', '16M', '--pool', '256M'), soak=(2, 16), linger=20),
    # In soaks only: several programs at once, at work for long.
    Program('tar-xz', 'xz', ['sh', '-c', f'{TAR} | xz -T2 -4 --block-size=2MiB | tee out.xz | cksum; xz -T2 -dc out.xz | tar tf - | cksum'], data.make_tree,
            soak=(16, 80), linger=10),
    Program('git-work', 'git', ['sh', '{data}/script.sh'], data.make_git_branches, prepare=data.git_copy, files=False,
            budget=('--resident', '8M', '--pool', '512M'), soak=(6, 60), linger=10),
]
