"""A healthy flow while its entry is looked after, on a network that answers badly."""

import contextlib
import socket
import threading
import time

import pytest
from arp_engine.netlink import sock_diag
from conftest import BORN, DEAD, HOST, ip
from pace import late_verdicts, pace  # noqa: F401
from wire import answer, namespace

ADDRESS, PORT = "192.0.2.10", 9000
LOST_AT_LEAST = 100  # by a flush: datagrams until its second broadcast is answered


pytestmark = pytest.mark.usefixtures("late_verdicts")


class Flow:
    """Numbered datagrams to the worker, about a thousand a second, until the block ends."""

    def __enter__(self):
        with namespace("worker"):
            self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._receiver.bind((ADDRESS, PORT))
        self._receiver.settimeout(0.1)
        self._done, self.sent, self._received = threading.Event(), 0, set()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._receive)]
        for each in self._threads:
            each.start()
        return self

    def _send(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not self._done.wait(0.001):
                sock.sendto(str(self.sent).encode(), (ADDRESS, PORT))
                self.sent += 1

    def _receive(self):
        """Go on until nothing has come for a while, unless all has."""
        last = time.monotonic()
        while not self._done.is_set() or time.monotonic() < last + 3:
            if self._done.is_set() and len(self._received) == self.sent:
                return
            with contextlib.suppress(TimeoutError):
                self._received.add(self._receiver.recv(16))
                last = time.monotonic()

    def lost(self):
        """End it; return how many datagrams did not arrive."""
        self._end()
        return self.sent - len(self._received)

    def _end(self):
        self._done.set()
        for each in self._threads:
            each.join()

    def __exit__(self, *_exc):
        self._end()
        self._receiver.close()


@pytest.mark.parametrize("verb", ["revalidate", "flush"])
@pytest.mark.usefixtures("pace")
def test_revalidation_loses_no_datagram_and_flush_does(arp, scene, wire, verb):
    """No unicast question is answered, and of the broadcasts every second one: nothing else is."""
    scene.worker(ADDRESS)
    with namespace("worker"):
        scene.sysctl("ipv4.conf.all.arp_ignore", 8)
    scene.sysctl("ipv4.neigh.db0.unres_qlen", 3)  # packets kept while nobody has answered yet
    scene.add(ADDRESS, "reachable", BORN)

    first = []

    def respond(asked, to_all, number):
        first.append(flow.sent)
        is_second = flow.sent > first[0] + LOST_AT_LEAST if verb == "flush" else number % 2
        return [answer(asked, BORN)] if to_all and is_second else []

    with Flow() as flow, wire.answering(respond):
        scene.until(lambda: flow.sent > 100)
        told = getattr(arp, verb)(ADDRESS)
        scene.until(lambda: flow.sent > 1000)
        lost = flow.lost()
    if verb == "revalidate":
        assert (told["confirmed"], lost) == (1, 0)
    else:
        assert (told["flushed"], lost > LOST_AT_LEAST / 2) == (1, True), lost


class Talk:
    """A TCP connection on which both ends talk, a hundred times a second, until the block ends."""

    def __init__(self, address, mark=0):
        with namespace("worker"):
            listening = socket.create_server((address, PORT))
        self._ours = socket.socket()
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        self._ours.settimeout(5)
        self._ours.connect((address, PORT))
        self.own_port = self._ours.getsockname()[1]
        self._theirs, _peer = listening.accept()
        listening.close()
        self._done = threading.Event()
        self._talking = threading.Thread(target=self._talk)

    def _talk(self):
        while not self._done.wait(0.01):
            self._ours.sendall(b"x")
            self._theirs.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                self._theirs.recv(4096)

    def is_answered(self):
        """Tell whether all that was sent arrives, within five seconds."""
        self._end()
        self._theirs.settimeout(5)
        self._ours.sendall(b"last")
        with contextlib.suppress(TimeoutError):
            while not self._theirs.recv(4096).endswith(b"last"):
                pass
            return True
        return False

    def _end(self):
        self._done.set()
        self._talking.join()

    def __enter__(self):
        self._talking.start()
        return self

    def __exit__(self, *_exc):
        self._end()
        self._ours.close()
        self._theirs.close()


def knows_us(own):
    """Give the worker our MAC: it need not ask, and so tell us its own."""
    words = ("lladdr", HOST, "dev", "w0", "nud", "permanent")
    ip("-n", "worker", "neigh", "replace", own, *words)


def test_a_silent_host_whose_tcp_answers_keeps_its_entry(arp, scene):
    """It is told to answer no ARP (arp_ignore), and has our MAC from somebody else."""
    scene.worker(ADDRESS)
    knows_us("192.0.2.1")
    scene.add(ADDRESS, "reachable", BORN)
    with Talk(ADDRESS) as talk:
        scene.sysctl("ipv4.conf.w0.arp_ignore", 8, "worker")
        result = arp.revalidate()
        assert result["kept"]["silent, but TCP gets answers"] == 1
        assert (result["checked"], result["gone"]) == (0, [])
        assert talk.is_answered()


def test_only_the_entry_that_tcp_takes_is_kept(arp, scene):
    """The same address on another card, whose packets nobody acknowledges."""
    scene.quick()
    scene.worker(ADDRESS)
    knows_us("192.0.2.1")
    scene.add(ADDRESS, "reachable", BORN)
    ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
    for dev in ("other0", "other1"):
        ip("link", "set", dev, "up")
    ip("address", "add", "198.51.100.1/24", "dev", "other0")
    ip("neigh", "add", ADDRESS, "lladdr", DEAD, "dev", "other0", "nud", "reachable")
    with Talk(ADDRESS) as talk:
        scene.sysctl("ipv4.conf.w0.arp_ignore", 8, "worker")
        result = arp.revalidate(ADDRESS)
        assert result["kept"]["silent, but TCP gets answers"] == 1
        assert [row["dev"] for row in result["gone"]] == ["other0"]
        assert talk.is_answered()


def test_a_silent_router_through_which_tcp_works_keeps_its_entry(arp, scene):
    router, remote = ADDRESS, "203.0.113.9"
    scene.worker(router)
    ip("-n", "worker", "address", "add", remote, "dev", "lo")
    ip("route", "replace", "default", "via", router)
    knows_us("192.0.2.1")
    scene.add(router, "reachable", BORN)
    with Talk(remote) as talk:
        scene.sysctl("ipv4.conf.w0.arp_ignore", 8, "worker")
        assert arp.revalidate(router)["kept"]["silent, but TCP gets answers"] == 1
        assert talk.is_answered()


@pytest.mark.parametrize("by", ["mark", "ports"])
def test_of_two_silent_routers_the_one_that_the_socket_takes_is_kept(arp, scene, by):
    """Rules choose by the socket's mark, a multipath route by its ports."""
    routers, remote = (ADDRESS, "192.0.2.20"), "203.0.113.9"
    scene.quick()
    for router in routers:
        scene.worker(router)
        scene.add(router, "reachable", BORN)
    ip("-n", "worker", "address", "add", remote, "dev", "lo")
    knows_us("192.0.2.1")
    if by == "mark":
        ip("route", "add", "default", "via", routers[0])
        ip("route", "add", "default", "via", routers[1], "table", "7")
        ip("rule", "add", "fwmark", "7", "table", "7")
    else:
        scene.sysctl("ipv4.fib_multipath_hash_policy", 1)
        hops = [word for router in routers for word in ("nexthop", "via", router)]
        ip("route", "add", "default", *hops)
    with Talk(remote, mark=7 if by == "mark" else 0) as talk:
        ports = "ipproto", "tcp", "sport", str(talk.own_port), "dport", str(PORT)
        words = ("mark", "7") if by == "mark" else ports
        way = ip("route", "get", remote, "from", "192.0.2.1", *words).split()
        taken = way[way.index("via") + 1]
        scene.sysctl("ipv4.conf.w0.arp_ignore", 8, "worker")
        result = arp.revalidate([*routers])
        assert result["kept"]["silent, but TCP gets answers"] == 1
        assert [{row["ip"]} for row in result["gone"]] == [{*routers} - {taken}]
        assert talk.is_answered()


def test_a_dead_host_with_an_open_connection_is_gone(arp, scene):
    """Its pooled connection says nothing: nobody has acknowledged what was sent."""
    scene.quick()
    scene.worker("192.0.2.99")
    scene.worker(ADDRESS)
    scene.add(ADDRESS, "reachable", BORN)
    with Talk(ADDRESS) as talk:
        ip("-n", "worker", "address", "del", f"{ADDRESS}/24", "dev", "w0")
        with sock_diag.Sockets() as sockets:
            scene.until(lambda: sockets.unanswered(socket.inet_aton(ADDRESS)))
        [gone] = arp.revalidate()["gone"]
        assert gone["ip"] == ADDRESS
        assert not talk.is_answered()
