"""What is told of a claimant rests on a question that was asked, and answered or not."""

import pytest
from arp_engine.resolve.question import ProbeResult
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


def test_checks_of_two_hosts_ask_for_different_addresses():
    """One question at a time has an address: the second one would take the place of the first."""
    scene = Scene(addresses=2)
    scene.unused = UNUSED
    for key, mac in zip(scene.keys, (NEW, OTHER), strict=True):
        scene.syn(key, mac)
        scene.turn()
        scene.set(key, mac)
        scene.result(key, mac)
    play(scene)
    assert scene.said == ["healed", "healed"]
    assert not scene.decider._disputes._checks


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
