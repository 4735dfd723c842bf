"""Machines: each is a network namespace with one network card, ``eth0``.

A machine runs commands (``run``), keeps daemons (``start``) and lends its network to a socket of
ours (``inside``). Everything is real: the same kernel, the same ``ip``, the same TCP.
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
    """A command of ours failed, or something did not happen in time; the text says what."""


def refuse_outside():
    """Stop unless we run in the private world: nothing here may touch a real machine's network."""
    if not os.environ.get("ARP_LAB_PRIVATE"):
        raise SystemExit("this changes the network: run it as  python3 lab/private.py COMMAND")


def run(*words, check=True, timeout_s=60, env=None, stdin=None):
    """Run a command, return what it printed; ``stdin`` is text for it."""
    done = subprocess.run(
        words, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=env, check=False
    )
    if check and done.returncode:
        raise Failed(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def poll(what, seconds, probe, every_s=0.05):
    """Call ``probe`` until it returns something true, and return that; give up with a reason."""
    deadline = time.monotonic() + seconds
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:g} s in vain: {what}")
        time.sleep(every_s)


class Machine:
    """One host. ``name`` is its namespace; its addresses and MAC come from the fabric."""

    def __init__(self, name):
        self.name = name
        self.ip = self.ip6 = self.mac = self.port = None
        self._daemons = []
        run("ip", "netns", "add", name)
        self.do("ip link set lo up")

    def do(self, *words, **options):
        """Run a command on this machine: words, or one line of words without spaces in them."""
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
        """Make the calling thread stand in this machine; a socket made here stays here."""
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
        """One row of this machine's table as ``ip -s -j`` tells it, or None."""
        family = "-6" if ":" in ip else "-4"
        rows = json.loads(self.do(f"ip {family} -s -j neigh show {ip}") or "[]")
        return rows[0] if rows else None

    def stop(self):
        """End its daemons and pull the plug: the machine is gone, and nobody is told."""
        for daemon in self._daemons:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        self._daemons.clear()
        run("ip", "netns", "del", self.name, check=False)


def _enter(file):
    if _libc.setns(file.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
