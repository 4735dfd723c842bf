"""A SYN once more: handed to our own stack, or sent again, after the entry was put right.

The worker's SYN has been taken, and our SYN/ACK went to a dead MAC. The same SYN once more is for
the kernel a client's retransmission (net/ipv4/tcp_minisocks.c: tcp_check_req): it answers at once.

It arrives by ``lo``, where most firewalls let everything pass: unchecked it would open what no rule
opens. So it is handed on only where sock_diag knows exactly this connection as SYN_RECV, which
proves that the first one had passed; and not where a socket is bound to a device, as ``lo`` is
another. No such socket (closed port, SYN cookies): nothing is sent, the client's own second SYN
comes after a second. Nor is it where the route leads away: a transparent proxy answers for others,
and they would hear of a client who never called them. Outgoing: the same with SYN_SENT, and by the
device that the first one left by: a mark, which we do not know, may have led it there.
"""

import socket
import time
from collections import deque
from collections.abc import Callable

from ..netlink import codec, route, rtnetlink, sock_diag
from ..packets import packet_socket, tcp_syn

LOOKS, NAP_S = 5, 0.001  # the tap hears a SYN before TCP does
# The kernel answers one SYN more than the first in 0.5 s (tcp_invalid_ratelimit), and the client's
# second one may have been that: what is not answered after the first try is tried once more.
LATER_S = 0.6
MOST = 256  # SYNs that wait for their socket


class Again:
    """What is to be sent once more, as soon as its socket is seen."""

    def __init__(
        self, sockets: sock_diag.Sockets | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the kernel's list of sockets; without it nothing is ever sent."""
        self._sockets, self._clock, self._raw = sockets, clock, packet_socket.Raw()
        self._routes = rtnetlink.Channel()
        self._waiting: deque[tuple[float, int, int, tcp_syn.Syn]] = deque()
        self._later: deque[tuple[float, int, int, tcp_syn.Syn]] = deque()
        self.sent = self.refused = 0

    def close(self) -> None:
        """Close it."""
        self._raw.close()
        self._routes.close()

    def is_answered(self, syn: tcp_syn.Syn) -> bool:
        """Tell whether a listener of ours, bound to no device, has answered a SYN that came in."""
        return self._state(syn, outgoing=False) == "SYN_RECV"

    def is_waiting(self, syn: tcp_syn.Syn) -> bool:
        """Tell whether a socket of ours, bound to no device, still waits for what it asked."""
        return self._state(syn, outgoing=True) == "SYN_SENT"

    def put(self, syn: tcp_syn.Syn, by: int = 0) -> None:
        """Send a SYN once more, if its socket is seen within a few milliseconds.

        by: the device that one of ours left by; 0 for one that came in.
        """
        if self._sockets and len(self._waiting) < MOST and tcp_syn.again(syn.packet):
            self._waiting.append((self._clock(), LOOKS, by, syn))

    def next_due(self) -> float:
        """Return when ``step`` is due."""
        queues = [queue for queue in (self._waiting, self._later) if queue]
        return min((queue[0][0] for queue in queues), default=float("inf"))

    def step(self) -> None:
        """Send what may be sent."""
        now = self._clock()
        for queue in (self._waiting, self._later):
            while queue and queue[0][0] <= now:
                self._look(now, *queue.popleft()[1:])

    def _look(self, now: float, looks: int, by: int, syn: tcp_syn.Syn) -> None:
        """Look for a SYN's socket; looks: how many may be needed, 0: it was sent once."""
        if self._state(syn, bool(by)) == ("SYN_SENT" if by else "SYN_RECV"):
            if not by and not route.is_local(self._routes, syn.target):
                return
            self._send(syn, by)
            if looks and not by and len(self._later) < MOST:
                self._later.append((now + LATER_S, 0, by, syn))
        elif looks > 1 and not by:
            self._waiting.append((now + NAP_S, looks - 1, by, syn))

    def _state(self, syn: tcp_syn.Syn, outgoing: bool) -> str:
        """Return the state of exactly this connection's socket; empty for none that we may use."""
        ours, theirs = (syn.target, syn.target_port), (syn.source, syn.source_port)
        if outgoing:
            ours, theirs = theirs, ours
        found = self._sockets and self._sockets.lookup(*ours, *theirs)
        if not found or found.ifindex:
            return ""
        if (found.local, found.local_port, found.peer, found.peer_port) != (*ours, *theirs):
            return ""  # a listener
        return found.state

    def _send(self, syn: tcp_syn.Syn, by: int) -> None:
        again = tcp_syn.again(syn.packet)
        assert again
        try:
            family = codec.family_of(syn.target)
            self._raw.send(family, again, socket.inet_ntop(family, syn.target), by)
            self.sent += 1
        except OSError:  # the client's own retransmission does it
            self.refused += 1
