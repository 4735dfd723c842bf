"""arp.revalidate and arp.flush say where the entries are, where they select none."""

import os
from socket import AF_INET

import pytest
from arp_engine.netlink import rtnetlink, table_dump
from arp_engine.sentinel import devices
from arp_engine.table.selectors import parse_selectors
from conftest import BORN, ip

from lab.machines import Failed


@pytest.fixture
def router(scene):
    ip("route", "add", "198.51.100.0/24", "via", "192.0.2.254")
    ip("route", "add", "2001:db8:9::/64", "via", "2001:db8::254")


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(
    ("client", "router_address"),
    [("198.51.100.9", "192.0.2.254"), ("2001:db8:9::9", "2001:db8::254")],
)
def test_address_behind_a_router_names_the_router(arp, router, client, router_address, test):
    result = arp.revalidate(client, test=test)
    line = f"{client} is behind the router {router_address} on db0: name {router_address} instead"
    assert result["warnings"] == [line]


def test_address_without_a_route_says_so(arp, scene):
    assert arp.revalidate("203.0.113.9")["warnings"] == [
        "203.0.113.9 has no entry: no route leads there (ENETUNREACH)"
    ]


@pytest.mark.parametrize("function", ["revalidate", "flush"])
def test_each_address_without_an_entry_is_named(arp, scene, router, function):
    """Also beside one that has an entry."""
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", BORN)
    result = getattr(arp, function)(["192.0.2.10", "198.51.100.9"])
    assert (result.get("confirmed"), result.get("flushed")) in ((1, None), (None, 1))
    line = "198.51.100.9 is behind the router 192.0.2.254 on db0: name 192.0.2.254 instead"
    assert result["warnings"] == [line]


def test_entries_that_are_there_leave_nothing_to_say(arp, scene):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", BORN)
    assert arp.revalidate("192.0.2.10", dev="db0")["warnings"] == []
    assert arp.flush("192.0.2.10", dev="db0") == {"flushed": 1, "kept": {}}


@pytest.mark.parametrize("function", ["revalidate", "flush"])
def test_each_device_without_entries_is_named(arp, scene, function):
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "add", "p0", "type", "veth", "peer", "p1")
    ip("link", "set", "p0", "master", "br0")
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", BORN)
    result = getattr(arp, function)("192.0.2.0/24", dev=["db0", "p0"])
    assert result["warnings"] == ["dev: p0 is a port of br0, which has the neighbour entries"]


def test_route_is_looked_up_by_the_named_device(arp, router):
    """Another device may lead there without that router."""
    ip("link", "add", "v0", "up", "type", "veth", "peer", "v1")
    ip("link", "set", "v1", "up")
    ip("route", "add", "198.51.100.0/24", "dev", "v0", "metric", "9")
    assert arp.revalidate("198.51.100.9", dev="v0")["warnings"] == []
    [line] = arp.revalidate("198.51.100.9")["warnings"]
    assert "behind the router" in line


def test_address_on_the_link_without_an_entry_needs_no_word(arp, scene):
    assert arp.revalidate("192.0.2.10")["warnings"] == []


def test_port_of_a_bridge_names_the_bridge(arp, scene):
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "db0", "master", "br0")
    assert arp.revalidate(dev="db0")["warnings"] == [
        "dev: db0 is a port of br0, which has the neighbour entries"
    ]


@pytest.fixture
def port_of_a_bridge(scene):
    """The cable's end is a port of the bridge that has address and entries."""
    ip("link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
    ip("link", "set", "db0", "master", "br0")
    ip("address", "flush", "dev", "db0")
    ip("address", "add", "192.0.2.1/24", "dev", "br0")
    scene.add("192.0.2.10", "stale", BORN, "br0")


@pytest.mark.parametrize("dev", ["db0", "br0"])
def test_port_shows_the_entries_of_its_bridge(arp, port_of_a_bridge, dev):
    words = {"dev": dev, "ip": "192.0.2.0/24"}
    assert [(row["ip"], row["dev"]) for row in arp.list(**words)] == [("192.0.2.10", "br0")]
    assert [row["dev"] for row in arp.list_stale(**words)] == ["br0"]
    assert arp.stats(**words)["ipv4"]["devices"] == {"br0": {"STALE": 1}}


@pytest.mark.parametrize("test", [False, True])
def test_port_that_is_named_changes_nothing_and_says_where(arp, port_of_a_bridge, test):
    line = "dev: db0 is a port of br0, which has the neighbour entries"
    assert arp.revalidate(dev="db0", test=test)["warnings"] == [line]
    assert arp.flush(dev="db0", test=test)["warnings"] == [line]
    line = "dev: db0 is a port of br0, which has the addresses"
    assert arp.announce(dev="db0", test=test)["warnings"] == [line]


def test_sentinel_of_a_port_watches_its_bridge(port_of_a_bridge):
    with rtnetlink.Channel() as channel:
        selectors = parse_selectors(dev="db0")
        watched = devices.WatchedDevices(selectors, channel)
        there = table_dump.entries(*channel.neighbours(AF_INET, channel.ifindex("br0")))
        assert there
        assert all(map(watched.is_selected, there))


@pytest.fixture(params=["vlan", "macvlan"])
def stacked(request, scene):
    """The cable's end is a port of a bridge; a device on that, ``on0``, has address and entries."""
    ip("link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
    ip("link", "set", "db0", "master", "br0")
    ip("address", "flush", "dev", "db0")
    words = {"vlan": ["vlan", "id", "100"], "macvlan": ["macvlan", "mode", "bridge"]}
    try:
        ip("link", "add", "link", "br0", "name", "on0", "type", *words[request.param])
    except Failed:
        pytest.skip(f"this kernel has no {request.param}")
    for dev in ("br0", "on0"):
        ip("link", "set", dev, "addrgenmode", "none", "up")
        ip("-6", "address", "flush", "dev", dev)
    ip("address", "add", "192.0.2.1/24", "dev", "on0")
    scene.add("192.0.2.10", "stale", BORN, "on0")


UP = {
    "db0": "dev: db0 is a port of br0, which has none of the {}; name on0, on top of it, instead",
    "br0": "dev: br0 has none of the {}; name on0, on top of it, instead",
}


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("dev", UP)
def test_device_below_a_vlan_names_it(arp, stacked, dev, test):
    line = UP[dev].format("neighbour entries")
    assert arp.revalidate(dev=dev, test=test)["warnings"] == [line]
    assert arp.flush(dev=dev, test=test)["warnings"] == [line]
    [line_of_dev, line_of_ip] = arp.revalidate("192.0.2.10", dev=dev, test=test)["warnings"]
    assert line_of_dev == line
    assert line_of_ip == f"192.0.2.10 has no entry on {dev}, but on on0: name dev=on0"


@pytest.mark.parametrize("dev", UP)
def test_device_below_a_vlan_announces_nothing_and_names_it(arp, stacked, dev):
    told = arp.announce(dev=dev, test=True)
    assert (told["would_announce"], told["warnings"]) == ([], [UP[dev].format("addresses")])


@pytest.mark.parametrize("dev", UP)
def test_device_below_a_vlan_shows_its_entries(arp, stacked, dev):
    rows = arp.list(dev=dev, ip="192.0.2.0/24")
    assert [(row["ip"], row["dev"]) for row in rows] == [("192.0.2.10", "on0")]


@pytest.mark.parametrize("dev", UP)
def test_sentinel_of_a_device_below_a_vlan_watches_it(stacked, dev):
    with rtnetlink.Channel() as channel:
        watched = devices.WatchedDevices(parse_selectors(dev=dev), channel)
        [entry] = table_dump.entries(*channel.neighbours(AF_INET, channel.ifindex("on0")))
        assert watched.is_selected(entry)


def test_device_with_addresses_does_not_stand_for_what_is_on_it(arp, stacked):
    """Entries of its own, of an unnumbered device, say the same."""
    ip("address", "add", "198.51.100.1/24", "dev", "br0")
    assert arp.list(dev="br0", ip="192.0.2.0/24") == []
    assert arp.revalidate(dev="br0")["warnings"] == []
    ip("address", "flush", "dev", "br0")
    ip("neigh", "add", "198.51.100.9", "lladdr", BORN, "dev", "br0", "nud", "permanent")
    assert arp.list(dev="br0", ip="192.0.2.0/24") == []


def test_bridge_on_a_vlan_of_a_named_card_is_found(arp, scene):
    """As on many a hypervisor: card, VLAN, and a bridge that has the address."""
    ip("address", "flush", "dev", "db0")
    ip("link", "add", "link", "db0", "name", "on0", "up", "type", "macvlan", "mode", "passthru")
    ip("link", "add", "br0", "up", "type", "bridge")
    ip("link", "set", "on0", "master", "br0")
    ip("address", "add", "192.0.2.1/24", "dev", "br0")
    scene.add("192.0.2.10", "stale", BORN, "br0")
    assert [row["dev"] for row in arp.list(dev="db0", ip="192.0.2.0/24")] == ["br0"]
    assert arp.revalidate(dev="db0")["warnings"] == [
        "dev: db0 has none of the neighbour entries; name br0, on top of it, instead"
    ]


def test_other_end_of_a_cable_is_not_on_top_of_it(arp, scene):
    """IFLA_LINK of a veth is its peer."""
    ip("link", "add", "v0", "up", "type", "veth", "peer", "v1")
    ip("link", "set", "v1", "up")
    ip("address", "add", "198.51.100.1/24", "dev", "v1")
    scene.add("198.51.100.9", "stale", BORN, "v1")
    assert arp.list(dev="v0", family="ipv4") == []
    assert arp.revalidate(dev="v0")["warnings"] == []


def test_device_whose_lower_one_is_in_another_namespace_is_not_on_ours(arp, scene):
    """The index of the lower device counts there: here another device may have it."""
    for words in ("link add x0 index 77 type bridge", "link add link x0 name m0 type macvlan"):
        ip("-n", "worker", *words.split())
    ip("-n", "worker", "link", "set", "m0", "netns", str(os.getpid()))
    ip("link", "add", "same0", "index", "77", "type", "bridge")
    ip("link", "set", "m0", "up")
    ip("address", "add", "198.51.100.1/24", "dev", "m0")
    scene.add("198.51.100.9", "stale", BORN, "m0")
    assert [row["dev"] for row in arp.list(dev="m0", family="ipv4")] == ["m0"]
    assert arp.list(dev="same0", family="ipv4") == []
    assert arp.revalidate(dev="same0")["warnings"] == []


@pytest.mark.parametrize("function", ["revalidate", "flush"])
@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"])
def test_entry_on_another_device_is_told(arp, scene, function, address, test):
    ip("link", "add", "v0", "up", "type", "veth", "peer", "v1")
    scene.add(address, "stale", BORN)
    before = scene.table()
    told = getattr(arp, function)(address, dev="v0", test=test)["warnings"]
    assert told == [f"{address} has no entry on v0, but on db0: name dev=db0"]
    assert scene.table() == before
    scene.add(address, "permanent", BORN, "v0")  # and not where it has one, though not ours
    assert "warnings" not in arp.flush(address, dev="v0", test=test)


def test_vrf_shows_the_entries_of_its_devices(arp, scene):
    try:
        ip("link", "add", "red", "up", "type", "vrf", "table", "10")
    except Failed:
        pytest.skip("this kernel has no VRFs")
    ip("link", "set", "db0", "master", "red")
    scene.add("192.0.2.10", "stale", BORN)
    for dev in ("red", "db0"):
        rows = arp.list(dev=dev, ip="192.0.2.0/24")
        assert [(row["ip"], row["dev"]) for row in rows] == [("192.0.2.10", "db0")]


def test_entry_with_an_owner_is_there(arp, scene, router):
    scene.add("198.51.100.9", "permanent", BORN)
    result = arp.revalidate("198.51.100.9")
    assert (result["kept"], result["warnings"]) == ({"PERMANENT": 1}, [])


@pytest.mark.parametrize("test", [False, True])
def test_flush_of_nothing_says_where_the_entries_are(arp, scene, router, test):
    key = "would_flush" if test else "flushed"
    line = "198.51.100.9 is behind the router 192.0.2.254 on db0: name 192.0.2.254 instead"
    result = arp.flush("198.51.100.9", test=test)
    assert result == {key: 0, "kept": {}, "warnings": [line]}
    assert arp.flush("192.0.2.10", test=test) == {key: 0, "kept": {}}


def test_lines_are_limited(arp, scene, router):
    warnings = arp.revalidate([f"198.51.100.{number}" for number in range(1, 21)])["warnings"]
    assert len(warnings) == 9
    assert warnings[-1] == "and 12 more without an entry"
