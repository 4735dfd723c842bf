"""Which address is probed next: evidence decides who goes first, then who has waited longest.

Anybody can forge a SYN. So one address is probed at most once a second, and what anybody can forge
has only a share of the rate. A probe that nobody answers takes longest: an address that was silent
lately is demoted, or SYNs forged in the names of dead hosts would keep everybody waiting. The rate
itself is the asker's (resolve/ask.py), which sends everybody's first frames before anybody's late
ones.

All of it is told the time and never looks at a clock. Nothing here costs more the more addresses
wait.
"""

from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from ..netlink.codec import Key
from ..resolve import deadlines, rate_limit

PROBE_INTERVAL_S = 1.0  # from one probe of an address to the next
BACK_OFF_S = 3.0  # ... where nobody answered: eleven frames were for nothing
DEMOTED_S = 300.0  # for so long a silent address is not probed before others
MAX_DEMOTED = 4096
MAX_QUEUED = 4096
UNTRUSTED_SHARE = 0.5  # of the rate
POP = 64  # addresses made ready at a time


class Priority(IntEnum):
    """The order in which waiting addresses are probed; look backs are due before SYN."""

    ANSWERED_SYN = 0  # it came from another MAC, and a listener of ours has answered it
    CONNECT_TIMEOUT = 1
    RETRANSMISSION = 2
    SYN = 3  # anybody can forge it; and what would be trusted, of a demoted address
    AGE = 4  # nothing waits for it

    @property
    def is_trusted(self) -> bool:
        """Tell whether a forger must first find an open port, or a connection of ours waits."""
        return self <= Priority.RETRANSMISSION

    @property
    def is_urgent(self) -> bool:
        """Tell whether a client waits, for a second perhaps."""
        return self <= Priority.CONNECT_TIMEOUT


class Queued(Protocol):
    """What waits in the queue."""

    key: Key
    priority: Priority
    tries: int


Item = TypeVar("Item", bound=Queued)


class ProbeQueue(Generic[Item]):
    """The addresses that wait to be probed, and when each was probed last."""

    def __init__(self, rate: float, burst: int = 0) -> None:
        """Take frames a second, and how many may go at once: they bound what is not trusted."""
        share = max(1, int(burst * UNTRUSTED_SHARE))
        self._untrusted = rate_limit.TokenBucket(rate * UNTRUSTED_SHARE, share)
        self._waiting: dict[Priority, OrderedDict[Key, Item]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._ready: dict[Priority, OrderedDict[Key, Item]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._wakes = deadlines.Deadlines()  # of what waits and is not ready
        self._not_before: dict[Key, float] = {}  # of addresses that were probed lately
        self._rests = deadlines.Deadlines()  # the same
        # Of the silent ones among them: when each might be probed if it had answered.
        self._backed_off: dict[Key, float] = {}
        self._demoted: OrderedDict[Key, float] = OrderedDict()  # until when

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def get(self, key: Key) -> Item | None:
        """Return what waits of an address."""
        found = (waiting.get(key) for waiting in self._waiting.values())
        return next((item for item in found if item), None)

    def put(self, item: Item, priority: Priority, now: float) -> None:
        """Let an address wait, or move it up if it waits with a lower priority."""
        key = item.key
        if self._demoted.get(key, now) > now:
            priority = max(priority, Priority.SYN)
        if key in self._waiting[item.priority]:
            if priority >= item.priority:
                return
            self.drop(key)
        item.priority = priority
        self._waiting[priority][key] = item
        self._make_ready(key, now)

    def _make_ready(self, key: Key, now: float) -> None:
        """Let an address that waits be probed now, or when it may be."""
        item, not_before = self.get(key), self._not_before.get(key, now)
        if item and not_before > now:
            self._ready[item.priority].pop(key, None)
            self._wakes.set(not_before, [key])
        elif item:
            self._wakes.clear(key)
            self._ready[item.priority][key] = item

    def displace(self, priority: Priority) -> Item | None:
        """Remove and return the newest item of the lowest priority below this one."""
        for lowest in reversed(Priority):
            if lowest > priority and self._waiting[lowest]:
                key = next(reversed(self._waiting[lowest]))
                item = self._waiting[lowest][key]
                self.drop(key)
                return item
        return None

    def drop(self, key: Key) -> None:
        """Remove an address."""
        for priority in Priority:
            self._waiting[priority].pop(key, None)
            self._ready[priority].pop(key, None)
        self._wakes.clear(key)

    def next(self, now: float, lowest: Priority = Priority.AGE) -> Item | None:
        """Remove and return what may be probed now, of ``lowest`` priority or a higher one."""
        self._expire(now)
        for priority, ready in self._ready.items():
            if priority > lowest or not ready:
                continue
            if not priority.is_trusted:
                if not self._untrusted.available(now):
                    return None
                self._untrusted.spend(1, now)
            key, item = ready.popitem(last=False)
            del self._waiting[priority][key]
            self._rest(key, now + PROBE_INTERVAL_S)
            self._backed_off.pop(key, None)
            item.tries += 1
            return item
        return None

    def due(self, now: float) -> float:
        """Return when ``next`` may have something; infinite where nothing waits."""
        self._expire(now)
        dues = [
            now if priority.is_trusted else self._untrusted.due(now)
            for priority, ready in self._ready.items()
            if ready
        ]
        return min([*dues, self._wakes.due()])

    def back_off(self, key: Key, now: float, was_asked: bool = True) -> None:
        """Leave a silent address alone for longer, and demote it if it could be asked at all."""
        self._backed_off[key] = self._not_before.get(key, now)
        self._rest(key, now + BACK_OFF_S)
        self._make_ready(key, now)
        if was_asked:
            self._demoted[key] = now + DEMOTED_S
            self._demoted.move_to_end(key)
        if len(self._demoted) > MAX_DEMOTED:
            self._demoted.popitem(last=False)

    def is_urgent_ready(self) -> bool:
        """Tell whether an address may be probed now for which a client waits."""
        return any(ready for priority, ready in self._ready.items() if priority.is_urgent)

    def clear_backoff(self, key: Key) -> None:
        """Forget that an address was silent."""
        self._demoted.pop(key, None)

    def is_backed_off(self, key: Key) -> bool:
        """Tell whether an address is left alone for longer because it was silent."""
        return key in self._backed_off

    def retry_now(self, key: Key, now: float) -> None:
        """End the back-off of an address that has come to life; once a second still holds."""
        if key in self._backed_off:
            self._rest(key, self._backed_off.pop(key))
            self._make_ready(key, now)

    def in_progress(self, now: float) -> Iterable[Key]:
        """Return the addresses that wait, or must not be probed yet whatever evidence comes."""
        self._expire(now)
        resting = self._not_before.keys() - self._backed_off
        return [*resting, *(key for waiting in self._waiting.values() for key in waiting)]

    def _rest(self, key: Key, until: float) -> None:
        self._not_before[key] = until
        self._rests.set(until, [key])

    def _expire(self, now: float) -> None:
        """Make ready whose time has come."""
        while keys := self._rests.pop(now, POP):
            for key in keys:
                self._not_before.pop(key, None)
                self._backed_off.pop(key, None)
        while keys := self._wakes.pop(now, POP):
            for key in keys:
                self._make_ready(key, now)
