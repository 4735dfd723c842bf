"""Connections that get no answer: seen by counters first, by a look at the sockets when one moved.

A look costs what the number of sockets costs (see netlink/sock_diag.py), so the next one is not
sooner than fifty times as long as the last one took: two per cent of a core at the very most, and
nothing while nobody retransmits.
"""

import time
from collections.abc import Callable, Iterator

from ..netlink import sock_diag

TICK_S = 0.2  # from one reading of the counters to the next: 0.1 ms each
REST = 50  # times as long as a look took
SETTLE_S = 10.0  # a peer that the wire has just confirmed retransmits for another reason


class Symptoms:
    """Peers whose connections wait for an answer."""

    def __init__(
        self, sockets: sock_diag.Sockets | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the kernel's list of sockets; without it no symptom is ever seen."""
        self._sockets, self._clock = sockets, clock
        self._counters = sock_diag.counters() if sockets else None
        self._tick, self._look = clock(), float("-inf")  # not before
        self._moved = True  # what was stuck before we came is seen too

    def next_due(self) -> float:
        """Return when ``step`` is due."""
        if not self._sockets:
            return float("inf")
        return max(self._tick, self._look) if self._moved else self._tick

    def step(self) -> Iterator[sock_diag.TcpSocket]:
        """Yield the sockets that wait for an answer, where there may be new ones."""
        now = self._clock()
        if not self._sockets or now < self._tick:
            return
        self._tick = now + TICK_S
        counters = sock_diag.counters()
        self._moved |= counters != self._counters
        self._counters = counters
        if not self._moved or now < self._look:
            return
        self._moved = False
        found = self._sockets.stuck()
        after = self._clock()
        self._look = after + REST * (after - now)
        yield from (each for each in found if each.retransmits)
