#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real programs under `minflt run`, with far less memory than they use, against a native run.

    run.py --minflt build/minflt sort [--unprivileged]        one program of table.py
    run.py --list

Exit 0: as natively, and the budget pressed; 1: different; 77: the program isn't installed, or userfaultfd can't be had here.
"""
import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
from harness import adopt_orphans, one_run, prefix_for, same, statistics, statistics_good, tool, user_ids  # noqa: E402
from table import PROGRAMS  # noqa: E402


def skip(why):
    print(f'skipped: {why}')
    return 77


def copy_of(minflt, folder):
    """The build folder may be one that another user can't enter."""
    os.mkdir(f'{folder}/bin')
    runtime = os.path.join(os.path.dirname(minflt), 'libminflt-run.so')
    copy, _ = (shutil.copy(path, f'{folder}/bin') for path in (minflt, runtime))
    return copy


def test(program, minflt, user, keep, options):
    runtime = os.path.join(os.path.dirname(minflt), 'libminflt-run.so')
    if not tool(program.needs):
        return skip(f'{program.needs} is not installed')
    for needed in (minflt, runtime):
        if not os.path.exists(needed):
            return skip(f'{needed} has not been built')
    owner = user_ids(user)
    if not owner:
        return skip(f'there is no user {user}')
    folder = tempfile.mkdtemp(prefix='minflt-programs-')
    os.chmod(folder, 0o755)
    try:
        prefix = prefix_for(user, folder)
        if prefix is None:
            return skip(f'no user {user} with /dev/userfaultfd can be had here')
        if user:
            minflt = copy_of(minflt, folder)
        data, stats = f'{folder}/data', f'{folder}/stats/stats.json'
        os.mkdir(data)
        os.mkdir(f'{folder}/stats')
        if os.geteuid() == 0:
            os.chown(f'{folder}/stats', *owner)
        if program.make:
            program.make(data, 1)
        native = one_run(program, data, f'{folder}/native', owner, prefix)
        managed = one_run(program, data, f'{folder}/managed', owner,
                          [*prefix, minflt, 'run', '-q', f'--stats={stats}', *program.budget, *options, '--'], expected=native['seen'])
        print(f'{program.name}: native {native["seconds"]:.2f} s, under minflt {managed["seconds"]:.2f} s')
        good = same(native, managed)
        if native['broken'] or native['lived on']:
            print(f'not fit for this table: broken {native["broken"]}, lived on {native["lived on"]}')
            good = False
        return 0 if statistics_good(statistics(stats), program.majors) and good else 1
    finally:
        if keep:
            print(f'kept {folder}')
        else:
            shutil.rmtree(folder)


def native_twice(program):
    with tempfile.TemporaryDirectory(prefix='minflt-programs-') as folder:
        data, owner = f'{folder}/data', user_ids(program.user)
        os.chmod(folder, 0o755)
        os.mkdir(data)
        if program.make:
            program.make(data, 1)
        prefix = prefix_for(program.user, folder)
        first, second = (one_run(program, data, f'{folder}/{n}', owner, prefix) for n in '12')
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
        print(f'{program.name}: {first["seconds"]:.2f} s, at most {peak} MB resident, exit {first["status"]}, {first["stdout"][0]} bytes')
        if first['status'] != 0 or first['broken'] or first['lived on']:
            print(first)
            return 1
        return 0 if same(first, second) else 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--minflt')
    parser.add_argument('--unprivileged', action='store_true', help='as the user nobody')
    parser.add_argument('--keep', action='store_true', help='keep the folder with data and results')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--native', action='store_true', help='run natively twice, to see that the program is fit for this table')
    parser.add_argument('--option', action='append', default=[], help='a further option of minflt run')
    parser.add_argument('name', nargs='?')
    args = parser.parse_args()
    table = {program.name: program for program in PROGRAMS}
    if args.list:
        print('\n'.join(table))
        return 0
    if args.name not in table:
        parser.error(f'unknown program {args.name!r}; --list shows the table')
    adopt_orphans()
    program = table[args.name]
    if args.native:
        return native_twice(program)
    if not args.minflt:
        parser.error('--minflt is missing')
    return test(program, os.path.abspath(args.minflt), 'nobody' if args.unprivileged else program.user, args.keep, args.option)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
