"""Which question sends its next frame."""

from arp_engine.packets.probe_schedule import FAST, URGENT
from arp_engine.resolve import send_queue


class Probe:
    def __init__(self, schedule=FAST, step=0):
        self.schedule, self.step = schedule, step


def test_urgent_questions_are_apart_from_others():
    queue = send_queue.SendQueue()
    urgent, other = Probe(URGENT), Probe()
    queue.put(other)
    queue.put(urgent)
    assert queue.pop(0.0, 5, is_urgent=True) == [urgent]
    assert queue.pop(0.0, 5, is_urgent=False) == [other]
    assert queue.due(0.0, is_urgent=False) == float("inf")


def test_the_second_frame_of_an_urgent_question_stays_urgent():
    queue = send_queue.SendQueue()
    urgent = Probe(URGENT)
    queue.set(1.0, URGENT, 1, [urgent])
    assert queue.due(0.0, is_urgent=True) == 1.0
    assert not queue.pop(1.0, 5, is_urgent=False)
    assert queue.pop(1.0, 5, is_urgent=True) == [urgent]


def test_a_fourth_frame_waits_for_everybody_s_first_one():
    queue = send_queue.SendQueue()
    first, fourth = Probe(), Probe(URGENT)
    queue.set(0.0, URGENT, send_queue.LATE, [fourth])
    queue.put(first)
    assert queue.pop_late(1.0, 5) == []
    assert queue.pop(1.0, 5, is_urgent=False) == [first]
    assert queue.pop_late(1.0, 5) == [fourth]


def test_a_dropped_question_sends_nothing():
    queue = send_queue.SendQueue()
    unsent, sent = Probe(), Probe()
    queue.put(unsent)
    queue.set(0.0, FAST, 1, [sent])
    queue.remove(unsent)
    queue.drop(sent)
    assert queue.unsent(is_urgent=False) == 0
    assert not queue.pop(1.0, 5, is_urgent=False)


def test_without_room_nothing_is_taken():
    queue = send_queue.SendQueue()
    queue.put(Probe())
    assert queue.pop(1.0, -3, is_urgent=False) == queue.pop_late(1.0, -3) == []
    assert queue.unsent(is_urgent=False) == 1
