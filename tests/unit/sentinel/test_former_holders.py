"""An entry that is moved again while its former holder is looked back at."""

import pytest
from arp_engine.netlink.constants import FAILED, PERMANENT
from arp_engine.packets.probe_schedule import BROADCAST
from arp_engine.sentinel import disputes, memory
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
    scene.result(key, OLD, broadcasts=1)
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
    scene.locktime_s = 0.0
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
    assert scene.said == ["changed", "changed"]
    assert (scene.facts["old"], scene.facts["new"]) == (NEW.hex(":"), OLD.hex(":"))
    assert scene.decider._former.of(key) == [OLD], "it alone is asked"
    scene.look_back(OLD)
    assert (scene.state(), scene.turn()) == (CLEAR, None)
    assert scene.said == ["changed", "changed", "duplicate"]


@pytest.mark.parametrize(("former", "left"), [(OLD, NEW), (NEW, OLD)], ids=["first", "last"])
def test_of_two_former_holders_the_one_that_has_the_mac_again_is_asked_alone(
    former, left, monkeypatch
):
    """The word of the other one would take it."""
    monkeypatch.setattr(memory, "FLAPS", 9)
    scene = Scene()
    key = move_on(scene)
    scene.set(key, former)
    assert scene.decider._former.of(key) == [former]
    assert scene.said == ["changed", "changed", "changed"]
    scene.said.clear()
    scene.look_back(left)
    assert scene.said == ["disagreement"]
    assert (scene.facts["held"], scene.facts["answers"]) == (former.hex(":"), [OTHER.hex(":")])


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
    assert (scene.turn(), scene.schedule) == ((*key, OLD), BROADCAST)
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


def test_the_entry_of_a_proxy_is_deleted_where_it_is_asked_alone_before():
    """By a question of its own, which it has answered: that says nothing."""
    scene = Scene()
    key = probe_a_proxy(scene)
    scene.syn()
    scene.turn()
    scene.result(key, NEW, unicasts=0, broadcasts=1)
    assert scene.state() is REPROBING


def test_the_answer_of_a_proxy_that_is_the_router_itself_confirms_its_entry():
    scene = Scene()
    scene.routers = scene.keys
    probe_a_proxy(scene)
    assert (scene.state(), scene.turn()) == (CLEAR, None)


def overtake(locktime_s):
    """Let the entry get another MAC after a broadcast of the probe, and not by an answer to it."""
    scene = Scene()
    [key] = scene.keys
    scene.locktime_s = locktime_s
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.now += 0.3
    scene.set(key, NEW, is_overtaken=True, broadcasts=1)
    assert (scene.state(), scene.turn(), scene.said) == (CLEAR, None, ["changed"])
    return scene, key


@pytest.mark.parametrize(("locktime_s", "former"), [(0.0, [NEW]), (1.0, [])])
def test_a_late_answer_to_a_probe_that_was_given_up_is_looked_back_from(locktime_s, former):
    """While locktime holds, the kernel takes no answer: it was somebody's own word."""
    scene, key = overtake(locktime_s)
    scene.now += 0.2
    scene.set(key, OTHER)
    assert scene.decider._former.of(key) == former


@pytest.mark.parametrize("is_proxy", [False, True])
def test_the_host_that_was_probed_has_its_entry_back_unless_it_is_a_proxy(is_proxy):
    """By its own announcement, or by a run's look back; a proxy by its late answer."""
    scene, key = overtake(locktime_s=0.0)
    scene.unused = [b"\1\1\1\1"]
    scene.now += 0.2
    scene.set(key, OLD)
    check = scene.turn()
    assert check[1:] == (scene.unused[0], OLD)
    scene.result(check[:2], *[OLD] * is_proxy)
    assert scene.turn() == ((*key, NEW) if is_proxy else None)
    assert scene.said == ["changed", "changed", *["duplicate"] * is_proxy]


@pytest.mark.parametrize("is_look_back", [False, True])
def test_a_claimant_waits_while_its_address_is_asked_about(is_look_back):
    """Its question would take the place of that one, which would wait for its answer for ever."""
    scene = Scene()
    [key] = scene.keys
    if is_look_back:
        heal(scene)
        scene.now = scene.decider.next_due()
    else:
        scene.sources.on_retransmit(key)
    assert scene.turn() == (*key, OLD)
    held = scene.decider.cache.get(key).mac
    scene.decider._claims._ask(key, OTHER, disputes.Dispute(key, (held, OTHER), OTHER))
    assert scene.turn() is None
    scene.result(key, held)
    scene.now += 0.3
    assert scene.turn() == (*key, OTHER)


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


def test_a_host_that_got_the_entry_by_way_of_failed_is_looked_back_from():
    """The kernel's own probes failed meanwhile; our broadcast was answered by another host."""
    scene = Scene()
    [key] = scene.keys
    scene.sources.on_retransmit(key)
    scene.turn()
    scene.set(key, OLD, FAILED)
    scene.set(key, NEW)
    scene.result(key, NEW, broadcasts=1)
    assert scene.decider._former.of(key) == [OLD]
    returns(scene, key)
    assert scene.said == ["duplicate"]


def test_the_holder_of_a_contested_address_is_asked_after_it_was_failed():
    scene = Scene()
    [key] = scene.keys
    scene.decider._disputes.add(key, scene.now, OLD)
    scene.set(key, OLD, FAILED)
    assert scene.state() is CLEAR
    scene.set(key, NEW)
    assert scene.decider._former.of(key) == [OLD]


def test_a_proxy_that_holds_a_contested_entry_gives_it_back_each_time():
    """And the MAC of its host's SYN is no alias of it."""
    scene = Scene()
    [key] = scene.keys
    scene.decider._disputes._proxies[2, 4, OLD] = 300.0
    scene.decider._disputes.add(key, scene.now, NEW)
    scene.syn(key, NEW)
    scene.turn()
    scene.result(key, OLD)
    assert scene.turn() == (*key, OLD)
    scene.result(key, OLD, NEW, broadcasts=1)  # the kernel has taken the proxy's answer last
    assert scene.turn() == (*key, NEW)
    assert not list(scene.decider.aliases.of(key))


def test_a_proxy_that_alone_answers_verifies_nothing():
    """Its host may be back any moment: the next retransmission asks again."""
    scene = Scene()
    for _ in range(8):
        scene.now += 1.05
        key = probe_a_proxy(scene)
        assert scene.turn() == (*key, OLD)
        scene.result(key, OLD, broadcasts=1)


def test_an_entry_that_gets_an_owner_is_not_asked_about_by_broadcast():
    scene = Scene()
    key = probe_a_proxy(scene)
    scene.set(key, OLD, PERMANENT)
    assert scene.decider.on_owner(key)
    assert scene.turn() is None


@pytest.mark.parametrize("is_run", [True, False])
def test_a_host_that_loses_its_entry_while_a_run_asks_is_looked_back_at(is_run):
    """The run's broadcast, while the holder pauses; without a run it is the other host's word."""
    scene = Scene()
    [key] = scene.keys
    scene.is_run_under_way = is_run
    scene.now = 10.0
    scene.set(key, NEW)
    assert scene.decider._former.of(key) == [OLD] * is_run


def test_of_two_living_hosts_the_one_that_lost_its_entry_to_a_run_has_it_back():
    """Both answer the next broadcast, the holder first: it is not the other one's thief."""
    scene = Scene()
    [key] = scene.keys
    scene.is_run_under_way = True
    scene.now = 10.0
    scene.set(key, NEW)  # by the run's broadcast
    scene.now += 1.1
    assert scene.turn() == (*key, OLD)
    scene.result(key)  # it still pauses
    scene.sources.on_retransmit(key)
    assert scene.turn() == (*key, NEW)
    scene.set(key, OLD)
    scene.result(key, NEW, OLD, broadcasts=1)
    assert (scene.state(), scene.decider._former.of(key)) == (CLEAR, [])
    assert scene.decider._disputes.holder(key, scene.now) == OLD


def test_the_other_host_of_a_run_is_not_looked_back_at():
    """It had the entry for a moment, by the run's own broadcast: the look back took it again."""
    scene = Scene()
    [key] = scene.keys
    scene.is_run_under_way = True
    scene.now = 10.0
    scene.set(key, NEW)
    scene.now += 15.0  # the look back is over
    scene.look_back()
    scene.set(key, OLD)
    assert NEW not in scene.decider._former.of(key)


def test_a_host_that_got_its_entry_back_by_a_run_does_not_lose_it_to_the_other_one():
    """The run that asked everybody knows no more than that the other host had the entry."""
    scene = Scene()
    heal(scene)
    [key] = scene.keys
    scene.now += 2.0
    scene.set(key, OLD)  # by the run's broadcast, which the former holder has answered
    assert NEW not in scene.decider._former.of(key)
    scene.now += 1.1
    scene.set(key, NEW)  # by the run's look back at the other one
    assert scene.decider._former.of(key) == [OLD]
