"""A healthy flow while its entry is looked after, on a network that answers badly."""

import contextlib
import socket
import threading

import pytest
from conftest import BORN
from wire import answer, namespace

ADDRESS, PORT = "192.0.2.10", 9000


class Flow:
    """Numbered datagrams to the worker, about a thousand a second, until the block ends."""

    def __enter__(self):
        with namespace("worker"):
            self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._receiver.bind((ADDRESS, PORT))
        self._done, self.sent = threading.Event(), 0
        self._sender = threading.Thread(target=self._send)
        self._sender.start()
        return self

    def _send(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not self._done.wait(0.001):
                sock.sendto(str(self.sent).encode(), (ADDRESS, PORT))
                self.sent += 1

    def lost(self):
        """End it; return how many datagrams did not arrive."""
        self._done.set()
        self._sender.join()
        received = set()
        self._receiver.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while True:
                received.add(self._receiver.recv(16))
        return self.sent - len(received)

    def __exit__(self, *_exc):
        self._done.set()
        self._sender.join()
        self._receiver.close()


@pytest.mark.parametrize("verb", ["revalidate", "flush"])
def test_revalidation_loses_no_datagram_and_flush_does(arp, scene, wire, verb):
    """No unicast question is answered, and of the broadcasts every second one: nothing else is."""
    scene.worker(ADDRESS)
    with namespace("worker"):
        scene.sysctl("ipv4.conf.all.arp_ignore", 8)
    scene.sysctl("ipv4.neigh.db0.unres_qlen", 3)  # packets kept while nobody has answered yet
    scene.add(ADDRESS, "reachable", BORN)

    def respond(asked, to_all, number):
        return [answer(asked, BORN)] if to_all and number % 2 else []

    with wire.answering(respond), Flow() as flow:
        scene.until(lambda: flow.sent > 100)
        told = getattr(arp, verb)(ADDRESS)
        scene.until(lambda: flow.sent > 1000)
        lost = flow.lost()
    if verb == "revalidate":
        assert (told["confirmed"], lost) == (1, 0)
    else:
        assert (told["flushed"], lost > 50) == (1, True), lost
