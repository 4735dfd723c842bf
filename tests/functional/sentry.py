"""A sentinel as a process of its own, a database that answers, and clients beside it."""

import contextlib
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import stalls
from arp_engine.reporting import sentinel_status
from arp_engine.sentinel.telling import NOTICED
from conftest import BORN, DEAD, HOST
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from wire import ETH_P_ALL, namespace

from lab.saltstack import SENTINEL

PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])
OURS = {4: "192.0.2.1", 6: "2001:db8::1"}
PORT = 5432
WRITTEN_S = 0.1  # before: an entry that a connection is to find wrong
SECOND_SYN_S = 0.9  # the kernel's own second SYN, or SYN/ACK, comes after 1 s

# The second of two who answer may be heard late on a busy machine.
SLOW_SECOND = "from arp_engine.resolve import ask; ask.COLLECT_S = 1.0"


def healed_line(address, why="syn", dev="db0", macs=(DEAD, BORN)):
    """Return the sentinel's line on a heal."""
    return f"healed: {address} on {dev}: {macs[0]} -> {macs[1]} ({NOTICED[why]})"


def family(address):
    return 6 if ":" in address else 4


# The kernel's limit counts the entries of all namespaces, those of other tests too.
NO_LIMIT = "from arp_engine.table import capacity; capacity.NEARLY_FULL = 1000"

# A heal is told when its former holder has been silent for long: here after one question.
BRIEF = """
from arp_engine.resolve import look_back
look_back.LOOK_BACK_FOR_S, look_back.MIN_SILENT = 0.1, 1
"""


class Guard:
    """A sentinel as a process of its own, and what it says."""

    def __init__(self, repo, *options, patch="", under=()):
        self.lines = []
        # patch: a misfortune that the real thing will not produce
        script = (
            "from arp_engine.sentinel import loop, process\n"
            f"{NO_LIMIT}\n{BRIEF}\n{patch}\nprocess.main()"
        )
        words = [*under, *SENTINEL[:-2], "-c", script, *options]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        stalls.watch(self.process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def told(self, kind):
        return [line for line in list(self.lines) if line.startswith(f"{kind}: ")]

    def until(self, kind, count=1, seconds=120):
        """Wait for lines. A claimant whose turn comes late is asked again: after 30 s, or 60."""
        deadline = time.monotonic() + seconds
        while len(self.told(kind)) < count:
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None, self.lines
            time.sleep(0.01)
        return self.told(kind)

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        finally:
            self.process.kill()  # one that does not end, or nothing
            self._reader.join()
        return self.lines


@pytest.fixture
def guard(repo, scene):
    with contextlib.ExitStack() as ends:  # each of them, whatever becomes of another
        ends.callback(sentinel_status.remove, sentinel_status.PATH)

        def begin(*options, ready="watching", patch=""):
            guard = Guard(repo, *options, patch=patch)
            ends.callback(guard.end)
            guard.until(ready)
            if ready == "watching":  # and has looked at the table: then it writes its first status
                pid = guard.process.pid
                scene.until(
                    lambda: (
                        sentinel_status.read(sentinel_status.PATH, time.monotonic()).get("pid")
                        == pid
                    )
                )
            return guard

        yield begin


class Server:
    """A listener that says one word to everybody who connects."""

    def __init__(self, address, port=PORT, device=None, echo=False, transparent=False):
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.socket(kind)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if device:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if transparent:
            option = (socket.IPPROTO_IPV6, 75) if ":" in address else (socket.IPPROTO_IP, 19)
            self.sock.setsockopt(*option, 1)  # IP_TRANSPARENT: it answers for others
        self.sock.bind((address, port))
        self.sock.listen(512)
        self.echo = echo
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _address = self.sock.accept()
                with contextlib.suppress(OSError), peer:
                    peer.sendall(peer.recv(64) if self.echo else b"word")

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join()


@pytest.fixture
def database(scene):
    servers = [Server("192.0.2.1"), Server("2001:db8::1")]
    yield servers
    for server in servers:
        server.close()


def connect(source, target=None, port=PORT, patience=30.0):
    """Connect from the worker's namespace and hear the word; return the seconds it took.

    An entry that was just written is let become old, as the wrong entries of an outage are: on a
    busy machine a SYN within a millisecond is there before the sentinel has read of the entry.
    """
    with namespace("worker"):
        sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    with sock:
        sock.settimeout(patience)
        sock.bind((source, 0))
        time.sleep(WRITTEN_S)
        began = time.monotonic()
        sock.connect((target or OURS[family(source)], port))
        assert sock.recv(4) == b"word"
        return time.monotonic() - began


def connect_within(seconds, *words, **more):
    """Connect like that, which a timed test claims to take less than so many seconds."""
    with stalls.within(seconds) as claim:
        claim.took_s = connect(*words, **more)


def connect_at_once_within(seconds, sources):
    """The same of many at once, and of the last one of them."""
    with stalls.within(seconds) as claim, ThreadPoolExecutor(len(sources)) as pool:
        claim.took_s = max(pool.map(connect, sources))


def call(address):
    """Connect to a service of the worker's and hear the word; return the seconds it took."""
    began = time.monotonic()
    with socket.create_connection((address, PORT), 30) as sock:
        assert sock.recv(4) == b"word"
        return time.monotonic() - began


def call_within(seconds, address):
    """Call like that, which a timed test claims to take less than so many seconds."""
    with stalls.within(seconds) as claim:
        claim.took_s = call(address)


def syn(address, mac=BORN, port=PORT, source_port=4000, **fields):
    """Return a frame with a SYN from an address, of any MAC."""
    layer = IPv6 if ":" in address else IP
    header = layer(src=address, dst=OURS[family(address)])
    return Ether(src=mac, dst=HOST) / header / TCP(sport=source_port, dport=port, **fields)


class Loopback:
    """SYNs that go over the database's own loopback: those that were sent once more."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.bind(("lo", ETH_P_ALL))
        self.sock.setblocking(False)

    def syns(self):
        seen = []
        with contextlib.suppress(BlockingIOError):
            while True:
                data, sender = self.sock.recvfrom(2048)
                frame = Ether(data)
                if sender[2] != socket.PACKET_OUTGOING and TCP in frame:
                    seen += [frame] if frame[TCP].flags == "S" else []
        return seen


@pytest.fixture
def loopback(scene):
    watcher = Loopback()
    yield watcher
    watcher.sock.close()
