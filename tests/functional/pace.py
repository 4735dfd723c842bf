"""A clock for the engine that stands still while the test's own answers are late.

Another machine that answers at once is here a thread of this process, and a processor may come to
it a second late: the engine would ask again, or give up. So on this clock no time passes while
that thread answers or waits for a processor. What is to be said later is said by the same clock.

Nor does a test wait ten seconds for silent hosts: while the engine waits for an answer and nothing
has been said for longer than the kernel's locktime, the clock runs faster.

An engine that asks for ever is no longer answered after ``MAX_REAL_S``; the test fails.
"""

import contextlib
import threading
import time

import pytest
from arp_engine.diagnose import evidence, holder
from arp_engine.resolve import (
    ask,
    interfaces,
    look_back_run,
    nud_probe,
    proxied,
    report,
    revalidate_run,
)

STEP_S = 0.002  # the longest time that passes between two looks at what was asked
#: Real time in which nothing was said: the kernel's locktime (1 s) is over for every entry.
SILENT_S = 1.3
FASTER = 20  # a softirq that is a few milliseconds late is still in time
MAX_REAL_S = 180  # of one test: on a slow machine the longest takes half a minute
LEAST_VERDICT_S = 60  # waited for the kernel's verdict in tests that are not about this wait
READERS = (evidence, holder, proxied, report, revalidate_run)
TAKERS = (ask.Asker.__init__, ask.ask, interfaces.Interfaces.__init__, look_back_run.look_back)


class Later:
    """Something to be done so many seconds after ``start``, once."""

    def __init__(self, pace, delay_s, happens, *words):
        self._pace, self._delay_s, self._happens = pace, delay_s, lambda: happens(*words)
        self.is_started = self.is_over = False

    def start(self):
        self.is_started = True
        self._pace.add(self._delay_s, self._happen)

    def _happen(self):
        self._happens()
        self.is_over = True


class Pace:
    """The clock, in place of the module ``time`` in the engine, and the answers."""

    def __init__(self, wire):
        self._wire, self._now = wire, time.monotonic()
        self._epoch = time.time() - self._now
        self._deadline = self._now + MAX_REAL_S
        self._later, self._errors = [], []
        self._is_answering, self._is_over = False, threading.Event()
        self._is_waited, self._last_said = False, self._now
        self._answers = threading.Lock()  # held while one is given
        self._thread = threading.Thread(target=self._go_on)
        self._thread.start()

    def monotonic(self):
        return self._now

    def time(self):
        return self._epoch + self._now

    def sleep(self, seconds):
        end = self._now + seconds
        while self._now < end:
            assert time.monotonic() < self._deadline + MAX_REAL_S, "the clock stands still"
            time.sleep(0.001)

    def drive(self, patch):
        """Be the clock of the engine."""
        for module in READERS:
            patch.setattr(module, "time", self)
        for function in TAKERS:
            defaults = [self.monotonic if d is time.monotonic else d for d in function.__defaults__]
            patch.setattr(function, "__defaults__", tuple(defaults))
        wait = self._wait_for_answer
        patch.setattr(ask.Asker, "wait", lambda asker, seconds: wait(asker, seconds))

    def _wait_for_answer(self, asker, seconds):
        """Do as ``Asker.wait`` does, on this clock."""
        end = self._now + seconds
        self._is_waited = True
        try:
            while self._now < end and not asker._ready.poll(0.001, 1):
                pass
        finally:
            self._is_waited = False

    @contextlib.contextmanager
    def answering(self, respond):
        """Answer as Wire.answering does, and let no time pass meanwhile."""
        self._wire.when_asked(respond)
        self._is_answering, self._last_said = True, time.monotonic()
        try:
            yield
        finally:
            with self._answers:
                self._is_answering = False
        self.wait()

    def add(self, delay_s, happens):
        """Do something later."""
        self._later.append((self._now + delay_s, happens))

    def later(self, delay_s, happens, *words):
        """Return something that is to be done later, once it is started."""
        return Later(self, delay_s, happens, *words)

    def wait(self):
        """Wait until all is done that was to be done later; raise what went wrong."""
        while self._later:
            self.sleep(STEP_S)
        self._raise()

    def close(self):
        """End it; raise what went wrong since."""
        self._is_over.set()
        self._thread.join()
        self._raise()

    def _raise(self):
        if self._errors:
            error = self._errors[0]
            self._errors.clear()
            raise error

    def _go_on(self):
        while not self._is_over.is_set():
            began = time.monotonic()
            try:
                is_busy = self._answer() or self._happen()
            except Exception as error:
                self._errors.append(error)
                self._is_answering = False
                continue
            if is_busy:
                self._last_said = time.monotonic()
                continue
            time.sleep(0.001)
            is_fast = self._is_waited and began - self._last_said > SILENT_S
            self._now += min(time.monotonic() - began, STEP_S) * (FASTER if is_fast else 1)

    def _answer(self):
        if self._is_answering and time.monotonic() > self._deadline:
            raise AssertionError(f"questions are still asked after {MAX_REAL_S} s")
        with self._answers, contextlib.suppress(OSError):  # ENETDOWN: the device has vanished
            return self._is_answering and self._wire.answer()

    def _happen(self):
        for each in [each for each in self._later if each[0] <= self._now]:
            try:
                each[1]()
            finally:  # one that fails is not tried again: the clock would stand still
                self._later.remove(each)
            return True
        return False


@pytest.fixture
def pace(arp, wire, monkeypatch):
    """The engine's clock waits for what the wire answers."""
    pace = Pace(wire)
    pace.drive(monkeypatch)
    monkeypatch.setattr(wire, "answering", pace.answering)
    yield pace
    pace.close()


@pytest.fixture
def late_verdicts(arp):
    """The kernel's own probes are waited for a minute, however late its timers are.

    A test that is about this wait calls ``undo()`` of what the fixture returns.
    """
    original = nud_probe.NudProber._patience_s

    def patience_s(prober, entry):
        return max(original(prober, entry), LEAST_VERDICT_S)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nud_probe.NudProber, "_patience_s", patience_s)
        yield patch
