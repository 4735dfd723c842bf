"""Revalidation: ask who has each address, and believe what is seen. No Salt in here.

Asking (resolve/ask.py) changes nothing where nobody answers; where another answers than the one we
hold, the kernel takes the answer into its table by itself, even for an entry that something keeps
vouching for. So a verdict is what was seen on the wire, and what the table holds after it:

confirmed   the MAC we hold is among the answers
healed      another answered, and the table holds it now
duplicate   two answered
kept        it is somebody's, or cannot be asked about here
otherwise   nobody answered: the kernel is made to prove it (resolve/nud_probe.py)
"""

import errno
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..netlink import codec, rtnetlink
from ..netlink.constants import REACHABLE, TICKS
from ..packets.probe_schedule import MAX_QUESTIONS
from ..table import listing, ownership, snapshot
from ..table.selectors import LIMIT, Selectors
from . import ask as resolve_ask
from . import nud_probe
from .report import Report

LOCKTIME_S = 5.0  # a longer locktime is not waited for
UNHEARD = "no CAP_NET_RAW"  # nobody can be asked at all

Entries = dict[codec.Key, codec.Entry]
Tick = Callable[[int, int], None]


def revalidate(
    selectors: Selectors,
    rate: float,
    test: bool = False,
    limit: int = LIMIT,
    rows_wanted: bool = False,
    tick: Tick | None = None,
) -> dict[str, Any]:
    """Ask about every entry that is selected and ours; return what came of each.

    rate: questions a second; 0 for as fast as is safe. tick: called about once a second with how
    many questions are over, and of how many.
    """
    with rtnetlink.Channel() as channel, listing.no_collection():
        table = snapshot.Table(channel, selectors, to_be_proven=True)
        chosen = table.read_ours()
        suspects = {key: entry for key, entry in chosen.items() if _is_suspect(table, entry)}
        if test:
            rows = [snapshot.named(table, entry) for entry in suspects.values()]
            result = snapshot.bounded({"suspects": rows}, ("suspects",), limit)
            return {**result, "would_check": len(chosen), "kept": table.kept(), "warnings": []}
        run = _Run(table, Report(table, rows_wanted), rate, tick)
        run.ask({**suspects, **chosen})  # suspects first
        run.prove()
        return {**run.report.told(limit), "kept": table.kept(), "warnings": run.warnings}


def _is_suspect(table: snapshot.Table, entry: codec.Entry) -> bool:
    if entry.state != REACHABLE:  # most: no need to know the device's timers
        return False
    timers = table.timers(codec.family_of(entry.dst), entry.ifindex)
    return ownership.is_suspect(
        entry.state, entry.confirmed, entry.updated, timers.base_reachable_s
    )


class _Run:
    """One revalidation under way."""

    def __init__(
        self, table: snapshot.Table, report: Report, rate: float, tick: Tick | None
    ) -> None:
        self.report, self.warnings = report, list[str]()
        self._table, self._rate, self._tick = table, rate, tick
        self._silent: list[codec.Entry] = []

    def ask(self, entries: Entries) -> None:
        """Ask about entries; and again about those whose right answer the kernel dropped."""
        for again in range(MAX_QUESTIONS):
            if again:
                self._wait_for_locktime(entries.values())
            entries = self._compared(self._asked(entries))
            if not entries:
                return
        for entry in entries.values():
            self.report.verdict(entry, "undecided")
        devices = {self._table.name(entry.ifindex) for entry in entries.values()}
        self.warnings.append(
            f"the kernel did not take the answer for {len(entries)} entries on "
            f"{snapshot.some(devices)}: locktime there, or an IPv6 answer without Override"
        )

    def _asked(self, entries: Entries) -> dict[codec.Key, tuple[codec.Entry, bytes]]:
        """Ask; settle what is plain, and return what another MAC alone answered for."""
        others: dict[codec.Key, tuple[codec.Entry, bytes]] = {}
        questions = (resolve_ask.Question(e.ifindex, e.dst, e.mac) for e in entries.values())
        for key, heard in resolve_ask.ask(questions, self._rate, self._tick).items():
            entry = entries[key]
            self.report.heard(entry, heard)
            if len(heard.answers) > 1:
                self.report.duplicate(entry, heard.answers)
            elif entry.mac in heard.answers:
                self.report.verdict(entry, "confirmed")
            elif heard.answers:
                others[key] = entry, next(iter(heard.answers))
            elif heard.why and heard.why != UNHEARD:
                self._keep(heard.why, entry)
            else:
                self._silent.append(entry)
                if heard.why and not self.warnings:
                    self.warnings.append(
                        f"{UNHEARD}: nobody was asked; the kernel was made to prove each entry"
                    )
        return others

    def _compared(self, others: dict[codec.Key, tuple[codec.Entry, bytes]]) -> Entries:
        """Compare the answers with the table; return the entries that it holds otherwise."""
        locked: Entries = {}
        table_now = self._table.read_again(others)
        for key, (entry, mac) in others.items():
            current = table_now.get(key, entry)
            if current is None:
                self._keep("already gone", entry)
            elif self._table.is_owned(current):
                self.report.verdict(entry, "kept")
            elif current.mac == mac:
                self.report.healed(entry, mac)
            else:
                locked[key] = entry._replace(updated=current.updated)
        return locked

    def _wait_for_locktime(self, entries: Iterable[codec.Entry]) -> None:
        """Wait until the kernel believes another answer."""
        longest = max(
            ownership.locked_s(entry, self._table.timers(codec.family_of(entry.dst), entry.ifindex))
            for entry in entries
        )
        time.sleep(min(longest + 2 / TICKS, LOCKTIME_S))

    def prove(self) -> None:
        """Make the kernel prove what nobody answered for."""
        prover, refusal = nud_probe.NudProber(self._table, self._rate), None
        for proven in prover.run(self._silent):
            if proven.verdict == "healed" and proven.now:
                self.report.healed(proven.entry, proven.now.mac)
            elif proven.verdict == "gone":
                self.report.gone(proven.entry)
            elif proven.refusal:
                refusal = refusal or proven.refusal
                self.report.failed(proven.entry, proven.refusal)
            else:
                self.report.verdict(proven.entry, proven.verdict)
        if refusal and refusal.errno == errno.EPERM and self.report.is_nothing_but_failed():
            raise snapshot.refused("revalidate", refusal, self._table)
        self.warnings += prover.warnings

    def _keep(self, reason: str, entry: codec.Entry) -> None:
        self._table.keep(reason, entry.key)
        self.report.verdict(entry, "kept")
