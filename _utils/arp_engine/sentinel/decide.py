"""The life of a doubted entry, as a state machine: TRANSITIONS is all that can happen to it.

No entry is written. Probing is enough: where a host answers, the kernel takes the answer into its
table by itself (resolve/ask.py); where none does, nothing changes. Protected entries
(table/ownership.py) are never probed, as an answer would change them.

For ``locktime`` (a second, IPv4) after an entry has changed the kernel takes no answer for it, and
our own SYN/ACK changes a STALE one, to DELAY. So where a connection waits, another host has
answered, the host with the cached MAC has not (neither to unicast nor to broadcast) and the kernel
keeps the MAC for ``locktime``: that entry is deleted. The kernel then asks by itself, and so do we,
as its one broadcast may get lost.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from ..netlink import codec
from ..resolve.ask import ProbeResult, Question
from ..table import ownership
from . import devices, memory, neighbour_cache, question_queue, reinject, telling
from .neighbour_cache import mac_of
from .question_queue import Priority


class State(Enum):
    """Where the doubt about an entry stands."""

    CLEAR = "no doubt, or no longer"
    QUEUED = "waits for its turn to be probed"
    PROBING = "the host with the cached MAC is asked by unicast, then all hosts by broadcast"
    REPROBING = "the wrong entry is deleted; all hosts are asked by broadcast"


class Event(Enum):
    """What moves a doubt on."""

    EVIDENCE = "a signal says that the entry may be wrong: see Evidence"
    DISPLACED = "the queue is full, and an address with more urgent evidence needs the place"
    TURN = "a slot and the rate allow the next probe"
    NOT_OURS = "at its turn the entry has no MAC, is not selected, or is protected"
    MAC_CHANGED = "the kernel announces another MAC"
    # --- the outcome of a probe
    NO_ANSWER = "no host answered"
    UNASKABLE = "no probe could leave, or its answer could not come"
    CONFIRMED = "the host with the cached MAC answered"
    HEALED = "the same, and that MAC came into the table during the probe"
    ENTRY_GONE = "another host answered; the entry has no MAC by now"
    ENTRY_DELETED = "another host answered, a connection waits: we deleted the entry (locktime)"
    MAC_KEPT = "another host answered; the kernel keeps the cached MAC for now"
    DISAGREEMENT = "the same, for the last time that we try"


CLEAR, QUEUED, PROBING, REPROBING = State
_OUTCOMES: dict[Event, tuple[Any, ...]] = {
    Event.NO_ANSWER: (CLEAR, "back_off"),
    Event.UNASKABLE: (CLEAR, "back_off", "tell_unaskable"),
    Event.CONFIRMED: (CLEAR, "remember_verified", "tell_duplicate", "remember_aliases"),
    Event.HEALED: (CLEAR, "remember_verified", "tell_duplicate", "remember_aliases"),
    Event.ENTRY_GONE: (CLEAR,),
    Event.MAC_KEPT: (QUEUED, "requeue"),
    Event.DISAGREEMENT: (CLEAR, "tell_disagreement"),
}
#: State -> event -> the next state, and what is done then: methods of Decider.
TRANSITIONS: dict[State, dict[Event, tuple[Any, ...]]] = {
    CLEAR: {
        Event.EVIDENCE: (QUEUED, "enqueue"),
        Event.MAC_CHANGED: (CLEAR, "forget", "tell_changed", "count_change"),
    },
    QUEUED: {
        Event.EVIDENCE: (QUEUED, "enqueue"),
        Event.DISPLACED: (CLEAR,),
        Event.TURN: (PROBING,),
        Event.NOT_OURS: (CLEAR,),
        Event.MAC_CHANGED: (CLEAR, "forget", "release_syns", "tell_changed", "count_change"),
    },
    PROBING: {
        Event.EVIDENCE: (PROBING,),
        Event.MAC_CHANGED: (PROBING, "forget", "release_syns", "note_change", "count_change"),
        **_OUTCOMES,
        Event.ENTRY_DELETED: (
            REPROBING, "tell_deleted", "forget", "release_syns", "reprobe", "count_change"),
    },
    REPROBING: {
        Event.EVIDENCE: (REPROBING,),
        Event.MAC_CHANGED: (REPROBING, "forget", "release_syns", "note_change", "count_change"),
        **_OUTCOMES,
    },
}  # fmt: skip
IN_FLIGHT = (PROBING, REPROBING)


class Evidence(NamedTuple):
    """One kind of evidence: the reason that is told, and how urgent it is."""

    reason: str
    priority: Priority


SYN = Evidence("syn", Priority.UNTRUSTED)  # it came from another MAC
ANSWERED_SYN = Evidence("syn", Priority.TRUSTED)  # ... and a listener of ours has answered it
CONNECT_TIMEOUT = Evidence("no answer", Priority.TRUSTED)
REPEATED_SYN = Evidence("repeated syn", Priority.UNTRUSTED)
RETRANSMISSION = Evidence("retransmits", Priority.TRUSTED)
UPPER_LAYER_CONFIRMATION = Evidence("upper-layer confirmation", Priority.UNTRUSTED)
ALTERNATING = Evidence("alternates", Priority.UNTRUSTED)

MAX_IN_FLIGHT = 12  # probes (each unanswered one has ten more frames to send)
MAX_IN_FLIGHT_UNTRUSTED = 6  # of these
MAX_TRIES = 3  # where another host answers, and the kernel keeps the cached MAC
MAX_SYNS = 8  # kept of one address, to be released after a heal; as many MACs


@dataclass(slots=True, eq=False)
class Doubt:
    """One address whose entry may be wrong: the evidence, and the SYNs that wait."""

    key: codec.Key
    reason: str
    state: State = CLEAR
    priority: Priority = Priority.UNTRUSTED
    is_trusted: bool = False  # some of its evidence is
    looked_up_at: float = float("-inf")  # whether a listener has answered
    tries: int = 0
    macs: set[bytes] = field(default_factory=set)  # that its SYNs came from
    pending_syns: list[reinject.PendingSyn] = field(default_factory=list)  # the latest few
    change: neighbour_cache.Change | None = None  # of the MAC, during the probe

    def add(self, mac: bytes, syn: reinject.PendingSyn) -> None:
        """Add a SYN, and the MAC it came from; empty for one of ours."""
        if mac and len(self.macs) < MAX_SYNS:
            self.macs.add(mac)
        if syn not in self.pending_syns:
            self.pending_syns = [*self.pending_syns[1 - MAX_SYNS :], syn]


class Decider:
    """Moves doubts on, as TRANSITIONS says."""

    def __init__(
        self,
        rate: float,
        reinjector: reinject.Reinjector,
        news: telling.News,
        watched: devices.WatchedDevices,
        delete: Callable[[codec.Key, bytes], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take probes a second, and the parts it works with.

        delete: deletes an entry that has this MAC and takes no other yet; False where it did not.
        """
        self._reinjector, self._news, self._devices = reinjector, news, watched
        self._delete, self._clock = delete, clock
        self.cache = neighbour_cache.NeighbourCache()
        self.queue: question_queue.ProbeQueue[Doubt] = question_queue.ProbeQueue(rate)
        self.aliases, self.verified = memory.Aliases(), memory.Verified()
        self._mac_changes = memory.MacChanges()
        self._in_flight: dict[codec.Key, Doubt] = {}
        self._reprobes: deque[Question] = deque()  # to be asked at once

    def usable_entry(self, key: codec.Key) -> codec.Entry | None:
        """Return a selected entry that has a MAC."""
        entry = self.cache.get(key)
        return entry if mac_of(entry) and entry and self._devices.is_selected(entry) else None

    def may_be_probed(self, key: codec.Key) -> bool:
        """Tell whether there is an entry to doubt, and it is not protected."""
        entry = self.usable_entry(key)
        return bool(entry) and not ownership.owner(entry, self._devices.device(key[0]))

    def in_progress(self) -> Iterable[codec.Key]:
        """Return the addresses for which more evidence would change nothing now."""
        return [*self.queue.in_progress(self._clock()), *self._in_flight]

    # --- events

    def doubt(self, key: codec.Key, evidence: Evidence) -> Doubt | None:
        """Take evidence against an entry; None where the queue has no room for it."""
        doubt = self._doubt_of(key) or Doubt(key, evidence.reason)
        if doubt.state is CLEAR and len(self.queue) >= question_queue.MAX_QUEUED:
            displaced = self.queue.displace(evidence.priority)
            if not displaced:
                return None
            self._move(displaced, Event.DISPLACED)
        self._move(doubt, Event.EVIDENCE, evidence)
        return doubt

    def on_neighbour_change(self, change: neighbour_cache.Change) -> None:
        """Take a change of the kernel's table."""
        if change.is_other_mac:
            doubt = self._doubt_of(change.key) or Doubt(change.key, "")
            self._move(doubt, Event.MAC_CHANGED, change)

    def next_question(self) -> Question | None:
        """Return the next probe to be sent now."""
        if self._reprobes:
            return self._reprobes.popleft()
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            return None
        doubt = self.queue.next(self._clock(), self._lowest_priority())
        if not doubt:
            return None
        if not self.may_be_probed(doubt.key):
            self._move(doubt, Event.NOT_OURS)
            return None
        self._move(doubt, Event.TURN)
        return Question(*doubt.key, self._cached_mac(doubt))

    def next_due(self) -> float:
        """Return when ``next_question`` may have one."""
        if self._reprobes:
            return self._clock()
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            return float("inf")
        return self.queue.due(self._clock(), self._lowest_priority())

    def on_probe_result(self, question: Question, result: ProbeResult) -> None:
        """Compare what the wire says with what the table has by now."""
        doubt = self._in_flight[question.ifindex, question.dst]
        if change := doubt.change:
            self._news.changed(change, doubt.reason, mac_of(change.new) in result.answers)
        self.queue.clear_backoff(doubt.key)
        outcome = self._outcome(doubt, question, result)
        doubt.change = None
        self._move(doubt, outcome, result)

    def _outcome(self, doubt: Doubt, question: Question, result: ProbeResult) -> Event:
        cached = self._cached_mac(doubt)
        if not result.answers:
            return Event.UNASKABLE if result.why else Event.NO_ANSWER
        if not cached:
            return Event.ENTRY_GONE
        if cached in result.answers:
            return Event.HEALED if doubt.change else Event.CONFIRMED
        if doubt.tries >= MAX_TRIES:
            return Event.DISAGREEMENT
        # A MAC that came during the probe was not asked by unicast; without a connection that
        # waits there is time to ask again when locktime is over.
        is_urgent = doubt.is_trusted or bool(doubt.pending_syns)
        if cached == question.mac and is_urgent and self._delete(doubt.key, cached):
            return Event.ENTRY_DELETED
        return Event.MAC_KEPT

    def _move(self, doubt: Doubt, event: Event, cause: Any = None) -> None:
        """Look up the transition and do it: a doubt is queued, in flight, or forgotten."""
        doubt.state, *actions = TRANSITIONS[doubt.state][event]
        if doubt.state is not QUEUED:
            self.queue.drop(doubt.key)
        if doubt.state in IN_FLIGHT:
            self._in_flight[doubt.key] = doubt
        else:
            self._in_flight.pop(doubt.key, None)
        for action in actions:
            getattr(self, action)(doubt, cause)

    def _doubt_of(self, key: codec.Key) -> Doubt | None:
        return self._in_flight.get(key) or self.queue.get(key)

    def _lowest_priority(self) -> Priority:
        untrusted = sum(doubt.priority > Priority.TRUSTED for doubt in self._in_flight.values())
        full = untrusted >= MAX_IN_FLIGHT_UNTRUSTED
        return Priority.TRUSTED if full else Priority.UNTRUSTED

    # --- the actions in TRANSITIONS; each takes the doubt, and what caused the transition

    def enqueue(self, doubt: Doubt, evidence: Evidence) -> None:
        doubt.is_trusted |= evidence.priority is Priority.TRUSTED
        self.queue.put(doubt, evidence.priority, self._clock())

    def requeue(self, doubt: Doubt, _result: ProbeResult) -> None:
        self.queue.put(doubt, doubt.priority, self._clock())

    def release_syns(self, doubt: Doubt, _cause: Any) -> None:
        self._reinjector.release(doubt.pending_syns, doubt.key[0])
        doubt.pending_syns = []

    def reprobe(self, doubt: Doubt, _result: ProbeResult) -> None:
        """Ask all hosts at once; that delays the next probe of the address no further."""
        doubt.tries += 1
        self._reprobes.append(Question(*doubt.key))

    def back_off(self, doubt: Doubt, result: ProbeResult) -> None:
        self.queue.back_off(doubt.key, self._clock(), was_asked=not result.why)

    def forget(self, doubt: Doubt, _cause: Any) -> None:
        """Forget what was learnt of the former MAC."""
        self.aliases.forget(self._clock(), doubt.key)
        self.verified.forget(doubt.key)

    def remember_verified(self, doubt: Doubt, _result: ProbeResult) -> None:
        self.verified.add(doubt.key, self._clock())

    def remember_aliases(self, doubt: Doubt, _result: ProbeResult) -> None:
        cached = self._cached_mac(doubt)
        for mac in doubt.macs - {cached}:
            if self.aliases.add(doubt.key, mac, self._clock()):
                self._news.alias(doubt.key, cached, mac)

    def note_change(self, doubt: Doubt, change: neighbour_cache.Change) -> None:
        """Tell it when the probe is over: its answers distinguish a heal from another change."""
        doubt.change = change

    def count_change(self, doubt: Doubt, _cause: Any) -> None:
        """Doubt an address that alternates between MACs."""
        if self._mac_changes.is_alternating(doubt.key, self._clock()):
            self._news.alternates(doubt.key)
            if self.may_be_probed(doubt.key):
                self.doubt(doubt.key, ALTERNATING)

    def tell_changed(self, _doubt: Doubt, change: neighbour_cache.Change) -> None:
        self._news.changed(change)

    def tell_deleted(self, doubt: Doubt, result: ProbeResult) -> None:
        self._news.deleted(doubt.key, self._cached_mac(doubt), result.answers, doubt.reason)

    def tell_unaskable(self, doubt: Doubt, result: ProbeResult) -> None:
        self._news.unaskable(doubt.key, result.why)

    def tell_duplicate(self, doubt: Doubt, result: ProbeResult) -> None:
        if len(result.answers) > 1:
            self._news.duplicate(doubt.key, result.answers)

    def tell_disagreement(self, doubt: Doubt, result: ProbeResult) -> None:
        self._news.disagreement(doubt.key, self._cached_mac(doubt), result.answers)

    def _cached_mac(self, doubt: Doubt) -> bytes:
        return mac_of(self.cache.get(doubt.key))
