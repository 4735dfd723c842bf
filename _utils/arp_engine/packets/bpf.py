"""Socket filters (classic BPF) that pass the SYNs the sentinel must see, as bytes. No sockets.

2,000 SYNs a second from a hundred workers with correct entries should not wake the sentinel, and
neither should a flood of forged ones. So the filter contains the neighbour table, while it is small
enough: a SYN passes if its source address is in the table with another MAC. All other SYNs cost a
few nanoseconds in the kernel.

Offsets count from the end of the link header. Standard library alone.
"""

import functools
import struct
from collections.abc import Mapping
from typing import NamedTuple

from . import frames, tcp_syn

MAX_INSTRUCTIONS = 4096  # of a program: BPF_MAXINSNS
MAX_MACS = 8  # known MACs of one address; a jump can skip 255 instructions

# --- include/uapi/linux/bpf_common.h, filter.h
_LOAD_4, _LOAD_2, _LOAD_1 = 0x20, 0x28, 0x30  # from the packet
_LOAD_1_FROM_X = 0x50  # ... at an offset from X
_HEADER_TO_X = 0xB1  # X = 4 * (byte & 15): the length of an IPv4 header
_AND, _STORE, _LOAD_STORED = 0x54, 0x02, 0x60  # M[...]
_EQUAL, _ANY_BIT, _RETURN = 0x15, 0x45, 0x06
# --- include/uapi/linux/filter.h: offsets of a frame's metadata (SKF_AD_OFF) and of its link header
_METADATA, _LINK = -0x1000, -0x200000
_PROTOCOL, _PACKET_TYPE, _VLAN = _METADATA, _METADATA + 4, _METADATA + 48
_SOURCE_MAC = _LINK + 6
PACKET_OUTGOING = 4  # include/uapi/linux/if_packet.h

_PASS, _REJECT = (_RETURN, 0, 0, tcp_syn.SNAPLEN), (_RETURN, 0, 0, 0)
_MAC_LOW, _MAC_HIGH, _WORDS = 0, 1, 2  # in M: a MAC's last four bytes, its first two; an address

Instruction = tuple[int, int, int, int]  # operation, jump if true, jump if false, value
KnownMacs = Mapping[bytes, frozenset[bytes]]  # packed address to its known MACs


class _Family(NamedTuple):
    """The EtherType of a family, and the offsets of its header's fields."""

    protocol: int
    next_header: int
    source: int
    target: int
    length: int  # of an address


_FAMILIES = {
    4: _Family(frames.ETH_P_IP, 9, 12, 16, 4),
    16: _Family(frames.ETH_P_IPV6, 6, 8, 24, 16),
}


def inbound_syns(length: int, known: KnownMacs | None = None) -> bytes:
    """Return the program that passes inbound SYNs, of a family with addresses of ``length`` bytes.

    known: pass only SYNs whose source address is in it, from a MAC that is not. None: pass all.
    ValueError where that takes too many instructions.
    """
    family = _FAMILIES[length]
    lines = _require(_PACKET_TYPE, _LOAD_4, frames.PACKET_HOST) + _require_syn(family)
    if known is not None:
        lines += _store_address(family.source, length)
        lines += [(_LOAD_2, 0, 0, _SOURCE_MAC), (_STORE, 0, 0, _MAC_HIGH)]
        lines += [(_LOAD_4, 0, 0, _SOURCE_MAC + 2), (_STORE, 0, 0, _MAC_LOW)]
        lines.append((_LOAD_STORED, 0, 0, _WORDS))
        checks = [_check_macs(address, macs) for address, macs in known.items()]
        return _checked(b"".join([_assemble(lines), *checks, _assemble([_REJECT])]))
    return _assemble([*lines, _PASS])


def outbound_syns() -> bytes:
    """Return the program that passes outbound SYNs of both families.

    A packet on a VLAN is seen twice: on the VLAN device, and tagged on the device below. Only the
    first passes, as the neighbour entry belongs to the VLAN device.
    """
    start = _require(_PACKET_TYPE, _LOAD_4, PACKET_OUTGOING) + _require(_VLAN, _LOAD_4, 0)
    both = []
    for family in _FAMILIES.values():
        lines = [*_require_syn(family), _PASS]
        both.append([(_LOAD_2, 0, 0, _PROTOCOL), (_EQUAL, 0, len(lines), family.protocol), *lines])
    return _assemble([*start, *both[0], *both[1], _REJECT])


def _require(offset: int, load: int, value: int) -> list[Instruction]:
    return [(load, 0, 0, offset), (_EQUAL, 1, 0, value), _REJECT]


def _require_syn(family: _Family) -> list[Instruction]:
    """Return the instructions that reject all but SYNs: TCP right after the IP header, whole."""
    lines = _require(family.next_header, _LOAD_1, tcp_syn.TCP)
    if family.length == 4:
        lines += [(_LOAD_2, 0, 0, 6), (_ANY_BIT, 0, 1, tcp_syn.FRAGMENT_MASK), _REJECT]
        lines += [(_HEADER_TO_X, 0, 0, 0), (_LOAD_1_FROM_X, 0, 0, 13)]
    else:
        lines.append((_LOAD_1, 0, 0, 40 + 13))
    return [*lines, (_AND, 0, 0, tcp_syn.FLAGS_MASK), (_EQUAL, 1, 0, tcp_syn.SYN), _REJECT]


def _store_address(offset: int, length: int) -> list[Instruction]:
    """Return the instructions that copy an address to M, its last four bytes first.

    Those differ most.
    """
    lines = []
    for number in range(length // 4):
        lines.append((_LOAD_4, 0, 0, offset + length - 4 * (number + 1)))
        lines.append((_STORE, 0, 0, _WORDS + number))
    return lines


@functools.lru_cache(maxsize=4096)  # the table changes often, and little at a time
def _check_macs(address: bytes, macs: frozenset[bytes]) -> bytes:
    """Return the code that decides about SYNs of one address, and skips itself for any other.

    Register A holds the first word of the address in M before it, and after it.
    """
    inner: list[Instruction] = []
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
    return _assemble([(_EQUAL, 0, len(inner), words[0]), *inner])


def _assemble(lines: list[Instruction]) -> bytes:
    return _checked(
        b"".join(
            struct.pack("=HBBI", operation, yes, no, value & 0xFFFFFFFF)
            for operation, yes, no, value in lines
        )
    )


def _checked(code: bytes) -> bytes:
    if len(code) > 8 * MAX_INSTRUCTIONS:
        raise ValueError(f"BPF program of {len(code) // 8} instructions, limit {MAX_INSTRUCTIONS}")
    return code
