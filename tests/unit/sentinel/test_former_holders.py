"""An entry that is moved again while its former holder is looked back at."""

import pytest
from arp_engine.sentinel.states import CLEAR, LOOKING_BACK, QUEUED, REPROBING
from test_decide import NEW, OLD, OTHER, Scene, heal, returns


def move_on(scene):
    """Heal, and let a third host take the entry a second later; both former holders are asked."""
    key = heal(scene)
    scene.now += 1.0
    scene.syn(mac=OTHER)
    assert scene.state() is QUEUED
    assert scene.turn().mac == NEW
    scene.set(key, OTHER)
    scene.result(key, OTHER)
    return key


def test_another_newcomer_is_served_during_a_look_back():
    scene = Scene()
    move_on(scene)
    assert (scene.state(), scene.said) == (LOOKING_BACK, [])
    scene.look_back()
    assert (scene.state(), scene.said) == (CLEAR, ["healed", "healed"])
    assert (scene.facts["old"], scene.facts["new"]) == (NEW.hex(":"), OTHER.hex(":"))


@pytest.mark.parametrize(("former", "told"), [(OLD, []), (NEW, ["healed"])], ids=["first", "last"])
def test_each_of_two_former_holders_has_its_entry_back(former, told):
    """The last one is the host that an earlier heal gave the entry to: that was right."""
    scene = Scene()
    key = move_on(scene)
    asked = set()
    while former not in asked:
        scene.now = max(scene.now, scene.decider.next_due())
        if question := scene.turn():
            asked.add(question.mac)
            if question.mac == former:
                scene.set(key, former)
            scene.result(key, *{former} & {question.mac})
    assert scene.now < 1.0 + 2.0
    assert scene.said == ["duplicate"]
    assert set(scene.facts["answers"]) == {former.hex(":"), OTHER.hex(":")}
    scene.look_back()
    assert (scene.state(), scene.said) == (CLEAR, ["duplicate", *told])


def test_of_an_entry_that_moves_often_the_latest_two_holders_are_asked():
    scene = Scene()
    key = heal(scene)
    macs = [bytes([2, 0, 0, 0, 1, number]) for number in range(5)]
    for mac in macs:
        scene.now += 1.1
        scene.syn(mac=mac)
        while scene.turn().mac != scene.decider.cache.get(key).mac:
            scene.result(key)
        scene.set(key, mac)
        scene.result(key, mac)
    assert scene.decider._former.of(key) == [macs[-2], macs[-3]]
    assert scene.said.count("changed") == len(macs) - 1
    scene.look_back()
    assert scene.said.count("healed") == 2


def test_a_former_holder_that_answered_before_it_is_asked_is_asked_no_more():
    """Its answer came within locktime: the entry was deleted, and goes to it."""
    scene = Scene()
    key = heal(scene)
    scene.now += 1.0
    scene.syn(mac=OTHER)
    scene.turn()
    scene.result(key, OLD)
    assert scene.decider._former.of(key) == [NEW]
    assert scene.said == ["changed"]


def confirm_among_all(scene):
    """Let the holder answer a broadcast; 0.04 s later another host takes the entry."""
    [key] = scene.keys
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.result(key, OLD, broadcasts=1)
    scene.now += 0.04
    scene.set(key, NEW)
    return key


@pytest.mark.parametrize("is_back", [True, False])
def test_a_late_answer_to_a_broadcast_of_ours_begins_a_look_back(is_back):
    scene = Scene()
    key = confirm_among_all(scene)
    assert (scene.state(), scene.said) == (LOOKING_BACK, ["changed"])
    if is_back:
        returns(scene, key)
    scene.look_back()
    assert (scene.state(), scene.said) == (CLEAR, ["changed", *["duplicate"] * is_back])


def test_a_late_answer_during_a_look_back_does_not_end_it():
    """An IPv6 entry has no locktime: a third host takes it at once."""
    scene = Scene()
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.set(key, NEW)
    scene.result(key, NEW, broadcasts=1)
    scene.set(key, OTHER)
    assert scene.decider._former.of(key) == [NEW, OLD]
    assert scene.said == ["changed"]


@pytest.mark.parametrize(("broadcasts", "later_s"), [(0, 0.04), (1, 1.1)], ids=["alone", "later"])
def test_another_change_after_a_probe_is_not_ours(broadcasts, later_s):
    scene = Scene()
    [key] = scene.keys
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.result(key, OLD, broadcasts=broadcasts)
    scene.now += later_s
    scene.set(key, NEW)
    assert (scene.state(), scene.said) == (CLEAR, ["changed"])


@pytest.mark.parametrize("answered", [2, 1, 0])
def test_a_proxy_that_has_the_entry_of_a_silent_host_is_not_told_as_a_heal(answered):
    """One address that it answers for may be its own."""
    scene = Scene()
    scene.unused = [b"\1\1\1\1", b"\1\1\1\2"]
    heal(scene)
    scene.now = 9.9
    while scene.now < 12 and not scene.said:
        scene.now = max(scene.now, scene.decider.next_due())
        question = scene.turn()
        is_check = question and question.dst in scene.unused
        if is_check:
            is_proxy = scene.unused.index(question.dst) < answered
            scene.result(question[:2], *[NEW] * is_proxy)
        elif question:
            scene.now += 0.4
            scene.result(question[:2])
    assert scene.said == ["duplicate" if answered == 2 else "healed"]
    assert scene.facts.get("proxy") == (NEW.hex(":") if answered == 2 else None)
    assert not scene.turn()


def test_a_stop_tells_a_heal_whose_new_host_is_being_asked_as_a_change():
    scene = Scene()
    scene.unused = [b"\1\1\1\1"]
    heal(scene)
    scene.look_back()
    assert scene.said == []
    scene.decider.on_stop()
    scene.decider.on_stop()
    assert scene.said == ["changed"]


def test_a_former_holder_that_has_its_entry_back_keeps_it_though_the_other_one_lives():
    """By a run's question, or an announcement of its own: to ask the other one would take it."""
    scene = Scene()
    [key] = scene.keys
    scene.syn()
    scene.turn()
    scene.set(key, NEW)
    scene.result(key, NEW, broadcasts=1)
    scene.set(key, OLD)
    assert (scene.state(), scene.decider._former.of(key)) == (CLEAR, [])
    assert scene.said == ["changed", "changed"]
    assert (scene.facts["old"], scene.facts["new"]) == (NEW.hex(":"), OLD.hex(":"))


def probe_a_proxy(scene, answers=()):
    """Let a proxy have an entry, and probe it."""
    [key] = scene.keys
    scene.decider._disputes._proxies[2, 4, OLD] = 300.0
    scene.sources.on_retransmit(key)
    assert scene.turn() == (*key, OLD)
    scene.result(key, OLD)
    return key


def test_the_answer_of_a_known_proxy_confirms_no_entry():
    """Its holder is heard, and has the entry from then on."""
    scene = Scene()
    key = probe_a_proxy(scene)
    assert (scene.state(), scene.turn()) == (REPROBING, (*key, b""))
    scene.set(key, NEW)
    scene.result(key, NEW, OLD, broadcasts=1)
    assert (scene.state(), scene.said) == (CLEAR, ["healed", "duplicate"])
    assert scene.decider._disputes.holder(key, scene.now) == NEW


def test_a_known_proxy_that_alone_answers_everybody_keeps_the_entry():
    scene = Scene()
    key = probe_a_proxy(scene)
    scene.turn()
    scene.result(key, OLD, broadcasts=1)
    assert (scene.state(), scene.said) == (CLEAR, [])


def test_the_answer_of_a_proxy_that_is_the_router_itself_confirms_its_entry():
    scene = Scene()
    scene.routers = scene.keys
    probe_a_proxy(scene)
    assert (scene.state(), scene.turn()) == (CLEAR, None)


@pytest.mark.parametrize("broadcasts", [1, 0])
def test_an_entry_that_others_change_during_its_probe_is_asked_about_no_more(broadcasts):
    """Its late answer takes the entry all the same: the host that lost it is looked back at."""
    scene = Scene()
    [key] = scene.keys
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.now += 0.3
    scene.set(key, NEW, is_overtaken=True, broadcasts=broadcasts)
    assert (scene.state(), scene.turn(), scene.said) == (CLEAR, None, ["changed"])
    scene.now += 0.2
    scene.set(key, OLD)
    assert scene.decider._former.of(key) == [NEW]


def test_a_question_that_takes_the_place_of_a_probe_lets_it_wait():
    """Such as: a proxy is to give the entry back."""
    scene = Scene()
    [key] = scene.keys
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.decider._claims._give_back(key, OLD, NEW)
    assert scene.turn() == (*key, NEW)
    assert scene.state() is QUEUED
    scene.result(key)
    scene.now += 1.0
    assert scene.turn() == (*key, OLD)


def test_a_question_that_takes_the_place_of_a_look_back_does_not_end_it():
    scene = Scene()
    key = heal(scene)
    scene.now = scene.decider.next_due()
    assert scene.turn() == (*key, OLD)
    scene.decider._claims._give_back(key, NEW, OTHER)
    assert scene.turn() == (*key, OTHER)
    scene.result(key)
    scene.now = scene.decider.next_due()
    assert scene.turn() == (*key, OLD)


def test_a_confirmed_holder_that_has_its_entry_back_from_another_run_keeps_it():
    """A run has asked everybody, and the other host was faster; then it has looked back."""
    scene = Scene()
    [key] = scene.keys
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.result(key, OLD)
    scene.set(key, NEW)
    scene.now += 0.5
    scene.set(key, OLD)
    assert scene.state() is CLEAR
