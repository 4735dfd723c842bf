"""Which entries the selectors match: without a kernel."""

import socket

import pytest
from arp_engine.netlink import codec
from arp_engine.table import selectors


def entry(**words):
    values = {
        "ifindex": 2, "state": 4, "flags": 0, "kind": 1, "dst": socket.inet_aton("192.0.2.1"),
        "mac": b"\2\0\0\0\0\1", "confirmed": 0, "used": 0, "updated": 0, **words,
    }  # fmt: skip
    return codec.Entry(**values)


@pytest.mark.parametrize(
    ("ip", "meant", "other"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.0/31", "192.0.2.1", "192.0.2.2"),
        ("0.0.0.0/0", "255.255.255.255", "::"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::/0", "2001:db8::1", "0.0.0.1"),
        (["192.0.2.9", "198.51.100.0/24"], "198.51.100.7", "192.0.2.8"),
    ],
    ids=str,
)
def test_ip_matches_addresses_and_networks(ip, meant, other):
    selected = selectors.parse_selectors(ip=ip)

    def packed(text):
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)

    assert selected.matches(entry(dst=packed(meant)), None)
    assert not selected.matches(entry(dst=packed(other)), None)


def test_ip_of_one_family_selects_that_family():
    assert selectors.parse_selectors(ip="192.0.2.1").families == (socket.AF_INET,)
    assert selectors.parse_selectors(ip=["192.0.2.1", "::1"]).families == (2, 10)


def test_list_accepts_states_that_flush_refuses():
    assert selectors.parse_selectors(state="PERMANENT", verb="list").state == {0x80}


def test_list_and_commas_mean_the_same():
    by_list, by_word = (
        selectors.parse_selectors(ip=value, dev=dev, state=state, mac=mac)
        for value, dev, state, mac in (
            (["192.0.2.1", "192.0.2.2"], ["a", "b"], ["STALE", "PROBE"], ["02:00:00:00:00:0a"]),
            ("192.0.2.1,192.0.2.2", "a, b", "stale,probe", "02-00-00-00-00-0A"),
        )
    )
    assert by_list[2:4] == by_word[2:4]
    assert by_list.mac == by_word.mac == {b"\2\0\0\0\0\x0a"}
    for last in (1, 2):
        assert by_word.matches(entry(dst=bytes([192, 0, 2, last]), mac=b"\2\0\0\0\0\x0a"), {2})


def test_5000_networks_are_looked_up_by_prefix_length():
    networks = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(5000)] + ["192.0.2.0/25"]
    addresses = selectors.parse_selectors(ip=networks).ip
    assert len(addresses._ranges) == 2
    assert socket.inet_aton("10.19.135.7") in addresses
    assert socket.inet_aton("10.19.136.7") not in addresses
    assert socket.inet_aton("192.0.2.200") not in addresses


@pytest.mark.parametrize(
    ("words", "of_head", "of_entry"),
    [
        ({}, True, True),
        ({"state": "STALE"}, True, True),
        ({"state": "PROBE"}, False, False),
        ({"ip": "192.0.2.1", "state": "PROBE"}, False, False),
        ({"ip": "192.0.2.1"}, None, True),
        ({"exclude": "192.0.2.1"}, None, False),
        ({"mac": "02:00:00:00:00:09"}, None, False),
    ],
    ids=str,
)
def test_a_head_decides_unless_address_or_mac_is_named(words, of_head, of_entry):
    selected = selectors.parse_selectors(**words)
    assert selected.matches(entry().head, None) is of_head
    assert selected.matches(entry(), None) is of_entry
    assert selected.matches(entry().head, {3}) is False
