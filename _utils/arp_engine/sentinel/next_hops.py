"""Which neighbour the packets of a connection are sent to: the peer itself, or a router.

By the kernel's own route lookup, with what is known of the connection: its addresses, the device
that its socket is bound to, its mark. A few lookups are enough: a router that was replaced shows in
every connection through it.
"""

import random
import time
from collections.abc import Callable, Collection

from ..netlink import codec, route, rtnetlink, sock_diag
from ..packets.tcp_syn import Syn
from ..resolve import rate_limit
from .neighbour_cache import NeighbourCache

MAX_FLOWS = 128  # looked up of one listing of sockets; 0.1 ms each
REMOTE_SYN_RATE = 50.0  # outbound SYNs a second to addresses without an entry that are followed


class NextHops:
    """Looks up next hops that are in the neighbour cache."""

    def __init__(
        self,
        channel: rtnetlink.Channel,
        sockets: sock_diag.Sockets | None,
        cache: NeighbourCache,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel, self._sockets, self._cache, self._clock = channel, sockets, cache, clock
        self._remote_syns = rate_limit.TokenBucket(REMOTE_SYN_RATE)

    def of_sockets(self, found: Collection[sock_diag.TcpSocket]) -> set[codec.Key]:
        """Return the next hops of sockets; of many, those of a random few and all direct peers."""
        flows = {(each.local, each.peer, each.ifindex): each for each in found}
        looked_up = random.sample([*flows], min(len(flows), MAX_FLOWS))
        hops = {flow: self._of_socket(flows[flow]) for flow in looked_up}
        keys = {hop for flow in hops for hop in hops[flow]}
        # A direct peer whose route was not looked up, or leads elsewhere as far as we can tell:
        # with IP_TRANSPARENT, IP_UNICAST_IF and the like a socket may send as no lookup knows.
        unknown = {flow[1] for flow in flows if not hops.get(flow)}
        return keys | {entry.key for peer in unknown for entry in self._cache.at(peer)}

    def _of_socket(self, found: sock_diag.TcpSocket) -> set[codec.Key]:
        mark = self._sockets.mark(found) if self._sockets else 0
        return self._known(found.peer, found.ifindex, found.local, mark)

    def of_syn(self, ifindex: int, syn: Syn) -> set[codec.Key]:
        """Return the next hops of a SYN that has left by a device: its target if that has an entry.

        A forwarded SYN has a source that is not ours; then the route is looked up without it.
        """
        if self._cache.get((ifindex, syn.target)):
            return {(ifindex, syn.target)}
        hops = self._known(syn.target, ifindex, syn.source) or self._known(syn.target, ifindex)
        return {hop for hop in hops if hop[0] == ifindex}

    def may_follow_remote(self) -> bool:
        """Tell whether one more SYN to an address without an entry may be followed now."""
        now = self._clock()
        if not self._remote_syns.available(now):
            return False
        self._remote_syns.spend(1, now)
        return True

    def _known(
        self, peer: bytes, ifindex: int, source: bytes = b"", mark: int = 0
    ) -> set[codec.Key]:
        hops = route.next_hops(self._channel, peer, ifindex, source, mark)
        return {hop for hop in hops if self._cache.get(hop)}
