"""Which address is probed next, told the time."""

import itertools
import time

import pytest
from arp_engine.sentinel import doubt as doubts
from arp_engine.sentinel import question_queue
from arp_engine.sentinel.question_queue import Priority

TRUSTED, UNTRUSTED = Priority.RETRANSMISSION, Priority.SYN


def put(queue, key, now, priority=UNTRUSTED):
    """Let an address wait, as one doubt however often it is put."""
    doubt = queue.get(key) or doubts.Doubt(key, "syn")
    queue.put(doubt, priority, now)
    return doubt


def probed(queue, until, step=0.001):
    """Return which key was probed when."""
    found, now = [], 0.0
    while now < until:
        if doubt := queue.next(now):
            found.append((round(now, 3), doubt.key))
        else:
            now += step
    return found


def test_an_address_is_probed_once_a_second_at_most():
    queue, times, now = question_queue.ProbeQueue(100.0), [], 0.0
    while now < 5:
        put(queue, "a", now)
        if queue.next(now):
            times.append(now)
        now += 0.01
    assert len(times) == 5
    assert min(b - a for a, b in itertools.pairwise(times)) >= 1


def test_untrusted_evidence_has_half_of_the_rate():
    queue = question_queue.ProbeQueue(100.0)
    for number in range(1000):
        put(queue, number, 0.0)
    assert 45 <= len(probed(queue, 1.0)) <= 55


def test_trusted_evidence_waits_for_no_share():
    queue = question_queue.ProbeQueue(100.0)
    for number in range(1000):
        put(queue, number, 0.0, TRUSTED)
    assert len(probed(queue, 0.01)) == 1000


def test_each_kind_of_evidence_goes_before_the_next():
    queue = question_queue.ProbeQueue(100.0, 100)
    for priority in reversed(Priority):
        put(queue, priority.name, 0.0, priority)
    assert [key for _now, key in probed(queue, 0.1)] == [each.name for each in Priority]


@pytest.mark.parametrize("many", [1_000, 4_000])
def test_the_next_probe_costs_the_same_among_many(many):
    """Some wait, some rest: each was once looked at for every one."""
    queue, began = question_queue.ProbeQueue(1e6, 100_000), time.process_time()
    for now in (0.0, 0.5, 1.1):
        for number in range(many):
            put(queue, number, now, TRUSTED)
        while queue.next(now):
            queue.due(now)
    assert (time.process_time() - began) / many < 0.0005


def test_trusted_evidence_goes_first():
    queue = question_queue.ProbeQueue(100.0)
    for number in range(1000):
        put(queue, number, 0.0)
    put(queue, 999, 0.0, TRUSTED)
    put(queue, 999, 0.0)  # more evidence, untrusted, takes nothing away
    assert probed(queue, 0.1)[0][1] == 999


def test_the_newest_untrusted_item_is_displaced_and_no_trusted_one():
    queue = question_queue.ProbeQueue(100.0)
    for number in range(3):
        put(queue, number, 0.0)
    put(queue, 1, 0.0, TRUSTED)
    assert queue.displace(UNTRUSTED) is None
    assert [item and item.key for item in map(queue.displace, 3 * [TRUSTED])] == [2, 0, None]
    assert len(queue) == 1


def test_a_silent_address_is_left_alone_for_longer():
    queue = question_queue.ProbeQueue(100.0)
    put(queue, "a", 0.0)
    queue.next(0.0)
    queue.back_off("a", 1.2)
    put(queue, "a", 1.3)
    assert not queue.next(4.0)
    assert queue.due(4.0) == pytest.approx(4.2)
    assert queue.next(4.3)


def test_retry_now_ends_a_back_off_but_not_the_probe_interval():
    queue = question_queue.ProbeQueue(100.0)
    put(queue, "a", 0.0)
    queue.next(0.0)
    queue.back_off("a", 1.2)
    put(queue, "a", 1.3)
    assert queue.is_backed_off("a")
    assert "a" in queue.in_progress(1.3)  # it waits
    queue.retry_now("a", 1.3)
    assert queue.next(1.3)
    put(queue, "a", 1.4)
    queue.retry_now("a", 1.4)
    assert not queue.next(2.2)
    assert queue.next(2.31)
    queue.back_off("a", 2.4)
    assert "a" not in queue.in_progress(2.5), "one SYN more may end the back-off"


def test_a_silent_address_is_demoted_until_a_host_answers():
    """SYNs in the names of dead hosts, which a listener answers, keep no newcomer waiting."""
    queue, dead = question_queue.ProbeQueue(100.0), [f"dead {number}" for number in range(20)]
    for key in dead:
        queue.back_off(key, 0.0)
        put(queue, key, 5.0, TRUSTED)
    put(queue, "new", 5.0, TRUSTED)
    assert queue.next(5.0).key == "new"
    assert not queue.next(6.0, lowest=TRUSTED)
    assert queue.next(6.0).key == dead[0]
    queue.clear_backoff(dead[7])
    put(queue, dead[7], 7.0, TRUSTED)
    assert queue.next(7.0).key == dead[7]


def test_demotion_is_bounded_in_number_and_time():
    queue = question_queue.ProbeQueue(100.0)
    for number in range(2 * question_queue.MAX_DEMOTED):
        queue.back_off(number, 0.0)
    assert put(queue, 0, 5.0, TRUSTED).priority is TRUSTED
    last = 2 * question_queue.MAX_DEMOTED - 1
    assert put(queue, last, 5.0, TRUSTED).priority is UNTRUSTED
    assert put(queue, last, question_queue.DEMOTED_S, TRUSTED).priority is TRUSTED


def test_due_is_never_late_and_never_twice_too_early():
    queue = question_queue.ProbeQueue(10.0)
    for number in range(50):
        put(queue, number, 0.0)
    now, count, wakes = 0.0, 0, 0
    while len(queue):
        wakes += 1
        now = queue.due(now)
        while queue.next(now):
            count += 1
    assert count == 50
    assert wakes <= 51
