# SPDX-License-Identifier: MIT
"""What is done to the servers while they run: each function takes a harness.Live and returns a table that must be the same natively.

After a kill of one of the server's processes the same functions only have to come to an end; what must still be true is checked by
those that are named after_kill_."""
import os
import signal
import subprocess
import time

from harness import descriptors, environment, tool


# ---- redis ----

def redis_cli(live, *words, socket='redis.sock', **more):
    return live.client('redis-cli', '-s', socket, *words, **more).strip()


def redis_up(live, socket='redis.sock'):
    def answers():
        try:
            return redis_cli(live, 'PING', socket=socket) == 'PONG'
        except RuntimeError:
            return False
    live.wait_for(f'redis at {socket}', answers)


def redis_saved(live, before):
    info = dict(line.split(':', 1) for line in redis_cli(live, 'INFO', 'persistence').split('\n') if ':' in line)
    if info['rdb_last_bgsave_status'].strip() != 'ok':
        raise RuntimeError('BGSAVE has failed')
    return info['rdb_bgsave_in_progress'].strip() == '0' and int(redis_cli(live, 'LASTSAVE')) > before


def dump_digest(live):
    """What a native redis makes of dump.rdb, without the database that the benchmark writes to."""
    reader = subprocess.Popen([f'{live.data}/redis-server', *REDIS_OPTIONS, '--unixsocket', 'reader.sock', '--logfile', 'reader.log',
                               '--enable-debug-command', 'yes'], cwd=live.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, env=environment(live.cwd))
    try:
        redis_up(live, 'reader.sock')
        redis_cli(live, '-n', '9', 'FLUSHDB', socket='reader.sock')
        return redis_cli(live, 'DEBUG', 'DIGEST', socket='reader.sock'), redis_cli(live, 'DBSIZE', socket='reader.sock')
    finally:
        reader.kill()
        reader.wait()


REDIS_OPTIONS = ['--port', '0', '--save', '', '--databases', '10', '--enable-debug-command', 'yes', '--daemonize', 'no']


def redis(live):
    redis_up(live)
    seen = {'loaded': redis_cli(live, '--pipe', stdin=f'{live.data}/commands').split('\n')[-1],
            'digest': redis_cli(live, 'DEBUG', 'DIGEST'),
            'descriptors': descriptors(int(redis_cli(live, 'INFO', 'server').split('process_id:')[1].split()[0]))}
    before = int(redis_cli(live, 'LASTSAVE'))
    live.wait_for('the next second', lambda: time.time() >= before + 1)
    load = subprocess.Popen([tool('redis-benchmark'), '-s', 'redis.sock', '--dbnum', '9', '-q', '-r', '20000', '-n', '15000', '-c', '20',
                             '-d', '200', '-t', 'set,get,lpush,hset,sadd'], cwd=live.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, env=environment(live.cwd))
    try:
        time.sleep(0.3)
        seen['bgsave'] = redis_cli(live, 'BGSAVE')
        live.wait_for('BGSAVE', lambda: redis_saved(live, before))
        seen['last save'] = redis_cli(live, 'INFO', 'persistence').split('rdb_last_bgsave_status:')[1].split()[0]
        seen['benchmark'] = (load.wait(60), load.stderr.read())
    finally:
        load.kill()
        load.wait()
        load.stderr.close()
    seen['dump'] = dump_digest(live)
    redis_cli(live, '-n', '9', 'FLUSHDB')
    seen['digest in the end'] = redis_cli(live, 'DEBUG', 'DIGEST')
    os.remove(f'{live.cwd}/dump.rdb')
    redis_cli(live, 'SHUTDOWN', 'NOSAVE')
    if not seen['digest'] == seen['digest in the end'] == seen['dump'][0]:
        raise RuntimeError(f'digests differ: {seen}')
    return seen


def after_kill_redis(live):
    """The process that saved was killed: the server goes on, with the same data."""
    redis_cli(live, '-n', '9', 'FLUSHDB')
    digest = redis_cli(live, 'DEBUG', 'DIGEST')
    redis_cli(live, 'SHUTDOWN', 'NOSAVE')
    if digest != live.expected['digest']:
        raise RuntimeError(f'digest {digest} after the kill, natively {live.expected["digest"]}')


# ---- PostgreSQL ----

def psql(live, *words, **more):
    return live.client('psql', '-X', '-q', '-A', '-t', '-h', live.cwd, '-U', 'postgres', *words, **more).strip()


def postgres_up(live):
    def answers():
        try:
            return psql(live, '-c', 'SELECT 1') == '1'
        except RuntimeError:
            return False
    live.wait_for('PostgreSQL', answers)


SUMS = 'SELECT ' + ', '.join(f'(SELECT coalesce(sum({column}), 0) FROM pgbench_{table})' for column, table in (
    ('abalance', 'accounts'), ('tbalance', 'tellers'), ('bbalance', 'branches'), ('delta', 'history')))
TABLES = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'pgbench_%'"
MD5 = "SELECT count(*), md5(string_agg(aid || ':' || abalance, ',' ORDER BY aid)) FROM pgbench_accounts"


def postgres_pid(live):
    with open(f'{live.cwd}/cluster/postmaster.pid') as f:
        return int(f.readline())


def pgbench(live):
    """The four clients' transactions only add, so that the sums are the same in whatever order they come."""
    postgres_up(live)
    options = ['-h', live.cwd, '-U', 'postgres']
    live.client('pgbench', *options, '-i', '-q', '-s', '1', 'postgres')
    live.client('pgbench', *options, '-n', '-c', '4', '-j', '2', '-t', '100', '--random-seed=7', 'postgres')
    sums = psql(live, '-c', SUMS)
    seen = {'sums': sums, 'accounts': psql(live, '-c', f"SET work_mem = '64MB'; {MD5}"), 'descriptors': descriptors(postgres_pid(live))}
    if len(set(sums.split('|'))) != 1:
        raise RuntimeError(f'sums differ: {sums}')
    seen['queries'] = psql(live, '-f', f'{live.data}/queries.sql')
    os.kill(postgres_pid(live), signal.SIGINT)
    return seen


def after_kill_pgbench(live):
    """A backend was killed: the server recovers, and what was committed is there and consistent."""
    postgres_up(live)
    try:
        # It may have been killed while it made the tables.
        sums = psql(live, '-c', SUMS) if psql(live, '-c', TABLES) == '4' else ''
        if len(set(sums.split('|'))) != 1:
            raise RuntimeError(f'sums differ after recovery: {sums}')
    finally:
        os.kill(postgres_pid(live), signal.SIGINT)
