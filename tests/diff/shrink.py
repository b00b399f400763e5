#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Shrink a failing t_random: leave out steps for as long as the two runs still differ.

    shrink.py --minflt build/minflt --mode small build/tests/diff/t_random SEED [STEPS]

Prints the steps that are left, as MF_RANDOM_ONLY, and what they do. A step's doings depend on the seed and its number alone.
"""
import argparse
import os
import sys

import run as diff


def fails(options, program, seed, steps):
    os.environ['MF_RANDOM_ONLY'] = ','.join(map(str, steps))
    command = [program, str(seed), str(max(steps, default=0))]
    native = diff.run(command, 120)
    managed = diff.run([*options, '--', *command], 120)
    return native[:2] != managed[:2]


def shrunk(steps, still_fails):
    """Delta debugging: drop ever smaller parts, until no single step can go."""
    part = max(1, len(steps) // 2)
    while True:
        at, before = 0, len(steps)
        while at < len(steps):
            without = steps[:at] + steps[at + part:]
            if without and still_fails(without):
                steps = without
            else:
                at += part
        print(f'{len(steps)} steps, tried parts of {part}', flush=True)
        if part == 1 and len(steps) == before:
            return steps
        part = max(1, part // 2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--minflt', required=True)
    parser.add_argument('--mode', default='small', choices=diff.MODES)
    parser.add_argument('program')
    parser.add_argument('seed', type=int)
    parser.add_argument('steps', type=int, nargs='?', default=2000)
    args = parser.parse_args()
    options = [os.path.abspath(args.minflt), 'run', '-q', *diff.MODES[args.mode][0]]
    program = os.path.abspath(args.program)
    every = list(range(1, args.steps + 1))
    if not fails(options, program, args.seed, every):
        print('the runs do not differ')
        return 1
    left = shrunk(every, lambda steps: fails(options, program, args.seed, steps))
    os.environ['MF_RANDOM_ONLY'] = ','.join(map(str, left))
    print(f'MF_RANDOM_ONLY={os.environ["MF_RANDOM_ONLY"]} {args.program} {args.seed} {max(left)}')
    print(diff.run([*options, '--', program, str(args.seed), str(max(left))], 120)[1])
    return 0


if __name__ == '__main__':
    sys.exit(main())
