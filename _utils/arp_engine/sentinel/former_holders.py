"""Who had an entry before a probe of ours moved it: asked again before the heal is told.

The kernel takes the first answer to a broadcast, whoever gives it. So a heal is told only after its
former holder has stayed silent for ten seconds (resolve/look_back.py). One that answers has its
entry back, from the kernel. An entry that is moved once more meanwhile has two former holders. One
that gets a former MAC again, though nobody with it has answered us, was perhaps written by another
program: that host alone is asked for ten seconds more, and is heard or silent.

Pure: told the time, opens nothing.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from ..netlink.codec import Entry, Key
from ..packets.probe_schedule import LOOK_BACK_EVERY_S, Schedule
from ..resolve import look_back
from ..resolve.question import ProbeResult, Question
from .neighbour_cache import mac_of

MAX_HANDOVER_S = 30.0  # later another start takes nothing up: who had the entry may be long gone
MAX_FORMERS = 2  # of one entry: each is asked once a second, and a question takes 0.4 s


class Heal(NamedTuple):
    """An entry that a probe of ours moved; told when its former holder has stayed silent."""

    old: bytes  # MAC
    new: bytes
    reason: str
    is_deleted: bool = False  # by us, within locktime
    is_learnt: bool = True  # the kernel has put another MAC into the entry
    is_told: bool = False  # as a change, when it happened
    is_written: bool = False  # the entry has got the former MAC again, unasked; told, too
    is_given_back: bool = False  # the former holder is owed its entry: that was told
    is_successor: bool = False  # ... or, while the holder before is silent, its living successor
    has_failed: bool = False  # after the deletion it was there, and without another MAC
    at: float = 0.0  # when it moved, or was deleted

    @property
    def is_news(self) -> bool:
        """Tell whether what the look back comes to is to be told."""
        return self.is_written or not self.is_told


def owed(holder: bytes, taken: bytes, is_successor: bool = False) -> Heal:
    """Return what it is about where a host is asked because another one has its entry."""
    return Heal(holder, taken, "", is_told=True, is_given_back=True, is_successor=is_successor)


class FormerHolders:
    """Looks back at former holders; of an entry at its latest two."""

    def __init__(self, locktime_s: Callable[[Key], float]) -> None:
        """Take a lookup: for how long the kernel takes no other MAC after a change of an entry."""
        self._locktime_s = locktime_s
        self._backs = look_back.LookBacks()
        self._heals: dict[Key, dict[bytes, Heal]] = {}  # by former MAC, the latest one last

    def __contains__(self, key: Key) -> bool:
        """Tell whether a former holder of an entry is being asked."""
        return key in self._heals

    def __len__(self) -> int:
        return len(self._backs)

    def begin(self, key: Key, heal: Heal, now: float) -> list[Heal]:
        """Begin to look back; return the earlier heals that this one ends."""
        formers = self.of(key)
        ended = [mac for mac in formers if mac in (heal.old, heal.new)]
        ended = ended or formers[MAX_FORMERS - 1 :]
        earlier = [self.end(key, mac) for mac in ended]
        self._heals.setdefault(key, {})[heal.old] = heal
        change = look_back.Change(key, heal.old, heal.new, now)
        self._backs.begin(change, self._locktime_s(key))
        return earlier

    def end(self, key: Key, former: bytes) -> Heal:
        """Stop asking one former holder; return what was healed."""
        self._backs.end(key, former)
        heal = self._heals[key].pop(former)
        if not self._heals[key]:
            del self._heals[key]
        return heal

    def end_returned(self, key: Key, former: bytes) -> Heal:
        """The same of one that has its entry again: from whom, is the new MAC of the heal.

        Those that had the entry after it are asked no more: their answers would take it again.
        """
        latest, *_older = self.of(key)
        taken, heal = self._heals[key][latest].new, self._heals[key][former]
        formers = [*self._heals[key]]  # the first one first
        is_owed = heal.is_given_back and not heal.is_successor
        for later in formers if is_owed else formers[formers.index(former) :]:
            if later != former:
                self.end(key, later)
        return self.end(key, former)._replace(new=taken)

    def begin_anew(self, key: Key, former: bytes, now: float) -> list[Heal]:
        """Ask one that has its entry again, unasked, and nobody else; return all heals until then.

        It is asked for ten seconds from now on: its silence shall prove that it was not its word.
        """
        heals = self.end_all(key)
        [heal] = [each for each in heals if each.old == former]
        heal = heal._replace(
            new=heals[-1].new, is_learnt=True, has_failed=False, is_told=True, is_written=True
        )
        self.begin(key, heal, now)
        return heals

    def end_all(self, key: Key) -> list[Heal]:
        """Stop asking the former holders of an entry; return what was healed until now."""
        return [self.end(key, former) for former in reversed(self.of(key))]

    def has_other(self, key: Key, macs: Collection[bytes]) -> bool:
        """Tell whether a holder before these hosts is asked, which may live."""
        heals = self._heals.get(key, {})
        return any(mac not in macs and not heal.is_given_back for mac, heal in heals.items())

    def is_untold(self, key: Key, former: bytes) -> bool:
        """Tell whether a former holder is asked about a heal that nobody was told of so far."""
        heal = self._heals.get(key, {}).get(former)
        return bool(heal and not heal.is_told)

    def is_successor(self, key: Key, former: bytes) -> bool:
        """Tell whether a host is asked as the successor of a holder that is silent."""
        heal = self._heals.get(key, {}).get(former)
        return bool(heal and heal.is_successor)

    def entries(self) -> list[Key]:
        """Return the entries whose former holders are being asked."""
        return [*self._heals]

    def of(self, key: Key) -> list[bytes]:
        """Return the former MACs of an entry that are being asked, the latest one first."""
        return [*reversed(self._heals.get(key, ()))]

    def next_due(self) -> float:
        """Return when ``questions`` has the next one."""
        return self._backs.next_due()

    def questions(self, now: float, most: int) -> list[tuple[Question, Schedule]]:
        """Return the questions that are due, each to a former holder alone.

        One that has its entry again is waited for until it is asked the next time: a host that is
        slow and lives is not said to be silent.
        """
        return [
            (question, _patient(schedule) if self._is_written(question) else schedule)
            for question, schedule in self._backs.questions(now, most)
        ]

    def postpone(self, key: Key, former: bytes, now: float) -> None:
        """Ask a little later: the address is being asked about for another reason."""
        self._backs.postpone(key, now, former)

    def hurry(self, key: Key, former: bytes, now: float) -> None:
        """Ask a former holder at once: it has spoken."""
        self._backs.postpone(key, now - look_back.RETRY_S, former)

    def decide(
        self, key: Key, former: bytes, result: ProbeResult, entry: Entry | None, now: float
    ) -> str:
        """Take one result; return ``returned``, ``silent``, or nothing while it is open.

        ``not learnt``: silent, but the kernel has not put another MAC into the deleted entry.
        ``written anew``: by way of no MAC at all (FAILED, a deletion) the entry has one that no
        heal of ours gave it.
        ``unasked``: it could not be asked to the end, or there is no entry: that proves nothing.
        ``written back``: silent, but the entry has its MAC again.
        What is decided is to be ended.
        """
        cached, heal = mac_of(entry), self._heals.get(key, {}).get(former)
        if not heal:
            return ""
        if entry and not heal.is_learnt:
            is_learnt = cached not in (b"", heal.old)
            new = cached if is_learnt else heal.new
            heal = heal._replace(new=new, is_learnt=is_learnt, has_failed=not is_learnt)
            self._heals[key][former] = heal
        outcome = self._backs.decide(key, result, cached, now, former)
        if outcome in ("silent", "unasked"):
            found = self._silent(key, heal, result, cached)
            # of an entry that we deleted and no packet needs nobody is asked: it takes no MAC
            is_unproved = outcome == "unasked" and not heal.is_deleted
            return outcome if is_unproved and found in ("silent", "written back") else found
        has_locktime = self._locktime_s(key) or not heal.is_successor
        if not outcome and former in result.answers and has_locktime:  # it takes no answer yet
            self._backs.postpone(key, now, former)
        return outcome

    def _silent(self, key: Key, heal: Heal, result: ProbeResult, cached: bytes) -> str:
        """Return what the silence of a former holder means."""
        is_back = cached == heal.old
        if heal.has_failed and not is_back:
            return "not learnt"
        known = {heal.old, *(each.new for each in self._heals[key].values())}
        if cached and cached not in known and heal.is_news:
            return "written anew"
        is_asked = result.unicast_asked and cached
        if result.why or not (heal.is_deleted or is_asked):
            return "unasked"
        return "written back" if is_back and heal.is_news else "silent"

    def _is_written(self, question: Question) -> bool:
        heal = self._heals.get(question[:2], {}).get(question.mac)
        return bool(heal and heal.is_written)


def _patient(schedule: Schedule) -> Schedule:
    waits_s = [max(each, LOOK_BACK_EVERY_S) for each in schedule.unicast_waits_s]
    return schedule._replace(unicast_waits_s=tuple(waits_s))
