"""Frames: every one we send is what scapy would send, every answer of scapy's is understood."""

import ipaddress

import pytest
from arp_engine.packets import frames
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP
from scapy.packet import Raw
from scapy.utils6 import in6_getnsma, in6_getnsmac

OURS, THEIRS = bytes.fromhex("020000000001"), bytes.fromhex("02000000000b")
IB = bytes(range(20))  # InfiniBand's are that long
HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING = range(5)


def packed(text):
    return ipaddress.ip_address(text).packed


ME4, YOU4 = packed("192.0.2.1"), packed("192.0.2.10")
ME6, YOU6 = packed("fe80::1"), packed("2001:db8::12:3456")
HARDWARE = pytest.mark.parametrize(
    ("hardware", "length"), [(1, 6), (6, 6), (24, 8), (32, 20), (15, 2)]
)


def sender(protocol=frames.ETH_P_ARP, whom=HOST, hardware=1, mac=THEIRS):
    return ("db0", protocol, whom, hardware, mac)


@HARDWARE
def test_arp_requests(hardware, length):
    mac = IB[:length]
    ours = frames.arp_request(hardware, mac, ME4, YOU4)
    assert ours[:8] == bytes(ARP(hwtype=hardware, ptype=0x800, hwlen=length, plen=4, op=1))[:8]
    if hardware == 1:  # scapy writes no other hardware's addresses
        theirs = ARP(hwtype=hardware, op="who-has", pdst="192.0.2.10", psrc="192.0.2.1")
        theirs.hwsrc, theirs.hwdst = mac.hex(":"), "00:00:00:00:00:00"
        assert ours == bytes(theirs)
    assert ours[8:] == mac + ME4 + bytes(length) + YOU4


@pytest.mark.parametrize(("operation", "name"), [(1, "who-has"), (2, "is-at")])
def test_arp_announcements(operation, name):
    theirs = ARP(op=name, psrc="192.0.2.1", pdst="192.0.2.1")
    theirs.hwsrc = theirs.hwdst = OURS.hex(":")
    assert frames.arp_announcement(operation, 1, OURS, ME4) == bytes(theirs)


@pytest.mark.parametrize("unicast", [False, True], ids=["to the group", "to one host"])
@settings(deadline=None)
@given(last=st.binary(min_size=8, max_size=8), mac=st.binary(min_size=6, max_size=6))
def test_solicitations(unicast, last, mac):
    target = YOU6[:8] + last
    text = str(ipaddress.ip_address(target))
    destination = target if unicast else in6_getnsma(target)
    theirs = (
        IPv6(src="fe80::1", dst=str(ipaddress.ip_address(destination)), hlim=255)
        / ICMPv6ND_NS(tgt=text)
        / ICMPv6NDOptSrcLLAddr(lladdr=mac.hex(":"))
    )
    ours = frames.solicitation(mac, ME6, target, target if unicast else b"")
    # both write zero for a sum of zero, or its other name
    assert IPv6(ours)[ICMPv6ND_NS].cksum in (IPv6(bytes(theirs))[ICMPv6ND_NS].cksum, 0)
    assert (ours[:42], ours[44:]) == (bytes(theirs)[:42], bytes(theirs)[44:])
    assert frames.multicast_mac(frames.solicited_node(target)).hex(":") == in6_getnsmac(
        in6_getnsma(target)
    )


def test_a_longer_address_fills_two_units():
    eui64 = bytes(range(1, 9))
    packet = frames.solicitation(eui64, ME6, YOU6)
    read = IPv6(packet)[ICMPv6NDOptSrcLLAddr]
    assert (read.type, read.len, packet[66:], len(packet)) == (1, 2, eui64 + bytes(6), 80)


@pytest.mark.parametrize("router", [False, True])
def test_advertisements(router):
    theirs = (
        IPv6(src="2001:db8::12:3456", dst="ff02::1", hlim=255)
        / ICMPv6ND_NA(R=int(router), S=0, O=1, tgt="2001:db8::12:3456")
        / ICMPv6NDOptDstLLAddr(lladdr=OURS.hex(":"))
    )
    assert frames.advertisement(OURS, YOU6, router) == bytes(theirs)
    assert frames.multicast_mac(frames.ALL_NODES).hex(":") == "33:33:00:00:00:01"


# --- what answers


def reply(mac=THEIRS, **fields):
    packet = ARP(op="is-at", psrc="192.0.2.10", pdst="192.0.2.1", hwdst=OURS.hex(":"))
    packet.hwsrc = mac.hex(":")
    for name, value in fields.items():
        setattr(packet, name, value)
    return bytes(packet)


def patched(packet, at, *values):
    """Return a packet with other bytes somewhere; scapy would write it anew around them."""
    return packet[:at] + bytes(values) + packet[at + len(values) :]


def advertised(mac=THEIRS, ip=None, **fields):
    header = {"src": "2001:db8::12:3456", "dst": "fe80::1", "hlim": 255, **(ip or {})}
    message = {"R": 0, "S": 1, "O": 1, "tgt": "2001:db8::12:3456", **fields}
    packet = IPv6(**header) / ICMPv6ND_NA(**message)
    return bytes(packet / ICMPv6NDOptDstLLAddr(lladdr=mac.hex(":")) if mac else packet)


ND = sender(frames.ETH_P_IPV6)


def test_an_arp_reply_is_parsed():
    padded = reply() + bytes(18)  # Ethernet pads to 46 bytes
    for packet in (reply(), padded, patched(reply(), 1, 6)):
        answer = frames.parse(packet, sender(), OURS)
        assert answer == frames.Answer(YOU4, THEIRS, THEIRS, frames.ETH_P_ARP)
    proxied = frames.parse(reply(), sender(mac=IB[4:10]), OURS)
    assert (proxied.mac, proxied.source, proxied.owner) == (THEIRS, IB[4:10], THEIRS)


@pytest.mark.parametrize("length", [2, 8])
def test_an_arp_reply_of_another_hardware_type_is_parsed(length):
    named = bytes(range(2, 2 + length))
    packet = b"\0\x18\x08\0" + bytes([length, 4]) + b"\0\x02" + named + YOU4 + named + ME4
    answer = frames.parse(packet, sender(hardware=24, mac=named))
    assert (answer.ip, answer.mac) == (YOU4, named)


@pytest.mark.parametrize(
    ("fields", "flags"), [({"R": 1}, 0xE0), ({}, 0x60), ({"S": 0}, 0x20), ({"O": 0}, 0x40)]
)
def test_an_advertisement_is_parsed(fields, flags):
    for packet in (advertised(**fields), advertised(**fields) + b"padding"):
        answer = frames.parse(packet, ND, OURS)
        assert answer == frames.Answer(YOU6, THEIRS, THEIRS, frames.ETH_P_IPV6, flags)


def test_an_advertisement_may_name_no_mac():
    answer = frames.parse(advertised(mac=b""), ND, OURS)
    assert (answer.ip, answer.mac, answer.owner) == (YOU6, b"", THEIRS)


INVALID_ARP = {
    "a request": reply(op=1),
    "another operation": reply(op=8),
    "cut short": reply()[:27],
    "nothing": b"",
    "another protocol": patched(reply(), 2, 0x86, 0xDD),
    "another hardware": patched(reply(), 1, 32),
    "another address length": patched(reply(), 5, 16),
    "another hardware length": patched(reply(), 4, 8),
    "our own MAC": reply(mac=OURS),
    "the broadcast MAC": reply(mac=b"\xff" * 6),
    "a multicast MAC": reply(mac=b"\x01\0\x5e\0\0\x01"),
    "no MAC": reply(mac=bytes(6)),
}
INVALID_ND = {
    "handed on by a router": advertised(ip={"hlim": 254}),
    "another version": b"\x40" + advertised()[1:],
    "another protocol": advertised(ip={"nh": 17}),
    "another type": advertised(type=135),
    "another code": advertised(code=1),
    "a wrong sum": advertised(cksum=0x1234),
    "cut short": advertised()[:63],
    "cut in the option": advertised()[:70],
    "longer than it is": advertised(ip={"plen": 33}),
    "shorter than it is": advertised(ip={"plen": 20}),
    "about a group": advertised(tgt="ff02::1"),
    "solicited, to all": advertised(ip={"dst": "ff02::1"}),
    "our own MAC": advertised(mac=OURS),
    "the broadcast MAC": advertised(mac=b"\xff" * 6),
    "a multicast MAC": advertised(mac=b"\x33\x33\0\0\0\x01"),
    "no MAC": advertised(mac=bytes(6)),
    "an option without length": bytes(
        IPv6(src="2001:db8::1", dst="fe80::1", hlim=255)
        / ICMPv6ND_NA(S=1, tgt="2001:db8::12:3456")
        / Raw(b"\x02\0" + THEIRS)
    ),
    "an option that is too long": bytes(
        IPv6(src="2001:db8::1", dst="fe80::1", hlim=255)
        / ICMPv6ND_NA(S=1, tgt="2001:db8::12:3456")
        / Raw(b"\x02\x02" + THEIRS + bytes(8))
    ),
}


@pytest.mark.parametrize("packet", INVALID_ARP.values(), ids=INVALID_ARP)
def test_an_invalid_arp_packet_is_no_answer(packet):
    assert frames.parse(packet, sender(), OURS) is None


@pytest.mark.parametrize("packet", INVALID_ND.values(), ids=INVALID_ND)
def test_an_invalid_advertisement_is_no_answer(packet):
    assert frames.parse(packet, ND, OURS) is None


@pytest.mark.parametrize("whom", [OTHERHOST, OUTGOING])
def test_a_frame_to_another_host_is_no_answer(whom):
    assert frames.parse(reply(), sender(whom=whom), OURS) is None


@pytest.mark.parametrize(
    "mac", [OURS, b"\xff" * 6, bytes(6), b""], ids=["ours", "broadcast", "zero", "none"]
)
def test_a_frame_from_an_invalid_mac_is_no_answer(mac):
    assert frames.parse(reply(), sender(mac=mac), OURS) is None
    assert frames.parse(advertised(), sender(frames.ETH_P_IPV6, mac=mac), OURS) is None


def test_another_protocol_is_no_answer():
    assert frames.parse(reply(), sender(0x0800), OURS) is None


@settings(deadline=None)
@given(st.binary(max_size=120), st.sampled_from([frames.ETH_P_ARP, frames.ETH_P_IPV6]))
def test_arbitrary_bytes_raise_nothing(packet, protocol):
    frames.parse(packet, sender(protocol), OURS)


@settings(deadline=None)
@given(st.integers(0, 71), st.integers(0, 7))
def test_an_advertisement_with_a_flipped_bit_is_no_answer(at, bit):
    """All but class and flow is checked or summed."""
    damaged = bytearray(advertised())
    damaged[at] ^= 1 << bit
    answer = frames.parse(bytes(damaged), ND, OURS)
    assert answer is None or at < 4
