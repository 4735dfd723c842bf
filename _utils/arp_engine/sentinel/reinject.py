"""SYNs once more: handed to our own stack, or sent again, after the entry was put right.

The worker's SYN has been taken, and our SYN/ACK went to a dead MAC. The same SYN once more is for
the kernel a client's retransmission (net/ipv4/tcp_minisocks.c: tcp_check_req): it answers at once.

It arrives by ``lo``, where most firewalls let everything pass: unchecked it would open what no rule
opens. So it is handed on only where sock_diag knows exactly this connection as SYN_RECV, which
proves that the first one had passed; and not where a socket is bound to a device, as ``lo`` is
another. Of a published port (DNAT) conntrack proves it, and the kernel translates the SYN as it did
the first. No such socket (closed port, SYN cookies): nothing is sent, the client's own second SYN
comes after a second. Nor is it where the route leads away: a transparent proxy answers for others,
and they would hear of a client who never called them. Outgoing: the same with SYN_SENT, and by the
device that the first one left by: a mark, which we do not know, may have led it there.

What another host or a container sends through this one, and what a socket sends that is bound to a
device, goes as a frame to the MAC that is right now: our own routes and NAT rules might make
another packet of it.
"""

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..netlink import codec, conntrack, route, rtnetlink, sock_diag
from ..packets import packet_socket, tcp_syn

MAX_LOOKUPS, LOOKUP_INTERVAL_S = 5, 0.001  # the tap hears a SYN before TCP does
# The kernel answers one SYN more than the first in 0.5 s (tcp_invalid_ratelimit), and the client's
# second one may have been that: what is not answered after the first try is tried once more.
SECOND_TRY_S = 0.6
MAX_WAITING = 256  # SYNs that wait for their socket


class PendingSyn(NamedTuple):
    """A SYN that waits for the right MAC."""

    is_outbound: bool
    syn: tcp_syn.Syn
    as_frame: bool = False  # outbound, and not of a socket of ours that any route may be taken for


class Reinjector:
    """Sends SYNs once more, each as soon as its socket is seen."""

    def __init__(
        self, sockets: sock_diag.Sockets | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the kernel's list of sockets; without it nothing is ever sent."""
        self._sockets, self._clock, self._raw = sockets, clock, packet_socket.RawIpSocket()
        self._frames, self._routes = packet_socket.FrameSocket(), rtnetlink.Channel()
        self._conntrack = conntrack.Conntrack()
        self._waiting: deque[tuple[float, int, int, tcp_syn.Syn]] = deque()
        self._second_tries: deque[tuple[float, int, int, tcp_syn.Syn]] = deque()
        self.sent = 0

    def close(self) -> None:
        """Close its sockets."""
        self._raw.close()
        self._frames.close()
        self._conntrack.close()
        self._routes.close()

    def has_listener_answered(self, syn: tcp_syn.Syn, bound_to: Iterable[int] = ()) -> bool:
        """Tell whether a listener of ours, bound to none or one of these devices, has answered."""
        return any(
            self._state(syn, is_outbound=False, ifindex=ifindex) == "SYN_RECV"
            for ifindex in (0, *bound_to)
        )

    def is_connecting(self, syn: tcp_syn.Syn, bound_to: Iterable[int] = ()) -> bool:
        """Tell whether a socket, bound to none or one of these devices, waits for its SYN/ACK."""
        return any(
            self._state(syn, is_outbound=True, ifindex=ifindex) == "SYN_SENT"
            for ifindex in (0, *bound_to)
        )

    def release(self, pending: Iterable[PendingSyn], ifindex: int, mac: bytes) -> None:
        """Send SYNs once more, each if its socket is seen within a few milliseconds.

        ifindex: the device that outbound ones left by. mac: where they go now; empty: not known.
        """
        for is_outbound, syn, as_frame in pending:
            if not self._sockets or not (packet := tcp_syn.rebuild(syn.packet)):
                continue
            if as_frame and mac:
                with contextlib.suppress(OSError):
                    self._frames.send(ifindex, mac, packet)
                    self.sent += 1
            elif not as_frame and len(self._waiting) < MAX_WAITING:
                out_ifindex = ifindex if is_outbound else 0
                self._waiting.append((self._clock(), MAX_LOOKUPS, out_ifindex, syn))

    def next_due(self) -> float:
        """Return when ``step`` is due."""
        queues = [queue for queue in (self._waiting, self._second_tries) if queue]
        return min((queue[0][0] for queue in queues), default=float("inf"))

    def step(self) -> None:
        """Send what may be sent."""
        now = self._clock()
        for queue in (self._waiting, self._second_tries):
            while queue and queue[0][0] <= now:
                self._look_up(now, *queue.popleft()[1:])

    def _look_up(self, now: float, lookups: int, out_ifindex: int, syn: tcp_syn.Syn) -> None:
        """Look for a SYN's socket and send; lookups: how many are left, 0 for a second try."""
        wanted = "SYN_SENT" if out_ifindex else "SYN_RECV"
        is_there = self._state(syn, bool(out_ifindex)) == wanted
        if is_there or (
            not out_ifindex and self._conntrack.is_translated_syn_recv(*syn.connection)
        ):
            if not out_ifindex and not route.is_local(self._routes, syn.target):
                return
            self._send(syn, out_ifindex)
            if lookups and not out_ifindex and len(self._second_tries) < MAX_WAITING:
                self._second_tries.append((now + SECOND_TRY_S, 0, out_ifindex, syn))
        elif lookups > 1 and not out_ifindex:
            self._waiting.append((now + LOOKUP_INTERVAL_S, lookups - 1, out_ifindex, syn))

    def _state(self, syn: tcp_syn.Syn, is_outbound: bool, ifindex: int = 0) -> str:
        """Return the state of exactly this connection's socket; empty where there is none.

        ifindex: the device that it is bound to; what is sent again belongs to one that is not.
        """
        ours, theirs = (syn.target, syn.target_port), (syn.source, syn.source_port)
        if is_outbound:
            ours, theirs = theirs, ours
        found = self._sockets and self._sockets.lookup(*ours, *theirs, ifindex)
        if not found or found.ifindex != ifindex:
            return ""
        if (found.local, found.local_port, found.peer, found.peer_port) != (*ours, *theirs):
            return ""  # a listener
        return found.state

    def _send(self, syn: tcp_syn.Syn, out_ifindex: int) -> None:
        again = tcp_syn.rebuild(syn.packet)
        assert again
        family = codec.family_of(syn.target)
        with contextlib.suppress(OSError):  # the client's own retransmission does it
            self._raw.send(family, again, socket.inet_ntop(family, syn.target), out_ifindex)
            self.sent += 1
