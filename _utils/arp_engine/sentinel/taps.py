"""The ears of the sentinel: SYNs that come in and that leave, never more than can be looked at.

The table stands in the kernel's filter where it is small enough (packets/bpf.py), so that only what
contradicts it wakes us. Under a flood that does, a socket is read in helpings with a pause after
each; the kernel throws away what finds no room, and what an address was just asked about for.
"""

import errno
import socket
import time
from collections.abc import Callable, Iterable

from ..packets import bpf, packet_socket

HELPING = 64  # packets read at once
PAUSE_S = 0.01  # after a full one
FLOOD_S = 2.0  # after the last full one it is over
REST = 50  # times as long as making a filter took, until the next
LENGTHS = {socket.AF_INET: 4, socket.AF_INET6: 16}

Heard = tuple[bytes, tuple]


class Taps:
    """One tap for each family, and one for what leaves."""

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
        self._room = bpf.MOST  # instructions that the kernel has taken, or may take
        self._filtered: dict[int, bpf.Macs | None] = {}
        try:
            for family in families:
                program = bpf.incoming(LENGTHS[family])
                self._in[family] = packet_socket.Tap(family, program)
                self._filtered[family] = None
            if outgoing:
                self._out = packet_socket.Tap(socket.AF_UNSPEC, bpf.outgoing())
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close them."""
        for tap in self.taps():
            tap.close()

    def taps(self) -> list[packet_socket.Tap]:
        """Return what can be polled."""
        return [*self._in.values(), *([self._out] if self._out else [])]

    def is_flood(self) -> bool:
        """Tell whether more comes than can be looked at."""
        return self._clock() < self._flood_until

    def is_paused(self) -> bool:
        """Tell whether nothing is to be read for a moment."""
        return self._clock() < self._pause_until

    def next_due(self) -> float:
        """Return when the pause ends."""
        return self._pause_until if self.is_paused() else float("inf")

    def drain(self) -> tuple[list[Heard], list[Heard]]:
        """Return what has come in, and what has left."""
        if self.is_paused():
            return [], []
        came = [heard for tap in self._in.values() for heard in tap.drain(HELPING)]
        left = self._out.drain(HELPING) if self._out else []
        if max(len(came), len(left)) >= HELPING:
            now = self._clock()
            self._pause_until, self._flood_until = now + PAUSE_S, now + FLOOD_S
        return came, left

    def filter_due(self) -> float:
        """Return from when on making a filter costs no more than it may."""
        return self._filter_due

    def open_up(self) -> None:
        """Let all SYNs pass until the next filter is made: this one no longer fits the table."""
        for family, tap in self._in.items():
            if self._filtered[family] is not None:
                self._attach(tap, LENGTHS[family], None)
                self._filtered[family] = None

    def refilter(self, known: bpf.Macs | None) -> None:
        """Put a table into the filters; where it is too large, let all SYNs pass."""
        began = self._clock()
        for family, tap in self._in.items():
            ours = None if known is None else _of(LENGTHS[family], known)
            if ours != self._filtered[family]:
                self._attach(tap, LENGTHS[family], ours)
                self._filtered[family] = ours
        self._filter_due = began + REST * (self._clock() - began)

    def _attach(self, tap: packet_socket.Tap, length: int, known: bpf.Macs | None) -> None:
        program = b""
        try:
            program = bpf.incoming(length, known)
            if known is None or len(program) // 8 <= self._room:
                tap.attach(program)
                return
        except ValueError:  # too many
            pass
        except OSError as error:
            if error.errno != errno.ENOMEM:  # net.core.optmem_max
                raise
            self._room = len(program) // 8 - 1
        tap.attach(bpf.incoming(length))


def _of(length: int, known: bpf.Macs) -> bpf.Macs:
    """Return one family's part of a table; an address with too many MACs is always heard."""
    return {
        dst: macs if len(macs) <= bpf.MOST_MACS else frozenset()
        for dst, macs in known.items()
        if len(dst) == length
    }
