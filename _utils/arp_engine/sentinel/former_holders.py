"""Who had an entry before a probe of ours moved it: asked again before the heal is told.

The kernel takes the first answer to a broadcast, whoever gives it. So a heal is told only after its
former holder has stayed silent for ten seconds (resolve/look_back.py). One that answers has its
entry back, from the kernel.

Pure: told the time, opens nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

from ..netlink.codec import Entry, Key
from ..packets.probe_schedule import Schedule
from ..resolve import look_back
from ..resolve.ask import ProbeResult, Question
from .neighbour_cache import mac_of


class Heal(NamedTuple):
    """An entry that a probe of ours moved; told when its former holder has stayed silent."""

    old: bytes  # MAC
    new: bytes
    reason: str
    is_deleted: bool = False  # by us, within locktime
    is_learnt: bool = True  # the kernel has put another MAC into the entry
    has_failed: bool = False  # after the deletion it was there, and without another MAC


class FormerHolders:
    """Looks back at former holders."""

    def __init__(self, locktime_s: Callable[[Key], float]) -> None:
        """Take a lookup: for how long the kernel takes no other MAC after a change of an entry."""
        self._locktime_s = locktime_s
        self._backs = look_back.LookBacks()
        self._heals: dict[Key, Heal] = {}

    def __contains__(self, key: Key) -> bool:
        """Tell whether the former holder of an entry is being asked."""
        return key in self._backs

    def __len__(self) -> int:
        return len(self._backs)

    def begin(self, key: Key, heal: Heal, now: float) -> None:
        """Begin to look back; a second change replaces the first, not its former holder."""
        first = self._heals.get(key)
        if first:
            heal = heal._replace(old=first.old, reason=first.reason, is_deleted=first.is_deleted)
        self._heals[key] = heal
        change = look_back.Change(key, heal.old, heal.new, now)
        self._backs.begin(change, self._locktime_s(key))

    def end(self, key: Key) -> Heal:
        """Stop looking back; return what was healed until now."""
        self._backs.end(key)
        return self._heals.pop(key)

    def end_all(self) -> list[tuple[Key, Heal]]:
        """Stop looking back; return all that was healed until now."""
        return [(key, self.end(key)) for key in list(self._heals)]

    def of(self, key: Key) -> bytes:
        """Return the MAC of a former holder that is being asked; empty for none."""
        return self._heals[key].old if key in self._heals else b""

    def next_due(self) -> float:
        """Return when ``questions`` has the next one."""
        return self._backs.next_due()

    def questions(self, now: float, most: int) -> list[tuple[Question, Schedule]]:
        """Return the questions that are due, each to a former holder alone."""
        return self._backs.questions(now, most)

    def postpone(self, key: Key, now: float) -> None:
        """Ask a little later: the address is being asked about for another reason."""
        self._backs.postpone(key, now)

    def hurry(self, key: Key, now: float) -> None:
        """Ask a former holder at once: it has spoken."""
        self._backs.postpone(key, now - look_back.RETRY_S)

    def decide(self, key: Key, result: ProbeResult, entry: Entry | None, now: float) -> str:
        """Take one result; return ``returned``, ``silent``, or nothing while it is open.

        ``not learnt``: silent, but the kernel has not put another MAC into the deleted entry.
        """
        cached, heal = mac_of(entry), self._heals[key]
        if entry and not heal.is_learnt:
            is_learnt = cached not in (b"", heal.old)
            new = cached if is_learnt else heal.new
            heal = heal._replace(new=new, is_learnt=is_learnt, has_failed=not is_learnt)
            self._heals[key] = heal
        outcome = self._backs.decide(key, result, cached, now)
        if outcome == "silent" and heal.has_failed:
            return "not learnt"
        if not outcome and self.of(key) in result.answers:  # within locktime
            self._backs.postpone(key, now)
        return outcome
