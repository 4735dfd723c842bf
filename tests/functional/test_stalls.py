"""A stall of the machine is measured, and only what was too late meanwhile is tried again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stall_meter
import stalls

pytest_plugins = ["pytester"]

# --- what is a stall


def hold_the_meter():
    pid = stalls._Play.meter.process.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.5)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.timed
def test_time_in_which_a_process_was_not_woken_is_a_stall():
    with pytest.raises(stalls.TooLate) as late, stalls.within(0.4):
        hold_the_meter()
    assert late.value.stalled_s > 0.4


# The first one has the processor when the second one does not want it.
TWO = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
if os.fork():
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while True:
    pass
"""


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this kernel has no CONFIG_SCHED_INFO"
)
def test_waiting_of_a_watched_process_for_a_processor_is_a_stall(scene):
    words = [sys.executable, "-c", TWO]
    with subprocess.Popen(words, start_new_session=True) as both:
        stall = stall_meter.Stall(lambda: stall_meter.waited("", [both.pid]), lambda: 0.0)
        try:
            scene.until(lambda: stall.look() or stall.seconds() >= stalls.STALLED_S)
        finally:
            os.killpg(both.pid, signal.SIGKILL)


def looked(*ticks):
    """Return the stall that was seen when one thread had waited so long at each look."""
    waits, now = iter([0.0, *ticks]), iter(range(100))
    stall = stall_meter.Stall(
        lambda: {"thread": next(waits)}, lambda: next(now) * stall_meter.TICK_S
    )
    for _ in ticks:
        stall.look()
    return stall.seconds()


def test_only_long_waits_are_a_stall():
    """Three busy processes beside it have a process wait for some milliseconds, and often."""
    assert looked(*(0.01 * number for number in range(1, 50))) == 0.0
    assert looked(0.0, 0.05, 0.05, 0.15, 0.16) == pytest.approx(0.15)


# --- what is tried again

TIMED = """
import itertools
import pytest
import stalls

tries, stalled_s = itertools.count(1), {stalled_s}

@pytest.fixture(autouse=True)
def measures(monkeypatch):
    monkeypatch.setattr(stalls.Meter, "begin", lambda meter: None)
    monkeypatch.setattr(stalls.Meter, "end", lambda meter: stalled_s)

@pytest.fixture(scope="module", autouse=True)
def module():
    print("the module is set up")
    yield
    print("the module is torn down")

@pytest.fixture
def told():
    number = next(tries)
    print("set up", number)
    yield number
    print("torn down", number)
    {teardown}

@pytest.mark.timed
def test_it(told):
    print("try", told)
    {test}

def test_next(capsys):
    print("next")
"""


@pytest.fixture
def play(pytester, monkeypatch):
    """Let pytest play one timed test, a stall being measured; return what it said."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.path.dirname(stalls.__file__), *sys.path]))

    def played(test, stalled_s=1.0, teardown=""):
        code = TIMED.format(test=test, stalled_s=stalled_s, teardown=teardown)
        pytester.makepyfile(code)
        return pytester.runpytest_subprocess("-p", "stalls", "-p", "no:cacheprovider", "-s")

    return played


def tries(result):
    said = [line.split("try ")[1] for line in result.outlines if "try " in line]
    return [int(number) for number in said if number.isdecimal()]


LATE = "with stalls.within(1) as claim: claim.took_s = {}"
SECOND_IS_IN_TIME = LATE.format("2 if told == 1 else 0.5")


def test_what_was_too_late_in_a_stall_is_set_up_and_tried_again(play):
    result = play(SECOND_IS_IN_TIME)
    result.assert_outcomes(passed=2)
    assert tries(result) == [1, 2]
    lines = ["the module is set up", "torn down 1", "set up 2", "torn down 2", "next"]
    result.stdout.fnmatch_lines([f"*{line}*" for line in lines])
    assert str(result.stdout).count("the module is set up") == 1
    result.stdout.fnmatch_lines(
        ["*::test_it: took 2.00 s and not less than 1 s; the machine stalled for 1.00 s"]
    )


def test_what_was_too_late_without_a_stall_has_failed(play):
    result = play(SECOND_IS_IN_TIME, stalled_s=0.05)
    result.assert_outcomes(failed=1, passed=1)
    assert tries(result) == [1]


def test_what_is_too_late_in_each_stall_has_failed(play):
    result = play(LATE.format(2))
    result.assert_outcomes(failed=1, passed=1)
    assert tries(result) == [*range(1, stalls.TRIES + 1)]


@pytest.mark.parametrize(
    "test",
    [
        "assert told == 2",
        "with stalls.measured(): assert told == 2",
        "with stalls.within(1): [].pop()",
        "pytest.fail('with a word')",
    ],
)
def test_another_failure_is_final(play, test):
    result = play(test)
    result.assert_outcomes(failed=1, passed=1)
    assert tries(result) == [1]


def test_a_client_that_lost_its_patience_was_too_late(play):
    result = play("with stalls.within(1):\n        if told == 1: raise TimeoutError('timed out')")
    result.assert_outcomes(passed=2)
    assert tries(result) == [1, 2]


def test_what_a_try_leaves_behind_is_reported_though_the_next_one_passes(play):
    result = play(SECOND_IS_IN_TIME, teardown="assert number == 2, 'left behind'")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_it*", "*left behind*"])


def test_what_is_skipped_is_not_tried_again(play):
    result = play("pytest.skip('not here')")
    result.assert_outcomes(skipped=1, passed=1)
    assert tries(result) == [1]


def test_a_time_that_is_claimed_without_the_mark_is_refused():
    with pytest.raises(AssertionError, match="is marked timed"), stalls.within(1):
        pass
