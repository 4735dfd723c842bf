"""The inbound SYNs of one family that contradict the neighbour table, whatever its size.

The table stands in the filters of packet sockets (packets/bpf.py): of one socket where it is small;
of a large table, and under a flood, each has a part, and receives its packets alone. When an entry
changes, its part is open (all its SYNs pass) until its filter is made anew, which takes a
millisecond. So a table that changes quickly costs CPU time and hides nothing.
"""

import _thread
import contextlib
import errno
import random
import socket
from collections.abc import Callable, Iterable

from ..netlink import codec
from ..packets import bpf, packet_socket

PART_ENTRIES, MAX_PART_ENTRIES = 256, 384  # on average; a program has room for some 530
MAX_PARTS = 256  # sockets that may share packets (PACKET_FANOUT_MAX of kernels before 5.13)
# Under a flood: each part has a receive buffer of its own, of some 250 packets. In one that all
# share, a new worker's SYN finds no room whenever the flood passes the filter for a moment.
FLOOD_PARTS = 32


class SynFilter:
    """The sockets of one family, and the entries in the filter of each."""

    def __init__(self, family: int, register: Callable[[packet_socket.Tap], None]) -> None:
        """Open one socket, which passes all SYNs; ``register`` is told of it and of later ones.

        PermissionError without CAP_NET_RAW.
        """
        self._family, self._register = family, register
        self._length = 4 if family == socket.AF_INET else 16
        self._seed = random.getrandbits(32) | 1
        self._bits = 0  # 1 << bits: how many parts
        self._least_parts, self._max_parts = 1, MAX_PARTS
        self._open_program = bpf.inbound_syns(self._length)
        self.taps = [packet_socket.Tap(family, self._open_program)]
        register(self.taps[0])
        self._known: list[dict[codec.Key, bytes]] = [{}]  # by part
        self._count = 0
        self._muted: list[set[codec.Key]] = [set()]  # entries that are left out for now
        self._outdated: dict[int, None] = {0: None}  # parts, oldest first
        self._open, self._too_large = {0}, False

    def close(self) -> None:
        """Close the sockets: at once, as each takes the kernel up to 16 ms."""
        for tap in self.taps[1:]:
            with contextlib.suppress(RuntimeError):
                _thread.start_new_thread(tap.close, ())
        self.taps[0].close()

    def put(self, key: codec.Key, macs: bytes | None) -> None:
        """Take the MACs of an entry whose SYNs are no news; None for an entry without interest."""
        part = self._part(key)
        known = self._known[part]
        before = known.get(key)
        if macs == before:
            return
        if macs is None:
            del known[key]  # until the next filter its SYNs may pass, which is harmless
        else:
            known[key] = macs
        self._count = self._count + (macs is not None) - (before is not None)
        self._outdated[part] = None
        if macs is not None and (before is None or not _macs(before) <= _macs(macs)):
            self._open_up(part)

    def mute(self, keys: Iterable[codec.Key]) -> None:
        """Leave these entries out of the filters, and no others any longer."""
        muted: list[set[codec.Key]] = [set() for _ in self.taps]
        for key in keys:
            if len(key[1]) == self._length:
                part = self._part(key)
                if key in self._known[part]:
                    muted[part].add(key)
        for part, now in enumerate(muted):
            if now != self._muted[part]:
                self._muted[part], self._outdated[part] = now, None

    def spread(self) -> None:
        """Let more sockets share the packets than the table needs: there is a flood."""
        self._least_parts = FLOOD_PARTS

    def is_outdated(self) -> bool:
        """Tell whether ``refresh`` has something to do."""
        return bool(self._outdated) or self._wants_parts()

    def refresh(self) -> None:
        """Make the filter of one part anew, or more parts."""
        if self._wants_parts():
            self._split()
            return
        part = next(iter(self._outdated))
        del self._outdated[part]
        muted = self._muted[part]
        known = {key: macs for key, macs in self._known[part].items() if key not in muted}
        try:
            program = bpf.inbound_syns(self._length, known, self._seed)
            self._attach(part, program)
            self._open.discard(part)
        except ValueError:
            self._too_large = True
            self._open_up(part)

    def unfiltered(self) -> int:
        """Return of how many entries all SYNs pass, as their filter has no room for them."""
        return sum(len(self._known[part]) for part in self._open - self._outdated.keys())

    def _attach(self, part: int, program: bytes) -> None:
        """Attach a filter; ValueError where net.core.optmem_max has no room for it."""
        tap = self.taps[part]
        for attempt in (1, 2):
            try:
                tap.attach(program)
                return
            except OSError as error:
                if error.errno != errno.ENOMEM:
                    raise
            if attempt == 1:  # the kernel counts the old one too until the new one is attached
                tap.attach(self._open_program)
        raise ValueError("net.core.optmem_max")

    def _open_up(self, part: int) -> None:
        if part not in self._open:
            self.taps[part].attach(self._open_program)
            self._open.add(part)

    def _part(self, key: codec.Key) -> int:
        return bpf.hash_of(key, self._seed) >> 32 - self._bits if self._bits else 0

    def _wants_parts(self) -> bool:
        wanted = self._too_large or self._count > MAX_PART_ENTRIES * len(self.taps)
        wanted |= len(self.taps) < self._least_parts
        return wanted and len(self.taps) < self._max_parts

    def _split(self) -> None:
        """Open more sockets, let all share the packets anew, and distribute the entries."""
        parts = max(self._count // PART_ENTRIES, self._least_parts - 1)
        bits = max(self._bits + 1, parts.bit_length())
        bits = min(bits, (self._max_parts - 1).bit_length())
        self._too_large = False
        for part in range(len(self.taps)):
            self._open_up(part)
        try:
            if not self._bits:
                self.taps[0].join()
            while len(self.taps) < 1 << bits:
                tap = packet_socket.Tap(self._family, bpf.reject_all())
                self.taps.append(tap)
                tap.join(self.taps[0])
                tap.attach(self._open_program)
                self._register(tap)
            self.taps[0].share_by(bpf.part_of_source(self._length, bits, self._seed))
        except OSError:  # not this kernel, or no more descriptors: it stays as it is
            for tap in self.taps[1 << self._bits :]:
                tap.close()
            del self.taps[1 << self._bits :]
            self._max_parts = len(self.taps)
            bits = self._bits
        self._distribute(bits)

    def _distribute(self, bits: int) -> None:
        entries = [entry for known in self._known for entry in known.items()]
        self._bits = bits
        self._known = [{} for _ in self.taps]
        self._muted = [set() for _ in self.taps]
        for key, macs in entries:
            self._known[self._part(key)][key] = macs
        self._open = set(range(len(self.taps)))
        self._outdated = dict.fromkeys(self._open)


def _macs(joined: bytes) -> set[bytes]:
    return {joined[at : at + 6] for at in range(0, len(joined), 6)}
