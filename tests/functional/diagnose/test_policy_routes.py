"""arp.diagnose where rules, or a VRF, decide which routes there are (ip-rule(8))."""

import pytest
from conftest import BORN, DEAD, ip

from lab.machines import Failed

FAR = {4: "203.0.113.9", 6: "2001:db8:113::9"}
OWN = {4: "192.0.2.21", 6: "2001:db8::21"}
ROUTER = {4: "192.0.2.254", 6: "2001:db8::254"}
PAIR = pytest.mark.parametrize("version", [4, 6], ids=["v4", "v6"])


@pytest.fixture
def by_source(scene):
    """A default route for the packets of one of our two addresses alone; the router lives."""
    for version, extra in ((4, ["24"]), (6, ["64"])):
        words = ["address", "add", f"{OWN[version]}/{extra[0]}", "dev", "db0"]
        ip(*words, *(["nodad"] if version == 6 else []))
        ip(f"-{version}", "route", "add", "default", "via", ROUTER[version], "table", "21")
        ip(f"-{version}", "rule", "add", "from", OWN[version], "table", "21")
        scene.worker(ROUTER[version])
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    return scene


@PAIR
@pytest.mark.parametrize(
    ("mac", "verdict"),
    [(BORN, "not on this link, next hop judged"), (DEAD, "wrong, now corrected by asking")],
    ids=["right", "wrong"],
)
def test_route_of_one_source_address_is_judged(arp, by_source, version, mac, verdict):
    by_source.add(ROUTER[version], "reachable", mac)
    told = arp.diagnose(FAR[version])
    assert (told["verdict"], told["judged"]) == (verdict, ROUTER[version])
    assert told["route"]["source"] == OWN[version]
    assert told["entry_after"]["mac"] == BORN
    assert f"this is about packets from {OWN[version]}" in told["sentence"]


def test_route_of_one_source_address_is_judged_by_the_named_device(arp, by_source):
    """IPv6: over IPv4 the kernel takes an address without a route by a device for its neighbour."""
    by_source.add(ROUTER[6], "reachable", DEAD)
    told = arp.diagnose(FAR[6], dev="db0")
    assert (told["verdict"], told["judged"]) == ("wrong, now corrected by asking", ROUTER[6])


@PAIR
def test_each_next_hop_of_a_source_address_is_named(arp, by_source, version):
    hops = [ROUTER[version], {4: "192.0.2.253", 6: "2001:db8::253"}[version]]
    words = [word for hop in hops for word in ("nexthop", "via", hop)]
    ip(f"-{version}", "route", "replace", "table", "21", "default", *words)
    told = arp.diagnose(FAR[version], test=True)
    hops.remove(told["judged"])
    assert told["other_hops"] == {f"{hops[0]} on db0": "not judged"}


@PAIR
def test_each_route_of_a_source_address_is_judged(arp, by_source, version):
    other = {4: "192.0.2.253", 6: "2001:db8::253"}[version]
    own = {4: "192.0.2.1", 6: "2001:db8::1"}[version]
    ip(f"-{version}", "route", "add", "default", "via", other, "table", "22")
    ip(f"-{version}", "rule", "add", "from", own, "table", "22")
    by_source.worker(other)
    by_source.add(other, "reachable", BORN)
    by_source.add(ROUTER[version], "reachable", DEAD)
    told = arp.diagnose(FAR[version])
    assert (told["verdict"], told["judged"]) == ("wrong, now corrected by asking", ROUTER[version])
    assert told["other_hops"] == {f"{other} on db0": "not on this link, next hop judged"}


@PAIR
def test_refusal_tells_what_was_looked_up(arp, scene, version):
    """A rule by mark may lead there all the same."""
    ip(f"-{version}", "route", "add", "default", "via", ROUTER[version], "table", "21")
    ip(f"-{version}", "rule", "add", "fwmark", "7", "table", "21")
    told = arp.diagnose(FAR[version])
    assert told["verdict"] == "cannot be asked here"
    assert told["route"]["why_not"] == (
        "no route leads there without a mark, from any own address or VRF (ENETUNREACH)"
    )


@PAIR
def test_route_of_a_vrf_is_judged(arp, scene, version):
    try:
        ip("link", "add", "red", "up", "type", "vrf", "table", "21")
    except Failed:
        pytest.skip("this kernel has no VRFs")
    ip("link", "set", "db0", "master", "red")
    if version == 6:  # gone with the move
        ip("address", "replace", "2001:db8::1/64", "dev", "db0", "nodad")
    words = ["default", "via", ROUTER[version], "dev", "db0", "table", "21"]
    ip(f"-{version}", "route", "add", *words)
    scene.worker(ROUTER[version])
    scene.add(ROUTER[version], "reachable", BORN)
    told = arp.diagnose(FAR[version])
    assert (told["verdict"], told["judged"]) == (
        "not on this link, next hop judged",
        ROUTER[version],
    )
    assert "Without a source address or VRF" in told["sentence"]
