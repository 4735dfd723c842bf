"""A bridge that answers for the hosts behind a port (a VTEP's neigh_suppress) is noticed."""

import pytest
from arp_engine.netlink import links, rtnetlink
from arp_engine.sentinel import devices
from arp_engine.table.selectors import parse_selectors
from conftest import BORN, DEAD, HOST, ip

from lab.machines import run

PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])


@pytest.fixture
def suppressing(scene):
    """The cable's end is the suppressing port of the bridge that has the addresses."""
    ip("link", "add", "br0", "address", HOST, "type", "bridge", "forward_delay", "0")
    ip("link", "set", "db0", "master", "br0")
    ip("link", "set", "db0", "type", "bridge_slave", "neigh_suppress", "on")
    ip("link", "set", "br0", "up")
    ip("address", "flush", "dev", "db0")
    ip("address", "add", "192.0.2.1/24", "dev", "br0")
    ip("address", "add", "2001:db8::1/64", "dev", "br0", "nodad")
    scene.until(lambda: "state UP" in ip("link", "show", "br0"))
    for mac in (BORN, DEAD):
        run("bridge", "fdb", "replace", mac, "dev", "db0", "master", "static")


@PAIR
def test_dead_mac_that_the_own_bridge_answers_for_is_not_verified(arp, scene, suppressing, address):
    scene.add(address, "reachable", DEAD, "br0")
    told = arp.diagnose(address)
    assert told["verdict"] == "cannot be asked here"
    assert "behind port db0 of this host's own bridge" in told["sentence"]
    assert f"{DEAD} (REACHABLE) (not verified)" in told["sentence"]


@PAIR
def test_living_host_behind_it_answers_by_unicast(arp, scene, suppressing, address):
    scene.worker(address)
    scene.add(address, "reachable", BORN, "br0")
    assert arp.diagnose(address)["verdict"] == "right"
    assert arp.revalidate(address)["confirmed"] == 1


def test_answer_of_the_own_bridge_confirms_nothing(arp, scene, suppressing):
    """Of IPv6: it gives the answer about IPv4 to the port, and not to this host."""
    scene.add("2001:db8::10", "reachable", DEAD, "br0")
    result = arp.revalidate("2001:db8::10")
    assert result["confirmed"] == 0
    assert result["kept"] == {"answered by its own bridge (neigh_suppress)": 1}


def test_sentinel_says_whose_entries_it_cannot_verify(suppressing):
    with rtnetlink.Channel() as channel:
        watched = devices.WatchedDevices(parse_selectors(), channel).watched()
        assert watched.endswith("; not hosts behind db0 (neigh_suppress)")
        bridge = channel.ifindex("br0")
        mac = bytes.fromhex(DEAD.replace(":", ""))
        assert links.answering_port(channel, bridge, mac) == "db0"
        ip("link", "set", "db0", "type", "bridge_slave", "neigh_suppress", "off")
        assert links.answering_port(channel, bridge, mac) == ""
        watched = devices.WatchedDevices(parse_selectors(), channel).watched()
        assert watched == "every SYN, connection and notification"


def test_device_that_is_gone_has_nothing_of_its_own(scene):
    with rtnetlink.Channel() as channel:
        assert links.has_own(channel, channel.ifindex("db0"))
        assert not links.has_own(channel, 4711)
        assert links.with_entries(channel, 4711) == {4711}
