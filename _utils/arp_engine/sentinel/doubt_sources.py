"""Where doubts come from: each signal is compared with the neighbour cache.

A signal that contradicts an entry, or shows that packets to it get lost, is evidence (doubt.py);
one about an entry that is protected, not selected or just verified is none.
"""

import time
from collections.abc import Callable

from ..netlink import codec
from ..packets import bpf, packet_socket
from ..packets.tcp_syn import Syn
from ..resolve import rate_limit
from ..table import ownership
from . import decide, devices, next_hops, reinject, signals, telling
from . import doubt as doubts

SOCK_DIAG_RATE = 2000.0  # lookups a second: has a listener answered?
LISTENER_RECHECK_S = 0.1  # from one lookup for an address to the next
MAX_OWNED = 1024  # protected entries whose SYNs are examined, to tell of those that contradict

TRANSIENT = ("INCOMPLETE", "NONE")  # the kernel is asking by itself


class DoubtSources:
    """Turns signals into evidence."""

    def __init__(
        self,
        decider: decide.Decider,
        reinjector: reinject.Reinjector,
        news: telling.News,
        watched: devices.WatchedDevices,
        hops: next_hops.NextHops,
        unanswered: signals.Unanswered,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._decider, self._reinjector, self._news = decider, reinjector, news
        self._devices, self._hops, self._clock = watched, hops, clock
        self._owned: set[codec.Key] = set()  # in the kernel's filter
        self._outbound, self._unanswered = signals.OutboundSyns(), unanswered
        self._lookups = rate_limit.TokenBucket(SOCK_DIAG_RATE)

    def on_inbound_syn(self, ifindex: int, mac: bytes, syn: Syn) -> None:
        """Compare the MAC that a SYN came from with the cached one."""
        key, now = (ifindex, syn.source), self._clock()
        entry = self._decider.usable_entry(key)
        if not entry or mac == entry.mac or (key, mac) in self._decider.aliases:
            return
        if len(mac) != len(entry.mac):  # a link whose frames name no sender: InfiniBand
            return
        if owner := ownership.owner(entry, self._devices.device(ifindex)):
            if owner not in TRANSIENT and self._decider.aliases.add(key, mac, now):
                self._news.owned(key, entry.mac, mac, owner)
            return
        doubt = self._decider.doubt(key, doubts.SYN, mac)
        if self._has_listener_answered(key, doubt, syn, now):
            doubt = self._decider.doubt(key, doubts.ANSWERED_SYN, mac)
            self._decider.queue.retry_now(key, now)
        if doubt:
            doubt.add(mac, reinject.PendingSyn(False, syn))

    def on_outbound_syn(self, ifindex: int, syn: Syn) -> None:
        """Wait for the answer to a SYN that leaves, if the entry of its next hop may be wrong."""
        key, now = (ifindex, syn.target), self._clock()
        if self._outbound.is_repeated(ifindex, syn, now):
            self.on_repeated_syn(ifindex, syn)
        elif self._decider.cache.get(key):
            if self._is_doubtable(key):
                self._outbound.put(syn, ifindex, now)
        elif self._hops.may_follow_remote():
            self._outbound.put(syn, ifindex, now)

    def next_due(self) -> float:
        """Return when ``look_for_unanswered`` is due."""
        return min(self._outbound.next_due(), self._unanswered.next_due())

    def look_for_unanswered(self) -> None:
        """Take what has got no answer by now: segments, SYN/ACKs and SYNs of ours."""
        stuck, half_open = self._unanswered.step()
        for key in stuck:
            self.on_retransmit(key)
        for key in half_open:
            self.on_half_open(key)
        for ifindex, syn in self._outbound.pop_timed_out(self._clock()):
            self.on_connect_timeout(ifindex, syn)

    def on_connect_timeout(self, ifindex: int, syn: Syn) -> None:
        """Doubt the next hop of a SYN if a socket of ours still waits for the answer."""
        is_bound = not self._reinjector.is_connecting(syn)
        if not is_bound or self._reinjector.is_connecting(syn, self._devices.bound_to(ifindex)):
            for key in self._doubtable_hops(ifindex, syn):
                doubt = self._decider.doubt(key, doubts.CONNECT_TIMEOUT)
                if doubt:
                    doubt.add(b"", reinject.PendingSyn(True, syn, as_frame=is_bound))

    def on_repeated_syn(self, ifindex: int, syn: Syn) -> None:
        """Doubt the next hop of a SYN that has left twice, whoever's it is: a container's, say.

        A socket of ours that waits is trusted evidence (``on_connect_timeout``, retransmissions);
        what others let us forward is not.
        """
        for key in self._doubtable_hops(ifindex, syn):
            doubt = self._decider.doubt(key, doubts.REPEATED_SYN)
            if doubt:
                doubt.add(b"", reinject.PendingSyn(True, syn, as_frame=True))

    def on_half_open(self, key: codec.Key) -> None:
        """Doubt the next hop of a SYN/ACK of ours that is not acknowledged."""
        if self._is_doubtable(key):
            self._decider.doubt(key, doubts.HALF_OPEN)

    def on_retransmit(self, key: codec.Key) -> None:
        """Doubt the entry of a next hop of a socket of ours that retransmits."""
        if self._is_doubtable(key):
            self._decider.doubt(key, doubts.RETRANSMISSION)

    def on_upper_layer_confirmation(self, key: codec.Key) -> None:
        """Doubt an entry that is kept REACHABLE by something other than ARP."""
        if self._decider.may_be_probed(key):
            self._decider.doubt(key, doubts.UPPER_LAYER_CONFIRMATION)

    def pop_changed(self) -> set[codec.Key]:
        """Return the entries for which ``macs_to_ignore`` may have changed since the last call."""
        return self._decider.cache.pop_changed() | self._decider.aliases.pop_changed()

    def macs_to_ignore(self, key: codec.Key) -> bytes | None:
        """Return the MACs from which an entry's SYNs are no evidence, one after the other.

        Empty where none is known for certain; None where no SYN is evidence.
        """
        entry = self._decider.usable_entry(key)
        self._owned.discard(key)
        if not entry or len(entry.mac) > packet_socket.MAX_LLADDR:
            return None
        if ownership.owner(entry, self._devices.device(entry.ifindex)):
            if len(self._owned) >= MAX_OWNED:
                self._news.owned_unwatched(MAX_OWNED)
                return None
            self._owned.add(key)
        macs = [entry.mac, *self._decider.aliases.of(key)][: bpf.MAX_MACS]
        return b"".join(macs) if len(entry.mac) == bpf.MAC_LENGTH else b""

    def without_effect(self) -> list[codec.Key]:
        """Return the entries for which one more SYN would change nothing now.

        They are protected, being probed, queued, or not to be probed yet.
        """
        return [*self._owned, *self._decider.in_progress()]

    def _doubtable_hops(self, ifindex: int, syn: Syn) -> list[codec.Key]:
        return [key for key in self._hops.of_syn(ifindex, syn) if self._is_doubtable(key)]

    def _is_doubtable(self, key: codec.Key) -> bool:
        """Tell whether a connection without an answer is evidence against an entry now.

        Of an address with an alias it always is: the SYNs that would show a new host are ignored.
        """
        if not self._decider.may_be_probed(key):
            return False
        is_verified = self._decider.verified.is_recent(key, self._clock())
        return not is_verified or bool(self._decider.aliases.of(key))

    def _has_listener_answered(
        self, key: codec.Key, doubt: doubts.Doubt | None, syn: Syn, now: float
    ) -> bool:
        """Tell whether a listener of ours has answered; looked up only where that matters."""
        if doubt and now < doubt.looked_up_at + LISTENER_RECHECK_S:
            return False
        queue = self._decider.queue
        do_others_wait = self._decider.is_busy() and not (doubt and doubt.is_trusted)
        if not (do_others_wait or queue.is_backed_off(key)) or not self._lookups.available(now):
            return False
        self._lookups.spend(1, now)
        if doubt:
            doubt.looked_up_at = now
        return self._reinjector.has_listener_answered(syn, self._devices.bound_to(key[0]))
