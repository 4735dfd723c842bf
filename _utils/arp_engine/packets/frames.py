"""ARP and neighbour discovery packets: requests and announcements out, answers in. No sockets.

Packets begin after the link header, which the kernel writes and removes (a packet socket of type
SOCK_DGRAM). An ARP packet (RFC 826; hln is 6 on Ethernet)::

     0 hardware type:2  protocol type:2  hln:1  pln:1  operation:2
     8 sender hardware:hln  sender protocol:4  target hardware:hln  target protocol:4

A neighbour solicitation or advertisement (RFC 4861) after its IPv6 header (RFC 8200)::

     0 version, class, flow:4  payload length:2  next header:1  hop limit:1
     8 source:16  destination:16
    40 type:1  code:1  checksum:2  flags:1  reserved:3  target:16
    64 options: type:1  length in units of 8:1  address:6

``parse`` accepts no packet that deviates from this: anyone can send them.
"""

import functools
import struct
from typing import NamedTuple

# --- include/uapi/linux/if_ether.h
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
ETH_P_8021Q, ETH_P_8021AD = 0x8100, 0x88A8
# --- include/uapi/linux/if_arp.h
ARPHRD_ETHER, ARPHRD_IEEE802 = 1, 6
ARPOP_REQUEST, ARPOP_REPLY = 1, 2
# --- include/uapi/linux/if_packet.h: packet types, to whom a frame was addressed
PACKET_HOST, PACKET_MULTICAST = 0, 2

IPPROTO_ICMPV6 = 58  # RFC 4443
SOLICITATION, ADVERTISEMENT = 135, 136  # RFC 4861, 4.3 and 4.4: ICMP types
SOURCE_LLA, TARGET_LLA = 1, 2  # RFC 4861, 4.6.1: options that name a link-layer address
HOP_LIMIT = 255  # RFC 4861, 7.1: proves that no router forwarded the packet
ROUTER, SOLICITED, OVERRIDE = 0x80, 0x40, 0x20  # RFC 4861, 4.4: flags of an advertisement

ALL_NODES = b"\xff\x02" + bytes(13) + b"\x01"  # RFC 4291, 2.7.1
_SOLICITED_NODE = b"\xff\x02" + bytes(9) + b"\x01\xff"  # RFC 4291, 2.7.1; three bytes follow
_MULTICAST_MAC = b"\x33\x33"  # RFC 2464, 7; the group's last four bytes follow

_ARP = struct.Struct("!HHBBH")
_IPV6 = struct.Struct("!IHBB16s16s")
_ND = struct.Struct("!BBHB3x16s")
_IPV6_VERSION = 6 << 28
_OPTIONS_AT = _IPV6.size + _ND.size
_OPTION_UNIT = 8  # bytes, RFC 4861, 4.6


class Answer(NamedTuple):
    """One packet that says at which MAC an address is."""

    ip: bytes  # packed
    mac: bytes  # named in the packet; empty where it names none (RFC 4861, 4.4: it need not)
    source: bytes  # the link-layer address of its sender
    kind: int  # ETH_P_ARP or ETH_P_IPV6
    flags: int = 0  # ROUTER, SOLICITED, OVERRIDE of an advertisement

    @property
    def owner(self) -> bytes:
        """Return the MAC at which the address answers."""
        return self.mac or self.source


def arp_request(hardware: int, mac: bytes, source: bytes, target: bytes) -> bytes:
    """Return an ARP request "who has target? tell source", for broadcast or unicast."""
    return _arp(hardware, ARPOP_REQUEST, mac, source, bytes(len(mac)), target)


def arp_announcement(operation: int, hardware: int, mac: bytes, source: bytes) -> bytes:
    """Return a gratuitous request or reply: ``source`` is at ``mac`` (RFC 5227, 3).

    The kernel treats a reply as gratuitous only if its target MAC is the sender's
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
    """Return a neighbour solicitation; to the target's solicited-node group by default."""
    return _neighbour(
        SOLICITATION, 0, source, destination or solicited_node(target), target, SOURCE_LLA, mac
    )


def advertisement(mac: bytes, source: bytes, router: bool = False) -> bytes:
    """Return an unsolicited advertisement to all nodes: ``source`` is at ``mac``, override.

    router: whether this machine forwards. A host removes a router that advertises without this flag
    from its list of default routers (RFC 4861, 7.2.5).
    """
    flags = OVERRIDE | ROUTER if router else OVERRIDE
    return _neighbour(ADVERTISEMENT, flags, source, ALL_NODES, source, TARGET_LLA, mac)


def _neighbour(
    kind: int, flags: int, source: bytes, destination: bytes, target: bytes, option: int, mac: bytes
) -> bytes:
    size = _option_size(len(mac))
    body = struct.pack("BB", option, size // _OPTION_UNIT) + mac.ljust(size - 2, b"\0")
    length = _ND.size + len(body)
    summed = _sum(source + destination, length, _ND.pack(kind, 0, 0, flags, target) + body)
    return (
        _IPV6.pack(_IPV6_VERSION, length, IPPROTO_ICMPV6, HOP_LIMIT, source, destination)
        + _ND.pack(kind, 0, -summed % 0xFFFF, flags, target)
        + body
    )


def _option_size(address_length: int) -> int:
    """Return how many bytes a link-layer address option takes: type, length, address, padding."""
    return -(-(2 + address_length) // _OPTION_UNIT) * _OPTION_UNIT


def _sum(addresses: bytes, length: int, message: bytes) -> int:
    """Return the one's complement sum of a message and its pseudo-header (RFC 8200, 8.1).

    Adding 16-bit words with end-around carry is addition modulo 0xFFFF.
    """
    words = int.from_bytes(addresses, "big") + int.from_bytes(message, "big")
    return (words + length + IPPROTO_ICMPV6) % 0xFFFF


def solicited_node(target: bytes) -> bytes:
    """Return the multicast group that the holder of an IPv6 address joins."""
    return _SOLICITED_NODE + target[-3:]


def multicast_mac(group: bytes) -> bytes:
    """Return the Ethernet address of an IPv6 multicast group."""
    return _MULTICAST_MAC + group[-4:]


def parse(packet: bytes, sender: tuple, own: bytes = b"") -> Answer | None:
    """Return the answer in a packet; None where it is no answer, or not a credible one.

    sender: as from ``recvfrom`` of a packet socket: device, protocol, packet type (PACKET_HOST,
    ...), hardware type, link-layer address. own: the device's own MAC.
    """
    _device, protocol, packet_type, hardware, source = sender
    if packet_type > PACKET_MULTICAST or not _can_be_owner(source, hardware) or source == own:
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
    """Tell whether a link-layer address can be one host's: not zero, not multicast."""
    if mac and mac[0] & 1 and hardware in (ARPHRD_ETHER, ARPHRD_IEEE802):
        return False
    return any(mac)


def _parse_arp(packet: bytes, source: bytes, hardware: int) -> Answer | None:
    hln = len(source)
    if len(packet) < _ARP.size + 2 * (hln + 4):  # longer is padding: Ethernet's minimum is 46
        return None
    if packet[: _ARP.size] not in _reply_heads(hardware, hln):
        return None
    ip = _ARP.size + hln
    return Answer(packet[ip : ip + 4], packet[_ARP.size : ip], source, ETH_P_ARP)


@functools.cache
def _reply_heads(hardware: int, hln: int) -> frozenset[bytes]:
    """Return the bytes that an ARP reply on this hardware type may begin with.

    The kernel accepts either number for Ethernet (net/ipv4/arp.c, arp_process).
    """
    ethernet = ARPHRD_ETHER, ARPHRD_IEEE802
    numbers = ethernet if hardware in ethernet else (hardware,)
    return frozenset(_arp_head(number, hln, ARPOP_REPLY) for number in numbers)


def _parse_advertisement(packet: bytes, source: bytes) -> Answer | None:
    """Return the answer in a neighbour advertisement that is valid by RFC 4861, 7.1.2."""
    if len(packet) < _OPTIONS_AT:
        return None
    first, length, next_header, hops, _source, destination = _IPV6.unpack_from(packet)
    end = _IPV6.size + length
    if (first >> 28, next_header, hops) != (6, IPPROTO_ICMPV6, HOP_LIMIT):
        return None
    if not _OPTIONS_AT <= end <= len(packet):
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
    """Return the MAC in the options, empty where there is none; None where they are malformed."""
    at, mac = _OPTIONS_AT, b""
    while at < end:
        size = packet[at + 1] * _OPTION_UNIT if at + 1 < end else 0
        if not size or at + size > end:
            return None
        if packet[at] == TARGET_LLA and not mac:
            if size != _option_size(length):
                return None
            mac = packet[at + 2 : at + 2 + length]
        at += size
    return mac
