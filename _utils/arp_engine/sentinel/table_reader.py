"""Reads the whole table: at the start, after lost notifications, and periodically; in slices.

100,000 entries take some 0.3 s. A slice takes some milliseconds, and between two of them the loop
goes on, so that no newcomer waits for the table. A dump is no snapshot anyway: what the kernel
announces meanwhile wins (neighbour_cache.py), and an entry that the dump has not shown is requested
alone before it is forgotten.
"""

import time
from collections.abc import Callable, Collection, Iterator

from ..netlink import codec, rtnetlink, table_dump
from ..netlink.model import Timers
from ..table import selectors, view
from . import limits, neighbour_cache, suspects

SLICE_S = 0.004  # of CPU time
RESYNC_S = 30.0  # from one reading to the next ...
RESYNC_REST = 100  # ... or so many times the CPU time of the last one, where that is more
LOSS_REST = 4  # the same after lost notifications
BATCH = 500  # entries requested at once


class TableReader:
    """Reads the table into the cache, where that is due."""

    def __init__(
        self,
        channel: rtnetlink.Channel,
        families: Collection[int],
        chosen: selectors.Selectors,
        cache: neighbour_cache.NeighbourCache,
        room: limits.Limits,
        on_change: Callable[[neighbour_cache.Change], None],
        on_suspect: Callable[[codec.Key], None],
    ) -> None:
        """Take a channel of its own: others ask the kernel while a dump is under way.

        on_change: called with each entry that has another MAC; on_suspect: with each that
        upper-layer confirmation seems to keep.
        """
        self.due = float("-inf")
        self._channel, self._families, self._chosen = channel, families, chosen
        self._cache, self._room, self._suspects = cache, room, suspects.Suspects()
        self._on_change, self._on_suspect = on_change, on_suspect
        self._table = view.TableView(channel, chosen)
        self._slices: Iterator[None] | None = None  # of the reading under way
        self._began = float("-inf")
        self._cost_s = 0.0  # CPU time of the last one
        self._is_outdated = False  # notifications were lost since it began

    def timers(self, key: codec.Key) -> Timers:
        """Return the timers of an entry's device, as the last reading found them."""
        return self._table.timers(codec.family_of(key[1]), key[0])

    def on_loss(self) -> None:
        """Take that notifications were lost: the table is read anew, at a pace."""
        self._is_outdated = True
        if not self._slices:
            self.due = self._began + LOSS_REST * self._cost_s

    def read(self, now: float) -> None:
        """Read a slice, if one is due; the first time the whole table."""
        if now < self.due:
            return
        is_first = self._began == float("-inf")
        if not self._slices:
            self._table = view.TableView(self._channel, self._chosen)
            self._slices = self._read(now)
            self._began, self._cost_s, self._is_outdated = now, 0.0, False
        began = time.thread_time()
        for _slice in self._slices:
            if not is_first and time.thread_time() > began + SLICE_S:
                break
        else:
            self._slices = None
        self._cost_s += time.thread_time() - began
        if not self._slices:
            rest_s = LOSS_REST * self._cost_s
            if not self._is_outdated:
                rest_s = max(RESYNC_S, RESYNC_REST * self._cost_s)
            self.due = now + rest_s

    def _read(self, now: float) -> Iterator[None]:
        """Read the whole table, and yield after each slice."""
        self._cache.begin_reading()
        self._suspects.begin()
        for _read in self._table.until_complete():
            self._room.begin()
            for family in self._families:
                for block in table_dump.read(self._channel.neighbours(family)):
                    self._take(family, [*block.entries()], now)
                    yield
        unread = self._cache.unread()
        for at in range(0, len(unread), BATCH):
            found = self._table.read_again(unread[at : at + BATCH]).values()
            self._merge([entry for entry in found if entry])
            yield
        self._cache.end_reading()
        self._suspects.end()
        self._room.check(now)

    def _take(self, family: int, entries: list[codec.Entry], now: float) -> None:
        self._merge(entries)
        self._room.take(family, entries)
        for key in self._suspects.take(self._table, entries, now):
            self._on_suspect(key)

    def _merge(self, entries: list[codec.Entry]) -> None:
        for change in self._cache.merge(entries):
            self._on_change(change)
