"""How many frames may be sent now: the rate, and how many may be unanswered (in_flight.py).

Of both a part is kept for urgent frames, which a client waits for, and of the burst a part for
others than late ones. It is told the time and never looks at a clock.
"""

from collections.abc import Hashable

from . import in_flight, rate_limit


class Room:
    """The frames that may be sent."""

    def __init__(self, rate: float, burst: int, has_urgent: bool) -> None:
        """Take frames a second, how many may go at once, and whether some may be urgent."""
        self._bucket = rate_limit.TokenBucket(rate, burst)
        self._in_flight = in_flight.InFlight(in_flight.default_limit())
        self._kept = self._bucket.burst // 4  # for others than late frames
        self._reserved_frames = self._bucket.burst // 8 if has_urgent else 0
        self._reserved_places = self._in_flight.limit // 4 if has_urgent else 0

    def left(self, now: float, is_urgent: bool) -> int:
        """Return how many frames may be sent now."""
        frames, places = self._bucket.available(now), self._in_flight.room(now)
        if is_urgent:
            return min(frames, places)
        return min(frames - self._reserved_frames, places - self._reserved_places)

    def late_left(self, now: float) -> int:
        """Return how many late frames may be sent now."""
        return min(self.left(now, False), self._bucket.available(now) - self._kept)

    def due(self, now: float, is_urgent: bool) -> float:
        """Return when one more frame may be sent."""
        if is_urgent:
            return max(self._bucket.due(now), self._in_flight.due(now))
        return max(
            self._bucket.due(now, self._reserved_frames),
            self._in_flight.due(now, self._reserved_places),
        )

    def late_due(self, now: float) -> float:
        """Return when one more late frame may be sent."""
        return max(self._bucket.due(now, self._kept), self.due(now, False))

    def spend(self, count: int, now: float) -> None:
        """Write down that some frames were sent."""
        self._bucket.spend(count, now)

    def sent(self, key: Hashable, now: float) -> None:
        """Write down a frame that may be answered any moment."""
        self._in_flight.sent(key, now)

    def answered(self, key: Hashable) -> None:
        """Write down that nothing more is to come of a key's frames."""
        self._in_flight.answered(key)
