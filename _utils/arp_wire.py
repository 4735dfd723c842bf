"""Neighbour messages one by one: bytes in, plain tuples out, and back. No sockets and no policy.

The general path: any message, attribute by attribute. What the bytes look like is drawn in
arp_blocks, which reads many of them at once; both agree: tests/unit/test_wire.py.
"""

import functools
import os
import socket
import struct
from collections import namedtuple

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ndmsg import NUD_PROBE

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

TICKS = os.sysconf("SC_CLK_TCK")  # the unit of confirmed, used and updated

# include/uapi/linux/neighbour.h; pyroute2 before 0.9 does not know the last two
NDA_DST, NDA_LLADDR, NDA_CACHEINFO, NDA_PROBES, NDA_IFINDEX = 1, 2, 3, 4, 8
NDA_PROTOCOL, NDA_FLAGS_EXT = 12, 15
NLA_TYPE_MASK = 0x3FFF

#: What decides about an entry: who wrote it (NDA_PROTOCOL, NDA_FLAGS_EXT), where it is, what the
#: kernel thinks of it. ``kind`` is the route type of the address (RTN_UNICAST, ...).
Head = namedtuple("Head", "protocol ext ifindex state flags kind")

#: One row of the table: its head, then ``dst`` and ``mac`` packed, and ages in ticks.
Entry = namedtuple(
    "Entry",
    (*Head._fields, "dst", "mac", "confirmed", "used", "updated"),
    defaults=(0, 0, 0, 0, 0, 0, b"", b"", 0, 0, 0),
)

HEADER = struct.Struct("=IHHII")
NDMSG = struct.Struct("=B3xiHBB")
START = HEADER.size + NDMSG.size  # where attributes begin
ATTRIBUTE = struct.Struct("=HH")
_CACHEINFO = struct.Struct("=III")
LENGTH = struct.Struct("=I")


def attributes(chunk, at, end):
    """Yield ``(type, start, end)`` of each attribute's value between two offsets."""
    while at + 4 <= end:
        size, kind = ATTRIBUTE.unpack_from(chunk, at)
        if size < 4 or at + size > end:
            raise ValueError(f"netlink attribute of {size} bytes at {at}, message ends at {end}")
        yield kind & NLA_TYPE_MASK, at + 4, at + size
        at += size + 3 & ~3


def parse(message):
    """Return the entry of one message attribute by attribute; None where it is no neighbour."""
    if HEADER.unpack_from(message)[1] != RTM_NEWNEIGH:
        return None
    _family, *head = NDMSG.unpack_from(message, HEADER.size)
    dst = mac = b""
    ages = (0, 0, 0)
    protocol = ext = 0
    for name, start, end in attributes(message, START, len(message)):
        if name == NDA_DST:
            dst = message[start:end]
        elif name == NDA_LLADDR:
            mac = message[start:end]
        elif name == NDA_CACHEINFO:
            ages = _CACHEINFO.unpack_from(message, start)
        elif name == NDA_PROTOCOL:
            protocol = message[start]
        elif name == NDA_FLAGS_EXT:
            ext = LENGTH.unpack_from(message, start)[0]
    return Entry(protocol, ext, *head, dst, mac, *ages)


def family_of(dst):
    """Return the address family of a packed address."""
    return socket.AF_INET if len(dst) == 4 else socket.AF_INET6


def _message(kind, flags, body, sequence=0):
    return HEADER.pack(HEADER.size + len(body), kind, flags, sequence, 0) + body


def attribute(kind, value):
    """Return one attribute, padded."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def dump_request(kind, body, sequence):
    """Return the message that asks for all objects of one kind."""
    return _message(kind, NLM_F_REQUEST | NLM_F_DUMP, body, sequence)


def neighbours_body(family, ifindex=0):
    """Return what follows the header when neighbours of a family (and a device) are asked for."""
    body = NDMSG.pack(family, 0, 0, 0, 0)
    return body + attribute(NDA_IFINDEX, LENGTH.pack(ifindex)) if ifindex else body


@functools.lru_cache
def _start(kind, flags, width, ifindex, state, rest):
    """Return all that stands before the address in a message about one entry."""
    family = socket.AF_INET if width == 4 else socket.AF_INET6
    size = START + ATTRIBUTE.size + width + rest
    start = HEADER.pack(size, kind, flags, 0, 0) + NDMSG.pack(family, ifindex, state, 0, 0)
    return start + ATTRIBUTE.pack(ATTRIBUTE.size + width, NDA_DST)


def _about(ifindex, dst, kind, flags, state=0, lladdr=b""):
    tail = attribute(NDA_LLADDR, lladdr) if lladdr else b""
    return _start(kind, flags, len(dst), ifindex, state, len(tail)) + dst + tail


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
