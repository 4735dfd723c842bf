"""arp.revalidate and the PROBE fallback: no MAC is invented, no living entry is lost."""

import contextlib
import socket
import threading
import time

import pytest
from arp_engine.resolve import revalidate
from arp_engine.table import selectors
from asking import undated
from conftest import BORN, DEAD, ip
from pace import late_verdicts  # noqa: F401
from wire import answer

from lab import cable

PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"])


pytestmark = pytest.mark.usefixtures("late_verdicts")


@pytest.fixture
def lively(scene):
    """A scene whose kernel decides quickly, and probes by broadcast before an entry fails."""
    scene.quick()
    for family in ("ipv4", "ipv6"):
        scene.sysctl(f"{family}.neigh.db0.mcast_resolicit", 3)
    return scene


@PAIR
def test_wrong_entry_is_healed(arp, lively, address):
    lively.worker(address)
    lively.add(address, "reachable", DEAD)
    answer = arp.revalidate(ip=address)
    assert {**answer, "healed": undated(answer["healed"])} == {
        "checked": 1,
        "confirmed": 0,
        "undecided": 0,
        "healed": [{"ip": address, "dev": "db0", "old": DEAD, "new": BORN}],
        "gone": [],
        "duplicates": [],
        "totals": {"healed": 1, "gone": 0, "duplicates": 0},
        "kept": {},
        "warnings": [],
    }
    assert lively.table() == [f"{address} db0 {BORN} REACHABLE"]


@PAIR
@pytest.mark.parametrize("state", ["reachable", "stale", "delay", "probe"])
def test_right_entry_is_confirmed(arp, lively, address, state):
    lively.worker(address)
    lively.add(address, state, BORN)
    answer = arp.revalidate()
    assert (answer["checked"], answer["confirmed"], answer["gone"]) == (1, 1, [])
    assert lively.table() == [f"{address} db0 {BORN} REACHABLE"]


@PAIR
def test_entry_without_an_answer_is_gone(arp, lively, address):
    lively.add(address, "reachable", DEAD)
    answer = arp.revalidate()
    assert answer["gone"] == [{"ip": address, "dev": "db0", "mac": DEAD}]
    assert [row.split()[-1] for row in lively.table()] in (["FAILED"], [])


@PAIR
def test_entry_in_probe_keeps_its_mac(arp, scene, address):
    """In PROBE traffic goes on to the cached MAC: no live connection is hurt."""
    scene.add(address, "reachable", DEAD)
    run = threading.Thread(target=arp.revalidate)
    run.start()
    scene.until(lambda: scene.table() == [f"{address} db0 {DEAD} PROBE"])
    ip("neigh", "del", address, "dev", "db0")
    run.join(timeout=30)
    assert not run.is_alive()


def test_router_flag_is_kept(arp, lively):
    lively.worker("2001:db8::10")
    lively.add("2001:db8::10", "stale", BORN, "db0", "router")
    lively.sysctl("ipv6.conf.db0.forwarding", 0)
    lively.sysctl("ipv6.conf.all.forwarding", 1, "worker")
    assert arp.revalidate()["confirmed"] == 1
    assert lively.table() == [f"2001:db8::10 db0 {BORN} router REACHABLE"]


def test_owned_entries_are_not_probed(arp, lively):
    rows = [
        ("192.0.2.20", ["nud", "permanent"]),
        ("192.0.2.21", ["nud", "noarp"]),
        ("192.0.2.22", ["nud", "reachable", "extern_learn"]),
        ("192.0.2.23", ["nud", "stale", "protocol", "zebra"]),
        ("2001:db8::20", ["nud", "permanent"]),
    ]
    for address, words in rows:
        ip("neigh", "add", address, "lladdr", DEAD, "dev", "db0", *words)
    lively.add("192.0.2.24", "failed", None)
    before = lively.table()
    answer = arp.revalidate()
    assert answer["checked"] == 0
    kept = {reason: count for reason, count in answer["kept"].items() if reason != "multicast"}
    assert kept == {
        "PERMANENT": 2, "NOARP": 1, "extern_learn": 1, "protocol zebra": 1, "FAILED": 1,
    }  # fmt: skip
    assert lively.table() == before


def test_test_mode_sends_no_probe(arp, lively):
    lively.worker("192.0.2.10")
    lively.add("192.0.2.10", "stale", DEAD)
    lively.add("192.0.2.11", "reachable", DEAD)
    before = lively.table()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        answer = arp.revalidate(test=True, rows=True)
        arp.flush(test=True)
        time.sleep(0.2)
        frames = b""
        wire.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                frames += wire.recv(2048)[12:14]
    assert b"\x08\x06" not in frames  # ARP
    assert (answer["would_check"], answer["suspects"]) == (2, [])
    shown = [(row["ip"], row["state"], row["owner"]) for row in answer["entries"]]
    assert shown == [("192.0.2.10", "STALE", ""), ("192.0.2.11", "REACHABLE", "")]
    assert lively.table() == before


def test_entry_that_changed_since_the_read_is_kept(arp, lively, monkeypatch):
    """Compare-and-probe: the kernel itself compares the MAC."""
    from arp_engine.netlink import codec, rtnetlink
    from pyroute2.netlink.rtnl import RTM_NEWNEIGH

    lively.worker("192.0.2.10")
    lively.add("192.0.2.10", "reachable", DEAD)
    original = rtnetlink.Channel.exchange

    def exchange(channel, orders):
        if codec.HEADER.unpack_from(orders)[1] == RTM_NEWNEIGH:  # the order, not a reading
            monkeypatch.setattr(rtnetlink.Channel, "exchange", original)
            lively.add("192.0.2.10", "reachable", BORN)
        return original(channel, orders)

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    answer = arp.revalidate()
    assert undated(answer["healed"]) == [
        {"ip": "192.0.2.10", "dev": "db0", "old": DEAD, "new": BORN}
    ]
    assert lively.table() == [f"192.0.2.10 db0 {BORN} REACHABLE"]


def test_entry_removed_since_the_read_is_no_failure(arp, lively, monkeypatch):
    from arp_engine.netlink import codec, rtnetlink
    from pyroute2.netlink.rtnl import RTM_NEWNEIGH

    lively.add("192.0.2.10", "reachable", DEAD)
    original = rtnetlink.Channel.exchange

    def exchange(channel, orders):
        if codec.HEADER.unpack_from(orders)[1] == RTM_NEWNEIGH:
            monkeypatch.setattr(rtnetlink.Channel, "exchange", original)
            ip("neigh", "del", "192.0.2.10", "dev", "db0")
            ip("neigh", "flush", "all", "nud", "failed", check=False)
        return original(channel, orders)

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    answer = arp.revalidate("192.0.2.10")
    assert answer["checked"] == 0
    assert answer["kept"] == {"already gone": 1} or answer["kept"] == {"INCOMPLETE": 1}


def test_device_removed_during_a_run_is_no_failure(arp, scene):
    for last in range(10, 30):
        scene.add(f"192.0.2.{last}", "stale", DEAD)
    answers = []
    run = threading.Thread(target=lambda: answers.append(arp.revalidate("192.0.2.0/24")))
    run.start()
    scene.until(lambda: scene.table("probe"))  # and a verdict takes three seconds
    ip("link", "del", "db0")
    run.join(timeout=30)
    assert answers, "it hangs"
    assert "failed" not in answers[0]
    assert answers[0]["gone"] == []
    assert sum(answers[0]["kept"].values()) == 20


@pytest.mark.parametrize("rate", [0, 5000])
@pytest.mark.parametrize(
    ("alive", "dead"), [(350, 50), pytest.param(600, 100, marks=pytest.mark.long)], ids=["", "long"]
)
def test_no_living_neighbour_fails_at_any_rate(arp, lively, rate, alive, dead):
    """Of the living two are wrong: each gets its verdict."""
    cable.inhabit("10.0.0.0/22", link="10.0.0.0/8")
    names = lively.fill(alive)
    batch = "\n".join(f"neigh replace {n} lladdr {BORN} nud stale dev db0" for n in names[2:])
    ip("-batch", "-", stdin=batch)
    lively.fill(dead, first=1 << 16)  # 10.1.0.0/16: nobody is there
    answer = arp.revalidate(rate=rate)
    collected = answer["kept"].get("removed meanwhile", 0)  # by the kernel, when they had FAILED
    assert answer["checked"] + collected == alive + dead, answer["kept"]
    assert answer["confirmed"] == alive - 2
    assert sorted(row["ip"] for row in answer["healed"]) == sorted(names[:2])
    assert len(answer["gone"]) + collected == dead


@pytest.fixture
def while_read(arp, lively, monkeypatch):
    """Let an entry change its state while a large table is read."""
    from arp_engine.table import view

    original = view.TableView.read_ours

    def change(address, state):
        def read(table):
            found = original(table)
            lively.add(address, state, DEAD)
            time.sleep(0.15)
            return found

        monkeypatch.setattr(view.TableView, "read_ours", read)

    return change


def test_entry_that_gets_an_owner_during_the_read_is_kept(arp, lively, while_read):
    """Reading 40,000 rows takes long; the entry is read again before it is put into PROBE."""
    lively.add("192.0.2.10", "stale", DEAD)
    while_read("192.0.2.10", "permanent")
    answer = arp.revalidate("192.0.2.10")
    assert (answer["checked"], answer["kept"]) == (0, {"PERMANENT": 1})
    assert lively.table() == [f"192.0.2.10 db0 {DEAD} PERMANENT"]


def test_device_without_unicast_probes_is_kept(arp, scene):
    """The kernel would fail a living neighbour at once, without a packet."""
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", BORN)
    scene.sysctl("ipv4.neigh.db0.ucast_solicit", 0)
    answer = arp.revalidate("192.0.2.10")
    assert answer["kept"] == {"its device sends no probes": 1}
    assert scene.table() == [f"192.0.2.10 db0 {BORN} REACHABLE"]


def test_entry_removed_by_another_process_is_kept(arp, scene):
    scene.add("192.0.2.10", "stale", DEAD)
    answers = []
    run = threading.Thread(target=lambda: answers.append(arp.revalidate("192.0.2.10")))
    run.start()
    scene.until(lambda: scene.table("probe"))
    ip("link", "set", "db0", "down")
    run.join(timeout=30)
    assert answers[0]["gone"] == []
    assert answers[0]["kept"] == {"removed meanwhile": 1}


def test_overdue_verdict_is_undecided(arp, scene, late_verdicts, monkeypatch):
    """A router's advertisement can set retrans_time to days; here the kernel gives up in 60 s."""
    from arp_engine.resolve import nud_probe

    late_verdicts.undo()
    monkeypatch.setattr(nud_probe, "MAX_VERDICT_S", 0.5)
    scene.sysctl("ipv6.neigh.db0.retrans_time_ms", 10_000)
    scene.add("2001:db8::10", "stale", DEAD)
    assert arp.revalidate("2001:db8::10")["undecided"] == 1


def test_entry_no_longer_selected_is_kept(arp, lively, while_read):
    lively.add("192.0.2.10", "stale", DEAD)
    while_read("192.0.2.10", "reachable")
    answer = arp.revalidate("192.0.2.10", state="STALE")
    assert (answer["checked"], answer["kept"]) == (0, {"no longer selected": 1})
    assert lively.table() == [f"192.0.2.10 db0 {DEAD} REACHABLE"]


def test_an_entry_that_is_seen_twice_and_once_with_an_owner_is_the_owners(arp, lively, monkeypatch):
    from arp_engine.table import view

    lively.add("192.0.2.10", "stale", DEAD)
    original = view.TableView._chunks

    def chunks(table, *families):
        yield from original(table, *families)
        lively.add("192.0.2.10", "permanent", DEAD)
        yield from original(table, *families)

    monkeypatch.setattr(view.TableView, "_chunks", chunks)
    answer = arp.revalidate("192.0.2.10", test=True)
    assert (answer["would_check"], answer["kept"]) == (0, {"PERMANENT": 1})


def test_stopped_run_leaves_broadcast_probes_to_entries_in_probe(scene, wire):
    """The kernel would give up a living host that answers no unicast; one has answered."""
    scene.sysctl("ipv4.neigh.db0.retrans_time_ms", 10_000)  # the other one stays in PROBE
    for address in ("192.0.2.10", "192.0.2.20"):
        scene.add(address, "stale", BORN)

    def respond(asked, _to_all, _number):
        if asked != "192.0.2.20" or len(scene.table("probe")) < 2:
            return []
        return [answer(asked, BORN)]

    with wire.answering(respond):
        chosen = selectors.parse_selectors(verb="revalidate", family="ipv4")
        has_answered = lambda: bool(scene.table("reachable"))  # noqa: E731
        done = revalidate.revalidate(chosen, 500.0, is_stopped=has_answered)
    assert scene.table("probe") == [f"192.0.2.10 db0 {BORN} PROBE"]
    with open("/proc/sys/net/ipv4/neigh/db0/mcast_resolicit", encoding="ascii") as file:
        assert file.read().strip() == "3"
    assert (done["confirmed"], done["no_outcome"]) == (1, 1)
    [line] = done["warnings"]
    assert line.startswith("ended while entries were in PROBE: mcast_resolicit stays 3 on ipv4 db0")
