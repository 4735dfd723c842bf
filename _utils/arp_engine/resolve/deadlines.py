"""What is due when. It is told the time and never looks at a clock."""

import heapq
import itertools
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Any


class Deadlines:
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
