"""An entry that a broadcast confirmed is read again for a second."""

import pytest
from arp_engine.resolve.late_answers import LATE_S, READ_AFTER_S, LateAnswers

KEY = (3, b"\xc0\x00\x02\x0a")
NOW = 1000.0


@pytest.fixture
def late():
    found = LateAnswers()
    found.begin(KEY, NOW)
    return found


def test_entry_is_read_twice_within_a_second(late):
    assert late.pop(NOW + READ_AFTER_S - 0.01, 10) == []
    assert late.pop(NOW + READ_AFTER_S, 10) == [KEY]
    assert (len(late), late.next_due()) == (1, NOW + LATE_S)
    assert late.pop(NOW + LATE_S, 10) == [KEY]
    assert (len(late), late.next_due()) == (0, float("inf"))


def test_entry_that_has_changed_is_read_no_more(late):
    late.end(KEY)
    assert (len(late), late.next_due(), late.pop(NOW + LATE_S, 10)) == (0, float("inf"), [])


def test_no_more_than_the_limit_are_read(late):
    late.begin((4, b""), NOW)
    assert len(late.pop(NOW + LATE_S, 1)) == 1
    assert len(late) == 1


def test_second_broadcast_begins_anew(late):
    late.begin(KEY, NOW + 0.5)
    assert late.next_due() == NOW + 0.5 + READ_AFTER_S
