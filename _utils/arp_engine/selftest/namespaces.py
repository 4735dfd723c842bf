"""The drill's two hosts: a database and a worker, each in a network namespace, and a cable.

The database is this process, the worker a child. The kernel ends the worker when the database ends,
and removes both namespaces, the cable and the tables with the last process in them: a drill that is
killed leaves nothing.
"""

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE
from pyroute2.netlink.rtnl import (
    RTM_GETLINK,
    RTM_GETNEIGH,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
)

from ..netlink import codec, rtnetlink
from ..netlink.constants import (
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    NDA_DST,
    NDA_FLAGS_EXT,
    NDA_LLADDR,
    NDA_PROTOCOL,
    NLA_F_NESTED,
    NTF_PROXY,
    PERMANENT,
)
from ..resolve.interface_facts import IFA_ADDRESS, IFA_LOCAL
from ..sentinel import privileges

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
# --- include/uapi/linux/if.h, if_link.h, veth.h, if_addr.h
IF_OPER_UP = 6
IFLA_OPERSTATE, IFLA_NET_NS_PID, VETH_INFO_PEER = 16, 19, 1
IFA_F_NODAD = 0x02
_IFADDR = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index

DEVICE, PORT, LO = "drill0", 5432, 1
MACS = {"database": "02:00:00:00:00:01", "dead": "02:00:00:00:00:0a", "worker": "02:00:00:00:00:0b"}
START_S = 5.0  # for the worker to come up

_libc = ctypes.CDLL(None, use_errno=True)


class NotPossible(Exception):
    """The kernel or the rights do not allow a drill here; the text is one line."""


class Written(NamedTuple):
    """An entry that the drill writes into the table of its database."""

    ip: str
    state: int
    mac: str = MACS["dead"]
    flags: int = 0
    protocol: int = 0
    ext: int = 0


def address(family: int, last: int) -> str:
    """Return an address of the drill's network: 1 is the database's, the others the worker's."""
    return f"192.0.2.{last}" if family == socket.AF_INET else f"2001:db8::{last:x}"


def enter_new() -> None:
    """Move this process, which has one thread, into a network namespace of its own."""
    if _libc.unshare(CLONE_NEWNET):
        raise _not_possible("no private network namespace", ctypes.get_errno(), "CAP_SYS_ADMIN")


def _not_possible(what: str, error: int | None, right: str) -> NotPossible:
    needs = f" (needs {right})" if error == errno.EPERM else ""
    return NotPossible(f"{what}: {os.strerror(error or 0)}{needs}")


def check_packet_sockets() -> None:
    """Raise NotPossible where no packet can be sent or received as a whole."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM).close()
    except OSError as error:
        raise _not_possible("no packet socket", error.errno, "CAP_NET_RAW") from None


def end_with_parent(parent: int) -> None:
    """Let the kernel end this process when its parent ends, however that ends."""
    privileges.end_with_parent()
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


class Host:
    """What one of the two does with its own network, by netlink."""

    def __init__(self) -> None:
        self._channel = rtnetlink.Channel()

    def plug(self, worker_pid: int) -> None:
        """Lay the cable from here to the worker."""
        there = _named(DEVICE, "worker") + codec.attribute(
            IFLA_NET_NS_PID, codec.U32.pack(worker_pid)
        )
        peer = codec.attribute(VETH_INFO_PEER | NLA_F_NESTED, _link(0) + there)
        info = codec.attribute(IFLA_INFO_KIND, b"veth")
        info += codec.attribute(IFLA_INFO_DATA | NLA_F_NESTED, peer)
        body = _link(0) + _named(DEVICE, "database")
        body += codec.attribute(IFLA_LINKINFO | NLA_F_NESTED, info)
        try:
            self._create(RTM_NEWLINK, body)
        except OSError as error:
            raise _not_possible("no veth device", error.errno, "CAP_NET_ADMIN") from None

    def configure(self, lasts: list[int]) -> None:
        """Set up lo and the cable, and give this host its addresses."""
        index = socket.if_nametoindex(DEVICE)
        for device in (LO, index):
            self._create(RTM_NEWLINK, _link(device, IFF_UP))
        own = f"fe80::{lasts[0]:x}"  # solicitations need a link-local source
        for family, length in ((socket.AF_INET, 24), (socket.AF_INET6, 64)):
            for ip in [address(family, last) for last in lasts]:
                self._add_address(index, family, length, ip)
        self._add_address(index, socket.AF_INET6, 64, own)

    def wait_until_up(self) -> None:
        """Wait until the kernel sends on the cable, a moment after the other end is up.

        Until its link watch has run, which is late on a busy host, it drops each frame silently.
        """
        body, deadline = _link(socket.if_nametoindex(DEVICE)), time.monotonic() + START_S
        while time.monotonic() < deadline:
            answer = self._channel.request(RTM_GETLINK, 0, body)
            values = codec.values(answer, codec.HEADER.size + codec.IFINFOMSG.size)
            if values.get(IFLA_OPERSTATE) == bytes([IF_OPER_UP]):
                return
            time.sleep(0.001)

    def _add_address(self, index: int, family: int, length: int, ip: str) -> None:
        packed = socket.inet_pton(family, ip)
        flags = IFA_F_NODAD if family == socket.AF_INET6 else 0
        body = _IFADDR.pack(family, length, flags, 0, index)
        both = codec.attribute(IFA_LOCAL, packed) + codec.attribute(IFA_ADDRESS, packed)
        self._create(RTM_NEWADDR, body + both)

    def write(self, entry: Written) -> None:
        """Write an entry into this host's own table."""
        family = socket.AF_INET6 if ":" in entry.ip else socket.AF_INET
        index = socket.if_nametoindex(DEVICE)
        body = codec.NDMSG.pack(family, index, entry.state, entry.flags, 0)
        body += codec.attribute(NDA_DST, socket.inet_pton(family, entry.ip))
        body += codec.attribute(NDA_LLADDR, _packed(entry.mac))
        if entry.protocol:
            body += codec.attribute(NDA_PROTOCOL, bytes([entry.protocol]))
        if entry.ext:
            body += codec.attribute(NDA_FLAGS_EXT, codec.U32.pack(entry.ext))
        self._channel.request(RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, body)

    def proxies(self) -> int:
        """Return for how many IPv4 addresses this host answers by proxy."""
        body = codec.NDMSG.pack(socket.AF_INET, 0, 0, NTF_PROXY, 0)
        chunks = b"".join(self._channel.dump(RTM_GETNEIGH, body))
        return len([*codec.messages(chunks)])

    def _create(self, kind: int, body: bytes) -> None:
        self._channel.request(kind, NLM_F_ACK | NLM_F_CREATE, body)


def _link(index: int, flags: int = 0) -> bytes:
    return codec.IFINFOMSG.pack(0, 0, index, flags, flags)


def _named(name: str, role: str) -> bytes:
    mac = codec.attribute(IFLA_ADDRESS, _packed(MACS[role]))
    return codec.attribute(IFLA_IFNAME, name.encode() + b"\0") + mac


def _packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def listen() -> list[socket.socket]:
    """Open the database's service; the kernel alone completes a connection."""
    sockets = []
    for family, every in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104
        sockets.append(socket.create_server((every, PORT), family=family))
    return sockets


class Worker:
    """The worker, as the database sees it: a child that connects when it is told to."""

    def __init__(self, lasts: list[int]) -> None:
        """Start it in a namespace of its own; it has all these addresses."""
        self._ours, theirs = socket.socketpair()
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            self._ours.close()
            end_with_parent(parent)
            _work(theirs, lasts)
        theirs.close()
        self._ours.settimeout(START_S)
        self._answers = self._ours.makefile("r", encoding="ascii")
        self._read()

    def configure(self) -> None:
        """Let it set up its end of the cable."""
        self._tell(None)
        self._read()

    def connect(self, family: int, last: int, timeout_s: float) -> float | None:
        """Let it connect from one of its addresses: seconds, or None."""
        self._tell([family, last, timeout_s])
        return self._read()

    def _tell(self, order: Any) -> None:
        self._ours.sendall(json.dumps(order).encode() + b"\n")

    def _read(self) -> Any:
        line = self._answers.readline()
        answer = json.loads(line) if line else {"failed": "the worker ended"}
        if isinstance(answer, dict):
            raise NotPossible(answer["failed"])
        return answer

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _work(orders: socket.socket, lasts: list[int]) -> None:
    """Be the worker, until killed or told no more."""

    def tell(answer: Any) -> None:
        orders.sendall(json.dumps(answer).encode() + b"\n")

    try:
        enter_new()
        tell(True)
        for order in map(json.loads, orders.makefile("r", encoding="ascii")):
            tell(_connect(*order) if order else _be_up(lasts))
    except Exception as error:
        with contextlib.suppress(OSError):
            tell({"failed": f"worker: {error}"})
    finally:
        os._exit(0)


def _be_up(lasts: list[int]) -> bool:
    """Set up the worker; it knows the database, so that no request of its own teaches its MAC."""
    host = Host()
    host.configure(lasts)
    for family in (socket.AF_INET, socket.AF_INET6):
        host.write(Written(address(family, 1), PERMANENT, MACS["database"]))
    return True


def _connect(family: int, last: int, timeout_s: float) -> float | None:
    began = time.monotonic()
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        client.bind((address(family, last), 0))
        try:
            client.connect((address(family, 1), PORT))
        except OSError:
            return None
    return time.monotonic() - began


@contextlib.contextmanager
def two_hosts(lasts: list[int]) -> Iterator[tuple[Host, Worker]]:
    """Be the database, with a worker at the other end of the cable."""
    enter_new()
    check_packet_sockets()
    with contextlib.closing(Worker(lasts)) as worker, contextlib.ExitStack() as opened:
        host = Host()
        host.plug(worker.pid)
        host.configure([1])
        worker.configure()
        host.wait_until_up()
        for service in listen():
            opened.callback(service.close)
        yield host, worker
