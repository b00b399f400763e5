#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The programs of table.py again and again: random budgets, methods of compression and options, and random kills.

    soak.py --minflt build/minflt --minutes 30 [--seed N] [--record FILE]     as `make soak` does
    soak.py --minflt build/minflt --seed N --first I --runs 1 --only P        run I of that seed again
    soak.py --report FILE                                                     a record as Markdown

Each run is decided by seed, number and program. After it, either everything is as in a native run, or something was killed, and then:
nobody lives on, nothing lies about, the statistics are whole, and a server whose child was killed still has what it had. One line
of JSON a run goes to the record. Exit 0: everything was survived, 1: something was not.
"""
import argparse
import collections
import glob
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import harness  # noqa: E402
from run import copy_of  # noqa: E402
from table import PROGRAMS  # noqa: E402

MIB = 1 << 20
CODECS = ['lz4', 'lz4', 'lz4', 'zstd', 'zstd:1', 'zstd:6', 'none']
KILLS = ['nobody'] * 10 + ['program'] * 3 + ['child'] * 4 + ['minflt'] * 3
LINGER = 20  # seconds that children of a killed program may need to come to their end
BEFORE_DUTY = 'the runtime did not report for duty: the program died of signal 9'
KILLED_EARLY = re.compile(r'minflt: ran without minflt: [^,(]+ \(its runtime did not report for duty\)')  # one child, killed between exec and runtime
FULL = 'the compressed pool is full', 'together have all of --memory in use'  # a program or one of its processes was ended, as it has to be
THRASHING = 200  # major faults a second of a run out of time: it was slow, and it was not hung


def plan(seed, number, programs):
    program = random.Random(f'{seed}:{number}:program').choice(programs)
    rng = random.Random(f'{seed}:{number}:{program.name}')  # so that the rest is the same with --only
    size = rng.choice((1, 1, 2))
    least, most = (bound * MIB * size for bound in program.soak)
    resident = int(least * (most / least) ** rng.random())
    codec = rng.choice(CODECS)
    options = ['--compress', codec]
    form = rng.random()
    if form < 0.3 and codec != 'none':
        options += ['--memory', str(max(4 * MIB, int(most * rng.uniform(0.7, 1.5))))]
    elif form < 0.45:
        options += ['--resident', str(resident), '--pool', str(max(MIB, int(resident * rng.random()))), '--swap', '{stats}/swap:2G']
    elif form < 0.6:
        options += ['--memory', str(max(4 * MIB, resident)), '--swap', '{stats}/swap:2G']
    else:
        options += ['--resident', str(resident), '--pool', '2G']
    if '--swap' in options and rng.random() < 0.3:
        options.append('--swap-plain')
    if rng.random() < 0.4:
        options.append('--no-move')
    if rng.random() < 0.2:
        options += ['--around', rng.choice('1 2 16'.split())]
    if rng.random() < 0.15:
        options += ['--check-every', '5000']
    kill = rng.choice(KILLS)
    return {'seed': seed, 'run': number, 'program': program.name, 'size': size, 'options': options, 'kill': kill,
            'kill at': round(rng.random(), 3) if kill != 'nobody' else None, 'choice': rng.random()}


# ---- kills ----

def victims(live, kill):
    """Of these one is killed; the program is minflt's child."""
    if kill == 'minflt':
        return [(live.process.pid, 'minflt')]
    program = [child for child in harness.children(live.process.pid)][:1]
    return program if kill == 'program' else [child for pid, _ in program for child in harness.descendants(pid)]


def killer(what, native_seconds):
    """'kill at' is in native run times. A child that isn't there yet is waited for."""
    def at_its_time(live):
        end = time.monotonic() + what['kill at'] * native_seconds
        while time.monotonic() < end and not live.ended():
            time.sleep(0.002)
        while not live.ended() and live.killed is None:
            found = victims(live, what['kill'])
            if found:
                pid, name = found[int(what['choice'] * len(found))]
                try:
                    os.kill(pid, signal.SIGKILL)
                    live.killed = name
                except ProcessLookupError:
                    pass
            time.sleep(0.002)
    return at_its_time


# ---- one run ----

class Soak:
    def __init__(self, minflt, folder):
        self.folder = folder
        self.private = bool(os.environ.get('SOAK_PRIVATE'))  # /dev/shm is nobody else's
        self.minflt = copy_of(minflt, folder)  # a build meanwhile must not pull it away
        self.known = {}  # (program, size) -> data, native result

    def native(self, program, size):
        if (program.name, size) not in self.known:
            data = f'{self.folder}/{program.name}-{size}'
            os.mkdir(data)
            os.chmod(data, 0o755)
            if program.make:
                program.make(data, size)
            prefix = self.prefix(program)
            result = harness.one_run(program, data, f'{data}.native', harness.user_ids(program.user), prefix)
            shutil.rmtree(f'{data}.native')
            self.known[program.name, size] = data, result
        return self.known[program.name, size]

    def prefix(self, program):
        shutil.rmtree(f'{self.folder}/cover', ignore_errors=True)
        return harness.prefix_for(program.user, self.folder)

    def one(self, program, what):
        data, native = self.native(program, what['size'])
        owner, cwd, stats = harness.user_ids(program.user), f'{self.folder}/run', f'{self.folder}/stats'
        os.mkdir(stats)
        harness.give(stats, owner)
        try:
            result = harness.one_run(
                program, data, cwd, owner,
                [*self.prefix(program), self.minflt, 'run', '-q', f'--stats={stats}/s',
                 *(option.replace('{stats}', stats) for option in what['options']), '--'],
                killer=killer(what, native['seconds']) if what['kill'] != 'nobody' else None, expected=native['seen'],
                linger=LINGER if what['kill'] != 'nobody' else None, survivor=what['kill'] == 'child')
            figures = harness.statistics(f'{stats}/s', quiet=True)
            bad = self.judge(native, result, figures, what['kill'])
            # A swap file stays when minflt was killed.
            may_be = ('s', 'swap') if result['killed'] and what['kill'] == 'minflt' else ('s',)
            bad += [f'left behind: {name}' for name in sorted(os.listdir(stats)) if name not in may_be]
            bad += [f'left behind: {name}' for name in self.shared_memory(result['killed'] or self.outcome(result, figures) == 'full')]
        finally:
            for name in (cwd, f'{cwd}.tmp', stats):
                shutil.rmtree(name, ignore_errors=True)
        return {**what, 'killed': result['killed'], 'status': result['status'], 'seconds': round(result['seconds'], 2),
                'native seconds': round(native['seconds'], 2), 'major faults': figures and figures['faults']['major'],
                'mode': figures and figures['runtime']['mode'], 'outcome': self.outcome(result, figures), 'bad': bad,
                'stderr': result['stderr'][-3000:] if bad else ''}

    def shared_memory(self, killed):
        """=> what lies in /dev/shm; it is removed. Processes of PostgreSQL that are killed leave theirs natively, too."""
        found = glob.glob('/dev/shm/*') if self.private else []
        for name in found:
            os.remove(name)
        return [name for name in found if not (killed and 'PostgreSQL' in name)]

    @staticmethod
    def outcome(result, figures):
        if result['status'] == 'timeout':
            # Who is ended for want of memory has waited two seconds for it, and a shell goes on with the next one.
            starved = any(full in result['stderr'] for full in FULL)
            return 'slow' if starved or figures and figures['faults']['major'] > THRASHING * result['seconds'] else 'hung'
        if any(full in result['stderr'] for full in FULL):
            return 'full'
        return f'{result["killed"]} killed' if result['killed'] else 'as natively'

    def judge(self, native, result, figures, kill):
        """=> what is wrong, in words"""
        outcome, killed = self.outcome(result, figures), result['killed'] and kill
        if killed == 'program' and result['status'] == 125 and BEFORE_DUTY in result['stderr']:
            return []
        bad = []
        if result['lived on']:
            bad.append(f'lived on: {result["lived on"]}')
        if outcome == 'hung':
            bad.append('hung')
        if outcome == 'as natively':
            bad += harness.differences(native, result)
        if killed == 'minflt' and result['status'] != -signal.SIGKILL:
            bad.append(f'minflt was killed and has status {result["status"]}')
        if killed != 'minflt':
            bad += ['no statistics'] if not figures else []
            bad += [f'{figures["swap"]["damaged_pages"]} damaged pages'] if figures and figures['swap']['damaged_pages'] else []
        if result['unrecovered']:
            bad.append(f'not right after the kill: {result["unrecovered"]}')
        lines = [line for line in result['stderr'].split('\n') if 'minflt:' in line and not expected_line(line)]
        return bad + [line for line in lines if killed != 'child' or not KILLED_EARLY.fullmatch(line)]


def expected_line(line):
    return any(full in line for full in FULL) or 'has executed another program' in line


# ---- the record ----

def report(path, out):
    with open(path) as f:
        runs = [json.loads(line) for line in f]
    seconds, bad = sum(run['seconds'] for run in runs), [run for run in runs if run['bad']]
    seeds = sorted({run['seed'] for run in runs})
    out.write(f'# Soak\n\n{len(runs)} runs of seed {", ".join(map(str, seeds))}, {seconds / 60:.0f} minutes under minflt, '
              f'{sum(run["major faults"] or 0 for run in runs) / 1e6:.1f} million major faults, Linux {os.uname().release}. '
              f'{"Everything was survived." if not bad else f"{len(bad)} runs were not survived."}\n\n')
    columns = ['program', 'runs', 'as natively', 'program killed', 'child killed', 'minflt killed', 'full', 'slow', 'bad', 'major faults',
               'time, native 1']
    out.write(f'| {" | ".join(columns)} |\n{"|---" * len(columns)}|\n')
    groups = collections.defaultdict(list)
    for run in runs:
        groups[run['program']].append(run)
    for name, group in sorted(groups.items()):
        whole = [run['seconds'] / max(run['native seconds'], 0.05) for run in group if run['outcome'] == 'as natively']
        count = lambda test: sum(map(test, group))  # noqa: E731
        kill = lambda kind: count(lambda run: bool(run['killed']) and run['kill'] == kind)  # noqa: E731
        out.write(f'| {name} | {len(group)} | {count(lambda run: run["outcome"] == "as natively")} | {kill("program")} | {kill("child")} | '
                  f'{kill("minflt")} | {count(lambda run: run["outcome"] == "full")} | {count(lambda run: run["outcome"] == "slow")} | '
                  f'{count(lambda run: bool(run["bad"]))} | {sum(run["major faults"] or 0 for run in group)} | '
                  f'{f"{min(whole):.1f} to {max(whole):.1f}" if whole else "-"} |\n')
    out.write('\nThe columns after the runs say how they ended; full: the pool had no room any more and the program was ended as it '
              'should be; slow: out of time, with faults going on to the end. A kill that came too late is no kill.\n')
    for run in bad:
        out.write(f'\n- `--seed {run["seed"]} --first {run["run"]} --runs 1 --only {run["program"]}`: '
                  f'{" ".join(run["options"])}, kill {run["kill"]}: {"; ".join(run["bad"])[:500]}\n')


def say(done):
    print(f'{done["run"]:4} {done["program"]:12} x{done["size"]} {" ".join(done["options"]):60} kill {done["kill"]:8} '
          f'-> {done["outcome"]}, status {done["status"]}, {done["seconds"]:.1f} s (natively {done["native seconds"]:.1f}), '
          f'{done["major faults"]} major faults', flush=True)
    for text in done['bad']:
        print(f'     BAD: {text[:1500]}', flush=True)
    if done['bad']:
        print(f'     {done["stderr"]}', flush=True)


def soak(args, seed):
    programs = [program for program in PROGRAMS if harness.tool(program.needs) and harness.user_ids(program.user) and
                (not args.only or program.name in args.only)]
    folder = tempfile.mkdtemp(prefix='minflt-programs-')
    os.chmod(folder, 0o755)
    good, number, end = True, args.first, time.monotonic() + 60 * args.minutes + 3600 * args.hours
    try:
        state = Soak(os.path.abspath(args.minflt), folder)
        programs = [program for program in programs if state.prefix(program) is not None]
        while number < args.first + args.runs if args.runs else time.monotonic() < end:
            what = plan(seed, number, programs)
            done = state.one(next(program for program in programs if program.name == what['program']), what)
            say(done)
            good = good and not done['bad']
            if args.record:
                with open(args.record, 'a') as f:
                    f.write(json.dumps(done) + '\n')
            number += 1
    finally:
        shutil.rmtree(folder)
    return good


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--minflt')
    parser.add_argument('--minutes', type=float, default=0)
    parser.add_argument('--hours', type=float, default=0)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--runs', type=int, default=0, help='so many, instead of minutes')
    parser.add_argument('--only', action='append', default=[], help='this program (may be repeated)')
    parser.add_argument('--record', help='append a line of JSON for each run')
    parser.add_argument('--report', metavar='RECORD', help='print a record as Markdown')
    args = parser.parse_args()
    if args.report:
        report(args.report, sys.stdout)
        return 0
    if not args.minflt:
        parser.error('--minflt is missing')
    if os.geteuid() == 0 and 'SOAK_PRIVATE' not in os.environ:
        if shutil.which('unshare'):
            os.environ['SOAK_PRIVATE'] = '1'
            os.execvp('unshare', ['unshare', '-m', '--propagation', 'private', 'sh', '-c',
                                  'mount -t tmpfs none /dev/shm && exec "$@"', 'sh', sys.executable, *sys.argv])
    seed = args.seed if args.seed is not None else random.randrange(1 << 31)
    print(f'seed {seed}', flush=True)
    harness.adopt_orphans()
    return 0 if soak(args, seed) else 1


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
