"""How fast questions go out: a token bucket.

It is told the time and never looks at a clock, so it needs neither kernel nor patience to test.
"""

import sys

BURST_S = 0.02  # what may go within this time may go at once: each waking costs CPU


class TokenBucket:
    """So many a second, after a pause a few at once: a token bucket. Rate 0 is no limit."""

    def __init__(self, rate: float, burst: int = 0):
        """Take frames a second, and how many may go at once (default: a slice's worth)."""
        self.rate, self.burst = rate, burst or max(1, int(rate * BURST_S))
        self._empty_at = float("-inf")  # when the bucket was, or will be, empty

    def available(self, now: float) -> int:
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

    def due(self, now: float, kept: int = 0) -> float:
        """Return when one may go and ``kept`` are left for others; ``now`` where it may already."""
        is_due = self.available(now) > min(kept, self.burst - 1)
        return now if is_due else self._empty_at + (kept + 1) / self.rate
