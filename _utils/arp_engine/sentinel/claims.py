"""Several hosts claim one address: whether one of them is a proxy is found out before it is told.

A proxy answers for addresses that nobody has (resolve/proxy.py), and has no right to this one.
"""

import time
from collections import deque
from collections.abc import Callable

from ..netlink import codec
from ..packets.probe_schedule import ALONE, Schedule
from ..resolve import proxy, rate_limit
from ..resolve.ask import ProbeResult, Question
from . import disputes, neighbour_cache, telling
from .neighbour_cache import mac_of

SCANS_PER_S, MAX_SCANS = 2.0, 10  # of the whole cache: 10 ms each at 100,000 entries


class Claims:
    """Asks claimants for addresses that nobody has, and tells what is known of each by then."""

    def __init__(
        self,
        contested: disputes.Disputes,
        news: telling.News,
        cache: neighbour_cache.NeighbourCache,
        may_be_probed: Callable[[codec.Key], bool],
        asked_at_once: deque[tuple[Question, Schedule]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the parts it works with; asked_at_once: where it adds its questions."""
        self._disputes, self._news, self._cache = contested, news, cache
        self._may_be_probed, self._asked_at_once = may_be_probed, asked_at_once
        self._clock = clock
        self._scans = rate_limit.TokenBucket(SCANS_PER_S, MAX_SCANS)

    def alias(self, key: codec.Key, seen: bytes, cached: bytes) -> None:
        """Tell of a MAC that SYNs come from, unless the cached one may be a proxy's."""
        dispute = disputes.Dispute(key, (seen, cached), cached)
        if not self._may_be_proxy(key, cached) or not self._is_checked(dispute):
            self._tell_alias(dispute)

    def dispute(self, key: codec.Key, holder: bytes, others: list[bytes]) -> None:
        """Remember that several hosts answer for an address; tell it, with whether one is a proxy.

        That is asked first: the telling waits some milliseconds.
        """
        if not self._disputes.add(key, self._clock()):
            return
        dispute = disputes.Dispute(key, (holder, *others), others[0])
        if not self._is_checked(dispute):
            self._tell_dispute(dispute)

    def on_check_result(self, question: Question, result: ProbeResult) -> None:
        """Take whether a claimant answers for an address that nobody has."""
        for dispute in self._disputes.take(question, result, self._clock()):
            self._tell_dispute(dispute)

    def _may_be_proxy(self, key: codec.Key, mac: bytes) -> bool:
        """Tell whether a MAC stands for several addresses; seldom, as that looks at all entries."""
        now = self._clock()
        if not self._scans.available(now):
            return False
        self._scans.spend(1, now)
        return self._cache.is_shared(key, mac)

    def _is_checked(self, dispute: disputes.Dispute) -> bool:
        """Ask a claimant for addresses that nobody has, if that can be done and is needed."""
        questions = self._disputes.check(dispute)
        for question in questions or ():
            self._asked_at_once.append((question, proxy.ONE_FRAME))
        return questions is not None

    def _tell_dispute(self, dispute: disputes.Dispute) -> None:
        """Tell what is known of a claimant by now; a proxy gives the entry back to its holder."""
        key, mac = dispute.key, dispute.claimant
        if self._disputes.is_proxy(key[0], mac, self._clock()):
            self._disputes.add(key, self._clock())
            self._news.duplicate(key, dispute.macs, mac)
            if self._may_be_probed(key) and mac_of(self._cache.get(key)) == mac:
                self._asked_at_once.append((Question(*key, dispute.macs[0]), ALONE))
        elif self._disputes.is_contested(key, self._clock()):
            self._news.duplicate(key, dispute.macs)
        else:
            self._tell_alias(dispute)

    def _tell_alias(self, dispute: disputes.Dispute) -> None:
        seen, cached = dispute.macs
        self._news.alias(dispute.key, cached, seen)
