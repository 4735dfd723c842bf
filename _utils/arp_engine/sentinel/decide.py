"""Moves doubted entries on, as TRANSITIONS says (states.py).

No entry is written. Probing is enough: where a host answers, the kernel takes the answer into its
table by itself (resolve/ask.py); where none does, nothing changes. Protected entries
(table/ownership.py) are never probed, as an answer would change them.

For ``locktime`` (a second, IPv4) after an entry has changed the kernel takes no answer for it, and
our own SYN/ACK changes a STALE one, to DELAY. So where a connection waits, another host has
answered, the host with the cached MAC has not (asked by unicast and by broadcast) and the kernel
keeps the MAC for ``locktime``: that entry is deleted. The kernel then asks by itself, and so do we,
as its one broadcast may get lost.

The kernel takes the first answer to a broadcast, whoever gives it, and a host that was silent for
some milliseconds may live. So nobody waits for the look back at the former holder
(former_holders.py), but no heal is told before it is over.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from ..netlink import codec
from ..packets.probe_schedule import BROADCAST, FAST, URGENT, Schedule
from ..resolve.question import UNASKED, ProbeResult, Question
from . import (
    devices,
    disputes,
    former_holders,
    neighbour_cache,
    precedence,
    question_queue,
    reinject,
    telling,
)
from .actions import HandOver
from .doubt import ALTERNATING, Doubt, Evidence
from .neighbour_cache import mac_of
from .question_queue import Priority
from .states import CLEAR, IN_FLIGHT, LOOKING_BACK, QUEUED, TRANSITIONS, Event

MAX_IN_FLIGHT = 4096  # probes: bounds memory, and no newcomer of a whole fleet
FEW = 4  # probes: another one does not wait for them
LOOKED_BACK = {
    "returned": Event.RETURNED,
    "silent": Event.STAYED_SILENT,
    "not learnt": Event.NOT_LEARNT,
    "unasked": Event.UNPROVED,
    "written anew": Event.WRITTEN_ANEW,
    "written back": Event.WRITTEN_BACK,
}
MAX_TRIES = 3  # where another host answers, and the kernel keeps the cached MAC


class Decider(precedence.Precedence):
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
        unused: disputes.Unused,
        hold: Callable[[codec.Key, bytes], bool],
        is_router: Callable[[codec.Entry], bool],
        is_run_under_way: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take frames a second, how many may go at once, and the parts it works with.

        delete: deletes an entry that has this MAC and takes no other yet; False where it did not.
        is_run_under_way: whether another process of ours asks now. The others: see Actions.
        """
        queue: question_queue.ProbeQueue[Doubt] = question_queue.ProbeQueue(rate, burst)
        super().__init__(
            queue, reinjector, news, watched, locktime_s, unused, hold, is_router, clock
        )
        self._delete, self._is_run_under_way = delete, is_run_under_way
        self._in_flight: dict[codec.Key, Doubt] = {}
        self._looking_back: dict[codec.Key, Doubt] = {}

    def in_progress(self) -> Iterable[codec.Key]:
        """Return the addresses for which more evidence would change nothing now."""
        return [*self.queue.in_progress(self._clock()), *self._in_flight]

    # --- events

    def doubt(self, key: codec.Key, evidence: Evidence, mac: bytes = b"") -> Doubt | None:
        """Take evidence against an entry; None where the queue has no room for it.

        mac: that a SYN came from.
        """
        doubt = self._doubt_of(key) or Doubt(key, evidence.reason)
        if doubt.state is LOOKING_BACK and mac in self._former.of(key):
            self._move(doubt, Event.FORMER_SPEAKS, mac)
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
        key, old, new = change.key, mac_of(change.old), mac_of(change.new)
        if new and not old:  # by way of FAILED, or a deletion
            holder = self._disputes.holder(key, self._clock())
            is_known = holder in (b"", new, *self._former.of(key))
            if (
                not is_known
                and self.may_be_probed(key)
                and not self._claims.is_proxied(key, holder)
            ):
                self._look_back_at(key, former_holders.owed(holder, new))
        if change.is_other_mac and self._is_watched(change):
            doubt = self._doubt_of(key) or Doubt(key, "")
            lost_by = self._lost_by(key, old, new)
            if self._is_returned(key) and not self._former.is_successor(key, new):
                self._regained.add(key, [new], (), self._clock())
            if self._is_returned(key) and doubt.question:
                doubt.change = change  # whether the former holder has answered is known in a moment
            elif doubt.state not in IN_FLIGHT and lost_by:
                doubt.lost_by = lost_by
                self._move(doubt, Event.HOLDER_LOST, change)
            else:
                self._move(doubt, self._unasked_change(doubt), change)
                if self._is_ours(key, old, new) and self._is_back(key, new):
                    self._claims.give_back_from_proxy(key, new, old)

    def _unasked_change(self, doubt: Doubt) -> Event:
        """Return what a change is that no answer to a question under way explains."""
        is_former = self._former.is_untold(doubt.key, self._cached_mac(doubt))
        if is_former and self._is_returned(doubt.key) and doubt.state not in IN_FLIGHT:
            return Event.FORMER_MAC
        return Event.MAC_CHANGED

    def _is_watched(self, change: neighbour_cache.Change) -> bool:
        """Tell whether the operator has selected an entry, or had when it was doubted."""
        is_selected = change.new and self._devices.is_selected(change.new)
        return bool(is_selected or self._doubt_of(change.key))

    def is_overtaken(self, change: neighbour_cache.Change) -> bool:
        """Tell whether an entry has got another MAC than the one that is being probed.

        Unless it has by an answer to the probe, its next frame would ask about a right entry.
        """
        doubt = self._in_flight.get(change.key)
        if not doubt or not doubt.question or not doubt.question.mac or doubt.change:
            return False
        return mac_of(change.new) not in (b"", doubt.question.mac)

    def on_overtaken(self, change: neighbour_cache.Change, result: ProbeResult | None) -> None:
        """Take such a change; result: what the probe, which was dropped, has come to until then."""
        doubt = self._in_flight[change.key]
        question, doubt.question = doubt.question, None
        self._move(doubt, Event.OVERTAKEN)
        self.on_neighbour_change(change)
        if question and result:  # only now: what changes it next may be a late answer to us
            self._remember_asked(question, result)

    def _look_back_at(self, key: codec.Key, owed: former_holders.Heal) -> None:
        doubt = self._doubt_of(key) or Doubt(key, "")
        self._move(doubt, Event.OWED, owed._replace(reason=owed.reason or doubt.reason))

    def on_dropped(self, question: Question) -> None:
        """Take that another question about its address took the place of this one."""
        self._claims.on_dropped(question)

    def _is_asked(self, key: codec.Key) -> bool:
        doubt = self._doubt_of(key)
        return bool(doubt and doubt.question)

    def on_owner(self, key: codec.Key) -> bool:
        """Give up the probe of an entry that has an owner by now; tell whether there was one.

        An answer to its next frame would change the entry.
        """
        doubt = self._doubt_of(key)
        if not (doubt and doubt.question and self.usable_entry(key)) or self.may_be_probed(key):
            return False
        self.on_probe_result(doubt.question, UNASKED)
        return True

    def next_question(self, is_urgent: bool = False) -> tuple[Question, Schedule] | None:
        """Return the next probe to be sent now. It takes the place of one about that address.

        is_urgent: only one that a client waits for.
        """
        while self._asked_at_once:
            question, schedule = self._asked_at_once.popleft()
            doubt = self._in_flight.get(question[:2])
            if doubt and doubt.question is question:
                return question, schedule
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
                self._former.postpone(key, question.mac, self._clock())
            elif self.may_be_probed(key):
                return self._asked(doubt, question.mac, schedule)
            elif not self.usable_entry(key):  # such as one that was deleted: it may come again
                self._on_look_back(doubt, question.mac, UNASKED)
            elif doubt.state is LOOKING_BACK:
                self._move(doubt, Event.TAKEN_OVER)
        return None

    def _schedule(self, doubt: Doubt) -> Schedule:
        """Return how to ask; all hosts where an entry has just changed and takes no answer yet.

        Where a connection waits the holder is asked, too: else the entry could not be deleted.
        """
        schedule = self._disputes.schedule(doubt.key, self._clock())
        is_first = doubt.tries == 1 and not self._is_waited_for(doubt)
        if doubt.reason == ALTERNATING.reason and is_first and schedule is FAST:
            return BROADCAST
        return URGENT if schedule is FAST and doubt.priority.is_urgent else schedule

    def next_due(self) -> float:
        """Return when ``next_question`` may have one."""
        if self._asked_at_once:
            return self._clock()
        due = min(self._claims.next_due(), self._former.next_due())
        if len(self._in_flight) < MAX_IN_FLIGHT:
            due = min(due, self.queue.due(self._clock()))
        return due

    def urgent_due(self) -> float:
        """Return when ``next_question`` has an urgent one, unless that is not known yet."""
        is_ready = len(self._in_flight) < MAX_IN_FLIGHT and self.queue.is_urgent_ready()
        return self._clock() if is_ready else float("inf")

    def is_busy(self) -> bool:
        """Tell whether addresses wait, or are probed: then evidence decides who goes first."""
        return len(self.queue) > 1 or len(self._in_flight) > FEW

    def on_stop(self, hand_over: HandOver | None = None) -> None:
        """Tell what is not decided.

        hand_over: leaves look backs to the next sentinel; returns of which entries it did.
        """
        moved = []
        for key, doubt in self._in_flight.items():
            change, doubt.change = doubt.change, None
            if change:  # its heal would be known in a moment
                macs = mac_of(change.old), mac_of(change.new)
                heal = former_holders.Heal(*macs, doubt.reason, at=self._clock())
                moved.append((key, heal))
        self._end_look_backs(moved, hand_over)

    def on_probe_result(self, question: Question, result: ProbeResult) -> None:
        """Compare what the wire says with what the table has by now."""
        doubt = self._doubt_of(question[:2])
        if doubt and doubt.question is question:
            doubt.question = None
            if doubt.state in IN_FLIGHT:
                self._on_answer(doubt, question, result)
            else:
                self._on_look_back(doubt, question.mac, result)
        elif self._claims.take(question, result):
            self._remember_asked(question, result, is_holder=False)

    def _remember_asked(
        self, question: Question, result: ProbeResult, is_holder: bool = True
    ) -> None:
        """Remember whose answer to a question may still come and move the entry.

        is_holder: who was asked alone had the entry then.
        """
        if result.unicast_asked or result.broadcast_asked:
            macs = [question.mac] + [b""] * bool(result.broadcast_asked)
            # one that has answered one frame will not do so again
            is_one = result.unicast_asked + result.broadcast_asked == 1
            over = result.answers if is_one else ()
            self._lately_asked.add(question[:2], macs, over, self._clock())
            if is_holder and question.mac:
                self._lately_held.add(question[:2], [question.mac], (), self._clock())

    def _on_answer(self, doubt: Doubt, question: Question, result: ProbeResult) -> None:
        self.queue.clear_backoff(doubt.key)
        if not doubt.change and (learnt := self._learnt_meanwhile(doubt, question)):
            self._move(doubt, Event.MAC_CHANGED, learnt)
        outcome, cached = self._outcome(doubt, question, result), self._cached_mac(doubt)
        if outcome is not Event.UNASKABLE:
            self._unaskable.forget(doubt.key)
        self._remember_asked(question, result)
        is_ours = outcome in (Event.HEALED, Event.RETURNED)
        if doubt.change and not is_ours and cached != question.mac:
            self.drop_look_back(doubt, result)  # not by a probe of ours
            self._news.changed(doubt.change, doubt.reason)
        if outcome is Event.RETURNED:
            doubt.heal = self._former.end_returned(doubt.key, cached)
        self._move(doubt, outcome, result)
        doubt.change = None

    def _learnt_meanwhile(self, doubt: Doubt, question: Question) -> neighbour_cache.Change | None:
        """Return a change that came by way of FAILED, where the entry had no MAC for a moment."""
        entry = self.cache.get(doubt.key)
        if not entry or not question.mac or mac_of(entry) in (b"", question.mac):
            return None
        return neighbour_cache.Change(entry._replace(mac=question.mac), entry)

    def _on_look_back(self, doubt: Doubt, former: bytes, result: ProbeResult) -> None:
        change, doubt.change = doubt.change, None
        is_current = change and mac_of(change.new) == self._cached_mac(doubt)
        if change and is_current and former not in result.answers:  # somebody else has written it
            self._move(doubt, self._unasked_change(doubt), change)
            return
        entry = self.cache.get(doubt.key)
        if outcome := self._former.decide(doubt.key, former, result, entry, self._clock()):
            end = self._former.end_returned if outcome == "returned" else self._former.end
            doubt.heal = end(doubt.key, former)
            self._move(doubt, LOOKED_BACK[outcome], result)

    def _outcome(self, doubt: Doubt, question: Question, result: ProbeResult) -> Event:
        cached = self._cached_mac(doubt)
        if self._is_returned(doubt.key) and cached in result.answers:
            return Event.RETURNED
        if not result.answers:
            return Event.UNASKABLE if result.why else Event.NO_ANSWER
        if not cached:
            return Event.ENTRY_GONE
        if cached in result.answers:
            if doubt.change and cached != question.mac:
                return Event.HEALED
            is_alone = bool(question.mac) and not result.broadcast_asked
            if is_alone and self._claims.is_proxied(doubt.key, cached):
                return Event.PROXY_ANSWERED
            return Event.CONFIRMED
        if doubt.tries >= MAX_TRIES:
            return Event.DISAGREEMENT
        is_shown = cached == question.mac and self._is_shown_wrong(doubt, cached, result)
        # Without a connection that waits there is time to ask again when locktime is over.
        if is_shown and self._is_waited_for(doubt) and self._delete(doubt.key, cached):
            return Event.ENTRY_DELETED
        return Event.MAC_KEPT

    def _is_shown_wrong(self, doubt: Doubt, cached: bytes, result: ProbeResult) -> bool:
        """Tell whether the cached MAC was asked alone and among all, or is a proxy that was.

        A frame to it may not have left; and to a broadcast alone another host may be faster.
        """
        is_asked_alone = result.unicast_asked or self._claims.is_proxied(doubt.key, cached)
        return bool(is_asked_alone and result.broadcast_asked)

    def _is_waited_for(self, doubt: Doubt) -> bool:
        """Tell whether a connection waits for an entry."""
        return doubt.is_trusted or bool(doubt.pending_syns)

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
