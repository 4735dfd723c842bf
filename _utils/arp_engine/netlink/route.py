"""Where the kernel would send a packet: the device, the next hop, the source; or why nowhere."""

import errno
import os
import struct
from typing import NamedTuple

from pyroute2.netlink.rtnl import RTM_GETROUTE

from . import codec, rtnetlink
from .constants import RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTA_VIA

RTN_UNICAST, RTN_LOCAL = 1, 2  # include/uapi/linux/rtnetlink.h
#: What is sent to an address of these kinds asks no neighbour.
NO_NEIGHBOUR = {
    RTN_LOCAL: "it is this machine's own address",
    3: "it is a broadcast address",
    4: "it is an anycast address of this machine",
    5: "it is a multicast address",
    6: "its route is a blackhole",
    7: "its route says unreachable",
    8: "its route says prohibited",
    9: "its route says throw",
}
#: What the kernel answers in place of such a route.
REFUSALS = {
    errno.ENETUNREACH: "no route leads there",
    errno.EHOSTUNREACH: NO_NEIGHBOUR[7],
    errno.EACCES: NO_NEIGHBOUR[8],
    errno.EINVAL: NO_NEIGHBOUR[6],
}

_RTMSG = struct.Struct("=BB5xB4x")  # family, length of the target's prefix, ..., kind, ...


class Way(NamedTuple):
    """The way to an address: ``gateway`` and ``source`` are packed, and empty where there is none.

    The gateway of an IPv4 route may be an IPv6 one (RFC 9229).
    """

    ifindex: int = 0
    gateway: bytes = b""
    source: bytes = b""
    why_not: str = ""  # why no neighbour is asked for


def find(channel: rtnetlink.Channel, dst: bytes, ifindex: int = 0) -> Way:
    """Return the kernel's way to an address; by one device, where it is named.

    Where several next hops share the traffic it is one of them.
    """
    body = _RTMSG.pack(codec.family_of(dst), len(dst) * 8, 0) + codec.attribute(RTA_DST, dst)
    if ifindex:
        body += codec.attribute(RTA_OIF, codec.LENGTH.pack(ifindex))
    try:
        answer = channel.request(RTM_GETROUTE, 0, body)
    except OSError as error:
        if error.errno is None or isinstance(error, TimeoutError):
            raise
        name = errno.errorcode.get(error.errno, str(error.errno))
        why = REFUSALS.get(error.errno, os.strerror(error.errno))
        return Way(why_not=f"{why} ({name})")
    return _way(answer)


def is_local(channel: rtnetlink.Channel, dst: bytes) -> bool:
    """Tell whether what is sent to an address stays on this machine."""
    return find(channel, dst).why_not == NO_NEIGHBOUR[RTN_LOCAL]


def _way(message: bytes) -> Way:
    """Return the way that a message tells."""
    kind = _RTMSG.unpack_from(message, codec.HEADER.size)[2]
    values = {
        name: message[start:end]
        for name, start, end in codec.attributes(
            message,
            codec.HEADER.size + _RTMSG.size,
            codec.LENGTH.unpack_from(message)[0],
        )
    }
    via = values.get(RTA_VIA, b"")[2:]  # struct rtvia: family:2 address
    return Way(
        ifindex=codec.LENGTH.unpack(values.get(RTA_OIF, bytes(4)))[0],
        gateway=values.get(RTA_GATEWAY, via),
        source=values.get(RTA_PREFSRC, b""),
        why_not=""
        if kind == RTN_UNICAST
        else NO_NEIGHBOUR.get(kind, f"its route is of kind {kind}"),
    )
