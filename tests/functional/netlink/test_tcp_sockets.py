"""TCP sockets that wait for an answer, exact lookups and counters, on a real kernel."""

import contextlib
import socket
import subprocess
import sys

import pytest
from arp_engine.netlink import sock_diag, tcp_counters
from conftest import BORN, DEAD, ip

PAIR = pytest.mark.parametrize(
    ("own", "address"),
    [("192.0.2.1", "192.0.2.10"), ("2001:db8::1", "2001:db8::10")],
    ids=["v4", "v6"],
)
CALL = """
import socket, sys
call = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30, (sys.argv[3], 0))
sys.stdin.read()
"""


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def unanswered(address=None, **words):
    with sock_diag.Sockets() as sockets:
        return sockets.unanswered(packed(address) if address else b"", **words)


def listener(own, dev=None):
    """Listen on an address of the database, on one device if it is named."""
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    listening = socket.create_server((own, 0), family=family)
    if dev:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, dev.encode())
    return listening


@contextlib.contextmanager
def calling(own, port, address):
    """Let the worker connect to the database from its address, until the block ends."""
    words = ["ip", "netns", "exec", "worker", sys.executable, "-c", CALL, own, str(port), address]
    caller = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        yield
    finally:
        caller.kill()
        caller.communicate()


def call(address):
    """Begin to connect, without waiting for the answer."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    caller = socket.socket(family)
    caller.setblocking(False)
    caller.connect_ex((address, 5432))
    return caller


@PAIR
def test_connecting_to_a_dead_mac_shows_as_syn_sent(scene, own, address):
    scene.add(address, "permanent", DEAD)
    with call(address):
        [found] = unanswered(address)
        assert (found.state, found.local, found.peer) == ("SYN_SENT", packed(own), packed(address))
        assert (found.peer_port, found.ifindex, found.timer) == (5432, 0, "retransmit")
        assert found.row()["peer"] == address
        for look in (unanswered(), unanswered(address, opening_only=True)):
            assert [one.cookie for one in look] == [found.cookie]
        scene.until(lambda: unanswered(address)[0].retransmits > 0)
        assert unanswered(address)[0].cookie == found.cookie


def test_counters_that_are_held_open_grow_with_what_gets_no_answer(scene):
    scene.add("192.0.2.10", "permanent", DEAD)
    with tcp_counters.CounterFiles() as counters:
        before = counters.read()

        def have_grown():  # one a moment after the other
            both = zip(before.unanswered, counters.read().unanswered, strict=True)
            return all(b < a for b, a in both)

        with call("192.0.2.10"):
            scene.until(have_grown)
        after = counters.read()
        with listener("192.0.2.1") as listening:
            port = listening.getsockname()[1]
            socket.create_connection(("192.0.2.1", port), 5).close()
        assert counters.read().segments_in > after.segments_in


@PAIR
def test_a_syn_ack_to_a_dead_mac_shows_as_syn_recv(scene, own, address):
    scene.worker(address)
    scene.add(address, "permanent", DEAD)
    with listener(own) as listening:
        port = listening.getsockname()[1]
        with calling(own, port, address):
            scene.until(lambda: unanswered(address))
            [found] = unanswered(address)
            assert (found.state, found.local_port, found.ifindex) == ("SYN_RECV", port, 0)
            with sock_diag.Sockets() as sockets:
                seen = sockets.lookup(found.local, port, found.peer, found.peer_port)
            assert (seen.state, seen.cookie) == ("SYN_RECV", found.cookie)


@PAIR
def test_an_entry_that_becomes_wrong_shows_as_retransmits(scene, own, address):
    scene.worker(address)
    scene.add(address, "permanent", BORN)
    with listener(own) as listening, calling(own, listening.getsockname()[1], address):
        connection, _peer = listening.accept()
        with connection:
            assert unanswered(address) == []
            ip("neigh", "replace", address, "lladdr", DEAD, "nud", "permanent", "dev", "db0")
            connection.send(b"anybody there?")
            scene.until(lambda: unanswered(address))
            [found] = unanswered(address)
            assert (found.state, found.timer) == ("ESTABLISHED", "retransmit")
            assert found.retransmits > 0
            assert unanswered(address, opening_only=True) == []
            assert unanswered("2001:db8::99" if ":" in address else "192.0.2.99") == []


def test_a_filter_selects_by_network_and_family(scene):
    with contextlib.ExitStack() as calls:
        for address in ("192.0.2.10", "192.0.2.200", "2001:db8::10"):
            scene.add(address, "permanent", DEAD)
            calls.enter_context(call(address))
        peers = {found.row()["peer"] for found in unanswered()}
        assert peers == {"192.0.2.10", "192.0.2.200", "2001:db8::10"}
        low = {found.row()["peer"] for found in unanswered("192.0.2.0", prefix=25)}
        assert low == {"192.0.2.10"}
        all_v6 = {found.row()["peer"] for found in unanswered("2001:db8::", prefix=32)}
        assert all_v6 == {"2001:db8::10"}


def test_an_ipv4_client_of_a_dual_stack_socket_is_an_ipv4_peer(scene):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "permanent", DEAD)
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        port = listening.getsockname()[1]
        with calling("192.0.2.1", port, "192.0.2.10"):
            scene.until(lambda: unanswered("192.0.2.10"))
            [found] = unanswered("192.0.2.10")
            assert (found.local, found.peer) == (packed("192.0.2.1"), packed("192.0.2.10"))
            with sock_diag.Sockets() as sockets:
                seen = sockets.lookup(found.local, port, found.peer, found.peer_port)
            assert seen.cookie == found.cookie
            assert seen.peer == packed("192.0.2.10")


@PAIR
def test_lookup_without_a_connection_finds_the_listener(scene, own, address):
    with listener(own) as listening, sock_diag.Sockets() as sockets:
        port = listening.getsockname()[1]
        assert sockets.lookup(packed(own), port, packed(address), 40000).state == "LISTEN"
        assert sockets.lookup(packed(own), port ^ 1, packed(address), 40000) is None


@PAIR
def test_lookup_finds_a_socket_bound_to_a_device(scene, own, address):
    scene.worker(address)
    scene.add(address, "permanent", DEAD)
    index = socket.if_nametoindex("db0")
    with listener(own, "db0") as listening:
        port = listening.getsockname()[1]
        with calling(own, port, address):
            scene.until(lambda: unanswered(address))
            [found] = unanswered(address)
            four = found.local, port, found.peer, found.peer_port
            with sock_diag.Sockets() as sockets:
                assert sockets.lookup(*four, index).ifindex == index
                assert sockets.lookup(*four, index).state == "SYN_RECV"


def test_a_kernel_without_inet_diag_is_one_error(scene, monkeypatch):
    monkeypatch.setattr(sock_diag, "_TCP", 132)  # SCTP: a protocol that nobody lists here
    with pytest.raises(OSError, match="cannot list TCP sockets: the kernel has neither"):
        sock_diag.Sockets()
    monkeypatch.setattr(sock_diag, "NETLINK_SOCK_DIAG", 31)
    with pytest.raises(OSError, match="cannot list TCP sockets: the kernel has neither"):
        sock_diag.Sockets()


def test_800_sockets_are_all_read(scene):
    with socket.create_server(("127.0.0.1", 0), backlog=500) as listening:
        ip("link", "set", "lo", "up")
        pairs = []
        for _ in range(400):
            caller = socket.create_connection(listening.getsockname())
            pairs += [caller, listening.accept()[0]]
        with sock_diag.Sockets() as sockets:
            found = sockets.dump(["ESTABLISHED"])
            assert {one.local_port for one in found} >= {one.getsockname()[1] for one in pairs}
            assert len(found) == 800
            assert sockets.unanswered() == []
        for one in pairs:
            one.close()
