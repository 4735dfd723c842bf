"""Tests whose claim is a time: one that fails while the machine stalled is tried again.

TCP's second SYN leaves a second after the first, whether or not the sentinel got a processor in
that second. So a test that is marked ``timed`` and fails is set up and tried again, if a stall was
measured during it: a process that sleeps was woken late, or a process that the test watches waited
for a processor. A test that fails without a stall, or five times, has failed.
"""

import contextlib
import os
import subprocess
import sys
import time

import pytest
from _pytest.runner import call_and_report

STALLED_S = 0.1  # together: what a time that is claimed leaves as a margin
TRIES = 5
SLEEPER = """
import time
while True:
    began = time.monotonic()
    time.sleep(0.01)
    late = time.monotonic() - began - 0.01
    if late > 0.02:
        print(late, flush=True)
"""
TRIED_AGAIN = pytest.StashKey()
_watched = set()


def watch(pid):
    """Count the waiting of a process of this test, too."""
    _watched.add(pid)


class Stalls:
    """How long the machine has stalled since a moment."""

    _sleeper, _late_s = None, 0.0

    def __init__(self):
        _watched.clear()
        if not Stalls._sleeper:
            words = [sys.executable, "-S", "-E", "-c", SLEEPER]
            Stalls._sleeper = subprocess.Popen(words, stdout=subprocess.PIPE)
            os.set_blocking(Stalls._sleeper.stdout.fileno(), False)
        self._began = self._total_s()

    def seconds(self):
        """Return how long; a sleeper that is late may still have to say so."""
        time.sleep(0.1)
        return self._total_s() - self._began

    def _total_s(self):
        with contextlib.suppress(BlockingIOError):
            said = os.read(Stalls._sleeper.stdout.fileno(), 1 << 20)
            Stalls._late_s += sum(map(float, said.split()))
        return Stalls._late_s + sum(map(_waited_s, {"self", *_watched}))


def _waited_s(pid):
    """Return how long the threads of a process have waited for a processor."""
    waited_ns = 0
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as file:
                waited_ns += int(file.read().split()[1])
    return waited_ns / 1e9


def pytest_configure(config):
    config.stash[TRIED_AGAIN] = []
    config.addinivalue_line("markers", "timed: claims a time; tried again if the machine stalled")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    if not item.get_closest_marker("timed"):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item, nextitem):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _reports(item, nextitem):
    """Run a test until it passes, fails without a stall, or has failed often enough."""
    for number in range(1, TRIES + 1):
        item._initrequest()
        stalls = Stalls()
        reports = [call_and_report(item, "setup", log=False)]
        if reports[0].passed:
            reports.append(call_and_report(item, "call", log=False))
        stalled_s = stalls.seconds() if reports[-1].failed else 0.0
        is_last = stalled_s < STALLED_S or number == TRIES
        following = nextitem if is_last else item.parent  # its other fixtures stay
        reports.append(call_and_report(item, "teardown", log=False, nextitem=following))
        if is_last:
            break
        item.config.stash[TRIED_AGAIN].append(f"{item.nodeid}: {stalled_s:.1f} s")
    item._request, item.funcargs = False, None
    return reports


def pytest_terminal_summary(terminalreporter, config):
    if lines := config.stash[TRIED_AGAIN]:
        terminalreporter.section("tried again, as the machine stalled")
        for line in lines:
            terminalreporter.write_line(line)


def pytest_unconfigure():
    if Stalls._sleeper:
        Stalls._sleeper.kill()
        Stalls._sleeper.wait()
