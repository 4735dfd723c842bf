"""The sentinel within locktime: what takes no answer yet is deleted, and what is not."""

import contextlib
import socket
import time

import pytest
import stalls
from arp_engine.netlink.rtnetlink import Channel
from arp_engine.sentinel.telling import NOTICED
from arp_engine.table import flush, selectors, view
from conftest import BORN, DEAD
from scapy.layers.l2 import ARP, Ether
from sentry import (  # noqa: F401
    PORT,
    SECOND_SYN_S,
    SLOW_SECOND,
    Server,
    call_within,
    connect,
    connect_within,
    database,
    guard,
    healed_line,
    syn,
)
from stage import ip
from wire import BROADCAST, Wire, answer, namespace

from lab.bare import missing
from lab.machines import run

OTHER, THIRD = (f"02:00:00:00:00:{last}" for last in ("0c", "0d"))


@pytest.fixture(autouse=True)
def locktime(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 100)  # the kernel's default: ticks


def healed_within_locktime(address, why="syn"):
    return (
        f"healed: {address} on db0: {DEAD} -> {BORN}, by deleting the wrong entry ({NOTICED[why]})"
    )


@pytest.mark.timed
def test_an_entry_locked_by_our_own_syn_ack_is_deleted(scene, guard, database):
    """Our SYN/ACK makes it DELAY, and that is a change: for a second it takes no other MAC."""
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", DEAD)
    time.sleep(1.1)
    begun = guard()
    connect_within(SECOND_SYN_S, "192.0.2.10")
    assert begun.until("healed") == [healed_within_locktime("192.0.2.10")]
    assert f"192.0.2.10 db0 {BORN} REACHABLE" in scene.table()


@pytest.mark.timed
@pytest.mark.skipif(bool(missing("nft")), reason=missing("nft"))
def test_an_entry_that_a_filter_keeps_from_being_learnt_is_not_told_as_healed(
    scene, guard, database
):
    """The sentinel hears the answer before this host's filter drops it; the kernel does not."""
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", DEAD)
    scene.sysctl("ipv4.neigh.db0.retrans_time_ms", 100)  # it fails after three
    rules = "table arp f { chain in { type filter hook input priority 0; policy drop; }\n}"
    run("nft", "-f", "-", stdin=rules)
    time.sleep(1.1)
    begun = guard()
    with stalls.measured():
        with contextlib.suppress(TimeoutError):
            connect("192.0.2.10", patience=2.0)
        with contextlib.suppress(AssertionError):
            begun.until("disagreement")
        stalls.in_time(begun.told("disagreement"), "locktime was over before it would have deleted")
    [line] = begun.told("disagreement")
    assert f"not healed: {BORN} has answered and the wrong entry, {DEAD}, is deleted" in line
    assert not begun.told("healed")


@pytest.mark.timed
def test_an_entry_that_is_not_locked_is_not_deleted(scene, guard, database):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    time.sleep(1.1)
    begun = guard()
    connect_within(SECOND_SYN_S, "192.0.2.10")
    assert begun.until("healed") == [healed_line("192.0.2.10")]


def test_without_a_waiting_connection_locktime_is_waited_for(scene, guard):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", BORN)
    begun = guard()
    wire = Wire()
    for mac in (DEAD, BORN, DEAD):  # announced, which is believed at once
        wire.say(answer("192.0.2.10", mac, pdst="192.0.2.10", hwdst=mac))
    wire.close()
    begun.until("alternates")
    assert begun.until("healed") == [healed_line("192.0.2.10", "alternates")]


@pytest.mark.timed
def test_without_cap_net_admin_locktime_is_waited_for(scene, guard, database):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", DEAD)
    begun = guard(
        patch="from arp_engine.netlink import constants\n"
        "from arp_engine.sentinel import privileges; privileges.keep_only(constants.CAP_NET_RAW)"
    )
    with stalls.measured():
        assert connect("192.0.2.10") > SECOND_SYN_S
        [line] = begun.until("healed")
        stalls.in_time(begun.told("failed"), "locktime was over before it would have deleted")
    assert line.startswith(f"healed: 192.0.2.10 on db0: {DEAD} -> {BORN} (noticed by ")
    assert begun.told("failed")[0].startswith("failed: cannot delete 192.0.2.10 on db0: EPERM: ")


def test_a_duplicate_within_locktime_is_told_not_deleted(scene, guard):
    scene.sysctl("ipv4.neigh.db0.locktime", 6000)
    scene.add("192.0.2.10", "reachable", DEAD)
    wire = Wire()
    with (
        contextlib.closing(wire),
        wire.answering(
            lambda address, to_all, _number: (
                [answer(address, OTHER), answer(address, DEAD)] * to_all
            )
        ),
    ):
        begun = guard(patch=SLOW_SECOND)
        wire.say(syn("192.0.2.10", OTHER))
        begun.until("duplicate")
    assert not begun.told("healed")
    assert f"192.0.2.10 db0 {DEAD} REACHABLE" in scene.table()


def test_a_mac_announced_during_the_probe_is_not_deleted(scene, guard):
    """The one we held is silent, another one answers; and a third, who lives, is believed."""
    scene.add("192.0.2.10", "reachable", DEAD)
    address = "192.0.2.10"
    hello = Ether(src=THIRD, dst=BROADCAST) / ARP(op=1, hwsrc=THIRD, psrc=address, pdst=address)
    asked = []

    def respond(address, to_all, number):
        asked.append(to_all)
        if not to_all:
            return [answer(address, THIRD)] * number  # the first is for the dead one
        return [answer(address, OTHER), hello] if number == 0 else []

    wire = Wire()
    begun = guard()
    with contextlib.closing(wire), wire.answering(respond), socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex((address, PORT))
        begun.until("changed")
        scene.until(lambda: asked.count(False) >= 2)
        scene.until(lambda: f"{address} db0 {THIRD} REACHABLE" in scene.table())
        time.sleep(0.1)
    assert not begun.told("healed")
    assert f"{address} db0 {THIRD} " in str(scene.table())


def test_an_entry_taken_over_during_locktime_is_not_deleted(scene, guard):
    """The answer names another, and meanwhile an owner has made the entry his."""
    wire, said = Wire(), []

    def taken(address, to_all, _number):
        if to_all:  # earlier, and the rest of the probe would not be sent
            scene.add("192.0.2.10", "reachable", DEAD, "db0", "extern_learn")
        said.append(to_all)
        return [answer(address, OTHER)] * to_all

    begun = guard()
    scene.add("192.0.2.10", "reachable", DEAD)
    with contextlib.closing(wire), wire.answering(taken):
        # again and again: of an entry that has just been written the kernel's filter may not know
        scene.until(lambda: wire.say(syn("192.0.2.10", OTHER)) or True in said)
        time.sleep(0.2)
    assert not begun.told("healed")
    assert f"192.0.2.10 db0 {DEAD} extern_learn REACHABLE" in scene.table()


def test_an_ipv6_answer_without_override_deletes_nothing(scene, guard):
    scene.add("2001:db8::10", "reachable", DEAD)
    wire = Wire()
    begun = guard()

    def modest(address, to_all, _number):
        return [answer(address, OTHER, O=0)] * to_all

    with contextlib.closing(wire), wire.answering(modest):
        wire.say(syn("2001:db8::10", OTHER))
        told = (
            f"2001:db8::10 on db0: still wrong: {OTHER} answers, but the kernel keeps {DEAD} "
            "(another process writes it, or an IPv6 answer without Override flag); traffic to it "
            "may be lost: run arp.diagnose 2001:db8::10"
        )
        assert begun.until("disagreement") == [f"disagreement: {told}"]
    assert not begun.told("healed")


@pytest.mark.timed
def test_an_outgoing_connection_within_locktime_is_not_late(scene, guard):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "stale", DEAD)
    with namespace("worker"):
        server = Server("192.0.2.10")
    begun = guard()
    call_within(SECOND_SYN_S, "192.0.2.10")
    server.close()
    assert begun.until("healed") == [healed_within_locktime("192.0.2.10", "no answer")]


@pytest.mark.timed
def test_each_re_creation_within_locktime_is_healed(scene, guard):
    """That the wire has confirmed the former one delays nothing."""
    scene.worker("192.0.2.10")
    with namespace("worker"):
        server = Server("192.0.2.10")
    scene.add("192.0.2.10", "stale", DEAD)
    begun = guard()
    for times in (1, 2, 3, 4):
        call_within(SECOND_SYN_S, "192.0.2.10")
        assert "by deleting" in begun.until("healed", times)[-1]
        [held] = [row.split()[2] for row in scene.table() if row.startswith("192.0.2.10 ")]
        ip("-n", "worker", "link", "set", "w0", "address", f"02:00:00:00:01:0{times}")
        time.sleep(1.1)  # one address is asked about once a second
        scene.add("192.0.2.10", "stale", held)
    server.close()


def test_an_entry_with_another_mac_by_now_is_not_deleted(scene):
    scene.add("192.0.2.10", "reachable", BORN)
    key = socket.if_nametoindex("db0"), socket.inet_aton("192.0.2.10")
    with Channel() as channel:
        table = view.TableView(channel, selectors.parse_selectors(verb="list"))
        assert not flush.delete_locked(table, key, bytes.fromhex(DEAD.replace(":", "")))
        assert f"192.0.2.10 db0 {BORN} REACHABLE" in scene.table()
        assert flush.delete_locked(table, key, bytes.fromhex(BORN.replace(":", "")))
    assert not [row for row in scene.table() if row.startswith("192.0.2.10 ")]
