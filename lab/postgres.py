"""PostgreSQL on machines of the lab: a primary, a streaming replica, PgBouncer, pgbench as load.

All of it runs as the user postgres; its files are below ``root``. Nothing is durable (no fsync).
Debian's packages: postgresql, pgbouncer.
"""

import re
import subprocess
from pathlib import Path

from lab.bare import missing
from lab.databases import make_directory
from lab.machines import poll

USER = "postgres"
AS = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
PORT, POOL_PORT = 5432, 6432
CONNECT_S = 2  # the least that libpq waits; what connection pools set
PACKAGES = {"pgbouncer": "pgbouncer", "psql": "postgresql-client", "setpriv": "util-linux"}
SETTINGS = """
unix_socket_directories = ''
fsync = off
max_connections = 200
max_wal_senders = 20
wal_keep_size = 256MB
wal_retrieve_retry_interval = 1s
log_line_prefix = '%n '
"""
POOL = """
[databases]
postgres = host={primary} port={port} user={user}
[pgbouncer]
listen_addr = {own}
listen_port = {pool_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
"""
# A worker that is created again and again: each transaction on a connection of its own. A failure
# ends psql or pgbench, and counts once.
CLIENT = """
life=0
while :; do
  life=$((life + 1)); began=$(date +%s%N)
  if psql -qAtc 'select 1' >/dev/null; then
    echo "connected $began $(date +%s%N)" >>$1.told
    pgbench -n -N -C -R 20 -T 3600 -l --log-prefix=$1.$life >/dev/null && break
    began=$(date +%s%N)
  fi
  echo "failed $began $(date +%s%N)" >>$1.told
done
"""
REPLICA = """
until pg_basebackup -d "$2" -D $1 -R -c fast; do echo failed >>$1.told; rm -rf $1; done
exec postgres -D $1
"""


def programs():
    """Return the newest PostgreSQL's programs, where there is one."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((path.parent for path in found), key=lambda p: int(p.parent.name), default=None)


def lacking():
    """Return one line on what is not installed, or an empty string."""
    if lacks := missing(*PACKAGES, packages=PACKAGES):
        return lacks
    if not programs():
        return "postgres is missing (Debian: apt-get install postgresql)"
    if subprocess.run([*AS, "true"], capture_output=True, check=False).returncode:
        return f"cannot become {USER}: map more ids to this user (/etc/subuid and newuidmap)"
    return ""


def settings(host, port=PORT):
    """Return the environment of a client, which finds all programs."""
    return {
        "PATH": f"{programs()}:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C",
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": USER,
        "PGDATABASE": "postgres",
        "PGCONNECT_TIMEOUT": str(CONNECT_S),
    }


class Postgres:
    """All PostgreSQL of one data centre; its files are below ``root``, which is short-lived."""

    def __init__(self, root):
        self.root = root
        make_directory(root, USER)

    def _start(self, machine, log, *words, host=""):
        with open(self.root / log, "ab") as out:
            env = settings(host or machine.ip)
            machine.start(*AS, *words, stdout=out, stderr=out, env=env, cwd=self.root)

    def primary(self, machine, scale=5):
        """Make and start the primary, and fill pgbench's tables."""
        data, env = self.root / "primary", settings(machine.ip)
        machine.do(*AS, "initdb", "-D", str(data), "-A", "trust", "-N", env=env)
        with open(data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write(f"{SETTINGS}listen_addresses = '*'\n")
        with open(data / "pg_hba.conf", "a", encoding="utf-8") as file:
            file.write("host all,replication all 10.0.1.0/24 trust\n")
        self._start(machine, "primary.log", "postgres", "-D", str(data))
        words = ["pg_isready"]
        ready = "accepting connections"
        poll("the primary is ready", 60, lambda: ready in machine.do(*words, env=env, check=False))
        machine.do("pgbench", "-i", "-q", "-s", str(scale), env=env)

    def pool(self, machine, primary):
        """Start PgBouncer before the primary."""
        file = self.root / "pgbouncer.ini"
        file.write_text(
            POOL.format(
                primary=primary.ip, port=PORT, user=USER, own=machine.ip, pool_port=POOL_PORT
            )
        )
        self._start(machine, "pool.log", "pgbouncer", str(file))

    def replica(self, machine, primary, name):
        """Start a replica, which copies the primary and follows it."""
        data = self.root / name
        conninfo = f"host={primary.ip} user={USER} connect_timeout={CONNECT_S}"
        self._start(
            machine, f"{name}.log", "sh", "-c", REPLICA, "sh", str(data), conninfo, host=primary.ip
        )

    def followed(self, name):
        """Return when (time.time) a replica began to stream, or None; and its failures."""
        log, told = self.root / f"{name}.log", self.root / f"{name}.told"
        began = re.search(r"^([\d.]+) LOG: +started streaming WAL", log.read_text(), re.MULTILINE)
        failed = len(told.read_text().splitlines()) if told.exists() else 0
        return (float(began[1]) if began else None), failed

    def steady(self, machine, host, port, seconds, name):
        """Start a healthy worker's load: four connections that stay."""
        words = ["pgbench", "-n", "-N", "-c", "4", "-R", "100", "-T", str(seconds), "-l"]
        words += [f"--log-prefix={self.root}/{name}", "-h", host, "-p", str(port)]
        self._start(machine, f"{name}.log", *words, host=host)

    def client(self, machine, host, port, name):
        """Start the load of a worker that does not live long."""
        words = ["sh", "-c", CLIENT, "sh", str(self.root / name)]
        with open(self.root / f"{name}.log", "ab") as out:
            env = settings(host, port)
            machine.start(*AS, *words, stdout=out, stderr=out, env=env, cwd=self.root)

    def latencies(self, name):
        """Return the seconds of each transaction of a worker that succeeded, unordered."""
        took = []
        for log in self.root.glob(f"{name}.*[0-9]"):
            rows = (line.split() for line in log.read_text().splitlines())
            took += [int(row[2]) / 1e6 for row in rows if len(row) > 6]
        return took

    def told(self, name):
        """Return what a short-lived worker has told: ``(is connected, began, ended)``, seconds."""
        file = self.root / f"{name}.told"
        rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(row[0] == "connected", int(row[1]) / 1e9, int(row[2]) / 1e9) for row in rows]
