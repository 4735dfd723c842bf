"""SYNs that come in and go out, received from packet sockets, never more than can be processed.

A table that is small enough stands in the kernel's filter (packets/bpf.py): only SYNs that
contradict it wake the sentinel. Under a flood of these a socket is read in batches with a pause
after each; the kernel drops what does not fit into its buffer, and SYNs of addresses that were just
probed.
"""

import errno
import socket
import time
from collections.abc import Callable, Iterable

from ..packets import bpf, packet_socket

READ_BATCH = 64  # packets
PAUSE_S = 0.01  # after a full batch
FLOOD_S = 2.0  # after the last full batch the flood is over
REFILTER_REST = 50  # times as long as making a filter took, until the next
LENGTHS = {socket.AF_INET: 4, socket.AF_INET6: 16}

Received = tuple[bytes, tuple]  # packet, sender


class Taps:
    """One tap for each family's inbound SYNs, and one for outbound ones."""

    def __init__(
        self,
        families: Iterable[int],
        outgoing: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open them. PermissionError without CAP_NET_RAW."""
        self._clock = clock
        self._in: dict[int, packet_socket.Tap] = {}
        self._out: packet_socket.Tap | None = None
        self._pause_until = self._flood_until = self._filter_due = float("-inf")
        self._room = bpf.MAX_INSTRUCTIONS  # instructions that the kernel has taken, or may take
        self._filtered: dict[int, bpf.KnownMacs | None] = {}
        try:
            for family in families:
                program = bpf.inbound_syns(LENGTHS[family])
                self._in[family] = packet_socket.Tap(family, program)
                self._filtered[family] = None
            if outgoing:
                self._out = packet_socket.Tap(socket.AF_UNSPEC, bpf.outbound_syns())
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close them."""
        for tap in self.taps():
            tap.close()

    def taps(self) -> list[packet_socket.Tap]:
        """Return the open taps."""
        return [*self._in.values(), *([self._out] if self._out else [])]

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
        if self.is_paused():
            return [], []
        inbound = [received for tap in self._in.values() for received in tap.drain(READ_BATCH)]
        outbound = self._out.drain(READ_BATCH) if self._out else []
        if max(len(inbound), len(outbound)) >= READ_BATCH:
            now = self._clock()
            self._pause_until, self._flood_until = now + PAUSE_S, now + FLOOD_S
        return inbound, outbound

    def filter_due(self) -> float:
        """Return when the next filter may be made."""
        return self._filter_due

    def open_up(self) -> None:
        """Let all SYNs pass until the next filter is made: this one no longer matches the table."""
        for family, tap in self._in.items():
            if self._filtered[family] is not None:
                self._attach(tap, LENGTHS[family], None)
                self._filtered[family] = None

    def refilter(self, known: bpf.KnownMacs | None) -> None:
        """Put a table into the filters; None or one that is too large lets all SYNs pass."""
        began = self._clock()
        for family, tap in self._in.items():
            ours = None if known is None else _of(LENGTHS[family], known)
            if ours != self._filtered[family]:
                self._attach(tap, LENGTHS[family], ours)
                self._filtered[family] = ours
        self._filter_due = began + REFILTER_REST * (self._clock() - began)

    def _attach(self, tap: packet_socket.Tap, length: int, known: bpf.KnownMacs | None) -> None:
        program = b""
        try:
            program = bpf.inbound_syns(length, known)
            if known is None or len(program) // 8 <= self._room:
                tap.attach(program)
                return
        except ValueError:  # too many
            pass
        except OSError as error:
            if error.errno != errno.ENOMEM:  # net.core.optmem_max
                raise
            self._room = len(program) // 8 - 1
        tap.attach(bpf.inbound_syns(length))


def _of(length: int, known: bpf.KnownMacs) -> bpf.KnownMacs:
    """Return one family's part of a table; every SYN of an address with too many MACs passes."""
    return {
        dst: macs if len(macs) <= bpf.MAX_MACS else frozenset()
        for dst, macs in known.items()
        if len(dst) == length
    }
