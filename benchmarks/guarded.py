"""A database and a re-created worker with many addresses, for the sentinel's benchmarks."""

import contextlib
import ctypes
import os
import signal
import socket
import statistics
import subprocess
import threading
import time
from pathlib import Path

from lab.machines import run
from lab.saltstack import SENTINEL

REPO = Path(__file__).resolve().parents[1]
HOST, DEAD, BORN = (f"02:00:00:00:00:{last}" for last in ("01", "0a", "0b"))
PORT, PATIENCE_S = 5432, 2.0
MANY6 = 1010  # IPv6 addresses of the worker: each is configured
AT_ONCE = 100  # entries with dead MACs at a time: the kernel collects entries above 512
LOCKTIME_S = 1.1  # after an entry is written, until it counts as old
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
#: Unicast requests get no answer, and every second broadcast is lost.
LOSSY = """
table arp lossy {
  chain in { type filter hook input priority 0;
    meta pkttype host drop
    meta pkttype broadcast numgen inc mod 2 0 drop
  }
}
table ip6 lossy {
  chain in { type filter hook input priority 0;
    icmpv6 type nd-neighbor-solicit meta pkttype host drop
    icmpv6 type nd-neighbor-solicit meta pkttype multicast numgen inc mod 2 0 drop
  }
}
"""


def stage():
    """Lay a cable: the database here, and a worker that has every address of its network."""
    if _libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["ip", "netns", "del", "guarded"], capture_output=True, check=False)
    for words in (
        "link set lo up",
        "netns add guarded",
        "link add db0 type veth peer name w0 netns guarded",
        f"link set db0 addrgenmode none address {HOST} up",
        "address add 10.0.0.1/8 dev db0",
        "address add 2001:db8::1/64 dev db0 nodad",
        "address add fe80::1/64 dev db0 nodad",
        f"-n guarded link set w0 addrgenmode none address {BORN} up",
        "-n guarded address add fe80::2/64 dev w0 nodad",
        "-n guarded route add local 10.1.0.0/16 dev lo",
        "-n guarded route add 10.0.0.0/8 dev w0 src 10.1.0.0",
        f"-n guarded neigh add 10.0.0.1 lladdr {HOST} nud permanent dev w0",
        f"-n guarded neigh add 2001:db8::1 lladdr {HOST} nud permanent dev w0",
        f"-n guarded neigh add fe80::1 lladdr {HOST} nud permanent dev w0",
    ):
        run("ip", *words.split())
    lines = [f"address add {address(n, 6)}/64 dev w0 nodad" for n in range(MANY6)]
    batch(lines, "-n", "guarded")


def batch(lines, *words):
    """Run many iproute2 commands in one batch."""
    text = "\n".join(lines)
    subprocess.run(["ip", *words, "-batch", "-"], input=text, text=True, check=True)


def address(number, family=4):
    """Return one of the worker's addresses."""
    if family == 4:
        return f"10.1.{number >> 8}.{number & 255}"
    return f"2001:db8::1:{number % MANY6 + 1:x}"


def lossy():
    """Let most probes of the worker be lost."""
    return worker_rules(LOSSY)


@contextlib.contextmanager
def worker_rules(text):
    """Let the worker have rules of nftables until the block ends."""
    words = ["ip", "netns", "exec", "guarded", "nft"]
    subprocess.run([*words, "-f", "-"], input=text, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([*words, "flush", "ruleset"], check=True)


def hold_dead(names, state):
    """Give the database entries with a dead MAC, older than locktime."""
    words = [f"neigh replace {name} lladdr {DEAD} dev db0 nud" for name in names]
    batch([f"{word} permanent" for word in words] + [f"{word} {state}" for word in words])
    time.sleep(LOCKTIME_S)


def forget(names):
    """Delete the entries: a nearly full table would change the measurement."""
    batch([f"neigh replace {name} lladdr {DEAD} dev db0 nud permanent" for name in names])
    batch([f"neigh del {name} dev db0" for name in names])


class Server:
    """A TCP server that sends one word, or echoes."""

    def __init__(self, host, echo=False):
        self._echo = echo
        self._sock = socket.create_server(
            (host, PORT), backlog=512, family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _address = self._sock.accept()
                with contextlib.suppress(OSError), peer:
                    peer.sendall(peer.recv(4) if self._echo else b"word")

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


class Guard:
    """A sentinel as a process of its own."""

    def __init__(self, *options):
        self._process = subprocess.Popen([*SENTINEL, *options], stdout=subprocess.PIPE, text=True)
        self.pid = self._process.pid  # `env` becomes it
        self._process.stdout.readline()
        self._is_killed = False
        self._lines = threading.Thread(target=self._process.stdout.read, daemon=True)
        self._lines.start()

    def signal(self, number):
        """Send it a signal."""
        self._is_killed |= number in (signal.SIGKILL, signal.SIGTERM)
        self._process.send_signal(number)

    def cpu_s(self):
        """Return the seconds of CPU it has used."""
        return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[0]) / 1e9

    def memory_kb(self):
        """Return what it holds."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0])

    def __enter__(self):
        time.sleep(0.5)
        return self

    def __exit__(self, *_exc):
        died = self._process.poll()
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait()
        if died is not None and not self._is_killed:
            raise SystemExit(f"the sentinel ended by itself: {died}")


@contextlib.contextmanager
def in_worker():
    """Enter the worker's namespace."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open("/run/netns/guarded", os.O_RDONLY)
    _libc.setns(there, CLONE_NEWNET)
    try:
        yield
    finally:
        _libc.setns(here, CLONE_NEWNET)
        os.close(here)
        os.close(there)


def connect(source, port=PORT, patience_s=PATIENCE_S):
    """Return how long the worker waits for the word; infinite where it gives up."""
    host = "2001:db8::1" if ":" in source else "10.0.0.1"
    with in_worker():
        sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    with sock:
        sock.settimeout(patience_s)
        sock.bind((source, 0))
        return timed(lambda: sock.connect((host, port)), sock)


def call(target, patience_s=PATIENCE_S):
    """Return how long the database waits for the worker's word."""
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET) as sock:
        sock.settimeout(patience_s)
        return timed(lambda: sock.connect((target, PORT)), sock)


def timed(begin, sock):
    """Return the seconds until the word is there."""
    began = time.monotonic()
    try:
        begin()
        sock.recv(4)
    except OSError:
        return float("inf")
    return time.monotonic() - began


@contextlib.contextmanager
def confirming(name):
    """Let an application confirm an address by MSG_CONFIRM."""
    done = threading.Event()

    def send():
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            while not done.wait(0.005):
                sender.sendto(b"x", socket.MSG_CONFIRM, (name, 9))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        done.set()
        sender.join()


def recreations(count, family, is_confirmed, attempt=connect, first=0):
    """Return the seconds of each first connection, each from another address.

    Plain: the entry is STALE, as after a minute without traffic.
    """
    took = []
    while len(took) < count:
        some = min(AT_ONCE, count - len(took))
        names = [address(first + len(took) + number, family) for number in range(some)]
        hold_dead(names, "reachable" if is_confirmed else "stale")
        for name in names:
            with confirming(name) if is_confirmed else contextlib.nullcontext():
                took.append(attempt(name))
        forget(names)
    return took


def failed(took):
    """Return how many timed out."""
    return sum(seconds == float("inf") for seconds in took)


def verdict(took, goal_ms):
    """Return whether none has failed, and 99 % were as quick as that."""
    is_met = not failed(took) and percentile_99(took) * 1e3 <= goal_ms
    return "met" if is_met else "**missed**"


def percentile_99(took):
    """Return the 99th percentile of those that did not time out."""
    good = sorted(seconds for seconds in took if seconds != float("inf")) or [float("inf")]
    return good[min(len(good) - 1, len(good) * 99 // 100)]


def summary(took, digits=1):
    """Return four cells: failed, median, 99 %, worst."""
    good = [seconds for seconds in took if seconds != float("inf")] or [float("inf")]
    p99 = percentile_99(took)
    times = " | ".join(
        f"{s * 1e3:.{digits}f} ms" for s in (statistics.median(good), p99, max(good))
    )
    return f"{failed(took)} of {len(took)} | {times}"
