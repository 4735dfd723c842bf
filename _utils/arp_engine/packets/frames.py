"""Questions about neighbours as they stand on the wire, and what answers them: bytes, no sockets.

All of it begins behind the link header, which the kernel writes and takes off (a packet socket of
type SOCK_DGRAM). An ARP packet (RFC 826; hln is 6 on Ethernet)::

     0 hardware type:2  protocol type:2  hln:1  pln:1  operation:2
     8 sender hardware:hln  sender protocol:4  target hardware:hln  target protocol:4

A neighbour solicitation or advertisement (RFC 4861) behind its IPv6 header (RFC 8200)::

     0 version, class, flow:4  payload length:2  next header:1  hop limit:1
     8 source:16  destination:16
    40 type:1  code:1  checksum:2  flags:1  reserved:3  target:16
    64 options: type:1  length in units of 8:1  address:6

What is not exactly so is no answer: ``parse`` takes nothing on trust.
"""

import functools
import struct
from typing import NamedTuple

# --- include/uapi/linux/if_ether.h
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
# --- include/uapi/linux/if_arp.h
ARPHRD_ETHER, ARPHRD_IEEE802 = 1, 6
ARPOP_REQUEST, ARPOP_REPLY = 1, 2
# --- include/uapi/linux/if_packet.h: for whom a frame was
PACKET_HOST, PACKET_MULTICAST = 0, 2

IPPROTO_ICMPV6 = 58  # RFC 4443
SOLICITATION, ADVERTISEMENT = 135, 136  # RFC 4861, 4.3 and 4.4: ICMP types
SOURCE_LLA, TARGET_LLA = 1, 2  # RFC 4861, 4.6.1: options that name a link-layer address
HOP_LIMIT = 255  # RFC 4861, 7.1: proves that no router has handed it on
ROUTER, SOLICITED, OVERRIDE = 0x80, 0x40, 0x20  # RFC 4861, 4.4: flags of an advertisement

ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"  # RFC 4291, 2.7.1
_SOLICITED_NODE = b"\xff\x02" + bytes(9) + b"\x01\xff"  # RFC 4291, 2.7.1; three bytes follow
_MULTICAST_MAC = b"\x33\x33"  # RFC 2464, 7; the group's last four bytes follow

_ARP = struct.Struct("!HHBBH")
_IPV6 = struct.Struct("!IHBB16s16s")
_ND = struct.Struct("!BBHB3x16s")
_IPV6_VERSION = 6 << 28
_OPTIONS = _IPV6.size + _ND.size  # where they begin


class Answer(NamedTuple):
    """What one packet says about an address."""

    ip: bytes  # packed
    mac: bytes  # the one it names; empty where it names none (RFC 4861, 4.4: it need not)
    source: bytes  # the link-layer address it came from
    kind: int  # ETH_P_ARP or ETH_P_IPV6
    flags: int = 0  # ROUTER, SOLICITED, OVERRIDE of an advertisement

    @property
    def owner(self) -> bytes:
        """Return the MAC at which the address answers."""
        return self.mac or self.source


def arp_request(hardware: int, mac: bytes, source: bytes, target: bytes) -> bytes:
    """Return "who has target? tell source", by broadcast or to one host: the link header says."""
    return _arp(hardware, ARPOP_REQUEST, mac, source, bytes(len(mac)), target)


def arp_announcement(operation: int, hardware: int, mac: bytes, source: bytes) -> bytes:
    """Return a gratuitous request or reply: ``source`` is at ``mac`` (RFC 5227, 3).

    The kernel takes a reply for gratuitous only where it names the sender's MAC as the target's
    (net/ipv4/arp.c, arp_is_garp).
    """
    return _arp(hardware, operation, mac, source, mac, source)


def _arp(
    hardware: int, operation: int, mac: bytes, source: bytes, target_mac: bytes, target: bytes
) -> bytes:
    return _arp_head(hardware, len(mac), operation) + mac + source + target_mac + target


@functools.cache
def _arp_head(hardware: int, hln: int, operation: int) -> bytes:
    return _ARP.pack(hardware, ETH_P_IP, hln, 4, operation)


def solicitation(mac: bytes, source: bytes, target: bytes, destination: bytes = b"") -> bytes:
    """Return "who has target?" of IPv6; to all who may, where no destination is named."""
    return _neighbour(
        SOLICITATION, 0, source, destination or solicited_node(target), target, SOURCE_LLA, mac
    )


def advertisement(mac: bytes, source: bytes, router: bool = False) -> bytes:
    """Return an unsolicited advertisement to all nodes: ``source`` is at ``mac``, believe it.

    router: whether this machine forwards. Who hears from a router without the flag takes it off
    the list of default routers (RFC 4861, 7.2.5).
    """
    flags = OVERRIDE | ROUTER if router else OVERRIDE
    return _neighbour(ADVERTISEMENT, flags, source, ALL_NODES, source, TARGET_LLA, mac)


def _neighbour(
    kind: int, flags: int, source: bytes, destination: bytes, target: bytes, option: int, mac: bytes
) -> bytes:
    units = len(mac) + 2 + 7 >> 3  # RFC 4861, 4.6: of 8 bytes, type and length included
    body = struct.pack("BB", option, units) + mac.ljust(units * 8 - 2, b"\0")
    length = _ND.size + len(body)
    summed = _sum(source + destination, length, _ND.pack(kind, 0, 0, flags, target) + body)
    return (
        _IPV6.pack(_IPV6_VERSION, length, IPPROTO_ICMPV6, HOP_LIMIT, source, destination)
        + _ND.pack(kind, 0, -summed % 0xFFFF, flags, target)
        + body
    )


def _sum(addresses: bytes, length: int, message: bytes) -> int:
    """Return the one's complement sum of a message and its pseudo-header (RFC 8200, 8.1).

    Adding 16-bit words with the carry put back is counting modulo 0xFFFF.
    """
    words = int.from_bytes(addresses, "big") + int.from_bytes(message, "big")
    return (words + length + IPPROTO_ICMPV6) % 0xFFFF


def solicited_node(target: bytes) -> bytes:
    """Return the multicast group in which the owner of an IPv6 address listens."""
    return _SOLICITED_NODE + target[-3:]


def multicast_mac(group: bytes) -> bytes:
    """Return the Ethernet address of an IPv6 multicast group."""
    return _MULTICAST_MAC + group[-4:]


def parse(packet: bytes, sender: tuple, own: bytes = b"") -> Answer | None:
    """Return what a packet answers; None where it is no answer, or none to be believed.

    sender: as ``recvfrom`` of a packet socket names it: device, protocol, for whom the frame was
    (PACKET_HOST, ...), hardware type, link-layer address. own: the device's own MAC.
    """
    _device, protocol, whom, hardware, source = sender
    if whom > PACKET_MULTICAST or not _can_be_owner(source, hardware) or source == own:
        return None
    if protocol == ETH_P_ARP:
        answer = _parse_arp(packet, source, hardware)
    elif protocol == ETH_P_IPV6:
        answer = _parse_advertisement(packet, source)
    else:
        return None
    if not answer or answer.mac in (source, b""):
        return answer
    return None if answer.mac == own or not _can_be_owner(answer.mac, hardware) else answer


def _can_be_owner(mac: bytes, hardware: int) -> bool:
    """Tell whether a link-layer address is one host's: not zero, not a group's."""
    if mac and mac[0] & 1 and hardware in (ARPHRD_ETHER, ARPHRD_IEEE802):
        return False
    return any(mac)


def _parse_arp(packet: bytes, source: bytes, hardware: int) -> Answer | None:
    hln = len(source)
    if len(packet) < _ARP.size + 2 * (hln + 4):  # longer is padding: Ethernet's least is 46
        return None
    if packet[: _ARP.size] not in _reply_heads(hardware, hln):
        return None
    ip = _ARP.size + hln
    return Answer(packet[ip : ip + 4], packet[_ARP.size : ip], source, ETH_P_ARP)


@functools.cache
def _reply_heads(hardware: int, hln: int) -> frozenset[bytes]:
    """Return how a reply on such hardware may begin.

    The kernel takes either number for Ethernet's (net/ipv4/arp.c, arp_process).
    """
    ethernet = ARPHRD_ETHER, ARPHRD_IEEE802
    numbers = ethernet if hardware in ethernet else (hardware,)
    return frozenset(_arp_head(number, hln, ARPOP_REPLY) for number in numbers)


def _parse_advertisement(packet: bytes, source: bytes) -> Answer | None:
    """See RFC 4861, 7.1.2, for what must be so."""
    if len(packet) < _OPTIONS:
        return None
    first, length, next_header, hops, _source, destination = _IPV6.unpack_from(packet)
    end = _IPV6.size + length
    if (first >> 28, next_header, hops) != (6, IPPROTO_ICMPV6, HOP_LIMIT):
        return None
    if not _OPTIONS <= end <= len(packet):
        return None
    if _sum(packet[8 : _IPV6.size], length, packet[_IPV6.size : end]):
        return None
    kind, code, _checksum, flags, target = _ND.unpack_from(packet, _IPV6.size)
    if (kind, code) != (ADVERTISEMENT, 0) or target[0] == 0xFF:
        return None
    if destination[0] == 0xFF and flags & SOLICITED:
        return None
    mac = _target_lla(packet, end, len(source))
    return None if mac is None else Answer(target, mac, source, ETH_P_IPV6, flags & 0xE0)


def _target_lla(packet: bytes, end: int, length: int) -> bytes | None:
    """Return the address that the options name, empty for none; None where they are malformed."""
    at, mac = _OPTIONS, b""
    while at < end:
        size = packet[at + 1] * 8 if at + 1 < end else 0
        if not size or at + size > end:
            return None
        if packet[at] == TARGET_LLA and not mac:
            if size != length + 2 + 7 & ~7:
                return None
            mac = packet[at + 2 : at + 2 + length]
        at += size
    return mac
