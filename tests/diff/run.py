#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run one test program natively and under `minflt run`, and compare what it prints and how it ends.

    run.py --minflt build/minflt --mode small build/tests/diff/t_mremap [ARGUMENT...]

Mode `native` runs it a few times without minflt instead, on all CPUs and on one: its output must not differ from run to run,
or a difference under minflt would say nothing. Exit 0: same, 1: different, 77: minflt has not been built or can't run here.
"""
import argparse
import difflib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

# Of those that hold more at one time than the others, or in several processes.
MEMORY = {'t_fork': '32M', 't_fork_crowd': '20M', 't_mlockall': '32M', 't_malloc': '48M', 't_bss': '24M'}
ROOMY_POOL = ['--pool', '512M']
# name: options of `minflt run`, and what its statistics have to show, or the run has tested nothing
MODES = {
    'small': (['--resident', '4M'] + ROOMY_POOL, {}),
    'memory': (['--memory', '9M'], {}),
    'no-move': (['--no-move', '--resident', '4M'] + ROOMY_POOL, {'mode': 'copy'}),
    'old-kernel': (['--no-pin-check', '--resident', '4M'] + ROOMY_POOL, {'mode': 'copy'}),
    'none': (['--compress', 'none', '--resident', '4M'] + ROOMY_POOL, {}),
    'zstd': (['--compress', 'zstd', '--resident', '4M'] + ROOMY_POOL, {}),
    'checked': (['--check-every', '500', '--resident', '4M'] + ROOMY_POOL, {'checks': 1}),
    'one-by-one': (['--around', '1', '--resident', '4M'] + ROOMY_POOL, {}),
    'one-cpu': (['--resident', '4M'] + ROOMY_POOL, {}),
    'swap-file': (['--compress', 'none', '--resident', '4M', '--pool', '1M', '--swap', '{folder}/swap:512M'], {'file': 1}),
}


def environment():
    env = {k: v for k, v in os.environ.items() if not k.startswith(('LD_', 'MINFLT_', 'MALLOC_'))}
    env.setdefault('MF_PRESSURE_MB', '12')
    env['LC_ALL'] = 'C'
    return env


def run(command, timeout, cpu=None):
    """(exit status or -signal or 'timeout', stdout, stderr); everything the command started is gone afterwards."""
    def before():
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # some tests die of their own SIGSEGV
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, tempfile.TemporaryDirectory() as cwd:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd,
                                   env=environment(), start_new_session=True, preexec_fn=before)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            status = 'timeout'
        finally:  # also when this script itself is ended
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        out.seek(0)
        err.seek(0)
        return status, out.read().decode('latin-1'), err.read().decode('latin-1')


def show_difference(want, got, names):
    lines = list(difflib.unified_diff(want.splitlines(), got.splitlines(), *names, lineterm='', n=2))
    for line in lines[:60]:
        print(line)
    if len(lines) > 60:
        print(f'... {len(lines) - 60} more lines')


def compare(command, want, got, names):
    """Both are results of run(). True when they agree."""
    same = want[0] == got[0] and want[1] == got[1]
    if not same:
        print(f'command: {" ".join(command)}')
        print(f'exit status: {names[0]} {want[0]}, {names[1]} {got[0]}')
        show_difference(want[1], got[1], names)
        for name, result in zip(names, (want, got)):
            if result[2]:
                print(f'standard error of {name}:\n{result[2][-3000:]}')
    return same


def native_runs(program, timeout):
    first = run(program, timeout)
    if first[0] != 0:
        print(f'{program[0]} fails natively: {first[0]}\n{first[1][-3000:]}{first[2][-1000:]}')
        return 1
    cpus = sorted(os.sched_getaffinity(0))
    for cpu in (None, cpus[0], cpus[-1]):
        again = run(program, timeout, cpu)
        if not compare(program, first, again, ('native', f'native on CPU {"any" if cpu is None else cpu}')):
            return 1
    return 0


def check_statistics(path, wanted):
    """The run must have gone through the engine and evicted: else it would be another native one."""
    try:
        with open(path) as f:
            stats = json.load(f)
    except (OSError, ValueError) as e:
        print(f'no statistics: {e}')
        return False
    faults = []
    if stats['swap']['evicted_pages'] == 0 and stats['swap']['swapped_out_pages'] == 0:
        faults.append('nothing was evicted')
    if stats['swap']['damaged_pages']:
        faults.append(f'{stats["swap"]["damaged_pages"]} damaged pages')
    if 'mode' in wanted and stats['runtime']['mode'] != wanted['mode']:
        faults.append(f'mode {stats["runtime"]["mode"]}, not {wanted["mode"]}')
    if stats['swap_file']['to_file_pages'] < wanted.get('file', 0):
        faults.append('nothing went to the file')
    if stats['runtime']['invariant_checks'] < wanted.get('checks', 0):
        faults.append('no invariants were checked')
    for fault in faults:
        print(f'statistics: {fault}')
    return not faults


def of_one_program(*tools):
    """What the drivers with a mind of their own are given: => (command, program, options of the mode). Ends with 77 where a tool or the runtime is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--minflt', required=True)
    parser.add_argument('--mode', required=True, choices=list(MODES))
    parser.add_argument('program')
    args = parser.parse_args()
    minflt = os.path.abspath(args.minflt)
    for missing in [tool for tool in tools if not shutil.which(tool)]:
        print(f'skipped: no {missing}')
        sys.exit(77)
    if not os.path.exists(os.path.join(os.path.dirname(minflt), 'libminflt-run.so')):
        print('skipped: not built')
        sys.exit(77)
    return minflt, os.path.abspath(args.program), MODES[args.mode][0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--minflt', required=True)
    parser.add_argument('--mode', required=True, choices=['native', *MODES])
    parser.add_argument('--timeout', type=float, default=120)
    parser.add_argument('program', nargs=argparse.REMAINDER)
    args = parser.parse_args()
    program = [os.path.abspath(args.program[0]), *args.program[1:]]
    minflt = os.path.abspath(args.minflt)

    if args.mode == 'native':
        return native_runs(program, args.timeout)
    # The command finds its runtime beside itself.
    for needed in (minflt, os.path.join(os.path.dirname(minflt), 'libminflt-run.so')):
        if not os.path.exists(needed):
            print(f'skipped: {needed} has not been built')
            return 77
    options, wanted = MODES[args.mode]
    if args.mode == 'memory':
        options = ['--memory', MEMORY.get(os.path.basename(args.program[0]), options[1])]
    native = run(program, args.timeout)
    with tempfile.TemporaryDirectory() as folder:
        stats = os.path.join(folder, 'stats.json')
        cpu = min(os.sched_getaffinity(0)) if args.mode == 'one-cpu' else None
        options = [option.format(folder=folder) for option in options]
        command = [minflt, 'run', '-q', f'--stats={stats}', *options, '--', *program]
        start = time.monotonic()
        managed = run(command, args.timeout, cpu)
        print(f'{time.monotonic() - start:.2f} s under minflt')
        ok = compare(command, native, managed, ('native', 'minflt'))
        return 0 if check_statistics(stats, wanted) and ok else 1


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
