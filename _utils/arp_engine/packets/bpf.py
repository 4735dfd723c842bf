"""Socket filters (classic BPF) that pass the SYNs the sentinel must see, as bytes. No sockets.

2,000 SYNs a second from a hundred workers with correct entries should not wake the sentinel, and
neither should a flood of forged ones. So the filters contain the neighbour table: a SYN passes if
its device and source address are in the table with another MAC. All other SYNs cost some ten
nanoseconds in the kernel.

A program is a search tree over 32-bit hashes of (device, address). Two entries with one hash pass
all their SYNs, so nothing depends on the hash being good. One program holds some 500 entries; of a
larger table each of many sockets has a part, and ``part_of_source`` chooses the socket by the same
hash (PACKET_FANOUT).

Offsets count from the end of the link header. Standard library alone.
"""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from . import frames, tcp_syn

MAX_INSTRUCTIONS = 4096  # of a program: BPF_MAXINSNS
MAX_MACS = 8  # known MACs of one entry; a jump can skip 255 instructions
MAC_LENGTH = 6  # bytes: other links' senders are not compared

# --- include/uapi/linux/bpf_common.h, filter.h
_LOAD_4, _LOAD_2, _LOAD_1 = 0x20, 0x28, 0x30  # from the packet
_LOAD_1_FROM_X = 0x50  # ... at an offset from X
_HEADER_TO_X = 0xB1  # X = 4 * (byte & 15): the length of an IPv4 header
_AND, _STORE, _LOAD_STORED = 0x54, 0x02, 0x60  # M[...]
_MULTIPLY, _SHIFT_RIGHT, _XOR_X, _TO_X = 0x24, 0x74, 0xAC, 0x07
_EQUAL, _NOT_LESS, _ANY_BIT, _JUMP = 0x15, 0x35, 0x45, 0x05
_RETURN, _RETURN_A = 0x06, 0x16
# --- include/uapi/linux/filter.h: offsets of a frame's metadata (SKF_AD_OFF) and of its link header
_METADATA, _LINK = -0x1000, -0x200000
_PROTOCOL, _PACKET_TYPE, _IFINDEX, _VLAN = (_METADATA + at for at in (0, 4, 8, 48))
_SOURCE_MAC = _LINK + 6
_VLAN_HLEN = 4  # bytes: include/linux/if_vlan.h
PACKET_OUTGOING = 4  # include/uapi/linux/if_packet.h

_PASS, _REJECT = (_RETURN, 0, 0, tcp_syn.SNAPLEN), (_RETURN, 0, 0, 0)
_MAC_LOW, _MAC_HIGH = 0, 1  # in M: a MAC's last four bytes, its first two
_FEW = 4  # entries that are compared one after the other, without a tree
_WORD = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]  # operation, jump if true, jump if false, value
Key = tuple[int, bytes]  # ifindex, packed address
KnownMacs = Mapping[Key, bytes]  # to its known MACs, one after the other; none: any is news


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


def inbound_syns(length: int, known: KnownMacs | None = None, seed: int = 1) -> bytes:
    """Return the program that passes inbound SYNs, of a family with addresses of ``length`` bytes.

    known: pass only SYNs of an entry that is in it, from a MAC that is not. None: pass all.
    ValueError where that takes too many instructions.
    """
    family = _FAMILIES[length]
    lines = _require(_PACKET_TYPE, _LOAD_4, frames.PACKET_HOST) + _require_syn(family)
    if known is None:
        return _assemble([*lines, _PASS])
    lines += [(_LOAD_2, 0, 0, _SOURCE_MAC), (_STORE, 0, 0, _MAC_HIGH)]
    lines += [(_LOAD_4, 0, 0, _SOURCE_MAC + 2), (_STORE, 0, 0, _MAC_LOW)]
    lines += _hash(family, seed)
    by_hash: dict[int, bytes] = {}
    for key, macs in known.items():
        hashed = hash_of(key, seed)
        by_hash[hashed] = b"" if hashed in by_hash else macs
    leaves = [(hashed, _leaf(hashed, macs)) for hashed, macs in sorted(by_hash.items())]
    return _checked(_assemble(lines) + _tree(leaves))


def part_of_source(length: int, bits: int, seed: int) -> bytes:
    """Return the program that returns which of ``1 << bits`` parts a packet's source is in."""
    lines = _hash(_FAMILIES[length], seed)
    return _assemble([*lines, (_SHIFT_RIGHT, 0, 0, 32 - bits), (_RETURN_A, 0, 0, 0)])


def hash_of(key: Key, seed: int) -> int:
    """Return what the programs compute of device and source address; seed: an odd number."""
    ifindex, dst = key
    hashed = ifindex * seed & _WORD
    for word in struct.unpack(f"!{len(dst) // 4}I", dst):
        hashed = (hashed ^ word) * seed & _WORD
    return (hashed ^ hashed >> 16) * seed & _WORD


def reject_all() -> bytes:
    """Return the program that passes nothing."""
    return _assemble([_REJECT])


def outbound_syns() -> bytes:
    """Return the program that passes outbound SYNs of both families.

    A packet on a VLAN is seen twice: on the VLAN device, and tagged on the device below. Only the
    first passes, as the neighbour entry belongs to the VLAN device. With reorder_hdr off, or a card
    that tags nothing, the VLAN device has put the tag before the IP header; whether a packet socket
    then sees it depends on the kernel.
    """
    lines = _require(_PACKET_TYPE, _LOAD_4, PACKET_OUTGOING) + _require(_VLAN, _LOAD_4, 0)
    families = _FAMILIES.values()
    for family in families:
        lines += _if_equal((_LOAD_2, 0, 0, _PROTOCOL), family.protocol, _syn_passes(family))
    lines += [(_EQUAL, 2, 0, frames.ETH_P_8021Q), (_EQUAL, 1, 0, frames.ETH_P_8021AD), _REJECT]
    for family in families:  # struct vlan_hdr: tag, protocol
        lines += _if_equal((_LOAD_2, 0, 0, 2), family.protocol, _syn_passes(family, _VLAN_HLEN))
    for family in families:
        lines += [(_LOAD_1, 0, 0, 0), (_AND, 0, 0, 0xF0)]
        version = 0x40 if family.length == 4 else 0x60
        inner = _syn_passes(family)
        lines += [(_EQUAL, 0, len(inner), version), *inner]
    return _assemble([*lines, _REJECT])


def _syn_passes(family: _Family, at: int = 0) -> list[Instruction]:
    return [*_require_syn(family, at), _PASS]


def _if_equal(load: Instruction, value: int, then: list[Instruction]) -> list[Instruction]:
    return [load, (_EQUAL, 0, len(then), value), *then]


def _require(offset: int, load: int, value: int) -> list[Instruction]:
    return [(load, 0, 0, offset), (_EQUAL, 1, 0, value), _REJECT]


def _require_syn(family: _Family, at: int = 0) -> list[Instruction]:
    """Return the instructions that reject all but SYNs: TCP right after the IP header, whole.

    at: where the IP header begins.
    """
    lines = _require(at + family.next_header, _LOAD_1, tcp_syn.TCP)
    if family.length == 4:
        lines += [(_LOAD_2, 0, 0, at + 6), (_ANY_BIT, 0, 1, tcp_syn.FRAGMENT_MASK), _REJECT]
        lines += [(_HEADER_TO_X, 0, 0, at), (_LOAD_1_FROM_X, 0, 0, at + 13)]
    else:
        lines.append((_LOAD_1, 0, 0, at + 40 + 13))
    return [*lines, (_AND, 0, 0, tcp_syn.FLAGS_MASK), (_EQUAL, 1, 0, tcp_syn.SYN), _REJECT]


def _hash(family: _Family, seed: int) -> list[Instruction]:
    """Return the instructions that leave ``hash_of`` in register A."""
    lines: list[Instruction] = [(_LOAD_4, 0, 0, _IFINDEX), (_MULTIPLY, 0, 0, seed)]
    for at in range(family.source, family.source + family.length, 4):
        lines += [(_TO_X, 0, 0, 0), (_LOAD_4, 0, 0, at), (_XOR_X, 0, 0, 0)]
        lines.append((_MULTIPLY, 0, 0, seed))
    lines += [(_TO_X, 0, 0, 0), (_SHIFT_RIGHT, 0, 0, 16), (_XOR_X, 0, 0, 0)]
    return [*lines, (_MULTIPLY, 0, 0, seed)]


def _leaf(hashed: int, macs: bytes) -> bytes:
    """Return the code that decides about SYNs of one entry, and skips itself for any other.

    Register A holds the hash before it, and after it.
    """
    inner = b""
    for at in range(0, len(macs), 6):
        high, low = _MAC.unpack_from(macs, at)
        inner += _LOAD_LOW + _line(_EQUAL, 0, 3, low) + _LOAD_HIGH + _line(_EQUAL, 0, 1, high)
        inner += _REJECTED
    inner += _PASSED
    return _line(_EQUAL, 0, len(inner) // 8, hashed) + inner


def _tree(leaves: list[tuple[int, bytes]]) -> bytes:
    """Return the code that finds one of the leaves, which are sorted by hash, or rejects."""
    if len(leaves) <= _FEW:
        return b"".join(code for _hashed, code in leaves) + _REJECTED
    middle = len(leaves) // 2
    low, high = _tree(leaves[:middle]), _tree(leaves[middle:])
    first, skipped = leaves[middle][0], len(low) // 8
    if skipped < 256:
        return _line(_NOT_LESS, skipped, 0, first) + low + high
    return _line(_NOT_LESS, 0, 1, first) + _line(_JUMP, 0, 0, skipped) + low + high


def _assemble(lines: list[Instruction]) -> bytes:
    return b"".join(_line(*line[:3], line[3] & _WORD) for line in lines)


def _checked(code: bytes) -> bytes:
    if len(code) > 8 * MAX_INSTRUCTIONS:
        raise ValueError(f"BPF program of {len(code) // 8} instructions, limit {MAX_INSTRUCTIONS}")
    return code


_MAC = struct.Struct("!HI")
_line = struct.Struct("=HBBI").pack
_REJECTED, _PASSED = _assemble([_REJECT]), _assemble([_PASS])
_LOAD_LOW = _assemble([(_LOAD_STORED, 0, 0, _MAC_LOW)])
_LOAD_HIGH = _assemble([(_LOAD_STORED, 0, 0, _MAC_HIGH)])
