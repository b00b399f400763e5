#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Look from outside into the evicted memory of t_watched: process_vm_readv and _writev, gdb, strace -f.

    outside.py --minflt build/minflt --mode small build/tests/diff/t_watched

Exit 0: everybody saw and stored the right bytes, 1: not, 77: no gdb or strace, or they may not trace here.
"""
import ctypes
import os
import signal
import subprocess
import sys
import tempfile

import run as diff

PAGE = 4096
libc = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('len', ctypes.c_size_t)]


def transfer(call, pid, addr, buffer):
    local, remote = Iovec(ctypes.addressof(buffer), len(buffer)), Iovec(addr, len(buffer))
    done = call(pid, ctypes.byref(local), ctypes.c_ulong(1), ctypes.byref(remote), ctypes.c_ulong(1), ctypes.c_ulong(0))
    return done == len(buffer)


def digest(data):
    h = 0xcbf29ce484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001b3) & 0xffffffffffffffff
    return f'digest {h:016x}'


class Watched:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=diff.environment())
        pid, addr, size = self.process.stdout.readline().split()
        self.pid, self.addr, self.size = int(pid), int(addr, 16), int(size)

    def ask(self):
        self.process.stdin.write('\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.read()
        return self.process.wait(60)

    def read(self):
        buffer = ctypes.create_string_buffer(self.size)
        if not transfer(libc.process_vm_readv, self.pid, self.addr, buffer):
            raise OSError(ctypes.get_errno(), 'process_vm_readv')
        return buffer.raw

    def write(self, at, data):
        buffer = ctypes.create_string_buffer(data, len(data))
        return transfer(libc.process_vm_writev, self.pid, self.addr + at, buffer)

    def unreadable(self):
        """Pages that /proc/PID/mem refuses: those that are evicted."""
        refused = 0
        with open(f'/proc/{self.pid}/mem', 'rb', buffering=0) as f:
            for at in range(0, self.size, PAGE):
                try:
                    os.pread(f.fileno(), 8, self.addr + at)
                except OSError:
                    refused += 1
        return refused


def by_gdb(watched, at, count):
    """As the manual says: fetched by a call in the program, then looked at."""
    with tempfile.TemporaryDirectory() as folder:
        dump = os.path.join(folder, 'dump')
        where = f'{watched.addr + at:#x}'
        done = subprocess.run(['gdb', '-nx', '-batch', '-p', str(watched.pid), '-ex', f'call (int)madvise({where}, {count}, 22)',
                               '-ex', f'dump binary memory {dump} {where} {where}+{count}'],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        try:
            with open(dump, 'rb') as f:
                return f.read()
        except OSError:
            print(done.stdout[-500:], done.stderr[-500:])
            return b''


def check(name, good):
    print(f'{name}: {"good" if good else "WRONG"}')
    return good


def main():
    minflt, program, options = diff.of_one_program('gdb', 'strace')
    command = [minflt, 'run', '-q', *options, '--', program]
    native, managed = Watched([program]), Watched(command)
    want = native.read()
    good = check("native", native.ask() == digest(want))
    good = check('evicted', managed.unreadable() > managed.size // PAGE // 2) and good
    good = check('process_vm_readv', managed.read() == want) and good
    good = check('seen by itself', managed.ask() == digest(want)) and good
    for at in range(0, managed.size, 37 * PAGE):
        good = managed.write(at + 100, b'from outside') and good
        want = want[:at + 100] + b'from outside' + want[at + 112:]
    good = check('process_vm_writev', managed.ask() == digest(want)) and good
    for at in (0, 100 * PAGE, managed.size - 16 * PAGE):
        managed.ask()
        good = check('gdb', by_gdb(managed, at, 16 * PAGE) == want[at:at + 16 * PAGE]) and good
    good = check('after gdb', managed.ask() == digest(want)) and good
    good = check('ends', managed.end() == 0 and native.end() == 0) and good
    with tempfile.TemporaryDirectory() as folder:
        traced = diff.run(['strace', '-f', '-qq', '-o', os.path.join(folder, 'log'), *command], 60)
        with open(os.path.join(folder, 'log'), errors='replace') as f:
            good = check('strace -f', traced[0] == 0 and 'end, 0 wrong' in f.read()) and good
    return 0 if good else 1


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
