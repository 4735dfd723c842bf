"""Which address is asked about next, told the time."""

import itertools

import pytest
from arp_engine.sentinel import question_queue


def doubts(rate=100.0, **waiting):
    made = question_queue.Doubts(rate)
    for key in waiting:
        made.put(key, "syn", 0.0)
    return made


def played(made, until, step=0.001, **next_words):
    """Return which key was asked about when."""
    asked, now = [], 0.0
    while now < until:
        doubt = made.next(now, **next_words)
        if doubt:
            asked.append((round(now, 3), doubt.key))
        else:
            now += step
    return asked


def test_one_address_is_asked_about_at_most_once_a_second():
    made, times, now = doubts(), [], 0.0
    while now < 5:
        made.put("a", "syn", now)
        if made.next(now):
            times.append(now)
        now += 0.01
    assert len(times) == 5
    assert min(b - a for a, b in itertools.pairwise(times)) >= 1


def test_never_more_than_the_rate_and_half_of_it_for_what_nobody_has_answered():
    made = doubts(rate=100.0)
    for number in range(1000):
        made.put(number, "syn", 0.0)
    assert 45 <= len(played(made, 1.0)) <= 55


def test_what_a_listener_has_answered_goes_first_through_a_flood():
    made = doubts()
    for number in range(2000):
        made.put(number, "syn", 0.0)
    assert len(made) == question_queue.MOST
    made.put(question_queue.MOST - 1, "syn", 0.0, answered=True)
    assert played(made, 0.1)[0][1] == question_queue.MOST - 1


def test_a_newcomer_finds_room_in_a_queue_that_forged_ones_have_filled():
    made = doubts()
    for number in range(2000):
        made.put(number, "syn", 0.0)
    newcomer = made.put("new", "no answer", 0.0, answered=True)
    assert newcomer
    assert played(made, 0.1)[0][1] == "new"


def test_who_is_silent_is_left_alone_for_longer():
    made = doubts(a=1)
    made.next(0.0)
    made.silent("a", 1.2)
    made.put("a", "syn", 1.3)
    assert not made.next(4.0)
    assert made.due(4.0) == pytest.approx(4.2)
    assert made.next(4.3)


def test_who_comes_after_silence_is_asked_about_once_a_second_as_any_other():
    made = doubts(a=1)
    made.next(0.0)
    made.silent("a", 1.2)
    made.put("a", "syn", 1.3)
    assert made.rests("a")
    assert "a" in made.busy(1.3)  # it waits
    made.wake("a")
    assert made.next(1.3)
    made.put("a", "syn", 1.4)
    made.wake("a")
    assert not made.next(2.2)
    assert made.next(2.31)
    made.silent("a", 2.4)
    assert "a" not in made.busy(2.5), "one SYN more may wake it"


def test_who_was_silent_does_not_go_first_until_somebody_answers():
    """SYNs of dead hosts, which a listener answers, keep no newcomer waiting."""
    made, dead = doubts(), [f"dead {number}" for number in range(20)]
    for key in dead:
        made.silent(key, 0.0)
        made.put(key, "syn", 5.0, answered=True)
    made.put("new", "syn", 5.0, answered=True)
    assert made.next(5.0).key == "new"
    assert not made.next(6.0, first_only=True)
    assert made.next(6.0).key == dead[0]
    made.loud(dead[7])
    made.put(dead[7], "syn", 7.0, answered=True)
    assert made.next(7.0).key == dead[7]


def test_silence_is_remembered_of_so_many_and_so_long():
    made = doubts()
    for number in range(2 * question_queue.MUTES):
        made.silent(number, 0.0)
    assert made.put(0, "syn", 5.0, answered=True).first
    last = 2 * question_queue.MUTES - 1
    assert not made.put(last, "syn", 5.0, answered=True).first
    assert made.put(last, "syn", question_queue.MUTE_S, answered=True).first


def test_what_is_due_is_due():
    """A loop that sleeps until ``due`` is never too early twice, and never late."""
    made = doubts(rate=10.0)
    for number in range(50):
        made.put(number, "syn", 0.0)
    now, asked, wakes = 0.0, 0, 0
    while len(made):
        wakes += 1
        now = made.due(now)
        while made.next(now):
            asked += 1
    assert asked == 50
    assert wakes <= 51


def test_of_one_address_only_so_many_syns_and_macs_are_kept():
    doubt = question_queue.Doubt("a", "syn")
    for number in range(100):
        doubt.add(bytes([number]), number)
    assert (len(doubt.macs), doubt.things[-1]) == (question_queue.SYNS, 99)
    assert len(doubt.things) == question_queue.SYNS
