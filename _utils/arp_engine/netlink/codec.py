"""Netlink messages one by one: bytes in, plain tuples out, and back. No sockets and no policy.

The general path: any message, attribute by attribute. The layout of a neighbour message is drawn in
netlink/table_dump.py, which reads many of them at once. Both agree:
tests/unit/netlink/test_codec.py.

A message that is cut short or contradicts its own lengths raises MalformedMessage.
"""

import functools
import socket
import struct
from collections.abc import Iterator
from typing import Any

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH
from pyroute2.netlink.rtnl.ndmsg import NUD_DELAY, NUD_PROBE, NUD_STALE

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
ATTRIBUTES_AT = HEADER.size + NDMSG.size  # where the attributes of a neighbour message begin
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
U32 = struct.Struct("=I")  # an attribute's value, or the length that a message begins with
_U8 = struct.Struct("=B")
_CACHEINFO = struct.Struct("=III")  # of struct nda_cacheinfo: confirmed, used, updated


class MalformedMessage(ValueError):
    """A netlink message that is cut short, or contradicts its own lengths."""


def padded(size: int) -> int:
    """Return how many bytes a message or attribute takes: a multiple of four (NLMSG_ALIGN)."""
    return (size + 3) & ~3


def unpack(fields: struct.Struct, data: bytes, at: int = 0) -> tuple[Any, ...]:
    """Return the fields of a struct at an offset."""
    if at + fields.size > len(data):
        raise MalformedMessage(
            f"netlink data cut short: {fields.size} bytes needed at {at}, it ends at {len(data)}"
        )
    return fields.unpack_from(data, at)


def messages(chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield ``(type, message)`` of each message in a chunk."""
    at = 0
    while at < len(chunk):
        size, kind = unpack(HEADER, chunk, at)[:2]
        if size < HEADER.size or at + size > len(chunk):
            raise MalformedMessage(
                f"netlink message of {size} bytes at {at} in a chunk of {len(chunk)}"
            )
        yield kind, chunk[at : at + size]
        at += padded(size)


def first(chunk: bytes) -> bytes:
    """Return the first message of a chunk."""
    for _kind, message in messages(chunk):
        return message
    raise MalformedMessage("netlink answer without a message")


def attributes(message: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(type, start, end)`` of each attribute's value between two offsets of a message."""
    if end > len(message):
        raise MalformedMessage(f"netlink message of {end} bytes ends at {len(message)}")
    while at + ATTRIBUTE.size <= end:
        size, kind = ATTRIBUTE.unpack_from(message, at)
        if size < ATTRIBUTE.size or at + size > end:
            raise MalformedMessage(
                f"netlink attribute of {size} bytes at {at}, message ends at {end}"
            )
        yield kind & NLA_TYPE_MASK, at + ATTRIBUTE.size, at + size
        at += padded(size)


def values(message: bytes, at: int, end: int | None = None) -> dict[int, bytes]:
    """Return attribute type to value, of the attributes from an offset on."""
    found = attributes(message, at, len(message) if end is None else end)
    return {kind: message[start:stop] for kind, start, stop in found}


_ADDRESS_SIZES = {socket.AF_INET: 4, socket.AF_INET6: 16}


def parse(message: bytes) -> Entry | None:
    """Return the entry of one message of a dump; None where it is of another type or family."""
    return parse_neighbour(message) if unpack(HEADER, message)[1] == RTM_NEWNEIGH else None


def parse_neighbour(message: bytes) -> Entry | None:
    """Return the entry of one RTM_NEWNEIGH or RTM_DELNEIGH, attribute by attribute.

    None where it is neither IPv4 nor IPv6: a bridge sends the MACs it learns in the same messages.
    """
    family, *head = unpack(NDMSG, message, HEADER.size)
    if family not in _ADDRESS_SIZES:
        return None
    found = values(message, ATTRIBUTES_AT)
    dst = found.get(NDA_DST, b"")
    if len(dst) != _ADDRESS_SIZES[family]:
        raise MalformedMessage(f"netlink message with an address of {len(dst)} bytes (NDA_DST)")
    protocol = unpack(_U8, found.get(NDA_PROTOCOL, bytes(_U8.size)))[0]
    ext = unpack(U32, found.get(NDA_FLAGS_EXT, bytes(U32.size)))[0]
    ages = unpack(_CACHEINFO, found.get(NDA_CACHEINFO, bytes(_CACHEINFO.size)))
    return Entry(protocol, ext, *head, dst, found.get(NDA_LLADDR, b""), *ages)


def links(datagram: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield ``(type, ifindex, family)`` of each message about a device (struct ifinfomsg).

    Messages about an address (struct ifaddrmsg) have both fields at the same places.

    The last one may be cut short: with hundreds of virtual functions it can be longer than what we
    receive at once, and these fields are at its beginning.
    """
    at = 0
    while at + HEADER.size + IFINFOMSG.size <= len(datagram):
        size, kind = HEADER.unpack_from(datagram, at)[:2]
        family, _type, ifindex, _flags, _change = IFINFOMSG.unpack_from(datagram, at + HEADER.size)
        yield kind, ifindex, family
        at += padded(max(size, HEADER.size))


def family_of(dst: bytes) -> int:
    """Return the address family of a packed address."""
    return socket.AF_INET if len(dst) == 4 else socket.AF_INET6


def address(dst: bytes) -> str:
    """Return a packed address as text."""
    return socket.inet_ntop(family_of(dst), dst)


def request(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """Return a request of any type."""
    return HEADER.pack(HEADER.size + len(body), kind, NLM_F_REQUEST | flags, sequence, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def dump_request(kind: int, body: bytes, sequence: int) -> bytes:
    """Return the request for all objects of one type."""
    return request(kind, NLM_F_DUMP, body, sequence)


def neighbour_dump_body(family: int, ifindex: int = 0) -> bytes:
    """Return the body of a request for the neighbours of a family, on all devices or on one."""
    body = NDMSG.pack(family, 0, 0, 0, 0)
    return body + attribute(NDA_IFINDEX, U32.pack(ifindex)) if ifindex else body


@functools.lru_cache
def _before_address(kind: int, width: int, ifindex: int, state: int, rest: int) -> bytes:
    """Return the bytes before the address in a request about one entry.

    width: of the address; rest: how many bytes follow it.
    """
    family = socket.AF_INET if width == 4 else socket.AF_INET6
    size = ATTRIBUTES_AT + ATTRIBUTE.size + width + rest
    start = HEADER.pack(size, kind, NLM_F_REQUEST, 0, 0) + NDMSG.pack(family, ifindex, state, 0, 0)
    return start + ATTRIBUTE.pack(ATTRIBUTE.size + width, NDA_DST)


def _entry_request(kind: int, key: Key, state: int = 0, mac: bytes = b"") -> bytes:
    ifindex, dst = key
    tail = attribute(NDA_LLADDR, mac) if mac else b""
    return _before_address(kind, len(dst), ifindex, state, len(tail)) + dst + tail


def get_message(key: Key) -> bytes:
    """Return the request for one entry (answered by one message, or ENOENT)."""
    return _entry_request(RTM_GETNEIGH, key)


def delete_message(key: Key) -> bytes:
    """Return the request to delete one entry. The kernel answers only when it refuses."""
    return _entry_request(RTM_DELNEIGH, key)


def probe_message(entry: Entry) -> bytes:
    """Return the request to probe one entry, if its MAC has not changed: compare-and-probe.

    Neither NLM_F_REPLACE nor NLM_F_CREATE: where the MAC is still this one the entry goes to PROBE
    with its flags kept; where it has changed meanwhile the kernel leaves the entry alone and
    reports success; where the entry is gone, ENOENT (net/core/neighbour.c: neigh_add,
    __neigh_update).
    """
    return _state_message(entry, NUD_PROBE)


def locktime_messages(entry: Entry, ends_stale: bool) -> bytes:
    """Return requests that begin ``locktime`` and do not change the MAC, which is compared as well.

    A change of state begins it; the second one is needed where the entry is in the first already.
    The last is DELAY, in which the kernel looks at once whether there was a confirmation, or STALE.
    """
    states = (NUD_DELAY, NUD_STALE) if ends_stale else (NUD_STALE, NUD_DELAY)
    return b"".join(_state_message(entry, state) for state in states)


def _state_message(entry: Entry, state: int) -> bytes:
    return _entry_request(RTM_NEWNEIGH, entry.key, state, entry.mac)
