"""What comes from the network and from the kernel, as bytes: each target takes any bytes.

A target returns where the code under test behaves: it gives a value that keeps its promises, or
refuses by the one exception that its callers expect.
"""

import contextlib
import socket
import struct
from collections import Counter

from arp_engine.netlink import codec, links, nf_tables, route, sock_diag, table_dump
from arp_engine.packets import frames, tcp_syn
from arp_engine.resolve import interface_facts
from arp_engine.sentinel import neighbour_cache
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_NEWNEIGH

OWN, PEER = bytes.fromhex("020000000001"), bytes.fromhex("02000000000b")


def answers(data):
    """A frame that claims to answer a question: by ARP and by IPv6, from Ethernet and others."""
    length = data[0] % 21 if data else 0
    for protocol in (frames.ETH_P_ARP, frames.ETH_P_IPV6, 0x0800):
        for hardware, source in ((1, PEER), (1, data[1:7]), (32, data[1 : 1 + length])):
            for packet in (data, data[1:]):
                sender = ("db0", protocol, data[0] % 5 if data else 0, hardware, source)
                answer = frames.parse(packet, sender, OWN)
                if answer:
                    check_answer(answer, hardware)


def check_answer(answer, hardware):
    assert len(answer.ip) in (4, 16)
    assert answer.owner, "an answer without a MAC"
    assert OWN not in (answer.owner, answer.source), "we answered ourselves"
    assert any(answer.owner), "the MAC of nobody"
    assert hardware != 1 or not answer.owner[0] & 1, "the MAC of a group"
    assert answer.ip[0] != 0xFF or len(answer.ip) == 4, "the address of a group"


def syns(data):
    """A packet that a tap received."""
    syn = tcp_syn.parse_tagged(data)
    if syn:
        assert len(syn.source) == len(syn.target) in (4, 16)
        assert len(syn.sequence) == 4
        assert 0 <= syn.source_port < 65536 > syn.target_port
    again = tcp_syn.rebuild(data)
    if again:
        assert syn
        assert tcp_syn.parse(again).connection == tcp_syn.parse(data).connection
        assert tcp_syn.rebuild(again) == again, "rebuilt twice is another packet"
        at, addresses = (20, again[12:20]) if again[0] >> 4 == 4 else (40, again[8:40])
        total = tcp_syn._sum(addresses, again[at:])
        assert total == 0, "a wrong checksum"


def neighbours(data):
    """The answer to a dump of the neighbour table; what would be deleted is what was read."""
    one_by_one = None
    with contextlib.suppress(codec.MalformedMessage):
        found = [codec.parse(message) for _kind, message in codec.messages(data)]
        one_by_one = Counter(entry for entry in found if entry)
    with contextlib.suppress(codec.MalformedMessage):
        blocks = list(table_dump.read([data], lambda head: head.state))
        together = Counter(entry for block in blocks for entry in block.entries())
        assert one_by_one is None or together == one_by_one
        assert sum(map(len, blocks)) == together.total()
        for block in blocks:
            check_block(block)
    with contextlib.suppress(codec.MalformedMessage):
        list(codec.links(data))


def check_block(block):
    entries = list(block.entries())
    assert {entry.head for entry in entries} == block.heads()
    assert list(block.addresses()) == [entry.dst for entry in entries]
    orders = [*codec.messages(bytes(block.deletes()))]
    assert len(orders) == len(entries)
    for (kind, order), entry in zip(orders, entries, strict=True):
        assert kind == RTM_DELNEIGH
        assert codec.HEADER.unpack_from(order)[2] == 1, "more flags than NLM_F_REQUEST"
        deleted = codec.parse_neighbour(order)
        assert deleted.key == entry.key, "another entry would be deleted"


def notifications(data):
    """Notifications to the sentinel's copy of the table."""
    cache = neighbour_cache.NeighbourCache()
    half = len(data) // 2
    for datagram in (data, data[:half], data[half:]):
        with contextlib.suppress(codec.MalformedMessage):
            for change in cache.take(datagram):
                assert change.key
                assert isinstance(change.is_other_mac, bool)
                assert change.new is None or cache.get(change.key) == change.new
    for entry in list(cache.entries()):
        assert cache.get(entry.key) is entry
        assert entry in list(cache.at(entry.dst))
        cache.is_shared(entry.key, entry.mac)
    changed = cache.pop_changed()
    with_mac = {entry.key for entry in cache.entries() if neighbour_cache.mac_of(entry)}
    assert with_mac <= changed
    cache.forget_device(next((entry.ifindex for entry in cache.entries()), 1))


def sockets(data):
    """The answer to a dump of TCP sockets, by columns and one by one."""
    read = {}
    for name, parse in (
        ("columns", lambda: list(sock_diag._parse_chunk(data, False))),
        ("one by one", lambda: list(sock_diag._parse_one_by_one(data))),
    ):
        with contextlib.suppress(codec.MalformedMessage):
            read[name] = parse()
            assert all(one.row() for one in read[name])
    if len(read) == 2:
        assert read["columns"] == read["one by one"]
    with contextlib.suppress(codec.MalformedMessage):
        some = list(sock_diag._parse_chunk(data, True))
        waiting = [one for one in some if one.is_unanswered]
        assert waiting == [one for one in read["columns"] if one.is_unanswered]


class Kernel(interface_facts.FactsChannel):
    """A netlink channel on which the kernel answers every request with the same bytes."""

    def __init__(self, data):
        self._data = data

    def request(self, *_words):
        return self._data

    def dump(self, *_words):
        return iter([self._data])

    def answers(self, questions):
        return [self._data] * len(questions)


def facts(data):
    """What the kernel says of devices, addresses, routes and the ARP filter."""
    kernel = Kernel(data)
    target = socket.inet_aton("192.0.2.10")
    for read in (
        lambda: kernel.device_facts(3),
        lambda: list(kernel.addresses(socket.AF_INET)),
        lambda: list(kernel.addresses(socket.AF_INET6)),
        lambda: kernel.route_sources(3, [target]),
        lambda: route.lookup(kernel, target),
        lambda: route.next_hops(kernel, target),
        lambda: nf_tables.read(kernel, 3).keeps_quiet(target, 3, "db0"),
        lambda: nf_tables.read(kernel, 1, 10).keeps_quiet(4 * target, 3, "db0"),
        lambda: list(nf_tables._expressions({4: data})),
        lambda: links.with_entries(kernel, 3),
        lambda: links.answering_port(kernel, 3, PEER),
    ):
        with contextlib.suppress(codec.MalformedMessage):
            read()


def neighbour(address, mac=PEER, state=4, kind=RTM_NEWNEIGH):
    """Return a neighbour message, as a seed."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    body = codec.NDMSG.pack(codec.family_of(packed), 3, state, 0, 1)
    body += codec.attribute(1, packed) + codec.attribute(2, mac)
    body += codec.attribute(4, struct.pack("=I", 0)) + codec.attribute(
        3, struct.pack("=4I", *[9] * 4)
    )
    return codec.HEADER.pack(16 + len(body), kind, 2, 1, 1) + body


ARP_REPLY = frames.arp_request(1, PEER, b"\xc0\0\2\n", b"\xc0\0\2\1")
SYN_V4 = bytes.fromhex(
    "4500003c0000400040060000c000020ac0000201a0001538000000010000000 0a002faf000000000"
    "020405b40402080a0000000000000000 01030307".replace(" ", "")
)
SEEDS = {
    "answers": [
        ARP_REPLY[:7] + b"\2" + ARP_REPLY[8:],
        frames.advertisement(PEER, bytes(15) + b"\1"),
    ],
    "syns": [SYN_V4],
    "neighbours": [neighbour("192.0.2.10") * 3, neighbour("2001:db8::1") + neighbour("192.0.2.9")],
    "notifications": [neighbour("192.0.2.10") + neighbour("192.0.2.10", OWN, kind=RTM_DELNEIGH)],
    "sockets": [],
    "facts": [],
}
TARGETS = {
    "answers": answers,
    "syns": syns,
    "neighbours": neighbours,
    "notifications": notifications,
    "sockets": sockets,
    "facts": facts,
}
