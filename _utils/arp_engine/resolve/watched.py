"""Entries that a slower host may still take by its answer to a broadcast of ours, in one run.

Those of a holder that has answered the broadcast itself; those that several hosts answer for; and
those that another host got from a proxy, whose own answer may come last: Linux gives it up to 0.8 s
later, and the kernel takes it where no ``locktime`` keeps it off (IPv6, or 0). All are read again
until no late answer can come (resolve/late_answers.py).
"""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from ..netlink import codec
from ..table import view
from . import late_answers, proxied
from .changes import Changed, Changes
from .report import Report


class Moved(NamedTuple):
    """An entry that a late answer has taken from its holder."""

    entry: codec.Entry  # as it is now
    contested: Changed | None  # it was before: others had answered in time


class Watched:
    """The entries of one run that are read until no late answer can come."""

    def __init__(self, table: view.TableView, changes: Changes) -> None:
        self.confirmed: dict[codec.Key, codec.Entry] = {}  # the cached MAC alone has answered
        self._table, self._changes = table, changes
        self._contested: dict[codec.Key, Changed] = {}  # the holder has it, another one answered
        self._from_proxy: dict[codec.Key, Changed] = {}
        self._unchecked: dict[codec.Key, str] = {}  # of the confirmed ones; who, and why
        self._late = late_answers.LateAnswers()

    def __len__(self) -> int:
        """Return how many are still read."""
        return len(self._late)

    def next_due(self) -> float:
        """Return when ``read`` has the next one."""
        return self._late.next_due()

    def confirm(self, entry: codec.Entry, is_broadcast: bool, now: float) -> None:
        """Add an entry whose cached MAC alone has answered; read it where everybody was asked."""
        self.confirmed[entry.key] = entry
        if is_broadcast:
            self._late.begin(entry.key, now)

    def take_proxied(
        self, asked: Collection[codec.Entry], rate: float, is_stopped: Callable[[], bool]
    ) -> dict[codec.Key, codec.Entry]:
        """Return the confirmed entries whose MAC is a proxy's; they are confirmed no more.

        Nor is one whose host could not be checked. It is told as that; where the run is stopped,
        it has no outcome.
        """
        if not self.confirmed:
            return {}
        entries = [*self.confirmed.values()]
        proxied_, unchecked = proxied.among(self._table, entries, asked, rate, is_stopped)
        if is_stopped():
            for key in unchecked:
                del self.confirmed[key]
        else:
            self._unchecked = unchecked
        return {key: self.confirmed.pop(key) for key in proxied_}

    def contest(self, key: codec.Key, changed: Changed, now: float) -> None:
        """Watch an entry of its holder that another host answered for: it may do so again."""
        self._contested[key] = changed
        self._late.begin(key, now)

    def watch_from_proxy(self, key: codec.Key, changed: Changed, now: float) -> None:
        """Watch an entry that another host has got from a proxy, which may answer yet."""
        self._from_proxy[key] = changed._replace(is_from_proxy=True)
        self._late.begin(key, now)

    def read(self, now: float, most: int) -> Iterator[tuple[codec.Key, Moved]]:
        """Read those that are due; yield those of a holder that others have taken."""
        known = self.confirmed, self._contested, self._from_proxy
        keys = [key for key in self._late.pop(now, most) if any(key in each for each in known)]
        table_now = self._table.read_again(keys) if keys else {}
        for key in keys:
            current = table_now.get(key)
            if key in self._from_proxy:
                self._read_from_proxy(key, current)
            elif current and current.mac not in (b"", self._mac(key)):
                self._late.end(key)
                self.confirmed.pop(key, None)
                yield key, Moved(current, self._contested.pop(key, None))

    def _mac(self, key: codec.Key) -> bytes:
        contested = self._contested.get(key)
        return (contested.entry if contested else self.confirmed[key]).mac

    def _read_from_proxy(self, key: codec.Key, current: codec.Entry | None) -> None:
        """Note who has an entry that was a proxy's, and pass it on once no answer can come."""
        changed = self._from_proxy[key]
        held = current.mac if current and not self._table.is_owned(current) else b""
        if held not in (b"", changed.taken):
            changed = changed._replace(macs=tuple(dict.fromkeys((*changed.macs, held))))
        if key in self._late:
            self._from_proxy[key] = changed
            return
        del self._from_proxy[key]
        macs = dict.fromkeys((*changed.macs, changed.taken))
        is_alone = {*macs} - {changed.entry.mac} == {changed.taken}
        if not held or (held == changed.taken and is_alone):
            self._changes.add_silent(changed)  # also where it is gone, or has an owner
        else:
            self._changes.add_contested(changed._replace(taken=held, macs=tuple(macs)))

    def tell(self, report: Report) -> None:
        """Report those whose cached MAC alone has answered; pass on those of several hosts."""
        for key, entry in self.confirmed.items():
            if key in self._unchecked:
                self._changes.tell_unchecked(entry, self._unchecked[key])
            else:
                report.count(entry, "confirmed")
        for changed in self._contested.values():
            self._changes.add_contested(changed)
