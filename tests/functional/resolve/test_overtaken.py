"""An entry that somebody else writes while it is asked about is not asked about any further."""

import pytest
from arp_engine.packets import probe_schedule
from conftest import BORN, DEAD, ip
from pace import pace  # noqa: F401
from wire import answer

OTHER = "02:00:00:00:00:0c"
PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])
LEARNT, OWNED = "reachable", "reachable extern_learn"
BOTH = pytest.mark.parametrize("words", [LEARNT, OWNED], ids=["learnt", "owned"])


pytestmark = pytest.mark.usefixtures("pace")


@pytest.fixture(autouse=True)
def no_locktime(scene, monkeypatch):
    """And frames so far apart that an entry is written between two of them."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    monkeypatch.setattr(probe_schedule.Schedule, "wait_s", lambda *_of: 0.4)


def write(address, mac, words=LEARNT):
    ip("neigh", "replace", address, *f"lladdr {mac} dev db0 nud {words}".split())


def row_of(scene, address):
    [row] = [row for row in scene.table() if row.startswith(f"{address} ")]
    return row


@PAIR
@BOTH
def test_entry_written_after_a_broadcast_is_asked_about_no_more(arp, scene, wire, address, words):
    """A third host would answer the second broadcast.

    Whether the new MAC came by an answer to us that was lost on its way to us alone, nobody knows:
    the host before is looked back at.
    """
    scene.add(address, "reachable", DEAD)
    broadcasts = []

    def respond(asked, to_all, _number):
        if asked != address or not to_all:
            return []
        broadcasts.append(asked)
        if len(broadcasts) == 1:
            write(address, BORN, words)
            return []
        return [answer(asked, OTHER)]

    with wire.answering(respond):
        told = arp.revalidate(address)
    assert row_of(scene, address).startswith(f"{address} db0 {BORN} ")
    assert len(broadcasts) == 1
    assert [(row["old"], row["new"]) for row in told["healed"]] == [(DEAD, BORN)] * (
        words == LEARNT
    )
    assert told["kept"] == ({"extern_learn": 1} if words == OWNED else {})


@PAIR
@BOTH
def test_entry_written_before_any_broadcast_is_asked_about_anew(arp, scene, wire, address, words):
    """Nobody but its old host was asked: its new one is not looked away from."""
    names = [address, address.replace("10", "20")]  # one alone is asked less patiently
    for name in names:
        scene.add(name, "reachable", DEAD)
    asked_macs = []

    def respond(asked, _to_all, _number):
        if asked != address:
            return [answer(asked, DEAD)]
        asked_macs.append(wire.asked_mac)
        if len(asked_macs) == 1:
            write(address, BORN, words)
        return [answer(asked, BORN)] if wire.asked_mac == BORN else []

    with wire.answering(respond):
        told = arp.revalidate(names)
    assert row_of(scene, address).startswith(f"{address} db0 {BORN} ")
    assert asked_macs == [DEAD, *[BORN] * (words == LEARNT)]
    assert (told["confirmed"], told["healed"]) == (1 + (words == LEARNT), [])
    assert told["kept"] == ({"extern_learn": 1} if words == OWNED else {})


@PAIR
def test_run_ends_although_an_entry_keeps_changing(arp, scene, wire, address):
    names = [address, address.replace("10", "20")]
    for name in names:
        scene.add(name, "reachable", DEAD)
    macs = [f"02:00:00:00:01:{number:02x}" for number in range(99)]

    def respond(asked, to_all, _number):
        if asked != address:
            return [answer(asked, DEAD)]
        if len(macs) > 90:
            write(address, macs.pop())
        return []

    with wire.answering(respond):
        told = arp.revalidate(names)
    assert told["confirmed"] == 1
    assert told["checked"] == 2


@PAIR
@BOTH
def test_diagnosis_of_an_entry_that_is_written_meanwhile_is_of_what_it_is_now(
    arp, scene, wire, address, words
):
    scene.add(address, "reachable", DEAD)
    broadcasts = []

    def respond(asked, to_all, _number):
        if asked != address:
            return []
        if to_all and not broadcasts:
            write(address, BORN, words)
        broadcasts.extend([asked] * to_all)
        is_heard = wire.asked_mac == BORN or len(broadcasts) > 1
        return [answer(asked, BORN)] if is_heard else []

    with wire.answering(respond):
        told = arp.diagnose(address)
    if words == LEARNT:
        assert (told["verdict"], told["entry"]["mac"]) == ("right", BORN)
    else:
        assert told["verdict"] == "cannot be asked here"
        assert "its entry has an owner (extern_learn)" in told["sentence"]
        assert len(broadcasts) == 1
    assert row_of(scene, address).startswith(f"{address} db0 {BORN} ")
