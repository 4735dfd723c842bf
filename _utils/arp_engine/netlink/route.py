"""The kernel's route to an address: device, next hop, source; or why no neighbour is involved."""

import errno
import os
import struct
from typing import NamedTuple

from pyroute2.netlink.rtnl import RTM_GETROUTE

from . import codec, rtnetlink
from .constants import RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_PREFSRC, RTA_VIA

RTN_UNICAST, RTN_LOCAL = 1, 2  # include/uapi/linux/rtnetlink.h
#: Route type to why a packet to such an address needs no neighbour entry.
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
#: The errno that the kernel answers instead of such a route.
REFUSALS = {
    errno.ENETUNREACH: "no route leads there",
    errno.EHOSTUNREACH: NO_NEIGHBOUR[7],
    errno.EACCES: NO_NEIGHBOUR[8],
    errno.EINVAL: NO_NEIGHBOUR[6],
}

_RTMSG = struct.Struct("=BB5xB4x")  # of struct rtmsg: rtm_family, rtm_dst_len, rtm_type


class Route(NamedTuple):
    """The route to an address: ``gateway`` and ``source`` are packed, or empty.

    The gateway of an IPv4 route may be an IPv6 one (RFC 9229).
    """

    ifindex: int = 0
    gateway: bytes = b""
    source: bytes = b""
    why_not: str = ""  # why no neighbour entry is needed


def lookup(channel: rtnetlink.Channel, dst: bytes, ifindex: int = 0) -> Route:
    """Return the kernel's route to an address; over one device, where ifindex is given.

    Of a multipath route it is one of the next hops.
    """
    body = _RTMSG.pack(codec.family_of(dst), len(dst) * 8, 0) + codec.attribute(RTA_DST, dst)
    if ifindex:
        body += codec.attribute(RTA_OIF, codec.U32.pack(ifindex))
    try:
        answer = channel.request(RTM_GETROUTE, 0, body)
    except OSError as error:
        if error.errno is None or isinstance(error, TimeoutError):
            raise
        name = errno.errorcode.get(error.errno, str(error.errno))
        why = REFUSALS.get(error.errno, os.strerror(error.errno))
        return Route(why_not=f"{why} ({name})")
    return _parse(answer)


def is_local(channel: rtnetlink.Channel, dst: bytes) -> bool:
    """Tell whether packets to an address stay on this machine."""
    return lookup(channel, dst).why_not == NO_NEIGHBOUR[RTN_LOCAL]


def _parse(answer: bytes) -> Route:
    """Return the route of one RTM_NEWROUTE."""
    _kind, message = next(codec.messages(answer))
    kind = codec.unpack(_RTMSG, message, codec.HEADER.size)[2]
    values = codec.values(message, codec.HEADER.size + _RTMSG.size)
    via = values.get(RTA_VIA, b"")[2:]  # struct rtvia: family:2 address
    return Route(
        ifindex=codec.unpack(codec.U32, values.get(RTA_OIF, bytes(4)))[0],
        gateway=values.get(RTA_GATEWAY, via),
        source=values.get(RTA_PREFSRC, b""),
        why_not="" if kind == RTN_UNICAST else NO_NEIGHBOUR.get(kind, f"its route has type {kind}"),
    )
