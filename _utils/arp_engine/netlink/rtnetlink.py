"""The socket to the kernel's neighbour tables. The only file that opens a netlink socket.

A plain socket and not pyroute2's: the objects pyroute2 makes of a message cost more than the
kernel needs to delete the entry, its ``IPRoute`` refuses to open inside a running event loop
(0.9, a Salt beacon), and the raw socket below its other class is reached by another private name
in every release. pyroute2 is our vocabulary, and the second opinion in the tests.

The kernel works off what is sent before ``send`` returns, so errors and answers wait in the
receive buffer by then: a drain that does not block misses none, as long as they fit. One more
would be lost with ENOBUFS. Hence ``Channel.batch``.

Patience is the kernel's (SO_RCVTIMEO), not Python's, which polls before every send and receive:
one system call does the work of three.
"""

import contextlib
import fcntl
import os
import socket
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from errno import EADDRINUSE, ENOBUFS, ENODEV, ENXIO, ETIMEDOUT
from typing import NamedTuple

from pyroute2.netlink import (
    NETLINK_EXT_ACK,
    NETLINK_GET_STRICT_CHK,
    NLM_F_ACK,
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
    NDTA_CONFIG,
    NDTA_NAME,
    NDTA_PARMS,
    NDTA_THRESH1,
    NDTA_THRESH2,
    NDTA_THRESH3,
    NDTPA_APP_PROBES,
    NDTPA_BASE_REACHABLE_TIME,
    NDTPA_IFINDEX,
    NDTPA_LOCKTIME,
    NDTPA_MCAST_REPROBES,
    NDTPA_RETRANS_TIME,
    NDTPA_UCAST_PROBES,
    NETLINK_ADD_MEMBERSHIP,
    NLA_F_NESTED,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSGERR_ATTR_MSG,
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    SIOCGIFFLAGS,
    SIOCGIFNAME,
    SO_RCVBUFFORCE,
    SOL_NETLINK,
)
from .model import Device, Timers

BATCH = 128  # messages a send, at most
ROOM = 2048  # bytes of a receive buffer that one answer may take, its bookkeeping included
CHUNK = 32768  # the kernel never writes more of a dump at once
FIRST = 4096  # bytes: a table's own message is a few hundred, and comes first
KERNEL_S = 5.0  # a kernel that does not answer a dump that long is broken: say so

_IFREQ = struct.Struct("=16si20x")  # struct ifreq: name, and here an index
_TRAILER = struct.pack("=IH", 20, NLMSG_DONE)
_CONFIG = struct.Struct("=4xI8xII")  # of struct ndt_config: entries, hash_rnd, hash_mask


class Refusal(NamedTuple):
    """Why the kernel refused one message: which one, errno, and its own words if it has any."""

    entry: codec.Entry
    errno: int
    text: str


class Limits(NamedTuple):
    """How large one table may get, how many entries all namespaces hold of it, and its hash."""

    gc_thresh1: int
    gc_thresh2: int
    gc_thresh3: int
    entries_all_namespaces: int
    hash: tuple[int, int]  # its seed and size: both change whenever it grows


class Channel:
    """One netlink socket, for one call: a socket that survives a fork loses messages."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        """Open a socket of one protocol of netlink."""
        self._names: socket.socket | None = None  # what device() needs
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        self._sock.bind((0, 0))
        self._port = self._sock.getsockname()[0]
        self._sequence = 1 << 20
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(KERNEL_S))
        self.batch = self._make_room()
        for option in (NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            # kernels before 4.12 and 4.20 refuse: fewer words, and we filter ourselves
            with contextlib.suppress(OSError):
                self._sock.setsockopt(SOL_NETLINK, option, 1)

    def _make_room(self) -> int:
        """Enlarge the receive buffer; return how many messages may be sent at once.

        Where net.core.rmem_max is small and may not be exceeded: few.
        """
        for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
                break
            except PermissionError:
                continue
        room = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return max(1, min(BATCH, room // ROOM))

    def __enter__(self) -> "Channel":
        """Return the channel."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close what is open."""
        self._sock.close()
        if self._names:
            self._names.close()

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Yield the chunks of a dump, without the trailer that ends it."""
        self._sequence += 1
        self._sock.send(codec.dump_request(kind, body, self._sequence))
        ours = struct.pack("=II", self._sequence, self._port)
        while True:
            chunk, flags = self._receive()
            if flags & socket.MSG_TRUNC:
                raise OSError(f"netlink answer longer than {CHUNK} bytes")
            _size, first, _flags, _seq, _port = codec.HEADER.unpack_from(chunk)
            if first in (NLMSG_DONE, NLMSG_ERROR):
                _raise_status(chunk)
                return
            tail = chunk[-20:]  # the trailer rides with the last messages where there is room
            done = tail[:6] == _TRAILER and tail[8:16] == ours
            if done:
                _raise_status(tail)
            yield chunk[:-20] if done else chunk
            if done:
                return

    def _receive(self) -> tuple[bytes, int]:
        """Return ``(chunk, flags)`` of the dump that goes on."""
        try:
            chunk, _ancillary, flags, _address = self._sock.recvmsg(CHUNK)
        except BlockingIOError:
            raise _late() from None
        return chunk, flags

    def neighbours(self, family: int, ifindex: int = 0) -> Iterator[bytes]:
        """Yield the chunks of a family's table; ``ifindex`` lets a newer kernel filter."""
        return self.dump(RTM_GETNEIGH, codec.neighbours_body(family, ifindex))

    def exchange(self, orders: bytes) -> tuple[bytes, list[Refusal]]:
        """Send at most ``batch`` messages; return what the kernel answered, and its refusals."""
        self._sock.send(orders)
        found: list[bytes] = []
        refusals: list[Refusal] = []
        while True:
            try:
                answer = self._sock.recv(CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return b"".join(found), refusals
            size, kind, flags, _seq, _port = codec.HEADER.unpack_from(answer)
            if kind != NLMSG_ERROR:
                found.append(answer)
                continue
            status = struct.unpack_from("=i", answer, 16)[0]
            if status:
                refusals.append(_refusal(answer, size, flags, -status))

    def request(self, kind: int, flags: int, body: bytes) -> bytes:
        """Send one message of any kind; return the answer, OSError where the kernel refuses."""
        self._sock.send(codec.message(kind, flags, body))
        answer, _flags = self._receive()
        if codec.HEADER.unpack_from(answer)[1] == NLMSG_ERROR:
            _raise_status(answer)
        return answer

    def ask_for(
        self, keys: Iterable[codec.Key]
    ) -> Iterator[tuple[list[codec.Entry], list[Refusal]]]:
        """Ask for entries one by one; yield ``(entries, refusals)`` of each batch of questions."""
        questions = [codec.get_message(key) for key in keys]
        for at in range(0, len(questions), self.batch):
            answer, refusals = self.exchange(b"".join(questions[at : at + self.batch]))
            yield table_dump.entries(answer), refusals

    def device(self, ifindex: int) -> Device | None:
        """Return a device, or None where there is no such device (any more).

        A host may have hundreds (one for each container): the few that hold neighbours are asked
        for one by one, a microsecond each. By AF_UNIX, as glibc does: on netlink sockets these
        calls are new (4.17), and IPv4 may be missing.
        """
        if not self._names:
            self._names = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            named = fcntl.ioctl(self._names, SIOCGIFNAME, _IFREQ.pack(b"", ifindex))
            flags = fcntl.ioctl(self._names, SIOCGIFFLAGS, named)
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
        for ifindex, other in self.devices():  # a name that is not UTF-8, as device() shows it
            if other == name:
                return ifindex
        # an alternative name (5.5) may be longer than the call above takes
        body = codec.IFINFOMSG.pack(0, 0, 0, 0, 0)
        body += codec.attribute(IFLA_ALT_IFNAME, name.encode(errors="replace") + b"\0")
        with contextlib.suppress(OSError):
            answer = self.request(RTM_GETLINK, 0, body)
            return codec.IFINFOMSG.unpack_from(answer, codec.HEADER.size)[2]
        return 0

    @staticmethod
    def devices() -> Iterator[tuple[int, str]]:
        """Yield index and name of every device."""
        for ifindex, name in socket.if_nameindex():
            yield ifindex, os.fsencode(name).decode(errors="backslashreplace")

    def set_mcast_resolicit(self, family: int, ifindex: int, value: int) -> None:
        """Set how often a device asks everybody before it gives up an entry."""
        name = b"arp_cache\0" if family == socket.AF_INET else b"ndisc_cache\0"
        parameters = codec.attribute(NDTPA_IFINDEX, codec.LENGTH.pack(ifindex))
        parameters += codec.attribute(NDTPA_MCAST_REPROBES, codec.LENGTH.pack(value))
        body = bytes([family, 0, 0, 0]) + codec.attribute(NDTA_NAME, name)
        body += codec.attribute(NDTA_PARMS | NLA_F_NESTED, parameters)
        self.request(RTM_SETNEIGHTBL, NLM_F_ACK, body)

    def timers(self, family: int) -> dict[int, Timers]:
        """Return how the devices prove their neighbours of one family, by ifindex."""
        found = {}
        for chunk in self.dump(RTM_GETNEIGHTBL, bytes([family, 0, 0, 0])):
            for values in _tables(chunk):
                ifindex, timers = _timers(values.get(NDTA_PARMS, b""))
                if ifindex:
                    found[ifindex] = timers
        return found


class Listener(Channel):
    """What the kernel tells of neighbours and devices as it happens. Never waits."""

    def __init__(self) -> None:
        """Join both groups."""
        super().__init__()
        for group in (RTNLGRP_LINK, RTNLGRP_NEIGH):
            self._sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """Return what can be polled."""
        return self._sock.fileno()

    def drain(self, most: int) -> tuple[list[bytes], bool]:
        """Return what has come, no more than ``most`` datagrams; and whether some were lost."""
        heard, lost = [], False
        for _ in range(most):
            try:
                heard.append(self._sock.recv(CHUNK, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                lost = True
        return heard, lost


def _tables(chunk: bytes) -> Iterator[dict[int, bytes]]:
    """Yield the attributes of a family's table, and then of each device's part of it."""
    at = 0
    while at < len(chunk):
        size = codec.LENGTH.unpack_from(chunk, at)[0]
        yield {
            name: chunk[start:end]
            for name, start, end in codec.attributes(chunk, at + 20, at + size)
        }
        at += size + 3 & ~3


@contextlib.contextmanager
def only_one(name: str, patience_s: float) -> Iterator[bool]:
    """Let one process of this network namespace in at a time; False: patience is over.

    An abstract socket's name: the namespace's own, and free again however its holder ends.
    """
    deadline = time.monotonic() + patience_s
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        while not (alone := _is_bound(sock, name)) and time.monotonic() < deadline:
            time.sleep(0.05)
        yield alone


def _is_bound(sock: socket.socket, name: str) -> bool:
    """Bind a socket to an abstract name, unless another has it."""
    try:
        sock.bind(f"\0{name}")
    except OSError as error:
        if error.errno != EADDRINUSE:
            raise
        return False
    return True


def limits(families: Iterable[int]) -> dict[int, Limits]:
    """Return the limits of some families' tables, of those that exist (not with ipv6.disable=1).

    The table itself comes first in the kernel's answer, and a word about each device after it: on
    a host with many, a bare socket that is closed again is cheaper than to hear them all, and one
    that asks for little makes the kernel prepare no more.
    """
    found = {}
    for family in families:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(KERNEL_S))
            sock.send(codec.dump_request(RTM_GETNEIGHTBL, bytes([family, 0, 0, 0]), 1))
            try:
                answer = sock.recv(FIRST)
            except BlockingIOError:
                raise _late() from None
        if codec.HEADER.unpack_from(answer)[1] == RTM_NEWNEIGHTBL:
            found[family] = _limits(next(_tables(answer)))
    return found


def _timeval(seconds: float) -> bytes:
    """Return a struct timeval."""
    whole, rest = divmod(seconds, 1)
    return struct.pack("@ll", int(whole), int(rest * 1e6))


def _late() -> TimeoutError:
    return TimeoutError(ETIMEDOUT, f"the kernel has not answered for {KERNEL_S:g} s")


def _raise_status(trailer: bytes) -> None:
    """Raise what a dump ended with, unless it ended well."""
    status = struct.unpack_from("=i", trailer, 16)[0]
    if status < 0:
        raise OSError(-status, os.strerror(-status))


def _refusal(answer: bytes, size: int, flags: int, errno: int) -> Refusal:
    """Return which message the kernel refused, and why."""
    original = codec.HEADER.unpack_from(answer, 20)[0]
    text = ""
    if flags & NLM_F_ACK_TLVS:
        start = 20 + (codec.HEADER.size if flags & NLM_F_CAPPED else original + 3 & ~3)
        for name, begin, end in codec.attributes(answer, start, size):
            if name == NLMSGERR_ATTR_MSG:
                text = answer[begin:end].rstrip(b"\0").decode(errors="backslashreplace")
    ifindex = struct.unpack_from("=i", answer, 20 + 20)[0]
    attributes = {
        name: answer[start:end]
        for name, start, end in codec.attributes(answer, 20 + 28, 20 + original)
    }
    dst, mac = attributes.get(codec.NDA_DST, b""), attributes.get(codec.NDA_LLADDR, b"")
    return Refusal(codec.Entry(ifindex=ifindex, dst=dst, mac=mac), errno, text)


def _limits(values: dict[int, bytes]) -> Limits:
    """Return the limits that the attributes of a table tell."""
    entries, seed, mask = _CONFIG.unpack_from(values.get(NDTA_CONFIG, bytes(_CONFIG.size)))
    thresholds = (
        int.from_bytes(values[name], sys.byteorder)
        for name in (NDTA_THRESH1, NDTA_THRESH2, NDTA_THRESH3)
    )
    return Limits(*thresholds, entries, (seed, mask))


def _timers(parameters: bytes) -> tuple[int, Timers]:
    """Return ``(ifindex, timers)`` of one NDTA_PARMS; ifindex 0 is the table's default."""
    found = {
        name: int.from_bytes(parameters[start:end], sys.byteorder)
        for name, start, end in codec.attributes(parameters, 0, len(parameters))
    }
    reprobes = found.get(NDTPA_MCAST_REPROBES, 0)
    solicits = found.get(NDTPA_UCAST_PROBES, 0) + found.get(NDTPA_APP_PROBES, 0) + reprobes
    return found.get(NDTPA_IFINDEX, 0), Timers(
        base_reachable_s=found.get(NDTPA_BASE_REACHABLE_TIME, 0) / 1000,
        retrans_s=found.get(NDTPA_RETRANS_TIME, 0) / 1000,
        solicits=solicits,
        mcast_resolicit=reprobes,
        locktime_s=found.get(NDTPA_LOCKTIME, 0) / 1000,
    )
