"""The sentinel in all weathers: devices, families, lost notifications, a second sentinel."""

import itertools
import socket
import subprocess
import threading
import time

import pytest
import stalls
from arp_engine.netlink import codec
from arp_engine.netlink.constants import NDA_DST, NDA_LLADDR, PERMANENT
from arp_engine.netlink.rtnetlink import Limits
from arp_engine.sentinel import loop, options, table_reader
from arp_engine.table import capacity
from conftest import BORN, DEAD, ip
from pyroute2.netlink import NLM_F_REPLACE
from pyroute2.netlink.rtnl import RTM_NEWNEIGH
from sentry import (  # noqa: F401
    PAIR,
    PORT,
    SECOND_SYN_S,
    Server,
    connect,
    connect_within,
    database,
    guard,
    healed_line,
    loopback,
    syn,
)
from wire import Wire, answer, asked

from lab.machines import Failed


@pytest.fixture(autouse=True)
def no_locktime(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)


def begin_anew(scene, address="192.0.2.10", dev="db0"):
    scene.worker(address)
    scene.add(address, "reachable", DEAD, dev)
    time.sleep(0.1)  # of an entry that has just been written the kernel's filter may not know


@pytest.mark.timed
def test_entries_of_a_renamed_device_are_healed(scene, guard, database):
    begun = guard()
    for words in ("db0 down", "db0 name db1", "db1 up"):
        ip("link", "set", *words.split())
    begin_anew(scene, dev="db1")
    connect_within(SECOND_SYN_S, "192.0.2.10")
    assert begun.until("healed") == [healed_line("192.0.2.10", dev="db1")]


SWAP = """
link set db0 down
link set db0 name aside
link set db1 down
link set db1 name db0
link set db0 up
link set aside name db1
link set db1 up
address add fe80::1/64 dev db1 nodad
neigh replace 192.0.2.10 lladdr 02:00:00:00:00:0a nud reachable dev db1
"""


def test_no_probe_leaves_by_the_wrong_one_of_two_swapped_names(scene, guard, wire):
    """Nobody on the other wire hears who we are on this one."""
    scene.add("192.0.2.10", "reachable", DEAD)
    ip("link", "add", "db1", "up", "type", "veth", "peer", "name", "w1", "netns", "worker")
    ip("-n", "worker", "link", "set", "w1", "up")
    ip("address", "add", "203.0.113.1/24", "dev", "db1")
    begun, other = guard(), Wire("w1")
    wire.say(syn("192.0.2.10", BORN))
    scene.until(wire.questions)
    ip("-batch", "-", stdin=SWAP)
    for number in range(20):
        wire.say(syn("192.0.2.10", BORN, source_port=5000 + number))
        time.sleep(0.05)
    scene.until(lambda: wire.say(syn("192.0.2.10", BORN, source_port=6000)) or wire.questions())
    assert "192.0.2.10" not in map(asked, other.questions())
    other.close()
    assert not begun.told("failed")


@pytest.mark.timed
def test_entries_of_a_device_that_came_back_are_healed(scene, guard):
    begin_anew(scene)
    begun = guard()
    ip("link", "del", "db0")
    scene.__init__()
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    server = Server("192.0.2.1")
    begin_anew(scene)
    connect_within(SECOND_SYN_S, "192.0.2.10")
    server.close()
    assert begun.until("healed")


@pytest.mark.timed
def test_macs_that_a_bridge_learns_are_no_neighbours(scene, guard, database):
    """It tells of it by the same messages: two MACs behind one port are no change of an entry."""
    begin_anew(scene)
    ip("link", "add", "br0", "up", "type", "bridge")
    ip("link", "add", "port0", "master", "br0", "up", "type", "veth", "peer", "name", "pod0")
    ip("link", "set", "pod0", "up")
    scene.until(lambda: "state forwarding" in ip("-d", "link", "show", "port0"))
    begun = guard()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind(("pod0", 0))
        for number in range(3):
            sock.send(b"\xff" * 6 + bytes([2, 0, 0, 0, 3, number]) + b"\x88\xb5" + bytes(46))
    connect_within(SECOND_SYN_S, "192.0.2.10")
    begun.until("healed")
    assert len(begun.end()) == 2, begun.lines  # and that it watches


@pytest.mark.timed
def test_entries_of_the_bridge_of_an_enslaved_device_are_healed(scene, guard, database):
    """What the table knows then is the bridge's."""
    begun = guard()
    for words in (
        "link add br0 type bridge forward_delay 0 mcast_snooping 0",
        "link set br0 address 02:00:00:00:00:01",
        "address flush dev db0",
        "link set db0 master br0",
        "link set br0 up",
        "address add 192.0.2.1/24 dev br0",
    ):
        ip(*words.split())
    scene.sysctl("ipv4.neigh.br0.locktime", 0)
    begin_anew(scene, dev="br0")
    connect_within(SECOND_SYN_S, "192.0.2.10")
    assert begun.until("healed") == [healed_line("192.0.2.10", dev="br0")]


BRIDGE = """
link add br0 type bridge forward_delay 0 mcast_snooping 0
link set br0 address 02:00:00:00:00:01
address flush dev db0
link set br0 up
address add 192.0.2.1/24 dev br0
"""
BECOMES_SELECTED = {
    "renamed": ("lan0", "", "lan0", "link set db0 name lan0"),
    "its port is named": ("db0", BRIDGE, "br0", "link set db0 master br0"),
}


@pytest.mark.timed
@pytest.mark.parametrize("case", BECOMES_SELECTED)
def test_entry_of_a_device_that_becomes_selected_is_healed(scene, guard, case):
    """It was there before, and nothing of it has changed."""
    wanted, before, dev, event = BECOMES_SELECTED[case]
    ip("-batch", "-", stdin=before)
    begin_anew(scene, dev="br0" if before else "db0")
    server = Server("192.0.2.1")
    begun = guard(f'{{"dev": "{wanted}"}}')
    try:
        ip(*event.split())
    except Failed:
        pytest.skip("this kernel renames no device that is up")
    scene.sysctl(f"ipv4.neigh.{dev}.locktime", 0)
    with stalls.within(SECOND_SYN_S) as claim:
        time.sleep(0.5)
        claim.took_s = connect("192.0.2.10")
    server.close()
    assert begun.until("healed") == [healed_line("192.0.2.10", dev=dev)]


@pytest.mark.timed
def test_without_ipv6_an_ipv4_entry_is_healed(scene, guard, database):
    scene.sysctl("ipv6.conf.all.disable_ipv6", 1)
    guard()
    begin_anew(scene)
    connect_within(SECOND_SYN_S, "192.0.2.10")


@pytest.mark.timed
def test_without_ipv4_addresses_an_ipv6_entry_is_healed(scene, guard, database):
    ip("address", "del", "192.0.2.1/24", "dev", "db0")
    guard()
    begin_anew(scene, "2001:db8::10")
    connect_within(SECOND_SYN_S, "2001:db8::10")


@pytest.mark.timed
def test_after_lost_notifications_the_table_is_read_again(scene, guard, database):
    begun = guard()
    subprocess.run(["kill", "-STOP", str(begun.process.pid)], check=True)
    for _ in range(6):
        scene.fill(800, "permanent")
        ip("neigh", "flush", "nud", "permanent", "dev", "db0")
    begin_anew(scene)
    subprocess.run(["kill", "-CONT", str(begun.process.pid)], check=True)
    with stalls.within(SECOND_SYN_S) as claim:
        begun.until("lost")
        time.sleep(0.3)  # it reads the table, and tells the kernel's filter
        claim.took_s = connect("192.0.2.10")


@pytest.mark.timed
@PAIR
def test_beside_1500_protected_entries_an_entry_is_healed(scene, guard, database, address):
    scene.fill(1500, "permanent", 6 if ":" in address else 4)
    begun = guard()
    begin_anew(scene, address)
    connect_within(SECOND_SYN_S, address)
    assert begun.until("healed")


@pytest.mark.timed
def test_two_sentinels_at_once_heal_as_one_does(scene, guard, database):
    begun = [guard(), guard()]
    for number in range(10, 20):
        begin_anew(scene, f"192.0.2.{number}")
        connect_within(SECOND_SYN_S, f"192.0.2.{number}")
    scene.until(lambda: any(each.told("healed") for each in begun))


@pytest.mark.timed
def test_each_failover_of_an_address_is_healed(scene, guard, database):
    """keepalived#160: a VRRP address fails over while an application vouches for the old MAC."""
    address = "192.0.2.10"
    begun = guard()
    scene.worker("192.0.2.99")  # with its last address it would forget us, and tell us by asking
    for failover in range(1, 5):
        begin_anew(scene, address)
        with scene.confirming(address):
            connect_within(SECOND_SYN_S, address)
        begun.until("healed", failover)
        ip("-n", "worker", "address", "del", f"{address}/24", "dev", "w0")
        time.sleep(1.1)  # nobody is asked about more than once a second


@pytest.mark.timed
def test_a_second_announcement_after_locktime_is_taken(scene, guard, database):
    """metallb#172: the first is not believed, the second comes 1.1 s later: nobody waits for it."""
    address = "192.0.2.10"
    scene.worker(address)
    begun, wire = guard(), Wire()
    scene.sysctl("ipv4.neigh.db0.locktime", 100)
    with stalls.measured():
        scene.add(address, "reachable", DEAD)
        wire.say(answer(address))
        time.sleep(0.05)
        believed = f"{address} db0 {DEAD} REACHABLE" not in scene.table()
        stalls.in_time(not believed, "locktime was over")
    connect_within(SECOND_SYN_S, address)
    told = begun.until("healed")
    time.sleep(1.1)
    wire.say(answer(address))
    wire.close()
    connect_within(SECOND_SYN_S, address)
    assert f"{address} db0 {BORN} REACHABLE" in scene.table()
    assert begun.end() == ["watching: every SYN, connection and notification", *told]


def test_a_suspect_entry_is_healed_without_traffic(scene, guard):
    """Kept REACHABLE by somebody who vouches for it, for longer than ARP alone would."""
    begin_anew(scene)
    scene.sysctl("ipv4.neigh.db0.base_reachable_time_ms", 100)
    with scene.confirming("192.0.2.10"):
        scene.until(lambda: f"192.0.2.10 db0 {DEAD} REACHABLE" in scene.table())
        time.sleep(1)
        begun = guard()
        assert begun.until("healed") == [healed_line("192.0.2.10", "upper-layer confirmation")]


def test_a_nearly_full_table_is_told_once(scene, monkeypatch):
    """The limit is the host's, and no test may reach it: only its numbers are made up."""
    scene.fill(5, "permanent")
    entries = itertools.chain([*[905] * 3, 100], itertools.repeat(905))

    def limits(families):
        return {socket.AF_INET: Limits(128, 512, 1024, next(entries), (0, 0))}

    said = []
    sentinel = loop.Sentinel(options.parse({}), lambda *words: said.append(words[:2]))
    monkeypatch.setattr(table_reader, "RESYNC_S", 0.01)
    monkeypatch.setattr(table_reader, "RESYNC_REST", 0)
    monkeypatch.setattr(loop.rtnetlink, "limits", limits)
    monkeypatch.setattr(capacity, "NEARLY_FULL", 0.8)
    monkeypatch.setattr(loop.view.TableView, "until_complete", lambda _table: [None])
    runner = threading.Thread(target=sentinel.run)
    runner.start()
    try:
        scene.until(lambda: sum(kind.tag == "full" for kind, _line in said) == 2)
        time.sleep(0.2)
    finally:
        sentinel.stop()
        runner.join()
    full = [line for kind, line in said if kind.tag == "full"]
    assert full == 2 * [
        "full: ipv4 neighbour table at most 87 % full: 900 of gc_thresh3 1024, all "
        "namespaces together; set gc_thresh2 1024, gc_thresh3 2048"
    ]


def rss_kb(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        [line] = [line for line in file if line.startswith("VmRSS")]
    return int(line.split()[1])


@pytest.mark.timed
def test_a_worker_after_a_storm_of_changes_is_not_late(scene, guard, database):
    """Some 100,000 changes a second, of a network that goes in circles."""
    names = scene.fill(100, "permanent")
    begun, ifindex = guard(), socket.if_nametoindex("db0")
    before = rss_kb(begun.process)
    rounds = []
    for last in range(7):
        mac = codec.attribute(NDA_LLADDR, bytes([2, 0, 0, 0, 9, last]))
        head = codec.NDMSG.pack(socket.AF_INET, ifindex, PERMANENT, 0, 0)
        addresses = [codec.attribute(NDA_DST, socket.inet_aton(name)) for name in names]
        bodies = [head + each + mac for each in addresses]
        changes = [codec.request(RTM_NEWNEIGH, NLM_F_REPLACE, body) for body in bodies]
        rounds.append(b"".join(changes))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sender:
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            for changes in rounds:
                sender.send(changes)
            time.sleep(0.007)
    with stalls.within(SECOND_SYN_S) as claim:  # at once, if the processor is free
        for last in range(210, 215):
            begin_anew(scene, f"192.0.2.{last}")
            claim.took_s = connect(f"192.0.2.{last}")
            if claim.took_s < SECOND_SYN_S:
                break
    assert rss_kb(begun.process) < before + 20_000
