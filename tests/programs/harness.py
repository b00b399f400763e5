# SPDX-License-Identifier: MIT
"""Running one program natively or under `minflt run`, as this or another user, and seeing what it did and what it left behind."""
import ctypes
import glob
import hashlib
import json
import os
import pwd
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
NOBODY = 65534


def environment(cwd=None):
    env = {k: v for k, v in os.environ.items() if not k.startswith(('LD_', 'MINFLT_', 'MALLOC_', 'GIT_', 'PYTHON', 'PG', 'NODE_'))}
    env.update(LC_ALL='C', PYTHONHASHSEED='0', HOME='/nonexistent', GIT_CONFIG_NOSYSTEM='1', GIT_CONFIG_COUNT='1',
               GIT_CONFIG_KEY_0='safe.directory', GIT_CONFIG_VALUE_0='*', GIT_AUTHOR_NAME='a', GIT_AUTHOR_EMAIL='a@example',
               GIT_COMMITTER_NAME='a', GIT_COMMITTER_EMAIL='a@example', GIT_AUTHOR_DATE='1700000000 +0000',
               GIT_COMMITTER_DATE='1700000000 +0000')
    if cwd:
        env['TMPDIR'] = f'{cwd}.tmp'
    return env


def tool(name):
    """The path of a program of Debian's: PostgreSQL's are not in the PATH. None: not installed."""
    if os.path.isabs(name):
        return name if os.access(name, os.X_OK) else None
    found = sorted(glob.glob(f'/usr/lib/postgresql/*/bin/{name}'), key=lambda path: int(path.split('/')[4]))
    return found[-1] if found else shutil.which(name)


# ---- processes ----

def adopt_orphans():
    """From now on every process that a program leaves behind becomes a child of this script, and is found."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), 'prctl')


def children(pid):
    """Living ones only: [(pid, name)]"""
    found = []
    for task in glob.glob(f'/proc/{pid}/task/*/children'):
        try:
            with open(task) as f:
                pids = f.read().split()
        except OSError:
            continue
        for child in pids:
            try:
                with open(f'/proc/{child}/stat') as f:
                    text = f.read()
            except OSError:
                continue
            if text[text.rindex(')') + 2] not in 'ZX':
                found.append((int(child), text[text.index('(') + 1:text.rindex(')')]))
    return found


def descendants(pid):
    found = children(pid)
    for child, _ in found:
        found = found + descendants(child)
    return found


def reap(but):
    """Collects orphans that have ended, except the one that `but` is waited for by its Popen."""
    for entry in glob.glob('/proc/self/task/*/children'):
        with open(entry) as f:
            pids = [int(pid) for pid in f.read().split()]
        for pid in pids:
            if pid != but:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass


def lived_on(seconds):
    """Names of the processes that are still there after so long; they are ended."""
    end = time.monotonic() + seconds
    while (left := descendants(os.getpid())) and time.monotonic() < end:
        time.sleep(0.05)
        reap(0)
    for pid, _ in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    while left and descendants(os.getpid()):
        time.sleep(0.01)
        reap(0)
    reap(0)
    return sorted(name for _, name in left)


class Live:
    """A program while it runs: what those who talk to it or kill it need."""

    def __init__(self, process, cwd, data, expected):
        self.process, self.cwd, self.data = process, cwd, data
        self.expected = expected  # what was seen natively; None: this is the native run
        self.killed = None

    def ended(self):
        return self.process.poll() is not None

    def client(self, *command, stdin=None, timeout=60):
        """A native program that talks to it. => what it printed; RuntimeError when it fails"""
        done = subprocess.run([tool(command[0]), *command[1:]], cwd=self.cwd, stdin=open(stdin) if stdin else subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, env=environment(self.cwd))
        if done.returncode:
            raise RuntimeError(f'{" ".join(command)}: status {done.returncode}: {done.stderr[-500:]}')
        return done.stdout

    def wait_for(self, what, condition, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            if self.ended() or time.monotonic() > end:
                raise RuntimeError(f'waited in vain for {what}')
            time.sleep(0.05)


def descriptors(pid):
    """The kinds of a process's descriptors: numbers differ from run to run, and connections come and go."""
    found = set()
    for name in os.listdir(f'/proc/{pid}/fd'):
        try:
            found.add(re.sub(r'\d+', 'N', os.readlink(f'/proc/{pid}/fd/{name}').split(':[')[0]))
        except OSError:
            pass
    return sorted(found)


def outcome_of(talk, live):
    """=> what it saw, and how it failed or None"""
    try:
        return talk(live), None
    except (RuntimeError, subprocess.TimeoutExpired, OSError) as e:
        return None, str(e)


def end_slowly(process):
    """Out of time: the program first, so that minflt still writes its statistics."""
    for pid, name in children(process.pid):
        if name != 'minflt-guard':
            os.kill(pid, signal.SIGKILL)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        pass


def run(command, cwd, timeout, data=None, drive=None, after_kill=None, killer=None, expected=None):
    """Runs the command to its end. `drive` is called with a Live meanwhile and returns a table of what it saw; `killer` is, in a thread
    of its own; when that has killed a child and drive failed, after_kill is called. => a table: status (exit status, -signal or
    'timeout'), stdout (length, digest, beginning), stderr, seconds, seen, broken (how drive failed, or None), killed (the name of
    whom killer killed), unrecovered (how after_kill failed)"""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment(cwd),
                                   start_new_session=True,
                                   preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
        live = Live(process, cwd, data, expected)
        seen, broken, unrecovered, thread = None, None, None, None
        try:
            if killer:
                thread = threading.Thread(target=killer, args=(live,))
                thread.start()
            if drive:
                seen, broken = outcome_of(drive, live)
                if broken and live.killed and not live.ended() and after_kill:
                    unrecovered = outcome_of(after_kill, live)[1]
                elif broken:
                    process.terminate()
            status = process.wait(max(1, timeout - (time.monotonic() - start)))
        except subprocess.TimeoutExpired:
            status = 'timeout'
            end_slowly(process)
        finally:  # also when this script itself is ended
            seconds = time.monotonic() - start
            if process.poll() is None:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                process.wait()
            if thread:
                thread.join()
        out.seek(0)
        err.seek(0)
        text = out.read().replace(cwd.encode(), b'FOLDER')
        return {'status': status, 'stdout': (len(text), hashlib.sha256(text).hexdigest(), text[:2000].decode('latin-1')),
                'stderr': err.read().decode('latin-1'), 'seconds': seconds, 'seen': seen, 'broken': broken, 'killed': live.killed,
                'unrecovered': unrecovered}


def files_in(folder):
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            if os.path.isfile(path):
                with open(path, 'rb') as f:
                    found[os.path.relpath(path, folder)] = hashlib.sha256(f.read()).hexdigest()
    return found


def give(folder, owner):
    if os.geteuid() == 0:
        for base, folders, names in os.walk(folder):
            for name in ['.'] + folders + names:
                os.chown(os.path.join(base, name), *owner, follow_symlinks=False)


def one_run(program, data, cwd, owner, prefix, linger=None, survivor=True, **how):
    """A run of a program of the table in a new folder. `prefix` comes before its command; `how` goes to run(). survivor: who is killed is not the
    program itself, which must go on"""
    os.mkdir(cwd)
    os.mkdir(f'{cwd}.tmp')
    if program.prepare:
        program.prepare(data, cwd)
    give(cwd, owner)
    give(f'{cwd}.tmp', owner)
    command = [part(data) if callable(part) else part.replace('{data}', data).replace('{cwd}', cwd) for part in program.command]
    result = run([*prefix, *command], cwd, program.timeout, data, program.drive, program.after_kill if survivor else None, **how)
    result['lived on'] = lived_on(linger or program.linger)
    result['temporary files'] = sorted(files_in(f'{cwd}.tmp'))
    if program.files:
        result['files'] = files_in(cwd)
    if program.after:
        after = run(program.after, cwd, program.timeout)
        result['after'] = (after['status'], after['stdout'], after['stderr'])
    return result


def differences(native, managed):
    return [f'{key}:\n  native {native.get(key)}\n  minflt {managed.get(key)}'
            for key in ('status', 'stdout', 'files', 'after', 'seen', 'broken', 'lived on', 'temporary files')
            if native.get(key) != managed.get(key)]


def same(native, managed):
    found = differences(native, managed)
    if found:
        print('\n'.join(found))
        print(f'standard error, native:\n{native["stderr"][-2000:]}\nunder minflt:\n{managed["stderr"][-4000:]}')
    return not found


def statistics(path, quiet=False):
    try:
        with open(path) as f:
            return json.load(f)
    except (OSError, ValueError) as e:
        if not quiet:
            print(f'no statistics: {e}')
        return None


def statistics_good(stats, majors):
    """A run that had no reason to evict has tested nothing."""
    if not stats:
        return False
    faults, kept, memory = stats['faults']['major'], stats['kept']['total_peak_bytes'], stats['budget']['memory_bytes']
    print(f'{faults} major faults, evicted {stats["swap"]["evicted_pages"]} pages, touched {stats["kept"]["touched_peak_bytes"] >> 20} MB, '
          f'kept at most {kept >> 20} MB')
    if faults < majors:
        print(f'fewer than {majors} major faults: the budget did not press')
    if memory and kept > memory:
        print(f'kept {kept} bytes, more than the {memory} of --memory')
    if stats['swap']['damaged_pages']:
        print(f'{stats["swap"]["damaged_pages"]} damaged pages')
    return faults >= majors and not (memory and kept > memory) and not stats['swap']['damaged_pages']


# ---- another user who may open /dev/userfaultfd ----

# In a mount namespace of its own, a device node with mode 0666 covers /dev/userfaultfd; nothing outside changes. The node stands on
# a fresh tmpfs, because /tmp is often mounted nodev.
# In a chroot the root is no mount and can't be made private; /dev is one.
COVER = ('set -e; mount --make-rprivate / 2>/dev/null || mount --make-rprivate /dev; mount -t tmpfs -o mode=755 none "$1"; mknod -m 666 "$1/node" c "$2" "$3"; '
         'mount --bind "$1/node" /dev/userfaultfd; shift 3; exec "$@"')


def user_ids(user):
    """(uid, gid) of the user a program runs as; None: there is none of this name"""
    if os.geteuid() != 0 or not user:
        return os.geteuid(), os.getegid()
    if user == 'nobody':
        return NOBODY, NOBODY
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def prefix_for(user, folder):
    """The words to put before a command, or None when that can't be had here."""
    if not user:
        return []
    if os.geteuid() != 0:
        return [] if os.access('/dev/userfaultfd', os.R_OK | os.W_OK) else None
    ids = user_ids(user)
    if not ids or not all(shutil.which(name) for name in ('unshare', 'setpriv', 'mknod', 'mount')):
        return None
    try:
        device = os.stat('/dev/userfaultfd').st_rdev
    except OSError:
        return None
    cover = os.path.join(folder, 'cover')
    os.mkdir(cover)
    drop = ['setpriv', f'--reuid={ids[0]}', f'--regid={ids[1]}', '--clear-groups', '--']
    prefix = ['unshare', '-m', '--propagation', 'unchanged', 'sh', '-c', COVER, 'sh', cover, str(os.major(device)),
              str(os.minor(device)), *drop]
    return prefix if subprocess.run([*prefix, 'test', '-w', '/dev/userfaultfd'], stderr=subprocess.DEVNULL).returncode == 0 else None
