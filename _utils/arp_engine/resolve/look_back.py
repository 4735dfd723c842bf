"""Look back: ask the former holder of an entry again, alone, after a question of ours moved it.

The kernel takes the first answer to a broadcast, whoever gives it: a router with proxy ARP, a twin,
the old node of a failover. A holder that was silent for some milliseconds may be paused or slow.
So after each change that a question of ours brought about, the host at the former MAC is asked
alone, as soon as the kernel would believe it (locktime), and then about once a second for ten
seconds. If it answers, it is alive, and the kernel puts its MAC back by itself; the address is
*contested* from then on: for minutes only its holder is asked, and everybody only when it has been
silent for as long as the kernel itself would wait (three probes a second apart).

Silence is what was asked and not answered, and no time that has passed: a frame gets lost, the
asking process or its device may stand still, and a frame that does not leave proves nothing.

Pure: told the time, opens nothing. Its callers ask (resolve/ask.py) and read the table.
"""

from typing import NamedTuple

from ..netlink.codec import Key
from ..packets.probe_schedule import (
    ALONE,
    ALONE_OTHER_NAME,
    FAST,
    LIKE_THE_KERNEL,
    LOOK_BACK_EVERY_S,
    LOOK_BACK_FOR_S,
    LOOK_BACK_FRAMES,
    UCAST_SOLICIT,
    Schedule,
)
from . import deadlines
from .question import ProbeResult, Question

MARGIN_S = 0.02  # the kernel counts locktime in ticks of up to 10 ms
RETRY_S = 0.05  # while another question about the address is under way
MAX_LOCKTIME_S = 3.0  # a former holder that answers is asked on for so long
MIN_SILENT = UCAST_SOLICIT  # questions in a row without an answer: as many as the kernel waits for
MAX_ASKED = LOOK_BACK_FRAMES + MIN_SILENT  # a former holder is not asked on beyond that
TOO_FEW = "too few probes were sent"  # why it is unasked, where the last one did
CONTESTED_S = 300.0
MAX_CONTESTED = 4096


class Change(NamedTuple):
    """An entry that a question of ours moved from one MAC to another."""

    key: Key
    former: bytes  # MAC
    taken: bytes  # MAC that answered and stands in the entry since
    at: float


class _Heard(NamedTuple):
    """What the questions to one former holder have come to."""

    asked: int = 0
    silent: int = 0  # the latest ones in a row without an answer
    unasked: int = 0  # the latest ones in a row that proved nothing

    def after(self, former: bytes, result: ProbeResult) -> "_Heard":
        """Return it with one more result."""
        asked = self.asked + 1
        if former in result.answers:
            return _Heard(asked)
        if result.why or not result.unicast_asked:
            return _Heard(asked, 0, self.unasked + 1)
        return _Heard(asked, self.silent + 1)


class LookBacks:
    """The changes whose former holders are still being asked; an entry may have several."""

    def __init__(self) -> None:
        self._changes: dict[tuple[Key, bytes], Change] = {}  # by entry and former MAC
        self._formers: dict[Key, list[bytes]] = {}  # the same, by entry: the latest one last
        self._asked: dict[tuple[Key, bytes], int] = {}  # how often
        self._heard: dict[tuple[Key, bytes], _Heard] = {}
        self._due = deadlines.Deadlines()

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._changes)

    def __contains__(self, key: Key) -> bool:
        """Tell whether the former holder of an entry is being asked."""
        return key in self._formers

    def begin(self, change: Change, locktime_s: float) -> None:
        """Begin to look back; the former holders before this one are asked on."""
        key, former = change.key, change.former
        self.end(key, former)
        self._changes[key, former] = change
        self._formers.setdefault(key, []).append(former)
        self._due.set(change.at + locktime_s + MARGIN_S, [(key, former)])

    def end(self, key: Key, former: bytes = b"") -> None:
        """Stop asking one former holder of an entry; without its MAC, all of them."""
        for mac in self._some(key, former):
            if self._changes.pop((key, mac), None):
                self._due.clear((key, mac))
                self._asked.pop((key, mac), None)
                self._heard.pop((key, mac), None)
                self._formers[key].remove(mac)
        if self._formers.get(key) == []:
            del self._formers[key]

    def next_due(self) -> float:
        """Return when ``questions`` has the next one."""
        return self._due.due()

    def questions(self, now: float, most: int) -> list[tuple[Question, Schedule]]:
        """Return the questions that are due, at most so many; each goes to a former MAC alone."""
        found = []
        for key, former in self._due.pop(now, most):
            turn = self._asked[key, former] = self._asked.get((key, former), 0) + 1
            found.append((Question(*key, former), ALONE if turn % 2 else ALONE_OTHER_NAME))
            self._due.set(now + LOOK_BACK_EVERY_S, [(key, former)])
        return found

    def postpone(self, key: Key, now: float, former: bytes = b"") -> None:
        """Ask a little later: the address is being asked about for another reason.

        former: whom, where there are several.
        """
        for mac in self._some(key, former):
            if (key, mac) in self._changes:
                self._due.set(now + RETRY_S, [(key, mac)])

    def _some(self, key: Key, former: bytes) -> list[bytes]:
        return [former] if former else [*self._formers.get(key, ())]

    def decide(
        self, key: Key, result: ProbeResult, cached: bytes, now: float, former: bytes = b""
    ) -> str:
        """Return ``returned``, ``silent``, ``unasked``, or nothing while it is open.

        cached: the MAC in the table, read after the answer. A former holder that answers while the
        table keeps the other MAC is asked again: within locktime the kernel drops its answer.
        Silent is one that has not answered the latest three questions, after ten seconds: it is
        asked on until then. Unasked: no question, or too few, could be put to it.
        former: whom it was about, where there are several.
        """
        [*_earlier, latest] = self._some(key, former) or [b""]
        change = self._changes.get((key, latest))
        if not change:
            return ""
        heard = self._heard.get((key, latest), _Heard()).after(latest, result)
        self._heard[key, latest] = heard
        over = change.at + LOOK_BACK_FOR_S
        if change.former in result.answers:
            if cached != change.former and now < over + MAX_LOCKTIME_S:
                return ""
            self.end(key, change.former)
            return "returned"
        if now < over:
            return ""
        is_over = heard.unasked >= MIN_SILENT or heard.asked >= MAX_ASKED
        outcome = "silent" if heard.silent >= MIN_SILENT else "unasked" if is_over else ""
        if outcome:
            self.end(key, change.former)
        return outcome


class Contested:
    """Addresses that two hosts answer for: for minutes their holders are asked alone."""

    def __init__(self) -> None:
        self._until: dict[Key, float] = {}  # the one that was added first comes first
        self._holders: dict[Key, bytes] = {}

    def add(self, key: Key, now: float, holder: bytes) -> bool:
        """Remember an address and its holder's MAC; return whether it is news."""
        is_known = self._until.pop(key, now) > now
        self._until[key] = now + CONTESTED_S
        if not is_known:  # later the entry may be another one's: of several answers to a broadcast
            self._holders[key] = holder
        if len(self._until) > MAX_CONTESTED:
            oldest = next(iter(self._until))
            del self._until[oldest], self._holders[oldest]
        return not is_known

    def holder(self, key: Key, now: float) -> bytes:
        """Return the MAC of the holder of a contested address; empty for any other."""
        return self._holders[key] if self._until.get(key, now) > now else b""

    def end(self, key: Key) -> None:
        """Forget an address."""
        if self._until.pop(key, None):
            del self._holders[key]

    def schedule(self, key: Key, now: float, otherwise: Schedule = FAST) -> Schedule:
        """Return how to ask about an address."""
        if self._until.get(key, now) > now:
            return LIKE_THE_KERNEL
        self.end(key)
        return otherwise
