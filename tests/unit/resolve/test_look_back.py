"""Who had an entry is asked again, alone, after a question of ours moved it."""

import itertools

import pytest
from arp_engine.packets import probe_schedule
from arp_engine.packets.probe_schedule import ALONE, FAST, LIKE_THE_KERNEL
from arp_engine.resolve import look_back
from arp_engine.resolve.look_back import Change, Contested, LookBacks
from arp_engine.resolve.question import ProbeResult, Question

KEY = (3, b"\xc0\x00\x02\x0a")
FORMER, TAKEN = b"\x02\0\0\0\0\x0a", b"\x02\0\0\0\0\x0b"
NOW = 1000.0
SILENT = ProbeResult(1, 0, {})
ANSWERED = ProbeResult(1, 0, {FORMER: 0.2})


@pytest.fixture
def backs():
    found = LookBacks()
    found.begin(Change(KEY, FORMER, TAKEN, NOW), 1.0)
    return found


def ask_until(backs, end):
    """Let it ask until a time; return when each question was due."""
    asked = []
    while backs.next_due() <= end:
        due = backs.next_due()
        [(question, schedule)] = backs.questions(due, 10)
        assert question == Question(*KEY, FORMER)
        assert schedule.unicast_waits_s == ALONE.unicast_waits_s
        asked.append(round(due - NOW, 2))
    return asked


def test_first_question_waits_for_locktime(backs):
    assert backs.next_due() == NOW + 1.0 + look_back.MARGIN_S


def test_former_holder_is_asked_more_than_once_a_second(backs):
    asked = ask_until(backs, NOW + probe_schedule.LOOK_BACK_FOR_S)
    assert len(asked) > 10
    gaps = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert max(gaps) < 1.0


def test_former_holder_is_asked_in_two_names_by_turns():
    """A frame each: where hundreds are looked back at, two would take more than the rate allows."""
    backs, key, names = LookBacks(), (3, bytes(16)), []
    backs.begin(Change(key, FORMER, TAKEN, NOW), 0.0)
    for turn in range(4):
        [(question, schedule)] = backs.questions(NOW + 1 + turn, 10)
        assert (question.mac, schedule.frames, schedule.wants_mac) == (FORMER, 1, True)
        names.append(schedule.first_name)
    assert names == [0, 1, 0, 1]


def test_no_question_beyond_the_limit(backs):
    assert backs.questions(NOW + 5, 0) == []
    assert len(backs.questions(NOW + 5, 1)) == 1


def test_returned_when_the_table_holds_the_former_mac(backs):
    assert backs.decide(KEY, ANSWERED, TAKEN, NOW + 1.1) == ""
    assert backs.decide(KEY, ANSWERED, FORMER, NOW + 2.0) == "returned"
    assert not len(backs)


def test_silent_after_ten_seconds(backs):
    for turn in range(look_back.MIN_SILENT):
        assert backs.decide(KEY, SILENT, TAKEN, NOW + 7.0 + turn) == ""
    assert backs.decide(KEY, SILENT, TAKEN, NOW + probe_schedule.LOOK_BACK_FOR_S) == "silent"
    assert backs.next_due() == float("inf")


def results_from(backs, since, results):
    """Let each question that is due have the next result; return the outcome, and how many had."""
    for count, result in enumerate(results, 1):
        now = max(since, backs.next_due())
        assert len(backs.questions(now, 10)) == 1
        if outcome := backs.decide(KEY, result, TAKEN, now + 0.4):
            return outcome, count
    return "", len(results)


@pytest.mark.parametrize("lost", [0, 1, 2], ids=lambda lost: f"{lost} lost")
def test_holder_that_is_asked_late_is_not_silent_by_time_alone(backs, lost):
    """The run itself stood still, or locktime is longer; a frame gets lost."""
    assert results_from(backs, NOW + 60, [SILENT] * lost + [ANSWERED]) == ("returned", lost + 1)


def test_holder_that_is_asked_late_is_silent_after_as_many_questions_as_the_kernel_asks(backs):
    found = results_from(backs, NOW + 60, [SILENT] * 9)
    assert found == ("silent", probe_schedule.UCAST_SOLICIT)


@pytest.mark.parametrize(
    "unasked",
    [
        ProbeResult(0, 0, {}, "the device's queue is full (ENOBUFS)"),
        ProbeResult(0, 0, {}),
        ProbeResult(1, 0, {}, "no carrier for a while"),
    ],
    ids=["none left", "none left, and nobody knows why", "none arrived"],
)
def test_holder_that_cannot_be_asked_is_not_silent(backs, unasked):
    outcome, asked = results_from(backs, NOW, [unasked] * 99)
    assert (outcome, asked <= probe_schedule.LOOK_BACK_FRAMES) == ("unasked", True)
    assert (len(backs), backs.next_due()) == (0, float("inf"))


def test_holder_that_was_silent_before_it_could_not_be_asked_is_not_silent(backs):
    """It may have paused for the seconds in which the questions left."""
    lost = ProbeResult(0, 0, {}, "no carrier")
    assert results_from(backs, NOW, [SILENT] * 5 + [lost] * 99)[0] == "unasked"


def test_one_question_that_does_not_leave_makes_no_dead_holder_unasked(backs):
    lost = ProbeResult(0, 0, {}, "no carrier")
    assert results_from(backs, NOW, [SILENT] * 11 + [lost] + [SILENT] * 9) == ("silent", 15)


def test_look_back_whose_questions_leave_by_turns_ends(backs):
    lost = ProbeResult(0, 0, {}, "no carrier")
    assert results_from(backs, NOW, [SILENT, lost] * 99) == ("unasked", look_back.MAX_ASKED)


def test_alive_holder_whose_answer_the_table_refuses_is_not_silent(backs):
    over = NOW + probe_schedule.LOOK_BACK_FOR_S
    assert backs.decide(KEY, ANSWERED, TAKEN, over) == ""  # asked on: it may take it in a moment
    assert backs.decide(KEY, ANSWERED, TAKEN, over + look_back.MAX_LOCKTIME_S) == "returned"


def test_an_entry_that_moves_on_has_two_former_holders(backs):
    third, over = b"\x02\0\0\0\0\x0c", NOW + probe_schedule.LOOK_BACK_FOR_S
    backs.begin(Change(KEY, TAKEN, third, NOW + 5), 0.0)
    asked = {question.mac for question, _schedule in backs.questions(NOW + 6, 10)}
    assert asked == {FORMER, TAKEN}
    for now in (NOW + 8, NOW + 9):
        assert backs.decide(KEY, SILENT, third, now, FORMER) == ""
    assert backs.decide(KEY, SILENT, third, over, FORMER) == "silent"
    assert backs.decide(KEY, SILENT, third, over, TAKEN) == ""
    assert (len(backs), KEY in backs) == (1, True)
    assert backs.decide(KEY, ProbeResult(1, 0, {TAKEN: 0.2}), TAKEN, over) == "returned"
    assert (len(backs), KEY in backs, backs.next_due()) == (0, False, float("inf"))


def test_an_ended_entry_has_no_former_holder(backs):
    backs.begin(Change(KEY, TAKEN, b"\x02\0\0\0\0\x0c", NOW + 1), 1.0)
    backs.end(KEY)
    assert (len(backs), backs.next_due()) == (0, float("inf"))


def test_contested_address_is_asked_as_the_kernel_would():
    contested = Contested()
    assert contested.schedule(KEY, NOW) is FAST
    assert contested.add(KEY, NOW, FORMER)
    assert not contested.add(KEY, NOW + 1, TAKEN)
    assert contested.holder(KEY, NOW + 1) == FORMER  # the first one
    assert contested.schedule(KEY, NOW + 2) is LIKE_THE_KERNEL
    assert sum(LIKE_THE_KERNEL.unicast_waits_s) >= 3.0
    assert contested.schedule(KEY, NOW + 1 + look_back.CONTESTED_S) is FAST


def test_contested_addresses_are_bounded(monkeypatch):
    monkeypatch.setattr(look_back, "MAX_CONTESTED", 2)
    contested = Contested()
    for number in range(3):
        contested.add((number, b""), NOW, FORMER)
    assert contested.schedule((0, b""), NOW) is FAST
    assert contested.schedule((2, b""), NOW) is LIKE_THE_KERNEL
