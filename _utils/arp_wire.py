"""Neighbour messages as the kernel writes them: bytes in, plain tuples out, and back.

No sockets and no policy. One dump answer is a chunk of up to 32 KiB full of messages like this
one (IPv4, Ethernet, 76 bytes; byte order is the machine's)::

     0 nlmsghdr   length:4  type:2  flags:2  sequence:4  port:4
    16 ndmsg      family:1  pad:3  ifindex:4  state:2  flags:1  kind:1
    28 NDA_DST        08 00 01 00  address:4      (IPv6: 14 00 01 00  address:16)
    36 NDA_LLADDR     0a 00 02 00  mac:6  pad:2   (absent in FAILED and INCOMPLETE)
    48 NDA_PROBES     08 00 04 00  probes:4
    56 NDA_CACHEINFO  14 00 03 00  confirmed:4  used:4  updated:4  references:4
    76 ...            NDA_PROTOCOL and NDA_FLAGS_EXT where somebody set them

A chunk is sorted by the length of its messages; what has one layout is checked by columns
(``block[offset::size]``) and unpacked in one go. What fits no known layout is walked attribute by
attribute. All paths must agree: tests/unit/test_wire.py.
"""

import os
import socket
import struct
from collections import defaultdict, namedtuple
from itertools import compress, starmap

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ndmsg import NUD_PROBE

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

TICKS = os.sysconf("SC_CLK_TCK")  # the unit of confirmed, used and updated

# include/uapi/linux/neighbour.h; pyroute2 before 0.9 does not know the last two
NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_PROBES, NDA_IFINDEX = 1, 2, 3, 4, 8
NDA_PROTOCOL, NDA_FLAGS_EXT = 12, 15
NLA_TYPE_MASK = 0x3FFF

FEW = 16  # messages; more of them are faster looked at by columns

#: One row of the table. ``dst`` and ``mac`` are packed, ages are ticks, ``kind`` is the route type
#: of the address (RTN_UNICAST, RTN_MULTICAST, ...), ``ext`` is NDA_FLAGS_EXT.
Entry = namedtuple(
    "Entry",
    "ifindex state flags kind dst mac confirmed used updated protocol ext",
    defaults=(0, 0),
)

HEADER = struct.Struct("=IHHII")
NDMSG = struct.Struct("=B3xiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_CACHEINFO = struct.Struct("=III")
_LENGTH = struct.Struct("=I")
_ABOUT = {width: struct.Struct(f"=IHHIIB3xiHBBHH{width}s") for width in (4, 16)}


class Layout:
    """The shape shared by all messages of one family that carry the same attributes."""

    def __init__(self, family, mac):
        """Describe the messages of ``family``, with a six-byte MAC or without any."""
        width = 4 if family == socket.AF_INET else 16
        lladdr = "4x6s2x" if mac else ""
        self.fields = struct.Struct(f"=16x4xiHBB4x{width}s{lladdr}8x4xIII4x")
        self.heads = struct.Struct(f"=16x4xiHBB{self.fields.size - 28}x")
        self.size, self.mac = self.fields.size, mac
        marks = [(0, struct.pack("=IH", self.size, RTM_NEWNEIGH)), (16, bytes([family]))]
        at = 28
        for kind, length in (
            (NDA_DST, width),
            (NDA_LLADDR, 6),
            (NDA_PROBES, 4),
            (NDA_CACHEINFO, 16),
        ):
            if kind != NDA_LLADDR or mac:
                marks.append((at, _ATTRIBUTE.pack(4 + length, kind)))
                at += 4 + (length + 3 & ~3)
        self._columns = [
            (start + n, mark[n : n + 1]) for start, mark in marks for n in range(len(mark))
        ]
        mask, expected = bytearray(self.size), bytearray(self.size)
        for offset, value in self._columns:
            mask[offset], expected[offset] = 0xFF, value[0]
        self._mask, self._expected = (int.from_bytes(b, "big") for b in (mask, expected))

    def fills(self, chunk):
        """Tell whether ``chunk`` is nothing but messages of this layout."""
        count, rest = divmod(len(chunk), self.size)
        if count < FEW:  # one big number for each message is cheaper than many short columns
            numbers = (int.from_bytes(m, "big") for m in self._messages(chunk))
            return not rest and all(n & self._mask == self._expected for n in numbers)
        return not rest and all(
            chunk[offset :: self.size] == value * count for offset, value in self._columns
        )

    def shared_head(self, block):
        """Return ``(ifindex, state, flags, kind)`` where all entries of a block share it."""
        count = len(block) // self.size
        if count < FEW:
            heads = set(self.heads.iter_unpack(block))
            return heads.pop() if len(heads) == 1 else None
        if all(block[n :: self.size] == block[n : n + 1] * count for n in range(20, 28)):
            return self.heads.unpack_from(block)
        return None

    def _messages(self, block):
        return [block[at : at + self.size] for at in range(0, len(block), self.size)]

    def pick(self, block, chosen):
        """Return some messages of a block, those whose place in ``chosen`` is true."""
        return b"".join(compress(self._messages(block), chosen))

    def tuples(self, block):
        """Yield the first fields of an Entry for each message of a block that this layout fills."""
        rows = self.fields.iter_unpack(block)
        return rows if self.mac else ((*row[:5], b"", *row[5:]) for row in rows)

    def entries(self, block):
        """Return the entries of a block that this layout fills."""
        return list(starmap(Entry, self.tuples(block)))


LAYOUTS = [Layout(f, mac) for f in (socket.AF_INET, socket.AF_INET6) for mac in (True, False)]
_BY_SIZE = {}
for _layout in LAYOUTS:
    _BY_SIZE.setdefault(_layout.size, []).append(_layout)


def blocks(chunk):
    """Return ``(layout, bytes)`` of all messages of one layout in a dump answer, in their order.

    A message of no known layout comes alone, with None.
    """
    for layout in _BY_SIZE.get(_LENGTH.unpack_from(chunk)[0], ()) if chunk else ():
        if layout.fills(chunk):
            return [(layout, chunk)]
    by_size, length, least = defaultdict(list), _LENGTH.unpack_from, HEADER.size
    at, end = 0, len(chunk)
    while at + least <= end:
        [size] = length(chunk, at)
        if size < least or at + size > end:
            raise ValueError(f"netlink message of {size} bytes at {at} in a chunk of {end}")
        by_size[size].append(chunk[at : at + size])
        at += size + 3 & ~3
    return [block for size in by_size for block in _alike(size, by_size[size])]


def _alike(size, messages):
    """Return ``(layout, bytes)`` of messages of one length."""
    layouts, joined = _BY_SIZE.get(size, ()), b"".join(messages)
    for layout in layouts:
        if layout.fills(joined):
            return [(layout, joined)]
    if layouts and len(messages) > 1:  # of one length, and yet not alike
        return [block for message in messages for block in _alike(size, [message])]
    return [(None, message) for message in messages]


def entries(chunk):
    """Return the entries of one dump answer; those of one layout are in its order."""
    found = []
    for layout, block in blocks(chunk):
        if layout:
            found += layout.entries(block)
        else:
            entry = parse(block)
            if entry:
                found.append(entry)
    return found


def attributes(chunk, at, end):
    """Yield ``(type, start, end)`` of each attribute's value between two offsets."""
    while at + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(chunk, at)
        if size < 4 or at + size > end:
            raise ValueError(f"netlink attribute of {size} bytes at {at}, message ends at {end}")
        yield kind & NLA_TYPE_MASK, at + 4, at + size
        at += size + 3 & ~3


def parse(message):
    """Return the entry of one message attribute by attribute; None where it is no neighbour."""
    if HEADER.unpack_from(message)[1] != RTM_NEWNEIGH:
        return None
    _family, ifindex, state, flags, kind = NDMSG.unpack_from(message, 16)
    dst = mac = b""
    ages = (0, 0, 0)
    protocol = ext = 0
    for name, start, end in attributes(message, 28, len(message)):
        if name == NDA_DST:
            dst = message[start:end]
        elif name == NDA_LLADDR:
            mac = message[start:end]
        elif name == NDA_CACHEINFO:
            ages = _CACHEINFO.unpack_from(message, start)
        elif name == NDA_PROTOCOL:
            protocol = message[start]
        elif name == NDA_FLAGS_EXT:
            ext = _LENGTH.unpack_from(message, start)[0]
    return Entry(ifindex, state, flags, kind, dst, mac, *ages, protocol, ext)


def family_of(dst):
    """Return the address family of a packed address."""
    return socket.AF_INET if len(dst) == 4 else socket.AF_INET6


def _message(kind, flags, body, sequence=0):
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def attribute(kind, value):
    """Return one attribute, padded."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def dump_request(kind, body, sequence):
    """Return the message that asks for all objects of one kind."""
    return _message(kind, NLM_F_REQUEST | NLM_F_DUMP, body, sequence)


def neighbours_body(family, ifindex=0):
    """Return what follows the header when neighbours of a family (and a device) are asked for."""
    body = NDMSG.pack(family, 0, 0, 0, 0)
    return body + attribute(NDA_IFINDEX, _LENGTH.pack(ifindex)) if ifindex else body


def _about(ifindex, dst, kind, flags, state=0, lladdr=b""):
    tail = attribute(NDA_LLADDR, lladdr) if lladdr else b""
    width = len(dst)
    shape = _ABOUT[width]
    head = (shape.size + len(tail), kind, flags, 0, 0, family_of(dst), ifindex, state, 0, 0)
    return shape.pack(*head, 4 + width, NDA_DST, dst) + tail


def get_message(ifindex, dst):
    """Return the question for one entry (answered by one message, or ENOENT)."""
    return _about(ifindex, dst, RTM_GETNEIGH, NLM_F_REQUEST)


def delete_message(entry):
    """Return the order to delete one entry. Unanswered when it succeeds."""
    return _about(entry.ifindex, entry.dst, RTM_DELNEIGH, NLM_F_REQUEST)


def probe_message(entry):
    """Return the order to prove one entry again: compare-and-probe.

    Neither NLM_F_REPLACE nor NLM_F_CREATE: where the MAC is still ours the entry goes to PROBE
    with its flags kept; where it has changed meanwhile the kernel leaves it alone and reports
    success; where it is gone, ENOENT (net/core/neighbour.c: neigh_add, __neigh_update).
    """
    return _about(entry.ifindex, entry.dst, RTM_NEWNEIGH, NLM_F_REQUEST, NUD_PROBE, entry.mac)


def delete_messages(block, layout):
    """Return a block that ``layout`` fills as orders to delete its entries.

    RTM_DELNEIGH reads family, ifindex and NDA_DST and ignores the rest: a changed type and
    changed flags make an order of an answer.
    """
    orders, count = bytearray(block), len(block) // layout.size
    for offset, value in enumerate(struct.pack("=HH", RTM_DELNEIGH, NLM_F_REQUEST), 4):
        orders[offset :: layout.size] = bytes([value]) * count
    return orders
