"""Owners, suspects, state names: without a kernel."""

import ast
import re
import socket
from pathlib import Path

import pytest
from arp_engine.netlink import codec, constants, model
from arp_engine.table import ownership
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl import ndmsg

ROUTER, OFFLOADED = 0x80, 0x20  # flags that say nothing about who wrote an entry
ETH = model.Device("eth0", 0x1003)


def entry(**words):
    values = {
        "ifindex": 2, "state": 4, "flags": 0, "kind": 1, "dst": socket.inet_aton("192.0.2.1"),
        "mac": b"\2\0\0\0\0\1", "confirmed": 0, "used": 0, "updated": 0, **words,
    }  # fmt: skip
    return codec.Entry(**values)


def test_state_names_and_flags_are_those_of_pyroute2():
    assert {name.lower(): bits for name, bits in constants.STATES.items()} == ndmsg.states
    assert (constants.NTF_PROXY, constants.NTF_EXT_LEARNED) == (
        ndmsg.NTF_PROXY,
        ndmsg.NTF_EXT_LEARNED,
    )


@pytest.mark.parametrize(
    ("words", "owner"),
    [
        ({}, ""),
        ({"flags": ROUTER}, ""),
        ({"flags": OFFLOADED}, ""),
        ({"state": 0x20, "mac": b""}, ""),
        ({"kind": 0}, ""),
        ({"flags": constants.NTF_PROXY}, "proxy"),
        ({"flags": constants.NTF_EXT_LEARNED | ROUTER}, "extern_learn"),
        ({"flags": constants.NTF_STICKY}, "flags"),
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
        ({"dst": socket.inet_aton("224.0.0.1"), "kind": 0}, "multicast"),
        ({"dst": socket.inet_pton(socket.AF_INET6, "ff02::1"), "kind": 0}, "multicast"),
        ({"dst": socket.inet_pton(socket.AF_INET6, "e0::1"), "kind": 0}, ""),
    ],
    ids=str,
)
def test_owner(words, owner):
    assert ownership.owner(entry(**words), ETH) == owner
    table = re.findall(r"^(\w+(?:, \w+)*)", ownership.__doc__, re.M)
    assert not owner or owner.split()[0] in ", ".join(table).split(", ")


@pytest.mark.parametrize("flag", [0x08, 0x10, 0x80], ids=["loopback", "pointopoint", "noarp"])
def test_device_without_arp(flag):
    assert ownership.owner(entry(), model.Device("x0", 0x1003 | flag)) == "x0 does no ARP"


def test_unknown_device():
    assert ownership.owner(entry(), None) == "unknown device"


@pytest.mark.parametrize(
    ("bits", "name"),
    [(0, "NONE"), (4, "STALE"), (0x14, "STALE|PROBE"), (0x104, "STALE|0x100"), (0x200, "0x200")],
    ids=str,
)
def test_state_names_drop_no_bit(bits, name):
    assert ownership.state_name(bits) == name


@pytest.mark.parametrize(
    ("words", "suspect"),
    [
        ({"state": 2, "updated": 6000, "confirmed": 3}, True),
        ({"state": 2, "updated": 4000, "confirmed": 3}, False),  # its own ARP cycle can do that
        ({"state": 2, "updated": 6000, "confirmed": 6000}, False),  # unconfirmed: the timer is late
        ({"state": 4, "updated": 6000, "confirmed": 3}, False),
    ],
    ids=str,
)
def test_suspect(words, suspect):
    assert ownership.is_suspect(**words, base_reachable_s=30.0) is suspect


@settings(max_examples=500, deadline=None)
@given(
    st.builds(
        model.Entry,
        protocol=st.sampled_from([0, 0, 0, 11]),
        ext=st.sampled_from([0, 0, 0, 1, 4, 0x100]),
        state=st.sampled_from([0, 1, 2, 4, 0x20, 0x40, 0x80]),
        flags=st.sampled_from([0, 0, 0, ROUTER, 0x08, 0x10, 0x40]),
        kind=st.integers(0, 6),
        dst=st.sampled_from([b"\xc0\0\2\1", b"\xe0\0\0\1", b"\xff" * 16, bytes(16)]),
    ),
    st.sampled_from([None, ETH, model.Device("lo", 0x08)]),
)
def test_a_verdict_on_a_head_holds_for_its_entries(one, device):
    assert ownership.owner(one.head, device) in (None, ownership.owner(one, device))


@pytest.mark.parametrize(("kind", "verdict"), [(0, None), (1, "")], ids=["unknown", "unicast"])
def test_the_address_decides_only_where_the_route_type_is_unknown(kind, verdict):
    assert ownership.owner(entry(kind=kind).head, ETH) == verdict


def test_an_entry_begins_with_the_fields_of_its_head():
    assert model.Entry._fields[: len(model.Head._fields)] == model.Head._fields


def test_the_kernels_numbers_stand_in_one_file():
    names = {name for name in vars(constants) if name.isupper()}
    for path in Path(constants.__file__).parent.parent.glob("*/*.py"):
        if path.stem != "constants":
            assigned = {
                target.id
                for node in ast.parse(path.read_text(encoding="utf-8")).body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            assert not assigned & names, path.name
