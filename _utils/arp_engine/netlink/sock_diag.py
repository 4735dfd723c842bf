"""TCP sockets that get no answer, as the kernel lists them (sock_diag). Looks, and nothing else.

A connection to a neighbour whose entry is wrong shows it: SYN_SENT where we call, SYN_RECV where we
are called (our SYN/ACK goes to the dead MAC), retransmissions where the path turned wrong later.

One answer is a chunk of up to 32 KiB full of messages like this one (byte order is the machine's)::

     0 nlmsghdr        length:4  type:2  flags:2  sequence:4  port:4
    16 inet_diag_msg   family:1  state:1  timer:1  retransmits:1
    20                 local_port:2  peer_port:2  (big-endian)  local:16  peer:16
    56                 ifindex:4  cookie:8  expires_ms:4  rqueue:4  wqueue:4  uid:4  inode:4
    88 attributes that we do not read (INET_DIAG_SHUTDOWN, ...)
"""

import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from errno import ENOENT, EPROTONOSUPPORT
from pathlib import Path
from typing import NamedTuple

from pyroute2.netlink import NETLINK_SOCK_DIAG
from pyroute2.netlink.diag import (
    SOCK_DIAG_BY_FAMILY,
    SS_CLOSE,
    SS_CLOSE_WAIT,
    SS_CLOSING,
    SS_ESTABLISHED,
    SS_FIN_WAIT1,
    SS_FIN_WAIT2,
    SS_LAST_ACK,
    SS_LISTEN,
    SS_SYN_RECV,
    SS_SYN_SENT,
    SS_TIME_WAIT,
)

from . import codec, rtnetlink

# What a look costs (Linux 6.18, one core; ms at 0 / 20,000 / 100,000 established sockets):
#   sockets.stuck(opening_only=True)   0.13 / 1.0 / 4.7    the kernel walks, and shows nothing
#   sockets.stuck(peer)                0.13 / 1.6 / 8.4    it looks at each one's peer
#   sockets.stuck()                    0.13 / 8.9 / 68     it shows them all; the columns are ours
#   sockets.lookup(...)                0.005, however many
#   counters()                         0.09, however many
# by: python -m timeit -s 'from arp_engine.netlink.sock_diag import Sockets' 'Sockets().stuck()'

TCP_STATES = {
    "ESTABLISHED": SS_ESTABLISHED,
    "SYN_SENT": SS_SYN_SENT,
    "SYN_RECV": SS_SYN_RECV,
    "FIN_WAIT1": SS_FIN_WAIT1,
    "FIN_WAIT2": SS_FIN_WAIT2,
    "TIME_WAIT": SS_TIME_WAIT,
    "CLOSE": SS_CLOSE,
    "CLOSE_WAIT": SS_CLOSE_WAIT,
    "LAST_ACK": SS_LAST_ACK,
    "LISTEN": SS_LISTEN,
    "CLOSING": SS_CLOSING,
}
OPENING = ("SYN_SENT", "SYN_RECV")
SENDING = ("ESTABLISHED", "FIN_WAIT1", "CLOSE_WAIT", "LAST_ACK", "CLOSING")  # may retransmit

_NAMES = {number: name for name, number in TCP_STATES.items()}
_TIMERS = {0: "", 1: "retransmit", 2: "keepalive", 3: "time-wait", 4: "zero-window"}
_TCP = socket.IPPROTO_TCP

# include/uapi/linux/inet_diag.h: what pyroute2 has no names for
_REQ_BYTECODE, _BC_D_COND = 1, 8
_ANY_PORT, _ANY_COOKIE = -1, b"\xff" * 8
_ID = struct.Struct("=2s2s16s16sI8s")  # inet_diag_sockid: ports, addresses, ifindex, cookie
_EXACT = struct.Struct(f"=BB6x{_ID.size}s")  # inet_diag_req_v2: family, protocol, no states, id
# The older question, inet_diag_req: it names no family and is answered for both after one walk
# over all sockets. inet_diag_req_v2 walks for each family.
_TCPDIAG_GETSOCK = 18
_ALL = struct.Struct(f"={4 + _ID.size}xI4x")  # states
_CONDITION = struct.Struct("=BBHBBxxi")  # inet_diag_bc_op, inet_diag_hostcond
_SOCKET = struct.Struct("=16xBBBBHH16s16sIQI16x")
_STATE, _RETRANS = 17, 19  # offsets in a message
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:192.0.2.1, an IPv4 peer of a socket that does both


class TcpSocket(NamedTuple):
    """One TCP socket. ``local`` and ``peer`` are packed; an IPv4 peer is IPv4 on any socket.

    ifindex: the device it is bound to, or 0; with a link-local IPv6 peer always that of the link.
    timer: what runs: ``retransmit``, ``keepalive``, ``time-wait``, ``zero-window`` or nothing.
    retransmits: what it sent in vain since the last answer (data, keepalives, window probes).
    expires_ms: when the timer rings. cookie: tells one socket from the next with the same ports.
    """

    state: str
    local: bytes
    local_port: int
    peer: bytes
    peer_port: int
    ifindex: int
    timer: str
    retransmits: int
    expires_ms: int
    cookie: int

    @property
    def is_stuck(self) -> bool:
        """Tell whether it waits for an answer: not connected yet, or asking in vain."""
        return self.state in OPENING or self.retransmits > 0

    def row(self) -> dict:
        """Return it as a person reads it."""
        text = {"local": _text(self.local), "peer": _text(self.peer)}
        return {key: text.get(key, value) for key, value in self._asdict().items()}


class Sockets:
    """The kernel's list of TCP sockets; OSError with one line where it keeps none."""

    def __init__(self) -> None:
        """Open it, and ask for nothing: later an ENOENT means that there is no such socket."""
        try:
            self._channel = rtnetlink.Channel(NETLINK_SOCK_DIAG)
        except OSError as error:
            raise _unable(error, (EPROTONOSUPPORT,)) from None
        try:
            nothing = _EXACT.pack(socket.AF_INET, _TCP, b"")  # of no state
            list(self._channel.dump(SOCK_DIAG_BY_FAMILY, nothing))
        except OSError as error:
            self._channel.close()
            raise _unable(error, (ENOENT,)) from None

    def __enter__(self) -> "Sockets":
        """Return it."""
        return self

    def __exit__(self, *_exc) -> None:
        """Close it."""
        self._channel.close()

    def stuck(
        self, peer: bytes = b"", prefix: int | None = None, opening_only: bool = False
    ) -> list[TcpSocket]:
        """Return the sockets that wait for an answer, to a peer or a network of them, or to all.

        opening_only: SYN_SENT and SYN_RECV; to leave out those that retransmit is much cheaper,
        as the kernel then shows no established ones.
        """
        states = OPENING if opening_only else (*OPENING, *SENDING)
        return [found for found in self._dump(states, peer, prefix, True) if found.is_stuck]

    def dump(
        self, states: Iterable[str], peer: bytes = b"", prefix: int | None = None
    ) -> list[TcpSocket]:
        """Return the sockets in some states, to a peer or a network of them, or to all."""
        return list(self._dump(states, peer, prefix, False))

    def _dump(
        self, states: Iterable[str], peer: bytes, prefix: int | None, stuck: bool
    ) -> Iterator[TcpSocket]:
        """Yield what the kernel shows; to be read to its end, as the channel waits.

        stuck: what surely does not wait for an answer may be left out.
        """
        mask = sum(1 << TCP_STATES[name] for name in states)
        condition = _condition(peer, len(peer) * 8 if prefix is None else prefix) if peer else b""
        for chunk in self._channel.dump(_TCPDIAG_GETSOCK, _ALL.pack(mask) + condition):
            yield from _read(chunk, stuck)

    def lookup(
        self, local: bytes, local_port: int, peer: bytes, peer_port: int, ifindex: int = 0
    ) -> TcpSocket | None:
        """Return the socket that a segment from ``peer`` would meet, or None.

        Where there is no connection this is the listener (state LISTEN), as for a segment.
        ifindex: the device the segment would come by; needed where a socket is bound to a device.
        """
        family = codec.family_of(peer)
        wanted = _ID.pack(
            local_port.to_bytes(2, "big"), peer_port.to_bytes(2, "big"),
            local, peer, ifindex, _ANY_COOKIE,
        )  # fmt: skip
        question = _EXACT.pack(family, _TCP, wanted)
        try:
            answer = self._channel.request(SOCK_DIAG_BY_FAMILY, 0, question)
        except OSError as error:
            if error.errno == ENOENT:
                return None
            raise
        return _socket(_SOCKET.unpack_from(answer))


def _unable(error: OSError, missing: tuple[int, ...]) -> OSError:
    """Return what to say of a kernel that does not list its sockets."""
    why = os.strerror(error.errno)
    if error.errno in missing:
        why = "the kernel has neither inet_diag nor tcp_diag, built in or as modules"
    return OSError(error.errno, f"cannot list TCP sockets: {why}")


def _condition(peer: bytes, prefix: int) -> bytes:
    """Return the kernel's filter for a peer: bytecode of one instruction.

    ``yes`` and ``no`` are where to go on: at its end (accepted), or behind it (refused). An IPv4
    condition matches an IPv4-mapped IPv6 address too.
    """
    size = _CONDITION.size + len(peer)
    family = codec.family_of(peer)
    code = _CONDITION.pack(_BC_D_COND, size, size + 4, family, prefix, _ANY_PORT) + peer
    return codec.attribute(_REQ_BYTECODE, code)


def _read(chunk: bytes, stuck: bool) -> Iterator[TcpSocket]:
    """Yield the sockets of a chunk."""
    size = codec.LENGTH.unpack_from(chunk)[0] if chunk else 0
    if size < _SOCKET.size or size % 4 or not _alike(chunk, size):
        yield from _walk(chunk)
        return
    if stuck and not _any_stuck(chunk, size):
        return
    padded = struct.Struct(f"{_SOCKET.format}{size - _SOCKET.size}x")
    yield from map(_socket, padded.iter_unpack(chunk))


def _alike(chunk: bytes, size: int) -> bool:
    """Tell whether a chunk is nothing but messages of one size: then each begins where we think."""
    count, rest = divmod(len(chunk), size)
    return not rest and all(chunk[at::size] == chunk[at : at + 1] * count for at in range(4))


def _any_stuck(chunk: bytes, size: int) -> bool:
    """Tell whether a chunk of messages of one size may hold a socket that waits; by columns."""
    states = chunk[_STATE::size]
    return any(chunk[_RETRANS::size]) or SS_SYN_SENT in states or SS_SYN_RECV in states


def _walk(chunk: bytes) -> Iterator[TcpSocket]:
    """Yield the sockets of a chunk one by one."""
    at = 0
    while at < len(chunk):
        size = codec.LENGTH.unpack_from(chunk, at)[0]
        if size < _SOCKET.size or at + size > len(chunk):
            raise ValueError(f"sock_diag message of {size} bytes at {at} in {len(chunk)}")
        yield _socket(_SOCKET.unpack_from(chunk, at))
        at += size + 3 & ~3


def _socket(fields: tuple) -> TcpSocket:
    """Return the socket of one message."""
    family, state, timer, retransmits, local_port, peer_port, local, peer, *rest = fields
    ifindex, cookie, expires_ms = rest
    if family == socket.AF_INET:
        local, peer = local[:4], peer[:4]
    elif peer.startswith(_MAPPED):
        local, peer = local[12:], peer[12:]
    return TcpSocket(
        _NAMES.get(state, str(state)),
        local,
        socket.ntohs(local_port),
        peer,
        socket.ntohs(peer_port),
        ifindex,
        _TIMERS.get(timer, str(timer)),
        retransmits,
        expires_ms,
        cookie,
    )


def _text(address: bytes) -> str:
    return str(ipaddress.ip_address(address))


class Counters(NamedTuple):
    """What has been sent in vain since boot: when none of them moves, no look is needed."""

    syn_retransmits: int  # TcpExt TCPSynRetrans: SYNs and SYN/ACKs sent again
    timeouts: int  # TcpExt TCPTimeouts
    retransmits: int  # Tcp RetransSegs


def counters() -> Counters:
    """Return the counters of this network namespace."""
    net = Path("/proc/thread-self/net")
    more, tcp = _counters(net / "netstat", "TcpExt:"), _counters(net / "snmp", "Tcp:")
    return Counters(more["TCPSynRetrans"], more["TCPTimeouts"], tcp["RetransSegs"])


def _counters(path: Path, group: str) -> dict[str, int]:
    """Return one group of a file that has a line of names for each line of numbers."""
    lines = path.read_text(encoding="ascii").splitlines()
    names, numbers = (line.split()[1:] for line in lines if line.startswith(group + " "))
    return dict(zip(names, map(int, numbers), strict=True))
