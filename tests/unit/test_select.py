"""Who owns an entry, what a selector means: without a kernel."""

import socket

import arp_rows
import arp_select as select
import arp_wire as wire
import pytest
from pyroute2.netlink.rtnl import ndmsg

ETH = select.Device("eth0", 0x1003)


def entry(**words):
    values = {
        "ifindex": 2, "state": 4, "flags": 0, "kind": 1, "dst": socket.inet_aton("192.0.2.1"),
        "mac": b"\2\0\0\0\0\1", "confirmed": 0, "used": 0, "updated": 0, **words,
    }  # fmt: skip
    return wire.Entry(**values)


def test_our_words_are_the_kernels():
    assert {name.lower(): bits for name, bits in select.STATES.items()} == ndmsg.states
    ours = (select.NTF_PROXY, select.NTF_EXT_LEARNED, select.NTF_ROUTER)
    assert ours == (ndmsg.NTF_PROXY, ndmsg.NTF_EXT_LEARNED, ndmsg.NTF_ROUTER)


@pytest.mark.parametrize(
    ("words", "owner"),
    [
        ({}, ""),
        ({"flags": select.NTF_ROUTER}, ""),
        ({"flags": select.NTF_OFFLOADED}, ""),
        ({"state": 0x20, "mac": b""}, ""),
        ({"kind": 0}, ""),
        ({"flags": select.NTF_PROXY}, "proxy"),
        ({"flags": select.NTF_EXT_LEARNED | select.NTF_ROUTER}, "extern_learn"),
        ({"flags": select.NTF_STICKY}, "flags"),
        ({"ext": 1}, "managed"),
        ({"ext": 4}, "extern_valid"),
        ({"ext": 0x100}, "flags"),
        ({"protocol": 11}, "protocol zebra"),
        ({"protocol": 250}, "protocol 250"),
        ({"state": 0x80}, "PERMANENT"),
        ({"state": 0x84}, "PERMANENT"),
        ({"state": 0x40}, "NOARP"),
        ({"state": 0}, "NONE"),
        ({"state": 1, "mac": b""}, "INCOMPLETE"),
        ({"kind": 2}, "local"),
        ({"kind": 3}, "broadcast"),
        ({"kind": 5}, "multicast"),
        ({"dst": socket.inet_aton("224.0.0.1")}, "multicast"),
        ({"dst": socket.inet_pton(socket.AF_INET6, "ff02::1")}, "multicast"),
        ({"dst": socket.inet_pton(socket.AF_INET6, "e0::1")}, ""),
    ],
    ids=str,
)
def test_owner(words, owner):
    assert select.owner(entry(**words), ETH) == owner


@pytest.mark.parametrize("flag", [0x08, 0x10, 0x80], ids=["loopback", "pointopoint", "noarp"])
def test_device_without_arp(flag):
    assert select.owner(entry(), select.Device("x0", 0x1003 | flag)) == "x0 does no ARP"


def test_unknown_device():
    assert select.owner(entry(), None) == "unknown device"


@pytest.mark.parametrize(
    ("bits", "name"),
    [(0, "NONE"), (4, "STALE"), (0x14, "STALE|PROBE"), (0x104, "STALE|0x100"), (0x200, "0x200")],
    ids=str,
)
def test_state_names_drop_no_bit(bits, name):
    assert select.state_name(bits) == name


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
def test_addresses(ip, meant, other):
    selected = select.parse_selectors(ip=ip)

    def packed(text):
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)

    assert selected.wants(entry(dst=packed(meant)), ETH)
    assert not selected.wants(entry(dst=packed(other)), ETH)


def test_one_family_is_read_where_only_that_can_be_meant():
    assert select.parse_selectors(ip="192.0.2.1").families == (socket.AF_INET,)
    assert select.parse_selectors(ip=["192.0.2.1", "::1"]).families == (2, 10)


def test_a_list_may_name_what_flush_may_not():
    assert select.parse_selectors(state="PERMANENT", verb="list").state == {0x80}


@pytest.mark.parametrize(
    ("words", "suspect"),
    [
        ({"state": 2, "updated": 6000, "confirmed": 3}, True),
        ({"state": 2, "updated": 4000, "confirmed": 3}, False),  # its own ARP cycle can do that
        ({"state": 2, "updated": 6000, "confirmed": 6000}, False),  # nobody vouches: timer is late
        ({"state": 4, "updated": 6000, "confirmed": 3}, False),
    ],
    ids=str,
)
def test_suspect(words, suspect):
    assert arp_rows.is_suspect(**words, base_reachable_s=30.0) is suspect
