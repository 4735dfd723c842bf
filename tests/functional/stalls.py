"""Tests whose claim is a time: one that was too late while the machine stalled is tried again.

TCP's second SYN leaves a second after the first, whether or not the sentinel got a processor in
that second. So a test that wants the first one to be enough is marked ``timed`` and says so by
``within``, which fails as TooLate. The test is then set up and tried again, if a stall was measured
meanwhile: a process that sleeps was woken late, or one that the test watches waited for a processor
(stall_meter.py). Without a stall, or after five times, it has failed; any other failure is final.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from _pytest.runner import call_and_report

STALLED_S = 0.1  # what a time that is claimed leaves as a margin
TRIES = 5
TRIED_AGAIN = pytest.StashKey()
TOO_LATE = pytest.StashKey()


class TooLate(AssertionError):
    """What should happen in time did not; ``stalled_s``: how long the machine stalled meanwhile."""

    stalled_s = 0.0

    def __str__(self):
        return f"{super().__str__()}; the machine stalled for {self.stalled_s:.2f} s"


class Claim:
    """A time that is claimed; ``took_s``: what it took, if that is not the time of the block."""

    took_s = None


class Meter:
    """The process that measures, and what it watches for the test that is played."""

    def __init__(self):
        words = [sys.executable, "-S", "-E", str(Path(__file__).with_name("stall_meter.py"))]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.watched, self.is_measuring = [], False

    def begin(self):
        assert not self.is_measuring, "one time after the other is claimed"
        self.is_measuring = True
        self._ask(" ".join(map(str, [os.getpid(), *self.watched])))

    def end(self):
        self.is_measuring = False
        return float(self._ask("end"))

    def _ask(self, line):
        os.write(self.process.stdin.fileno(), f"{line}\n".encode())
        assert select.select([self.process.stdout], [], [], 30)[0], "the meter does not answer"
        return self.process.stdout.readline()

    def close(self):
        self.process.kill()
        self.process.communicate(timeout=30)


class _Play:
    """Of this process: the meter, once there is one, and whether a timed test is played."""

    meter, is_timed = None, False


def watch(pid):
    """Have the waiting of a process, and of its children, count as a stall of this test."""
    if _Play.is_timed:
        _Play.meter.watched.append(pid)


@contextlib.contextmanager
def measured():
    """Measure how long the machine stalls during a block that may be TooLate."""
    assert _Play.is_timed, "who claims a time is marked timed"
    _Play.meter.begin()
    late = None
    try:
        yield
    except TooLate as error:
        late = error
        time.sleep(0.1)  # who still waits for a processor gets one
        raise
    finally:
        stalled_s = _Play.meter.end()
        if late:
            late.stalled_s = stalled_s


@contextlib.contextmanager
def within(seconds):
    """Claim that a block takes less; and that no client in it loses its patience."""
    claim = Claim()
    with measured():
        began = time.monotonic()
        try:
            yield claim
        except TimeoutError as error:
            raise TooLate(f"no answer: {error}") from error
        took_s = time.monotonic() - began if claim.took_s is None else claim.took_s
        in_time(took_s < seconds, f"took {took_s:.2f} s and not less than {seconds:g} s")


def in_time(holds, about):
    """Claim, in a block that is measured, what holds unless something was too late."""
    if not holds:
        raise TooLate(about)


def pytest_configure(config):
    config.stash[TRIED_AGAIN] = []
    config.addinivalue_line("markers", "timed: claims a time; tried again if the machine stalled")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep why the call has failed, if it was too late."""
    if call.when == "call":
        error = call.excinfo and call.excinfo.value
        item.stash[TOO_LATE] = error if isinstance(error, TooLate) else None
    yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if not item.get_closest_marker("timed"):
        return None
    _Play.meter = _Play.meter or Meter()
    _Play.is_timed = True
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    try:
        for number in range(1, TRIES + 1):
            if _is_final(item, nextitem, may_be_tried_again=number < TRIES):
                break
    finally:
        item._request, item.funcargs, item.stash[TOO_LATE] = False, None, None
        _Play.is_timed = False
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _is_final(item, nextitem, may_be_tried_again):
    """Try a test once; report it unless it is to be tried again."""
    item._initrequest()
    item._report_sections.clear()  # what it printed the last time
    item.stash[TOO_LATE] = None
    _Play.meter.watched.clear()
    reports = [call_and_report(item, "setup", log=False)]
    if reports[0].passed:
        reports.append(call_and_report(item, "call", log=False))
    late = item.stash[TOO_LATE]
    if late and late.stalled_s >= STALLED_S and may_be_tried_again:
        item.config.stash[TRIED_AGAIN].append(f"{item.nodeid}: {late}")
        # Its other fixtures stay; what it leaves behind is reported, whatever the next try does.
        left = call_and_report(item, "teardown", log=False, nextitem=item.parent)
        if left.failed:
            item.ihook.pytest_runtest_logreport(report=left)
        return False
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    if item.session.shouldfail or item.session.shouldstop:
        nextitem = None
    call_and_report(item, "teardown", nextitem=nextitem)
    return True


def pytest_terminal_summary(terminalreporter, config):
    if lines := config.stash[TRIED_AGAIN]:
        terminalreporter.section("tried again, as the machine stalled")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_unconfigure():
    if _Play.meter:
        _Play.meter.close()
        _Play.meter = None
