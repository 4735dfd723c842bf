"""SYNs that come in and go out, received from packet sockets, never more than can be processed.

The kernel's filters pass the SYNs that contradict the table (syn_filter.py). Under a flood of these
the sockets are read in batches with a pause after each; the kernel drops what does not fit into
their buffers, and SYNs of addresses that were just probed.
"""

import select
import socket
import time
from collections.abc import Callable, Iterable

from ..netlink import codec
from ..packets import bpf, packet_socket
from . import syn_filter

READ_BATCH = 64  # packets
PAUSE_S = 0.01  # after a full batch
FLOOD_S = 2.0  # after the last full batch the flood is over
REFILTER_S = 0.002  # of CPU time for filters at once
REFILTER_REST = 10  # times as long as that took, until the next

Received = tuple[bytes, tuple]  # packet, sender


class Taps:
    """The filtered sockets of each family for inbound SYNs, and one socket for outbound ones."""

    def __init__(
        self,
        families: Iterable[int],
        outgoing: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open them. PermissionError without CAP_NET_RAW."""
        self._clock = clock
        self._epoll = select.epoll()
        self._by_descriptor: dict[int, packet_socket.Tap] = {}
        self._filters: dict[int, syn_filter.SynFilter] = {}  # by length of address
        self._out: packet_socket.Tap | None = None
        self._pause_until = self._flood_until = self._filter_due = float("-inf")
        self._are_muted = False  # SYNs that would change nothing, because of a flood
        try:
            for family in families:
                length = 4 if family == socket.AF_INET else 16
                self._filters[length] = syn_filter.SynFilter(family, self._register)
            if outgoing:
                self._out = packet_socket.Tap(socket.AF_UNSPEC, bpf.outbound_syns())
                self._register(self._out)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close them."""
        for filtered in self._filters.values():
            filtered.close()
        if self._out:
            self._out.close()
        self._epoll.close()

    def _register(self, tap: packet_socket.Tap) -> None:
        self._epoll.register(tap, select.EPOLLIN)
        self._by_descriptor[tap.fileno()] = tap

    def fileno(self) -> int:
        """Return the descriptor to poll: readable when a SYN can be read."""
        return self._epoll.fileno()

    def is_flood(self) -> bool:
        """Tell whether more SYNs arrive than can be processed."""
        return self._clock() < self._flood_until

    def is_paused(self) -> bool:
        """Tell whether reading pauses."""
        return self._clock() < self._pause_until

    def next_due(self) -> float:
        """Return when the pause ends."""
        return self._pause_until if self.is_paused() else float("inf")

    def drain(self) -> tuple[list[Received], list[Received]]:
        """Return inbound and outbound SYNs; after a full batch reading pauses."""
        inbound: list[Received] = []
        outbound: list[Received] = []
        if self.is_paused():
            return inbound, outbound
        ready = [self._by_descriptor[fd] for fd, _event in self._epoll.poll(0, READ_BATCH)]
        share = max(READ_BATCH // max(len(ready), 1), 1)
        for tap in ready:
            (outbound if tap is self._out else inbound).extend(tap.drain(share))
        if len(inbound) + len(outbound) >= READ_BATCH:
            now = self._clock()
            self._pause_until, self._flood_until = now + PAUSE_S, now + FLOOD_S
            for filtered in self._filters.values() if inbound else ():
                filtered.spread()
        return inbound, outbound

    def overrun(self) -> str:
        """Return a line if the kernel has dropped SYNs since the last call; empty if not."""
        opened = [tap for filtered in self._filters.values() for tap in filtered.taps]
        opened += [self._out] if self._out else []
        dropped = sum(tap.dropped() for tap in opened)
        unfiltered = sum(filtered.unfiltered() for filtered in self._filters.values())
        if not dropped:
            return ""
        no_room = f"; no room in the kernel filter for {unfiltered} entries" if unfiltered else ""
        return (
            f"{dropped} SYNs not examined, as more came than it reads{no_room}: "
            "a new worker among them is seen at its next SYN"
        )

    # --- the filters

    def put(self, key: codec.Key, macs: bytes | None) -> None:
        """Take the MACs of an entry whose SYNs are no news; None for an entry without interest."""
        if filtered := self._filters.get(len(key[1])):
            filtered.put(key, macs)

    def filter_due(self) -> float:
        """Return when ``refilter`` has something to do."""
        if any(filtered.is_outdated() for filtered in self._filters.values()):
            return self._filter_due
        return max(self._filter_due, self._flood_until) if self._are_muted else float("inf")

    def refilter(self, muted: Callable[[], Iterable[codec.Key]]) -> None:
        """Make outdated filters anew, as soon as that is cheap again.

        muted: returns the entries whose SYNs would change nothing now; asked under a flood.
        """
        now = self._clock()
        if now < self._filter_due:
            return
        began = time.thread_time()
        if self.is_flood() or self._are_muted:
            self._are_muted = self.is_flood()
            keys = [*muted()] if self._are_muted else []
            for filtered in self._filters.values():
                filtered.mute(keys)
        for filtered in self._filters.values():
            while filtered.is_outdated() and time.thread_time() < began + REFILTER_S:
                filtered.refresh()
        self._filter_due = now + REFILTER_REST * (time.thread_time() - began)
