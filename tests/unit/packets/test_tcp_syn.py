"""SYNs parsed from bytes, and rebuilt to be sent again."""

import random

import pytest
from arp_engine.packets import tcp_syn
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

V4 = {"src": "192.0.2.10", "dst": "192.0.2.1"}
V6 = {"src": "2001:db8::10", "dst": "2001:db8::1"}
TCP_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", 0), ("WScale", 7)]


def syn(ip=None, **tcp):
    return (ip or IP(**V4)) / TCP(**{"sport": 4000, "dport": 5432, "flags": "S", **tcp})


@pytest.mark.parametrize("header", [IP(**V4), IPv6(**V6)], ids=["v4", "v6"])
@pytest.mark.parametrize("flags", ["S", "SEC"], ids=["plain", "ECN"])
def test_a_syn_is_parsed_and_rebuilt_with_its_checksum(header, flags):
    right = bytes(syn(header, flags=flags, options=TCP_OPTIONS))
    found = tcp_syn.parse(right)
    assert (found.source_port, found.target_port) == (4000, 5432)
    assert found.source[-1] == 0x10 if len(found.source) == 16 else 10
    at = 40 if header.version == 6 else 20
    broken = right[: at + 16] + b"\x12\x34" + right[at + 18 :] + bytes(6)  # and padding behind it
    assert tcp_syn.rebuild(broken) == right


@pytest.mark.parametrize("flags", ["SA", "A", "R", "SF", "", "SR"])
def test_other_flags_are_no_syn(flags):
    assert tcp_syn.parse(bytes(syn(flags=flags))) is None


def test_arbitrary_bytes_raise_nothing():
    chance = random.Random(12)
    whole = bytes(syn(options=TCP_OPTIONS)), bytes(syn(IPv6(**V6)))
    for _ in range(20_000):
        packet = bytearray(chance.choice(whole)[: chance.randrange(70)])
        for _change in range(chance.randrange(4)):
            if packet:
                packet[chance.randrange(len(packet))] = chance.randrange(256)
        again = tcp_syn.rebuild(bytes(packet))
        assert again is None or tcp_syn.parse(again)


def test_a_syn_with_data_is_not_rebuilt():
    assert tcp_syn.parse(bytes(syn() / Raw(b"x")))
    assert tcp_syn.rebuild(bytes(syn() / Raw(b"x"))) is None


def test_a_vlan_header_before_the_ip_header_is_removed():
    for header, protocol in ((IP(**V4), b"\x08\x00"), (IPv6(**V6), b"\x86\xdd")):
        packet = bytes(syn(header))
        assert tcp_syn.parse_tagged(b"\x40\x07" + protocol + packet) == tcp_syn.parse(packet)
        assert tcp_syn.parse_tagged(packet) == tcp_syn.parse(packet)
        assert tcp_syn.parse_tagged(b"\x40\x07\x88\xb5" + packet) is None
