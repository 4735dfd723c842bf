"""Machines that have started and are to be asked about: windows and bounds. Pure; no clock.

Starts are merged: the first one opens a window, at its end there is one job. Of one machine the
last event counts. A machine that starts again too soon is asked about later, and not forgotten.
Standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from . import inventory, returns
from .inventory import Network

MAX_PENDING = 100_000  # ids; those without an accepted key are dropped when the window ends
MAX_ADDRESSES_EACH = 64  # of one machine in one job
MAX_REFUSED = 100  # machines reported in one window
MAX_REASONS = 5  # of one machine
MAX_JOBS = 100  # whose answers are awaited
MAX_RUNNING = 8  # jobs that most databases still run: each is a process of theirs for seconds
ANSWER_TIMEOUT_S = 60.0
READ_EVERY_S = 1.0  # the job cache, for one job
RETRY_S, MAX_RETRY_S = 5.0, 300.0  # after a job that could not be sent; doubled each time
MAX_DOUBLINGS = 16  # more than reach MAX_RETRY_S; 2**1024 is too large for a float

Row = dict[str, Any]


class Job(NamedTuple):
    """One job: the machines it is for, and what is asked about."""

    machines: list[str]
    addresses: list[str]
    claimed: dict[str, list[str]]  # what the machines' events said


class StartQueue:
    """Collects starts, returns jobs."""

    def __init__(
        self, window_s: float, again_s: float, most: int, networks: Iterable[Network] = ()
    ) -> None:
        """Take the rules.

        window_s
            From the first start to the job that it is part of.
        again_s
            How long after a job for a machine there may be another one for it.
        most
            Addresses in one job. The rest is in the next one.
        networks
            Where a claimed address may lie. None: anywhere.
        """
        self._window_s, self._again_s, self._most = window_s, again_s, most
        self._networks = list(networks)
        self._pending: dict[str, list[str]] = {}  # machine to the addresses in its last event
        self._asked_at: dict[str, float] = {}
        self._due: float | None = None
        self._refused: dict[str, list[str]] = {}  # machine to why its events were refused
        self._overflowed = 0

    def __len__(self) -> int:
        """Return how many machines are pending."""
        return len(self._pending)

    def on_start_event(self, tag: str, data: Any, now: float) -> None:
        """Note a start event. Salt verifies at most its ``id``."""
        machine = data.get("id") if isinstance(data, dict) else None
        if not isinstance(machine, str) or not 0 < len(machine) <= 255 or not machine.isprintable():
            self.refuse(f"tag {tag[:60]!r}", f"not a minion id: {str(machine)[:60]!r}", now)
            return
        if tag != f"salt/minion/{machine}/start":
            self.refuse(machine, f"sent a start event of another minion: {tag[:80]!r}", now)
            return
        if machine not in self._pending and len(self._pending) >= MAX_PENDING:
            self._overflowed += 1
            return
        self.add(machine, self._announced(machine, data), now)

    def add(self, machine: str, addresses: list[str], now: float) -> None:
        """Keep a machine until there is a job for it; one that is pending keeps its place."""
        self._pending[machine] = addresses
        if self._due is None:
            self._due = now + self._window_s

    def refuse(self, machine: str, why: str, now: float | None = None) -> None:
        """Keep why an event was refused; it is reported when the window ends."""
        if self._due is None and now is not None:
            self._due = now + self._window_s
        if machine in self._refused or len(self._refused) < MAX_REFUSED:
            reasons = self._refused.setdefault(machine, [])
            if why not in reasons and len(reasons) < MAX_REASONS:
                reasons.append(why)

    def take_refused(self) -> dict[str, str]:
        """Return machine to why its events were refused, once."""
        refused = {machine: "; ".join(reasons) for machine, reasons in self._refused.items()}
        self._refused = {}
        if self._overflowed:
            refused["many"] = (
                f"{self._overflowed} starts dropped: {MAX_PENDING} are pending already"
            )
            self._overflowed = 0
        return refused

    def _announced(self, machine: str, data: dict[str, Any]) -> list[str]:
        if "grains" not in data:
            return []
        try:
            return [ip for ip, _, _ in inventory.from_grains(data["grains"]).addresses]
        except ValueError as error:
            self.refuse(machine, f"start event: {error}")
            return []

    def wait_s(self, now: float) -> float | None:
        """Return how long until the next job is due; None while nothing is pending."""
        return None if self._due is None else max(0.0, self._due - now)

    def take(
        self,
        now: float,
        accepted: Collection[str],
        known: Callable[[str], list[str]],
    ) -> Job | None:
        """Return the job that is due, or None.

        accepted
            Machines whose key is accepted. Addresses of others are not asked about.
        known
            Returns a machine's addresses from its cached grains. Grains arrive over a channel that
            proves the sender, an event does not: its addresses count only without cached grains.
        """
        if self._due is None or now < self._due:
            return None
        self._drop_unaccepted(accepted)
        due = [name for name in self._pending if self._due_at(name) <= now]
        machines: list[str] = []
        addresses: dict[str, None] = {}
        for machine in due:
            found = self._allowed(machine, known(machine) or self._pending[machine])
            if machines and len(addresses) + len(found) > self._most:
                break
            machines.append(machine)
            addresses.update(dict.fromkeys(found))
        claimed = {machine: self._pending.pop(machine) for machine in machines}
        self._asked_at.update(dict.fromkeys(machines, now))
        self._schedule(now)
        return Job(machines, list(addresses), claimed) if machines else None

    def put_back(self, job: Job, now: float) -> None:
        """Remember again what a job was for that could not be sent."""
        for machine in job.machines:
            self._asked_at.pop(machine, None)
            if machine not in self._pending:
                self.add(machine, job.claimed[machine], now)

    def postpone(self, until: float) -> None:
        """Have no job before this time: all machines wait, those that start meanwhile too."""
        self._due = max(until, self._due or until)

    def _drop_unaccepted(self, accepted: Collection[str]) -> None:
        for machine in [name for name in self._pending if name not in accepted]:
            del self._pending[machine]
            self.refuse(machine, "its key is not accepted")

    def _allowed(self, machine: str, found: list[str]) -> list[str]:
        """Return the addresses that may be asked about."""
        unique = list(dict.fromkeys(found))
        allowed = [ip for ip in unique if self._is_allowed(ip)]
        if unique and not allowed:  # a container's own network beside the real one is usual
            self.refuse(machine, f"none of its {len(unique)} addresses is in `networks`")
        if len(allowed) > MAX_ADDRESSES_EACH:
            self.refuse(
                machine, f"{len(allowed)} addresses: only {MAX_ADDRESSES_EACH} are asked about"
            )
        return allowed[:MAX_ADDRESSES_EACH]

    def _is_allowed(self, ip: str) -> bool:
        return not self._networks or inventory.is_inside(ip, self._networks)

    def _due_at(self, machine: str) -> float:
        last = self._asked_at.get(machine)
        return float("-inf") if last is None else last + self._again_s

    def _schedule(self, now: float) -> None:
        """Set when the next job is due, and forget machines that may be asked about again."""
        self._asked_at = {
            name: at for name, at in self._asked_at.items() if at + self._again_s > now
        }
        self._due = None
        if self._pending:
            due_at = min(self._due_at(name) for name in self._pending)
            self._due = max(now + self._window_s, due_at)


class UnsureJobs:
    """Jobs of which the master did not say that they were sent. A busy one may send them later.

    So before a job is sent again its id is looked up in the job cache; and each failure doubles the
    wait, since a storm of starts must not become a storm of jobs.
    """

    def __init__(self) -> None:
        self._jobs: list[tuple[float, str, Job]] = []  # when to look, jid, job
        self._failures = 0

    def add(self, jid: str, job: Job, now: float) -> float:
        """Keep a job whose sending failed; return in how many seconds it is looked up."""
        wait_s = self.back_off()
        self._jobs.append((now + wait_s, jid, job))
        return wait_s

    def put_back(self, jobs: list[tuple[str, Job]], now: float) -> None:
        """Keep jobs that were due and could not be looked up, for another time."""
        if jobs:
            wait_s = self.back_off()
            self._jobs += [(now + wait_s, jid, job) for jid, job in jobs]

    def back_off(self) -> float:
        """Return how long to wait after one more job that was not sent."""
        wait_s = min(MAX_RETRY_S, RETRY_S * 2 ** min(self._failures, MAX_DOUBLINGS))
        self._failures += 1
        return wait_s

    def sent(self) -> None:
        """Note that a job could be sent: the master is not too busy any more."""
        self._failures = 0

    def take_due(self, now: float) -> list[tuple[str, Job]]:
        """Return the jobs that are to be looked up now, once."""
        due = [(jid, job) for at, jid, job in self._jobs if at <= now]
        self._jobs = [each for each in self._jobs if each[0] > now]
        return due

    def __len__(self) -> int:
        """Return how many machines wait in these jobs."""
        return sum(len(job.machines) for _, _, job in self._jobs)


class _SentJob:
    def __init__(self, minions: Iterable[str], now: float) -> None:
        self.minions, self.sent, self.next_read = frozenset(minions), now, now
        self.missing = set(self.minions)
        self.conflict_finder = returns.ConflictFinder()
        self.conflicts: set[str] = set()  # minions with two different returns
        self.is_announced = False  # an event says that there is an answer


class SentJobs:
    """Jobs whose answers are awaited, and the minions that have not answered.

    An event only announces an answer, since any minion can send one in another's name. The answer
    itself is read from the job cache; where the two differ, one of them was forged.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, _SentJob] = {}
        self._conflicts: dict[str, set[str]] = {}  # jid to minions, to be reported

    def add(self, jid: str, minions: Iterable[str], now: float) -> None:
        """Await the answers to a job; past the bound the oldest job is dropped."""
        if jid:
            self._jobs[jid] = _SentJob(minions, now)
            if len(self._jobs) > MAX_JOBS:
                del self._jobs[next(iter(self._jobs))]

    def is_full(self) -> bool:
        """Tell whether the databases have enough to do: a storm of starts must not pile up there.

        One that is down holds nobody up; where most are, each job waits for ANSWER_TIMEOUT_S.
        """
        running = sum(2 * len(job.missing) > len(job.minions) for job in self._jobs.values())
        return running >= MAX_RUNNING

    def on_return_event(self, tag: str, data: Any) -> None:
        """Note that there may be an answer to one of our jobs, and what the event says it is."""
        parts = tag.split("/", 4)  # salt/job/JID/ret/MINION
        if len(parts) < 5 or parts[2] not in self._jobs:
            return
        jid, minion, job = parts[2], parts[4], self._jobs[parts[2]]
        job.is_announced = True
        is_answer = minion in job.minions and isinstance(data, dict) and "return" in data
        if is_answer and job.conflict_finder.is_conflict_on_bus(minion, data["return"]):
            self._note_conflict(jid, minion)

    def take_conflicts(self) -> dict[str, list[str]]:
        """Return jid to the minions with two different returns under their name, once."""
        conflicts, self._conflicts = self._conflicts, {}
        return {jid: sorted(minions) for jid, minions in conflicts.items()}

    def _note_conflict(self, jid: str, minion: str) -> None:
        job = self._jobs[jid]
        if minion not in job.conflicts:
            job.conflicts.add(minion)
            self._conflicts.setdefault(jid, set()).add(minion)

    def take_answers(self, now: float, cached: Callable[[str], dict[str, Any]]) -> list[Row]:
        """Return the counts in the answers that have come, each once.

        cached
            Returns a job's returns in the job cache, by minion.
        """
        answers = []
        for jid, job in self._jobs.items():
            is_last = now > job.sent + ANSWER_TIMEOUT_S
            if job.missing and ((job.is_announced and now >= job.next_read) or is_last):
                returned = cached(jid)
                come = sorted(job.missing & set(returned))
                job.missing -= set(come)
                # the event comes before the job cache is written: then once more, and later
                job.next_read, job.is_announced = now + READ_EVERY_S, not come
                answers += [_counts(jid, minion, returned[minion]) for minion in come]
                for minion in come:
                    if job.conflict_finder.is_conflict_in_cache(minion, returned[minion]):
                        self._note_conflict(jid, minion)
        return answers

    def take_silent(self, now: float) -> dict[str, list[str]]:
        """Return jid to the minions that did not answer in time, once."""
        late = [jid for jid, job in self._jobs.items() if now > job.sent + ANSWER_TIMEOUT_S]
        silent = {jid: sorted(self._jobs.pop(jid).missing) for jid in late}
        return {jid: minions for jid, minions in silent.items() if minions}


def _counts(jid: str, minion: str, returned: Any) -> Row:
    """Return how many entries an answer of arp.revalidate lists as healed, gone and duplicate."""
    if not isinstance(returned, dict):
        return {"jid": jid, "minion": minion, "failed": str(returned)[:300]}
    lists = {key: returned.get(key) for key in ("healed", "gone", "duplicates")}
    counts = {key: len(rows) for key, rows in lists.items() if isinstance(rows, list)}
    return {"jid": jid, "minion": minion, **counts}
