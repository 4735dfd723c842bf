"""Connections that get no answer: our own SYNs after 50 ms, established ones when they retransmit.

Retransmissions are seen in the kernel's TCP counters; only when a counter has moved are the sockets
listed. Listing costs what the number of sockets costs (see netlink/sock_diag.py), so the next one
waits fifty times as long as the last one took: two per cent of a core at most, and nothing while
nothing retransmits. The time that counts is this thread's CPU time: on a busy host, or after
SIGSTOP, a listing has taken long and cost nothing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from ..netlink import codec, sock_diag
from ..netlink.tcp_counters import TcpCounters
from ..packets.tcp_syn import Syn
from ..resolve import rate_limit

CONNECT_TIMEOUT_S = 0.05  # a neighbour that lives answers in less than 1 ms
MAX_SYNS = 512  # remembered; older ones give way
SECOND_SYN_S = 3.5  # after the first, at most: TCP sends it after 1 s, 2 s with one lost in between

HALF_OPEN_MS = 150  # a SYN/ACK of ours waits for so long: few round trips take longer
SYN_ACK_TIMEOUT_MS = 1000  # include/net/tcp.h: TCP_TIMEOUT_INIT

COUNTERS_INTERVAL_S = 0.2  # from one reading of the counters to the next
LISTING_REST = 50  # after a listing, until the next: times the CPU time that it took
# CPU time for the listings of half-open connections: so much a second, and so much at once.
HALF_OPEN_US_PER_S, HALF_OPEN_US = 500, 10_000

HopsOf = Callable[[Collection[sock_diag.TcpSocket]], set[codec.Key]]


class OutboundSyns:
    """The latest SYNs we sent, each for as long as its answer is awaited."""

    def __init__(self) -> None:
        self._due: OrderedDict[tuple, tuple[float, int, Syn]] = OrderedDict()
        # Those that have timed out, until when: one that leaves again has got no answer. Where
        # there are too many a few are enough: no new one is remembered.
        self._timed_out: OrderedDict[tuple, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def put(self, syn: Syn, ifindex: int, now: float) -> None:
        """Remember a SYN; a retransmitted one is remembered once."""
        self._due.setdefault(syn.connection, (now + CONNECT_TIMEOUT_S, ifindex, syn))
        if len(self._due) > MAX_SYNS:
            self._due.popitem(last=False)

    def next_due(self) -> float:
        """Return when the oldest SYN times out."""
        return next(iter(self._due.values()))[0] if self._due else float("inf")

    def pop_timed_out(self, now: float) -> list[tuple[int, Syn]]:
        """Return the SYNs that have timed out, with the device each left by, and forget them."""
        timed_out = []
        while self._due and self.next_due() <= now:
            _connection, (_due, ifindex, syn) = self._due.popitem(last=False)
            timed_out.append((ifindex, syn))
            if len(self._timed_out) < MAX_SYNS:
                self._timed_out[ifindex, syn.connection, syn.sequence] = now + SECOND_SYN_S
        return timed_out

    def is_repeated(self, ifindex: int, syn: Syn, now: float) -> bool:
        """Tell whether a SYN has left a second time, long after the first."""
        while self._timed_out and next(iter(self._timed_out.values())) <= now:
            self._timed_out.popitem(last=False)
        return (ifindex, syn.connection, syn.sequence) in self._timed_out


class HalfOpenConnections:
    """The next hops of SYN/ACKs of ours that nobody acknowledges, before they are sent again.

    The SYN may contradict no entry: it came from behind a router, or by another device than its
    answer leaves by. The kernel sends a SYN/ACK again after a second; by then the entry is right.
    Listing costs what the number of sockets costs, so it may take half a thousandth of a core, and
    where there are many sockets the retransmission comes first. What it did not take is kept for
    later: a single listing that cost much, as the first one does, delays no other.
    """

    def __init__(self, sockets: sock_diag.Sockets, hops_of: HopsOf) -> None:
        self._sockets, self._hops_of = sockets, hops_of
        self._cpu_us = rate_limit.TokenBucket(HALF_OPEN_US_PER_S, HALF_OPEN_US)
        self._segments = -1  # that had come in when none was half open
        self._known: frozenset[int] = frozenset()  # cookies of the sockets that were seen

    def step(self, now: float, segments: int) -> set[codec.Key]:
        """Return the next hops of connections that are half open for some time, once each."""
        if segments == self._segments or not self._cpu_us.available(now):
            return set()
        began = time.thread_time()
        found = [
            each
            for each in self._sockets.unanswered(opening_only=True)
            if each.state == "SYN_RECV" and not each.retransmits
        ]
        old = [e for e in found if e.expires_ms <= SYN_ACK_TIMEOUT_MS - HALF_OPEN_MS]
        new = [each for each in old if each.cookie not in self._known]
        self._segments = segments if len(old) == len(found) else -1
        self._known = frozenset(each.cookie for each in old)
        hops = self._hops_of(new) if new else set()
        self._cpu_us.spend(round(1e6 * (time.thread_time() - began)), now)
        return hops


class Retransmissions:
    """The next hops of sockets that retransmit."""

    def __init__(self, sockets: sock_diag.Sockets, hops_of: HopsOf) -> None:
        self._sockets, self._hops_of = sockets, hops_of
        self._list_due = float("-inf")
        self._counters: tuple[int, ...] = ()
        self._have_moved = False

    def step(self, now: float, counters: tuple[int, ...]) -> set[codec.Key]:
        """Return the next hops, if a counter has moved since the last listing.

        At first they have: connections that were stuck before the start are seen too.
        """
        self._have_moved |= counters != self._counters
        self._counters = counters
        if not self._have_moved or now < self._list_due:
            return set()
        self._have_moved = False
        began = time.thread_time()
        found = [each for each in self._sockets.unanswered() if each.retransmits]
        hops = self._hops_of(found)
        self._list_due = now + LISTING_REST * (time.thread_time() - began)
        return hops


class Unanswered:
    """The connections of this host's sockets that get no answer."""

    def __init__(
        self,
        sockets: sock_diag.Sockets | None,
        read_counters: Callable[[], TcpCounters],
        hops_of: HopsOf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the kernel's list of sockets; without it none is ever seen."""
        self._read_counters, self._clock = read_counters, clock
        self._due = clock() if sockets else float("inf")
        if sockets:
            self._retransmissions = Retransmissions(sockets, hops_of)
            self._half_open = HalfOpenConnections(sockets, hops_of)

    def next_due(self) -> float:
        """Return when they have something to do: both in one wake, which costs more than they."""
        return self._due

    def step(self) -> tuple[set[codec.Key], set[codec.Key]]:
        """Return the next hops of sockets that retransmit, and of half-open connections."""
        now = self._clock()
        if now < self._due:
            return set(), set()
        self._due = now + COUNTERS_INTERVAL_S
        counters = self._read_counters()
        stuck = self._retransmissions.step(now, counters.unanswered)
        return stuck, self._half_open.step(now, counters.segments_in)
