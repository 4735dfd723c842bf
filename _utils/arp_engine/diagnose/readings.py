"""What a diagnosis reads beside the entry: sockets, how full the table is, this host's own MACs."""

import os
import re
import struct

from pyroute2.netlink.rtnl import RTM_GETLINK, RTM_GETNEIGHTBL

from ..netlink import codec, rtnetlink, sock_diag, table_dump
from ..netlink.constants import IFLA_ADDRESS, IFLA_IFNAME, NDTA_STATS
from ..resolve import kernel_probes
from ..table import ownership
from .facts import Load
from .ways import MAX_SOCKETS

_TABLE_FULLS = 10 * 8  # struct ndt_stats: the eleventh of its counters
_UNCOUNTED_SINCE = (5, 0)  # before, PERMANENT and extern_learn entries counted like all others


def _release() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


class Sockets:
    """The TCP sockets to an address, by whether they get an answer; or why they are not known."""

    def __init__(self, peer: bytes) -> None:
        self.unanswered: list[sock_diag.TcpSocket] = []
        self.answered: list[sock_diag.TcpSocket] = []
        #: Only these show that the host lives: a connection that is idle waits for no answer either
        self.acknowledged: list[sock_diag.TcpSocket] = []
        self.why_unknown = ""
        self._marks: dict[sock_diag.TcpSocket, int] = {}
        try:
            with sock_diag.Sockets() as sockets:
                self.unanswered = sockets.unanswered(peer)
                there = sockets.dump(["ESTABLISHED"], peer)
                self.answered = [each for each in there if not each.is_unanswered]
                found = sockets.acknowledged(kernel_probes.WORKS_S, peer)
                self.acknowledged = found[: kernel_probes.MAX_FLOWS]
                marked = [*self.ways[:MAX_SOCKETS], *self.acknowledged]
                self._marks = {each: sockets.mark(each) for each in marked}
        except OSError as error:
            self.why_unknown = error.strerror or str(error)

    @property
    def ways(self) -> list[sock_diag.TcpSocket]:
        """Return those that show which way packets take: the stuck ones, where there are any."""
        return self.unanswered or self.answered

    def mark(self, sock: sock_diag.TcpSocket) -> int:
        """Return the mark of a socket's packets, as far as it is known."""
        return self._marks.get(sock, 0)


def load(channel: rtnetlink.Channel, family: int) -> Load:
    """Return how full a family's table is."""
    limits = rtnetlink.limits([family]).get(family)
    if not limits:
        return Load()
    uncounted = 0
    if _release() >= _UNCOUNTED_SINCE:
        for block in table_dump.read(channel.neighbours(family), ownership.is_exempt_from_gc):
            if block.group is None:
                uncounted += sum(map(ownership.is_exempt_from_gc, block.entries()))
            elif block.group:
                uncounted += len(block)
    numbers = limits.entries_all_namespaces, uncounted, *limits[:3]
    return Load(*numbers, is_collecting=limits.is_collecting)


def refused(family: int) -> int:
    """Return how many entries of a family found no room since boot; -1: not known."""
    with rtnetlink.Channel() as channel:  # closed after the table: devices follow it
        for chunk in channel.dump(RTM_GETNEIGHTBL, bytes([family, 0, 0, 0])):
            size = codec.U32.unpack_from(chunk)[0]
            for name, start, end in codec.attributes(chunk, 20, size):
                if name == NDTA_STATS and end - start >= _TABLE_FULLS + 8:
                    return int(struct.unpack_from("=Q", chunk, start + _TABLE_FULLS)[0])
            break
    return -1  # before 4.3, or ipv6.disable=1


def own_macs(channel: rtnetlink.Channel) -> dict[str, str]:
    """Return the MACs of this host, each with a device that has it."""
    found = {}
    for chunk in channel.dump(RTM_GETLINK, bytes(codec.IFINFOMSG.size)):
        for _kind, message in codec.messages(chunk):
            values = codec.values(message, codec.HEADER.size + codec.IFINFOMSG.size)
            name = values[IFLA_IFNAME].rstrip(b"\0").decode(errors="backslashreplace")
            found[values.get(IFLA_ADDRESS, b"").hex(":")] = name
    return found
