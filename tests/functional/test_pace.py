"""The tests' own clock ends each wait: what goes wrong fails the test, and does not hang it."""

import time
import types

import pytest
from pace import Pace


@pytest.fixture
def endless():
    """A clock whose wire always has one more question to answer."""
    pace = Pace(types.SimpleNamespace(answer=lambda: True, when_asked=lambda _respond: None))
    yield pace
    pace.close()


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
