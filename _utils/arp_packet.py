"""The socket on the wire: ARP and neighbour discovery. The only file that opens one of these.

One socket for each protocol, whatever the number of devices: the kernel waits 12 to 16 ms for every
packet socket that is closed (synchronize_net), so one for each of 1,000 devices would cost 16 s.
A frame names its device when it is sent, and when it is heard.

The kernel's filter hands us answers alone: no requests, nothing that was sent from here or is for
another host. For another host is also what bears the tag of a VLAN that this machine has no device
for (net/core/dev.c, __netif_receive_skb_core). What else arrives between the opening and the filter
is harmless: arp_frames takes nothing on trust.
"""

import _thread
import contextlib
import ctypes
import errno
import os
import socket
import struct

import arp_frames as frames
from arp_kernel import SO_RCVBUFFORCE

# Answers that have come and are not read yet: the default buffer holds about 256.
RECEIVE_BUFFER = 4 << 20
LONGEST = 8  # bytes of a link-layer address that Python's packet sockets can name
SO_ATTACH_FILTER = 26

# --- include/uapi/linux/bpf_common.h, filter.h: load a byte or two, compare, return
_LOAD_1, _LOAD_2, _EQUAL, _GREATER, _RETURN = 0x30, 0x28, 0x15, 0x25, 0x06
# --- include/uapi/linux/filter.h: what is known of a frame beside its bytes
_WHOM = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE

#: What must be so, or not greater: where to look, how, at what. Bytes count from behind the link
#: header.
_FOR_US = (_LOAD_1, _WHOM, _GREATER, frames.PACKET_MULTICAST)
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
        program = ctypes.create_string_buffer(_program(_FILTERS[family]))
        fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(program))
        self._sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
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
        heard, take = [], self._sock.recvfrom
        for _ in range(most):
            try:
                heard.append(take(2048))
            except BlockingIOError:
                break
            except (
                UnicodeDecodeError
            ):  # a device whose name Python cannot tell: not one we asked on
                continue
        return heard

    def close(self) -> None:
        """Close it; the kernel's long farewell is not waited for, nor that a thread has begun.

        On a busy machine a thread takes 3 ms to begin, which is how long Thread.start waits.
        """
        with contextlib.suppress(RuntimeError):  # no more threads: then it is waited for
            _thread.start_new_thread(self._sock.close, ())
            return
        self._sock.close()


def _program(checks: list[tuple[int, int, int, int]]) -> bytes:
    """Return a classic BPF program that passes what stands all checks."""
    lines = []
    for number, (load, offset, compare, value) in enumerate(checks):
        reject = 2 * (len(checks) - number) - 1  # instructions to jump over, to the last one
        lines.append((load, 0, 0, offset))
        lines.append((compare, *((0, reject) if compare == _EQUAL else (reject, 0)), value))
    lines += [(_RETURN, 0, 0, 0xFFFF), (_RETURN, 0, 0, 0)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
