"""Pace, flight and timers: no clock, no kernel."""

import pytest
from arp_engine.resolve import rate_limit
from hypothesis import given, settings
from hypothesis import strategies as st


def sent_within(pace, seconds, step=0.001):
    """Send whenever one may go; return when each went."""
    times, now = [], 0.0
    while now < seconds:
        count = pace.may(now)
        pace.spend(count, now)
        times += [now] * count
        now = max(now + step, pace.due(now))
    return times


@pytest.mark.parametrize("rate", [0.5, 1, 7, 100, 5000])
def test_the_rate_is_kept_and_used(rate):
    pace = rate_limit.Pace(rate)
    times = sent_within(pace, 20)
    late = 2 + rate * 0.001  # what the last step had not come to
    assert 20 * rate - late <= len(times) - pace.burst <= 20 * rate + 1


@settings(deadline=None)
@given(st.floats(0.1, 10_000), st.integers(1, 64), st.lists(st.floats(0, 3), max_size=60))
def test_no_window_holds_more_than_rate_and_burst(rate, burst, pauses):
    pace, now, times = rate_limit.Pace(rate, burst), 0.0, []
    for pause in pauses:
        now += pause
        count = pace.may(now)
        assert count <= burst
        pace.spend(count, now)
        times += [now] * count
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            allowed = burst + rate * (times[last] - start)
            assert last - first + 1 <= allowed * (1 + 1e-9) + 0.01


def test_a_pause_earns_a_burst_and_no_more():
    pace = rate_limit.Pace(100, 5)
    assert pace.may(0) == 5
    pace.spend(5, 0)
    assert (pace.may(0), pace.due(0)) == (0, pytest.approx(0.01))
    assert pace.may(0.01) == 1
    assert pace.may(1000) == 5


def test_when_the_next_is_due_it_may_go():
    pace = rate_limit.Pace(3)
    now = 12345.678
    for _ in range(1000):
        pace.spend(pace.may(now), now)
        later = pace.due(now)
        assert later > now
        now = later
        assert pace.may(now) == 1


def test_rate_zero_has_no_limit():
    pace = rate_limit.Pace(0)
    pace.spend(1_000_000, 0)
    assert (pace.may(0) > 1_000_000, pace.due(0)) == (True, 0)


def test_in_flight_is_bounded_until_answers_come_or_are_late():
    flight = rate_limit.Flight(3)
    for key in "abc":
        flight.sent(key, 0.0)
    assert (flight.room(0.001), flight.due(0.001)) == (0, rate_limit.YOUNG_S)
    flight.answered("b")
    flight.answered("b")  # again, and by somebody else
    assert (flight.room(0.001), flight.due(0.001)) == (1, 0.001)
    assert flight.room(rate_limit.YOUNG_S) == 3


def test_several_questions_of_one_key():
    flight = rate_limit.Flight(4)
    for now in (0.0, 0.01, 0.01):
        flight.sent("a", now)
    assert flight.room(rate_limit.YOUNG_S) == 2
    flight.answered("a")
    assert flight.room(rate_limit.YOUNG_S) == 4
    flight.sent("a", 0.03)
    assert flight.room(0.04) == 3
    assert flight.room(1) == 4
    assert not flight._unanswered


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 0.01))))
def test_in_flight_never_holds_more_than_it_may(events):
    flight, now = rate_limit.Flight(4), 0.0
    for key, answered, pause in events:
        now += pause
        if answered:
            flight.answered(key)
        elif flight.room(now) > 0:
            flight.sent(key, now)
        assert 0 <= flight.room(now) <= 4
    assert flight.room(now + 1) == 4


@pytest.mark.parametrize(
    ("text", "most"), [("1000\n", 500), ("200\n", 100), ("1\n", 1), ("300000\n", 500)]
)
def test_a_burst_is_half_of_what_a_backlog_holds(tmp_path, text, most):
    (tmp_path / "backlog").write_text(text)
    assert rate_limit.most_at_once(tmp_path / "backlog") == most


def test_an_unknown_backlog_is_taken_for_a_small_one(tmp_path):
    assert rate_limit.most_at_once(tmp_path / "nowhere") == 128
    (tmp_path / "empty").write_text("")
    assert rate_limit.most_at_once(tmp_path / "empty") == 128


def test_timers_come_in_order_and_each_key_has_one():
    timers = rate_limit.Timers()
    assert (timers.due(), timers.pop(1e9, 9)) == (float("inf"), [])
    for key, due in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("b", 4.0), ("d", 2.0)):
        timers.set(due, [key])
    timers.clear("c")
    timers.clear("nobody")
    assert (timers.due(), timers.pop(1.9, 9)) == (2.0, [])
    assert timers.pop(3.5, 9) == ["d", "a"]
    assert timers.pop(9, 9) == ["b"]


def test_timers_that_are_set_together_are_still_each_key_s_own():
    timers = rate_limit.Timers()
    timers.set(2.0, "abcd")
    timers.set(1.0, "c")
    timers.clear("a")
    assert timers.due() == 1.0
    assert (timers.pop(9, 0), timers.pop(9, -1)) == ([], [])
    assert (timers.pop(9, 2), timers.pop(9, 2)) == (["c", "b"], ["d"])
    assert timers.due() == float("inf")
    assert not timers._heap
    assert not timers._valid


def test_timers_hold_what_is_set_and_no_more():
    timers = rate_limit.Timers()
    for number in range(10_000):
        timers.set(number, "a")
        timers.due()
    assert len(timers._heap) == 1
