"""How many questions may be unanswered at a time."""

import pytest
from arp_engine.resolve import in_flight
from hypothesis import given
from hypothesis import strategies as st


def test_room_returns_with_answers_or_time():
    flight = in_flight.InFlight(3)
    for key in "abc":
        flight.sent(key, 0.0)
    assert (flight.room(0.001), flight.due(0.001)) == (0, in_flight.ANSWER_WINDOW_S)
    flight.answered("b")
    flight.answered("b")  # again, and by somebody else
    assert (flight.room(0.001), flight.due(0.001)) == (1, 0.001)
    assert flight.room(in_flight.ANSWER_WINDOW_S) == 3


def test_one_key_with_several_questions():
    flight = in_flight.InFlight(4)
    for now in (0.0, 0.01, 0.01):
        flight.sent("a", now)
    assert flight.room(in_flight.ANSWER_WINDOW_S) == 2
    flight.answered("a")
    assert flight.room(in_flight.ANSWER_WINDOW_S) == 4
    flight.sent("a", 0.03)
    assert flight.room(0.04) == 3
    assert flight.room(1) == 4
    assert not flight._unanswered


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 0.01))))
def test_limit_is_never_exceeded(events):
    flight, now = in_flight.InFlight(4), 0.0
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
def test_default_limit_is_half_of_the_backlog(tmp_path, text, most):
    (tmp_path / "backlog").write_text(text)
    assert in_flight.default_limit(tmp_path / "backlog") == most


def test_unknown_backlog_gives_a_small_limit(tmp_path):
    assert in_flight.default_limit(tmp_path / "nowhere") == 128
    (tmp_path / "empty").write_text("")
    assert in_flight.default_limit(tmp_path / "empty") == 128
