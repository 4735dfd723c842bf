"""Revalidation: probe each address and compare the answers with the table. No Salt in here.

A probe that nobody answers changes nothing; an answer is taken into the table by the kernel itself,
even for an entry that upper-layer confirmation keeps REACHABLE. So a verdict rests on the answers
and on what the table holds after them:

confirmed   the cached MAC is among the answers
healed      one other MAC answered, and the table holds it now
duplicate   two MACs answered
kept        the entry has an owner, or cannot be probed from here
otherwise   nobody answered: the PROBE fallback decides (resolve/nud_probe.py)
"""

import errno
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..netlink import codec, rtnetlink
from ..netlink.constants import REACHABLE, TICKS
from ..packets.probe_schedule import MAX_QUESTIONS
from ..table import answer, ownership, view
from ..table.gc_pause import gc_paused
from ..table.selectors import DEFAULT_LIMIT, Selectors
from . import ask as resolve_ask
from . import nud_probe
from .report import Report

MAX_LOCKTIME_WAIT_S = 5.0
NO_PERMISSION = "no CAP_NET_RAW"  # the one reason that is not the entry's: no probe can be sent

Entries = dict[codec.Key, codec.Entry]
Tick = Callable[[int, int], None]


def revalidate(
    selectors: Selectors,
    rate: float,
    test: bool = False,
    limit: int = DEFAULT_LIMIT,
    rows_wanted: bool = False,
    tick: Tick | None = None,
) -> dict[str, Any]:
    """Probe every entry that is selected and ours; return the outcome of each.

    rate: probes a second; 0: as fast as is safe. tick: called about once a second with the number
    of finished probes and of all.
    """
    with rtnetlink.Channel() as channel, gc_paused():
        table = view.TableView(channel, selectors, must_be_provable=True)
        chosen = table.read_ours()
        suspects = {key: entry for key, entry in chosen.items() if _is_suspect(table, entry)}
        if test:
            rows = [answer.entry_row(table, entry) for entry in suspects.values()]
            result = answer.limit_lists({"suspects": rows}, ("suspects",), limit)
            return {**result, "would_check": len(chosen), "kept": table.kept(), "warnings": []}
        run = _Run(table, Report(table, rows_wanted), rate, tick)
        run.probe({**suspects, **chosen})  # suspects first
        run.fall_back()
        return {**run.report.as_dict(limit), "kept": table.kept(), "warnings": run.warnings}


def _is_suspect(table: view.TableView, entry: codec.Entry) -> bool:
    if entry.state != REACHABLE:  # most: no need to know the device's timers
        return False
    timers = table.timers(codec.family_of(entry.dst), entry.ifindex)
    return ownership.is_suspect(
        entry.state, entry.confirmed, entry.updated, timers.base_reachable_s
    )


class _Run:
    """One revalidation under way."""

    def __init__(
        self, table: view.TableView, report: Report, rate: float, tick: Tick | None
    ) -> None:
        self.report, self.warnings = report, list[str]()
        self._table, self._rate, self._tick = table, rate, tick
        self._unanswered: list[codec.Entry] = []

    def probe(self, entries: Entries) -> None:
        """Probe entries, and again those for which the kernel ignored the answer."""
        for question in range(MAX_QUESTIONS):
            if question:
                self._wait_for_locktime(entries.values())
            entries = self._not_taken(self._answered_by_another(entries))
            if not entries:
                return
        for entry in entries.values():
            self.report.count(entry, "undecided")
        devices = {self._table.name(entry.ifindex) for entry in entries.values()}
        self.warnings.append(
            f"the kernel ignored the answer for {len(entries)} entries on "
            f"{answer.examples(devices)}: locktime there, or an IPv6 answer without Override"
        )

    def _answered_by_another(self, entries: Entries) -> dict[codec.Key, tuple[codec.Entry, bytes]]:
        """Probe; settle what the answers decide, and return entries that another MAC answered."""
        others: dict[codec.Key, tuple[codec.Entry, bytes]] = {}
        questions = (resolve_ask.Question(e.ifindex, e.dst, e.mac) for e in entries.values())
        for key, result in resolve_ask.ask(questions, self._rate, self._tick).items():
            entry = entries[key]
            self.report.add_probe(entry, result)
            if len(result.answers) > 1:
                self.report.duplicate(entry, result.answers)
            elif entry.mac in result.answers:
                self.report.count(entry, "confirmed")
            elif result.answers:
                others[key] = entry, next(iter(result.answers))
            elif result.why and result.why != NO_PERMISSION:
                self._keep(result.why, entry)
            else:
                self._unanswered.append(entry)
                if result.why and not self.warnings:
                    self.warnings.append(
                        f"{NO_PERMISSION}: no probe was sent; the kernel probed (state PROBE)"
                    )
        return others

    def _not_taken(self, others: dict[codec.Key, tuple[codec.Entry, bytes]]) -> Entries:
        """Compare the answers with the table; return the entries that still have another MAC."""
        not_taken: Entries = {}
        table_now = self._table.read_again(others)
        for key, (entry, mac) in others.items():
            current = table_now.get(key, entry)
            if current is None:
                self._keep("already gone", entry)
            elif self._table.is_owned(current):
                self.report.count(entry, "kept")
            elif current.mac == mac:
                self.report.healed(entry, mac)
            else:
                not_taken[key] = entry._replace(updated=current.updated)
        return not_taken

    def _wait_for_locktime(self, entries: Iterable[codec.Entry]) -> None:
        """Wait until the kernel accepts another MAC for all of them."""
        longest_s = max(
            ownership.locktime_left_s(
                entry, self._table.timers(codec.family_of(entry.dst), entry.ifindex)
            )
            for entry in entries
        )
        time.sleep(min(longest_s + 2 / TICKS, MAX_LOCKTIME_WAIT_S))

    def fall_back(self) -> None:
        """Put the entries that nobody answered for into PROBE, and report what the kernel finds."""
        prober, first_refusal = nud_probe.NudProber(self._table, self._rate), None
        for result in prober.run(self._unanswered):
            if result.verdict == "healed" and result.now:
                self.report.healed(result.entry, result.now.mac)
            elif result.verdict == "gone":
                self.report.gone(result.entry)
            elif result.refusal:
                first_refusal = first_refusal or result.refusal
                self.report.failed(result.entry, result.refusal)
            else:
                self.report.count(result.entry, result.verdict)
        is_forbidden = first_refusal and first_refusal.errno == errno.EPERM
        if first_refusal and is_forbidden and self.report.is_all_failed():
            raise answer.refusal_error("revalidate", first_refusal, self._table)
        self.warnings += prober.warnings

    def _keep(self, reason: str, entry: codec.Entry) -> None:
        self._table.keep(reason, entry.key)
        self.report.count(entry, "kept")
