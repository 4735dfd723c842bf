"""Which device announces what, on devices that cannot be made here: bonds, teams, VRFs."""

import ipaddress

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.constants import (
    IFF_NOARP,
    IFF_RUNNING,
    IFF_UP,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
)
from arp_engine.resolve import announce_rules, interface_facts
from arp_engine.resolve.interface_facts import Address, Interface

MAC = bytes.fromhex("02000000000a")
VIP = Address(bytes([192, 0, 2, 9]), 32, 0, 0)
OWN = Address(bytes([192, 0, 2, 1]), 24, 0, 0)


def device(ifindex, *addresses, flags=IFF_UP | IFF_RUNNING, **more):
    words = ifindex, f"eth{ifindex}", 1, flags, MAC, b"\xff" * 6, 0, False, addresses
    return Interface(*words, **more)


def speakers(devices, asked, address, ifindexes=None, ip=None):
    networks = ip and [ipaddress.ip_network(ip)]
    rules = announce_rules.Rules(devices, ifindexes, networks)
    return [(each.ifindex, why) for each, why in rules.speakers(asked, address)]


@pytest.mark.parametrize("kind", ["bond", "team", "bridge", ""])
def test_port_is_silent_unless_named(kind):
    port = device(2, OWN, master=7, master_kind=kind)
    assert speakers([port], port, OWN) == [(2, f"port of a {kind or 'bridge'}")]
    assert speakers([port], port, OWN, ifindexes={2}) == [(2, "")]


def test_device_of_a_vrf_speaks():
    of_vrf = device(2, OWN, vrf=7)
    assert speakers([of_vrf], of_vrf, OWN) == [(2, "")]


def test_named_address_of_a_vrf_is_announced_on_its_own_links():
    vrf = device(7, VIP, flags=IFF_UP | IFF_RUNNING | IFF_NOARP, vrf=7)
    links = [device(2, OWN, vrf=7), device(3, OWN), device(4, OWN, vrf=8)]
    assert speakers([vrf, *links], vrf, VIP, ip="192.0.2.9") == [(2, "")]
    assert speakers([vrf, *links], vrf, VIP) == [(7, "device does no ARP")]


def attributes(kind="", master_kind="", master=0):
    info = b"".join(
        codec.attribute(name, text.encode() + b"\0")
        for name, text in ((IFLA_INFO_KIND, kind), (IFLA_INFO_SLAVE_KIND, master_kind))
        if text
    )
    values = {IFLA_LINKINFO: info} if info else {}
    return {**values, IFLA_MASTER: codec.U32.pack(master)} if master else values


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (attributes(), (0, 0, "")),
        (attributes(kind="vrf"), (5, 0, "")),
        (attributes(kind="veth", master_kind="vrf", master=7), (7, 0, "")),
        (attributes(kind="veth", master_kind="bond", master=7), (0, 7, "bond")),
        (attributes(master_kind="bridge", master=7), (0, 7, "bridge")),
        (attributes(kind="vrf", master_kind="bridge", master=7), (5, 0, "")),
    ],
    ids=["none", "a VRF", "of a VRF", "of a bond", "a card of a bridge", "a VRF in a bridge"],
)
def test_vrf_and_master_of_a_device(values, found):
    assert interface_facts._master(5, values) == found
