"""Which question sends its next frame: an urgent one, then first frames, then late ones.

An *urgent* question (packets/probe_schedule.py: URGENT) waits for no other one. Of all others the
first three frames go before anybody's fourth. It is told the time and never looks at a clock.
"""

from collections import deque
from typing import Generic, Protocol, TypeVar

from ..packets.probe_schedule import URGENT, Schedule
from . import deadlines

LATE = 3  # frames from this one on (the first is 0) wait for the first ones of all questions


class Asked(Protocol):
    """A question with its schedule."""

    schedule: Schedule
    step: int  # of the schedule: the next frame


Probe = TypeVar("Probe", bound=Asked)


class SendQueue(Generic[Probe]):
    """The questions whose next frame is due, or will be."""

    def __init__(self) -> None:
        # by whether they are urgent: those without a first frame, and their second and third ones
        self._unsent: dict[bool, deque[Probe]] = {True: deque(), False: deque()}
        self._next = {True: deadlines.Deadlines(), False: deadlines.Deadlines()}
        self._late = deadlines.Deadlines()

    def put(self, probe: Probe, first: bool = False) -> None:
        """Add a question without a frame; ``first``: before the others that are as urgent."""
        unsent = self._unsent[probe.schedule is URGENT]
        if first:
            unsent.appendleft(probe)
        else:
            unsent.append(probe)

    def set(self, due: float, schedule: Schedule, step: int, probes: list[Probe]) -> None:
        """Set when the frame of this step follows, for questions that share a schedule."""
        # after its last unicast frame a question is no late one: a silence gets stale
        is_late = step >= LATE and not schedule.is_unicast(step - 1)
        frames = self._late if is_late else self._next[schedule is URGENT]
        frames.set(due, probes)

    def put_back(self, now: float, probes: list[Probe]) -> None:
        """Let the next frames of some questions be due: they could not be sent."""
        for probe in probes:
            self.set(now, probe.schedule, probe.step, [probe])

    def drop(self, probe: Probe) -> None:
        """Forget the frames of a question that follow its first one."""
        self._next[probe.schedule is URGENT].clear(probe)
        self._late.clear(probe)

    def remove(self, probe: Probe) -> None:
        """Remove a question that may wait for its first frame: this takes long among many."""
        unsent = self._unsent[probe.schedule is URGENT]
        if probe in unsent:
            unsent.remove(probe)

    def unsent(self, is_urgent: bool) -> int:
        """Return how many questions wait for their first frame."""
        return len(self._unsent[is_urgent])

    def due(self, now: float, is_urgent: bool) -> float:
        """Return when ``pop`` may have something."""
        return now if self._unsent[is_urgent] else self._next[is_urgent].due()

    def late_due(self) -> float:
        """Return when ``pop_late`` may have something."""
        return self._late.due()

    def pop(self, now: float, most: int, is_urgent: bool) -> list[Probe]:
        """Return questions whose first three frames are due, at most so many."""
        most = max(most, 0)
        due = self._next[is_urgent].pop(now, most)
        unsent = self._unsent[is_urgent]
        return due + [unsent.popleft() for _ in range(min(most - len(due), len(unsent)))]

    def pop_late(self, now: float, most: int) -> list[Probe]:
        """Return questions whose late frames are due, if nobody waits for a first one."""
        return [] if any(self._unsent.values()) else self._late.pop(now, max(most, 0))
