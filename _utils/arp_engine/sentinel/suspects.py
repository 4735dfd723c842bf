"""Entries that upper-layer confirmation keeps REACHABLE: doubted now and again, without traffic."""

from collections.abc import Iterable

from ..netlink import codec
from ..netlink.constants import REACHABLE
from ..table import ownership, view

SUSPECT_S = 300.0  # from one probe of such an entry to the next


class Suspects:
    """When each of them is doubted next."""

    def __init__(self) -> None:
        self._due: dict[codec.Key, float] = {}
        self._next_due: dict[codec.Key, float] = {}  # of what was read of the table so far

    def begin(self) -> None:
        """Begin to take the whole table: an entry that is no suspect any more is forgotten."""
        self._next_due = {}

    def take(
        self, table: view.TableView, entries: Iterable[codec.Entry], now: float
    ) -> list[codec.Key]:
        """Take a part of the table; return the entries to doubt now."""
        found = []
        for entry in entries:
            if entry.state != REACHABLE or entry.key in self._next_due:
                continue
            base_s = table.timers(codec.family_of(entry.dst), entry.ifindex).base_reachable_s
            if ownership.is_suspect(entry.state, entry.confirmed, entry.updated, base_s):
                due = self._due.get(entry.key, now)
                if due <= now:
                    due = now + SUSPECT_S
                    found.append(entry.key)
                self._next_due[entry.key] = due
        return found

    def end(self) -> None:
        """Take that this was the whole table."""
        self._due, self._next_due = self._next_due, {}
