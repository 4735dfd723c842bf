"""Which address is probed next: bounded in number and rate, and fair.

Anybody can forge a SYN. So one address is probed at most once a second, all together at most so
often a second, and in the order of ``Priority``: trusted evidence first (a forger must first find
an open port), then what has waited longest. Untrusted evidence has only a share of the rate.
A probe that nobody answers takes longest: an address that was silent lately is demoted, or SYNs
forged in the names of dead hosts would keep everybody waiting.

All of it is told the time and never looks at a clock.
"""

from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from ..netlink.codec import Key
from ..resolve import rate_limit

PROBE_INTERVAL_S = 1.0  # from one probe of an address to the next
BACK_OFF_S = 3.0  # ... where nobody answered: eleven frames were for nothing
DEMOTED_S = 300.0  # for so long a silent address is not probed before others
MAX_DEMOTED = 4096
MAX_QUEUED = 1024
UNTRUSTED_SHARE = 0.5  # of the rate


class Priority(IntEnum):
    """The order in which waiting addresses are probed."""

    TRUSTED = 0  # a listener of ours has answered, or a connection of ours waits
    UNTRUSTED = 1  # anybody can forge it, or nothing waits for it


class Queued(Protocol):
    """What waits in the queue."""

    key: Key
    priority: Priority
    tries: int


Item = TypeVar("Item", bound=Queued)


class ProbeQueue(Generic[Item]):
    """The addresses that wait to be probed, and when each was probed last."""

    def __init__(self, rate: float) -> None:
        """Take probes a second."""
        self._pace = rate_limit.TokenBucket(rate)
        self._shares = {
            Priority.TRUSTED: rate_limit.TokenBucket(0),  # no limit but that of all
            Priority.UNTRUSTED: rate_limit.TokenBucket(rate * UNTRUSTED_SHARE),
        }
        self._waiting: dict[Priority, OrderedDict[Key, Item]] = {
            priority: OrderedDict() for priority in Priority
        }
        self._not_before: dict[Key, float] = {}  # of addresses that were probed lately
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
            priority = Priority.UNTRUSTED
        if key in self._waiting[item.priority]:
            if priority >= item.priority:
                return
            del self._waiting[item.priority][key]
        item.priority = priority
        self._waiting[priority][key] = item

    def displace(self, priority: Priority) -> Item | None:
        """Remove and return the newest item of the lowest priority below this one."""
        for lowest in reversed(Priority):
            if lowest > priority and self._waiting[lowest]:
                return self._waiting[lowest].popitem()[1]
        return None

    def drop(self, key: Key) -> None:
        """Remove an address."""
        for waiting in self._waiting.values():
            waiting.pop(key, None)

    def next(self, now: float, lowest: Priority = Priority.UNTRUSTED) -> Item | None:
        """Remove and return what may be probed now, of ``lowest`` priority or a higher one."""
        self._expire(now)
        if not self._pace.available(now):
            return None
        for priority, waiting in self._waiting.items():
            share = self._shares[priority]
            if priority > lowest or not share.available(now):
                continue
            for key, item in waiting.items():
                if self._not_before.get(key, now) <= now:
                    del waiting[key]
                    self._pace.spend(1, now)
                    share.spend(1, now)
                    self._not_before[key] = now + PROBE_INTERVAL_S
                    self._backed_off.pop(key, None)
                    item.tries += 1
                    return item
        return None

    def due(self, now: float, lowest: Priority = Priority.UNTRUSTED) -> float:
        """Return when ``next`` may have something; infinite where nothing waits."""
        dues = [
            max(
                min(self._not_before.get(key, now) for key in waiting),
                self._shares[priority].due(now),
                self._pace.due(now),
            )
            for priority, waiting in self._waiting.items()
            if waiting and priority <= lowest
        ]
        return min(dues, default=float("inf"))

    def back_off(self, key: Key, now: float, was_asked: bool = True) -> None:
        """Leave a silent address alone for longer, and demote it if it could be asked at all."""
        self._backed_off[key] = self._not_before.get(key, now)
        self._not_before[key] = now + BACK_OFF_S
        if was_asked:
            self._demoted[key] = now + DEMOTED_S
            self._demoted.move_to_end(key)
        if len(self._demoted) > MAX_DEMOTED:
            self._demoted.popitem(last=False)

    def clear_backoff(self, key: Key) -> None:
        """Forget that an address was silent."""
        self._demoted.pop(key, None)

    def is_backed_off(self, key: Key) -> bool:
        """Tell whether an address is left alone for longer because it was silent."""
        return key in self._backed_off

    def retry_now(self, key: Key) -> None:
        """End the back-off of an address that has come to life; once a second still holds."""
        if key in self._backed_off:
            self._not_before[key] = self._backed_off.pop(key)

    def in_progress(self, now: float) -> Iterable[Key]:
        """Return the addresses that wait, or must not be probed yet whatever evidence comes."""
        self._expire(now)
        resting = self._not_before.keys() - self._backed_off
        return [*resting, *(key for waiting in self._waiting.values() for key in waiting)]

    def _expire(self, now: float) -> None:
        self._not_before = {key: when for key, when in self._not_before.items() if when > now}
        self._backed_off = {
            key: when for key, when in self._backed_off.items() if key in self._not_before
        }
