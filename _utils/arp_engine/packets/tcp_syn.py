"""The first packet of a TCP connection: parsed, and rebuilt to be sent again.

A SYN (RFC 9293, 3.1) without anything unusual about it::

     0 IPv4 header, 20 bytes (RFC 791)          or IPv6 header, 40 bytes (RFC 8200)
    20 source port:2  destination port:2  sequence:4  acknowledgment:4
    32 data offset:4 bits  reserved  flags:1  window:2  checksum:2  urgent:2  options

A SYN with IP options, extension headers or data may be parsed, but is never rebuilt: the client
sends its own second SYN after a second. Standard library alone.
"""

import struct
from typing import NamedTuple

TCP = 6  # protocol number
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
FLAGS_MASK = FIN | SYN | RST | ACK  # of these a first packet has only SYN; ECE, CWR may be set
FRAGMENT_MASK = 0x3FFF  # "more fragments" and offset, without "reserved" and "don't fragment"
SNAPLEN = 160  # bytes of a packet that we receive: IPv4 60 and TCP 60, or IPv6 40 and TCP 60

_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_PORTS = struct.Struct("!HH")
_TCP_HEADER = 20  # bytes, without options


class Syn(NamedTuple):
    """A SYN. Addresses are packed."""

    source: bytes
    source_port: int
    target: bytes
    target_port: int
    packet: bytes  # as it was received

    @property
    def connection(self) -> tuple[bytes, int, bytes, int]:
        """Return what identifies the connection."""
        return self[:4]

    @property
    def sequence(self) -> bytes:
        """Return its initial sequence number: a retransmitted SYN has the same."""
        at = (self.packet[0] & 15) * 4 if len(self.source) == 4 else _IPV6.size
        return self.packet[at + _PORTS.size : at + _PORTS.size + 4]


def parse_tagged(packet: bytes) -> Syn | None:
    """Return the SYN in a packet whose IP header a VLAN header (tag, protocol) may precede."""
    is_tagged = packet[2:4] in (b"\x08\x00", b"\x86\xdd")
    return parse(packet) or (parse(packet[4:]) if is_tagged else None)


def parse(packet: bytes) -> Syn | None:
    """Return the SYN in a packet; None where it is no SYN, or its TCP header is cut short."""
    if len(packet) < _IPV4.size:
        return None
    if packet[0] >> 4 == 4:
        _v, _tos, total, _id, offset, _ttl, protocol, _sum, source, target = _IPV4.unpack_from(
            packet
        )
        at = (packet[0] & 15) * 4
        if offset & FRAGMENT_MASK or at < _IPV4.size:
            return None
    elif packet[0] >> 4 == 6 and len(packet) >= _IPV6.size:
        _flow, length, protocol, _hops, source, target = _IPV6.unpack_from(packet)
        at, total = _IPV6.size, _IPV6.size + length
    else:
        return None
    if protocol != TCP or min(total, len(packet)) < at + _TCP_HEADER:
        return None
    if packet[at + 13] & FLAGS_MASK != SYN:
        return None
    return Syn(source, _PORTS.unpack_from(packet, at)[0], target,
               _PORTS.unpack_from(packet, at)[1], packet)  # fmt: skip


def rebuild(packet: bytes) -> bytes | None:
    """Return a SYN's packet to be sent again; None where anything about it is unusual.

    Its checksum is computed again: with checksum offload (a network card, veth) a captured packet
    does not have it yet. Bytes after the packet (Ethernet's padding) are removed.
    """
    if not parse(packet):
        return None
    if packet[0] == 0x45:
        at, end = _IPV4.size, _IPV4.unpack_from(packet)[2]
    elif packet[0] >> 4 == 6:
        at = _IPV6.size
        end = at + _IPV6.unpack_from(packet)[1]
    else:
        return None
    if end > len(packet) or (packet[at + 12] >> 4) * 4 != end - at:
        return None
    segment = packet[at : at + 16] + b"\0\0" + packet[at + 18 : end]
    summed = _sum(packet[12:20] if at == _IPV4.size else packet[8:40], segment)
    return packet[:at] + segment[:16] + struct.pack("!H", -summed % 0xFFFF) + segment[18:]


def _sum(addresses: bytes, segment: bytes) -> int:
    """Return the one's complement sum of a segment and its pseudo-header, as in frames.py."""
    words = int.from_bytes(addresses, "big") + int.from_bytes(segment, "big")
    return (words + len(segment) + TCP) % 0xFFFF
