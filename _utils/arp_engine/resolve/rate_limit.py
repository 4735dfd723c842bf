"""How fast questions go out: so many a second, and never more at once than can be answered.

All are told the time and never look at a clock, so they need neither kernel nor patience to test.
"""

import heapq
import itertools
import sys
from collections import deque
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

SLICE_S = 0.02  # what may go within this time may go at once: each waking costs CPU
# An answer that takes longer than this comes alone, and not in the burst of the others.
YOUNG_S = 0.02
# Questions sent at once are answered at once, and the answers meet in one receiving backlog: 4000
# of them overflowed the default of 1000 and lost 166 to 341 living hosts; a host may have set 200.
# So no more are unanswered than half of what it holds; the other half is for other people's frames.
BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")
MOST = 500  # at most: a peer may hold less than we do
UNKNOWN = 128  # where it is not shown (any namespace but the first): half of a rather small one


def most_at_once(backlog: Path = BACKLOG) -> int:
    """Return how many questions may be unanswered at a time."""
    try:
        return max(1, min(MOST, int(backlog.read_text(encoding="ascii")) // 2))
    except (OSError, ValueError):
        return UNKNOWN


class Pace:
    """So many a second, after a pause a few at once: a token bucket. Rate 0 is no limit."""

    def __init__(self, rate: float, burst: int = 0):
        """Take frames a second, and how many may go at once (default: a slice's worth)."""
        self.rate, self.burst = rate, burst or max(1, int(rate * SLICE_S))
        self._empty_at = float("-inf")  # when the bucket was, or will be, empty

    def may(self, now: float) -> int:
        """Return how many may go now."""
        if not self.rate:
            return sys.maxsize
        if now <= self._empty_at:
            return 0
        # a hair more, or a clock's rounding would make ten times a tenth nothing
        return int(min(self.burst, (now - self._empty_at) * self.rate + 1e-6))

    def spend(self, count: int, now: float) -> None:
        """Write down that some went."""
        if self.rate:
            full_since = now - self.burst / self.rate
            self._empty_at = max(self._empty_at, full_since) + count / self.rate

    def due(self, now: float) -> float:
        """Return when the next may go; ``now`` where it may already."""
        return now if self.may(now) else self._empty_at + 1 / self.rate


class Flight:
    """What is sent and may be answered any moment: no more than ``most`` at a time."""

    def __init__(self, most: int):
        self.most = most
        # each question: when, of which key, and how many of that key's are unanswered with it
        self._sent: deque[tuple[float, Hashable, list[int]]] = deque()  # oldest first
        self._unanswered: dict[Hashable, list[int]] = {}
        self._count = 0

    def sent(self, key: Hashable, now: float) -> None:
        """Write down one question."""
        unanswered = self._unanswered.setdefault(key, [0])
        unanswered[0] += 1
        self._sent.append((now, key, unanswered))
        self._count += 1

    def answered(self, key: Hashable) -> None:
        """Write down that nothing more is to come of a key's questions."""
        unanswered = self._unanswered.pop(key, None)
        if unanswered:
            self._count -= unanswered[0]
            unanswered[0] = 0

    def room(self, now: float) -> int:
        """Return how many more may go now."""
        while self._sent and self._sent[0][0] + YOUNG_S <= now:
            _then, key, unanswered = self._sent.popleft()
            if unanswered[0]:
                self._count -= 1
                unanswered[0] -= 1
                if not unanswered[0]:
                    del self._unanswered[key]
        return self.most - self._count

    def due(self, now: float) -> float:
        """Return when the next may go, if nothing is answered until then."""
        return now if self.room(now) > 0 else self._sent[0][0] + YOUNG_S


class Timers:
    """What is due when; each key has one time, or none. Keys that are set together cost little."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, deque[Hashable]]] = []
        self._valid: dict[Hashable, int] = {}  # key to the number of its last setting
        self._number = itertools.count()

    def set(self, due: float, keys: Iterable[Hashable]) -> None:
        """Set the time of some keys, whatever it was before."""
        number, waiting = next(self._number), deque(keys)
        self._valid.update(dict.fromkeys(waiting, number))
        heapq.heappush(self._heap, (due, number, waiting))

    def clear(self, key: Hashable) -> None:
        """Forget a key."""
        self._valid.pop(key, None)

    def due(self) -> float:
        """Return the earliest time."""
        while self._heap:
            due, number, waiting = self._heap[0]
            while waiting and self._valid.get(waiting[0]) != number:
                waiting.popleft()
            if waiting:
                return due
            heapq.heappop(self._heap)
        return float("inf")

    def pop(self, now: float, most: int) -> list[Any]:
        """Return the keys that are due, no more than ``most``, the first one first; forget them."""
        popped: list[Any] = []
        while len(popped) < most and self.due() <= now:
            _due, number, waiting = self._heap[0]
            while waiting and len(popped) < most:
                key = waiting.popleft()
                if self._valid.get(key) == number:
                    del self._valid[key]
                    popped.append(key)
        return popped
