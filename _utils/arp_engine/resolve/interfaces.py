"""The devices that probes leave by: whether one can be sent, and with which sender address.

An ARP request's sender address updates its receivers' caches, so it must be ours: the address that
the kernel itself would use for that target on that device, and one of this device's own. It is
chosen here and nowhere else.
"""

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from errno import ENODEV, ENXIO
from itertools import chain
from typing import NamedTuple

from pyroute2.netlink import NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.rtnl import RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE

from ..netlink import codec, rtnetlink
from ..netlink.constants import (
    IFF_LOOPBACK,
    IFF_NOARP,
    IFF_POINTOPOINT,
    IFF_RUNNING,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_BROADCAST,
    IFLA_CARRIER_CHANGES,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    IFLA_INET6_CONF,
    RTA_DST,
    RTA_OIF,
    RTA_PREFSRC,
)
from ..packets import frames, packet_socket

MAX_AGE_S = 0.25  # a device is read again after this: its MAC may change
MAX_KNOWN = 4096  # devices cached: containers come and go for as long as a sentinel lives

RTEXT_FILTER_SKIP_STATS = 8  # include/uapi/linux/rtnetlink.h
DEVCONF_FORWARDING = 0  # include/uapi/linux/ipv6.h
# --- include/uapi/linux/if_addr.h
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_DADFAILED, IFA_F_TENTATIVE = 0x08, 0x40
RT_SCOPE_LINK = 253  # include/uapi/linux/rtnetlink.h

_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BB10x")  # family, length of the target's prefix; the rest zero
_LINK_LOCAL = 0xFE80 >> 6  # RFC 4291, 2.5.6: fe80::/10


class Address(NamedTuple):
    """One of a device's own addresses."""

    ip: bytes
    prefix: int  # bits
    scope: int
    flags: int

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

    def sender_addresses(self, family: int) -> list[Address]:
        """Return the addresses that may be the sender of a probe."""
        if family == socket.AF_INET6:
            return [
                a for a in self.addresses if int.from_bytes(a.ip[:2], "big") >> 6 == _LINK_LOCAL
            ]
        return [a for a in self.addresses if len(a.ip) == 4 and a.scope <= RT_SCOPE_LINK]

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


def why_unusable(device: Interface | None, family: int) -> str:
    """Return why no ARP or ND packet can be sent on a device, or an empty string."""
    if device is None:
        return "device is gone"
    if not device.mac or device.flags & (IFF_LOOPBACK | IFF_POINTOPOINT | IFF_NOARP):
        return "device does no ARP"
    if not device.flags & IFF_UP:
        return "device is down"
    if not device.flags & IFF_RUNNING:
        return "no carrier"
    if len(device.mac) > packet_socket.MAX_LLADDR:
        return f"cannot be asked here: addresses of {len(device.mac)} bytes"
    if family == socket.AF_INET6 and device.hardware != frames.ARPHRD_ETHER:
        return "cannot be asked here: IPv6 on another hardware than Ethernet"
    return ""


def why_cannot_probe(device: Interface | None, family: int) -> str:
    """Return why no probe can be sent on a device, or an empty string."""
    why = why_unusable(device, family)
    if why or (device and device.sender_addresses(family)):
        return why
    return "no address to ask from" if family == socket.AF_INET else "no link-local address"


class Interfaces:
    """The devices of this namespace, read when needed and cached for MAX_AGE_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Open a netlink channel of its own."""
        self._channel, self._clock = _Channel(), clock
        self._known: dict[int, tuple[float, Interface | None]] = {}
        self._by_name: dict[str, Interface] = {}

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def get(self, ifindex: int, since: float | None = None) -> Interface | None:
        """Return a device, read at ``since`` or later (default: MAX_AGE_S ago); None: gone."""
        now = self._clock()
        read_at, device = self._known.get(ifindex, (float("-inf"), None))
        if read_at < (now - MAX_AGE_S if since is None else since):
            if device:
                self._by_name.pop(device.name, None)
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
                self._by_name.clear()
            device = self._channel.device_facts(ifindex)
            self._known[ifindex] = now, device
            if device:
                self._by_name[device.name] = device
        return device

    @staticmethod
    def names() -> dict[str, int]:
        """Return device names to indexes."""
        return {name: ifindex for ifindex, name in socket.if_nameindex()}

    def ifindex(self, name: str) -> int:
        """Return a device's index by its name or an alternative name; 0 where it has none."""
        return self._channel.ifindex(name)

    def by_name(self, name: str) -> Interface | None:
        """Return a cached device, by its name."""
        return self._by_name.get(name)

    def forget(self, ifindex: int) -> None:
        """Drop a device from the cache."""
        _read_at, device = self._known.pop(ifindex, (0, None))
        if device:
            self._by_name.pop(device.name, None)

    def reread(self, ifindex: int) -> None:
        """Read a cached device again: the kernel has said that it changed."""
        if ifindex in self._known:
            self.get(ifindex, float("inf"))

    def choose_senders(self, device: Interface, targets: Sequence[bytes]) -> list[bytes]:
        """Return the sender address of a probe for each target; all targets of one family.

        IPv4: the source of the kernel's route to the target by this device, if it is the device's
        own; else the address that the kernel takes where a route names none (inet_select_addr).
        Where the device has one address, both are that one: no route is looked up.
        IPv6: the link-local address, as in the kernel's probes (ndisc_send_ns).
        """
        senders = device.sender_addresses(codec.family_of(targets[0]))
        if len(senders) == 1 or len(targets[0]) == 16:
            return [senders[0].ip] * len(targets)
        routed, batch = list[bytes](), self._channel.batch  # as many answers as the buffer holds
        for at in range(0, len(targets), batch):
            routed += self._channel.route_sources(device.ifindex, targets[at : at + batch])
        return [
            source if device.owns(source) else _selected(senders, target)
            for source, target in zip(routed, targets, strict=True)
        ]


def _selected(senders: list[Address], target: bytes) -> bytes:
    """Choose as inet_select_addr (net/ipv4/devinet.c): in the target's network, or the first.

    In the kernel's order: secondary addresses follow the primary one of their network.
    """
    return next((a.ip for a in senders if a.covers(target)), senders[0].ip)


class _Channel(rtnetlink.Channel):
    """Reads devices, addresses and routes."""

    def device_facts(self, ifindex: int) -> Interface | None:
        """Return one device; None: gone."""
        no_counters = codec.attribute(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
        question = RTM_GETLINK, codec.IFINFOMSG.pack(0, 0, ifindex, 0, 0) + no_counters
        [message] = self._answers([question])
        if not message:
            return None
        _family, hardware, _index, flags, _change = codec.IFINFOMSG.unpack_from(
            message, codec.HEADER.size
        )
        values = codec.values(message, codec.HEADER.size + codec.IFINFOMSG.size)
        return Interface(
            ifindex,
            values[IFLA_IFNAME].rstrip(b"\0").decode(errors="backslashreplace"),
            hardware,
            flags,
            values.get(IFLA_ADDRESS, b""),
            values.get(IFLA_BROADCAST, b""),
            _number(values.get(IFLA_CARRIER_CHANGES, b"")),
            _forwards(values.get(IFLA_AF_SPEC, b"")),
            (*self._addresses(socket.AF_INET, ifindex), *self._addresses(socket.AF_INET6, ifindex)),
        )

    def _addresses(self, family: int, ifindex: int) -> list[Address]:
        """Return a device's usable addresses."""
        question, found = _IFADDR.pack(family, 0, 0, 0, ifindex), []
        try:
            dump = self.dump(RTM_GETADDR, question)
            for _kind, message in chain.from_iterable(map(codec.messages, dump)):
                of, prefix, flags, scope, index = _IFADDR.unpack_from(message, codec.HEADER.size)
                # kernels before 5.0 return all devices; for a missing family, all other families
                if (of, index) == (family, ifindex):
                    values = codec.values(message, codec.HEADER.size + _IFADDR.size)
                    flags = _number(values.get(IFA_FLAGS, b"")) or flags
                    ip = values.get(IFA_LOCAL) or values[IFA_ADDRESS]
                    found.append(Address(ip, prefix, scope, flags))
        except OSError as error:
            if error.errno not in (ENODEV, ENXIO):
                raise
        return [address for address in found if address.is_usable()]

    def route_sources(self, ifindex: int, targets: Sequence[bytes]) -> list[bytes]:
        """Return the source address of the route to each target by a device; empty: no route."""
        by = codec.attribute(RTA_OIF, struct.pack("=i", ifindex))
        questions = [
            (
                RTM_GETROUTE,
                _RTMSG.pack(socket.AF_INET, 32) + codec.attribute(RTA_DST, target) + by,
            )
            for target in targets
        ]
        attributes_at = codec.HEADER.size + _RTMSG.size
        return [
            codec.values(message, attributes_at).get(RTA_PREFSRC, b"") if message else b""
            for message in self._answers(questions)
        ]

    def _answers(self, questions: list[tuple[int, bytes]]) -> list[bytes]:
        """Send requests; return the answer to each, in order; empty: refused."""
        orders = b"".join(
            codec.HEADER.pack(codec.HEADER.size + len(body), kind, NLM_F_REQUEST, number, 0) + body
            for number, (kind, body) in enumerate(questions, 1)
        )
        self._sock.send(orders)
        answers = [b""] * len(questions)
        with contextlib.suppress(BlockingIOError):  # all have come: see netlink/rtnetlink.py
            while True:
                message = self._sock.recv(rtnetlink.DUMP_CHUNK, socket.MSG_DONTWAIT)
                _size, kind, _flags, number, _port = codec.HEADER.unpack_from(message)
                if kind != NLMSG_ERROR and 0 < number <= len(questions):
                    answers[number - 1] = message
        return answers


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _forwards(families: bytes) -> bool:
    """Tell whether a device forwards IPv6: IFLA_AF_SPEC, AF_INET6, IFLA_INET6_CONF."""
    for wanted in (socket.AF_INET6, IFLA_INET6_CONF):
        families = codec.values(families, 0).get(wanted, b"")
    at = 4 * DEVCONF_FORWARDING
    return any(families[at : at + 4])
