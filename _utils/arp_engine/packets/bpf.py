"""Which SYNs the kernel shows us: classic BPF (socket filters), as bytes. No sockets.

A database that opens 2,000 connections a second with a hundred workers whose entries are right
should not wake anybody for them, and neither should a flood of forged ones. So the table goes into
the filter, as long as it is small enough: a SYN passes whose source is in the table with another
MAC. What is in the table rightly, or not at all, costs a few nanoseconds in the kernel.

Bytes count from behind the link header. Standard library alone.
"""

import functools
import struct
from collections.abc import Mapping
from typing import NamedTuple

from . import frames, tcp_syn

MOST = 4096  # instructions of a program (BPF_MAXINSNS)
MOST_MACS = 8  # of one address that are no news to it; a jump reaches over 255 instructions

# --- include/uapi/linux/bpf_common.h, filter.h
_LOAD_4, _LOAD_2, _LOAD_1 = 0x20, 0x28, 0x30  # from the packet
_LOAD_1_BEHIND = 0x50  # ... counted from X
_HEADER_TO_X = 0xB1  # X = 4 * (byte & 15): the length of an IPv4 header
_AND, _STORE, _LOAD_STORED = 0x54, 0x02, 0x60  # M[...]
_EQUAL, _ANY_BIT, _RETURN = 0x15, 0x45, 0x06
# --- include/uapi/linux/filter.h: what is known of a frame beside its bytes, and its link header
_BESIDE, _LINK = -0x1000, -0x200000
_PROTOCOL, _WHOM, _VLAN = _BESIDE, _BESIDE + 4, _BESIDE + 48
_SOURCE_MAC = _LINK + 6
PACKET_OUTGOING = 4  # include/uapi/linux/if_packet.h

_PASS, _REJECT = (_RETURN, 0, 0, tcp_syn.LONGEST), (_RETURN, 0, 0, 0)
_MAC_LOW, _MAC_HIGH, _WORDS = 0, 1, 2  # in M: a MAC's last four bytes, its first two; an address

Line = tuple[int, int, int, int]  # operation, jump if true, jump if not, value
Macs = Mapping[bytes, frozenset[bytes]]  # packed address to the MACs that are no news


class _Family(NamedTuple):
    """Where things are in a packet."""

    protocol: int
    next_header: int
    source: int
    target: int
    length: int  # of an address


_FAMILIES = {
    4: _Family(frames.ETH_P_IP, 9, 12, 16, 4),
    16: _Family(frames.ETH_P_IPV6, 6, 8, 24, 16),
}


def incoming(length: int, known: Macs | None = None) -> bytes:
    """Return the program for SYNs that come in, of addresses of so many bytes.

    known: pass only those whose source is among them, with none of its MACs. Without: all.
    ValueError where that takes too many instructions.
    """
    family = _FAMILIES[length]
    lines = _is(_WHOM, _LOAD_4, frames.PACKET_HOST) + _is_syn(family)
    if known is not None:
        lines += _stored(family.source, length)
        lines += [(_LOAD_2, 0, 0, _SOURCE_MAC), (_STORE, 0, 0, _MAC_HIGH)]
        lines += [(_LOAD_4, 0, 0, _SOURCE_MAC + 2), (_STORE, 0, 0, _MAC_LOW)]
        lines.append((_LOAD_STORED, 0, 0, _WORDS))
        code = [_assembled(lines), *(_of(*each) for each in known.items()), _assembled([_REJECT])]
        return _checked(b"".join(code))
    return _assembled([*lines, _PASS])


def outgoing() -> bytes:
    """Return the program for SYNs that leave, of both families.

    A VLAN's packet is seen twice, at the VLAN's device and, tagged, at the one below: only the
    first is what the table speaks of.
    """
    start = _is(_WHOM, _LOAD_4, PACKET_OUTGOING) + _is(_VLAN, _LOAD_4, 0)
    both = []
    for family in _FAMILIES.values():
        lines = [*_is_syn(family), _PASS]
        both.append([(_LOAD_2, 0, 0, _PROTOCOL), (_EQUAL, 0, len(lines), family.protocol), *lines])
    return _assembled([*start, *both[0], *both[1], _REJECT])


def _is(offset: int, load: int, value: int) -> list[Line]:
    return [(load, 0, 0, offset), (_EQUAL, 1, 0, value), _REJECT]


def _is_syn(family: _Family) -> list[Line]:
    """Return what lets only a SYN go on: TCP at once behind the IP header, unfragmented."""
    lines = _is(family.next_header, _LOAD_1, tcp_syn.TCP)
    if family.length == 4:
        lines += [(_LOAD_2, 0, 0, 6), (_ANY_BIT, 0, 1, tcp_syn.FRAGMENT), _REJECT]
        lines += [(_HEADER_TO_X, 0, 0, 0), (_LOAD_1_BEHIND, 0, 0, 13)]
    else:
        lines.append((_LOAD_1, 0, 0, 40 + 13))
    return [*lines, (_AND, 0, 0, tcp_syn.OPENS), (_EQUAL, 1, 0, tcp_syn.SYN), _REJECT]


def _stored(offset: int, length: int) -> list[Line]:
    """Return what puts an address into M, its last four bytes first: they differ most."""
    lines = []
    for number in range(length // 4):
        lines.append((_LOAD_4, 0, 0, offset + length - 4 * (number + 1)))
        lines.append((_STORE, 0, 0, _WORDS + number))
    return lines


@functools.lru_cache(maxsize=4096)  # the table changes often, and little at a time
def _of(address: bytes, macs: frozenset[bytes]) -> bytes:
    """Return what ends the program for one address, and goes on for any other.

    Register A holds the first word of M's address before and after.
    """
    inner: list[Line] = []
    for mac in macs:
        if len(mac) == 6:
            low, high = struct.unpack("!I", mac[2:])[0], struct.unpack("!H", mac[:2])[0]
            inner += [
                (_LOAD_STORED, 0, 0, _MAC_LOW), (_EQUAL, 0, 3, low),
                (_LOAD_STORED, 0, 0, _MAC_HIGH), (_EQUAL, 0, 1, high),
                _REJECT,
            ]  # fmt: skip
    inner.append(_PASS)
    words = struct.unpack(f"!{len(address) // 4}I", address)[::-1]
    for number in reversed(range(1, len(words))):
        other = len(inner)
        inner = [(_LOAD_STORED, 0, 0, _WORDS + number), (_EQUAL, 0, other, words[number]), *inner]
    if len(words) > 1:
        inner.append((_LOAD_STORED, 0, 0, _WORDS))  # where another word differed
    return _assembled([(_EQUAL, 0, len(inner), words[0]), *inner])


def _assembled(lines: list[Line]) -> bytes:
    return _checked(
        b"".join(
            struct.pack("=HBBI", operation, yes, no, value & 0xFFFFFFFF)
            for operation, yes, no, value in lines
        )
    )


def _checked(code: bytes) -> bytes:
    if len(code) > 8 * MOST:
        raise ValueError(f"{len(code) // 8} instructions, {MOST} are allowed")
    return code
