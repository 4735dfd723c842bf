"""TCP sockets that wait for an answer, as the kernel lists them (sock_diag). Read-only.

A connection to a neighbour with a wrong entry shows in its socket: SYN_SENT when we connect,
SYN_RECV when the peer does (our SYN/ACK goes to the dead MAC), retransmissions when the entry
became wrong later.

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

# Cost of each call (Linux 6.18, one core; ms at 0 / 20,000 / 100,000 established sockets):
#   sockets.unanswered(opening_only=True)   0.13 / 1.0 / 4.7   the kernel walks, and returns none
#   sockets.unanswered(peer)                0.13 / 1.6 / 8.4   it compares each one's peer
#   sockets.unanswered()                    0.13 / 8.9 / 68    it returns them all, and we filter
#   sockets.lookup(...)                     0.005, however many
# by: python -m timeit -s 'from arp_engine.netlink import sock_diag as s' 's.Sockets().unanswered()'

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
MAY_RETRANSMIT = ("ESTABLISHED", "FIN_WAIT1", "CLOSE_WAIT", "LAST_ACK", "CLOSING")

_NAMES = {number: name for name, number in TCP_STATES.items()}
_TIMERS = {0: "", 1: "retransmit", 2: "keepalive", 3: "time-wait", 4: "zero-window"}
_TCP = socket.IPPROTO_TCP

# include/uapi/linux/inet_diag.h: constants that pyroute2 lacks
_REQ_BYTECODE, _BC_D_COND, _INFO, _MARK = 1, 8, 2, 15
_ANY_PORT, _ANY_COOKIE = -1, b"\xff" * 8
_ID = struct.Struct("=2s2s16s16sI8s")  # inet_diag_sockid: ports, addresses, ifindex, cookie
_EXACT = struct.Struct(f"=BB6x{_ID.size}s")  # inet_diag_req_v2: family, protocol, no states, id
# The older request, inet_diag_req: it names no family, and the kernel answers for both after one
# walk over all sockets. With inet_diag_req_v2 it walks once for each family.
_TCPDIAG_GETSOCK = 18
_ALL = struct.Struct(f"=3xB{_ID.size}xI4x")  # attributes wanted beside the usual ones, states
_LAST_ACK_RECV = struct.Struct("=56xI")  # of struct tcp_info: milliseconds ago
_CONDITION = struct.Struct("=BBHBBxxi")  # inet_diag_bc_op, inet_diag_hostcond
_SOCKET = struct.Struct("=16xBBBBHH16s16sIQI16x")
_STATE, _RETRANS = 17, 19  # offsets in a message
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:192.0.2.1: the IPv4 peer of a dual-stack socket


class TcpSocket(NamedTuple):
    """One TCP socket. ``local`` and ``peer`` are packed; an IPv4 peer is IPv4 on any socket.

    ifindex: the device it is bound to, or 0; with a link-local IPv6 peer always that of the link.
    timer: the active timer: ``retransmit``, ``keepalive``, ``time-wait``, ``zero-window`` or none.
    retransmits: segments sent since the last answer (data, keepalives, window probes).
    expires_ms: until the timer expires. cookie: distinguishes sockets that reuse the same ports.
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
    def is_unanswered(self) -> bool:
        """Tell whether it waits for an answer: not connected yet, or retransmitting."""
        return self.state in OPENING or self.retransmits > 0

    def row(self) -> dict:
        """Return its fields, addresses as text."""
        text = {"local": _text(self.local), "peer": _text(self.peer)}
        return {key: text.get(key, value) for key, value in self._asdict().items()}


class Sockets:
    """The kernel's list of TCP sockets; OSError with one line where it keeps none."""

    def __init__(self) -> None:
        """Open it, and try a dump of no sockets: a later ENOENT then means "no such socket"."""
        try:
            self._channel = rtnetlink.Channel(NETLINK_SOCK_DIAG)
        except OSError as error:
            raise _cannot_list(error, EPROTONOSUPPORT) from None
        try:
            no_states = _EXACT.pack(socket.AF_INET, _TCP, b"")
            list(self._channel.dump(SOCK_DIAG_BY_FAMILY, no_states))
        except OSError as error:
            self._channel.close()
            raise _cannot_list(error, ENOENT) from None

    def __enter__(self) -> "Sockets":
        return self

    def __exit__(self, *_exc) -> None:
        self._channel.close()

    def unanswered(
        self, peer: bytes = b"", prefix: int | None = None, opening_only: bool = False
    ) -> list[TcpSocket]:
        """Return the sockets that wait for an answer: from a peer, a network (prefix), or anyone.

        opening_only: only SYN_SENT and SYN_RECV, none that retransmit. Much cheaper, as the kernel
        then returns no established sockets.
        """
        states = OPENING if opening_only else (*OPENING, *MAY_RETRANSMIT)
        found = self._dump(states, peer, prefix, unanswered_only=True)
        return [one for one in found if one.is_unanswered]

    def dump(
        self, states: Iterable[str], peer: bytes = b"", prefix: int | None = None
    ) -> list[TcpSocket]:
        """Return the sockets in some states: to a peer, a network (prefix), or anyone."""
        return list(self._dump(states, peer, prefix, unanswered_only=False))

    def acknowledged(self, within_s: float, peer: bytes = b"") -> list[TcpSocket]:
        """Return the established sockets whose peer has acknowledged something within that time.

        Without retransmissions: what they send arrives. peer: to that address only.
        """
        found = []
        wanted = _ALL.pack(1 << (_INFO - 1), 1 << SS_ESTABLISHED)
        wanted += _condition(peer, len(peer) * 8) if peer else b""
        for chunk in self._channel.dump(_TCPDIAG_GETSOCK, wanted):
            for _kind, message in codec.messages(chunk):
                info = codec.values(message, _SOCKET.size).get(_INFO, b"")
                if len(info) >= _LAST_ACK_RECV.size:
                    [ago_ms] = _LAST_ACK_RECV.unpack_from(info)
                    one = _socket(codec.unpack(_SOCKET, message))
                    found += [one] if ago_ms <= 1000 * within_s and not one.retransmits else []
        return found

    def _dump(
        self, states: Iterable[str], peer: bytes, prefix: int | None, unanswered_only: bool
    ) -> Iterator[TcpSocket]:
        """Yield the sockets that the kernel returns; callers must read to the end of the dump.

        unanswered_only: chunks without a socket that waits for an answer may be left out.
        """
        mask = sum(1 << TCP_STATES[name] for name in states)
        condition = _condition(peer, len(peer) * 8 if prefix is None else prefix) if peer else b""
        for chunk in self._channel.dump(_TCPDIAG_GETSOCK, _ALL.pack(0, mask) + condition):
            yield from _parse_chunk(chunk, unanswered_only)

    def lookup(
        self, local: bytes, local_port: int, peer: bytes, peer_port: int, ifindex: int = 0
    ) -> TcpSocket | None:
        """Return the socket that would receive a segment from ``peer``, or None.

        Where there is no connection this is the listener (state LISTEN), as for a segment.
        ifindex: the device that would receive it; needed where a socket is bound to a device.
        """
        answer = self._exact(local, local_port, peer, peer_port, ifindex)
        return _socket(codec.unpack(_SOCKET, answer)) if answer else None

    def mark(self, sock: TcpSocket) -> int:
        """Return the mark (SO_MARK) of a socket's packets.

        0 for none, without CAP_NET_ADMIN, and for a socket that is gone.
        """
        answer = self._exact(sock.local, sock.local_port, sock.peer, sock.peer_port, sock.ifindex)
        values = codec.values(answer, _SOCKET.size) if answer else {}
        return codec.unpack(codec.U32, values.get(_MARK, bytes(codec.U32.size)))[0]

    def _exact(
        self, local: bytes, local_port: int, peer: bytes, peer_port: int, ifindex: int
    ) -> bytes:
        """Return the message about one socket; empty where there is no such socket."""
        wanted = _ID.pack(
            local_port.to_bytes(2, "big"), peer_port.to_bytes(2, "big"),
            local, peer, ifindex, _ANY_COOKIE,
        )  # fmt: skip
        body = _EXACT.pack(codec.family_of(peer), _TCP, wanted)
        try:
            return self._channel.request(SOCK_DIAG_BY_FAMILY, 0, body)
        except OSError as error:
            if error.errno == ENOENT:
                return b""
            raise


def _cannot_list(error: OSError, no_module: int) -> OSError:
    """Return the error with a message; ``no_module`` is the errno of a missing kernel module."""
    why = os.strerror(error.errno)
    if error.errno == no_module:
        why = "the kernel has neither inet_diag nor tcp_diag, built in or as modules"
    return OSError(error.errno, f"cannot list TCP sockets: {why}")


def _condition(peer: bytes, prefix: int) -> bytes:
    """Return the kernel's filter for a peer: inet_diag bytecode of one instruction.

    It jumps to its end where the peer matches (accepted), and 4 bytes further where not (refused).
    An IPv4 condition matches an IPv4-mapped IPv6 address too.
    """
    size = _CONDITION.size + len(peer)
    family = codec.family_of(peer)
    code = _CONDITION.pack(_BC_D_COND, size, size + 4, family, prefix, _ANY_PORT) + peer
    return codec.attribute(_REQ_BYTECODE, code)


def _parse_chunk(chunk: bytes, unanswered_only: bool) -> Iterator[TcpSocket]:
    """Yield the sockets of a chunk."""
    size = codec.U32.unpack_from(chunk)[0] if len(chunk) >= codec.U32.size else 0
    if size < _SOCKET.size or size % 4 or not _are_all_of_size(chunk, size):
        yield from _parse_one_by_one(chunk)
        return
    if unanswered_only and not _any_unanswered(chunk, size):
        return
    padded = struct.Struct(f"{_SOCKET.format}{size - _SOCKET.size}x")
    yield from map(_socket, padded.iter_unpack(chunk))


def _are_all_of_size(chunk: bytes, size: int) -> bool:
    """Tell whether all messages of a chunk have this size: then their fields form columns."""
    count, rest = divmod(len(chunk), size)
    return not rest and all(chunk[at::size] == chunk[at : at + 1] * count for at in range(4))


def _any_unanswered(chunk: bytes, size: int) -> bool:
    """Tell whether a socket in a chunk of messages of one size waits for an answer, by columns."""
    states = chunk[_STATE::size]
    return any(chunk[_RETRANS::size]) or SS_SYN_SENT in states or SS_SYN_RECV in states


def _parse_one_by_one(chunk: bytes) -> Iterator[TcpSocket]:
    """Yield the sockets of a chunk; MalformedMessage where one is cut short."""
    for _kind, message in codec.messages(chunk):
        yield _socket(codec.unpack(_SOCKET, message))


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
