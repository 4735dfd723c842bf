"""When the frames of a question are sent: what the documents promise, on paper."""

import itertools

import pytest
from arp_engine.packets import probe_schedule
from arp_engine.packets.probe_schedule import FAST, PATIENT, URGENT


def sent_at_s(schedule):
    """Return when each frame is sent, and last when the question is over."""
    return [0.0, *itertools.accumulate(map(schedule.wait_s, range(schedule.frames)))]


@pytest.mark.parametrize("schedule", [FAST, URGENT])
def test_cached_mac_is_asked_once_and_waited_for_15_ms(schedule):
    assert schedule.unicast_waits_s == (0.015,)


def test_ten_broadcasts_leave_within_a_second_and_the_question_ends_soon():
    *sent_s, over_s = sent_at_s(FAST)
    assert len(sent_s) == 1 + 10
    assert sent_s[-1] < 1.1
    assert over_s < 1.4


def test_where_a_client_waits_seven_leave_within_260_ms_and_fourteen_within_850():
    *sent_s, over_s = sent_at_s(URGENT)
    after_the_first_s = [round(each_s - sent_s[1], 3) for each_s in sent_s[1:]]
    assert len(after_the_first_s) == 14
    assert after_the_first_s[6] <= 0.26
    assert after_the_first_s[-1] <= 0.85
    assert over_s < 1.2


def test_waits_after_broadcasts_never_become_shorter():
    """Each frame more is for a host that is slower, or a network that loses more."""
    for schedule in (FAST, URGENT):
        waits_s = schedule.broadcast_waits_s
        assert sorted(waits_s) == list(waits_s)


def test_paused_host_is_waited_for_300_ms_where_nobody_waits_for_the_answer():
    assert PATIENT.unicast_waits_s == (0.1, 0.1, 0.1)
    assert PATIENT.broadcast_waits_s == FAST.broadcast_waits_s


def test_frames_of_one_entry_are_bounded():
    assert probe_schedule.MAX_FRAMES_PER_ENTRY == 3 * 13 + 6 + 13
