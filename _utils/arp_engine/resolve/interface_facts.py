"""What the kernel says of devices and their addresses, as far as it decides how to probe."""

import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from errno import ENODEV, ENXIO
from itertools import chain
from typing import NamedTuple

from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE

from ..netlink import codec, links, rtnetlink
from ..netlink.constants import (
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_BROADCAST,
    IFLA_CARRIER_CHANGES,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    IFLA_INET6_CONF,
    IFLA_INET_CONF,
    RTA_DST,
    RTA_OIF,
    RTA_PREFSRC,
)
from ..netlink.route import RTN_UNICAST
from ..packets import frames

RTEXT_FILTER_SKIP_STATS = 8  # include/uapi/linux/rtnetlink.h
DEVCONF_FORWARDING = 0  # include/uapi/linux/ipv6.h
# --- include/uapi/linux/ip.h: IPV4_DEVCONF_*, numbered from 1
IPV4_DEVCONF_ARP_ANNOUNCE, IPV4_DEVCONF_ARP_IGNORE = 18, 19
# --- include/uapi/linux/if_addr.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_SECONDARY, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE = 0x01, 0x08, 0x20, 0x40

_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BB5xB4x")  # family, length of the target's prefix, type; the rest zero
#: What a route of IPv6 names where this host has no address, or only that of lo: :: and ::1.
_NO_SOURCES = bytes(16), bytes(15) + b"\x01"
_LINK_LOCAL = 0xFE80 >> 6  # RFC 4291, 2.5.6: fe80::/10


def is_link_local(ip: bytes) -> bool:
    """Tell whether a packed address is an IPv6 link-local one."""
    return len(ip) == 16 and int.from_bytes(ip[:2], "big") >> 6 == _LINK_LOCAL


class Address(NamedTuple):
    """One of a device's own addresses."""

    ip: bytes
    prefix: int  # bits
    scope: int
    flags: int

    @property
    def is_deprecated(self) -> bool:
        """Tell whether no new connection shall use it (RFC 4862, 5.5.4)."""
        return bool(self.flags & IFA_F_DEPRECATED)

    def is_usable(self) -> bool:
        """Tell whether duplicate address detection is over and passed (RFC 4862, 5.4)."""
        return not self.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) or len(self.ip) == 4

    def covers(self, target: bytes) -> bool:
        """Tell whether a target is in this address' network."""
        host = 8 * len(self.ip) - self.prefix
        return int.from_bytes(self.ip, "big") >> host == int.from_bytes(target, "big") >> host


class Interface(NamedTuple):
    """What decides whether and how one device sends probes."""

    ifindex: int
    name: str
    hardware: int  # ARPHRD_*
    flags: int
    mac: bytes
    broadcast: bytes
    carrier_changes: int
    forwards: bool  # IPv6
    addresses: tuple[Address, ...]  # the usable ones
    vrf: int = 0  # ifindex of the VRF it belongs to, or is; 0: none
    master: int = 0  # ifindex of the bridge, bond or team that it is a port of
    master_kind: str = ""
    arp_announce: int = 0  # of the device alone: net.ipv4.conf.all may say more
    arp_ignore: int = 0

    def owns(self, ip: bytes) -> bool:
        """Tell whether an address is this device's own."""
        return any(address.ip == ip for address in self.addresses)

    def probe(
        self, source: bytes, dst: bytes, mac: bytes = b"", wants_mac: bool = False
    ) -> tuple[bytes, bytes]:
        """Return ``(destination MAC, packet)`` of a probe for ``dst``; without ``mac`` to all.

        wants_mac: the answer shall name the MAC; see packets/probe_schedule.py.
        """
        if len(dst) == 4:
            request = frames.arp_request(self.hardware, self.mac, source, dst)
            return mac or self.broadcast, request
        if mac and not wants_mac:
            return mac, frames.solicitation(self.mac, source, dst, dst)
        group = frames.multicast_mac(frames.solicited_node(dst))
        return mac or group, frames.solicitation(self.mac, source, dst)


class FactsChannel(rtnetlink.Channel):
    """Reads devices, addresses and routes."""

    def device_facts(self, ifindex: int) -> Interface | None:
        """Return one device; None: gone."""
        no_counters = codec.attribute(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
        question = RTM_GETLINK, codec.IFINFOMSG.pack(0, 0, ifindex, 0, 0) + no_counters
        [message] = self.answers([question])
        if not message:
            return None
        head = codec.unpack(codec.IFINFOMSG, message, codec.HEADER.size)
        _family, hardware, _index, flags, _change = head
        values = codec.values(message, codec.HEADER.size + codec.IFINFOMSG.size)
        families = values.get(IFLA_AF_SPEC, b"")
        vrf, master, master_kind = _master(ifindex, values)
        return Interface(
            ifindex,
            values.get(IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="backslashreplace"),
            hardware,
            flags,
            values.get(IFLA_ADDRESS, b""),
            values.get(IFLA_BROADCAST, b""),
            _number(values.get(IFLA_CARRIER_CHANGES, b"")),
            _forwards(families),
            (*self._addresses(socket.AF_INET, ifindex), *self._addresses(socket.AF_INET6, ifindex)),
            vrf,
            master,
            master_kind,
            _inet_conf(families, IPV4_DEVCONF_ARP_ANNOUNCE),
            _inet_conf(families, IPV4_DEVCONF_ARP_IGNORE),
        )

    def _addresses(self, family: int, ifindex: int) -> list[Address]:
        """Return a device's usable addresses."""
        try:
            return [own for at, own in self.addresses(family, ifindex) if at == ifindex]
        except OSError as error:
            if error.errno not in (ENODEV, ENXIO):
                raise
            return []

    def addresses(self, family: int, ifindex: int = 0) -> Iterator[tuple[int, Address]]:
        """Yield ``(ifindex, address)`` of the usable addresses.

        Of all devices, though one was named, on kernels before 5.0.
        """
        dump = self.dump(RTM_GETADDR, _IFADDR.pack(family, 0, 0, 0, ifindex))
        for _kind, message in chain.from_iterable(map(codec.messages, dump)):
            of, prefix, flags, scope, index = codec.unpack(_IFADDR, message, codec.HEADER.size)
            if of != family:  # for a family that is missing, all others are shown
                continue
            values = codec.values(message, codec.HEADER.size + _IFADDR.size)
            flags = _number(values.get(IFA_FLAGS, b"")) or flags
            ip = values.get(IFA_LOCAL) or values.get(IFA_ADDRESS, b"")
            address = Address(ip, prefix, scope, flags)
            if address.is_usable():
                yield index, address

    def route_sources(self, ifindex: int, targets: Sequence[bytes]) -> list[bytes]:
        """Return the source address of the route to each target by a device; empty: no route."""
        by = codec.attribute(RTA_OIF, struct.pack("=i", ifindex))
        head = _RTMSG.pack(codec.family_of(targets[0]), 8 * len(targets[0]), 0)
        questions = [
            (RTM_GETROUTE, head + codec.attribute(RTA_DST, target) + by) for target in targets
        ]
        return [_source(message) if message else b"" for message in self.answers(questions)]


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _source(message: bytes) -> bytes:
    """Return the source address that an RTM_NEWROUTE names."""
    kind = codec.unpack(_RTMSG, message, codec.HEADER.size)[2]
    source = codec.values(message, codec.HEADER.size + _RTMSG.size).get(RTA_PREFSRC, b"")
    return source if kind == RTN_UNICAST and source not in _NO_SOURCES else b""


def _master(ifindex: int, values: dict[int, bytes]) -> tuple[int, int, str]:
    """Return the VRF of a device, or what it is a port of, and of which kind that is."""
    link = links.parse(values)
    if link.kind == "vrf":
        return ifindex, 0, ""
    return (0, link.master, link.master_kind) if link.is_port else (link.master, 0, "")


def _inet_conf(families: bytes, number: int) -> int:
    """Return one of a device's IPv4 settings: IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF."""
    for wanted in (socket.AF_INET, IFLA_INET_CONF):
        families = codec.values(families, 0).get(wanted, b"")
    return _number(families[4 * (number - 1) : 4 * number])


def _forwards(families: bytes) -> bool:
    """Tell whether a device forwards IPv6: IFLA_AF_SPEC, AF_INET6, IFLA_INET6_CONF."""
    for wanted in (socket.AF_INET6, IFLA_INET6_CONF):
        families = codec.values(families, 0).get(wanted, b"")
    at = 4 * DEVCONF_FORWARDING
    return any(families[at : at + 4])
