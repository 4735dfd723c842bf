"""The socket to the kernel's neighbour tables. The only file that opens one.

A plain socket and not pyroute2's: the objects pyroute2 makes of a message cost more than the
kernel needs to delete the entry, its ``IPRoute`` refuses to open inside a running event loop
(0.9, a Salt beacon), and the raw socket below its other class is reached by another private name
in every release. pyroute2 is our vocabulary, and the second opinion in the tests.

The kernel works off what is sent before ``send`` returns, so errors and answers wait in the
receive buffer by then: a drain that does not block misses none, as long as they fit. The default
buffer holds about 256 small messages; the 257th would be lost with ENOBUFS. Hence BATCH.

Patience is the kernel's (SO_RCVTIMEO), not Python's, which polls before every send and receive:
one system call does the work of three.
"""

import contextlib
import fcntl
import os
import socket
import struct
import sys
from collections import namedtuple
from errno import ENODEV, ENXIO, ETIMEDOUT

from pyroute2.netlink import NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.rtnl import RTM_GETNEIGH, RTM_GETNEIGHTBL

try:
    import arp_blocks as blocks
    import arp_select
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_blocks as blocks
    from saltext.arp_hygiene.utils import arp_select
    from saltext.arp_hygiene.utils import arp_wire as wire

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

BATCH = 128  # messages a send
CHUNK = 32768  # the kernel never writes more of a dump at once
PATIENCE_S = 5  # a kernel that does not answer a dump that long is broken: say so

SOL_NETLINK = 270
NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x10, 0x100, 0x200
NLMSGERR_ATTR_MSG = 1
SIOCGIFNAME, SIOCGIFFLAGS = 0x8910, 0x8913
_IFREQ = struct.Struct("=16si20x")  # struct ifreq: name, and here an index

_TRAILER = struct.pack("=IH", 20, NLMSG_DONE)
_PATIENCE = struct.pack("@ll", PATIENCE_S, 0)  # struct timeval

# include/uapi/linux/neighbour.h; pyroute2 does not know NDTPA_MCAST_REPROBES
NDTA_THRESH1, NDTA_THRESH2, NDTA_THRESH3, NDTA_CONFIG, NDTA_PARMS = 2, 3, 4, 5, 6
_PARAMETERS = {
    1: "ifindex",
    4: "base_reachable_ms",
    5: "retrans_ms",
    9: "app_solicit",
    10: "ucast_solicit",
    15: "locktime_ms",
    17: "mcast_resolicit",
}

#: Why the kernel refused one message: which one, errno, and its own words where it has any.
Refusal = namedtuple("Refusal", "entry errno text")

#: How one device proves its neighbours; times in seconds.
Timers = namedtuple("Timers", "base_reachable_s retrans_s solicits mcast_resolicit locktime_s")
DEFAULT_TIMERS = Timers(30.0, 1.0, 3, 0, 1.0)  # the kernel's; for a device that came while we asked


class Channel:
    """One netlink socket, for one call: a socket that survives a fork loses messages."""

    def __init__(self):
        """Open it."""
        self._names = None  # the socket that device() needs
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._sock.bind((0, 0))
        self._port = self._sock.getsockname()[0]
        self._sequence = 1 << 20
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        # room for a batch of answers even where net.core.rmem_default is small
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for option in (NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            # kernels before 4.12 and 4.20 refuse: fewer words, and we filter ourselves
            with contextlib.suppress(OSError):
                self._sock.setsockopt(SOL_NETLINK, option, 1)

    def __enter__(self):
        """Return the channel."""
        return self

    def __exit__(self, *_exc):
        """Close it."""
        self._sock.close()
        if self._names:
            self._names.close()

    def dump(self, kind, body):
        """Yield the chunks of a dump, without the trailer that ends it."""
        self._sequence += 1
        self._sock.send(wire.dump_request(kind, body, self._sequence))
        ours = struct.pack("=II", self._sequence, self._port)
        while True:
            chunk, flags = self._receive()
            if flags & socket.MSG_TRUNC:
                raise OSError(f"netlink answer longer than {CHUNK} bytes")
            _size, first, _flags, _seq, _port = wire.HEADER.unpack_from(chunk)
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

    def _receive(self):
        """Return ``(chunk, flags)`` of the dump that goes on."""
        try:
            chunk, _ancillary, flags, _address = self._sock.recvmsg(CHUNK)
        except BlockingIOError:
            late = f"the kernel has not answered for {PATIENCE_S} s"
            raise TimeoutError(ETIMEDOUT, late) from None
        return chunk, flags

    def neighbours(self, family, ifindex=0):
        """Yield the chunks of a family's table; ``ifindex`` lets a newer kernel filter."""
        return self.dump(RTM_GETNEIGH, wire.neighbours_body(family, ifindex))

    def exchange(self, orders):
        """Send at most BATCH messages; return ``(entries, refusals)``: what the kernel answered."""
        self._sock.send(orders)
        found, refusals = [], []
        while True:
            try:
                answer = self._sock.recv(CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return blocks.entries(b"".join(found)), refusals
            size, kind, flags, _seq, _port = wire.HEADER.unpack_from(answer)
            if kind != NLMSG_ERROR:
                found.append(answer)
                continue
            status = struct.unpack_from("=i", answer, 16)[0]
            if status:
                refusals.append(_refusal(answer, size, flags, -status))

    def device(self, ifindex):
        """Return ``Device(name, flags)``, or None where there is no such device (any more).

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
        return arp_select.Device(name, struct.unpack_from("=H", flags, 16)[0])

    @staticmethod
    def names():
        """Return every device's name to its index."""
        return {name: ifindex for ifindex, name in socket.if_nameindex()}

    def tables(self, families):
        """Return ``(timers, limits)`` of the neighbour tables.

        timers: ``(family, ifindex)`` to Timers, one for each device.
        limits: family to gc_thresh1/2/3 and the count of entries in all namespaces.
        """
        timers, limits = {}, {}
        for family in families:
            for at, size, _flags, chunk in self._objects(RTM_GETNEIGHTBL, bytes([family, 0, 0, 0])):
                values = {
                    name: chunk[start:end]
                    for name, start, end in wire.attributes(chunk, at + 20, at + size)
                }
                if NDTA_THRESH1 in values:
                    limits[family] = _limits(values)
                ifindex, timing = _timers(values.get(NDTA_PARMS, b""))
                if ifindex:
                    timers[family, ifindex] = timing
        return timers, limits

    def _objects(self, kind, body):
        """Yield ``(offset, size, flags, chunk)`` of each message of a dump."""
        for chunk in self.dump(kind, body):
            at = 0
            while at < len(chunk):
                size, _kind, flags, _seq, _port = wire.HEADER.unpack_from(chunk, at)
                yield at, size, flags, chunk
                at += size + 3 & ~3


def _raise_status(trailer):
    """Raise what a dump ended with, unless it ended well."""
    status = struct.unpack_from("=i", trailer, 16)[0]
    if status < 0:
        raise OSError(-status, os.strerror(-status))


def _refusal(answer, size, flags, errno):
    """Return which message the kernel refused, and why."""
    original = wire.HEADER.unpack_from(answer, 20)[0]
    text = ""
    if flags & NLM_F_ACK_TLVS:
        start = 20 + (wire.HEADER.size if flags & NLM_F_CAPPED else original + 3 & ~3)
        for name, begin, end in wire.attributes(answer, start, size):
            if name == NLMSGERR_ATTR_MSG:
                text = answer[begin:end].rstrip(b"\0").decode(errors="backslashreplace")
    ifindex = struct.unpack_from("=i", answer, 20 + 20)[0]
    attributes = {
        name: answer[start:end]
        for name, start, end in wire.attributes(answer, 20 + 28, 20 + original)
    }
    dst, mac = attributes.get(wire.NDA_DST, b""), attributes.get(wire.NDA_LLADDR, b"")
    return Refusal(wire.Entry(ifindex=ifindex, dst=dst, mac=mac), errno, text)


def _limits(values):
    """Return the thresholds of one table, and how many entries all namespaces hold of it."""
    number = {name: struct.unpack("=I", values[name])[0] for name in (2, 3, 4)}
    limits = {f"gc_thresh{name - 1}": number[name] for name in (2, 3, 4)}
    if NDTA_CONFIG in values:  # struct ndt_config: key_len:2 entry_size:2 entries:4 ...
        limits["entries_all_namespaces"] = struct.unpack_from("=I", values[NDTA_CONFIG], 4)[0]
    return limits


def _timers(parameters):
    """Return ``(ifindex, Timers)`` of one NDTA_PARMS; ifindex 0 is the table's default."""
    found = dict.fromkeys(_PARAMETERS.values(), 0)
    for name, start, end in wire.attributes(parameters, 0, len(parameters)):
        if name in _PARAMETERS:
            found[_PARAMETERS[name]] = int.from_bytes(parameters[start:end], sys.byteorder)
    return found["ifindex"], Timers(
        base_reachable_s=found["base_reachable_ms"] / 1000,
        retrans_s=found["retrans_ms"] / 1000,
        solicits=found["ucast_solicit"] + found["app_solicit"] + found["mcast_resolicit"],
        mcast_resolicit=found["mcast_resolicit"],
        locktime_s=found["locktime_ms"] / 1000,
    )
