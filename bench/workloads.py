# SPDX-License-Identifier: MIT
"""The real programs of programs.py: their data, made from fixed seeds, and how each is run. The same work on every side; what comes out
is compared with the native run."""
import dataclasses
import hashlib
import os
import random
import select
import shutil
import socket
import subprocess
import time

ENVIRONMENT = dict({k: v for k, v in os.environ.items() if not k.startswith(("LD_", "MINFLT_", "MALLOC_", "PYTHON"))},
                   LC_ALL="C", PYTHONHASHSEED="0")
WORDS = ("page fault frame swap cache dirty young table entry map reclaim anon file write read share copy slot pool zero "
         "budget evict cluster handler thread child parent lock batch move").split()
TIMEOUT = 180


class Broken(Exception):
    pass


@dataclasses.dataclass
class Workload:
    name: str
    title: str
    needs: list             # programs that must be installed
    command: list           # {data}: the folder that `make` filled, {work}: the folder of the run
    peak: int               # MiB that it needs natively, about
    make: object            # (data, MiB)
    drive: object = None    # talks to a server: (work, data) -> (seconds, what it answered)


def written(path, lines):
    with open(path, "w") as f:
        f.writelines(lines)


def make_sort(data, peak):
    rng = random.Random(1)
    written(f"{data}/lines", (f"{rng.randrange(1 << 40):x} {' '.join(rng.choices(WORDS, k=5))}\n" for _ in range(peak * 12_000)))


def make_python(data, peak):
    written(f"{data}/script.py", [f"COUNT = {peak * 1720}\n", '''
import random
rng = random.Random(2)
rows = [{"key": f"row {i * 7919 % 1000003}", "value": i % 997, "tags": [str(i % 31), "tag" + str(i % 1009)]} for i in range(COUNT)]
groups = {}
for row in rows:
    groups.setdefault(row["value"], []).append(row)
rows.sort(key=lambda row: row["key"])
index = {row["key"]: at for at, row in enumerate(rows)}
total = 0
for _ in range(COUNT // 2):
    row = rows[rng.randrange(COUNT)]
    row["value"] += 1
    total += index[row["key"]] + len(row["tags"][1])
print(total, sum(len(group) * value for value, group in groups.items()), sum(row["value"] for row in rows))
'''])


def make_sqlite(data, peak):
    written(f"{data}/script.sql", [f'''
CREATE TABLE item(id INTEGER PRIMARY KEY, key TEXT, value INTEGER, body TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {peak * 3900})
  INSERT INTO item SELECT i, printf('%08x', (i * 2654435761) & 4294967295), i % 997,
    printf('body %d of %d, which is neither long nor short: %d', i, i * i, i * 7) FROM n;
CREATE INDEX by_key ON item(key);
CREATE INDEX by_value ON item(value, key);
SELECT count(*), sum(value), min(key), max(key) FROM item;
SELECT value, count(*), max(body) FROM item GROUP BY value ORDER BY 2 DESC, 1 LIMIT 10;
UPDATE item SET body = body || ' again' WHERE id % 7 = 0;
DELETE FROM item WHERE value % 11 = 3;
SELECT count(*), sum(length(body)) FROM item;
SELECT count(*), sum(length(b.body)) FROM item a JOIN item b ON b.key = printf('%08x', (a.id * 7 * 2654435761) & 4294967295) WHERE a.id % 4 = 0;
'''])


def make_redis(data, peak):
    # Debian's server, whose program goes by its name; its package would start a service.
    server = shutil.which("redis-server") or "/usr/bin/redis-check-rdb"
    os.symlink(server, f"{data}/redis-server")
    rng = random.Random(3)
    keys = peak * 1440
    written(f"{data}/load", (command("SET", f"key:{i}", f"{i} {' '.join(rng.choices(WORDS, k=60))}") for i in range(keys)))
    written(f"{data}/ask", (command("GET", f"key:{rng.randrange(keys)}") if i % 5 else command("APPEND", f"key:{rng.randrange(keys)}", str(i))
                            for i in range(keys)))


def command(*words):
    return f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)


def tell_redis(work, path):
    """Sends a file of commands as fast as the server takes them. => digest of all answers"""
    with open(path, "rb") as f:
        left = memoryview(f.read() + command("ECHO", "the end").encode())
    digest, tail = hashlib.blake2b(digest_size=16), b""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(f"{work}/socket")
        s.setblocking(False)
        while not tail.endswith(b"\r\nthe end\r\n"):
            readable, writable, _ = select.select([s], [s] if left else [], [], TIMEOUT)
            if not readable and not writable:
                raise Broken("redis has stopped answering")
            if writable:
                left = left[s.send(left[:1 << 16]):]
            if readable:
                got = s.recv(1 << 18)
                if not got:
                    raise Broken("redis has closed the connection")
                digest.update(got)
                tail = (tail + got)[-16:]
    return digest.hexdigest()


def redis_cli(work, *words):
    done = subprocess.run(["redis-cli", "-s", f"{work}/socket", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=TIMEOUT, env=ENVIRONMENT)
    if done.returncode or "ERR" in done.stdout or "refused" in done.stdout:
        raise Broken(f"redis-cli {' '.join(words)}: {done.stdout[-300:]} {done.stderr[-300:]}")
    return done.stdout.strip()


def drive_redis(work, data):
    end = time.monotonic() + 30
    while True:
        try:
            redis_cli(work, "PING")
            break
        except Broken:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
    start = time.perf_counter()
    answers = [tell_redis(work, f"{data}/{part}") for part in ("load", "ask")]
    seconds = time.perf_counter() - start
    answers.append(redis_cli(work, "DEBUG", "DIGEST"))
    redis_cli(work, "SHUTDOWN", "NOSAVE")
    return seconds, " ".join(answers)


WORKLOADS = [
    Workload("sort", "sort, one thread", ["sort"], ["sort", "-S", "4G", "--parallel=1", "{data}/lines"], 32, make_sort),
    Workload("python", "Python: dictionaries, lists, a sort", ["/usr/bin/python3"], ["/usr/bin/python3", "{data}/script.py"], 48, make_python),
    Workload("sqlite", "SQLite, in memory: load, index, join", ["sqlite3"], ["sqlite3", ":memory:", ".read {data}/script.sql"], 64, make_sqlite),
    Workload("redis", "redis: load, then random reads and writes", ["redis-cli", "/usr/bin/redis-check-rdb"],
             ["{data}/redis-server", "--port", "0", "--save", "", "--unixsocket", "{work}/socket", "--enable-debug-command", "yes",
              "--dir", "{work}"], 96, make_redis, drive_redis),
]


def missing(workload):
    """The first program that it needs and that is not installed; None: all are."""
    return next((need for need in workload.needs if not shutil.which(need)), None)


def run(argv, workload, data, work):
    """Runs a command in which the workload's own stands. => {"seconds", "answer"}; Broken when it fails"""
    if os.path.exists(f"{work}/socket"):
        os.unlink(f"{work}/socket")
    with open(f"{work}/errors", "w+") as errors:
        start = time.perf_counter()
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=ENVIRONMENT)
        try:
            if workload.drive:
                seconds, answer = workload.drive(work, data)
                child.stdout.close() # it is a log
            else:
                digest = hashlib.blake2b()
                while piece := child.stdout.read(1 << 18):
                    digest.update(piece)
                answer = digest.hexdigest()
            status = child.wait(TIMEOUT)
            seconds = seconds if workload.drive else time.perf_counter() - start
        except (Broken, OSError, subprocess.TimeoutExpired) as failure:
            status, answer = "none", str(failure)
        finally:
            if child.poll() is None:
                child.terminate() # kernel-swap.sh cleans up, minflt passes it on
                child.wait()
        errors.seek(0)
        if status:
            raise Broken(f"{' '.join(argv)}\nended with status {status}: {errors.read()[-2000:]} {answer[-500:]}")
    return {"seconds": seconds, "answer": answer}
