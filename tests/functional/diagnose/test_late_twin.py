"""A twin that answers our broadcast after the question is over takes no entry from its holder."""

import socket
import time

import pytest
from arp_engine.netlink import codec, listener
from arp_engine.netlink.constants import RTNLGRP_NEIGH
from arp_engine.resolve import late_answers
from asking import mac_of, whole_look_back, write_once_moved  # noqa: F401
from conftest import BORN, DEAD, ip
from pace import pace  # noqa: F401
from wire import answer

TWIN = BORN
V4, V6 = "192.0.2.10", "2001:db8::10"
PAIR = pytest.mark.parametrize("address", [V4, V6], ids=["v4", "v6"])


pytestmark = pytest.mark.usefixtures("whole_look_back", "pace")


def late_twin(wire, pace, address, delays_s):
    """Return answers of a holder that answers at once, and of a twin that answers later.

    delays_s: of the answers to our broadcasts, one after the other.
    """
    delays = list(delays_s)

    def respond(asked, to_all, _number):
        if asked != address:
            return []
        if to_all and delays:
            pace.later(delays.pop(0), wire.say, answer(address, TWIN)).start()
        return [answer(asked, DEAD)] if to_all or wire.asked_mac == DEAD else []

    return respond


@PAIR
@pytest.mark.parametrize("delays_s", [[0.06, 0.06], [0.1, 0.5]], ids=["once", "twice"])
def test_late_twin_is_told_and_keeps_no_entry(arp, scene, wire, pace, address, delays_s):
    """It answers each of our two broadcasts, after its holder, who has the entry back each time."""
    scene.add(address, "reachable", DEAD)
    with wire.answering(late_twin(wire, pace, address, delays_s)):
        told = arp.diagnose(address)
    assert told["verdict"] == "duplicate address"
    assert set(told["answers_ms"]) == {DEAD, TWIN}
    assert told["entry_after"]["mac"] == mac_of(scene, address) == DEAD


@PAIR
def test_proxy_that_answers_late_is_told_as_one(arp, scene, wire, pace, address):
    """Linux delays what it answers for others by up to 0.8 s."""
    scene.add(address, "reachable", DEAD)
    holder = late_twin(wire, pace, address, [0.1, 0.1])

    def respond(asked, to_all, number):
        if asked == address:
            return holder(asked, to_all, number)
        return [answer(asked, TWIN)] if to_all or wire.asked_mac == TWIN else []

    with wire.answering(respond):
        told = arp.diagnose(address)
    assert (told["verdict"], told["proxies"]) == ("proxy", [TWIN])
    assert told["entry_after"]["mac"] == mac_of(scene, address) == DEAD


@PAIR
@pytest.mark.usefixtures("late_second_answers")
def test_entry_of_a_witness_is_given_back_to_its_holder(arp, scene, wire, pace, address):
    """A twin of the witness answers our second question about it, later than its holder."""
    witness = f"{address.rpartition('10')[0]}20"
    for each in (address, witness):
        scene.add(each, "reachable", DEAD)

    def respond(asked, to_all, number):
        if asked == witness and to_all and number:
            pace.later(0.7, wire.say, answer(witness, TWIN)).start()
        macs = {address: [DEAD, TWIN] if to_all else [DEAD], witness: [DEAD]}.get(asked, [])
        return [answer(asked, mac) for mac in macs if to_all or mac == wire.asked_mac]

    with wire.answering(respond):
        told = arp.diagnose(address)
    assert told["witnesses"] == {witness: [DEAD]}
    assert mac_of(scene, witness) == DEAD


def test_ipv4_entry_that_locktime_holds_is_not_watched(arp, scene, wire, pace, monkeypatch):
    """The diagnosis takes no longer than its questions."""
    monkeypatch.setattr(late_answers, "LATE_S", 20.0)
    scene.sysctl("ipv4.neigh.db0.locktime", 6000)
    scene.add(V4, "stale", DEAD)
    began = pace.monotonic()
    with wire.answering(lambda asked, _to_all, _number: [answer(asked, DEAD)] * (asked == V4)):
        assert arp.diagnose(V4)["verdict"] == "right"
    assert pace.monotonic() - began < 15


def test_port_that_is_named_holds_the_entry_of_its_bridge(arp, scene, wire, monkeypatch):
    """As without dev: the twin's answer moves the entry at no moment."""
    monkeypatch.setattr(late_answers, "LATE_S", 0.0)
    ip("link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
    ip("link", "set", "db0", "master", "br0")
    ip("address", "flush", "dev", "db0")
    ip("address", "add", "192.0.2.1/24", "dev", "br0")
    scene.until(lambda: "state UP" in ip("link", "show", "br0"))
    scene.sysctl("ipv4.neigh.br0.locktime", 300)
    scene.add(V4, "reachable", DEAD, "br0")
    time.sleep(3.1)  # an entry as young as that takes no answer anyway

    def respond(asked, to_all, _number):
        macs = [TWIN, DEAD] if to_all else [DEAD]
        return [answer(asked, mac) for mac in macs] if asked == V4 else []

    seen = set()
    with wire.answering(respond), listener.Listener((RTNLGRP_NEIGH,)) as heard:
        told = arp.diagnose(V4, dev="db0")
        for datagram in heard.drain(1000)[0]:
            entry = codec.parse(datagram)
            if entry and entry.dst == socket.inet_aton(V4):
                seen.add(entry.mac.hex(":"))
    assert (told["verdict"], set(told["answers_ms"])) == ("duplicate address", {DEAD, TWIN})
    assert seen == {DEAD}


@PAIR
def test_entry_that_somebody_writes_back_is_still_wrong(arp, hygiene, scene, wire, pace, address):
    """The holder is dead; the kernel took the newcomer's answer, and lost it to another program."""
    scene.add(address, "reachable", DEAD)
    writer = write_once_moved(scene, address, DEAD, pace)
    with wire.answering(lambda asked, to_all, _number: [answer(asked, BORN)] * to_all):
        found = arp.diagnose(address)
    writer.join()
    assert mac_of(scene, address) == DEAD
    assert found["verdict"] == "wrong, and asking did not correct it"
    assert "wrote it meanwhile" in found["sentence"]
    assert hygiene.healed() == []
