"""The kernel's route to an address: device, next hop, source; or why no neighbour is involved."""

import errno
import itertools
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from pyroute2.netlink.rtnl import RTM_GETROUTE, RTM_GETRULE

from . import codec, rtnetlink
from .constants import (
    FRA_PRIORITY,
    RTA_DPORT,
    RTA_DST,
    RTA_GATEWAY,
    RTA_IP_PROTO,
    RTA_MARK,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PREFSRC,
    RTA_SPORT,
    RTA_SRC,
    RTA_VIA,
    RTM_F_FIB_MATCH,
)

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

NO_ROUTE = f"{REFUSALS[errno.ENETUNREACH]} (ENETUNREACH)"

MAX_ROUTE_CHUNKS = 256  # of some 300 routes each

_RTMSG = struct.Struct("=BBB4xBI")  # of struct rtmsg: family, dst_len, src_len, type, flags
_FIB_RULE = struct.Struct("=12x")  # of struct fib_rule_hdr nothing is read
_OWN_RULES = 0, 32766, 32767  # the kernel's: local, main, default (net/ipv4/fib_rules.c)
_RTNEXTHOP = struct.Struct("=H2xi")  # of struct rtnexthop: rtnh_len, rtnh_ifindex


class Route(NamedTuple):
    """The route to an address: ``gateway`` and ``source`` are packed, or empty.

    The gateway of an IPv4 route may be an IPv6 one (RFC 9229).
    """

    ifindex: int = 0
    gateway: bytes = b""
    source: bytes = b""
    why_not: str = ""  # why no neighbour entry is needed

    def neighbour(self, dst: bytes) -> codec.Key:
        """Return the entry that packets to this address use."""
        return self.ifindex, self.gateway or dst


class _Socket(Protocol):
    ifindex: int  # that it is bound to, or 0
    local: bytes
    local_port: int
    peer_port: int


def lookup(
    channel: rtnetlink.Channel,
    dst: bytes,
    ifindex: int = 0,
    source: bytes = b"",
    mark: int = 0,
    tcp_ports: tuple[int, int] | None = None,
) -> Route:
    """Return the kernel's route to an address; over one device, where ifindex is given.

    source, mark: of the packets, where rules choose the route by them (ip-rule(8)).
    Of a multipath route it is one of the next hops: the one that packets of this source take, and
    of these ports (own, peer's), where the kernel spreads by them.
    """
    body = _body(dst, ifindex, source, mark)
    if tcp_ports:
        own, peer = (port.to_bytes(2, "big") for port in tcp_ports)
        body += codec.attribute(RTA_IP_PROTO, bytes([socket.IPPROTO_TCP]))
        body += codec.attribute(RTA_SPORT, own) + codec.attribute(RTA_DPORT, peer)
    try:
        return _parse(channel.request(RTM_GETROUTE, 0, body))
    except OSError as error:
        if error.errno is None or isinstance(error, TimeoutError):
            raise
        name = errno.errorcode.get(error.errno, str(error.errno))
        why = REFUSALS.get(error.errno, os.strerror(error.errno))
        return Route(why_not=f"{why} ({name})")


def of_socket(
    channel: rtnetlink.Channel, dst: bytes, sock: _Socket, mark: int, ifindex: int = 0
) -> Route:
    """Return the route that a TCP socket's packets to an address take; over a device, if given."""
    ports = sock.local_port, sock.peer_port
    return lookup(channel, dst, ifindex or sock.ifindex, sock.local, mark, ports)


def next_hops(
    channel: rtnetlink.Channel, dst: bytes, ifindex: int = 0, source: bytes = b"", mark: int = 0
) -> set[codec.Key]:
    """Return the neighbours that packets to an address are sent to; several of a multipath route.

    Empty where no route leads there or no neighbour is involved.
    """
    found = lookup(channel, dst, ifindex, source, mark)
    if found.why_not:
        return set()
    hops = {found.neighbour(dst)}
    try:
        body = _body(dst, ifindex, source, mark, RTM_F_FIB_MATCH)
        answer = channel.request(RTM_GETROUTE, 0, body)
    except OSError:  # the route has just gone
        return hops
    values = codec.values(codec.first(answer), codec.HEADER.size + _RTMSG.size)
    several = {RTA_MULTIPATH: values.get(RTA_MULTIPATH, b"")}  # otherwise it is the one found
    return hops | {(hop, gateway or dst) for hop, gateway in _hops(several)}


def on_link_prefix(channel: rtnetlink.Channel, dst: bytes, ifindex: int) -> int:
    """Return the length of the prefix of the route that says an address is on a device's link.

    0: none says so, or the default route does. Kernels that do not tell the route itself tell the
    address, as a prefix of its full length.
    """
    try:
        answer = channel.request(RTM_GETROUTE, 0, _body(dst, ifindex, b"", 0, RTM_F_FIB_MATCH))
    except OSError:  # no route
        return 0
    message = codec.first(answer)
    _family, bits, _source_bits, kind, _flags = codec.unpack(_RTMSG, message, codec.HEADER.size)
    values = codec.values(message, codec.HEADER.size + _RTMSG.size)
    return bits if kind == RTN_UNICAST and (ifindex, b"") in _hops(values) else 0


def is_refusal(way: Route) -> bool:
    """Tell whether it says that the kernel found no way, and not that none is needed."""
    return bool(way.why_not) and way.why_not not in NO_NEIGHBOUR.values()


def has_rules(family: int) -> bool:
    """Tell whether some packets have routes that others have not; a VRF brings a rule, too."""
    try:
        with rtnetlink.Channel() as channel:  # closed in the middle of a dump
            for chunk in channel.dump(RTM_GETRULE, _RTMSG.pack(family, 0, 0, 0, 0)):
                for _kind, message in codec.messages(chunk):
                    values = codec.values(message, codec.HEADER.size + _FIB_RULE.size)
                    priority = codec.unpack(codec.U32, values.get(FRA_PRIORITY, bytes(4)))[0]
                    if priority not in _OWN_RULES:
                        return True
    except OSError:  # this kernel has none, or not this family
        pass
    return False


def gateways(family: int, ifindex: int = 0) -> set[codec.Key]:
    """Return the routers that routes of a family name, in any table; by one device, where given.

    An IPv4 route may name an IPv6 router. Of a host with very many routes only the first are read;
    the default route comes first.
    """
    body = _RTMSG.pack(family, 0, 0, 0, 0)
    if ifindex:
        body += codec.attribute(RTA_OIF, codec.U32.pack(ifindex))
    found = set[codec.Key]()
    with rtnetlink.Channel() as channel:  # closed in the middle of a long dump
        for chunk in itertools.islice(channel.dump(RTM_GETROUTE, body), MAX_ROUTE_CHUNKS):
            for _kind, message in codec.messages(chunk):
                values = codec.values(message, codec.HEADER.size + _RTMSG.size)
                found.update(_hops(values))
    return {(hop, gateway) for hop, gateway in found if gateway and ifindex in (0, hop)}


def is_local(channel: rtnetlink.Channel, dst: bytes) -> bool:
    """Tell whether packets to an address stay on this machine."""
    return lookup(channel, dst).why_not == NO_NEIGHBOUR[RTN_LOCAL]


def _body(dst: bytes, ifindex: int, source: bytes, mark: int, flags: int = 0) -> bytes:
    """Return the body of a request for a route."""
    body = _RTMSG.pack(codec.family_of(dst), len(dst) * 8, len(source) * 8, 0, flags)
    body += codec.attribute(RTA_DST, dst)
    if source:
        body += codec.attribute(RTA_SRC, source)
    if ifindex:
        body += codec.attribute(RTA_OIF, codec.U32.pack(ifindex))
    if mark:
        body += codec.attribute(RTA_MARK, codec.U32.pack(mark))
    return body


def _hops(values: dict[int, bytes]) -> Iterator[codec.Key]:
    """Yield device and gateway of each next hop of a route; an empty gateway where it has none."""
    if RTA_OIF in values:
        yield codec.unpack(codec.U32, values[RTA_OIF])[0], _gateway(values)
    multipath, at = values.get(RTA_MULTIPATH, b""), 0
    while at < len(multipath):
        size, ifindex = codec.unpack(_RTNEXTHOP, multipath, at)
        yield ifindex, _gateway(codec.values(multipath, at + _RTNEXTHOP.size, at + size))
        at += codec.padded(max(size, _RTNEXTHOP.size))


def _gateway(values: dict[int, bytes]) -> bytes:
    return values.get(RTA_GATEWAY, values.get(RTA_VIA, b"")[2:])  # rtvia: family:2 address


def _parse(answer: bytes) -> Route:
    """Return the route of one RTM_NEWROUTE."""
    message = codec.first(answer)
    kind = codec.unpack(_RTMSG, message, codec.HEADER.size)[3]
    values = codec.values(message, codec.HEADER.size + _RTMSG.size)
    return Route(
        ifindex=codec.unpack(codec.U32, values.get(RTA_OIF, bytes(4)))[0],
        gateway=_gateway(values),
        source=values.get(RTA_PREFSRC, b""),
        why_not="" if kind == RTN_UNICAST else NO_NEIGHBOUR.get(kind, f"its route has type {kind}"),
    )
