"""Next hops of a flow, as the kernel's route lookup tells them."""

import socket

import pytest
from arp_engine.netlink import codec, route, rtnetlink, sock_diag
from stage import ip


def packed(address):
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def hops(address, dev="", source="", mark=0):
    with rtnetlink.Channel() as channel:
        ifindex = socket.if_nametoindex(dev) if dev else 0
        found = route.next_hops(
            channel, packed(address), ifindex, packed(source) if source else b"", mark
        )
        return {(socket.if_indextoname(index), _text(dst)) for index, dst in found}


def _text(dst):
    return socket.inet_ntop(socket.AF_INET if len(dst) == 4 else socket.AF_INET6, dst)


PAIR = pytest.mark.parametrize(
    ("on_link", "remote", "gateways"),
    [
        ("192.0.2.10", "203.0.113.9", ["192.0.2.20", "192.0.2.21"]),
        ("2001:db8::10", "2001:db8:9::9", ["2001:db8::20", "2001:db8::21"]),
    ],
    ids=["v4", "v6"],
)


@PAIR
def test_next_hop_on_link_and_behind_a_router(scene, on_link, remote, gateways):
    version = "-6" if ":" in on_link else "-4"
    assert hops(on_link) == {("db0", on_link)}
    assert hops(remote) == set()
    ip(version, "route", "add", "default", "via", gateways[0])
    assert hops(remote) == {("db0", gateways[0])}
    assert hops("192.0.2.1") == set()  # our own


@PAIR
def test_every_next_hop_of_a_multipath_route(scene, on_link, remote, gateways):
    version = "-6" if ":" in on_link else "-4"
    words = [word for gateway in gateways for word in ("nexthop", "via", gateway)]
    ip(version, "route", "add", "default", *words)
    assert hops(remote) == {("db0", gateway) for gateway in gateways}


@PAIR
def test_gateways_of_one_device(scene, on_link, remote, gateways):
    """Of all tables, of single and of multipath routes; not the hosts on the link."""
    version = "-6" if ":" in on_link else "-4"
    words = [word for gateway in gateways for word in ("nexthop", "via", gateway)]
    ip(version, "route", "add", "default", *words)
    other = gateways[0] + "9"
    ip(version, "route", "add", "default", "via", other, "table", "7")
    family, db0 = codec.family_of(packed(on_link)), socket.if_nametoindex("db0")
    expected = {(db0, packed(gateway)) for gateway in (*gateways, other)}
    assert route.gateways(family, db0) == expected
    assert route.gateways(family) == expected
    ip("link", "add", "br0", "type", "bridge")
    assert route.gateways(family, socket.if_nametoindex("br0")) == set()


@PAIR
def test_next_hop_by_source_and_by_mark(scene, on_link, remote, gateways):
    version, own = ("-6", "2001:db8::1") if ":" in on_link else ("-4", "192.0.2.1")
    ip(version, "route", "add", "default", "via", gateways[0])
    ip(version, "route", "add", "default", "via", gateways[1], "table", "100")
    ip(version, "rule", "add", "fwmark", "7", "lookup", "100")
    assert hops(remote, mark=7) == {("db0", gateways[1])}
    assert hops(remote, "db0", own) == {("db0", gateways[0])}
    ip(version, "rule", "add", "from", own, "lookup", "100")
    assert hops(remote, source=own) == {("db0", gateways[1])}
    assert hops(remote) == {("db0", gateways[0])}


def test_the_mark_of_a_socket(scene):
    with socket.socket() as sock, sock_diag.Sockets() as sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
        sock.setblocking(False)
        sock.connect_ex(("192.0.2.99", 5432))
        [found] = sockets.unanswered(packed("192.0.2.99"))
        assert sockets.mark(found) == 7
        assert sockets.mark(found._replace(local_port=1)) == 0
