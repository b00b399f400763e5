# SPDX-License-Identifier: MIT
"""Signals and job control: minflt stands between the shell and the program and is in nobody's way."""
import os
import pty
import shlex
import signal
import subprocess
import time

from helper import MINFLT, Case, environment, main


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = what()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"nothing after {seconds} s")


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


class Signals(Case):
    def start(self, script, **more):
        """`minflt run sh -c SCRIPT`, up to the point where the script has written its process id."""
        note = self.path("pid")
        p = subprocess.Popen([MINFLT, "run", "-q", "--memory=8M", "sh", "-c", f"echo $$ > {note}.new; mv {note}.new {note}\n{script}"],
                             env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.communicate()))
        wait_for(lambda: os.path.exists(note))
        with open(note) as f:
            return p, int(f.read())

    def start_until_told(self):
        """As start(), a program that ends with status 3 once end() was called, however slow the machine is. It starts no process:
        a stop that meets the child of a vfork() would leave the parent waiting for it, unstopped, without minflt as well."""
        return self.start("read _; exit 3", stdin=subprocess.PIPE, preexec_fn=os.setpgrp)

    def end(self, p):
        p.communicate(timeout=10)  # closes its standard input
        self.assertEqual(p.returncode, 3)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # What is ignored here (under nohup, say) a shell could not trap.
        for name in "TERM", "HUP", "USR1", "USR2", "INT", "QUIT":
            signal.signal(getattr(signal, f"SIG{name}"), signal.SIG_DFL)

    def test_passed_on(self):
        for name in "TERM", "HUP", "USR1", "USR2", "INT", "QUIT":
            with self.subTest(name):
                p, _ = self.start(f"trap 'echo got {name}; exit 7' {name}; while :; do sleep 0.05; done")
                time.sleep(0.1)
                p.send_signal(getattr(signal, f"SIG{name}"))
                out, err = p.communicate(timeout=10)
                self.assertEqual((p.returncode, out, err), (7, f"got {name}\n", ""))
                os.unlink(self.path("pid"))

    def test_default_action(self):
        p, _ = self.start("exec sleep 60")
        p.terminate()
        p.communicate(timeout=10)
        self.assertEqual(p.returncode, 128 + 15)

    def test_from_the_keyboard_once(self):
        """The terminal sends to the whole group: what it sends, minflt doesn't pass on as well."""
        for key, name in (b"\x03", "INT"), (b"\x1c", "QUIT"):
            pid, terminal = pty.fork()
            if pid == 0:
                script = f"n=0; trap 'n=$((n+1))' {name}; echo ready; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.1; done; echo got $n"
                os.execve(MINFLT, [MINFLT, "run", "-q", "--memory=8M", "sh", "-c", script], environment())
            seen = b""

            def until(word):
                nonlocal seen
                while word not in seen:
                    seen += os.read(terminal, 65536)
            until(b"ready")
            time.sleep(0.2)
            os.write(terminal, key)
            until(b"got ")
            while not seen.endswith(b"\n"):
                seen += os.read(terminal, 65536)
            os.waitpid(pid, 0)
            os.close(terminal)
            self.assertIn(b"got 1\r\n", seen)

    def test_interrupt_of_the_group(self):
        p, _ = self.start("exec sleep 60", start_new_session=True)
        os.killpg(p.pid, signal.SIGINT)
        p.communicate(timeout=10)
        self.assertEqual(p.returncode, 128 + 2)

    def test_minflt_killed(self):
        p, program = self.start("exec sleep 60")
        p.kill()
        p.communicate(timeout=10)
        wait_for(lambda: state(program) in (None, "Z"))

    def test_program_killed(self):
        p, program = self.start("exec sleep 60")
        os.kill(program, signal.SIGKILL)
        p.communicate(timeout=10)
        self.assertEqual(p.returncode, 137)

    def test_stop_and_continue(self):
        p, program = self.start_until_told()
        os.kill(program, signal.SIGTSTP)
        wait_for(lambda: state(p.pid) == "T" and state(program) == "T")
        os.kill(p.pid, signal.SIGCONT)
        self.end(p)

    def test_stop_of_minflt_alone(self):
        p, program = self.start_until_told()
        os.kill(p.pid, signal.SIGTSTP)  # passed on, and then minflt stops along
        wait_for(lambda: state(p.pid) == "T" and state(program) == "T")
        os.kill(p.pid, signal.SIGCONT)
        self.end(p)

    def test_stop_of_the_program_alone(self):
        p, program = self.start_until_told()
        os.kill(program, signal.SIGSTOP)
        wait_for(lambda: state(program) == "T")
        time.sleep(0.2)
        self.assertNotEqual(state(p.pid), "T")
        os.kill(program, signal.SIGCONT)
        self.end(p)

    def test_job_control(self):
        # A process group of its own inside a session that has another member: not orphaned, so a TSTP stops it.
        p, program = self.start_until_told()
        for _ in range(20):
            os.killpg(p.pid, signal.SIGTSTP)
            wait_for(lambda: state(p.pid) == "T" and state(program) == "T")
            os.killpg(p.pid, signal.SIGCONT)
            wait_for(lambda: state(p.pid) != "T" and state(program) != "T")
        self.end(p)

    def test_terminal(self):
        """A real terminal: Ctrl-Z, fg, Ctrl-C."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvpe("bash", ["bash", "--norc", "-i"], dict(environment(), PS1="$ "))
        self.addCleanup(lambda: (os.kill(pid, signal.SIGKILL), os.waitpid(pid, 0), os.close(terminal)))
        seen = b""

        def until(word, text=None):
            nonlocal seen
            if text:
                os.write(terminal, text)

            def look():
                nonlocal seen
                os.set_blocking(terminal, False)
                try:
                    seen += os.read(terminal, 65536)
                except BlockingIOError:
                    pass
                return word in seen
            try:
                wait_for(look)
            except AssertionError:
                raise AssertionError(f"waiting for {word}, the terminal showed {seen}") from None
            seen = seen.split(word, 1)[1]
        tool = shlex.quote(MINFLT).encode()
        until(b"up-and-running", b"stty -echo; " + tool + b" run -q --memory=8M sh -c 'echo up-and-; sleep 0.1; echo up-and-running; exec sleep 60'\n")
        time.sleep(0.3)
        until(b"Stopped", b"\x1a")
        until(b"sleep 60", b"fg\n")
        time.sleep(0.3)
        os.write(terminal, b"\x03")
        until(b"status=130", b"echo status=$?\n")


if __name__ == "__main__":
    main()
