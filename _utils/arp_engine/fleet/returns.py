"""Collects the returns of Salt jobs, and believes only what the master verified. Knows no Salt.

Any accepted minion hears every job and can put a return in another minion's name on the event bus.
So an event only announces that a return has come; its content is read from the job cache, which the
master writes after it has verified the sender. Where the two differ, one of them was forged: the
minion's name is in ``conflicts``.

Many minions are asked in a sliding window, so that one that is down holds one place and not a whole
batch. A minion that has not answered in time is asked whether it still runs the job; one that
says so for too long (a hostile one, or one whose process hangs) holds nobody up.

Standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any, Protocol

from .inventory import TRIMMED

Row = dict[str, Any]
Answers = dict[str, Row]  # minion to its return, {"ret": …}, or {"why": …} if it runs too long
POLL_S = 0.05
LATE_S = 1.0  # how much later than a forged return the real one is still noticed
MAX_TIMEOUTS = 12  # for so many a minion may say that it still runs a job
FETCH_SHARE = 5  # a fetch of the job cache may take one part in so many of the time
Digest = tuple[bytes, bool]  # of a return, and whether it says that Salt cut off a part of it


class Master(Protocol):
    """What the surface does for us."""

    def publish(self, tgt: Any, tgt_type: str, fun: str, arg: Any, kwarg: Row | None) -> Row | None:
        """Send a job; return its ``jid`` and ``minions``, or None if it means no minion."""

    def events(self, wait_s: float) -> Iterable[tuple[str, str, Any]]:
        """Return the returns on the event bus: jid, minion, content."""

    def cached(self, jid: str) -> dict[str, Any]:
        """Return the returns of a job in the job cache: minion to content."""


class Job:
    """One job, and the minions whose returns are awaited."""

    def __init__(
        self,
        jid: str,
        minions: Collection[str],
        now: float,
        timeout_s: float,
        run_s: float = 0.0,
    ) -> None:
        """``run_s``: how long a minion needs for this job at the worst."""
        self.jid, self.minions, self.sent_at = jid, frozenset(minions), now
        self.waiting = set(minions)
        self.announced: set[str] = set()  # on the bus, and not in the job cache yet
        self.deadline, self.next_fetch, self.fetch_s = now + timeout_s, now, POLL_S
        self.last_deadline = now + MAX_TIMEOUTS * timeout_s + run_s  # also if it says it still runs
        self.is_check = False  # a minion that does not answer is not asked whether it still runs
        self.check: Job | None = None  # the job that asks whether this one still runs
        self.answers: Answers = {}


class Returns:
    """Sends jobs and collects their returns."""

    def __init__(
        self,
        master: Master,
        timeout_s: float,
        check_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take how long to wait for a return, and for the answer whether a job still runs."""
        self._master, self.clock = master, clock
        self.timeout_s, self._check_timeout_s = timeout_s, check_timeout_s
        self.job_ids: list[str] = []
        self.asked: dict[str, set[str]] = {}  # function to the minions that were sent it
        self.conflicts: set[str] = set()
        self._open: dict[str, Job] = {}
        self._conflict_finder = ConflictFinder()  # by jid and minion

    def publish(
        self,
        tgt: Any,
        tgt_type: str,
        fun: str,
        kwarg: Row | None = None,
        arg: Any = (),
        run_s: float = 0.0,
    ) -> Job:
        """Send a job; ``run_s``: how long a minion needs for it at the worst."""
        job = self._publish(tgt, tgt_type, fun, kwarg, arg, self.timeout_s, run_s)
        if job.jid:
            self.job_ids.append(job.jid)
            self.asked.setdefault(fun, set()).update(job.minions)
        return job

    def gather(self, jobs: Iterable[Job]) -> None:
        """Wait until these jobs are complete or timed out; their ``answers`` are filled."""
        while any(job.jid in self._open for job in jobs):
            self._step(POLL_S)

    def ask(
        self, tgt: Any, tgt_type: str, fun: str, kwarg: Row | None = None, arg: Any = ()
    ) -> tuple[Answers, set[str]]:
        """Send a job and wait; return the answers, and the minions that it was sent to."""
        job = self.publish(tgt, tgt_type, fun, kwarg, arg)
        self.gather([job])
        return job.answers, set(job.minions)

    def as_they_come(self, job: Job) -> Iterator[tuple[str, Row | None]]:
        """Wait for a job; yield each minion with its answer, those without one at the end."""
        missing = set(job.minions)
        while job.jid in self._open:
            self._step(POLL_S)
            for name in sorted(missing & set(job.answers)):
                missing.discard(name)
                yield name, job.answers[name]
        for name in sorted(missing):
            yield name, job.answers.get(name)

    def ask_briefly(self, names: list[str], fun: str, arg: Any = ()) -> Answers:
        """Ask what a minion answers at once; one that does not is not asked what it is doing."""
        job = self.publish(names, "list", fun, None, arg)
        job.is_check = True
        self.gather([job])
        return job.answers

    def ask_each(
        self, names: Collection[str], fun: str, window: int, kwarg: Row | None = None
    ) -> Iterator[tuple[str, Row | None]]:
        """Ask many minions, at most ``window`` at the same time; yield each with its answer."""
        left, jobs, missing = list(names), [], set(names)
        group = max(1, window // 4)  # a job for each minion would cost the master more
        while left or jobs:
            busy = sum(len(job.waiting) for job in jobs)
            while left and busy + min(group, len(left)) <= window:
                some, left = left[:group], left[group:]
                jobs.append(self.publish(some, "list", fun, kwarg))
                busy += len(some)
            self._step(POLL_S)
            for job in jobs:
                for name in missing & set(job.answers):
                    missing.discard(name)
                    yield name, job.answers[name]
            jobs = [job for job in jobs if job.jid in self._open]
        for name in sorted(missing):
            yield name, None

    def listen_once_more(self) -> None:
        """Read the bus for a moment: the real return may come later than one in its name."""
        until = self.clock() + LATE_S
        while self.clock() < until:
            self._read_bus(POLL_S)

    def _publish(
        self,
        tgt: Any,
        tgt_type: str,
        fun: str,
        kwarg: Row | None,
        arg: Any,
        timeout_s: float,
        run_s: float = 0.0,
    ) -> Job:
        sent = self._master.publish(tgt, tgt_type, fun, arg, kwarg) or {"jid": "", "minions": ()}
        job = Job(sent["jid"], sent["minions"], self.clock(), timeout_s, run_s)
        if job.waiting:
            self._open[job.jid] = job
        return job

    def _step(self, wait_s: float) -> None:
        self._read_bus(wait_s)
        now = self.clock()
        for job in list(self._open.values()):
            is_overdue = now >= job.deadline
            is_fetch_due = job.announced >= job.waiting or now >= job.next_fetch
            if (job.announced and is_fetch_due) or (is_overdue and not job.check):
                self._fetch(job)  # at the end in any case: an event may have been lost
            if not job.waiting or (is_overdue and job.is_check):
                del self._open[job.jid]
            elif is_overdue:
                self._check_running(job, now)

    def _read_bus(self, wait_s: float) -> None:
        for jid, minion, content in self._master.events(wait_s):
            key = jid, minion
            is_waited_for = jid in self._open and minion in self._open[jid].waiting
            if is_waited_for:
                self._open[jid].announced.add(minion)
            elif key not in self._conflict_finder:
                continue
            if self._conflict_finder.is_conflict_on_bus(key, content):
                self.conflicts.add(minion)

    def _fetch(self, job: Job) -> None:
        began = self.clock()
        for minion, content in self._master.cached(job.jid).items():
            if minion in job.waiting:
                job.waiting.discard(minion)
                job.announced.discard(minion)
                job.answers[minion] = {"ret": content}
                if self._conflict_finder.is_conflict_in_cache((job.jid, minion), content):
                    self.conflicts.add(minion)
        now = self.clock()
        job.fetch_s = max(POLL_S, FETCH_SHARE * (now - began))
        job.next_fetch = now + job.fetch_s

    def _check_running(self, job: Job, now: float) -> None:
        """Ask the minions that are overdue whether they still run the job; drop the others."""
        if job.check is None:
            fun, arg = "saltutil.find_job", (job.jid,)
            job.check = self._publish(
                sorted(job.waiting), "list", fun, None, arg, self._check_timeout_s
            )
            job.check.is_check = True
        if job.check.jid not in self._open:
            job.waiting &= {name for name, answer in job.check.answers.items() if answer["ret"]}
            job.check, job.deadline = None, now + self.timeout_s
            if now >= job.last_deadline:
                why = f"it says that it still runs, after {now - job.sent_at:.0f} s"
                job.answers |= {name: {"why": why} for name in job.waiting}
                job.waiting.clear()
            if not job.waiting:
                del self._open[job.jid]


class ConflictFinder:
    """The returns under each name: tells where two of them differ, so that one is forged.

    All on the bus are compared with the one in the job cache; until that is read, with the first
    whole one on the bus, or with the first one if all were cut off.
    """

    def __init__(self) -> None:
        self._counts: dict[Hashable, Digest] = {}  # by name: of the return in the job cache
        self._heard: dict[Hashable, Digest] = {}  # of one on the bus, while there is no other

    def __contains__(self, name: Hashable) -> bool:
        """Tell whether the return that counts is known."""
        return name in self._counts

    def is_conflict_on_bus(self, name: Hashable, content: Any) -> bool:
        """Tell whether a return on the bus differs from the one that counts, or from others."""
        heard = digest(content)
        if name in self._counts:
            return is_conflict(self._counts[name], heard)
        kept = self._heard.setdefault(name, heard)
        if kept[1] and not heard[1]:  # a forged one that looks cut must not excuse what follows
            self._heard[name] = heard
            return False
        return is_conflict(kept, heard)

    def is_conflict_in_cache(self, name: Hashable, content: Any) -> bool:
        """Tell whether the return in the job cache differs from one on the bus."""
        counts = self._counts[name] = digest(content)
        heard = self._heard.pop(name, None)
        return heard is not None and is_conflict(counts, heard)


def is_conflict(counts: Digest, heard: Digest) -> bool:
    """Tell whether a return that was heard on the bus is another than the one that counts.

    An event may be cut off where the job cache has the whole return. The other way round never
    happens, so a return cannot be made incomparable by containing Salt's text.
    """
    is_cut_on_bus = heard[1] and not counts[1]
    return counts[0] != heard[0] and not is_cut_on_bus


def digest(content: Any) -> Digest:
    """Return a hash of a return, and whether Salt cut off a part of it."""
    try:
        text = json.dumps(content, sort_keys=True, default=repr)
    except (TypeError, ValueError):  # keys of several types
        text = repr(content)
    return hashlib.blake2b(text.encode(errors="replace")).digest(), TRIMMED in text
