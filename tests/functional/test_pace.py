"""The tests' own clock ends each wait: what goes wrong fails the test, and does not hang it."""

import time
import types

import pytest
from pace import FASTER, SILENT_S, Pace


def clock(is_busy):
    """Yield a clock whose wire always has one more question to answer, or never one."""
    pace = Pace(types.SimpleNamespace(answer=lambda: is_busy, when_asked=lambda _respond: None))
    yield pace
    pace.close()


@pytest.fixture
def endless():
    yield from clock(is_busy=True)


@pytest.fixture
def silent():
    yield from clock(is_busy=False)


def test_clock_runs_faster_only_while_the_engine_waits_and_nothing_has_been_said_for_long(silent):
    nobody = types.SimpleNamespace(_ready=types.SimpleNamespace(poll=lambda *_: time.sleep(0.001)))
    for last_said, limit in [(time.monotonic(), 1), (time.monotonic() - SILENT_S, FASTER)]:
        silent._last_said = last_said
        began = time.monotonic()
        silent._wait_for_answer(nobody, 0.2)
        assert (time.monotonic() - began) * limit > 0.19
    began = time.monotonic()
    silent.sleep(0.2)
    assert time.monotonic() - began > 0.1


def test_action_that_fails_is_raised_and_the_clock_goes_on(endless):
    def fail():
        raise ZeroDivisionError

    endless.later(0.01, fail).start()
    with pytest.raises(ZeroDivisionError):
        endless.wait()
    endless.sleep(0.01)


def test_endless_questions_are_answered_no_longer_and_fail(endless):
    endless._deadline = time.monotonic()
    with pytest.raises(AssertionError, match="still asked"), endless.answering(None):
        endless.sleep(0.1)
