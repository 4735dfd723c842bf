"""What can be staged on a database host. Plain Python: other kernels play it without Salt."""

import contextlib
import fcntl
import os
import re
import socket
import threading
import time

from lab import cable
from lab.cable import DEAD
from lab.machines import give, run

OWNED = [  # whose it is
    ("192.0.2.20", ["nud", "permanent"], "PERMANENT"),
    ("192.0.2.21", ["nud", "noarp"], "NOARP"),
    ("192.0.2.22", ["nud", "reachable", "extern_learn"], "extern_learn"),
    ("192.0.2.23", ["nud", "stale", "protocol", "zebra"], "protocol zebra"),
    ("192.0.2.24", ["nud", "stale", "protocol", "static"], "protocol static"),
    ("2001:db8::20", ["nud", "permanent"], "PERMANENT"),
    ("2001:db8::22", ["nud", "stale", "extern_learn"], "extern_learn"),
]


def ip(*words, stdin=None, check=True):
    """Run iproute2; return what it prints."""
    return run("ip", *words, stdin=stdin, check=check)


def own(rows=OWNED):
    """Write entries that are somebody's."""
    for address, words, _reason in rows:
        ip("neigh", "add", address, "lladdr", DEAD, "dev", "db0", *words)


FIREWALL = """
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    iif lo counter accept
    ct state established,related accept
    tcp dport 5432 accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
  }
}
"""


class Crowd:
    """The right to hold many neighbours: one test of this machine at a time has it.

    The kernel's limits (gc_thresh) hold for the entries of all namespaces together. Beyond 512 it
    deletes entries that are older than five seconds, whoever has written them: so no test of
    `make test` holds more than 400, PERMANENT ones aside.
    """

    MANY = 100

    def __init__(self):
        self._lock = None
        self._here = 0

    @staticmethod
    def everywhere():
        """Return how many neighbours all namespaces of this machine hold."""
        return sum(map(int, re.findall(r"entries (\d+)", ip("-s", "ntable"))))

    def enter(self, seconds=120):
        """Wait until no other test holds many: the lock is the root directory, so all see it."""
        if self._lock is None:
            self._lock = os.open("/", os.O_RDONLY)
            Scene.until(self._is_mine, seconds)

    def _is_mine(self):
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def count(self):
        """Count the neighbours of this namespace, at the end of a test."""
        if self._lock is not None:
            self._here = len(ip("neigh", "show", "nud", "all").splitlines())

    def leave(self):
        """Wait until the kernel has taken down the namespace; ten seconds at most."""
        if self._lock is None:
            return
        others = max(0, self.everywhere() - self._here) + self.MANY
        with contextlib.suppress(AssertionError):  # others come meanwhile
            Scene.until(lambda: self.everywhere() <= others, 10)
        os.close(self._lock)


class Scene:
    """What a test can stage, and the whole table as text."""

    def __init__(self, crowd=None):
        self.crowd = crowd or Crowd()
        ip("netns", "del", "worker", check=False)
        cable.lay()

    @staticmethod
    def worker(address):
        """Give the worker, a living host with the MAC BORN, an address."""
        give(address, "w0", "worker")

    @staticmethod
    def add(address, state="stale", mac=DEAD, dev="db0", *extra):
        """Write one entry: as PERMANENT first, see ``cable.fill``."""
        ip("neigh", "replace", address, "lladdr", mac or DEAD, "nud", "permanent", "dev", dev)
        lladdr = ["lladdr", mac] if mac else []
        ip("neigh", "replace", address, *lladdr, "nud", state, "dev", dev, *extra)

    def fill(self, count, state="stale", family=4, first=0):
        """Write many entries; return their addresses."""
        if count >= Crowd.MANY and state != "permanent":
            self.crowd.enter()
        return cable.fill(count, family, (f"nud {state}",), first=first)

    @staticmethod
    def table(*states):
        """Return the unicast rows of the table as sorted text lines: ``ip dev mac state``."""
        rows = []
        for line in ip("neigh", "show", "nud", *(states or ["all"])).splitlines():
            words = line.split()
            if not words[0].startswith("ff0"):
                dev = words[words.index("dev") + 1]
                mac = words[words.index("lladdr") + 1] if "lladdr" in words else "-"
                flags = [w for w in words if w in ("router", "extern_learn", "managed", "zebra")]
                rows.append(" ".join([words[0], dev, mac, *flags, words[-1]]))
        return sorted(rows)

    @staticmethod
    def sysctl(name, value, namespace=None):
        """Set one key below net, here or there. Without procps: not every host has it."""
        path = f"/proc/sys/net/{name.replace('.', '/')}"
        if namespace:
            ip("netns", "exec", namespace, "sh", "-c", f"echo {value} >{path}")
            return
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))

    @staticmethod
    @contextlib.contextmanager
    def confirming(*addresses):
        """Let an application vouch for addresses of one family until the block ends."""
        done = threading.Event()
        family = socket.AF_INET6 if ":" in addresses[0] else socket.AF_INET

        def send():
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                while not done.wait(0.02):
                    for address in addresses:
                        sender.sendto(b"x", socket.MSG_CONFIRM, (address, 9))

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            done.set()
            sender.join()

    @staticmethod
    def until(holds, seconds=30):
        """Wait until something holds, and no longer than that."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    def quick(self, dev="db0"):
        """Shorten the device's timers: a verdict in three tenths of a second and not in three."""
        for family in ("ipv4", "ipv6"):
            self.sysctl(f"{family}.neigh.{dev}.retrans_time_ms", 100)
        self.sysctl(f"ipv4.neigh.{dev}.locktime", 0)
