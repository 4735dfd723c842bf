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

A run of messages of one such layout is checked by columns (``chunk[offset::size]``), or message by
message where it is short, and unpacked in one go. What fits no known layout is walked attribute by
attribute. All paths must agree: tests/unit/test_wire.py.
"""

import os
import socket
import struct
import sys
from collections import namedtuple
from itertools import starmap

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ndmsg import NUD_PROBE

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

TICKS = os.sysconf("SC_CLK_TCK")  # the unit of confirmed, used and updated

# include/uapi/linux/neighbour.h; pyroute2 before 0.9 does not know the last two
NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_PROBES, NDA_IFINDEX = 1, 2, 3, 4, 8
NDA_PROTOCOL, NDA_FLAGS_EXT = 12, 15
NLA_TYPE_MASK = 0x3FFF

FEW = 24  # a run shorter than this is checked faster message by message than by columns
_LOW = 0 if sys.byteorder == "little" else 3  # where the low byte of a length is

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
        # What is the same in every message of this layout: by column for many, in one go for one.
        self._columns = [
            (start + n, mark[n : n + 1]) for start, mark in marks for n in range(len(mark))
        ]
        shape, end = "=", 0
        for start, mark in marks:
            shape += f"{start - end}x{len(mark)}s"
            end = start + len(mark)
        self._marks, self._expected = struct.Struct(shape), tuple(mark for _at, mark in marks)

    def fills(self, chunk):
        """Tell whether ``chunk`` is nothing but messages of this layout."""
        count, rest = divmod(len(chunk), self.size)
        return not rest and all(
            chunk[offset :: self.size] == value * count for offset, value in self._columns
        )

    def run(self, chunk, at):
        """Return how many messages in a row, from ``at`` on, have this layout."""
        if self._marks.unpack_from(chunk, at) != self._expected:
            return 0
        column = chunk[at + _LOW :: self.size]  # ends where a message of another length begins
        run = min(len(column) - len(column.lstrip(column[:1])), (len(chunk) - at) // self.size)
        if run > 1 and run < FEW:
            offsets = range(at + self.size, at + run * self.size, self.size)
            same = all(self._marks.unpack_from(chunk, n) == self._expected for n in offsets)
        else:
            same = run == 1 or self.fills(chunk[at : at + run * self.size])
        return run if same else 1

    def shared_head(self, block):
        """Return ``(ifindex, state, flags, kind)`` where all entries of a block share it."""
        count = len(block) // self.size
        if all(block[n :: self.size] == block[n : n + 1] * count for n in range(20, 28)):
            return self.heads.unpack_from(block)
        return None

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
    """Yield ``(layout, bytes)`` for each run of messages of one layout in a dump answer.

    A message of no known layout comes alone, with None.
    """
    at, end = 0, len(chunk)
    while at + HEADER.size <= end:
        size = _LENGTH.unpack_from(chunk, at)[0]
        if size < HEADER.size or at + size > end:
            raise ValueError(f"netlink message of {size} bytes at {at} in a chunk of {end}")
        for layout in _BY_SIZE.get(size, ()):
            run = layout.run(chunk, at)
            if run:
                yield layout, chunk[at : at + run * size]
                at += run * size
                break
        else:
            yield None, chunk[at : at + size]
            at += size + 3 & ~3


def entries(chunk):
    """Return the entries of one dump answer, in its order."""
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
