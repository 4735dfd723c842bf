"""Entries that upper-layer confirmation keeps REACHABLE: doubted now and again, without traffic."""

from ..netlink import codec
from ..netlink.constants import REACHABLE
from ..table import ownership, view

SUSPECT_S = 300.0  # from one probe of such an entry to the next


class Suspects:
    """When each of them is doubted next."""

    def __init__(self) -> None:
        self._due: dict[codec.Key, float] = {}

    def take(
        self, table: view.TableView, entries: dict[codec.Key, codec.Entry], now: float
    ) -> list[codec.Key]:
        """Take the whole table; return the entries to doubt now."""
        before, self._due = self._due, {}
        found = []
        for key, entry in entries.items():
            if entry.state != REACHABLE:
                continue
            base_s = table.timers(codec.family_of(entry.dst), entry.ifindex).base_reachable_s
            if ownership.is_suspect(entry.state, entry.confirmed, entry.updated, base_s):
                self._due[key] = before.get(key, now)
                if self._due[key] <= now:
                    self._due[key] = now + SUSPECT_S
                    found.append(key)
        return found
