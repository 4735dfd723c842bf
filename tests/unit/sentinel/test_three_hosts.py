"""A holder, a proxy and a twin at once: the holder has its entry in the end."""

import pytest
from arp_engine.netlink.constants import FAILED
from arp_engine.sentinel import disputes, former_holders
from arp_engine.sentinel.states import PROBING
from test_decide import NEW, OLD, OTHER, Scene, heal


@pytest.mark.parametrize(("locktime_s", "late_s"), [(1.0, 0.65), (0.0, 0.1)])
def test_a_claimant_that_answers_late_does_not_keep_the_entry(locktime_s, late_s):
    scene = Scene()
    scene.locktime_s = locktime_s
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.result(key, OLD)
    assert scene.turn() == (*key, NEW)
    scene.now += 0.4
    scene.result(key)
    scene.now += late_s
    scene.set(key, NEW)
    assert scene.decider._former.of(key) == [OLD]


@pytest.mark.parametrize(("last", "asked"), [(OTHER, [OLD]), (OLD, [])], ids=["another", "holder"])
def test_of_two_answers_to_one_broadcast_the_first_holder_is_asked(last, asked):
    """Unless it has the entry again: then nothing has moved."""
    scene = Scene()
    scene.locktime_s = 0.0
    [key] = scene.keys
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.set(key, NEW)
    scene.set(key, last)
    scene.result(key, NEW, last, broadcasts=1)
    assert (scene.said, scene.decider._former.of(key)) == (["duplicate"], asked)


def test_a_twin_that_takes_an_entry_from_a_proxy_does_not_end_what_is_owed():
    scene = Scene()
    scene.unused = [b"\1\1\1\1"]
    [key] = scene.keys
    decider = scene.decider
    decider._disputes._proxies[2, 4, OLD] = 300.0  # it has the entry of NEW
    decider._disputes.add(key, scene.now, NEW)
    decider._look_back_at(key, former_holders.owed(NEW, OLD))
    scene.sources.on_retransmit(key)
    while scene.state() is not PROBING:
        scene.now += 0.1
        if question := scene.turn():
            scene.result(key, *[OLD] * (question.mac == OLD))
    assert scene.turn() == (*key, OLD)
    scene.result(key, OLD, broadcasts=1)
    scene.now += 0.03
    scene.set(key, OTHER)
    assert NEW in decider._former.of(key)


def test_a_holder_that_has_its_entry_back_does_not_lose_it_to_the_next_former_holder():
    """That is a proxy, and its answer was not known as one."""
    scene = Scene()
    scene.unused = [b"\1\1\1\1", b"\1\1\1\2"]
    key = heal(scene)  # OLD -> NEW, the proxy
    scene.now += 1.0
    scene.syn(mac=OTHER)
    assert scene.turn().mac == NEW
    scene.set(key, OTHER)
    scene.result(key, OTHER)
    changed_at, end = scene.now, scene.now + 30
    while scene.now < end:
        scene.now = max(scene.now, min(scene.decider.next_due(), scene.now + 0.05))
        question = scene.turn()
        if not question:
            continue
        is_heard = question.mac == NEW or (question.mac == OLD and question.dst == key[1])
        has_other = question.dst == key[1] and scene.decider.cache.get(key).mac != question.mac
        if is_heard and has_other and scene.now >= changed_at + 1.0:
            changed_at = scene.now
            scene.set(key, question.mac)
        scene.result(question[:2], *[question.mac] * is_heard)
    assert scene.decider.cache.get(key).mac == OLD
    assert "duplicate" in scene.said


def test_a_contested_entry_that_fails_and_is_learnt_again_is_no_news():
    """And it is no change that counts: only the holder is asked."""
    scene = Scene()
    [key] = scene.keys
    scene.decider._disputes.add(key, scene.now, OLD)
    scene.set(key, NEW)
    scene.look_back()
    scene.said.clear()
    for _ in range(4):
        scene.now += 5
        scene.set(key, b"", FAILED)
        scene.set(key, NEW)
    assert scene.said == []
    assert scene.decider._former.of(key) == [OLD]


def test_a_heal_by_way_of_failed_sends_the_waiting_syn_again():
    scene = Scene()
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.set(key, b"", FAILED)
    scene.set(key, NEW)
    scene.result(key, NEW, broadcasts=1)
    assert len(scene.released) == 1
    scene.now += 0.2
    scene.set(key, OTHER)  # within locktime: no answer, its own word
    assert NEW not in scene.decider._former.of(key)


@pytest.mark.parametrize("locktime_s", [1.0, 0.0])
def test_a_known_proxy_that_counts_as_the_holder_is_given_nothing(locktime_s):
    """By way of FAILED the right host has got the entry."""
    scene = Scene()
    scene.locktime_s = locktime_s
    [key] = scene.keys
    scene.decider._disputes.add(key, scene.now, NEW)
    scene.decider._disputes._proxies[2, 4, NEW] = 300.0
    scene.now = 5.0
    scene.set(key, b"", FAILED)
    scene.set(key, OTHER)
    assert scene.turn() is None


@pytest.mark.parametrize("locktime_s", [1.0, 0.0])
def test_a_host_made_anew_gets_its_contested_address_back_from_a_proxy(locktime_s):
    """OLD, the holder before, is dead; NEW, the proxy, has the entry; OTHER has the address now."""
    scene = Scene()
    scene.locktime_s = locktime_s
    [key] = scene.keys
    scene.set(key, NEW)
    scene.decider._disputes.add(key, scene.now, OLD)
    scene.decider._disputes._proxies[2, 4, NEW] = 300.0
    scene.now = 5.0
    scene.sources.on_retransmit(key)
    assert scene.turn() == (*key, NEW)
    scene.result(key, NEW)
    assert scene.turn() == (*key, NEW)
    scene.result(key, NEW, OTHER, broadcasts=1)
    assert scene.turn() == (*key, OTHER)


def test_a_host_that_was_just_healed_is_asked_when_a_late_answer_takes_its_entry():
    scene = Scene()
    scene.locktime_s = 0.3
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.result(key, NEW, broadcasts=1)
    scene.set(key, b"", FAILED)  # deleted
    scene.set(key, NEW)
    scene.turn()
    scene.result(key, NEW, broadcasts=2)
    scene.now += 0.5
    scene.set(key, OTHER)
    assert NEW in scene.decider._former.of(key)


def test_a_deleted_contested_entry_that_another_host_gets_is_told_as_no_change_before():
    scene = Scene()
    [key] = scene.keys
    scene.decider._disputes.add(key, scene.now, OLD)
    scene.syn()
    scene.turn()
    scene.result(key, NEW, broadcasts=1)
    scene.set(key, b"", FAILED)
    scene.set(key, OTHER)
    assert scene.said == []


def test_claims_that_wait_for_a_question_spend_nothing():
    scene = Scene()
    [key] = scene.keys
    scene.set(key, NEW)
    scene.decider._look_back_at(key, former_holders.owed(OLD, NEW))
    scene.now = 1.0
    assert scene.turn().mac == OLD
    claim = disputes.Dispute(key, (OTHER, NEW), NEW, is_alias=True)
    scene.decider._claims._let_wait(claim)
    assert scene.turn() is None
    assert scene.decider.next_due() > scene.now
