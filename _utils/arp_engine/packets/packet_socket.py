"""Packet and raw sockets: ARP, neighbour discovery, SYNs. The only file that opens any.

One socket for each protocol, however many devices: the kernel takes 12 to 16 ms to close a packet
socket (synchronize_net), so one for each of 1,000 devices would cost 16 s. Each frame is sent and
received with the name of its device.

A socket filter passes answers alone: no requests, nothing sent from here or to another host. The
kernel also marks a frame as for another host if it has the tag of a VLAN without a device here
(net/core/dev.c, __netif_receive_skb_core). Frames that arrive before the filter is attached do no
harm: packets/frames.py checks everything again.
"""

import _thread
import contextlib
import ctypes
import errno
import os
import socket
import struct

from ..netlink.constants import SO_RCVBUFFORCE
from . import frames

RECEIVE_BUFFER = 4 << 20  # bytes, for answers not read yet: the default holds about 256 of them
MAX_LLADDR = 8  # bytes of a link-layer address in a packet socket's address (sockaddr_ll)
_MAX_PACKET = 2048  # bytes: answers and SYNs are shorter
SO_ATTACH_FILTER = 26
ETH_P_ALL = 3  # include/uapi/linux/if_ether.h
# --- include/linux/socket.h, include/uapi/linux/if_packet.h
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_FANOUT, _PACKET_FANOUT_DATA = 263, 6, 18, 22
_FANOUT_CBPF, _FANOUT_FLAG_UNIQUEID = 6 << 16, 0x2000 << 16

# --- include/uapi/linux/bpf_common.h, filter.h: load a byte or two, compare, return
_LOAD_1, _LOAD_2, _EQUAL, _GREATER, _RETURN = 0x30, 0x28, 0x15, 0x25, 0x06
# --- include/uapi/linux/filter.h: metadata of a frame
_PACKET_TYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE

#: Checks of a filter: load, offset (from the end of the link header), comparison, value. A frame
#: passes where all values are equal, or none is greater.
_FOR_US = (_LOAD_1, _PACKET_TYPE, _GREATER, frames.PACKET_MULTICAST)
_TAP_PROTOCOLS = {
    socket.AF_INET: frames.ETH_P_IP,
    socket.AF_INET6: frames.ETH_P_IPV6,
    socket.AF_UNSPEC: ETH_P_ALL,
}
_PROTOCOLS = {socket.AF_INET: frames.ETH_P_ARP, socket.AF_INET6: frames.ETH_P_IPV6}
_FILTERS = {
    socket.AF_INET: [_FOR_US, (_LOAD_2, 6, _EQUAL, frames.ARPOP_REPLY)],
    socket.AF_INET6: [
        _FOR_US,
        (_LOAD_1, 6, _EQUAL, frames.IPPROTO_ICMPV6),
        (_LOAD_1, 7, _EQUAL, frames.HOP_LIMIT),
        (_LOAD_1, 40, _EQUAL, frames.ADVERTISEMENT),
    ],
}

#: Control messages that name the outgoing device: include/uapi/linux/in.h, in6.h (IP_PKTINFO with
#: struct in_pktinfo; IPV6_PKTINFO with struct in6_pktinfo).
_PKTINFO_OPTIONS = {
    socket.AF_INET: (socket.IPPROTO_IP, 8),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO),
}
_PKTINFO = {socket.AF_INET: struct.Struct("=i8x"), socket.AF_INET6: struct.Struct("=16xi")}

#: errno to what it means for an operator.
_REASONS = {
    errno.EPERM: "no CAP_NET_RAW",
    errno.EACCES: "no CAP_NET_RAW",
    errno.ENETDOWN: "device is down",
    errno.ENODEV: "device is gone",
    errno.ENXIO: "device is gone",
    errno.ENOBUFS: "the device's queue is full (ENOBUFS)",
}


def reason(error: OSError) -> str:
    """Return why a packet could not be sent or a socket opened, as an operator would say it."""
    number = error.errno or 0
    name = errno.errorcode.get(number, str(number))
    return _REASONS.get(number, f"{name}: {os.strerror(number)}")


#: Packets that a new socket may have received before it had its filter.
UNFILTERED = 1024


class ProbeSocket:
    """Sends and receives ARP or neighbour discovery on every device. Never blocks."""

    def __init__(self, family: int):
        """Open it: AF_INET for ARP, or AF_INET6. PermissionError without CAP_NET_RAW."""
        self._protocol = _PROTOCOLS[family]
        kind = socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(self._protocol)
        self._sock = socket.socket(*kind)
        self._sock.setblocking(False)
        _attach(self._sock, _program(_FILTERS[family]))
        _drain(self._sock, UNFILTERED)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:  # no CAP_NET_ADMIN: up to net.core.rmem_max
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._sock.fileno()

    def send(self, device: str, mac: bytes, packet: bytes) -> None:
        """Send one packet to a link-layer address. OSError on failure: see ``reason``."""
        self._sock.sendto(packet, (device, self._protocol, 0, 0, mac))

    def drain(self, at_most: int) -> list[tuple[bytes, tuple]]:
        """Return ``(packet, sender)`` of the packets that have arrived."""
        return _drain(self._sock, at_most)

    def close(self) -> None:
        """Close it in a thread of its own, as that takes the kernel up to 16 ms.

        Not with Thread.start, which waits until the thread runs: 3 ms on a busy machine.
        """
        with contextlib.suppress(RuntimeError):  # no thread can be started: close it here
            _thread.start_new_thread(self._sock.close, ())
            return
        self._sock.close()


class Tap:
    """Receives the packets of one protocol that a filter passes, on every device. Sends nothing.

    A packet with a VLAN tag is received on the VLAN device, without the tag; a packet that enters a
    bridge or bond is received on that device. The neighbour table uses the same devices.
    """

    def __init__(self, family: int, program: bytes):
        """Open it: AF_INET, AF_INET6; AF_UNSPEC for both, outbound packets included.

        PermissionError without CAP_NET_RAW.
        """
        kind = socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_TAP_PROTOCOLS[family])
        self._sock = socket.socket(*kind)
        self._sock.setblocking(False)
        self.attach(program)
        _drain(self._sock, UNFILTERED)

    def attach(self, program: bytes) -> None:
        """Replace the filter. OSError ENOMEM where it is larger than net.core.optmem_max."""
        _attach(self._sock, program)

    def join(self, other: "Tap | None" = None) -> None:
        """Share the packets with another tap: each is received by one (PACKET_FANOUT_CBPF, 4.3).

        other: one that has joined; None for the first. ``share_by`` chooses by order of joining.
        OSError where the kernel cannot.
        """
        group = _FANOUT_FLAG_UNIQUEID
        if other:
            group = other._sock.getsockopt(_SOL_PACKET, _PACKET_FANOUT) & 0xFFFF
        self._sock.setsockopt(_SOL_PACKET, _PACKET_FANOUT, _FANOUT_CBPF | group)

    def share_by(self, program: bytes) -> None:
        """Let a program return the number of the tap that receives a packet, for all that joined.

        The kernel takes some 20 ms for it.
        """
        _attach(self._sock, program, _SOL_PACKET, _PACKET_FANOUT_DATA)

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._sock.fileno()

    def drain(self, at_most: int) -> list[tuple[bytes, tuple]]:
        """Return ``(packet, sender)`` of the packets that have arrived."""
        return _drain(self._sock, at_most)

    def dropped(self) -> int:
        """Return how many packets the kernel dropped since the last call: the buffer was full."""
        return struct.unpack("=II", self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


class FrameSocket:
    """Sends IP packets to a link-layer address on a device. Receives nothing."""

    def __init__(self) -> None:
        """Open it. PermissionError without CAP_NET_RAW."""
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._sock.setblocking(False)

    def send(self, ifindex: int, mac: bytes, packet: bytes) -> None:
        """Send one packet. OSError on failure."""
        protocol = frames.ETH_P_IP if packet[0] >> 4 == 4 else frames.ETH_P_IPV6
        self._sock.sendto(packet, (socket.if_indextoname(ifindex), protocol, 0, 0, mac))

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


class RawIpSocket:
    """Sends complete IP packets over the kernel's routes. Receives nothing."""

    def __init__(self) -> None:
        self._socks: dict[int, socket.socket] = {}  # by family

    def send(self, family: int, packet: bytes, target: str, ifindex: int = 0) -> None:
        """Send a packet to an address; over one device, if ifindex is given. OSError on failure."""
        if family not in self._socks:
            sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            sock.setblocking(False)
            self._socks[family] = sock
        options = []
        if ifindex:
            options = [(*_PKTINFO_OPTIONS[family], _PKTINFO[family].pack(ifindex))]
        self._socks[family].sendmsg([packet], options, 0, (target, 0))

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._socks.values():
            sock.close()


def _attach(
    sock: socket.socket, code: bytes, level: int = socket.SOL_SOCKET, option: int = SO_ATTACH_FILTER
) -> None:
    program = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(code) // 8, ctypes.addressof(program))
    sock.setsockopt(level, option, fprog)


def _drain(sock: socket.socket, at_most: int) -> list[tuple[bytes, tuple]]:
    received, receive = [], sock.recvfrom
    for _ in range(at_most):
        try:
            received.append(receive(_MAX_PACKET))
        except BlockingIOError:
            break
        except UnicodeDecodeError:  # a device with a name that Python cannot decode: not probed
            continue
    return received


def _program(checks: list[tuple[int, int, int, int]]) -> bytes:
    """Return a classic BPF program that passes the frames for which all checks hold."""
    lines = []
    for number, (load, offset, compare, value) in enumerate(checks):
        reject = 2 * (len(checks) - number) - 1  # instructions to jump over, to the last one
        lines.append((load, 0, 0, offset))
        lines.append((compare, *((0, reject) if compare == _EQUAL else (reject, 0)), value))
    lines += [(_RETURN, 0, 0, 0xFFFF), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
