"""Which signals are evidence, and which are none."""

import pytest
from arp_engine.netlink.constants import PERMANENT, REACHABLE
from arp_engine.sentinel import doubt_sources
from arp_engine.sentinel.decide import CLEAR, QUEUED
from arp_engine.sentinel.question_queue import Priority
from test_decide import NEW, OLD, Scene, entry


def test_a_frame_without_a_sender_of_the_entry_s_kind_is_no_evidence():
    """InfiniBand's frames name no sender, and its entries hold twenty bytes."""
    scene = Scene()
    [key] = scene.keys
    scene.decider.cache.merge([entry(key, bytes([2] * 20))])
    scene.syn(mac=b"")
    assert scene.state() is CLEAR
    scene.syn(mac=bytes([4] * 20))
    assert scene.state() is QUEUED


def test_a_syn_from_the_cached_mac_or_an_alias_is_no_evidence():
    scene = Scene()
    scene.decider.aliases.add(scene.keys[0], NEW, 0.0)
    for mac in (OLD, NEW):
        scene.syn(mac=mac)
        assert scene.state() is CLEAR


def test_a_protected_entry_is_told_once_and_not_doubted():
    scene = Scene()
    scene.decider.cache.merge([entry(scene.keys[0], OLD, PERMANENT)])
    for _ in range(2):
        scene.syn()
        scene.sources.on_retransmit(scene.keys[0])
        assert scene.state() is CLEAR
    assert scene.said == ["owned"]


@pytest.mark.parametrize("is_answered", [False, True])
def test_a_syn_is_trusted_once_a_listener_has_answered_it(is_answered):
    scene = Scene(addresses=2)
    scene.is_answered = is_answered
    for key in scene.keys:  # where nothing else waits it is not looked up
        scene.syn(key)
    doubt = scene.decider.queue.get(scene.keys[1])
    assert doubt.priority is (Priority.ANSWERED_SYN if is_answered else Priority.SYN)


def test_retransmissions_to_a_verified_address_are_no_evidence_for_a_while():
    scene = Scene()
    [key] = scene.keys
    scene.decider.verified.add(key, 0.0)
    scene.sources.on_retransmit(key)
    assert scene.state() is CLEAR
    scene.now = 1.1
    scene.sources.on_retransmit(key)
    assert scene.state() is QUEUED


@pytest.mark.parametrize("evidence", ["on_retransmit", "on_half_open"])
def test_a_connection_to_a_verified_address_with_an_alias_is_evidence(evidence):
    """The cached card may be unplugged by now, and the SYNs from the other one are ignored."""
    scene = Scene()
    [key] = scene.keys
    scene.decider.verified.add(key, 0.0)
    scene.decider.aliases.add(key, NEW, 0.0)
    getattr(scene.sources, evidence)(key)
    assert scene.state() is QUEUED
    scene.turn()
    scene.result(key)
    assert not scene.decider.aliases.of(key)


def test_under_a_flood_the_filter_mutes_syns_that_would_change_nothing():
    scene = Scene(addresses=3)
    ours, owned, doubted = scene.keys
    states = {ours: REACHABLE, owned: PERMANENT, doubted: REACHABLE}
    scene.decider.cache.merge(entry(key, OLD, state) for key, state in states.items())
    assert scene.sources.pop_changed() == set(states)
    assert {scene.sources.macs_to_ignore(key) for key in states} == {OLD}
    scene.sources.on_retransmit(doubted)
    assert set(scene.sources.without_effect()) == {owned, doubted}


def test_an_alias_is_ignored_like_the_cached_mac_until_it_is_forgotten():
    scene = Scene()
    [key] = scene.keys
    scene.sources.pop_changed()
    scene.decider.aliases.add(key, NEW, 0.0)
    assert scene.sources.pop_changed() == {key}
    assert scene.sources.macs_to_ignore(key) == OLD + NEW
    scene.decider.aliases.forget(key)
    assert scene.sources.pop_changed() == {key}
    assert scene.sources.macs_to_ignore(key) == OLD


def test_of_thousands_of_protected_entries_only_some_are_examined():
    """They may be as many as an overlay's whole network, and a SYN of theirs is only told."""
    scene = Scene(addresses=doubt_sources.MAX_OWNED + 2)
    *owned, ours = scene.keys
    scene.decider.cache.merge(
        entry(key, OLD, REACHABLE if key == ours else PERMANENT) for key in scene.keys
    )
    found = [scene.sources.macs_to_ignore(key) for key in [*owned, ours]]
    assert found == [OLD] * doubt_sources.MAX_OWNED + [None, OLD]
    assert scene.said == ["lost"]
    scene.sources.macs_to_ignore(owned[-1])
    assert scene.said == ["lost"]
