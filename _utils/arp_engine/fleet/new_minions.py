"""Who has started and is still to be asked about: windows, and bounds. Pure; told the time.

Starts are merged: the first one opens a window, at its end there is one job. Of one machine the
last thing it said counts. A machine that starts again too soon is not forgotten, only later.
Standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from . import inventory
from .inventory import Network

MOST_WAITING = 100_000  # ids, accepted or not: who is not accepted is dropped at the window's end
MOST_EACH = 64  # addresses of one machine that are asked about
MOST_TOLD = 100  # machines complained of in one window
MOST_REASONS = 5  # of one machine
MOST_JOBS = 100  # whose answers are waited for
JOB_S = 60.0  # how long an answer is waited for


class Job(NamedTuple):
    """One job: the machines it is for, and what is asked about."""

    machines: list[str]
    addresses: list[str]
    claimed: dict[str, list[str]]  # what the machines' events said


class Newcomers:
    """Notes starts, hands out jobs."""

    def __init__(
        self, window_s: float, again_s: float, most: int, networks: Iterable[Network] = ()
    ) -> None:
        """Take the rules.

        window_s
            From the first start to the job that it is part of.
        again_s
            How long after a job for a machine there may be another one for it.
        most
            Addresses in one job. What is more waits for the next window.
        networks
            Where a claimed address may lie. None: anywhere.
        """
        self._window_s, self._again_s, self._most = window_s, again_s, most
        self._networks = list(networks)
        self._waiting: dict[str, list[str]] = {}  # machine to what it claimed with its last start
        self._asked_at: dict[str, float] = {}
        self._due: float | None = None
        self._refused: dict[str, list[str]] = {}  # machine to what was wrong with what it sent
        self._overflowed = 0

    def __len__(self) -> int:
        """Return how many machines wait."""
        return len(self._waiting)

    def started(self, tag: str, data: Any, now: float) -> None:
        """Note a start event. Of all that it holds, only ``id`` is the sender's own, if that."""
        machine = data.get("id") if isinstance(data, dict) else None
        if not isinstance(machine, str) or not 0 < len(machine) <= 255 or not machine.isprintable():
            self.refuse(f"tag {tag[:60]!r}", f"no machine's id: {str(machine)[:60]!r}", now)
            return
        if tag != f"salt/minion/{machine}/start":
            self.refuse(machine, f"sent a start event of somebody else: {tag[:80]!r}", now)
            return
        if machine not in self._waiting and len(self._waiting) >= MOST_WAITING:
            self._overflowed += 1
            return
        self.note(machine, self._claimed(machine, data), now)

    def note(self, machine: str, addresses: list[str], now: float) -> None:
        """Remember a machine until there was a job for it; who waits keeps his place."""
        self._waiting[machine] = addresses
        if self._due is None:
            self._due = now + self._window_s

    def refuse(self, machine: str, why: str, now: float | None = None) -> None:
        """Remember what is wrong with what somebody sent; it is told at the window's end."""
        if self._due is None and now is not None:
            self._due = now + self._window_s
        if machine in self._refused or len(self._refused) < MOST_TOLD:
            reasons = self._refused.setdefault(machine, [])
            if why not in reasons and len(reasons) < MOST_REASONS:
                reasons.append(why)

    def complaints(self) -> dict[str, str]:
        """Return who sent what is refused, and why; and forget it."""
        told = {machine: "; ".join(reasons) for machine, reasons in self._refused.items()}
        self._refused = {}
        if self._overflowed:
            told["many"] = f"{self._overflowed} starts were not noted: {MOST_WAITING} wait already"
            self._overflowed = 0
        return told

    def _claimed(self, machine: str, data: dict[str, Any]) -> list[str]:
        if "grains" not in data:
            return []
        try:
            return [ip for ip, _, _ in inventory.from_grains(data["grains"]).addresses]
        except ValueError as error:
            self.refuse(machine, f"its start event: {error}")
            return []

    def wait_s(self, now: float) -> float | None:
        """Return how long until there may be a job; None while nobody waits."""
        return None if self._due is None else max(0.0, self._due - now)

    def take(
        self,
        now: float,
        accepted: Collection[str],
        known: Callable[[str], list[str]],
    ) -> Job | None:
        """Return the job that is due, or None.

        accepted
            Machines whose key is accepted. Nobody else's address is asked about.
        known
            What the master itself remembers of a machine's addresses. It was told over a channel
            that proves who speaks, so it counts more than an event; where it is nothing, the event.
        """
        if self._due is None or now < self._due:
            return None
        self._drop_strangers(accepted)
        ripe = [name for name in self._waiting if self._ripe_at(name) <= now]
        machines: list[str] = []
        addresses: dict[str, None] = {}
        for machine in ripe:
            found = self._allowed(machine, known(machine) or self._waiting[machine])
            if machines and len(addresses) + len(found) > self._most:
                break
            machines.append(machine)
            addresses.update(dict.fromkeys(found))
        claimed = {machine: self._waiting.pop(machine) for machine in machines}
        self._asked_at.update(dict.fromkeys(machines, now))
        self._schedule(now)
        return Job(machines, list(addresses), claimed) if machines else None

    def put_back(self, job: Job, now: float) -> None:
        """Remember again what a job was for that could not be sent."""
        for machine in job.machines:
            self._asked_at.pop(machine, None)
            if machine not in self._waiting:
                self.note(machine, job.claimed[machine], now)

    def _drop_strangers(self, accepted: Collection[str]) -> None:
        for machine in [name for name in self._waiting if name not in accepted]:
            del self._waiting[machine]
            self.refuse(machine, "its key is not accepted")

    def _allowed(self, machine: str, found: list[str]) -> list[str]:
        """Return the addresses that may be asked about."""
        unique = list(dict.fromkeys(found))
        inside = [ip for ip in unique if self._is_allowed(ip)]
        if unique and not inside:  # a container's own network beside the real one is usual
            self.refuse(machine, f"none of its {len(unique)} addresses lies in the networks")
        if len(inside) > MOST_EACH:
            self.refuse(machine, f"{len(inside)} addresses; the first {MOST_EACH} are asked about")
        return inside[:MOST_EACH]

    def _is_allowed(self, ip: str) -> bool:
        return not self._networks or inventory.inside(ip, self._networks)

    def _ripe_at(self, machine: str) -> float:
        last = self._asked_at.get(machine)
        return float("-inf") if last is None else last + self._again_s

    def _schedule(self, now: float) -> None:
        """Say when the next job is due, and forget whom nothing holds back any longer."""
        self._asked_at = {
            name: at for name, at in self._asked_at.items() if at + self._again_s > now
        }
        self._due = None
        if self._waiting:
            ripe_at = min(self._ripe_at(name) for name in self._waiting)
            self._due = max(now + self._window_s, ripe_at)


class Jobs:
    """Which jobs are under way, and who has not answered."""

    def __init__(self) -> None:
        self._missing: dict[str, tuple[float, set[str]]] = {}  # jid to when, and whose answers

    def sent(self, jid: str, minions: Iterable[str], now: float) -> None:
        """Note a job; of too many the oldest is forgotten."""
        if jid:
            self._missing[jid] = now, set(minions)
            if len(self._missing) > MOST_JOBS:
                del self._missing[next(iter(self._missing))]

    def answered(self, tag: str, data: Any) -> dict[str, Any] | None:
        """Return what a database answered to one of our jobs, counts alone; None for others."""
        jid, minion = (data.get("jid"), data.get("id")) if isinstance(data, dict) else (None, None)
        texts = isinstance(jid, str) and isinstance(minion, str)
        if not texts or tag != f"salt/job/{jid}/ret/{minion}":
            return None
        _, missing = self._missing.get(jid, (0.0, set()))
        if minion not in missing:
            return None
        missing.discard(minion)
        told = data.get("return")
        if not isinstance(told, dict):
            return {"jid": jid, "minion": minion, "failed": str(told)[:300]}
        lists = {key: told.get(key) for key in ("healed", "gone", "duplicates")}
        counts = {key: len(rows) for key, rows in lists.items() if isinstance(rows, list)}
        return {"jid": jid, "minion": minion, **counts}

    def silent(self, now: float) -> dict[str, list[str]]:
        """Return jid to who did not answer in time; and forget it."""
        late = [jid for jid, (sent, _) in self._missing.items() if now > sent + JOB_S]
        told = {jid: sorted(self._missing.pop(jid)[1]) for jid in late}
        return {jid: minions for jid, minions in told.items() if minions}
