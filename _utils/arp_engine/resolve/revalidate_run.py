"""One revalidation under way: questions, answers against the table, look backs, the PROBE fallback.

One loop over one Asker: while the kernel proves what nobody answered for, the look backs go on.
"""

import errno
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from ..netlink import codec, links
from ..netlink.constants import TICKS
from ..packets.probe_schedule import BROADCAST, FAST, MAX_QUESTIONS, PATIENT
from ..table import answer, ownership, view
from . import (
    deadlines,
    kernel_probes,
    late_answers,
    locktime,
    look_back,
    nud_probe,
    overtaken,
    proxied,
    watched,
)
from .ask import TICK_S, Asker
from .changes import Changed, Changes
from .question import NO_PERMISSION, OVERTAKEN, ProbeResult, Question
from .report import Report, still_wrong

MAX_LOCKTIME_WAIT_S = 5.0
BATCH = 64  # questions put at a time
MAX_FOLLOWED = 4  # MACs that answer for one entry, one after the other
OWN_ANSWER = "answered by its own bridge (neigh_suppress)"

Entries = dict[codec.Key, codec.Entry]
Tick = Callable[[int, int, list[dict[str, Any]]], None]


class Run:
    """One revalidation under way."""

    def __init__(
        self,
        table: view.TableView,
        report: Report,
        rate: float,
        tick: Tick | None,
        is_stopped: Callable[[], bool],
    ) -> None:
        self.warnings: list[str] = []
        self._table, self._report, self._rate, self._tick = table, report, rate, tick
        self._is_stopped, self._tick_due = is_stopped, time.monotonic() + TICK_S
        self._asker = Asker(
            rate, overtaken=lambda probes: overtaken.among(table, probes, table.is_owned)
        )
        self._entries: Entries = {}  # as they were when they were asked about
        self._todo: deque[codec.Key] = deque()
        self._schedule = PATIENT
        self._unanswered: list[codec.Entry] = []
        self._retries = deadlines.Deadlines()  # entries for which the kernel ignored the answer
        self._answered: dict[codec.Key, tuple[bytes, ...]] = {}  # of these
        self._questions: Counter[codec.Key] = Counter()
        self._not_taken: list[codec.Entry] = []
        self._overriding: set[codec.Key] = set()  # answered with the Override flag (IPv6)
        self._backs = look_back.LookBacks()
        self._looking: set[codec.Key] = set()  # look backs whose question is under way
        self._changed: dict[codec.Key, Changed] = {}  # those that are looked back at
        self._changes = Changes(table, report, rate, is_stopped)
        self._watched = watched.Watched(table, self._changes)
        self._asked_all: set[codec.Key] = set()  # the cached MAC is a proxy's, and answers
        self._routers: set[codec.Key] = set()  # of these: the proxy's own addresses

    def __enter__(self) -> "Run":
        """Return it."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close what it has opened."""
        self._asker.close()

    def probe(self, entries: Entries) -> None:
        """Probe entries, and again those for which the kernel ignored the answer."""
        self._entries = entries
        self._schedule = FAST if len(entries) == 1 else PATIENT
        self._todo.extend(entries)
        self._hear()
        asked = self._entries.values()
        of_proxies = self._watched.take_proxied(asked, self._rate, self._is_stopped)
        self._routers = proxied.routers(of_proxies.values())
        self._asked_all |= of_proxies.keys()
        self._todo.extend(of_proxies)
        self._hear()
        if self._not_taken and not self._is_stopped():
            self.warnings += still_wrong(self._table, self._not_taken, self._overriding)

    def _hear(self) -> None:
        """Wait for the answers to all questions that are no look backs."""
        while (
            len(self._asker) > len(self._looking)
            or self._retries.due() < float("inf")
            or self._todo
        ) and not self._is_stopped():
            self._turn(TICK_S)

    def fall_back(self) -> None:
        """Let the kernel probe the entries that nobody answered for, and report what it finds."""
        warnings, refusal = kernel_probes.prove(
            nud_probe.NudProber(self._table, self._rate, self._go_on, self._is_stopped),
            self._report,
            self._unanswered,
            self._is_stopped,
            self._keep,
            lambda entry, now: self._begin_look_back(entry, entry.mac, now, (now.mac,)),
        )
        is_all_failed = not self._watched.confirmed and self._report.is_all_failed()
        if refusal and refusal.errno == errno.EPERM and is_all_failed:
            raise answer.refusal_error("revalidate", refusal, self._table)
        self.warnings += warnings

    def finish(self) -> None:
        """Wait for the look backs, and report the addresses that two hosts answer for.

        Once stopped it waits and asks no more, and reports what is known.
        """
        open_ = self._backs, self._asker, self._watched
        while any(map(len, open_)) and not self._is_stopped():
            self._turn(TICK_S)
        self._read_late(time.monotonic() + late_answers.LATE_S, len(self._watched))  # if stopped
        self._watched.tell(self._report)
        self._changes.take_back()
        if may_ask := not self._is_stopped():
            self._changes.tell_back(self._entries)
        self._changes.tell_contested(self._entries, may_ask)
        self.warnings += self._changes.warnings

    def end_question(self, key: codec.Key) -> bool:
        """End the open question about an entry; tell whether a probe about it has ever left."""
        ended = None if key in self._looking else self._asker.drop(key)
        is_last_unsent = ended is not None and not ended[1].frames()
        return self._questions[key] - is_last_unsent > 0

    # --- the loop

    def _go_on(self, seconds: float) -> None:
        """Let the look backs go on for some time."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0:
            if not self._turn(left_s):
                time.sleep(left_s)

    def _turn(self, max_wait_s: float) -> bool:
        """Send and receive what is due, then wait for more; return whether any is to come."""
        now = time.monotonic()
        self._todo.extend(self._retries.pop(now, BATCH))
        self._ask_next()
        self._look_back(now)
        if len(self._asker) and (results := self._asker.step()):
            self._compare(results)
        self._read_late(now, BATCH)
        if self._tick and now >= self._tick_due:
            self._tick_due = now + TICK_S
            self._changes.tell_silent(self._entries)
            done = len(self._entries) - len(self._asker) - len(self._todo)
            self._tick(done, len(self._entries), self._report.healed_rows())
        due = min(self._asker.next_due() or float("inf"), self._backs.next_due())
        due = min(due, self._asker.room_due()) if self._todo else due
        due = min(due, self._retries.due(), self._watched.next_due())
        if due < float("inf") and (wait_s := due - time.monotonic()) > 0:
            self._asker.wait(min(wait_s, max_wait_s))
        return due < float("inf")  # an answer may have come before we could wait for it

    def _ask_next(self) -> None:
        """Ask about as many entries as can be asked about now, each as it is now.

        It may have changed since the table was read: to ask a host that has lost it would give it
        the entry back.
        """
        room = min(self._asker.room(), BATCH, len(self._todo))
        keys = [self._todo.popleft() for _ in range(room)]
        table_now = self._table.read_again(keys) if keys else {}
        for key in keys:
            before = self._entries[key]
            entry = table_now.get(key, before)
            if entry is None or not entry.mac:
                self._keep("already gone", before)
            elif self._table.is_owned(entry):
                self._report.count(before, "kept")
            elif entry.mac != before.mac and entry.mac in self._answered.get(key, ()):
                self._answered_by_others(key, self._answered[key], entry, time.monotonic())
            else:
                if entry.mac != before.mac:
                    self._asked_all.discard(key)
                self._entries[key] = entry
                self._put(key)

    def _look_back(self, now: float) -> None:
        """Ask former holders, unless an entry has got an owner."""
        backs = self._backs.questions(now, BATCH)
        not_ours = self._table.not_ours_now([question[:2] for question, _schedule in backs])
        for question, schedule in backs:
            key = question[:2]
            if key not in self._changed:
                continue  # decided a moment ago, with its other former holders
            if key in not_ours and key not in self._looking:
                self._backs.end(key)
                self._changes.decide(self._changed.pop(key), False, not_ours[key])
            elif key not in not_ours and self._asker.put(question, schedule=schedule, now=True):
                self._looking.add(key)
            else:
                self._backs.postpone(key, now, question.mac)

    def _put(self, key: codec.Key) -> None:
        self._questions[key] += 1
        mac = self._entries[key].mac
        if key in self._routers and len(key[1]) == 4:
            locktime.begin(self._table, key, mac, is_asked_next=True)
        schedule = BROADCAST if key in self._asked_all else self._schedule
        self._asker.put(Question(*key, mac), schedule=schedule)

    # --- answers

    def _compare(self, results: list[tuple[Question, ProbeResult]]) -> None:
        """Compare with the table what the answers alone do not decide."""
        looked: dict[Question, ProbeResult] = {}
        others: dict[codec.Key, tuple[bytes, ...]] = {}
        for question, result in results:
            key = question[:2]
            if key in self._looking:
                self._looking.discard(key)
                looked[question] = result
            elif result.why == OVERTAKEN:
                self._report.add_probe(self._entries[key], result)
                if result.broadcast_asked or self._questions[key] >= MAX_QUESTIONS:
                    others[key] = tuple(result.answers)  # the answer to us may be lost
                else:
                    self._todo.append(key)  # anew, as it is now
            elif macs := self._settle_alone(self._entries[key], result):
                others[key] = macs
        if not looked and not others:
            return
        table_now = self._table.read_again([*(each[:2] for each in looked), *others])
        now = time.monotonic()
        for key, macs in others.items():
            self._answered_by_others(key, macs, table_now.get(key, self._entries[key]), now)
        for question, result in looked.items():
            current = table_now.get(question[:2], self._entries[question[:2]])
            self._looked_back(question, result, current, now)

    def _settle_alone(self, entry: codec.Entry, result: ProbeResult) -> tuple[bytes, ...]:
        """Settle an entry by the answers; return them where the table decides."""
        self._report.add_probe(entry, result)
        if entry.mac in result.answers and len(result.answers) == 1:
            words = self._table.channel, entry.ifindex, entry.mac
            if result.broadcast_asked and links.answering_port(*words):
                self._keep(OWN_ANSWER, entry)
            else:
                self._watched.confirm(entry, bool(result.broadcast_asked), time.monotonic())
        elif result.answers:
            self._overriding |= {entry.key} if result.overriding else set()
            return tuple(result.answers)
        elif entry.key in self._asked_all:
            self._report.count(entry, "confirmed")  # it answered alone, a moment ago
        elif result.why and result.why != NO_PERMISSION:
            self._keep(result.why, entry)
        else:
            self._unanswered.append(entry)
            if result.why and not self.warnings:
                self.warnings.append(
                    f"{NO_PERMISSION}: no probe was sent; the kernel probed (state PROBE)"
                )
        return ()

    def _answered_by_others(
        self, key: codec.Key, macs: tuple[bytes, ...], current: codec.Entry | None, now: float
    ) -> None:
        """Take an entry for which another MAC answered, or several did."""
        entry = self._entries[key]
        is_proxied = key in self._asked_all and key not in self._routers
        if current is None:
            self._keep("already gone", entry)
        elif self._table.is_owned(current):
            self._report.count(entry, "kept")
        elif current.mac != entry.mac and is_proxied:
            self._watched.watch_from_proxy(key, Changed(entry, current.mac, macs, now), now)
        elif current.mac != entry.mac:
            self._begin_look_back(entry, entry.mac, current, macs)
        elif len(hosts := [mac for mac in macs if mac != entry.mac]) == 1 and is_proxied:
            both = tuple(dict.fromkeys((entry.mac, *macs)))
            self._changed[key] = Changed(entry, current.mac, both, now, is_from_proxy=True)
            self._backs.begin(look_back.Change(key, hosts[0], current.mac, now), 0.0)
        elif len(macs) > 1:
            self._watched.contest(key, Changed(entry, current.mac, macs, now), now)
        elif self._questions[key] < MAX_QUESTIONS:
            timers = self._table.timers(codec.family_of(entry.dst), entry.ifindex)
            left_s = ownership.locktime_left_s(current, timers) + 2 / TICKS
            self._retries.set(now + min(left_s, MAX_LOCKTIME_WAIT_S), [key])
            self._answered[key] = macs
        else:
            self._not_taken.append(entry)
            self._report.still_wrong(entry, macs)

    def _looked_back(
        self, question: Question, result: ProbeResult, current: codec.Entry | None, now: float
    ) -> None:
        """Take what came of asking a former holder once; another one may be asked on."""
        key, cached = question[:2], current.mac if current else b""
        outcome = self._backs.decide(key, result, cached, now, question.mac)
        self._changed[key] = self._changed[key].looked_back(outcome, result.why)
        if outcome == "returned" or current is None or self._table.is_owned(current):
            self._backs.end(key)
        if key not in self._backs:
            changed, is_returned = self._changed.pop(key), outcome == "returned"
            macs = dict.fromkeys((*result.answers, *changed.macs, *[changed.taken] * is_returned))
            changed = changed._replace(macs=tuple(macs))
            is_recent = now < changed.at + late_answers.LATE_S
            if is_returned and is_recent and changed.is_from_proxy:
                self._watched.watch_from_proxy(key, changed._replace(taken=cached), now)
            elif is_returned and is_recent and cached == changed.entry.mac:
                self._watched.contest(key, changed._replace(taken=cached), now)
            else:
                self._changes.decide(changed, is_returned, current)
        elif current:
            self._follow(key, current)

    def _follow(self, key: codec.Key, current: codec.Entry) -> None:
        """Look back at the newcomer as well, if a slower answer to our broadcast took its entry."""
        changed = self._changed[key]
        known = {b"", changed.entry.mac, changed.taken, *changed.macs}
        moved_at = time.monotonic() - current.updated / TICKS
        is_ours = moved_at - changed.at < late_answers.LATE_S and len(changed.macs) < MAX_FOLLOWED
        if current.mac not in known and is_ours:
            macs = *changed.macs, current.mac
            self._begin_look_back(changed.entry, changed.taken, current, macs)

    def _begin_look_back(
        self, entry: codec.Entry, former: bytes, current: codec.Entry, macs: tuple[bytes, ...]
    ) -> None:
        """Ask the former holder of an entry again, from the moment the kernel would believe it."""
        changed_at = time.monotonic() - current.updated / TICKS
        first = self._changed.get(entry.key)
        first_at = first.at if first else changed_at
        self._changed[entry.key] = Changed(entry, current.mac, macs, first_at)
        timers = self._table.timers(codec.family_of(entry.dst), entry.ifindex)
        locktime_s = timers.locktime_s if len(entry.dst) == 4 else 0.0
        change = look_back.Change(entry.key, former, current.mac, changed_at)
        self._backs.begin(change, locktime_s)

    def _read_late(self, now: float, most: int) -> None:
        """Take the entries that a slower host than the holder has taken by its answer."""
        for key, (current, contested) in self._watched.read(now, most):
            macs: tuple[bytes, ...] = (current.mac,)
            if contested:
                # with the time of its first change: one that goes on for ever prolongs nothing
                macs, self._changed[key] = contested.macs, contested
            self._answered_by_others(key, macs, current, now)

    def _keep(self, reason: str, entry: codec.Entry) -> None:
        self._table.keep(reason, entry.key)
        self._report.count(entry, "kept")
