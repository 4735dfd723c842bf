"""What is told of a claimant rests on a question that was asked, and answered or not."""

import pytest
from arp_engine.resolve import interface_facts, proxy
from arp_engine.resolve.question import ProbeResult
from arp_engine.sentinel import disputes
from test_decide import NEW, OLD, OTHER, Scene, heal

UNUSED = [b"\1\1\1\1", b"\1\1\1\2"]


def confirm(scene, key):
    """Let a SYN come from another MAC, and the host with the cached one answer."""
    scene.syn(key)
    scene.turn()
    scene.result(key, OLD)


def play(scene, proxies=(), hosts=()):
    """Answer all questions for some seconds: proxies for any address, hosts for their own."""
    asked, end = [], scene.now + 15
    while scene.now < end:
        scene.now = max(scene.now, min(scene.decider.next_due(), scene.now + 0.1))
        if question := scene.turn():
            asked.append(question)
            is_heard = question.mac in (*proxies, *(() if question.dst in UNUSED else hosts))
            scene.result(question[:2], *[question.mac] * is_heard)
    return asked


def heal_to(scene, macs):
    """Let a probe move each entry to a host."""
    for key, mac in zip(scene.keys, macs, strict=True):
        scene.syn(key, mac)
        scene.turn()
        scene.set(key, mac)
        scene.result(key, mac)


def end_look_backs(scene):
    """Let all former holders stay silent; the check of the first new host stays open."""
    while len(scene.decider._former):
        scene.now = max(scene.now, scene.decider.next_due())
        question = scene.turn()
        if question and question.dst not in UNUSED:
            scene.result(question[:2])
    assert (scene.said, len(scene.questions)) == ([], 1)


def test_checks_of_two_hosts_ask_for_different_addresses():
    """One question at a time has an address: the second one would take the place of the first."""
    scene = Scene(addresses=2)
    scene.unused = UNUSED
    heal_to(scene, (NEW, OTHER))
    play(scene)
    assert scene.said == ["healed", "healed"]
    assert not scene.decider._disputes._checks


@pytest.mark.parametrize("why", ["addresses", "room"])
def test_the_heal_of_a_host_that_cannot_be_checked_yet_waits(why, monkeypatch):
    """In a small network others are asked for its free addresses; or too many are asked."""
    if why == "room":
        monkeypatch.setattr(disputes, "MAX_CHECKS", 1)
        monkeypatch.setattr(Scene, "find_unused", lambda *_self: UNUSED)
    scene = Scene(addresses=2)
    scene.unused = UNUSED
    heal_to(scene, (NEW, OTHER))
    end_look_backs(scene)
    [check] = scene.questions.values()
    assert check.mac == NEW
    scene.result(check[:2])
    assert [question.mac for question in play(scene, proxies=[OTHER])][:2] == [OTHER, OTHER]
    assert (scene.said, scene.facts["proxy"]) == (["healed", "duplicate"], OTHER.hex(":"))


def test_no_host_is_checked_with_one_address():
    """It may be its own, and stands in no table: of three that are free, two are asked for."""
    own = interface_facts.Address(bytes([10, 0, 0, 1]), 24, 0, 0)
    card = interface_facts.Interface(2, "db0", 1, 0, OLD, b"\xff" * 6, 0, False, (own,))
    used = {(2, bytes([10, 0, 0, last])) for last in range(2, 252)}
    checks = disputes.Disputes(lambda *of: proxy.unused(None, card, of[0], used, of[1]))
    one, other = (2, bytes([10, 0, 0, 2])), (2, bytes([10, 0, 0, 3]))
    [first] = checks.check(disputes.Dispute(one, (NEW,), NEW), 0.0)
    assert checks.check(disputes.Dispute(other, (OTHER,), OTHER), 0.0) == []
    [begun], [over] = checks.take(first, ProbeResult(2, 0, {}), 0.3)
    assert (begun.mac, over.key) == (OTHER, one)
    [second], over = checks.take(begun, ProbeResult(1, 0, {OTHER: 0.2}), 0.4)
    assert (second.mac, over) == (OTHER, [])
    [], [over] = checks.take(second, ProbeResult(2, 0, {}), 0.6)
    assert not checks.is_proxy(other, OTHER, 0.6)


def test_a_stop_tells_the_heals_that_wait_to_be_checked():
    scene = Scene(addresses=2)
    scene.unused = UNUSED
    heal_to(scene, (NEW, OTHER))
    end_look_backs(scene)
    scene.decider.on_stop()
    scene.decider.on_stop()
    assert len(scene.said) == 2


@pytest.mark.parametrize("becomes", ["free", "full"])
def test_many_hosts_wait_for_few_addresses_and_none_for_ever(becomes):
    """The network may be full by the time that they are asked."""
    scene = Scene(addresses=40)
    scene.unused = UNUSED
    macs = [bytes([2, 0, 0, 0, 1, number]) for number in range(len(scene.keys))]
    heal_to(scene, macs)
    end_look_backs(scene)
    if becomes == "full":
        scene.unused = []
    [check] = scene.questions
    scene.result(check)
    assert len(play(scene)) == (39 if becomes == "free" else 0)
    assert scene.said == ["healed"] * 40
    assert not scene.decider._disputes._waiting


def test_a_check_whose_question_was_dropped_ends():
    scene = Scene()
    scene.unused = UNUSED
    heal(scene)
    scene.look_back()
    check = scene.turn()
    assert check.dst in UNUSED
    scene.decider.on_dropped(check)
    assert scene.said == ["healed"]


def test_a_proxy_that_was_found_long_ago_is_checked_again_before_a_heal_is_told():
    scene = Scene()
    scene.unused = UNUSED
    heal(scene)
    scene.decider._disputes._proxies[2, 4, NEW] = 5.0
    play(scene, proxies=[NEW])
    assert scene.said == ["duplicate"]


@pytest.mark.parametrize("why", ["refused", "no carrier"])
def test_a_claimant_that_could_not_be_asked_is_told_as_nothing(why):
    """The entry cannot be held for the moment of the question, or no frame leaves."""
    scene = Scene()
    [key] = scene.keys
    if why == "refused":
        scene.decider._claims._hold = lambda *_of: False
        confirm(scene, key)
        assert scene.turn() is None
    else:
        confirm(scene, key)
        question = scene.turn()
        scene.decider.on_probe_result(question, ProbeResult(0, 0, {}, why))
        scene.questions.clear()
    assert scene.said == []
    scene.decider._claims._hold = scene.hold
    scene.now += 29
    assert scene.turn() is None
    scene.now += 2
    assert scene.turn() == (*key, NEW)


def test_a_caller_that_gets_its_entry_from_a_known_proxy_is_told():
    """It has answered our broadcast too late to be heard, and is asked alone."""
    scene = Scene()
    [key] = scene.keys
    scene.decider._disputes._proxies[2, 4, OLD] = 300.0
    scene.syn(key)
    scene.turn()
    scene.result(key, OLD)  # a proxy, so everybody is asked
    scene.turn()
    scene.result(key, OLD, broadcasts=1)
    scene.now = max(scene.now, scene.decider.next_due())
    assert scene.turn() == (*key, NEW)
    scene.set(key, NEW)
    scene.result(key, NEW)
    assert (scene.said, scene.facts["proxy"]) == (["duplicate"], OLD.hex(":"))


def test_a_question_whose_claim_waits_again_is_not_asked():
    """Nothing would keep the kernel from taking the answer into the holder's entry."""
    scene = Scene(addresses=2)
    for key in scene.keys:
        scene.syn(key)
        scene.turn()
    for key in scene.keys:
        scene.result(key, OLD)
    claims = scene.decider._claims
    claims._ask_waiting()  # there is no room for a frame now
    scene.now += 1.5  # that claim waits anew, and the other one is asked first
    questions = [scene.turn() for _ in range(2)]
    assert questions == [(*scene.keys[1], NEW), None]
    assert [key for key, _mac in scene.held] == [scene.keys[1]]


def test_a_proxy_with_a_single_entry_gives_it_back_to_the_host_that_answers():
    scene = Scene()
    scene.unused = UNUSED
    confirm(scene, scene.keys[0])
    asked = play(scene, proxies=[OLD], hosts=[NEW])
    assert (scene.said, scene.facts["proxy"]) == (["duplicate"], OLD.hex(":"))
    after = asked[max(n for n, each in enumerate(asked) if each.dst in UNUSED) :]
    assert (*scene.keys[0], NEW) in after


def test_a_host_whose_entry_a_proxy_has_is_asked_until_it_answers():
    """Its first answer may come within locktime, or be lost."""
    scene = Scene(addresses=2)
    key, _other = scene.keys
    scene.unused = UNUSED[:1]
    confirm(scene, key)
    asked = play(scene, proxies=[OLD])
    assert asked.count((*key, NEW)) > 9
