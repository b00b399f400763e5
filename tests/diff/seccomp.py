#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Record by strace the system calls that t_seccomp makes natively, let it put itself under a filter that allows just those, and compare
native and managed runs.

    seccomp.py --minflt build/minflt --mode small build/tests/diff/t_seccomp

Exit 0: same, 1: different, 77: no strace, or it can't trace here.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile

import run as diff

HOWS = ['filter', 'tsync', 'prctl', 'late', 'violate', 'strict', 'nofile', 'fsize', 'even', 'odd']
LONG = [str(n) for n in range(600, 660)]  # calls that nobody makes, for a filter that is longer than what it gets in front


def recorded(program):
    """The numbers of the calls that threads and children make from the installation of the filter on."""
    numbers = set()
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, 'log')
        done = subprocess.run(['strace', '-f', '-n', '-qq', '-o', log, program, 'all'], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, env=diff.environment(), check=False)
        if done.returncode:
            print(f'skipped: strace does not trace here: {done.stderr.decode()[-300:]}')
            sys.exit(77)
        seen = False
        with open(log, errors='replace') as f:
            for line in f:
                seen = seen or 'PR_SET_NO_NEW_PRIVS' in line
                call = re.match(r'\d+ +\[ *(\d+)\] (\w+)\(', line)
                if seen and call:
                    numbers.add(int(call.group(1)))
    return [str(n) for n in sorted(numbers)]


def ends(result, want):
    print(f'{want}: {result[0]}')
    return result[0] == want


def main():
    minflt, program, options = diff.of_one_program('strace')
    allowed = recorded(program)
    print('allowed:', ' '.join(allowed))
    good = True
    for how in HOWS:
        # The filter comes by prctl or by seccomp: either may be called.
        command = [program, how, *allowed, *(LONG if how in ('even', 'odd') else []), '157', '317']
        native = diff.run(command, 60)
        with tempfile.TemporaryDirectory() as folder:
            own = [option.format(folder=folder) for option in options]
            managed = diff.run([minflt, 'run', '-q', *own, '--', *command], 60)
        if how == 'violate':  # minflt's status for a signal
            same = diff.compare(command, (0, native[1], ''), (0, managed[1], managed[2]), ('native', 'minflt'))
            good = ends(native, -signal.SIGSYS) and ends(managed, 128 + signal.SIGSYS) and same and good
        else:
            good = ends(native, 0) and diff.compare(command, native, managed, ('native', 'minflt')) and good
    return 0 if good else 1


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
