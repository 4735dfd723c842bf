"""arp.diagnose: which way. The next hop, the card and the device whose entry is judged."""

import json
import socket

import pytest
from conftest import BORN, DEAD, ip
from diagnosing import V4, V6

from lab.machines import wait_until_up


def gateways(scene, *macs):
    """Route by two routers on the link; both answer, and the second entry is wrong."""
    for address in ("192.0.2.11", "192.0.2.12"):
        scene.worker(address)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    hops = ("192.0.2.11", "192.0.2.12")
    ip("route", "add", "default", *(w for hop in hops for w in ("nexthop", "via", hop)))
    for hop, mac in zip(hops, macs, strict=True):
        scene.add(hop, "reachable", mac)


CLIENTS = [f"198.51.100.{number}" for number in range(1, 9)]


def test_next_hop_that_the_clients_packets_take_is_judged(arp, scene):
    gateways(scene, BORN, BORN)
    for client in CLIENTS:
        words = ip("route", "get", client, "from", "192.0.2.1").split()
        told = arp.diagnose(client)
        assert told["judged"] == words[words.index("via") + 1]
        [hop] = told["other_hops"]
        assert told["other_hops"][hop] == "not judged"
        assert hop in told["sentence"]


def test_each_next_hop_is_judged_where_the_ports_decide(arp, scene):
    gateways(scene, BORN, DEAD)
    scene.sysctl("ipv4.fib_multipath_hash_policy", 1)
    told = arp.diagnose(CLIENTS[0])
    assert (told["judged"], told["verdict"]) == ("192.0.2.12", "wrong, now corrected by asking")
    assert told["other_hops"] == {"192.0.2.11 on db0": "not on this link, next hop judged"}


def second_card(address):
    """Lay a second cable to the worker; give its end an address, and ours one of db0's network."""
    ip("link", "add", "db1", "type", "veth", "peer", "w1", "netns", "worker")
    ip("link", "set", "db1", "addrgenmode", "none", "up")
    ip("-n", "worker", "link", "set", "w1", "up")
    wait_until_up("db1")
    ip("-n", "worker", "address", "add", f"{address}/32", "dev", "w1")
    ip("address", "add", "192.0.2.2/24", "dev", "db1")
    (link,) = json.loads(ip("-n", "worker", "-json", "link", "show", "w1"))
    return link["address"]


def test_wrong_entry_of_a_second_card_is_judged(arp, scene):
    """No socket tells which card the packets take; that of the first card is right."""
    scene.worker(V4)
    mac = second_card(V4)
    scene.add(V4, "reachable", BORN)
    scene.add(V4, "reachable", DEAD, "db1")
    scene.sysctl("ipv4.neigh.db1.locktime", 0)
    told = arp.diagnose(V4)
    assert (told["verdict"], told["route"]["dev"]) == ("wrong, now corrected by asking", "db1")
    assert told["entry_after"]["mac"] == mac
    assert told["other_hops"] == {f"{V4} on db0": "right"}


@pytest.mark.parametrize("state", ["permanent", "noarp"])
def test_entry_of_a_second_card_that_is_set_by_hand_is_judged(arp, scene, state):
    """No answer changes it. Packets with that card's source address are lost."""
    scene.worker(V4)
    mac = second_card(V4)
    scene.add(V4, "reachable", BORN)
    scene.add(V4, state, DEAD, "db1")
    before = scene.table()
    told = arp.diagnose(V4)
    assert told["verdict"] == "owned entry disagrees with the wire"
    assert (told["route"]["dev"], set(told["answers_ms"])) == ("db1", {mac})
    assert told["other_hops"] == {f"{V4} on db0": "right"}
    assert [row.split()[2] for row in scene.table()] == [row.split()[2] for row in before]


@pytest.mark.parametrize("mark", [["extern_learn"], ["protocol", "zebra"]], ids=" ".join)
def test_entry_of_a_second_card_that_may_not_be_asked_about_is_named(arp, scene, mark):
    scene.worker(V4)
    second_card(V4)
    scene.add(V4, "reachable", BORN)
    ip("neigh", "add", V4, "lladdr", DEAD, "nud", "reachable", "dev", "db1", *mark)
    told = arp.diagnose(V4)
    assert (told["verdict"], told["route"]["dev"]) == ("right", "db0")
    assert told["other_hops"] == {f"{V4} on db1": "not judged"}
    assert f"other next hops: {V4} on db1 (not judged)" in told["sentence"]


def test_owned_entry_without_a_route_is_named_with_its_owner(arp, scene):
    address = "203.0.113.9"
    second_card(address)
    ip("neigh", "add", address, "lladdr", DEAD, "nud", "stale", "dev", "db1", "protocol", "zebra")
    told = arp.diagnose(address)
    assert (told["verdict"], told["route"]["dev"]) == ("cannot be asked here", "db1")
    assert "protocol zebra" in told["cannot_ask"]


@pytest.mark.parametrize("address", ["224.0.0.5", "192.0.2.255"])
def test_address_that_is_no_neighbours_has_no_other_next_hops(arp, scene, address):
    """The kernel's own entries for it are none."""
    second_card(V4)
    for dev in ("db0", "db1"):
        scene.add(address, "permanent", DEAD, dev)
    told = arp.diagnose(address, test=True)
    assert (told["verdict"], told["other_hops"]) == ("cannot be asked here", {})


def test_entry_without_a_route_is_judged_on_its_device(arp, scene):
    """As in a VRF, whose table a lookup without a device does not ask."""
    address = "203.0.113.9"
    mac = second_card(address)
    assert arp.diagnose(address)["verdict"] == "cannot be asked here"
    scene.add(address, "reachable", DEAD, "db1")
    scene.sysctl("ipv4.neigh.db1.locktime", 0)
    told = arp.diagnose(address)
    assert (told["verdict"], told["entry_after"]["mac"]) == ("wrong, now corrected by asking", mac)


def test_stuck_socket_shows_the_next_hop(arp, scene):
    """By its ports."""
    gateways(scene, BORN, BORN)
    scene.sysctl("ipv4.fib_multipath_hash_policy", 1)
    for _attempt in range(4):
        with socket.socket() as caller:
            caller.setblocking(False)
            caller.connect_ex((CLIENTS[0], 5432))
            words = f"from 192.0.2.1 ipproto tcp sport {caller.getsockname()[1]} dport 5432"
            kernel = ip("route", "get", CLIENTS[0], *words.split()).split()
            told = arp.diagnose(CLIENTS[0], test=True)
        assert told["judged"] == kernel[kernel.index("via") + 1]


def test_stuck_sockets_mark_shows_the_next_hop(arp, scene):
    gateways(scene, BORN, BORN)
    ip("route", "add", "default", "via", "192.0.2.13", "table", "7")
    ip("rule", "add", "fwmark", "7", "table", "7")
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
        caller.setblocking(False)
        caller.connect_ex((CLIENTS[0], 5432))
        told = arp.diagnose(CLIENTS[0], test=True)
    assert told["judged"] == "192.0.2.13"


def test_port_of_a_bridge_leads_to_the_bridge(arp, scene):
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "db0", "master", "br0")
    ip("link", "set", "br0", "up")
    ip("address", "flush", "dev", "db0")
    ip("address", "add", "192.0.2.1/24", "dev", "br0")
    scene.worker(V4)
    scene.until(lambda: "state UP" in ip("link", "show", "br0"))
    told = arp.diagnose(V4, dev="db0")
    assert told["route"]["dev"] == "br0"
    assert "db0 is a port of br0, which has the entries" in told["sentence"]


@pytest.mark.parametrize("dev", ["db0", "br0"])
@pytest.mark.parametrize("gateway", ["", "192.0.2.254", "2001:db8::254"], ids=str)
def test_device_below_the_one_with_the_entries_is_not_asked_by(arp, scene, dev, gateway):
    """A card in a bridge (or bond), and a macvlan (or VLAN) on that with the addresses."""
    ip("link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
    ip("link", "set", "db0", "master", "br0")
    ip("address", "flush", "dev", "db0")
    ip("link", "add", "link", "br0", "name", "on0", "type", "macvlan", "mode", "bridge")
    ip("link", "set", "on0", "addrgenmode", "none", "up")
    for own in ("192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"):
        ip("address", "add", own, "dev", "on0", *["nodad"] * (":" in own))
    ip("-n", "worker", "neigh", "flush", "all", "nud", "permanent")  # the addresses moved
    address = V4
    if gateway:
        address = "198.51.100.9" if "." in gateway else "2001:db8:9::9"
        ip(*["-6"] * (":" in gateway), "route", "add", "default", "via", gateway)
    for host in (gateway or V4, V6):
        scene.worker(host)
    scene.until(lambda: "state UP" in ip("link", "show", "br0"))
    told = arp.diagnose(address, dev=dev)
    assert (told["route"]["dev"], told["route"]["gateway"]) == ("on0", gateway)
    assert set(told["answers_ms"]) == {BORN}
    assert f"on0, on top of {dev}, has the entries" in told["sentence"]


def test_entry_on_top_of_a_named_device_is_judged_without_a_route(arp, scene):
    ip("address", "flush", "dev", "db0")
    ip("link", "add", "link", "db0", "name", "on0", "up", "type", "macvlan", "mode", "bridge")
    ip("address", "add", "198.51.100.1/24", "dev", "on0")
    scene.add(V4, "stale", BORN, "on0")
    assert arp.diagnose(V4, dev="db0", test=True)["entry"]["dev"] == "on0"
