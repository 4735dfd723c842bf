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

A chunk in which every message has that one layout is checked by columns (``chunk[offset::size]``)
and unpacked in one go. Everything else is walked message by message, and what fits no known
layout attribute by attribute. All three paths must agree: tests/unit/test_wire.py.
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


class Layout:
    """The shape shared by all messages of one family that carry the same attributes."""

    def __init__(self, family, mac):
        """Describe the messages of ``family``, with a six-byte MAC or without any."""
        width = 4 if family == socket.AF_INET else 16
        self.family, self.mac = family, mac
        shape = f"4x{width}s" + ("4x6s2x" if mac else "") + "8x" + "4xIII4x"
        self.fields = struct.Struct("=16x4xiHBB" + shape)
        self.size = self.fields.size
        head = bytearray(self.size)  # what is the same in every message of this layout
        HEADER.pack_into(head, 0, self.size, RTM_NEWNEIGH, 0, 0, 0)
        head[16] = family
        fixed = [0, 1, 2, 3, 4, 5, 16]
        at = 28
        for kind, length in ((NDA_DST, width), *(((NDA_LLADDR, 6),) if mac else ())):
            at = self._attribute(head, fixed, at, kind, length)
        at = self._attribute(head, fixed, at, NDA_PROBES, 4)
        self._attribute(head, fixed, at, NDA_CACHEINFO, 16)
        self.columns = [(offset, bytes([head[offset]])) for offset in fixed]

    @staticmethod
    def _attribute(head, fixed, at, kind, length):
        _ATTRIBUTE.pack_into(head, at, 4 + length, kind)
        fixed += range(at, at + 4)
        return at + 4 + (length + 3 & ~3)

    def fills(self, chunk):
        """Tell whether ``chunk`` is nothing but messages of this layout."""
        count, rest = divmod(len(chunk), self.size)
        return not rest and all(
            chunk[offset :: self.size] == value * count for offset, value in self.columns
        )

    def fits(self, chunk, at):
        """Tell whether the message at ``at``, known to be of our size, has this layout."""
        return all(chunk[at + offset] == value[0] for offset, value in self.columns)

    def columns_of(self, chunk):
        """Return ``(ifindexes, states, others)`` of a chunk that this layout fills.

        The first two are sets; ``others`` tells whether any entry has flags or is not unicast.
        """
        states, flags, kinds = (chunk[offset :: self.size] for offset in (24, 26, 27))
        high = chunk[25 :: self.size]
        if sys.byteorder == "big":
            states, high = high, states
        others = any(flags) or any(high) or bool(kinds.strip(b"\x01"))
        rows = {chunk[at : at + 4] for at in range(20, len(chunk), self.size)}
        return {int.from_bytes(row, sys.byteorder) for row in rows}, set(states), others

    def entries(self, chunk):
        """Unpack a chunk that this layout fills."""
        if self.mac:
            return list(starmap(Entry, self.fields.iter_unpack(chunk)))
        return [Entry(*row[:5], b"", *row[5:]) for row in self.fields.iter_unpack(chunk)]

    def entry(self, chunk, at):
        """Unpack the one message at ``at``."""
        row = self.fields.unpack_from(chunk, at)
        return Entry(*row) if self.mac else Entry(*row[:5], b"", *row[5:])


LAYOUTS = [Layout(f, mac) for f in (socket.AF_INET, socket.AF_INET6) for mac in (True, False)]
_BY_SIZE = {}
for _layout in LAYOUTS:
    _BY_SIZE.setdefault(_layout.size, []).append(_layout)


def uniform(chunk):
    """Return the layout that fills ``chunk``, or None."""
    for layout in _BY_SIZE.get(_LENGTH.unpack_from(chunk)[0], ()):
        if layout.fills(chunk):
            return layout
    return None


def entries(chunk):
    """Return the entries of one dump answer, in its order."""
    if not chunk:
        return []
    layout = uniform(chunk)
    return layout.entries(chunk) if layout else [entry for _at, entry in walk(chunk)]


def walk(chunk):
    """Yield ``(offset, entry)`` for each neighbour message of a chunk, whatever its layout."""
    at, end = 0, len(chunk)
    while at + HEADER.size <= end:
        size = _LENGTH.unpack_from(chunk, at)[0]
        if size < HEADER.size or at + size > end:
            raise ValueError(f"netlink message of {size} bytes at {at} in a chunk of {end}")
        for layout in _BY_SIZE.get(size, ()):
            if layout.fits(chunk, at):
                yield at, layout.entry(chunk, at)
                break
        else:
            entry = parse(chunk, at, size)
            if entry:
                yield at, entry
        at += size + 3 & ~3


def attributes(chunk, at, end):
    """Yield ``(type, start, end)`` of each attribute's value between two offsets."""
    while at + 4 <= end:
        size, kind = _ATTRIBUTE.unpack_from(chunk, at)
        if size < 4 or at + size > end:
            raise ValueError(f"netlink attribute of {size} bytes at {at}, message ends at {end}")
        yield kind & NLA_TYPE_MASK, at + 4, at + size
        at += size + 3 & ~3


def parse(chunk, at, size):
    """Return the entry of one message attribute by attribute; None where it is no neighbour."""
    if HEADER.unpack_from(chunk, at)[1] != RTM_NEWNEIGH:
        return None
    _family, ifindex, state, flags, kind = NDMSG.unpack_from(chunk, at + 16)
    dst = mac = b""
    ages = (0, 0, 0)
    protocol = ext = 0
    for name, start, end in attributes(chunk, at + 28, at + size):
        if name == NDA_DST:
            dst = bytes(chunk[start:end])
        elif name == NDA_LLADDR:
            mac = bytes(chunk[start:end])
        elif name == NDA_CACHEINFO:
            ages = _CACHEINFO.unpack_from(chunk, start)
        elif name == NDA_PROTOCOL:
            protocol = chunk[start]
        elif name == NDA_FLAGS_EXT:
            ext = _LENGTH.unpack_from(chunk, start)[0]
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
    body = NDMSG.pack(family_of(dst), ifindex, state, 0, 0)
    body += attribute(NDA_DST, dst)
    return _message(kind, flags, body + (attribute(NDA_LLADDR, lladdr) if lladdr else b""))


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


def as_deletes(chunk, layout):
    """Turn a chunk that ``layout`` fills into orders to delete all its entries.

    RTM_DELNEIGH reads family, ifindex and NDA_DST and ignores the rest: changing type and flags
    of every message suffices.
    """
    orders = bytearray(chunk)
    count = len(chunk) // layout.size
    for offset, value in enumerate(struct.pack("=HH", RTM_DELNEIGH, NLM_F_REQUEST), 4):
        orders[offset :: layout.size] = bytes([value]) * count
    return orders
