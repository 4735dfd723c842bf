"""A run that heals a fleet: what is to be asked, what it may cost, and what came of it. Pure.

The run itself, jobs and waits, is the runner's. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ..packets import probe_schedule
from . import batches, summary
from .batches import Job
from .compare import Row, Verdict

PROBES = probe_schedule.KERNEL_PROBES
WORST = probe_schedule.MAX_FRAMES_PER_ENTRY
#: Verdicts that the wire gave, so that the kernel did not have to ask.
HEARD = {"confirmed", "healed", "duplicate", "kept"}
Entry = tuple[str, str, str]  # minion, dev, ip


class Heal:
    """What is known of a run, at any moment of it."""

    def __init__(self, verdict: Verdict, budget: int) -> None:
        """Take what is wrong, and how many requests the whole run may cost."""
        found = [*verdict.wrong, *verdict.gone]
        self.rows = [row for row in found if not row["owner"]]
        self._entries = {_entry(row): row for row in self.rows}
        self._waiting: dict[str, list[Row]] = {}  # by minion: not asked about so far
        for row in self.rows:
            self._waiting.setdefault(row["minion"], []).append(row)
        self._not_ours = [row for row in found if row["owner"]]
        self._left = budget
        self.requests = self.asked = self.waves_done = 0
        self._unasked = dict.fromkeys(self._entries, "the run ended before")
        self._healed: list[Row] = []
        self._given_up: list[Row] = []
        self._still: dict[Entry, str] = {}
        self._open: set[Entry] = set()  # asked about, and the table was not seen since
        self._outcome: set[Entry] = set()  # their databases said what came of them
        self._unreached: dict[str, str] = {}

    def waves(self, everybody: Collection[str], share: float, batch: int) -> Iterator[list[str]]:
        """Return who is asked together, wave by wave."""
        return batches.waves({row["minion"] for row in self.rows}, everybody, share, batch)

    def jobs(self, wave: Collection[str], most: int) -> dict[Job, list[str]]:
        """Return the jobs of a wave that the budget allows; none when there is nothing to do.

        What questions did not cost is there again when they are answered: so call it until then.
        """
        rows = [row for minion in wave for row in self._waiting.get(minion, ())]
        fits = min(most, self._left // WORST)
        allowed: dict[Job, list[str]] = {}
        if fits:
            for (dev, ips), minions in batches.jobs(rows, wave, fits).items():
                affordable = minions[: self._left // (WORST * len(ips))]
                self._left -= WORST * len(ips) * len(affordable)
                if affordable:
                    allowed[dev, ips] = affordable
        if not allowed:
            for row in rows:
                self._unasked[_entry(row)] = "the budget of requests is spent"
        return allowed

    def begun(self, minions: Collection[str], dev: str, ips: Collection[str]) -> None:
        """Note that a job was sent."""
        self.asked += len(minions) * len(ips)
        sent = set(ips)
        for minion in minions:
            rows = self._waiting[minion]
            self._waiting[minion] = [r for r in rows if r["dev"] != dev or r["ip"] not in sent]
            self._note_unasked(minion, dev, ips, "its answer was not waited for")

    def answered(
        self,
        minion: str,
        dev: str,
        ips: Collection[str],
        told: Any,
        failure: Callable[[Any], str],
    ) -> None:
        """Note what came of a job on one minion."""
        why = failure(told)
        answer = told["ret"] if not why and isinstance(told["ret"], dict) else {}
        if why or not answer:
            self._unreached[minion] = why or "answered nothing that is understood"
            self.requests += WORST * len(ips)  # it may have asked all the same
            self._note_unasked(minion, dev, ips, self._unreached[minion])
            return
        for ip in ips:
            self._unasked.pop((minion, dev, ip), None)
            self._open.add((minion, dev, ip))
        self._pay(answer.get("entries"), len(ips))
        for row in _rows(answer.get("healed")):
            old, new = str(row.get("old", "")), str(row.get("new", ""))
            self._healed.append({**_head(minion, row), "old": old, "new": new})
            self._outcome.add((minion, dev, str(row.get("ip"))))
        for row in _rows(answer.get("gone")):
            known = self._entries.get((minion, dev, str(row.get("ip"))))
            if known:
                self._given_up.append(known)
                self._outcome.add(_entry(known))
        for row in _rows(answer.get("duplicates")):
            macs = row.get("macs")
            several = ", ".join(map(str, macs if isinstance(macs, (list, dict)) else [macs]))
            self._wrong((minion, dev, str(row.get("ip"))), f"several answer: {several}")
        for row in _rows(answer.get("entries")):
            self._contradicted((minion, dev, str(row.get("ip"))), row)

    def _contradicted(self, entry: Entry, row: Row) -> None:
        """Note an entry for which who is held answers himself."""
        known = self._entries.get(entry)
        if known and row.get("verdict") == "confirmed" and row.get("mac") == known["mac"]:
            claimed = ", and not the machine that claims it" if "machine" in known else ""
            self._wrong(entry, f"who is held answers for it{claimed}")

    def looked_again(self, wrong: Collection[Row], minions: Collection[str]) -> None:
        """Note what is wrong still on the minions that showed their tables again."""
        for entry in map(_entry, wrong):
            if entry in self._open:
                self._still.setdefault(entry, "asking did not correct it")
        self._open = {entry for entry in self._open if entry[0] not in minions}

    def counts(self) -> dict[str, int]:
        """Return how far it is."""
        return {"asked": self.asked, "requests": self.requests, "healed": len(self._healed)}

    def told(self, silent: Mapping[str, str], limit: int) -> dict[str, Any]:
        """Return the answer; what the run did not come to is in it by name."""
        unreached = dict(silent)
        for minion, _, _ in self._open - self._outcome - set(self._still):
            unreached[minion] = "was asked, and did not show its table again"
        for (minion, _, _), why in self._unasked.items():
            unreached[minion] = why
        unreached.update(self._unreached)
        still = [{**self._entries[entry], "why": why} for entry, why in self._still.items()]
        still += [{**row, "why": f"never touched: {row['owner']}"} for row in self._not_ours]
        lists = {
            "healed": self._healed,
            "given_up": self._given_up,
            "still_wrong": still,
            "not_reached": summary.rows_of(unreached),
        }
        answer = summary.bounded(lists, limit)
        line = ", ".join(f"{len(rows)} {name.replace('_', ' ')}" for name, rows in lists.items())
        code = (summary.WRONG if still else 0) + (summary.UNASKED if unreached else 0)
        return {
            **answer,
            "asked": self.asked,
            "requests": self.requests,
            "waves": self.waves_done,
            "summary": [f"{self.asked} asked about in {self.waves_done} waves: {line}."],
            "retcode": code,
        }

    def _pay(self, entries: Any, count: int) -> None:
        """Take from the budget what the questions really were."""
        reserved, cost, told = WORST * count, 0, 0
        for row in _rows(entries):
            asked = [row.get(key) for key in ("unicast_asked", "broadcast_asked")]
            if all(type(each) is int and each >= 0 for each in asked) and sum(asked) > 0:
                told += 1
                cost += sum(asked) + (0 if str(row.get("verdict")) in HEARD else PROBES)
        cost = min(cost + WORST * max(0, count - told), reserved)  # silence is not believed
        self.requests += cost
        self._left += reserved - cost

    def _wrong(self, entry: Entry, why: str) -> None:
        if entry in self._entries:
            self._still[entry] = why

    def _note_unasked(self, minion: str, dev: str, ips: Collection[str], why: str) -> None:
        for ip in ips:
            self._unasked[minion, dev, ip] = why


def _entry(row: Row) -> Entry:
    return row["minion"], row["dev"], row["ip"]


def _head(minion: str, row: Row) -> Row:
    return {"minion": minion, "ip": str(row.get("ip", "")), "dev": str(row.get("dev", ""))}


def _rows(told: Any) -> list[Row]:
    """Return the rows of a list that a minion sent, as far as they are any."""
    return [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []
