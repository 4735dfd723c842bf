"""What the sentinel learns of addresses and remembers for a while: bounded, and told the time."""

from collections import OrderedDict
from collections.abc import Iterable

from ..netlink.codec import Key

MAX_ALIASES, ALIAS_S = 4096, 300.0
# A verified address loses its packets for another reason: it is not doubted for this long, twice
# as long each time it is verified again, up to the second number.
VERIFIED_S = 1.0, 10.0
MAX_VERIFIED = 4096
FLAPS, FLAPS_S = 3, 60.0  # an address alternates: so many changes of MAC within this time
MAX_FLAPPING = 1024


class Aliases:
    """The MACs that an address rightly uses beside the cached one; for minutes."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[Key, bytes], float] = OrderedDict()
        self._macs: dict[Key, set[bytes]] = {}  # the same, by address: each change asks for it
        self._changed: set[Key] = set()  # that got or lost one

    def __len__(self) -> int:
        return len(self._until)

    def add(self, key: Key, mac: bytes, now: float) -> bool:
        """Remember one; the oldest gives way. Return whether it is new."""
        is_new = (key, mac) not in self._until
        self._until[key, mac] = now + ALIAS_S
        self._until.move_to_end((key, mac))
        self._macs.setdefault(key, set()).add(mac)
        self._changed.add(key)
        if len(self._until) > MAX_ALIASES:
            self._drop(*next(iter(self._until)))
        return is_new

    def __contains__(self, pair: tuple[Key, bytes]) -> bool:
        return pair in self._until

    def of(self, key: Key) -> Iterable[bytes]:
        """Return those of an address."""
        return self._macs.get(key, ())

    def pop_changed(self) -> set[Key]:
        """Return the addresses that got or lost one since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def forget(self, now: float, key: Key | None = None) -> None:
        """Forget those that have expired, and all of an address whose MAC has changed."""
        while self._until:
            pair, until = next(iter(self._until.items()))
            if until > now:
                break
            self._drop(*pair)
        if key is not None:
            for mac in list(self._macs.get(key, ())):
                self._drop(key, mac)

    def _drop(self, key: Key, mac: bytes) -> None:
        self._changed.add(key)
        del self._until[key, mac]
        self._macs[key].discard(mac)
        if not self._macs[key]:
            del self._macs[key]


class Verified:
    """The addresses whose cached MAC has just answered."""

    def __init__(self) -> None:
        self._rests: OrderedDict[Key, tuple[float, float]] = OrderedDict()  # until, rest

    def add(self, key: Key, now: float) -> None:
        """Remember one; it rests twice as long as last time if that was recent."""
        first_s, longest_s = VERIFIED_S
        until, rest_s = self._rests.pop(key, (float("-inf"), 0.0))
        rest_s = min(2 * rest_s, longest_s) if now < until + longest_s else first_s
        self._rests[key] = now + rest_s, rest_s
        if len(self._rests) > MAX_VERIFIED:
            self._rests.popitem(last=False)

    def is_recent(self, key: Key, now: float) -> bool:
        """Tell whether an address still rests."""
        return self._rests.get(key, (float("-inf"),))[0] > now

    def forget(self, key: Key) -> None:
        """Forget one: its MAC has changed."""
        self._rests.pop(key, None)


class MacChanges:
    """How often addresses have changed their MAC lately."""

    def __init__(self) -> None:
        self._times: OrderedDict[Key, list[float]] = OrderedDict()

    def is_alternating(self, key: Key, now: float) -> bool:
        """Count one change; tell whether there are too many, and then count anew."""
        times = [when for when in self._times.pop(key, []) if when > now - FLAPS_S] + [now]
        is_too_many = len(times) >= FLAPS
        self._times[key] = [] if is_too_many else times
        if len(self._times) > MAX_FLAPPING:
            self._times.popitem(last=False)
        return is_too_many
