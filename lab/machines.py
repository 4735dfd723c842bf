"""Machines: each is a network namespace with one network card, ``eth0``.

A machine runs commands (``do``), runs daemons (``start``), and its network can be entered to make a
socket there (``inside``). Everything is real: the host's kernel, ``ip`` and TCP.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A command failed, or a condition was not met in time; the text says which."""


def refuse_outside():
    """Exit outside of private namespaces: a real machine's network must not be changed."""
    if not os.environ.get("ARP_LAB_PRIVATE"):
        raise SystemExit("this changes the network; run it as: python3 lab/private.py COMMAND")


def run(*words, check=True, timeout_s=60, env=None, stdin=None):
    """Run a command and return its output; ``stdin`` is its input."""
    done = subprocess.run(
        words,
        input=stdin,
        capture_output=True,
        text=True,
        errors="surrogateescape",  # a device's name may be any bytes
        timeout=timeout_s,
        env=env,
        check=False,
    )
    if check and done.returncode:
        raise Failed(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def poll(what, seconds, probe, every_s=0.05):
    """Call ``probe`` until its result is true, and return that; Failed at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise Failed(f"not true after {seconds:g} s: {what}")
        time.sleep(every_s)


def wait_until_up(*devices, namespace=None):
    """Wait until the kernel sends on ends of cables: a moment after the other ends are up.

    Until its link watch has run, which is late on a busy machine, it drops each frame silently.
    """
    there = ["-n", namespace] if namespace else []

    def are_up():
        lines = run("ip", *there, "-oneline", "link", "show").splitlines()
        up = {line.split(": ")[1].split("@")[0] for line in lines if " state UP " in line}
        return up.issuperset(devices)

    poll(f"{', '.join(devices)} up", 60, are_up, every_s=0.001)


def wait_until_taken(*addresses, namespace=None):
    """Wait until the kernel takes what is sent to IPv6 addresses that were just added.

    It adds the route of each in a work of its own, also without duplicate detection
    (addrconf_dad_work); until then, longer on a busy machine, it drops packets for that address.
    """
    there = ["-n", namespace] if namespace else []

    def are_taken():
        shown = run("ip", *there, "-6", "route", "show", "table", "local")
        taken = {line.split()[1] for line in shown.splitlines() if line.startswith("local ")}
        return taken.issuperset(addresses)

    poll(f"{', '.join(addresses)} taken", 60, are_taken, every_s=0.001)


def give(address, dev, namespace=None):
    """Give a device an address of a /24 or /64, without duplicate detection."""
    there = ["-n", namespace] if namespace else []
    length, extra = ("64", ["nodad"]) if ":" in address else ("24", [])
    run("ip", *there, "address", "add", f"{address}/{length}", "dev", dev, *extra)
    if ":" in address:
        wait_until_taken(address, namespace=namespace)


class Machine:
    """One host. ``name`` is its namespace; its addresses and MAC come from the fabric."""

    def __init__(self, name):
        self.name = name
        self.ip = self.ip6 = self.mac = self.port = None
        self._daemons = []
        run("ip", "netns", "add", name)
        self.do("ip link set lo up")

    def do(self, *words, **options):
        """Run a command on this machine: words, or one line that is split at spaces."""
        if len(words) == 1:
            words = words[0].split()
        return run("ip", "netns", "exec", self.name, *words, **options)

    def start(self, *words, **options):
        """Start a daemon on this machine; it ends with the machine."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        daemon = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *words], start_new_session=True, **quiet | options
        )
        self._daemons.append(daemon)
        return daemon

    @contextlib.contextmanager
    def inside(self):
        """Enter this machine's network with the calling thread; a socket made here stays here."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            _enter(there)
            try:
                yield self
            finally:
                _enter(home)

    def set(self, key, value):
        """Set a neighbour setting of eth0, both families (``base_reachable_time_ms``, …)."""
        for family in ("ipv4", "ipv6"):
            # locktime, proxy_* mean nothing to IPv6, but the keys exist there too.
            self.sysctl(f"net/{family}/neigh/eth0/{key}", value)

    def sysctl(self, path, value):
        """Set one kernel setting of this machine, by its path below /proc/sys."""
        with self.inside(), open(f"/proc/sys/{path}", "w", encoding="ascii") as file:
            file.write(str(value))

    def neighbour(self, ip):
        """Return one row of this machine's table from ``ip -s -j``, or None."""
        family = "-6" if ":" in ip else "-4"
        rows = json.loads(self.do(f"ip {family} -s -j neigh show {ip}") or "[]")
        return rows[0] if rows else None

    def stop(self):
        """End its daemons, with all that they have started, and remove it; nobody is told."""
        for pid in run("ip", "netns", "pids", self.name, check=False).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        for daemon in self._daemons:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        self._daemons.clear()
        run("ip", "netns", "del", self.name, check=False)


def _enter(file):
    if _libc.setns(file.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
