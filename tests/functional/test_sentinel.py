"""The sentinel: the first connection of a worker that was made anew, and what may go wrong."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from conftest import BORN, DEAD
from wire import namespace

PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])
OURS = {4: "192.0.2.1", 6: "2001:db8::1"}
PORT = 5432


def family(address):
    return 6 if ":" in address else 4


class Guard:
    """A sentinel as a process of its own, and what it says."""

    def __init__(self, repo, *options):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, str(repo / "_utils" / "arp_sentinel_loop.py"), *options],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.strip())

    def told(self, kind):
        return [line for line in list(self.lines) if line.startswith(f"{kind}: ")]

    def until(self, kind, count=1, seconds=10):
        deadline = time.monotonic() + seconds
        while len(self.told(kind)) < count:
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None, self.lines
            time.sleep(0.01)
        return self.told(kind)

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(how)
        self.process.wait(10)
        self._reader.join()
        return self.lines


@pytest.fixture
def guard(repo, scene):
    guards = []

    def begin(*options, ready="watching"):
        guards.append(Guard(repo, *options))
        guards[-1].until(ready)
        return guards[-1]

    yield begin
    for each in guards:
        each.end()


class Server:
    """A listener that says one word to everybody who connects."""

    def __init__(self, address, port=PORT, device=None):
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sock = socket.socket(kind)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if device:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        self.sock.bind((address, port))
        self.sock.listen(512)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _address = self.sock.accept()
                with contextlib.suppress(OSError), peer:
                    peer.sendall(b"word")

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


def connect(source, target=None, port=PORT, patience=5.0):
    """Connect from the worker's namespace and hear the word; return the seconds it took."""
    with namespace("worker"):
        sock = socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET)
    with sock:
        sock.settimeout(patience)
        sock.bind((source, 0))
        began = time.monotonic()
        sock.connect((target or OURS[family(source)], port))
        assert sock.recv(4) == b"word"
        return time.monotonic() - began


# --- the first connection


@PAIR
@pytest.mark.parametrize("state", ["reachable", "stale"])
def test_the_first_connection_of_a_new_worker_is_not_late(scene, guard, database, address, state):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.worker(address)
    scene.add(address, state, DEAD)
    begun = guard()
    took = connect(address)
    print("TOOK", took)
    assert took < 0.9  # the kernel's own second SYN/ACK comes after 1 s
    assert begun.until("healed") == [f"healed: {address} on db0: {DEAD} -> {BORN} (syn)"]
    assert f"{address} db0 {BORN} REACHABLE" in scene.table()
