"""What is done when a doubted entry moves on: the actions that TRANSITIONS names (states.py)."""

from collections import deque
from collections.abc import Callable
from typing import Any

from ..netlink import codec
from ..packets.probe_schedule import BROADCAST, FAST, URGENT, Schedule
from ..resolve.question import ProbeResult, Question
from ..table import ownership
from . import (
    claims,
    devices,
    disputes,
    former_holders,
    memory,
    neighbour_cache,
    question_queue,
    reinject,
    telling,
)
from .doubt import ALTERNATING, WRITTEN_BACK, Doubt, Evidence
from .neighbour_cache import mac_of
from .question_queue import Priority

HandOver = Callable[[list[tuple[codec.Key, former_holders.Heal]]], set[codec.Key]]


class Actions:
    """What a Decider knows of entries, and what it can do about one.

    Each action takes the doubt, and what caused the transition.
    """

    def __init__(
        self,
        queue: question_queue.ProbeQueue[Doubt],
        reinjector: reinject.Reinjector,
        news: telling.News,
        watched: devices.WatchedDevices,
        locktime_s: Callable[[codec.Key], float],
        unused: disputes.Unused,
        hold: Callable[[codec.Key, bytes], bool],
        is_router: Callable[[codec.Entry], bool],
        clock: Callable[[], float],
    ) -> None:
        """Take the parts it works with.

        locktime_s: for how long after a change an entry takes no other MAC.
        unused: see disputes.Unused. hold: lets the kernel take no other
        MAC for an entry, for a moment; False where it cannot. is_router: whether an entry is one
        that routes lead to.
        """
        self.queue, self._reinjector, self._news = queue, reinjector, news
        self._devices, self._clock = watched, clock
        self.cache = neighbour_cache.NeighbourCache()
        self.aliases, self.verified = memory.Aliases(), memory.Verified()
        self._lately_asked, self._lately_held = memory.RecentHosts(), memory.RecentHosts()
        # hosts that got an entry back while they were looked back at
        self._regained = memory.RecentHosts(memory.REGAINED_S)
        self._mac_changes, self._unaskable = memory.MacChanges(), memory.Unaskable()
        self._former, self._locktime_s = former_holders.FormerHolders(locktime_s), locktime_s
        self._asked_at_once: deque[tuple[Question, Schedule]] = deque()
        self._claims = claims.Claims(
            unused,
            news,
            self.cache,
            self.may_be_probed,
            hold,
            is_router,
            self._look_back_at,
            self._is_asked,
            self._former.has_other,
            clock,
        )
        self._disputes = self._claims.disputes

    def doubt(self, key: codec.Key, evidence: Evidence, mac: bytes = b"") -> Doubt | None:
        """Take evidence against an entry: a Decider does."""
        raise NotImplementedError

    def usable_entry(self, key: codec.Key) -> codec.Entry | None:
        """Return a selected entry that has a MAC."""
        entry = self.cache.get(key)
        return entry if mac_of(entry) and entry and self._devices.is_selected(entry) else None

    def may_be_probed(self, key: codec.Key) -> bool:
        """Tell whether there is an entry to doubt, and it is not protected."""
        entry = self.usable_entry(key)
        return bool(entry) and not ownership.owner(entry, self._devices.device(key[0]))

    def _look_back_at(self, key: codec.Key, owed: former_holders.Heal) -> None:
        """Ask a host alone, at once and for ten seconds, whose entry another one has."""
        raise NotImplementedError

    def _is_asked(self, key: codec.Key) -> bool:
        """Tell whether a question about an address is under way."""
        raise NotImplementedError

    def _asked(
        self, doubt: Doubt, mac: bytes, schedule: Schedule = FAST
    ) -> tuple[Question, Schedule]:
        doubt.question = Question(*doubt.key, mac)
        return doubt.question, schedule

    def _is_returned(self, key: codec.Key) -> bool:
        """Tell whether a former holder has its entry again; somebody else wrote a protected one."""
        cached = mac_of(self.cache.get(key))
        return cached in self._former.of(key) and self.may_be_probed(key)

    def _tell_moved(self, key: codec.Key, heals: list[former_holders.Heal]) -> None:
        for heal in heals:
            if not heal.is_told:
                self._news.moved(key, heal)

    def take_over(self, held: list[tuple[codec.Key, former_holders.Heal]]) -> None:
        """Ask on whom the sentinel before this one asked, of one entry the first holder first.

        Where the entry is another one by now it stays undecided, which is told again.
        """
        taken = {key: heal.new for key, heal in held}
        for key, heal in held:
            if self.may_be_probed(key) and mac_of(self.cache.get(key)) == taken[key]:
                self._look_back_at(key, heal)
            else:
                self._news.undecided(key, heal)

    def _end_look_backs(
        self, moved: list[tuple[codec.Key, former_holders.Heal]], hand_over: HandOver | None
    ) -> None:
        """Tell what is not decided, and hand it over; moved: entries that have just moved.

        Also what was told as a change already, but not what is owed: that was told as a duplicate.
        An entry that was written back, or that a former holder has again, is not handed over: who
        had it first, nobody knows, and the next sentinel would ask the other host alone.
        """
        held = [(key, heal) for key in self._former.entries() for heal in self._former.end_all(key)]
        every = [*self._claims.on_stop(), *held, *moved]  # of one entry in this order
        last = {key: heal.new for key, heal in every}
        is_back = {
            key for key, heal in every if heal.old in (last[key], mac_of(self.cache.get(key)))
        }
        left = [(key, heal) for key, heal in every if not heal.is_given_back]
        open_ = [(key, heal) for key, heal in left if key not in is_back and not heal.is_written]
        handed = hand_over(open_) if hand_over and open_ else set[codec.Key]()
        for key, heal in left:
            self._news.undecided(key, heal, key in handed)

    def _cached_mac(self, doubt: Doubt) -> bytes:
        return mac_of(self.cache.get(doubt.key))

    # --- the actions

    def enqueue(self, doubt: Doubt, evidence: Evidence) -> None:
        """A confirmed address is not probed before others, for a growing time."""
        doubt.is_trusted |= evidence.priority.is_trusted
        priority, now = evidence.priority, self._clock()
        if self.verified.is_recent(doubt.key, now):
            priority = max(priority, Priority.SYN)
        self.queue.put(doubt, priority, now)

    def requeue(self, doubt: Doubt, _cause: Any) -> None:
        self.queue.put(doubt, doubt.priority, self._clock())

    def release_syns(self, doubt: Doubt, _cause: Any) -> None:
        self._release(doubt, self._cached_mac(doubt))

    def release_syns_to_answer(self, doubt: Doubt, result: ProbeResult) -> None:
        """The same where the cached MAC is still the wrong one."""
        self._release(doubt, next(iter(result.answers)))

    def _release(self, doubt: Doubt, mac: bytes) -> None:
        self._reinjector.release(doubt.pending_syns, doubt.key[0], mac)
        doubt.pending_syns = []

    def ask_everybody(self, doubt: Doubt, _result: ProbeResult) -> None:
        self._asked_at_once.append(self._asked(doubt, self._cached_mac(doubt), BROADCAST))

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
        self._unaskable.forget(doubt.key)

    def remember_verified(self, doubt: Doubt, _result: ProbeResult) -> None:
        """A proxy's answer verifies nothing."""
        if not self._claims.is_proxied(doubt.key, self._cached_mac(doubt)):
            self.verified.add(doubt.key, self._clock())

    def remember_aliases(self, doubt: Doubt, _result: ProbeResult) -> None:
        cached, now = self._cached_mac(doubt), self._clock()
        if self._claims.is_proxied(doubt.key, cached):
            self._ask_callers(doubt, cached)
            return
        is_contested = self._disputes.is_contested(doubt.key, now)
        for mac in doubt.macs - {cached}:
            if self.aliases.add(doubt.key, mac, now) and not is_contested:
                self._claims.alias(doubt.key, mac, cached)

    def _ask_callers(self, doubt: Doubt, proxy_mac: bytes) -> None:
        """Ask alone who has sent a SYN while a proxy has the entry: it may have answered late.

        SYNs can be forged: a former holder keeps its place.
        """
        for mac in sorted(doubt.macs - {proxy_mac}):
            is_proxy = self._claims.is_proxied(doubt.key, mac)
            if len(self._former.of(doubt.key)) < former_holders.MAX_FORMERS and not is_proxy:
                self._claims.ask_caller(doubt.key, mac, proxy_mac)

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
        is_moved, now = bool(change), self._clock()
        heal = former_holders.Heal(*macs, doubt.reason, not is_moved, is_moved, at=now)
        if self._claims.is_proxied(doubt.key, heal.old):
            self._news.healed(doubt.key, heal)  # its answer would prove nothing
        else:
            self._tell_moved(doubt.key, self._former.begin(doubt.key, heal, now))

    def look_back_at_holder(self, doubt: Doubt, change: neighbour_cache.Change) -> None:
        """Ask the holder that has lost its entry, as if a probe of ours had moved it now."""
        heal = former_holders.Heal(doubt.lost_by, mac_of(change.new), "", is_told=True)
        self._tell_moved(doubt.key, self._former.begin(doubt.key, heal, self._clock()))

    def look_back_anew(self, doubt: Doubt, change: neighbour_cache.Change) -> None:
        """Ask the former holder that has its entry again: if it lives, it keeps it.

        Nobody else is asked: their answers would take it again.
        """
        mac, now = mac_of(change.new), self._clock()
        self._tell_moved(doubt.key, self._former.begin_anew(doubt.key, mac, now))

    def give_back(self, doubt: Doubt, heal: former_holders.Heal) -> None:
        """Ask the host whose entry another one has: its answer gives it back."""
        now = self._clock()
        self._tell_moved(doubt.key, self._former.begin(doubt.key, heal, now))
        self._former.hurry(doubt.key, heal.old, now)

    def look_back_now(self, doubt: Doubt, mac: bytes) -> None:
        """Of a mere successor a SYN proves nothing: it is asked in its turn."""
        if not self._former.is_successor(doubt.key, mac):
            self._former.hurry(doubt.key, mac, self._clock())

    def drop_look_back(self, doubt: Doubt, _cause: Any) -> None:
        """Somebody else has changed the entry: whether it was a heal, nobody will know."""
        self._tell_moved(doubt.key, self._former.end_all(doubt.key))

    def dispute_return(self, doubt: Doubt, _cause: Any) -> None:
        assert doubt.heal
        if not doubt.heal.is_given_back:
            self._claims.dispute(doubt.key, doubt.heal.old, [doubt.heal.new])
        else:
            self._claims.tell_given_back(doubt.key, doubt.heal)

    def dispute_answers(self, doubt: Doubt, result: ProbeResult) -> None:
        """Two hosts have answered, or a second one had the entry lately: nobody gave it to it."""
        cached, now = self._cached_mac(doubt), self._clock()
        formers = self._former.of(doubt.key)  # among them perhaps the first one's successor
        holders = [mac for mac in formers if not self._former.is_successor(doubt.key, mac)]
        [holder, *_older] = [*holders, cached]
        lately = {mac for mac in doubt.macs if self._mac_changes.had(doubt.key, mac, now)}
        macs = {*result.answers, *lately, cached}
        is_silent = holder not in macs  # the former holder: of the others one has got the entry
        if len(macs) > 1 and is_silent:
            self._claims.dispute(doubt.key, cached, sorted(macs - {cached}), is_open=True)
        elif len(macs) > 1:
            others = sorted(macs - {holder}, key=lambda mac: (mac != cached, mac))
            self._claims.dispute(doubt.key, holder, others)

    def note_change(self, doubt: Doubt, change: neighbour_cache.Change) -> None:
        """Tell it when the probe is over: its answers distinguish a heal from another change.

        Of several changes, the first holder is looked back at.
        """
        old = doubt.change.old if doubt.change else change.old
        has_moved = mac_of(old) != mac_of(change.new)
        doubt.change = change._replace(old=old) if has_moved else None

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
        """Tell a heal; a contested address was not healed, unless the holder got it then."""
        heal = doubt.heal
        assert heal
        is_holder = self._disputes.holder(doubt.key, self._clock()) in (b"", heal.new)
        if is_holder and heal.is_news:
            self._claims.heal(doubt.key, heal)

    def tell_unproved(self, doubt: Doubt, _cause: Any) -> None:
        assert doubt.heal
        self._tell_moved(doubt.key, [doubt.heal])

    def tell_written_anew(self, doubt: Doubt, _cause: Any) -> None:
        assert doubt.heal
        self._news.written_anew(doubt.key, doubt.heal, self._cached_mac(doubt))

    def tell_not_learnt(self, doubt: Doubt, _cause: Any) -> None:
        assert doubt.heal
        self._news.not_learnt(doubt.key, doubt.heal)

    def tell_written_back(self, doubt: Doubt, _cause: Any) -> None:
        assert doubt.heal
        self._news.written_back(doubt.key, doubt.heal)

    def doubt_again(self, doubt: Doubt, _cause: Any) -> None:
        """Let all hosts be asked once more, but not each time that somebody writes it back."""
        assert doubt.heal
        if doubt.heal.reason != WRITTEN_BACK.reason and self.may_be_probed(doubt.key):
            self.doubt(doubt.key, WRITTEN_BACK)

    def tell_unaskable(self, doubt: Doubt, result: ProbeResult) -> None:
        """It is tried again every few seconds, and goes on until somebody acts."""
        if self._unaskable.add(doubt.key, result.why, self._clock()):
            self._news.unaskable(doubt.key, result.why)

    def tell_disagreement(self, doubt: Doubt, result: ProbeResult) -> None:
        self._news.disagreement(doubt.key, self._cached_mac(doubt), result.answers)
