"""Which addresses are to be asked about next: bounded in number, in pace, and fair.

Anybody can forge a SYN. So a doubt costs at most one question a second for each address, so many
a second for all; what a listener of ours has answered goes first (a forger must first find one),
then what has waited longest. What is forged in vain waits with as few others as there is room for.
Where nobody was lately, a question takes as long as it can: such an address never goes first, or
SYNs forged in the names of dead hosts would keep everybody waiting.

All of it is told the time and never looks at a clock. Standard library alone.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from ..resolve import rate_limit

AGAIN_S = 1.0  # from one question about an address to the next
SILENT_S = 3.0  # ... where nobody answered: eleven frames were for nothing
MUTE_S = 300.0  # for so long such an address does not go first
MUTES = 4096
MOST = 1024  # addresses that wait
SYNS = 8  # of one address that are kept, to be handed on after a heal
RESERVED = 0.5  # of the pace is for what a listener has answered
ALIASES = 4096
ALIAS_S = 300.0

Key = TypeVar("Key", bound=Hashable)
Thing = TypeVar("Thing")


class Doubt(Generic[Key, Thing]):
    """One address whose entry may be wrong: why, and what is waiting for the truth."""

    __slots__ = ("answered", "first", "key", "looked_at", "macs", "things", "tries", "why")

    def __init__(self, key: Key, why: str) -> None:
        """Begin with nothing but a reason."""
        self.key, self.why = key, why
        self.answered = False  # by a listener of ours
        self.first = False  # it goes first
        self.looked_at = float("-inf")  # when that was last looked at
        self.tries = 0
        self.macs: set[bytes] = set()  # it came with
        self.things: list[Thing] = []  # the latest few

    def add(self, mac: bytes, thing: Thing | None) -> None:
        """Add one more piece of evidence."""
        if mac and len(self.macs) < SYNS:
            self.macs.add(mac)
        if thing is not None and thing not in self.things:
            self.things = [*self.things[1 - SYNS :], thing]


class Doubts(Generic[Key, Thing]):
    """All that wait, and when each address was asked about last."""

    def __init__(self, rate: float) -> None:
        """Take questions a second."""
        self._all = rate_limit.TokenBucket(rate)
        self._unanswered = rate_limit.TokenBucket(rate * RESERVED)
        self._first: OrderedDict[Key, Doubt[Key, Thing]] = OrderedDict()
        self._rest: OrderedDict[Key, Doubt[Key, Thing]] = OrderedDict()
        self._not_before: dict[Key, float] = {}  # of addresses that were asked about lately
        self._rests: dict[Key, float] = {}  # those that were silent: when each might have been else
        self._mute: OrderedDict[Key, float] = OrderedDict()  # until when

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._first) + len(self._rest)

    def get(self, key: Key) -> Doubt[Key, Thing] | None:
        """Return what waits of an address."""
        return self._first.get(key) or self._rest.get(key)

    def put(
        self, key: Key, why: str, now: float, answered: bool = False
    ) -> Doubt[Key, Thing] | None:
        """Return the doubt about an address, a new one if there is none; None: no room for it.

        answered: let it go first. For such a one what waits last of the others gives way.
        """
        doubt = self.get(key)
        if doubt is None:
            if len(self) >= MOST:
                if not answered or not self._rest:
                    return None
                self._rest.popitem()
            doubt = self._rest[key] = Doubt(key, why)
        doubt.answered |= answered
        if answered and not doubt.first and self._mute.get(key, now) <= now:
            doubt.first = True
            self._first[key] = self._rest.pop(key)
        return doubt

    def put_back(self, doubt: Doubt[Key, Thing]) -> None:
        """Ask once more, when the address may be asked about again."""
        (self._first if doubt.first else self._rest)[doubt.key] = doubt

    def drop(self, key: Key) -> Doubt[Key, Thing] | None:
        """Forget what waits of an address."""
        return self._first.pop(key, None) or self._rest.pop(key, None)

    def next(self, now: float, first_only: bool = False) -> Doubt[Key, Thing] | None:
        """Return what may be asked about now, and write down that it is."""
        self._forget(now)
        if not self._all.available(now):
            return None
        doubt = self._ripe(self._first, now)
        if not doubt and not first_only and self._unanswered.available(now):
            doubt = self._ripe(self._rest, now)
            if doubt:
                self._unanswered.spend(1, now)
        if doubt:
            self.drop(doubt.key)
            self._all.spend(1, now)
            self._not_before[doubt.key] = now + AGAIN_S
            self._rests.pop(doubt.key, None)
            doubt.tries += 1
        return doubt

    def due(self, now: float, first_only: bool = False) -> float:
        """Return when ``next`` may have something; infinite where nothing waits."""
        whens = []
        for waiting, pace in ((self._first, self._all), (self._rest, self._unanswered)):
            if waiting and not (first_only and waiting is self._rest):
                ripe = min(self._not_before.get(key, now) for key in waiting)
                whens.append(max(ripe, pace.due(now), self._all.due(now)))
        return min(whens, default=float("inf"))

    def silent(self, key: Key, now: float, was_asked: bool = True) -> None:
        """Leave an address alone for longer: nobody has answered for it, if it could be asked."""
        self._rests[key] = self._not_before.get(key, now)
        self._not_before[key] = now + SILENT_S
        if was_asked:
            self._mute[key] = now + MUTE_S
            self._mute.move_to_end(key)
        if len(self._mute) > MUTES:
            self._mute.popitem(last=False)

    def loud(self, key: Key) -> None:
        """Forget that nobody has answered for an address."""
        self._mute.pop(key, None)

    def rests(self, key: Key) -> bool:
        """Tell whether an address is left alone for longer."""
        return key in self._rests

    def wake(self, key: Key) -> None:
        """Leave an address alone no longer than any other: there is somebody by now."""
        if key in self._rests:
            self._not_before[key] = self._rests.pop(key)

    def busy(self, now: float) -> Iterable[Key]:
        """Return the addresses that wait, or may not be asked about yet, whatever else comes."""
        self._forget(now)
        return [*(self._not_before.keys() - self._rests), *self._first, *self._rest]

    def _ripe(
        self, waiting: OrderedDict[Key, Doubt[Key, Thing]], now: float
    ) -> Doubt[Key, Thing] | None:
        for key, doubt in waiting.items():
            if self._not_before.get(key, now) <= now:
                return doubt
        return None

    def _forget(self, now: float) -> None:
        self._not_before = {key: when for key, when in self._not_before.items() if when > now}
        self._rests = {key: when for key, when in self._rests.items() if key in self._not_before}


class Aliases(Generic[Key]):
    """Which MAC an address rightly comes with, though the table has another; for minutes."""

    def __init__(self) -> None:
        """Know none."""
        self._until: OrderedDict[tuple[Key, bytes], float] = OrderedDict()
        self._macs: dict[Key, set[bytes]] = {}  # the same, by address: each change asks for it

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._until)

    def add(self, key: Key, mac: bytes, now: float) -> bool:
        """Remember one; the one that was added first gives way. False: it was known."""
        known = (key, mac) in self._until
        self._until[key, mac] = now + ALIAS_S
        self._until.move_to_end((key, mac))
        self._macs.setdefault(key, set()).add(mac)
        if len(self._until) > ALIASES:
            self._drop(*next(iter(self._until)))
        return not known

    def __contains__(self, pair: tuple[Key, bytes]) -> bool:
        """Tell whether one is remembered."""
        return pair in self._until

    def pairs(self) -> Iterable[tuple[Key, bytes]]:
        """Return all of them."""
        return self._until.keys()

    def forget(self, now: float, key: Key | None = None) -> None:
        """Forget what is minutes old, and all of an address whose MAC has changed."""
        while self._until:
            pair, until = next(iter(self._until.items()))
            if until > now:
                break
            self._drop(*pair)
        if key is not None:
            for mac in list(self._macs.get(key, ())):
                self._drop(key, mac)

    def _drop(self, key: Key, mac: bytes) -> None:
        del self._until[key, mac]
        self._macs[key].discard(mac)
        if not self._macs[key]:
            del self._macs[key]
