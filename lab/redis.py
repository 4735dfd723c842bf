"""Redis on machines of the lab: each runs redis-server and Redis Sentinel, as the user redis.

A host's files survive its machine, as on a volume that the next machine gets. Debian's packages:
redis-server, redis-sentinel.
"""

import re
import shutil
import subprocess
import sys

from lab.bare import missing
from lab.databases import make_directory
from lab.redis_client import PORT, SENTINEL_PORT, Connection
from lab.saltstack import REPOSITORY

USER = "redis"
AS = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
PACKAGES = {name: name for name in ("redis-server", "redis-sentinel")}
PACKAGES |= {"setpriv": "util-linux"}
SERVER = """
port {port}
bind 0.0.0.0
protected-mode no
save ""
repl-diskless-sync-delay 0
dir {place}
"""
SENTINEL = """
port {port}
bind 0.0.0.0
protected-mode no
dir {place}
sentinel monitor m {master} {server_port} 2
sentinel down-after-milliseconds m 1500
sentinel failover-timeout m 6000
"""


def lacking():
    """Return one line on what is not installed, or an empty string."""
    if lacks := missing(*PACKAGES, packages=PACKAGES):
        return lacks
    if subprocess.run([*AS, "true"], capture_output=True, check=False).returncode:
        return f"cannot become {USER}: map more ids to this user (/etc/subuid and newuidmap)"
    return ""


class Redis:
    """All Redis of one data centre; its files are below ``root``, which is short-lived."""

    def __init__(self, root):
        self.root = root
        make_directory(root, USER)

    def host(self, machine, master):
        """Start server and Redis Sentinel on a machine; the first one's files are made."""
        for kind, text, port in (
            ("server", SERVER, PORT),
            ("sentinel", SENTINEL, SENTINEL_PORT),
        ):
            place = self.root / f"{machine.label}-{kind}"
            file = place / "redis.conf"
            if not place.exists():
                place.mkdir()
                words = {"port": port, "place": place, "master": master.ip, "server_port": PORT}
                more = f"replicaof {master.ip} {PORT}\n" * (machine is not master)
                file.write_text(text.format(**words) + more * (kind == "server"))
                for path in (place, file):
                    shutil.chown(path, USER)
            with open(self.root / f"{machine.label}-{kind}.log", "ab") as out:
                words = [*AS, f"redis-{kind}", str(file)]
                machine.start(*words, stdout=out, stderr=out, cwd=place)

    @staticmethod
    def replication(machine):
        """Return a server's role, how many replicas follow it, and whether it follows."""
        try:
            with machine.inside():
                asked = Connection(machine.ip, PORT, patience_s=1)
            told = asked.call("INFO", "replication")
            asked.close()
        except OSError:
            return None, 0, False
        role, link = re.search(r"role:(\w+)", told), "master_link_status:up" in told
        return role and role[1], told.count("state=online"), link

    def client(self, machine, hosts, name):
        """Start a client."""
        words = [sys.executable, "-m", "lab.redis_client", str(self.root / name)]
        with open(self.root / f"{name}.log", "ab") as out:
            words += [host.ip for host in hosts]
            machine.start(*words, stdout=out, stderr=out, cwd=REPOSITORY)

    def told(self, name):
        """Return the rows of a client: ``(is ok, began, seconds, host)``."""
        file = self.root / name
        rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(row[0] == "ok", float(row[1]), float(row[2]), row[3]) for row in rows if row[3:]]
