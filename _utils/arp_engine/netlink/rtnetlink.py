"""The netlink socket to the kernel's neighbour tables. The only file that opens one.

A plain socket and not pyroute2's: the objects that pyroute2 makes of a message cost more than the
kernel needs to delete the entry, its ``IPRoute`` refuses to open inside a running event loop
(0.9, a Salt beacon), and the raw socket below its other class has another private name in every
release. We take the names of constants from pyroute2, and compare with its parsers in the tests.

The kernel processes requests before ``send`` returns, so all its answers are in the receive buffer
by then, and a receive that does not block misses none. An answer that does not fit would be lost
with ENOBUFS: hence ``Channel.batch``.

Timeouts are the kernel's (SO_RCVTIMEO), not Python's, which polls before every send and receive:
one system call instead of three.
"""

import contextlib
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from errno import EADDRINUSE, ENODEV, ENXIO, ETIMEDOUT
from typing import NamedTuple

from pyroute2.netlink import (
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
)
from pyroute2.netlink.rtnl import (
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_GETNEIGHTBL,
    RTM_NEWNEIGHTBL,
    RTM_SETNEIGHTBL,
)

from . import codec, table_dump
from .constants import (
    IFLA_ALT_IFNAME,
    NDA_DST,
    NDA_LLADDR,
    NDTA_CONFIG,
    NDTA_NAME,
    NDTA_PARMS,
    NDTA_STATS,
    NDTA_THRESH1,
    NDTA_THRESH2,
    NDTA_THRESH3,
    NDTPA_APP_PROBES,
    NDTPA_BASE_REACHABLE_TIME,
    NDTPA_DELAY_PROBE_TIME,
    NDTPA_IFINDEX,
    NDTPA_LOCKTIME,
    NDTPA_MCAST_REPROBES,
    NDTPA_RETRANS_TIME,
    NDTPA_UCAST_PROBES,
    NLA_F_NESTED,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSGERR_ATTR_MSG,
    SIOCGIFFLAGS,
    SIOCGIFNAME,
    SO_RCVBUFFORCE,
    SOL_NETLINK,
)
from .model import Device, Timers

MAX_BATCH = 128  # requests in one send
ANSWER_ROOM = 2048  # bytes of the receive buffer that one answer can take, with its bookkeeping
DUMP_CHUNK = 32768  # bytes: the kernel never writes more of a dump at once
COLLECTING_S = 60.0  # a table that has not been collected for so long has room
TABLE_MESSAGE = 4096  # bytes: a table's own message has a few hundred, and comes first
KERNEL_TIMEOUT_S = 5.0  # for one answer

_IFREQ = struct.Struct("=16si20x")  # struct ifreq: name, and here an index
_STATUS = struct.Struct("=16xi")  # NLMSG_DONE, NLMSG_ERROR: what follows the header
_TRAILER = struct.pack("=IH", _STATUS.size, NLMSG_DONE)
_REQUEST_AT = 20  # in NLMSG_ERROR: where the request that was refused begins
_CONFIG = struct.Struct("=4xII4xII")  # of ndt_config: entries, last_flush, hash_rnd, hash_mask
_FORCED_GC_RUNS = 9 * 8  # struct ndt_stats: the tenth of its counters
_TABLE_AT = 20  # where the attributes of a table begin: nlmsghdr, then struct ndtmsg of 4 bytes


class Refusal(NamedTuple):
    """A request that the kernel refused."""

    entry: codec.Entry  # whose address and device the request named
    errno: int
    text: str  # the kernel's explanation (extended ack), where it gives one


class Limits(NamedTuple):
    """The limits of one table, and how many entries all network namespaces have in it."""

    gc_thresh1: int
    gc_thresh2: int
    gc_thresh3: int
    entries_all_namespaces: int
    hash: tuple[int, int]  # seed and mask of its hash: both change whenever it grows
    forced_gc_runs: int = -1  # since boot; -1: not known (before Linux 4.3)
    last_collected_s: float = 0.0  # ago, or since boot

    @property
    def is_collecting(self) -> bool:
        """Tell whether it was over gc_thresh2 when an entry was added lately.

        Each entry over it makes the kernel collect, 5 s after the last time at the latest, whatever
        entries are exempt from the limits (net/core/neighbour.c: neigh_alloc).
        """
        return bool(self.forced_gc_runs) and self.last_collected_s < COLLECTING_S


class Channel:
    """One netlink socket, for one call: a socket that two processes share loses messages."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE, dump_chunk: int = DUMP_CHUNK) -> None:
        """Open a socket of one netlink protocol.

        dump_chunk: bytes of a dump that are received at once.
        """
        # The kernel never writes more at once than the largest read of this socket asked for.
        self._dump_chunk = dump_chunk
        self._ioctl_sock: socket.socket | None = None  # opened by device()
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._sock.bind((0, 0))
        self._port = self._sock.getsockname()[0]
        self._sequence = 1 << 20
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(KERNEL_TIMEOUT_S))
        self.batch = self._enlarge_buffer()
        for option in (NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            # kernels before 4.12 and 4.20 refuse: no explanations, and the caller must filter
            with contextlib.suppress(OSError):
                self._sock.setsockopt(SOL_NETLINK, option, 1)

    def _enlarge_buffer(self) -> int:
        """Enlarge the receive buffer; return how many requests may be sent at once.

        Without CAP_NET_ADMIN the buffer is limited by net.core.rmem_max.
        """
        for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
                break
            except PermissionError:
                continue
        room = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return max(1, min(MAX_BATCH, room // ANSWER_ROOM))

    def __enter__(self) -> "Channel":
        """Return the channel."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the sockets."""
        self._sock.close()
        if self._ioctl_sock:
            self._ioctl_sock.close()

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Yield the chunks of a dump, without the trailer that ends it."""
        self._sequence += 1
        self._sock.send(codec.dump_request(kind, body, self._sequence))
        ours = struct.pack("=II", self._sequence, self._port)
        while True:
            chunk, flags = self._receive()
            if flags & socket.MSG_TRUNC:
                raise OSError(f"netlink answer longer than {self._dump_chunk} bytes")
            first = codec.unpack(codec.HEADER, chunk)[1]
            if first in (NLMSG_DONE, NLMSG_ERROR):
                _raise_status(chunk)
                return
            tail = chunk[-_STATUS.size :]  # NLMSG_DONE follows the last messages where it fits
            is_done = tail[: len(_TRAILER)] == _TRAILER and tail[8:16] == ours
            if is_done:
                _raise_status(tail)
            yield chunk[: -_STATUS.size] if is_done else chunk
            if is_done:
                return

    def _receive(self) -> tuple[bytes, int]:
        """Return ``(chunk, flags)`` of the current dump or request."""
        try:
            chunk, _ancillary, flags, _address = self._sock.recvmsg(self._dump_chunk)
        except BlockingIOError:
            raise _timed_out() from None
        return chunk, flags

    def neighbours(self, family: int, ifindex: int = 0) -> Iterator[bytes]:
        """Yield the chunks of a family's table; kernels from 4.20 filter by ``ifindex``."""
        return self.dump(RTM_GETNEIGH, codec.neighbour_dump_body(family, ifindex))

    def exchange(self, requests: bytes) -> tuple[bytes, list[Refusal]]:
        """Send at most ``batch`` requests; return the kernel's answers, and its refusals."""
        self._sock.send(requests)
        answers: list[bytes] = []
        refusals: list[Refusal] = []
        while True:
            try:
                answer = self._sock.recv(self._dump_chunk, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return b"".join(answers), refusals
            if codec.unpack(codec.HEADER, answer)[1] != NLMSG_ERROR:
                answers.append(answer)
            elif codec.unpack(_STATUS, answer)[0]:
                refusals.append(_refusal(answer))

    def request(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send one request of any type; return the answer, OSError where the kernel refuses."""
        self._sock.send(codec.request(kind, flags, body))
        answer, _flags = self._receive()
        if codec.unpack(codec.HEADER, answer)[1] == NLMSG_ERROR:
            _raise_status(answer)
        return answer

    def answers(self, questions: Sequence[tuple[int, bytes]]) -> list[bytes]:
        """Send at most ``batch`` requests of any type; return the answer to each, in order.

        Empty where the kernel refuses. A question: type of the message, body.
        """
        orders = b"".join(
            codec.HEADER.pack(codec.HEADER.size + len(body), kind, NLM_F_REQUEST, number, 0) + body
            for number, (kind, body) in enumerate(questions, 1)
        )
        self._sock.send(orders)
        answers = [b""] * len(questions)
        with contextlib.suppress(BlockingIOError):  # all have come
            while True:
                message = self._sock.recv(self._dump_chunk, socket.MSG_DONTWAIT)
                _size, kind, _flags, number, _port = codec.unpack(codec.HEADER, message)
                if kind != NLMSG_ERROR and 0 < number <= len(questions):
                    answers[number - 1] = message
        return answers

    def get_entries(
        self, keys: Iterable[codec.Key]
    ) -> Iterator[tuple[list[codec.Entry], list[Refusal]]]:
        """Request entries one by one; yield ``(entries, refusals)`` of each batch of requests."""
        requests = [codec.get_message(key) for key in keys]
        for at in range(0, len(requests), self.batch):
            answer, refusals = self.exchange(b"".join(requests[at : at + self.batch]))
            yield table_dump.entries(answer), refusals

    def device(self, ifindex: int) -> Device | None:
        """Return a device, or None where there is no such device (any more).

        A host may have hundreds (one for each container): only those with neighbours are looked up,
        one by one, a microsecond each. On an AF_UNIX socket, as glibc does: netlink sockets have
        these ioctls since 4.17 only, and IPv4 may be missing.
        """
        if not self._ioctl_sock:
            self._ioctl_sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            named = fcntl.ioctl(self._ioctl_sock, SIOCGIFNAME, _IFREQ.pack(b"", ifindex))
            flags = fcntl.ioctl(self._ioctl_sock, SIOCGIFFLAGS, named)
        except OSError as error:
            if error.errno in (ENODEV, ENXIO):
                return None
            raise
        name = named[:16].rstrip(b"\0").decode(errors="backslashreplace")
        return Device(name, struct.unpack_from("=H", flags, 16)[0])

    def ifindex(self, name: str) -> int:
        """Return the index of a device by its name or an alternative name; 0 where it has none."""
        with contextlib.suppress(OSError):
            return socket.if_nametoindex(name)
        for ifindex, other in self.devices():  # a name that is not UTF-8, as device() returns it
            if other == name:
                return ifindex
        # an alternative name (5.5) may be longer than if_nametoindex takes
        body = codec.IFINFOMSG.pack(0, 0, 0, 0, 0)
        body += codec.attribute(IFLA_ALT_IFNAME, name.encode(errors="replace") + b"\0")
        with contextlib.suppress(OSError):
            answer = self.request(RTM_GETLINK, 0, body)
            return codec.unpack(codec.IFINFOMSG, answer, codec.HEADER.size)[2]
        return 0

    @staticmethod
    def devices() -> Iterator[tuple[int, str]]:
        """Yield index and name of every device."""
        for ifindex, name in socket.if_nameindex():
            yield ifindex, os.fsencode(name).decode(errors="backslashreplace")

    def set_mcast_resolicit(self, family: int, ifindex: int, value: int) -> None:
        """Set how many broadcast probes a device sends after its unicast probes failed."""
        name = b"arp_cache\0" if family == socket.AF_INET else b"ndisc_cache\0"
        parameters = codec.attribute(NDTPA_IFINDEX, codec.U32.pack(ifindex))
        parameters += codec.attribute(NDTPA_MCAST_REPROBES, codec.U32.pack(value))
        body = bytes([family, 0, 0, 0]) + codec.attribute(NDTA_NAME, name)
        body += codec.attribute(NDTA_PARMS | NLA_F_NESTED, parameters)
        self.request(RTM_SETNEIGHTBL, NLM_F_ACK, body)

    def timers(self, family: int) -> dict[int, Timers]:
        """Return ifindex to timers, for one family."""
        found = {}
        for chunk in self.dump(RTM_GETNEIGHTBL, bytes([family, 0, 0, 0])):
            for values in _tables(chunk):
                ifindex, timers = _timers(values.get(NDTA_PARMS, b""))
                if ifindex:
                    found[ifindex] = timers
        return found


def _tables(chunk: bytes) -> Iterator[dict[int, bytes]]:
    """Yield the attributes of a family's table, and then of each device's part of it."""
    for _kind, message in codec.messages(chunk):
        yield codec.values(message, _TABLE_AT)


@contextlib.contextmanager
def lock(name: str) -> Iterator[bool]:
    """Hold a lock of this network namespace; yield False where another one holds it.

    The lock is an abstract socket address: each network namespace has its own, and the kernel
    frees it when its holder ends, however that ends.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        yield _bind(sock, name)


def _bind(sock: socket.socket, name: str) -> bool:
    """Bind a socket to an abstract address; return False where another socket has it."""
    try:
        sock.bind(f"\0{name}")
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise
        return False
    return True


def limits(families: Iterable[int]) -> dict[int, Limits]:
    """Return family to limits, of the tables that exist (with ipv6.disable=1 there is no IPv6 one).

    The kernel's answer begins with the table itself, and one message for each device follows. On a
    host with many devices it is cheaper to receive only the first part, on a socket of its own that
    is closed again; with a small receive size the kernel prepares no more than that.
    """
    found = {}
    for family in families:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(KERNEL_TIMEOUT_S))
            sock.send(codec.dump_request(RTM_GETNEIGHTBL, bytes([family, 0, 0, 0]), 1))
            try:
                answer = sock.recv(TABLE_MESSAGE)
            except BlockingIOError:
                raise _timed_out() from None
        if codec.unpack(codec.HEADER, answer)[1] == RTM_NEWNEIGHTBL:
            found[family] = _limits(next(_tables(answer)))
    return found


def _timeval(seconds: float) -> bytes:
    """Return a struct timeval."""
    whole, rest = divmod(seconds, 1)
    return struct.pack("@ll", int(whole), int(rest * 1e6))


def _timed_out() -> TimeoutError:
    return TimeoutError(ETIMEDOUT, f"no netlink answer from the kernel for {KERNEL_TIMEOUT_S:g} s")


def _raise_status(message: bytes) -> None:
    """Raise the OSError that NLMSG_DONE or NLMSG_ERROR reports, if any."""
    status = codec.unpack(_STATUS, message)[0]
    if status < 0:
        raise OSError(-status, os.strerror(-status))


def _refusal(answer: bytes) -> Refusal:
    """Return which request the kernel refused, and why: one NLMSG_ERROR."""
    size, _kind, flags, _sequence, _port = codec.HEADER.unpack_from(answer)
    request_size = codec.unpack(codec.U32, answer, _REQUEST_AT)[0]
    text = ""
    if flags & NLM_F_ACK_TLVS:
        echoed = codec.HEADER.size if flags & NLM_F_CAPPED else codec.padded(request_size)
        for name, start, end in codec.attributes(answer, _REQUEST_AT + echoed, size):
            if name == NLMSGERR_ATTR_MSG:
                text = answer[start:end].rstrip(b"\0").decode(errors="backslashreplace")
    ifindex = codec.unpack(codec.NDMSG, answer, _REQUEST_AT + codec.HEADER.size)[1]
    named = codec.values(answer, _REQUEST_AT + codec.ATTRIBUTES_AT, _REQUEST_AT + request_size)
    dst, mac = named.get(NDA_DST, b""), named.get(NDA_LLADDR, b"")
    errno = -codec.unpack(_STATUS, answer)[0]
    return Refusal(codec.Entry(ifindex=ifindex, dst=dst, mac=mac), errno, text)


def _limits(values: dict[int, bytes]) -> Limits:
    """Return the limits from the attributes of a table."""
    config = values.get(NDTA_CONFIG, bytes(_CONFIG.size))
    entries, last_collected_ms, seed, mask = codec.unpack(_CONFIG, config)
    thresholds = (
        codec.unpack(codec.U32, values.get(name, b""))[0]
        for name in (NDTA_THRESH1, NDTA_THRESH2, NDTA_THRESH3)
    )
    stats = values.get(NDTA_STATS, b"")[_FORCED_GC_RUNS:]
    forced_gc_runs = int.from_bytes(stats[:8], sys.byteorder) if stats else -1
    return Limits(*thresholds, entries, (seed, mask), forced_gc_runs, last_collected_ms / 1000)


def _timers(parameters: bytes) -> tuple[int, Timers]:
    """Return ``(ifindex, timers)`` of one NDTA_PARMS; ifindex 0 is the table's default."""
    found = {
        name: int.from_bytes(parameters[start:end], sys.byteorder)
        for name, start, end in codec.attributes(parameters, 0, len(parameters))
    }
    reprobes = found.get(NDTPA_MCAST_REPROBES, 0)
    solicits = found.get(NDTPA_UCAST_PROBES, 0) + found.get(NDTPA_APP_PROBES, 0) + reprobes
    of_time = NDTPA_BASE_REACHABLE_TIME, NDTPA_RETRANS_TIME, NDTPA_LOCKTIME, NDTPA_DELAY_PROBE_TIME
    base_s, retrans_s, locktime_s, delay_s = (found.get(name, 0) / 1000 for name in of_time)
    timers = Timers(base_s, retrans_s, solicits, reprobes, locktime_s, delay_s)
    return found.get(NDTPA_IFINDEX, 0), timers
