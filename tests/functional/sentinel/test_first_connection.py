"""The sentinel: the first connection of a worker that was made anew is not late."""

import contextlib
import socket
import subprocess
import time

import pytest
import stalls
from arp_engine.reporting import sentinel_status
from conftest import BORN, DEAD, HOST, ip
from sentry import (  # noqa: F401
    OURS,
    PAIR,
    PORT,
    SECOND_SYN_S,
    SLOW_SECOND,
    Server,
    call_within,
    connect,
    connect_at_once_within,
    connect_within,
    database,
    family,
    guard,
    healed_line,
    loopback,
    syn,
)
from stage import ip
from wire import Wire, answer, asked, namespace

from lab.bare import missing
from lab.machines import wait_until_up

REDIRECT = f"""
table inet moved {{
  chain in {{ type nat hook prerouting priority dstnat
    tcp dport {PORT + 1} redirect to :{PORT}
  }}
}}
"""
OTHER = "02:00:00:00:00:0c"


@pytest.fixture(autouse=True)
def no_locktime(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)  # an entry just written shall be as good as an old


@pytest.mark.timed
@PAIR
@pytest.mark.parametrize("state", ["reachable", "stale"])
def test_the_first_connection_of_a_new_worker_is_not_late(scene, guard, database, address, state):
    scene.worker(address)
    scene.add(address, state, DEAD)
    begun = guard()
    connect_within(SECOND_SYN_S, address)
    assert begun.until("healed") == [healed_line(address)]
    assert f"{address} db0 {BORN} REACHABLE" in scene.table()


@pytest.mark.timed
def test_upper_layer_confirmation_does_not_delay_the_heal(scene, guard, database):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    guard()
    with scene.confirming("192.0.2.10"):
        connect_within(SECOND_SYN_S, "192.0.2.10")


@pytest.mark.timed
@pytest.mark.parametrize("ticks", [0, 100], ids=["old", "locked"])
@pytest.mark.parametrize("heard", [0, 1], ids=["first-lost", "first-heard"])
def test_lost_unicast_and_every_second_broadcast_do_not_delay_it(
    scene, guard, database, ticks, heard
):
    scene.worker("192.0.2.10")
    scene.sysctl("ipv4.neigh.db0.locktime", ticks)
    scene.add("192.0.2.10", "reachable", DEAD)
    with namespace("worker"):
        scene.sysctl("ipv4.conf.all.arp_ignore", 8)
    wire = Wire()
    with (
        contextlib.closing(wire),
        wire.answering(
            lambda address, to_all, number: [answer(address)] * (to_all and number % 2 == heard)
        ),
    ):
        guard()
        connect_within(SECOND_SYN_S, "192.0.2.10")


@pytest.mark.timed
def test_fifty_workers_at_once_all_connect(scene, guard, database):
    addresses = [f"192.0.2.{number}" for number in range(100, 150)]
    for address in addresses:
        scene.worker(address)
        scene.add(address, "reachable", DEAD)
    begun = guard()
    connect_at_once_within(2, addresses)  # the client's patience
    assert begun.until("healed", 10)
    assert all(f"{address} db0 {BORN} REACHABLE" in scene.table() for address in addresses)


@pytest.mark.timed
@PAIR
def test_a_client_with_one_second_of_patience_connects(scene, guard, database, address):
    """kube-ovn's fixed address: the first request of the Pod that was made anew must succeed."""
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    guard()
    connect_within(1.0, address, patience=1.0)


@pytest.mark.timed
@PAIR
def test_the_first_connection_to_a_redirected_port_is_not_late(scene, guard, database, address):
    if lacking := missing("nft"):
        pytest.skip(lacking)
    subprocess.run(["nft", "-f", "-"], input=REDIRECT, text=True, check=True)
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    guard()
    try:
        connect_within(SECOND_SYN_S, address, port=PORT + 1)
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "moved"], check=True)


@pytest.mark.timed
@PAIR
def test_a_restarted_sentinel_heals_the_same_address_again(scene, guard, database, address):
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    first = guard()
    connect_within(SECOND_SYN_S, address)
    first.until("healed")
    first.end()
    scene.add(address, "reachable", DEAD)
    second = guard()
    connect_within(SECOND_SYN_S, address)
    assert second.until("healed") == [healed_line(address)]


# --- no SYN of his comes


@pytest.mark.timed
@PAIR
def test_an_outgoing_connection_is_not_late(scene, guard, address):
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    with namespace("worker"):
        server = Server(address)
    begun = guard()
    call_within(SECOND_SYN_S, address)
    server.close()
    assert begun.until("healed") == [healed_line(address, "no answer")]


@pytest.mark.timed
@PAIR
def test_a_resent_outgoing_syn_leaves_by_the_device_of_the_first(scene, guard, address):
    """A mark leads it to the worker; without one the route is another."""
    version, length = ("-6", 128) if ":" in address else ("-4", 32)
    scene.worker(address)
    scene.add(address, "reachable", DEAD)
    ip("link", "add", "db1", "type", "veth", "peer", "name", "w1", "netns", "worker")
    for words in (["link", "set", "db1", "up"], ["-n", "worker", "link", "set", "w1", "up"]):
        ip(*words)
    wait_until_up("db1")
    ip(version, "route", "add", f"{address}/{length}", "dev", "db1")
    ip(version, "route", "add", f"{address}/{length}", "dev", "db0", "table", "100")
    ip(version, "rule", "add", "fwmark", "7", "lookup", "100")
    with namespace("worker"):
        server = Server(address)
    begun, elsewhere = guard(), Wire("w1")
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
        sock.settimeout(30)
        sock.bind((OURS[family(address)], 0))
        with stalls.within(SECOND_SYN_S):
            sock.connect((address, PORT))
        # to what comes when a socket is gone the kernel answers with no mark
        assert b"".join(iter(lambda: sock.recv(4), b"")) == b"word"
    server.close()
    begun.until("healed")
    assert address not in map(asked, elsewhere.questions())
    elsewhere.close()


@pytest.mark.timed
@PAIR
def test_each_re_creation_of_a_called_worker_is_healed(scene, guard, address):
    scene.worker(address)
    with namespace("worker"):
        server = Server(address)
    begun = guard()
    for times in (1, 2, 3):
        scene.add(address, "reachable", DEAD)
        time.sleep(1.1)  # one address is asked about once a second
        call_within(2, address)
        begun.until("healed", times)
    server.close()


@pytest.mark.timed
@PAIR
def test_an_established_connection_over_a_wrong_entry_continues(scene, guard, address):
    scene.worker(address)
    with namespace("worker"):
        server = Server(address, echo=True)
    begun = guard()
    with socket.create_connection((address, PORT), 30) as sock:
        scene.add(address, "reachable", DEAD)
        with scene.confirming(address), stalls.within(10):
            sock.sendall(b"are you there?")
            assert sock.recv(14) == b"are you there?"
    server.close()
    assert begun.until("healed") == [healed_line(address, "retransmits")]


def test_healthy_connections_cause_no_probe(scene, guard, database):
    """Whose answer a stall delays may be asked about: one of fifty."""
    addresses = [f"192.0.2.{number}" for number in range(10, 20)]
    for address in addresses:
        scene.worker(address)
    begun = guard()
    for address in 5 * addresses:
        connect(address)
    assert begun.end() == begun.told("watching")
    seen = sentinel_status.read(sentinel_status.PATH, time.monotonic())
    assert seen["why"] == "stopped"
    assert seen["counts"].get("questions", 0) <= 2


# --- not wrong


@pytest.mark.timed
@PAIR
def test_a_second_mac_whose_host_does_not_answer_is_an_alias(scene, guard, address):
    scene.worker(address)
    scene.add(address, "reachable", BORN)
    wire = Wire()
    begun = guard()
    with contextlib.closing(wire), stalls.measured():
        wire.say(syn(address, OTHER))
        assert begun.until("alias") == [
            f"alias: {address} on db0: the cached MAC {BORN} is right, it answers; SYNs also come "
            f"from {OTHER} (a load balancer, VRRP, a bond, a second NIC): nothing to do"
        ]
        wire.questions()
        # it is believed for a second, the first time
        for number in range(5):
            wire.say(syn(address, OTHER, source_port=5000 + number))
            time.sleep(0.06)
        stalls.in_time(not wire.questions(), "it was asked about again")
    assert begun.told("alias") == begun.told("alias")[:1]
    assert [row.split()[2] for row in scene.table() if row.startswith(address)] == [BORN]


OWNED = {
    "PERMANENT": ("permanent", ()),
    "extern_learn": ("reachable", ("extern_learn",)),
    "protocol zebra": ("reachable", ("proto", "zebra")),
}


@pytest.mark.parametrize("owner", OWNED)
def test_a_syn_against_a_protected_entry_is_told_not_probed(scene, guard, owner):
    state, words = OWNED[owner]
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", state, DEAD, "db0", *words)
    before = scene.table()
    wire = Wire()
    begun = guard()
    wire.say(*[syn("192.0.2.10", BORN, source_port=4000 + number) for number in range(5)])
    told = (
        f"owned: 192.0.2.10 on db0: a SYN came from {BORN}, but the entry has {DEAD} and is never "
        f"touched ({owner}); if it is wrong, replies are lost until its owner corrects it: "
        "run arp.diagnose 192.0.2.10"
    )
    assert begun.until("owned") == [told]
    time.sleep(0.3)
    assert "192.0.2.10" not in map(asked, wire.questions())
    wire.close()
    assert begun.told("owned") == [told]
    assert scene.table() == before


def test_a_duplicate_address_is_told_and_the_cached_mac_stays(scene, guard):
    """The holder is so late that everybody is asked, and both answer."""
    scene.add("192.0.2.10", "reachable", BORN)
    wire = Wire()

    def respond(asked, to_all, number):
        hosts = [BORN, OTHER] if asked == "192.0.2.10" else []
        return [answer(asked, mac) for mac in hosts if to_all or (number and mac == wire.asked_mac)]

    with contextlib.closing(wire), wire.answering(respond):
        begun = guard(patch=SLOW_SECOND)
        wire.say(syn("192.0.2.10", OTHER))
        assert begun.until("duplicate") == [
            f"duplicate: 192.0.2.10 on db0: {BORN} and {OTHER} answer: two hosts have it, or one "
            "with two NICs: run arp.diagnose 192.0.2.10"
        ]
        scene.until(lambda: any(BORN in row for row in scene.table()))
        time.sleep(1.5)  # the look back is over (here after one question), and nothing else asks
        assert any(BORN in row for row in scene.table())


# They answer by a thread of this process, which may be late on a busy machine: a claimant is waited
# for. (How late one may be where nothing is patched: unit/sentinel/test_slow_hosts.py.)
SLOW_CLAIMANT = """
from arp_engine.sentinel import claims
look_back.LOOK_BACK_FOR_S = 60.0
claims.MAX_BUSY_S = 30.0
claims.PATIENTLY = claims.PATIENTLY._replace(unicast_waits_s=(2.0, 2.0))
"""


@PAIR
@pytest.mark.parametrize(("locktime", "late_s"), [(0, 0), (100, 0), (100, 0.06)])
def test_two_living_hosts_are_a_duplicate_and_no_alias(scene, guard, address, locktime, late_s):
    """Each answers what it is asked alone, one of them late; the holder keeps its entry."""
    scene.sysctl("ipv4.neigh.db0.locktime", locktime)
    scene.add(address, "reachable", BORN)
    wire, macs, broadcasts = Wire(), set(), []

    def respond(asked, to_all, _number):
        [row] = [row for row in scene.table() if row.startswith(f"{address} ")]
        macs.add(row.split()[2])
        broadcasts.extend([asked] * to_all)
        time.sleep(late_s if wire.asked_mac == OTHER else 0)
        hosts = [BORN, OTHER] if asked == address else []
        return [answer(asked, mac) for mac in hosts if to_all or mac == wire.asked_mac]

    with contextlib.closing(wire), wire.answering(respond):
        begun = guard(patch=SLOW_CLAIMANT)
        wire.say(syn(address, OTHER))
        [line] = begun.until("duplicate")
        scene.until(lambda: any(f"{address} db0 {BORN}" in row for row in scene.table()))
    assert f"{BORN} and {OTHER} answer" in line
    assert not begun.told("alias")
    if locktime and ":" not in address and address not in broadcasts:  # as on a busy machine
        assert macs == {BORN}


def test_an_alternating_mac_is_told(scene, guard):
    scene.add("192.0.2.10", "reachable", BORN)
    begun = guard()
    for mac in (OTHER, BORN, OTHER):
        scene.add("192.0.2.10", "reachable", mac)
    assert begun.until("changed", 3)
    assert begun.until("alternates") == [
        "alternates: 192.0.2.10 on db0: MAC changed 3 times in 60 s: two hosts claim the "
        "address, or it moves to and fro (VRRP, a bond)"
    ]


# --- what is selected


@pytest.mark.timed
def test_a_device_is_selected_by_its_alternative_name(scene, guard, database):
    ip("link", "property", "add", "dev", "db0", "altname", "uplink")
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    begun = guard('{"dev": "uplink"}')
    connect_within(SECOND_SYN_S, "192.0.2.10")
    assert begun.until("watching") == ["watching: every SYN, connection and notification on uplink"]


@pytest.mark.parametrize("comes", ["before", "after"])
def test_selected_card_below_the_device_with_the_entries_heals(scene, guard, comes):
    """A macvlan, as a VLAN on a card: the card itself has no address."""

    def stack():
        ip("link", "add", "link", "db0", "name", "on0", "address", HOST, "type", "macvlan")
        ip("link", "set", "on0", "addrgenmode", "none", "up")
        ip("address", "add", "192.0.2.1/24", "dev", "on0")
        scene.sysctl("ipv4.neigh.on0.locktime", 0)

    ip("address", "flush", "dev", "db0")
    ip("link", "set", "db0", "address", OTHER)
    if comes == "before":
        stack()
    scene.worker("192.0.2.10")
    begun = guard('{"dev": "db0"}')
    if comes == "after":
        stack()
    scene.add("192.0.2.10", "reachable", DEAD, "on0")
    server = Server("192.0.2.1")
    with contextlib.closing(server):
        connect("192.0.2.10")
    [line] = begun.until("healed")
    assert line.startswith(f"healed: 192.0.2.10 on on0: {DEAD} -> {BORN} (noticed by ")


def test_an_absent_selected_device_is_named(guard):
    assert guard('{"dev": ["db0", "dbO"]}').until("watching") == [
        "watching: SYNs, connections and notifications on db0; "
        "waits for device dbO, which does not exist"
    ]


SOON = "from arp_engine.reporting import sentinel_status; sentinel_status.WRITE_INTERVAL_S = 0.1"


def test_selected_device_that_comes_later_is_told(guard):
    begun = guard('{"dev": "late0"}', patch=SOON)
    told = ["watching: nothing; waits for device late0, which does not exist"]
    assert begun.until("watching") == told
    absent = sentinel_status.read(sentinel_status.PATH, time.monotonic())["absent_devices"]
    assert absent == ["late0"]
    ip("link", "add", "late0", "type", "veth", "peer", "name", "late1")
    try:
        told.append("watching: every SYN, connection and notification on late0")
        assert begun.until("watching", 2) == told
    finally:
        ip("link", "del", "late0")


def test_an_excluded_address_is_not_probed(scene, guard, database):
    for address in ("192.0.2.10", "192.0.2.11"):
        scene.worker(address)
        scene.add(address, "reachable", DEAD)
    begun = guard('{"exclude": "192.0.2.10", "dev": "db0"}')
    wire = Wire()
    wire.say(syn("192.0.2.10"), syn("192.0.2.11"))
    begun.until("healed")
    wire.close()
    macs = {row.split()[0]: row.split()[2] for row in scene.table()}
    assert (macs["192.0.2.10"], macs["192.0.2.11"]) == (DEAD, BORN)


def test_reinject_false_reinjects_nothing(scene, guard, database, loopback):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    begun = guard('{"reinject": false}')
    assert connect("192.0.2.10") > SECOND_SYN_S
    begun.until("healed")
    assert not loopback.syns()
