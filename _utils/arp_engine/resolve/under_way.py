"""Whether a run or a diagnosis asks on this host now: a change of an entry may be its doing.

Each says so by an abstract socket address for as long as it lasts, its look backs included: each
network namespace has its own, and the kernel frees it however its holder ends.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from ..netlink import rtnetlink

PLACES = tuple(f"arp_hygiene asks {number}" for number in range(4))
MAX_AGE_S = 0.25  # a look costs four sockets, and there may be 100,000 changes a second


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Say so while the block runs; of more than four at once, four do."""
    with contextlib.ExitStack() as stack:
        any(stack.enter_context(rtnetlink.lock(place)) for place in PLACES)
        yield


class UnderWay:
    """Tells whether another process asks, as of a moment ago."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._looked_at, self._is_told = clock, float("-inf"), False

    def is_told(self) -> bool:
        """Tell whether one does."""
        now = self._clock()
        if now > self._looked_at + MAX_AGE_S:
            self._looked_at, self._is_told = now, any(map(_is_taken, PLACES))
        return self._is_told


def _is_taken(place: str) -> bool:
    with rtnetlink.lock(place) as is_ours:
        return not is_ours
