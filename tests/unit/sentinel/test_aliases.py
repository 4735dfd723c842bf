"""Aliases are bounded, and expire."""

import time

from arp_engine.sentinel import question_queue


def test_aliases_are_bounded_and_forgotten():
    aliases = question_queue.Aliases()
    for number in range(10_000):
        assert aliases.add("a", number.to_bytes(6, "big"), number / 1000)
    assert len(aliases) == question_queue.ALIASES
    assert ("a", (9999).to_bytes(6, "big")) in aliases
    aliases.forget(10 + question_queue.ALIAS_S)
    assert not len(aliases)


def test_to_forget_those_of_one_address_costs_nothing_however_many_there_are():
    """Whoever announces himself makes us do it, thousands of times a second."""
    aliases, began = question_queue.Aliases(), time.process_time()
    for number in range(question_queue.ALIASES):
        aliases.add(number % 100, number.to_bytes(6, "big"), 0.0)
    for _ in range(20_000):
        aliases.forget(1.0, "another")
    assert time.process_time() - began < 1
    aliases.forget(1.0, 7)
    assert {key for key, _mac in aliases.pairs()} == {*range(100)} - {7}
    assert (7, (7).to_bytes(6, "big")) not in aliases
    assert aliases.add(7, (7).to_bytes(6, "big"), 1.0)
