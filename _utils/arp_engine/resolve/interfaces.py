"""The devices that questions leave by: whether they can be asked on, and in whose name.

Who asks tells everybody who he is, so the name must be right: the address that the kernel itself
would use for that target on that device, and one that is this device's own.
"""

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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

MAX_AGE_S = 0.25  # what is known of a device is read again after this: its MAC may change
MAX_KNOWN = 4096  # devices remembered: containers come and go for as long as a sentinel lives

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
        """Tell whether it may be used: IPv6 tries an address before (RFC 4862, 5.4)."""
        return not self.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED) or len(self.ip) == 4

    def covers(self, target: bytes) -> bool:
        """Tell whether a target is on this address' network."""
        host = 8 * len(self.ip) - self.prefix
        return int.from_bytes(self.ip, "big") >> host == int.from_bytes(target, "big") >> host


class Interface(NamedTuple):
    """What decides about questions on one device."""

    ifindex: int
    name: str
    hardware: int  # ARPHRD_*
    flags: int
    mac: bytes
    broadcast: bytes
    carrier_changes: int
    forwards: bool  # IPv6
    addresses: tuple[Address, ...]  # those that may be used

    def senders(self, family: int) -> list[Address]:
        """Return the addresses that may stand in a question as its sender."""
        if family == socket.AF_INET6:
            return [
                a for a in self.addresses if int.from_bytes(a.ip[:2], "big") >> 6 == _LINK_LOCAL
            ]
        return [a for a in self.addresses if len(a.ip) == 4 and a.scope <= RT_SCOPE_LINK]

    def owns(self, ip: bytes) -> bool:
        """Tell whether an address is this device's own."""
        return any(address.ip == ip for address in self.addresses)

    def probe(self, source: bytes, dst: bytes, mac: bytes = b"") -> tuple[bytes, bytes]:
        """Return ``(link-layer address, packet)``: who has ``dst``? To one MAC, or to all."""
        if len(dst) == 4:
            request = frames.arp_request(self.hardware, self.mac, source, dst)
            return mac or self.broadcast, request
        if mac:
            return mac, frames.solicitation(self.mac, source, dst, dst)
        group = frames.multicast_mac(frames.solicited_node(dst))
        return group, frames.solicitation(self.mac, source, dst)


def why_unusable(device: Interface | None, family: int) -> str:
    """Return why nothing can be said on a device, or an empty string."""
    if device is None:
        return "device is gone"
    if not device.mac or device.flags & (IFF_LOOPBACK | IFF_POINTOPOINT | IFF_NOARP):
        return "device does no ARP"
    if not device.flags & IFF_UP:
        return "device is down"
    if not device.flags & IFF_RUNNING:
        return "no carrier"
    if len(device.mac) > packet_socket.LONGEST:
        return f"cannot be asked here: addresses of {len(device.mac)} bytes"
    if family == socket.AF_INET6 and device.hardware != frames.ARPHRD_ETHER:
        return "cannot be asked here: IPv6 on another hardware than Ethernet"
    return ""


def why_cannot_probe(device: Interface | None, family: int) -> str:
    """Return why no question can be asked on a device, or an empty string."""
    why = why_unusable(device, family)
    if why or (device and device.senders(family)):
        return why
    return "no address to ask from" if family == socket.AF_INET else "no link-local address"


class Interfaces:
    """The devices of this namespace, read when needed and not much older than that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Open a channel of our own to the kernel."""
        self._channel, self._clock = _Channel(), clock
        self._known: dict[int, tuple[float, Interface | None]] = {}
        self._by_name: dict[str, Interface] = {}

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def get(self, ifindex: int, since: float | None = None) -> Interface | None:
        """Return a device as it was at ``since`` or later (default: a moment ago); None: gone."""
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
        """Return every device's name to its index."""
        return {name: ifindex for ifindex, name in socket.if_nameindex()}

    def ifindex(self, name: str) -> int:
        """Return a device's index by its name or an alternative name; 0 where it has none."""
        return self._channel.ifindex(name)

    def by_name(self, name: str) -> Interface | None:
        """Return a device that was read before, by its name."""
        return self._by_name.get(name)

    def forget(self, ifindex: int) -> None:
        """Read a device anew when it is needed next."""
        _read_at, device = self._known.pop(ifindex, (0, None))
        if device:
            self._by_name.pop(device.name, None)

    def reread(self, ifindex: int) -> None:
        """Read a device anew now, if it was read before: the kernel has said that it changed."""
        if ifindex in self._known:
            self.get(ifindex, float("inf"))

    def choose_senders(self, device: Interface, targets: Sequence[bytes]) -> list[bytes]:
        """Return in whose name each target is asked about; all of one family.

        IPv4: the source of the kernel's own route to it by this device, if it is the device's own;
        else what the kernel takes where a route names none (inet_select_addr). Where the device
        has one address, both are that one, and nobody need be asked.
        IPv6: the link-local address, as the kernel does for its probes (ndisc_send_ns).
        """
        senders = device.senders(codec.family_of(targets[0]))
        if len(senders) == 1 or len(targets[0]) == 16:
            return [senders[0].ip] * len(targets)
        routed, batch = list[bytes](), self._channel.batch  # whose answers fit into our buffer
        for at in range(0, len(targets), batch):
            routed += self._channel.route_sources(device.ifindex, targets[at : at + batch])
        return [
            source if device.owns(source) else _selected(senders, target)
            for source, target in zip(routed, targets, strict=True)
        ]


def _selected(senders: list[Address], target: bytes) -> bytes:
    """Return as inet_select_addr (net/ipv4/devinet.c) does: on the target's network, or first.

    In the kernel's order, where secondary addresses follow the primary one of their network.
    """
    return next((a.ip for a in senders if a.covers(target)), senders[0].ip)


class _Channel(rtnetlink.Channel):
    """The kernel's word on devices, addresses and routes."""

    def device_facts(self, ifindex: int) -> Interface | None:
        """Return one device; None where it is gone."""
        no_counters = codec.attribute(IFLA_EXT_MASK, struct.pack("=I", RTEXT_FILTER_SKIP_STATS))
        question = RTM_GETLINK, codec.IFINFOMSG.pack(0, 0, ifindex, 0, 0) + no_counters
        [message] = self._answers([question])
        if not message:
            return None
        _family, hardware, _index, flags, _change = codec.IFINFOMSG.unpack_from(
            message, codec.HEADER.size
        )
        values = _values(message, codec.IFINFOMSG)
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
            for message in chain.from_iterable(map(_messages, self.dump(RTM_GETADDR, question))):
                of, prefix, flags, scope, index = _IFADDR.unpack_from(message, codec.HEADER.size)
                # before 5.0 those of all devices; where a family is missing, those of all others
                if (of, index) == (family, ifindex):
                    values = _values(message, _IFADDR)
                    flags = _number(values.get(IFA_FLAGS, b"")) or flags
                    ip = values.get(IFA_LOCAL) or values[IFA_ADDRESS]
                    found.append(Address(ip, prefix, scope, flags))
        except OSError as error:
            if error.errno not in (ENODEV, ENXIO):
                raise
        return [address for address in found if address.is_usable()]

    def route_sources(self, ifindex: int, targets: Sequence[bytes]) -> list[bytes]:
        """Return the source address of the route to each target by a device; empty for none."""
        by = codec.attribute(RTA_OIF, struct.pack("=i", ifindex))
        questions = [
            (
                RTM_GETROUTE,
                _RTMSG.pack(socket.AF_INET, 32) + codec.attribute(RTA_DST, target) + by,
            )
            for target in targets
        ]
        return [
            _values(message, _RTMSG).get(RTA_PREFSRC, b"") if message else b""
            for message in self._answers(questions)
        ]

    def _answers(self, questions: list[tuple[int, bytes]]) -> list[bytes]:
        """Return the message that answers each question, in order; empty where it is refused."""
        orders = b"".join(
            codec.HEADER.pack(codec.HEADER.size + len(body), kind, NLM_F_REQUEST, number, 0) + body
            for number, (kind, body) in enumerate(questions, 1)
        )
        self._sock.send(orders)
        answers = [b""] * len(questions)
        with contextlib.suppress(BlockingIOError):  # all have come: see netlink/rtnetlink.py
            while True:
                message = self._sock.recv(rtnetlink.CHUNK, socket.MSG_DONTWAIT)
                _size, kind, _flags, number, _port = codec.HEADER.unpack_from(message)
                if kind != NLMSG_ERROR and 0 < number <= len(questions):
                    answers[number - 1] = message
        return answers


def _messages(chunk: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(chunk):
        size = codec.HEADER.unpack_from(chunk, at)[0]
        yield chunk[at : at + size]
        at += size + 3 & ~3


def _values(message: bytes, behind: struct.Struct) -> dict[int, bytes]:
    """Return the attributes of a message, which begin behind its header and a fixed part."""
    start = codec.HEADER.size + behind.size
    return {
        name: message[begin:end]
        for name, begin, end in codec.attributes(message, start, len(message))
    }


def _number(value: bytes) -> int:
    return int.from_bytes(value, sys.byteorder)


def _forwards(families: bytes) -> bool:
    """Tell whether IPv6 forwards on a device: IFLA_AF_SPEC, AF_INET6, IFLA_INET6_CONF."""
    for wanted in (socket.AF_INET6, IFLA_INET6_CONF):
        found = {
            name: families[begin:end]
            for name, begin, end in codec.attributes(families, 0, len(families))
        }
        families = found.get(wanted, b"")
    at = 4 * DEVCONF_FORWARDING
    return any(families[at : at + 4])
