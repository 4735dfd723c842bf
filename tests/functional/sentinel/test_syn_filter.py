"""The kernel's filters of inbound SYNs, and what passes them, at any size of table."""

import contextlib
import errno
import ipaddress
import random
import socket

import pytest
from arp_engine.packets import bpf, packet_socket, tcp_syn
from arp_engine.sentinel import syn_filter, taps
from conftest import HOST, ip
from sentry import syn
from wire import Wire, tagged

from lab.machines import wait_until_up

PAIR = pytest.mark.parametrize("length", [4, 16], ids=["v4", "v6"])
SIZES = pytest.mark.parametrize("size", [10, 2000, 40_000])
KNOWN, NEW = "02:00:00:00:01:00", "02:00:00:00:01:01"


def packed(mac):
    return bytes.fromhex(mac.replace(":", ""))


class Filtered:
    """A filter on the scene's devices, fed until it is up to date."""

    def __init__(self, length, wires):
        self.wires = wires
        self.base = ipaddress.ip_address("192.0.0.0" if length == 4 else "2001:db8::")
        family = socket.AF_INET if length == 4 else socket.AF_INET6
        self.filter = syn_filter.SynFilter(family, lambda _tap: None)

    def key(self, number, dev="db0"):
        return socket.if_nametoindex(dev), (self.base + number).packed

    def refresh(self):
        while self.filter.is_outdated():
            self.filter.refresh()
        self.passed()

    def frame(self, number, mac, **fields):
        return bytes(syn(str(self.base + number), mac, **fields))

    def passed(self):
        """Return ``(device, address, MAC)`` of the SYNs that have passed since the last call."""
        for device, wire in self.wires.items():
            wire.settle(device)
        found = [got for tap in self.filter.taps for got in tap.drain(100_000)]
        at = 12 if self.base.version == 4 else 8
        size = len(self.base.packed)
        return sorted(
            (
                sender[0],
                int.from_bytes(data[at : at + size], "big") - int(self.base),
                sender[4].hex(":"),
            )
            for data, sender in found
        )


@pytest.fixture
def filtered(scene, wire, length):
    ip("link", "add", "db1", "up", "type", "veth", "peer", "name", "w1", "netns", "worker")
    ip("link", "set", "db1", "address", HOST)
    ip("-n", "worker", "link", "set", "w1", "up")
    wait_until_up("db1", "db0")
    with contextlib.closing(Wire("w1")) as other:
        found = Filtered(length, {"db0": wire, "db1": other})
        yield found
        found.filter.close()


@PAIR
@SIZES
def test_only_syns_that_contradict_an_entry_pass(filtered, wire, size):
    for number in range(size):
        filtered.filter.put(filtered.key(number), packed(KNOWN))
    filtered.refresh()
    chosen = random.sample(range(size), min(size, 150))
    for number in chosen:
        wire.sock.send(filtered.frame(number, KNOWN))
        wire.sock.send(filtered.frame(number, NEW))
        wire.sock.send(filtered.frame(number + size, NEW))
        wire.sock.send(filtered.frame(number, NEW, flags="SA"))
    assert filtered.passed() == sorted(("db0", number, NEW) for number in chosen)
    assert filtered.filter.unfiltered() == 0


@PAIR
def test_an_entry_of_another_device_hides_nothing(filtered, wire):
    """Two links with the same addresses: the other entry holds the newcomer's MAC."""
    filtered.filter.put(filtered.key(1, "db0"), packed(KNOWN))
    filtered.filter.put(filtered.key(1, "db1"), packed(NEW))
    filtered.refresh()
    other = filtered.wires["db1"]
    wire.say(filtered.frame(1, NEW), filtered.frame(1, KNOWN))
    other.say(filtered.frame(1, NEW), filtered.frame(1, KNOWN))
    assert filtered.passed() == [("db0", 1, NEW), ("db1", 1, KNOWN)]


@PAIR
@SIZES
def test_a_change_passes_everything_of_its_part_until_the_next_filter(filtered, wire, size):
    for number in range(size):
        filtered.filter.put(filtered.key(number), packed(KNOWN))
    filtered.refresh()
    filtered.filter.put(filtered.key(size), packed(KNOWN))  # a new entry
    filtered.filter.put(filtered.key(1), packed(NEW))  # another MAC
    filtered.filter.put(filtered.key(2), packed(KNOWN + NEW))  # an alias
    filtered.filter.put(filtered.key(3), None)  # gone
    wire.say(filtered.frame(size, NEW), filtered.frame(1, KNOWN))
    assert {("db0", size, NEW), ("db0", 1, KNOWN)} <= {*filtered.passed()}
    filtered.refresh()
    wire.say(*[filtered.frame(number, mac) for number in (1, 2, 3, size) for mac in (NEW, KNOWN)])
    assert filtered.passed() == [("db0", 1, KNOWN), ("db0", size, NEW)]


@PAIR
def test_a_muted_entry_passes_nothing_until_it_is_no_longer(filtered, wire):
    for number in range(10):
        filtered.filter.put(filtered.key(number), packed(KNOWN))
    filtered.filter.mute([filtered.key(1)])
    filtered.refresh()
    wire.say(filtered.frame(1, NEW), filtered.frame(2, NEW))
    assert filtered.passed() == [("db0", 2, NEW)]
    filtered.filter.mute([])
    filtered.refresh()
    wire.say(filtered.frame(1, NEW))
    assert filtered.passed() == [("db0", 1, NEW)]


@PAIR
def test_a_flood_from_one_address_leaves_room_for_another_one(filtered, wire):
    """More SYNs than one receive buffer holds; the other address has another socket."""
    for number in range(40):
        filtered.filter.put(filtered.key(number), packed(KNOWN))
    filtered.filter.spread()
    filtered.refresh()
    part = filtered.filter._part
    other = next(n for n in range(40) if part(filtered.key(n)) != part(filtered.key(0)))
    frame = filtered.frame(0, NEW)
    for _ in range(5000):
        wire.sock.send(frame)
    wire.say(filtered.frame(other, NEW))
    assert ("db0", other, NEW) in filtered.passed()


def test_under_a_flood_more_sockets_share_the_packets(scene, wire):
    opened = taps.Taps([socket.AF_INET], outgoing=False)
    with contextlib.closing(opened):
        wire.say(*[bytes(syn("192.0.2.10", NEW))] * 100)
        wire.settle()
        opened.drain()
        assert opened.is_flood()
        opened.refilter(list)
        assert len(opened._filters[4].taps) == syn_filter.FLOOD_PARTS


@pytest.mark.parametrize("length", [4])
@pytest.mark.parametrize("refused", ["join", "share_by"])
def test_where_sockets_cannot_share_all_syns_of_a_large_table_pass(
    filtered, wire, monkeypatch, refused
):
    def refuse(*_words):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(packet_socket.Tap, refused, refuse)
    for number in range(2000):
        filtered.filter.put(filtered.key(number), packed(KNOWN))
    filtered.refresh()
    assert (len(filtered.filter.taps), filtered.filter.unfiltered()) == (1, 2000)
    wire.say(filtered.frame(1, KNOWN), filtered.frame(1, NEW))
    assert filtered.passed() == [("db0", 1, KNOWN), ("db0", 1, NEW)]


@pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])
@pytest.mark.parametrize("flags", ["S", "SA"])
def test_an_outbound_syn_with_its_vlan_tag_in_the_header_passes(scene, address, flags):
    """As a VLAN device with reorder_hdr off sends it."""
    tap = packet_socket.Tap(socket.AF_UNSPEC, bpf.outbound_syns())
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind(("db0", 0))
        sock.send(bytes(tagged(syn(address, flags=flags), 7)))
    passed = [tcp_syn.parse(data) for data, _sender in tap.drain(10)]
    tap.close()
    assert [found.source_port for found in passed] == [4000] * (flags == "S")


def test_dropped_syns_are_told_once(scene, wire):
    opened = taps.Taps([socket.AF_INET], outgoing=False)
    with contextlib.closing(opened):
        assert opened.overrun() == ""
        frame = bytes(syn("192.0.2.10", NEW))
        for _ in range(5000):
            wire.sock.send(frame)
        wire.settle()
        dropped, *rest = opened.overrun().split(" ")
        assert 0 < int(dropped) < 5000
        assert rest[:3] == ["SYNs", "not", "examined,"]
        assert opened.overrun() == ""
