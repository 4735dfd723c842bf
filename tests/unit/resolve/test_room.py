"""How many frames may be sent: a part of rate and places is kept for urgent ones."""

import pytest
from arp_engine.resolve import in_flight, room


@pytest.fixture(autouse=True)
def a_hundred_places(monkeypatch):
    monkeypatch.setattr(in_flight, "default_limit", lambda: 100)


def test_others_leave_a_quarter_of_the_places_to_urgent_frames():
    found = room.Room(1000, 4000, has_urgent=True)
    for number in range(75):
        found.sent(number, 0.0)
    assert found.left(0.0, is_urgent=False) == 0 < found.left(0.0, is_urgent=True) == 25
    assert found.due(0.0, is_urgent=True) == 0.0 < found.due(0.0, is_urgent=False)


def test_others_leave_an_eighth_of_the_burst_to_urgent_frames():
    found = room.Room(1000, 4000, has_urgent=True)
    found.spend(3500, 0.0)
    assert found.left(0.0, is_urgent=False) == 0 < found.left(0.0, is_urgent=True)
    assert found.due(0.0, is_urgent=False) == pytest.approx(0.001)


@pytest.mark.parametrize("burst", [1, 4])
def test_a_small_burst_is_for_all(burst):
    found = room.Room(1, burst, has_urgent=True)
    assert found.left(0.0, is_urgent=False) == found.left(0.0, is_urgent=True) == burst


def test_without_urgent_frames_nothing_is_kept_for_them():
    found = room.Room(0, 0, has_urgent=False)
    assert found.left(0.0, is_urgent=False) == 100
