"""The account of a heal: what to ask, what it may cost, and the outcome so far. Pure.

The run itself, jobs and waits, is in ``heal_run.py``. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ..packets import probe_schedule
from . import batches, fair, summary
from .batches import Job
from .compare import Comparison, Row

PROBES = probe_schedule.KERNEL_PROBES
WORST = probe_schedule.MAX_FRAMES_PER_ENTRY
SLOWEST_PPS = 100  # where no rate is set: as fast as is safe is faster than that
#: Verdicts that an answer on the wire decided: the kernel sent no probes of its own.
DECIDED_BY_ANSWER = {"confirmed", "healed", "duplicate", "kept"}
Entry = tuple[str, str, str]  # minion, dev, ip
WHY_THERE = "still in the table after asking"
NOT_CONTRADICTED = (
    "the host with the cached MAC still answers, and no minion contradicts it any more"
)
PROVEN = ("live", "file")  # of the truths: what a machine said now, and what the operator declared
#: What becomes of an entry that was asked about; "unknown" where its database did not say.
OUTCOMES = ("healed", "given_up", "still_wrong", "right_meanwhile")


def run_s(entries: int, rate: float) -> float:
    """Return how long a database needs at the worst to ask about so many entries."""
    return entries * WORST / (rate or SLOWEST_PPS) + probe_schedule.LOOK_BACK_FOR_S


class Heal:
    """The state of a run, complete at any moment of it."""

    def __init__(self, result: Comparison, budget: int) -> None:
        """Take the entries that disagree, and how many requests the whole run may cost."""
        found = [*result.wrong, *result.gone, *result.unproven]
        self.rows = [row for row in found if not row["owner"]]
        self._entries = {_entry(row): row for row in self.rows}
        self._proven_wrong = {_entry(row) for row in result.wrong}
        self._waiting: dict[str, list[Row]] = {}  # by minion: not asked about yet
        for row in self.rows:
            self._waiting.setdefault(row["minion"], []).append(row)
        self._never_touched = [row for row in [*result.wrong, *result.gone] if row["owner"]]
        self._has_owned_unproven = any(
            row["owner"] and row["truth"] == "cached" for row in result.unproven
        )
        self._budget_left = budget
        self._allowed: dict[str, int] = {}  # by minion: requests in this round
        self.requests = self.asked = self.waves_done = 0
        self._unasked = dict.fromkeys(self._entries, "the run ended first")
        self._unverified: set[Entry] = set()  # asked about, and the table was not read since
        self._contradicted: set[Entry] = set()  # a host answered, and a machine's claim is another
        self._malformed: dict[str, str] = {}  # minion to why its table could not be read again
        #: What became of each entry: one of OUTCOMES, and its row.
        self._outcome: dict[Entry, tuple[str, Row]] = {}
        self._unreached: dict[str, str] = {}

    def next_round(self) -> bool:
        """Share out the budget that is left; return whether it allows to ask about anything.

        Each database gets its part of a round. What is left of all parts is the next round's.
        """
        wants = {minion: len(rows) for minion, rows in self._waiting.items() if rows}
        shares = fair.deal(self._budget_left // WORST, wants)
        self._allowed = {minion: WORST * share for minion, share in shares.items()}
        return any(shares.values())

    def waves(self, everybody: Collection[str], share: float, batch: int) -> Iterator[list[str]]:
        """Return the minions that are asked at the same time, wave by wave."""
        waiting = [minion for minion, rows in self._waiting.items() if rows]
        return batches.waves(waiting, everybody, share, batch)

    def jobs(self, wave: Collection[str], most: int) -> dict[Job, list[str]]:
        """Return the jobs of a wave that the budget allows; none when there is nothing to do.

        An answer frees the part of the budget that was not used: call it again until it is empty.
        """
        rows: list[Row] = []
        for minion in wave:
            waiting = self._waiting.get(minion, [])
            count = min(len(waiting), self._allowed.get(minion, 0) // WORST)
            self._charge(minion, WORST * count)
            rows += waiting[:count]
            for row in waiting[count:]:
                self._unasked[_entry(row)] = "the budget of requests is spent"
        return batches.jobs(rows, wave, most)

    def begin(self, minions: Collection[str], dev: str, ips: Collection[str]) -> None:
        """Note that a job was sent."""
        self.asked += len(minions) * len(ips)
        sent = set(ips)
        for minion in minions:
            rows = self._waiting[minion]
            self._waiting[minion] = [r for r in rows if r["dev"] != dev or r["ip"] not in sent]
            self._note_unasked(minion, dev, ips, "interrupted before it answered")

    def note_unsent(
        self, minions: Collection[str], dev: str, ips: Collection[str], why: str
    ) -> None:
        """Note why a job could not be sent; a busy master may have sent it all the same."""
        for minion in minions:
            self._note_unasked(minion, dev, ips, f"perhaps not asked: {why}")

    def note_answer(self, minion: str, dev: str, ips: Collection[str], returned: Any) -> None:
        """Note the answer of one minion to a job."""
        why = summary.failure(returned)
        answer = returned["ret"] if not why and isinstance(returned["ret"], dict) else {}
        if why or not answer:
            self._unreached[minion] = why or "malformed arp.revalidate return"
            if returned is None:
                self._budget_left += WORST * len(ips)  # for those that answer
            else:
                self.requests += WORST * len(ips)  # it may have asked all the same
            self._note_unasked(minion, dev, ips, self._unreached[minion])
            if returned is None or "ret" not in returned:
                self._drop_waiting(minion, self._unreached[minion])
            return
        asked = set(ips)
        for ip in ips:
            self._unasked.pop((minion, dev, ip), None)
            self._unverified.add((minion, dev, ip))
        self._pay(minion, _rows(answer.get("entries"), asked), len(ips))
        for row in _rows(answer.get("healed"), asked):
            change = {key: str(row.get(key, "")) for key in ("old", "new")}
            if change["old"] != change["new"]:  # an earlier version did not read the entry again
                self._note(minion, dev, row, "healed", change)
        for row in _rows(answer.get("gone"), asked):
            self._note_gone(minion, dev, row)
        for row in _rows(answer.get("duplicates"), asked):
            self._note_several(minion, dev, row)
        for row in _rows(answer.get("entries"), asked):
            self._note_confirmed(minion, dev, row)

    def _note(self, minion: str, dev: str, row: Row, outcome: str, more: Row) -> None:
        entry = minion, dev, str(row.get("ip"))
        if entry in self._entries:
            known = self._entries[entry]
            if outcome == "healed":
                known = {"minion": minion, "ip": entry[2], "dev": dev}
            self._outcome[entry] = outcome, {**known, **more}

    def _note_gone(self, minion: str, dev: str, row: Row) -> None:
        """Note that no host answered, and of a machine that is up that this is not right."""
        known = self._entries.get((minion, dev, str(row.get("ip"))), {})
        more = {}
        if known.get("truth") == "live":
            more["why"] = (
                "the wrong entry is gone, but no host answers this database, and "
                f"{known['machine']} is up and reports this address: look at the network between "
                "the two"
            )
        self._note(minion, dev, row, "given_up", more)

    def _note_several(self, minion: str, dev: str, row: Row) -> None:
        """Note that several hosts answered; or a proxy alone, which is right on a fabric.

        Right where the audit proved its MAC: a proxy's word and cached grains prove nothing.
        """
        macs, proxy = row.get("macs"), row.get("proxy")
        several = list(map(str, macs if isinstance(macs, (list, dict)) else [macs]))
        is_alone = proxy and several == [proxy]
        known = self._entries.get((minion, dev, str(row.get("ip"))), {})
        is_proven = known.get("truth") in PROVEN and proxy in known["mac_true"].split(", ")
        if is_alone and is_proven:
            self._note(minion, dev, row, "healed", {"old": known["mac"], "new": proxy})
            return
        if proxy and proxy not in several:  # the table has its MAC, and another host answered too
            several.append(str(proxy))
        hosts = "a proxy alone answers" if is_alone else "several hosts answer"
        self._note(minion, dev, row, "still_wrong", {"why": f"{hosts}: {', '.join(several)}"})

    def _note_confirmed(self, minion: str, dev: str, row: Row) -> None:
        """Note an entry whose cached MAC answered on the wire."""
        entry = minion, dev, str(row.get("ip"))
        known = self._entries.get(entry)
        if known and row.get("verdict") == "confirmed" and row.get("mac") == known["mac"]:
            why = "the host with the cached MAC still answers"
            if entry in self._proven_wrong:
                why += (
                    " ARP, and the minion that has this address is another machine: find the host "
                    "with that MAC, and shut one of the two down"
                )
                self._note(minion, dev, row, "still_wrong", {"why": why})
                self._contradicted.add(entry)
            else:
                self._note(minion, dev, row, "right_meanwhile", {"why": why})

    def unverified(self, minions: Collection[str]) -> list[str]:
        """Return the addresses that were asked about, and that no table was read for since."""
        wanted = set(minions)
        return sorted({ip for minion, _, ip in self._unverified if minion in wanted})

    def note_tables(
        self, result: Comparison, minions: Collection[str], doubted: Collection[Row] = ()
    ) -> None:
        """Note what is in the tables of minions that returned them again.

        A malformed table says nothing about an entry, also not that it is corrected.
        ``doubted``: entries that were wrong before their machines were asked again.
        """
        self._malformed.update(result.malformed)
        still_wrong = set(map(_entry, result.wrong))
        cleared = set(map(_entry, doubted)) - still_wrong
        still_there = {(_entry(row), row["mac"]) for row in [*result.gone, *result.unproven]}
        readable = set(minions) - set(result.malformed)
        for entry in [entry for entry in self._unverified if entry[0] in readable]:
            self._unverified.discard(entry)
            outcome, _ = self._outcome.get(entry, ("", {}))
            if entry in still_wrong and outcome != "still_wrong":
                row = {**self._entries[entry], "why": "still wrong after asking"}
                self._outcome[entry] = "still_wrong", row
            elif (entry, self._entries[entry]["mac"]) in still_there and outcome in ("", "healed"):
                why = "in the table again after the heal" if outcome else WHY_THERE
                row = {**self._entries[entry], "why": why}
                self._outcome[entry] = "still_wrong", row
            elif not outcome or entry in cleared & self._contradicted:
                why = NOT_CONTRADICTED if outcome else "not in the table any more, or corrected"
                row = {**self._entries[entry], "why": why}
                self._outcome[entry] = "right_meanwhile", row

    def ask_no_more(self, why: str) -> None:
        """Note why the entries that were not asked about are not."""
        self._unasked = dict.fromkeys(self._unasked, why)

    def counts(self) -> dict[str, int]:
        """Return how far the run is."""
        healed = sum(outcome == "healed" for outcome, _ in self._outcome.values())
        return {"asked": self.asked, "requests": self.requests, "healed": healed}

    def rests_on_memory(self) -> bool:
        """Tell whether an entry that disagrees with cached grains alone has no outcome.

        Among them those with an owner: they are never asked about.
        """
        return self._has_owned_unproven or any(
            row.get("truth") == "cached" and entry not in self._outcome
            for entry, row in self._entries.items()
        )

    def answer(self, silent: Mapping[str, str]) -> dict[str, Any]:
        """Return the outcome; minions that the run did not reach are named in it."""
        unreached = dict(silent)
        for minion, _, _ in self._unverified - set(self._outcome):
            why = "asked, but did not return arp.list afterwards"
            if minion in self._malformed:
                why = f"asked, but afterwards: {self._malformed[minion]}"
            unreached[minion] = why
        for (minion, _, _), why in self._unasked.items():
            unreached[minion] = why
        unreached.update(self._unreached)
        lists: dict[str, list[Row]] = {name: [] for name in OUTCOMES}
        for outcome, row in self._outcome.values():
            lists[outcome].append(row)
        counts = {name: len(rows) for name, rows in lists.items()}
        counts["unknown"] = self.asked - sum(counts.values())
        lists["still_wrong"] += [
            {**row, "why": f"never touched: {row['owner']}"} for row in self._never_touched
        ]
        lists["not_reached"] = summary.rows_of(unreached)
        line = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        waves = f" in {summary.number(self.waves_done, 'wave')}" if self.waves_done else ""
        lines = [f"{self.asked} asked about{waves}: {line}."]
        if unreached:
            lines.append(f"{summary.number(len(unreached), 'minion')} not reached.")
        cut_off = [row for row in lists["given_up"] if "why" in row]
        if cut_off:
            lines.append(f"{len(cut_off)} given up of machines that are up: see why.")
        wrong, missing = lists["still_wrong"] or cut_off, unreached
        return {
            **summary.with_totals(lists),
            "asked": self.asked,
            "requests": self.requests,
            "waves": self.waves_done,
            "summary": lines,
            "retcode": (summary.WRONG if wrong else 0)
            + (summary.NOT_ALL_ANSWERED if missing else 0),
        }

    def _pay(self, minion: str, entries: list[Row], count: int) -> None:
        """Charge the budget with the requests that were really sent."""
        reserved, cost, reported = WORST * count, 0, 0
        for row in entries:
            asked = [row.get(key) for key in ("unicast_asked", "broadcast_asked")]
            if all(type(each) is int and each >= 0 for each in asked) and sum(asked) > 0:
                reported += 1
                cost += sum(asked) + (0 if str(row.get("verdict")) in DECIDED_BY_ANSWER else PROBES)
        cost = min(
            cost + WORST * max(0, count - reported), reserved
        )  # an entry without a count is charged in full
        self.requests += cost
        self._charge(minion, cost - reserved)

    def _drop_waiting(self, minion: str, why: str) -> None:
        """Ask a silent database no more: each round would wait for it."""
        for row in self._waiting[minion]:
            self._unasked[_entry(row)] = why
        self._waiting[minion] = []

    def _charge(self, minion: str, requests: int) -> None:
        self._budget_left -= requests
        self._allowed[minion] = self._allowed.get(minion, 0) - requests

    def _note_unasked(self, minion: str, dev: str, ips: Collection[str], why: str) -> None:
        for ip in ips:
            self._unasked[minion, dev, ip] = why


def _entry(row: Row) -> Entry:
    return row["minion"], row["dev"], row["ip"]


def _rows(sent: Any, asked: Collection[str]) -> list[Row]:
    """Return the well-formed rows of a list that a minion sent, of addresses it was asked about."""
    rows = [row for row in sent if isinstance(row, dict)] if isinstance(sent, list) else []
    return [row for row in rows if isinstance(row.get("ip"), str) and row["ip"] in asked]
