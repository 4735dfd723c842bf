"""arp.revalidate and arp.flush say where the entries are, where they select none."""

import pytest
from conftest import BORN, ip


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


def test_entry_that_is_there_leaves_nothing_to_say(arp, scene, router):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", BORN)
    result = arp.revalidate(["192.0.2.10", "198.51.100.9"])
    assert (result["confirmed"], result["warnings"]) == (1, [])


def test_address_on_the_link_without_an_entry_needs_no_word(arp, scene):
    assert arp.revalidate("192.0.2.10")["warnings"] == []


def test_port_of_a_bridge_names_the_bridge(arp, scene):
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "db0", "master", "br0")
    assert arp.revalidate(dev="db0")["warnings"] == [
        "dev: db0 is a port of br0, which has the neighbour entries"
    ]


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
