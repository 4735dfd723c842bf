"""Moves doubted entries on, as TRANSITIONS says (states.py).

No entry is written. Probing is enough: where a host answers, the kernel takes the answer into its
table by itself (resolve/ask.py); where none does, nothing changes. Protected entries
(table/ownership.py) are never probed, as an answer would change them.

For ``locktime`` (a second, IPv4) after an entry has changed the kernel takes no answer for it, and
our own SYN/ACK changes a STALE one, to DELAY. So where a connection waits, another host has
answered, the host with the cached MAC has not (neither to unicast nor to broadcast) and the kernel
keeps the MAC for ``locktime``: that entry is deleted. The kernel then asks by itself, and so do we,
as its one broadcast may get lost.

The kernel takes the first answer to a broadcast, whoever gives it, and a host that was silent for
some milliseconds may live. So nobody waits for the look back at the former holder
(former_holders.py), but no heal is told before it is over.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ..netlink import codec
from ..packets.probe_schedule import BROADCAST, FAST, URGENT, Schedule
from ..resolve import proxy
from ..resolve.ask import ProbeResult, Question
from ..table import ownership
from . import (
    claims,
    devices,
    former_holders,
    memory,
    neighbour_cache,
    question_queue,
    reinject,
    telling,
)
from .doubt import ALTERNATING, Doubt, Evidence
from .neighbour_cache import mac_of
from .question_queue import Priority
from .states import CLEAR, IN_FLIGHT, LOOKING_BACK, QUEUED, TRANSITIONS, Event

MAX_IN_FLIGHT = 4096  # probes: bounds memory, and no newcomer of a whole fleet
FEW = 4  # probes: another one does not wait for them
MAX_TRIES = 3  # where another host answers, and the kernel keeps the cached MAC


class Decider:
    """Moves doubts on, as TRANSITIONS says."""

    def __init__(
        self,
        rate: float,
        burst: int,
        reinjector: reinject.Reinjector,
        news: telling.News,
        watched: devices.WatchedDevices,
        delete: Callable[[codec.Key, bytes], bool],
        locktime_s: Callable[[codec.Key], float],
        unused: Callable[[proxy.Claim], list[bytes]],
        hold: Callable[[codec.Key, bytes], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take frames a second, how many may go at once, and the parts it works with.

        delete: deletes an entry that has this MAC and takes no other yet; False where it did not.
        locktime_s: for how long after a change an entry takes no other MAC.
        unused: addresses of a claim's network that nobody has. hold: lets the kernel take no other
        MAC for an entry, for a moment; False where it cannot.
        """
        self._reinjector, self._news, self._devices = reinjector, news, watched
        self._delete, self._clock = delete, clock
        self.cache = neighbour_cache.NeighbourCache()
        self.queue: question_queue.ProbeQueue[Doubt] = question_queue.ProbeQueue(rate, burst)
        self.aliases, self.verified = memory.Aliases(), memory.Verified()
        self._mac_changes = memory.MacChanges()
        self._former = former_holders.FormerHolders(locktime_s)
        self._in_flight: dict[codec.Key, Doubt] = {}
        self._looking_back: dict[codec.Key, Doubt] = {}
        self._asked_at_once: deque[tuple[Question, Schedule]] = deque()
        self._claims = claims.Claims(unused, news, self.cache, self.may_be_probed, hold, clock)
        self._disputes = self._claims.disputes

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

    def doubt(self, key: codec.Key, evidence: Evidence, mac: bytes = b"") -> Doubt | None:
        """Take evidence against an entry; None where the queue has no room for it.

        mac: that a SYN came from.
        """
        doubt = self._doubt_of(key) or Doubt(key, evidence.reason)
        if doubt.state is LOOKING_BACK and mac and mac == self._former.of(key):
            self._move(doubt, Event.FORMER_SPEAKS)
            return doubt
        if doubt.state in (CLEAR, LOOKING_BACK):
            if len(self.queue) >= question_queue.MAX_QUEUED:
                displaced = self.queue.displace(evidence.priority)
                if not displaced:
                    return None
                self._move(displaced, Event.DISPLACED)
            doubt.begin_anew(evidence.reason)
        self._move(doubt, Event.EVIDENCE, evidence)
        return doubt

    def on_neighbour_change(self, change: neighbour_cache.Change) -> None:
        """Take a change of the kernel's table."""
        if change.is_other_mac:
            doubt = self._doubt_of(change.key) or Doubt(change.key, "")
            if self._is_returned(change.key) and doubt.question:
                doubt.change = change  # whether the former holder has answered is known in a moment
            else:
                self._move(doubt, Event.MAC_CHANGED, change)
                self._watch_contested(doubt, change)

    def _watch_contested(self, doubt: Doubt, change: neighbour_cache.Change) -> None:
        """Look back at the holder of a contested address that another one's question has moved."""
        now = self._clock()
        holder = self._disputes.holder(doubt.key, now)
        is_proxy = self._disputes.is_proxy(doubt.key[0], holder, now)
        if doubt.state is CLEAR and holder and holder == mac_of(change.old) and not is_proxy:
            taken = mac_of(change.new)
            heal = former_holders.Heal(holder, taken, ALTERNATING.reason, is_deleted=False)
            self._former.begin(doubt.key, heal, now)
            doubt.state = LOOKING_BACK
            self._file(doubt)

    def on_owner(self, key: codec.Key) -> bool:
        """Give up the probe of an entry that has an owner by now; tell whether there was one.

        An answer to its next frame would change the entry.
        """
        doubt = self._doubt_of(key)
        if not (doubt and doubt.question and self.usable_entry(key)) or self.may_be_probed(key):
            return False
        self.on_probe_result(doubt.question, ProbeResult(0, 0, {}))
        return True

    def next_question(self, is_urgent: bool = False) -> tuple[Question, Schedule] | None:
        """Return the next probe to be sent now. It takes the place of one about that address.

        is_urgent: only one that a client waits for.
        """
        if self._asked_at_once:
            return self._asked_at_once.popleft()
        if is_urgent:
            return self._next_probe(Priority.CONNECT_TIMEOUT)
        return (
            self._claims.next_question()
            or self._next_probe(Priority.RETRANSMISSION)
            or self._next_look_back()
            or self._next_probe(Priority.AGE)
        )

    def _next_probe(self, lowest: Priority) -> tuple[Question, Schedule] | None:
        while len(self._in_flight) < MAX_IN_FLIGHT:
            doubt = self.queue.next(self._clock(), lowest)
            if not doubt:
                break
            if self.may_be_probed(doubt.key):
                self._move(doubt, Event.TURN)
                return self._asked(doubt, self._cached_mac(doubt), self._schedule(doubt))
            self._move(doubt, Event.NOT_OURS)
        return None

    def _next_look_back(self) -> tuple[Question, Schedule] | None:
        for question, schedule in self._former.questions(self._clock(), 1):
            key = question[:2]
            doubt = self._doubt_of(key)
            assert doubt
            if doubt.question:
                self._former.postpone(key, self._clock())
            elif self.may_be_probed(key):
                return self._asked(doubt, question.mac, schedule)
            elif doubt.state is LOOKING_BACK:
                self._move(doubt, Event.FORMER_GONE)
        return None

    def _asked(
        self, doubt: Doubt, mac: bytes, schedule: Schedule = FAST
    ) -> tuple[Question, Schedule]:
        doubt.question = Question(*doubt.key, mac)
        return doubt.question, schedule

    def _schedule(self, doubt: Doubt) -> Schedule:
        """Return how to ask; all hosts where an entry has just changed and takes no answer yet."""
        schedule = self._disputes.schedule(doubt.key, self._clock())
        if doubt.reason == ALTERNATING.reason and doubt.tries == 1 and schedule is FAST:
            return BROADCAST
        return URGENT if schedule is FAST and doubt.priority.is_urgent else schedule

    def next_due(self) -> float:
        """Return when ``next_question`` may have one."""
        if self._asked_at_once or len(self._claims):
            return self._clock()
        due = self._former.next_due()
        if len(self._in_flight) < MAX_IN_FLIGHT:
            due = min(due, self.queue.due(self._clock()))
        return due

    def urgent_due(self) -> float:
        """Return when ``next_question`` has an urgent one, unless that is not known yet."""
        return self._clock() if self.queue.is_urgent_ready() else float("inf")

    def is_busy(self) -> bool:
        """Tell whether addresses wait, or are probed: then evidence decides who goes first."""
        return len(self.queue) > 1 or len(self._in_flight) > FEW

    def on_stop(self) -> None:
        """Tell the changes whose former holders would have been asked again; none is lost."""
        for key, heal in self._former.end_all():
            self._news.moved(key, heal)

    def on_probe_result(self, question: Question, result: ProbeResult) -> None:
        """Compare what the wire says with what the table has by now."""
        doubt = self._doubt_of(question[:2])
        if doubt and doubt.question is question:
            doubt.question = None
            if doubt.state in IN_FLIGHT:
                self._on_answer(doubt, question, result)
            else:
                self._on_look_back(doubt, result)
        else:
            self._claims.take(question, result)

    def _on_answer(self, doubt: Doubt, question: Question, result: ProbeResult) -> None:
        self.queue.clear_backoff(doubt.key)
        outcome, cached = self._outcome(doubt, question, result), self._cached_mac(doubt)
        is_ours = outcome in (Event.HEALED, Event.RETURNED)
        if doubt.change and not is_ours and cached != question.mac:
            self.drop_look_back(doubt, result)  # not by a probe of ours
            self._news.changed(doubt.change, doubt.reason)
        self._move(doubt, outcome, result)
        doubt.change = None

    def _on_look_back(self, doubt: Doubt, result: ProbeResult) -> None:
        cached = self._cached_mac(doubt)
        former, change, doubt.change = self._former.of(doubt.key), doubt.change, None
        outcome = self._former.decide(doubt.key, result, cached, self._clock())
        if change and former not in result.answers:  # somebody else has written it
            self._move(doubt, Event.MAC_CHANGED, change)
        elif outcome:
            event = Event.RETURNED if outcome == "returned" else Event.STAYED_SILENT
            self._move(doubt, event, result)

    def _outcome(self, doubt: Doubt, question: Question, result: ProbeResult) -> Event:
        cached = self._cached_mac(doubt)
        if self._is_returned(doubt.key) and cached in result.answers:
            return Event.RETURNED
        if not result.answers:
            return Event.UNASKABLE if result.why else Event.NO_ANSWER
        if not cached:
            return Event.ENTRY_GONE
        if cached in result.answers:
            is_moved = bool(doubt.change) and cached != question.mac
            return Event.HEALED if is_moved else Event.CONFIRMED
        if doubt.tries >= MAX_TRIES:
            return Event.DISAGREEMENT
        # A MAC that came during the probe was not asked by unicast; without a connection that
        # waits there is time to ask again when locktime is over.
        is_urgent = doubt.is_trusted or bool(doubt.pending_syns)
        if cached == question.mac and is_urgent and self._delete(doubt.key, cached):
            return Event.ENTRY_DELETED
        return Event.MAC_KEPT

    def _is_returned(self, key: codec.Key) -> bool:
        """Tell whether a former holder has its entry again; somebody else wrote a protected one."""
        former = self._former.of(key)
        return bool(former) and former == mac_of(self.cache.get(key)) and self.may_be_probed(key)

    def _move(self, doubt: Doubt, event: Event, cause: Any = None) -> None:
        """Look up the transition and do it: a doubt is queued, in flight, or forgotten."""
        doubt.state, *actions = TRANSITIONS[doubt.state][event]
        self._file(doubt)
        for action in actions:
            getattr(self, action)(doubt, cause)
        if doubt.state in (CLEAR, LOOKING_BACK):
            state = LOOKING_BACK if doubt.key in self._former else CLEAR
            if state is not doubt.state:  # else an action may have begun another doubt of the key
                doubt.state = state
                self._file(doubt)

    def _file(self, doubt: Doubt) -> None:
        """Keep a doubt where its state says."""
        if doubt.state is not QUEUED:
            self.queue.drop(doubt.key)
        looking = (LOOKING_BACK,)
        for place, states in ((self._in_flight, IN_FLIGHT), (self._looking_back, looking)):
            if doubt.state in states:
                place[doubt.key] = doubt
            else:
                place.pop(doubt.key, None)

    def _doubt_of(self, key: codec.Key) -> Doubt | None:
        return self._in_flight.get(key) or self.queue.get(key) or self._looking_back.get(key)

    # --- the actions in TRANSITIONS; each takes the doubt, and what caused the transition

    def enqueue(self, doubt: Doubt, evidence: Evidence) -> None:
        """A confirmed address is not probed before others, for a growing time."""
        doubt.is_trusted |= evidence.priority.is_trusted
        priority, now = evidence.priority, self._clock()
        if self.verified.is_recent(doubt.key, now):
            priority = max(priority, Priority.SYN)
        self.queue.put(doubt, priority, now)

    def requeue(self, doubt: Doubt, _result: ProbeResult) -> None:
        self.queue.put(doubt, doubt.priority, self._clock())

    def release_syns(self, doubt: Doubt, _cause: Any) -> None:
        self._reinjector.release(doubt.pending_syns, doubt.key[0], self._cached_mac(doubt))
        doubt.pending_syns = []

    def reprobe(self, doubt: Doubt, _result: ProbeResult) -> None:
        """Ask all hosts at once; that delays the next probe of the address no further."""
        doubt.tries += 1
        self._asked_at_once.append(self._asked(doubt, b"", URGENT))

    def back_off(self, doubt: Doubt, result: ProbeResult) -> None:
        self.queue.back_off(doubt.key, self._clock(), was_asked=not result.why)

    def forget(self, doubt: Doubt, _cause: Any) -> None:
        """Forget what was learnt of the former MAC."""
        self.aliases.forget(doubt.key)
        self.verified.forget(doubt.key)

    def remember_verified(self, doubt: Doubt, _result: ProbeResult) -> None:
        self.verified.add(doubt.key, self._clock())

    def remember_aliases(self, doubt: Doubt, _result: ProbeResult) -> None:
        cached, now = self._cached_mac(doubt), self._clock()
        is_contested = self._disputes.is_contested(doubt.key, now)
        for mac in doubt.macs - {cached}:
            if self.aliases.add(doubt.key, mac, now) and not is_contested:
                self._claims.alias(doubt.key, mac, cached)

    def forget_aliases(self, doubt: Doubt, _result: ProbeResult) -> None:
        """The host with the cached MAC is silent: another one's SYN is evidence again."""
        self.aliases.forget(doubt.key)

    def look_back(self, doubt: Doubt, result: ProbeResult) -> None:
        """Begin to ask the former holder; a deleted entry's MAC is still in the cache."""
        change, doubt.change = doubt.change, None
        if change:
            macs = mac_of(change.old), mac_of(change.new)
        else:
            macs = self._cached_mac(doubt), next(iter(result.answers))
        heal, now = former_holders.Heal(*macs, doubt.reason, not change), self._clock()
        if self._disputes.is_proxy(doubt.key[0], heal.old, now):
            self._news.healed(doubt.key, heal)  # its answer would prove nothing
        else:
            self._former.begin(doubt.key, heal, now)

    def look_back_now(self, doubt: Doubt, _cause: Any) -> None:
        self._former.hurry(doubt.key, self._clock())

    def end_look_back(self, doubt: Doubt, _cause: Any) -> None:
        doubt.heal = self._former.end(doubt.key)

    def drop_look_back(self, doubt: Doubt, _cause: Any) -> None:
        """Somebody else has changed the entry: whether it was a heal, nobody will know."""
        if doubt.key in self._former:
            self._news.moved(doubt.key, self._former.end(doubt.key))

    def dispute_return(self, doubt: Doubt, _cause: Any) -> None:
        assert doubt.heal
        self._claims.dispute(doubt.key, doubt.heal.old, [doubt.heal.new])

    def dispute_answers(self, doubt: Doubt, result: ProbeResult) -> None:
        """Two hosts have answered, or a second one had the entry lately: nobody gave it to it."""
        holder, now = self._former.of(doubt.key) or self._cached_mac(doubt), self._clock()
        lately = {mac for mac in doubt.macs if self._mac_changes.had(doubt.key, mac, now)}
        if len(macs := {*result.answers, *lately, self._cached_mac(doubt)}) > 1:
            self._claims.dispute(doubt.key, holder, sorted(macs - {holder}))

    def note_change(self, doubt: Doubt, change: neighbour_cache.Change) -> None:
        """Tell it when the probe is over: its answers distinguish a heal from another change."""
        doubt.change = change

    def count_change(self, doubt: Doubt, _cause: Any) -> None:
        """Doubt an address that alternates between MACs."""
        mac = self._cached_mac(doubt)
        if self._mac_changes.is_alternating(doubt.key, self._clock(), mac):
            self._news.alternates(doubt.key)
            if self.may_be_probed(doubt.key):
                self.doubt(doubt.key, ALTERNATING)

    def tell_changed(self, _doubt: Doubt, change: neighbour_cache.Change) -> None:
        self._news.changed(change)

    def tell_healed(self, doubt: Doubt, _cause: Any) -> None:
        assert doubt.heal
        if not self._disputes.is_contested(doubt.key, self._clock()):
            self._news.healed(doubt.key, doubt.heal)

    def tell_unaskable(self, doubt: Doubt, result: ProbeResult) -> None:
        self._news.unaskable(doubt.key, result.why)

    def tell_disagreement(self, doubt: Doubt, result: ProbeResult) -> None:
        self._news.disagreement(doubt.key, self._cached_mac(doubt), result.answers)

    def _cached_mac(self, doubt: Doubt) -> bytes:
        return mac_of(self.cache.get(doubt.key))
