"""What the sentinel learns of addresses and remembers for a while: bounded, and told the time."""

from collections import OrderedDict
from collections.abc import Iterable

from ..netlink.codec import Key
from ..resolve import deadlines, late_answers

MAX_ALIASES = 4096
# The first time an alias is believed for a second, then twice as long each time, up to this: the
# worker whose address it is may be re-created, and die after its successor's first SYN.
ALIAS_S = 1.0, 300.0
# A verified address loses its packets for another reason: it is not doubted for this long, twice
# as long each time it is verified again, up to the second number.
VERIFIED_S = 1.0, 10.0
MAX_VERIFIED = 4096
FLAPS, FLAPS_S = 3, 60.0  # an address alternates: so many changes of MAC within this time
MAX_FLAPPING = 1024
MAX_FORMER_MACS = 16  # of an address; each change copies them
REGAINED_S = 15.0  # a run that gave a host its entry may look back at the other one: ten seconds
MAX_RECENT = 4096
UNASKABLE_S = 300.0  # for so long a reason is no news; longer where it goes on
MAX_UNASKABLE = 4096


class Aliases:
    """The MACs that an address rightly uses beside the cached one; for minutes."""

    def __init__(self) -> None:
        self._until: dict[tuple[Key, bytes], float] = {}
        self._due = deadlines.Deadlines()
        self._macs: dict[Key, set[bytes]] = {}  # the same, by address: each change asks for it
        self._rests: OrderedDict[tuple[Key, bytes], float] = OrderedDict()  # the last time
        self._changed: set[Key] = set()  # that got or lost one

    def __len__(self) -> int:
        return len(self._until)

    def add(self, key: Key, mac: bytes, now: float) -> bool:
        """Remember one, for longer each time; the oldest gives way. Return whether it is new."""
        pair = key, mac
        first_s, longest_s = ALIAS_S
        last_s = self._rests.pop(pair, 0.0)
        self._rests[pair] = rest_s = min(2 * last_s, longest_s) or first_s
        self._until[pair] = now + rest_s
        self._due.set(now + rest_s, [pair])
        self._macs.setdefault(key, set()).add(mac)
        self._changed.add(key)
        if len(self._rests) > MAX_ALIASES:
            self._drop(*next(iter(self._rests)))
        return not last_s

    def __contains__(self, pair: tuple[Key, bytes]) -> bool:
        return pair in self._until

    def of(self, key: Key) -> Iterable[bytes]:
        """Return those of an address."""
        return self._macs.get(key, ())

    def pop_changed(self) -> set[Key]:
        """Return the addresses that got or lost one since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def next_due(self) -> float:
        """Return when the next one expires."""
        return self._due.due()

    def expire(self, now: float) -> None:
        """Forget those whose time is over; if seen again they are believed for longer."""
        for key, mac in self._due.pop(now, MAX_ALIASES):
            self._end(key, mac)

    def forget(self, key: Key) -> None:
        """Forget all of an address: its MAC has changed, or its host is silent."""
        for mac in list(self._macs.get(key, ())):
            self._drop(key, mac)

    def _drop(self, key: Key, mac: bytes) -> None:
        del self._rests[key, mac]
        if (key, mac) in self._until:
            self._due.clear((key, mac))
            self._end(key, mac)

    def _end(self, key: Key, mac: bytes) -> None:
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


class RecentHosts:
    """Hosts that had to do with an address a moment ago, such as those that were asked about it."""

    def __init__(self, for_s: float = late_answers.LATE_S) -> None:
        self._for_s = for_s
        self._until: OrderedDict[Key, dict[bytes, float]] = OrderedDict()  # by MAC

    def add(self, key: Key, macs: Iterable[bytes], over: Iterable[bytes], now: float) -> None:
        """Remember hosts, an empty MAC: all of them; and forget those with whom it is over."""
        before = {each: until for each, until in self._until.pop(key, {}).items() if until > now}
        macs_until = dict.fromkeys(macs, now + self._for_s)
        self._until[key] = {**before, **macs_until, **dict.fromkeys(over, now)}
        if len(self._until) > MAX_RECENT:
            self._until.popitem(last=False)

    def holds(self, key: Key, mac: bytes, now: float) -> bool:
        """Tell whether this host is one of them."""
        macs = self._until.get(key, {})
        return macs.get(mac, macs.get(b"", now)) > now


class Unaskable:
    """Why addresses cannot be asked about: news once, for as long as it goes on."""

    def __init__(self) -> None:
        self._why: OrderedDict[Key, tuple[str, float]] = OrderedDict()  # and when, the last time

    def add(self, key: Key, why: str, now: float) -> bool:
        """Remember why an address cannot be asked about; return whether that is news."""
        last, at = self._why.pop(key, ("", float("-inf")))
        self._why[key] = why, now
        if len(self._why) > MAX_UNASKABLE:
            self._why.popitem(last=False)
        return why != last or now >= at + UNASKABLE_S

    def forget(self, key: Key) -> None:
        """Forget one: it can be asked about again, or its MAC has changed."""
        self._why.pop(key, None)


class MacChanges:
    """How often addresses have changed their MAC lately."""

    def __init__(self) -> None:
        self._times: OrderedDict[Key, list[float]] = OrderedDict()
        self._macs: OrderedDict[Key, dict[bytes, float]] = OrderedDict()  # and when it had them

    def had(self, key: Key, mac: bytes, now: float) -> bool:
        """Tell whether an address had a MAC lately: its host had claimed the address."""
        return self.last(key, mac) > now - FLAPS_S

    def last(self, key: Key, mac: bytes) -> float:
        """Return when an address got a MAC; long ago where that is not known."""
        return self._macs.get(key, {}).get(mac, float("-inf"))

    def is_alternating(self, key: Key, now: float, mac: bytes) -> bool:
        """Count one change, to this MAC; tell whether there are too many, and then count anew."""
        macs = self._macs.pop(key, {}).items()
        others = [pair for pair in macs if pair[1] > now - FLAPS_S and pair[0] != mac]
        self._macs[key] = dict([*others[1 - MAX_FORMER_MACS :], (mac, now)])
        if len(self._macs) > MAX_FLAPPING:
            self._macs.popitem(last=False)
        times = [when for when in self._times.pop(key, []) if when > now - FLAPS_S] + [now]
        is_too_many = len(times) >= FLAPS
        self._times[key] = [] if is_too_many else times
        if len(self._times) > MAX_FLAPPING:
            self._times.popitem(last=False)
        return is_too_many
