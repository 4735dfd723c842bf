"""A hostile neighbour, and owners that come in the middle of a run: what arp.* makes of them."""

import pytest
from arp_engine.packets.probe_schedule import LOOK_BACK_FOR_S, MAX_FRAMES_PER_ENTRY
from arp_engine.resolve import look_back
from conftest import BORN, DEAD, ip
from pace import pace  # noqa: F401
from scapy.layers.l2 import ARP, Ether
from wire import BROADCAST, answer

OTHER = "02:00:00:00:00:0c"
EVIL = "02:00:00:00:00:0e"
PAIR = pytest.mark.parametrize("address", ["192.0.2.10", "2001:db8::10"], ids=["v4", "v6"])


pytestmark = pytest.mark.usefixtures("pace")


def held(scene, address):
    """Return the MAC of an entry; None: there is no entry."""
    rows = [row.split() for row in scene.table()]
    return next((row[2] for row in rows if row[0] == address), None)


def take_over(address, mac=OTHER):
    """Let a control plane write an entry."""
    ip("neigh", "replace", address, "lladdr", mac, "nud", "reachable", "dev", "db0", "extern_learn")


# --- an owner that comes during a run


@PAIR
def test_entry_taken_over_before_its_turn_is_not_asked_about(arp, scene, wire, address):
    """At three questions a second one waits for its turn; the kernel's hash says which."""
    both = [address, f"{address[:-1]}1"]
    for each in both:
        scene.add(each, "stale", DEAD)
    taken = []

    def respond(asked, to_all, _number):
        if not taken:
            taken.extend(each for each in both if each != asked)
            take_over(taken[0])
        return [answer(asked, BORN)] if to_all else []

    with wire.answering(respond):
        told = arp.revalidate(both, rate=3)
    assert held(scene, taken[0]) == OTHER
    assert told["kept"] == {"extern_learn": 1}, (told, scene.table())


@PAIR
@pytest.mark.parametrize("after_s", [0.3, 0.6], ids=["during a question", "before the next one"])
def test_look_back_leaves_an_entry_that_was_taken_over(
    arp, scene, wire, pace, address, monkeypatch, after_s
):
    """The former holder answers again, but a control plane has decided meanwhile."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 3.0)
    scene.add(address, "reachable", DEAD)
    owner = pace.later(after_s, take_over, address)

    def respond(asked, to_all, _number):
        if to_all:
            owner.start()
            return [answer(asked, BORN)]
        return [answer(asked, DEAD)] if owner.is_over else []

    with wire.answering(respond):
        told = arp.revalidate(address)
    assert owner.is_over
    assert held(scene, address) == OTHER
    assert told["healed"] == []


@PAIR
@pytest.mark.usefixtures("late_second_answers")
def test_diagnose_asks_no_more_once_the_entry_has_an_owner(arp, scene, wire, pace, address):
    scene.add(address, "stale", DEAD)
    owner = pace.later(0.2, take_over, address)  # while a second answer is waited for

    def respond(asked, to_all, _number):
        if to_all and not owner.is_started:
            owner.start()
        return [answer(asked, BORN)] if to_all else []

    with wire.answering(respond):
        told = arp.diagnose(address)
    assert held(scene, address) == OTHER
    assert told["verdict"] == "owned entry disagrees with the wire"


# --- a hostile neighbour


def test_spoofer_that_answers_is_confirmed_and_found_by_diagnose(arp, scene, wire):
    """Plain ARP believes a gratuitous ARP, and the spoofer answers for itself."""
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", BORN)
    frame = ARP(op=2, hwsrc=EVIL, psrc="192.0.2.10", hwdst=EVIL, pdst="192.0.2.10")
    wire.say(Ether(src=EVIL, dst=BROADCAST) / frame)
    scene.until(lambda: held(scene, "192.0.2.10") == EVIL)

    def respond(asked, to_all, _number):
        is_asked = asked == "192.0.2.10" and (to_all or wire.asked_mac == EVIL)
        return [answer(asked, EVIL)] if is_asked else []

    with wire.answering(respond):
        assert arp.revalidate("192.0.2.10")["confirmed"] == 1
        told = arp.diagnose("192.0.2.10")
    assert (told["verdict"], set(told["answers_ms"])) == ("duplicate address", {BORN, EVIL})


@PAIR
def test_flapping_macs_do_not_prolong_a_run(arp, scene, wire, pace, address, monkeypatch):
    """Each answer, and each announcement between them, has another MAC."""
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 2.0)
    scene.add(address, "reachable", DEAD)
    macs = (f"02:00:00:00:66:{number % 250:02x}" for number in range(100_000))
    questions = []

    def respond(asked, _to_all, _number):
        questions.append(asked)
        # this clock stands still while we answer: endless questions would take no time on it
        assert len(questions) <= MAX_FRAMES_PER_ENTRY
        return [answer(asked, next(macs)) for _ in range(3)]

    began = pace.monotonic()
    with wire.answering(respond):
        told = arp.revalidate(address)
    assert pace.monotonic() - began < 2 + 15
    for row in told["healed"]:
        assert row["new"] == held(scene, address)


def test_device_that_vanishes_during_a_look_back_ends_the_run(arp, scene, wire, pace, monkeypatch):
    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", LOOK_BACK_FOR_S)
    scene.add("192.0.2.10", "reachable", DEAD)

    def respond(asked, to_all, _number):
        if to_all:
            pace.later(0.5, ip, "link", "del", "db0").start()
        return [answer(asked, BORN)] if to_all else []

    with wire.answering(respond):
        began = pace.monotonic()
        told = arp.revalidate("192.0.2.10")
    assert pace.monotonic() - began < LOOK_BACK_FOR_S
    assert told["healed"] == []
