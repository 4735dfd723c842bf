"""How many questions may be unanswered at a time.

Questions sent at once are answered at once, and the answers meet in one receive backlog: 4,000 of
them overflowed the default of 1,000 and lost 166 to 341 living hosts; a host may have set 200. So
no more are unanswered than half of what it holds; the other half is for other traffic.
"""

from collections import deque
from collections.abc import Hashable
from pathlib import Path

BACKLOG = Path("/proc/sys/net/core/netdev_max_backlog")
MAX_LIMIT = 500  # a peer's backlog may be smaller than ours
UNKNOWN_BACKLOG_LIMIT = 128  # the backlog is shown in the first network namespace only
ANSWER_WINDOW_S = 0.02  # a later answer comes alone, not in the burst of the others


def default_limit(backlog: Path = BACKLOG) -> int:
    """Return how many questions may be unanswered at a time on this host."""
    try:
        return max(1, min(MAX_LIMIT, int(backlog.read_text(encoding="ascii")) // 2))
    except (OSError, ValueError):
        return UNKNOWN_BACKLOG_LIMIT


class InFlight:
    """What is sent and may be answered any moment: no more than ``limit`` at a time."""

    def __init__(self, limit: int):
        self.limit = limit
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
        while self._sent and self._sent[0][0] + ANSWER_WINDOW_S <= now:
            _then, key, unanswered = self._sent.popleft()
            if unanswered[0]:
                self._count -= 1
                unanswered[0] -= 1
                if not unanswered[0]:
                    del self._unanswered[key]
        return self.limit - self._count

    def due(self, now: float, kept: int = 0) -> float:
        """Return when one may go and ``kept`` are left for others, or it is worth to look again."""
        return now if self.room(now) > kept else self._sent[0][0] + ANSWER_WINDOW_S
