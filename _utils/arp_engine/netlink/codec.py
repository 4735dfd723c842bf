"""Neighbour messages one by one: bytes in, plain tuples out, and back. No sockets and no policy.

The general path: any message, attribute by attribute. What the bytes look like is drawn in
netlink/table_dump.py, which reads many of them at once. Both
agree: tests/unit/netlink/test_codec.py.
"""

import functools
import socket
import struct
from collections.abc import Iterator

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ndmsg import NUD_PROBE

from .constants import (
    NDA_CACHEINFO,
    NDA_DST,
    NDA_FLAGS_EXT,
    NDA_IFINDEX,
    NDA_LLADDR,
    NDA_PROTOCOL,
    NLA_TYPE_MASK,
)
from .model import Entry, Key

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
NDMSG = struct.Struct("=B3xiHBB")  # struct ndmsg
IFINFOMSG = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
START = HEADER.size + NDMSG.size  # where attributes begin
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
LENGTH = struct.Struct("=I")
_CACHEINFO = struct.Struct("=III")  # of struct nda_cacheinfo: confirmed, used, updated


def attributes(chunk: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(type, start, end)`` of each attribute's value between two offsets."""
    while at + 4 <= end:
        size, kind = ATTRIBUTE.unpack_from(chunk, at)
        if size < 4 or at + size > end:
            raise ValueError(f"netlink attribute of {size} bytes at {at}, message ends at {end}")
        yield kind & NLA_TYPE_MASK, at + 4, at + size
        at += size + 3 & ~3


_WIDTHS = {NDA_CACHEINFO: _CACHEINFO.size, NDA_PROTOCOL: 1, NDA_FLAGS_EXT: LENGTH.size}


def parse(message: bytes) -> Entry | None:
    """Return the entry of one message attribute by attribute; None where it is no neighbour."""
    if HEADER.unpack_from(message)[1] != RTM_NEWNEIGH:
        return None
    _family, *head = NDMSG.unpack_from(message, HEADER.size)
    dst = mac = b""
    ages = (0, 0, 0)
    protocol = ext = 0
    for name, start, end in attributes(message, START, len(message)):
        if end - start < _WIDTHS.get(name, 0):
            raise ValueError(f"netlink attribute {name} of {end - start + 4} bytes is cut short")
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


def links(messages: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, ifindex and family of each word on a device (struct ifinfomsg)."""
    at = 0
    while at + HEADER.size + 16 <= len(messages):
        size, kind = HEADER.unpack_from(messages, at)[:2]
        family = messages[at + HEADER.size]
        ifindex = LENGTH.unpack_from(messages, at + HEADER.size + 4)[0]
        yield kind, ifindex, family
        at += max(size, HEADER.size) + 3 & ~3


def family_of(dst: bytes) -> int:
    """Return the address family of a packed address."""
    return socket.AF_INET if len(dst) == 4 else socket.AF_INET6


def address(dst: bytes) -> str:
    """Return a packed address as text."""
    return socket.inet_ntop(family_of(dst), dst)


def message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """Return a request of any kind."""
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def dump_request(kind: int, body: bytes, sequence: int) -> bytes:
    """Return the message that asks for all objects of one kind."""
    return message(kind, NLM_F_DUMP, body, sequence)


def neighbours_body(family: int, ifindex: int = 0) -> bytes:
    """Return what follows the header when neighbours of a family (and a device) are asked for."""
    body = NDMSG.pack(family, 0, 0, 0, 0)
    return body + attribute(NDA_IFINDEX, LENGTH.pack(ifindex)) if ifindex else body


@functools.lru_cache
def _start(kind: int, width: int, ifindex: int, state: int, rest: int) -> bytes:
    """Return all that stands before the address in a request about one entry."""
    family = socket.AF_INET if width == 4 else socket.AF_INET6
    size = START + ATTRIBUTE.size + width + rest
    start = HEADER.pack(size, kind, NLM_F_REQUEST, 0, 0) + NDMSG.pack(family, ifindex, state, 0, 0)
    return start + ATTRIBUTE.pack(ATTRIBUTE.size + width, NDA_DST)


def _about(kind: int, key: Key, state: int = 0, mac: bytes = b"") -> bytes:
    ifindex, dst = key
    tail = attribute(NDA_LLADDR, mac) if mac else b""
    return _start(kind, len(dst), ifindex, state, len(tail)) + dst + tail


def get_message(key: Key) -> bytes:
    """Return the question for one entry (answered by one message, or ENOENT)."""
    return _about(RTM_GETNEIGH, key)


def delete_message(key: Key) -> bytes:
    """Return the order to delete one entry. Unanswered when it succeeds."""
    return _about(RTM_DELNEIGH, key)


def probe_message(entry: Entry) -> bytes:
    """Return the order to prove one entry again: compare-and-probe.

    Neither NLM_F_REPLACE nor NLM_F_CREATE: where the MAC is still ours the entry goes to PROBE
    with its flags kept; where it has changed meanwhile the kernel leaves it alone and reports
    success; where it is gone, ENOENT (net/core/neighbour.c: neigh_add, __neigh_update).
    """
    return _about(RTM_NEWNEIGH, entry.key, NUD_PROBE, entry.mac)
