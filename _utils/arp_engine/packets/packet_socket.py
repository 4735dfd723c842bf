"""The sockets on the wire: ARP, neighbour discovery, SYNs. The only file that opens one of these.

One socket for each protocol, whatever the number of devices: the kernel waits 12 to 16 ms for every
packet socket that is closed (synchronize_net), so one for each of 1,000 devices would cost 16 s.
A frame names its device when it is sent, and when it is heard.

The kernel's filter hands us answers alone: no requests, nothing that was sent from here or is for
another host. For another host is also what bears the tag of a VLAN that this machine has no device
for (net/core/dev.c, __netif_receive_skb_core). What else arrives between the opening and the filter
is harmless: packets/frames.py takes nothing on trust.
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

# Answers that have come and are not read yet: the default buffer holds about 256.
RECEIVE_BUFFER = 4 << 20
LONGEST = 8  # bytes of a link-layer address that Python's packet sockets can name
SO_ATTACH_FILTER = 26
ETH_P_ALL = 3  # include/uapi/linux/if_ether.h
_SOL_PACKET, _PACKET_STATISTICS = 263, 6  # include/linux/socket.h, include/uapi/linux/if_packet.h

# --- include/uapi/linux/bpf_common.h, filter.h: load a byte or two, compare, return
_LOAD_1, _LOAD_2, _EQUAL, _GREATER, _RETURN = 0x30, 0x28, 0x15, 0x25, 0x06
# --- include/uapi/linux/filter.h: what is known of a frame beside its bytes
_WHOM = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE

#: What must be so, or not greater: where to look, how, at what. Bytes count from behind the link
#: header.
_FOR_US = (_LOAD_1, _WHOM, _GREATER, frames.PACKET_MULTICAST)
_TAPPED = {  # what a tap is bound to
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

#: Where a packet is to leave, said with it: include/uapi/linux/in.h, in6.h (IP_PKTINFO, struct
#: in_pktinfo; IPV6_PKTINFO, struct in6_pktinfo).
_BY = {
    socket.AF_INET: (socket.IPPROTO_IP, 8),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO),
}
_PACKET_INFO = {socket.AF_INET: struct.Struct("=i8x"), socket.AF_INET6: struct.Struct("=16xi")}

#: What a refusal means to who asked.
_REASONS = {
    errno.EPERM: "no CAP_NET_RAW",
    errno.EACCES: "no CAP_NET_RAW",
    errno.ENETDOWN: "device is down",
    errno.ENODEV: "device is gone",
    errno.ENXIO: "device is gone",
    errno.ENOBUFS: "the device's queue is full (ENOBUFS)",
}


def reason(error: OSError) -> str:
    """Return why the wire cannot be used, as an operator would say it."""
    number = error.errno or 0
    name = errno.errorcode.get(number, str(number))
    return _REASONS.get(number, f"{name}: {os.strerror(number)}")


class Port:
    """What is sent and heard of one protocol, on every device. Nothing in here ever waits."""

    def __init__(self, family: int):
        """Open it: AF_INET for ARP, AF_INET6. PermissionError without CAP_NET_RAW."""
        self._protocol = _PROTOCOLS[family]
        kind = socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(self._protocol)
        self._sock = socket.socket(*kind)
        self._sock.setblocking(False)
        _attach(self._sock, _program(_FILTERS[family]))
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        except PermissionError:  # no CAP_NET_ADMIN: as much as net.core.rmem_max allows
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def fileno(self) -> int:
        """Return what can be polled."""
        return self._sock.fileno()

    def send(self, device: str, mac: bytes, packet: bytes) -> None:
        """Send one packet to a link-layer address. OSError where it is not sent: see ``reason``."""
        self._sock.sendto(packet, (device, self._protocol, 0, 0, mac))

    def drain(self, most: int) -> list[tuple[bytes, tuple]]:
        """Return ``(packet, sender)`` of what has come, no more than ``most``."""
        return _drain(self._sock, most)

    def close(self) -> None:
        """Close it; the kernel's long farewell is not waited for, nor that a thread has begun.

        On a busy machine a thread takes 3 ms to begin, which is how long Thread.start waits.
        """
        with contextlib.suppress(RuntimeError):  # no more threads: then it is waited for
            _thread.start_new_thread(self._sock.close, ())
            return
        self._sock.close()


class Tap:
    """What a filter passes of one protocol's packets, on every device. Nothing is sent by it.

    What bears the tag of a VLAN is heard on the VLAN's device, without it; what a bridge or a bond
    takes is heard on theirs, as the table knows it.
    """

    def __init__(self, family: int, program: bytes):
        """Open it: AF_INET, AF_INET6; AF_UNSPEC for both, and for what leaves too.

        PermissionError without CAP_NET_RAW.
        """
        kind = socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_TAPPED[family])
        self._sock = socket.socket(*kind)
        self._sock.setblocking(False)
        self.attach(program)

    def attach(self, program: bytes) -> None:
        """Let another filter take over. OSError ENOMEM where the kernel finds it too long."""
        _attach(self._sock, program)

    def fileno(self) -> int:
        """Return what can be polled."""
        return self._sock.fileno()

    def drain(self, most: int) -> list[tuple[bytes, tuple]]:
        """Return ``(packet, sender)`` of what has come, no more than ``most``."""
        return _drain(self._sock, most)

    def lost(self) -> int:
        """Return how many found no room since this was asked last."""
        return struct.unpack("=II", self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]

    def close(self) -> None:
        """Close it."""
        self._sock.close()


class Raw:
    """IP packets that are sent as they are, by the kernel's own routes. Hears nothing."""

    def __init__(self) -> None:
        """Open nothing yet."""
        self._socks: dict[int, socket.socket] = {}  # by family

    def send(self, family: int, packet: bytes, target: str, by: int = 0) -> None:
        """Send a packet to an address; by a device, where one is named. OSError: it is not sent."""
        if family not in self._socks:
            sock = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            sock.setblocking(False)
            self._socks[family] = sock
        options = [(*_BY[family], _PACKET_INFO[family].pack(by))] if by else []
        self._socks[family].sendmsg([packet], options, 0, (target, 0))

    def close(self) -> None:
        """Close it."""
        for sock in self._socks.values():
            sock.close()


def _attach(sock: socket.socket, code: bytes) -> None:
    program = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("@HP", len(code) // 8, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)


def _drain(sock: socket.socket, most: int) -> list[tuple[bytes, tuple]]:
    heard, take = [], sock.recvfrom
    for _ in range(most):
        try:
            heard.append(take(2048))
        except BlockingIOError:
            break
        except UnicodeDecodeError:  # a device whose name Python cannot tell: not one we asked on
            continue
    return heard


def _program(checks: list[tuple[int, int, int, int]]) -> bytes:
    """Return a classic BPF program that passes what stands all checks."""
    lines = []
    for number, (load, offset, compare, value) in enumerate(checks):
        reject = 2 * (len(checks) - number) - 1  # instructions to jump over, to the last one
        lines.append((load, 0, 0, offset))
        lines.append((compare, *((0, reject) if compare == _EQUAL else (reject, 0)), value))
    lines += [(_RETURN, 0, 0, 0xFFFF), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
