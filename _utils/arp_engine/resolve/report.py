"""What a revalidation returns: counts, rows, and what was seen of each entry. No Salt in here."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from ..netlink import codec, rtnetlink
from ..table import answer, naming, view
from .question import ProbeResult

LISTS = ("healed", "gone", "duplicates")


class Report:
    """Collects the outcome of each entry."""

    def __init__(self, table: view.TableView, rows_wanted: bool) -> None:
        self._table = table
        self._counts: Counter[str] = Counter()
        self._settled: set[codec.Key] = set()
        self._healed: dict[codec.Key, dict[str, Any]] = {}
        self._lists: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
        self._failed: list[dict[str, Any]] = []
        self._still_wrong: list[dict[str, Any]] = []
        self._unverified: list[dict[str, Any]] = []
        self._rows: dict[codec.Key, dict[str, Any]] | None = {} if rows_wanted else None

    def add_probe(self, entry: codec.Entry, result: ProbeResult) -> None:
        """Add the answers to a probe; a second time where the entry was probed again."""
        if self._rows is None:
            return
        row = self._rows.setdefault(
            entry.key,
            {
                **answer.entry_row(self._table, entry),
                "verdict": "",
                "unicast_asked": 0,
                "broadcast_asked": 0,
                "answers": {},
            },
        )
        row["unicast_asked"] += result.unicast_asked
        row["broadcast_asked"] += result.broadcast_asked
        for mac, ms in result.answers.items():
            row["answers"].setdefault(mac.hex(":"), round(ms, 3))

    def count(self, entry: codec.Entry, verdict: str) -> None:
        """Add a verdict that has no list of its own: confirmed, undecided, kept."""
        self._counts[verdict] += 1
        self._settled.add(entry.key)
        if self._rows is not None and entry.key in self._rows:
            self._rows[entry.key]["verdict"] = verdict

    def healed(self, entry: codec.Entry, mac: bytes, at: float = 0.0) -> None:
        """Add an entry whose MAC the kernel has replaced by the one that answered.

        at: when, on the monotonic clock; 0: now.
        """
        self._healed[entry.key] = self.change_row(entry, mac, at or time.monotonic())
        self.count(entry, "healed")

    def take_back(self, entry: codec.Entry) -> None:
        """Take back that an entry was healed; it is to be added anew."""
        del self._healed[entry.key]
        self._counts["healed"] -= 1
        self._settled.discard(entry.key)
        if self._rows is not None and entry.key in self._rows:
            self._rows[entry.key]["verdict"] = ""

    def is_settled(self, key: codec.Key) -> bool:
        """Tell whether an entry has its outcome."""
        return key in self._settled

    def healed_rows(self) -> list[dict[str, Any]]:
        """Return what was healed so far."""
        return [*self._healed.values()]

    def change_row(self, entry: codec.Entry, mac: bytes, at: float) -> dict[str, Any]:
        """Return an entry as it was, with the MAC that it has now, and when that came."""
        row = answer.entry_row(self._table, entry)
        old, ago_s = row.pop("mac"), time.monotonic() - at
        return {**row, "old": old, "new": mac.hex(":"), "at": int(time.time() - ago_s)}

    def gone(self, entry: codec.Entry) -> None:
        """Add an entry that nobody answered for, and that is FAILED now."""
        self._lists["gone"].append(answer.entry_row(self._table, entry))
        self.count(entry, "gone")

    def duplicate(self, entry: codec.Entry, macs: Iterable[bytes], proxy: bytes = b"") -> None:
        """Add an address that several MACs answered for; proxy: the one that answers for all."""
        row = {**answer.entry_row(self._table, entry), "macs": [mac.hex(":") for mac in macs]}
        if proxy:
            row["proxy"] = proxy.hex(":")
        self._lists["duplicates"].append(row)
        self.count(entry, "duplicate")

    def still_wrong(
        self, entry: codec.Entry, macs: Iterable[bytes], is_written_back: bool = False
    ) -> None:
        """Add an entry for which only other MACs answer, and the kernel keeps the cached one.

        is_written_back: or it took another one, and somebody else wrote this one again.
        """
        row = {**answer.entry_row(self._table, entry), "macs": [mac.hex(":") for mac in macs]}
        if is_written_back:
            row["written_back"] = True
        self._still_wrong.append(row)
        self.count(entry, "undecided")

    def unverified(
        self, entry: codec.Entry, macs: Iterable[bytes], held: bytes, unasked: str = ""
    ) -> None:
        """Add an entry that took a MAC and holds another one now, which nobody answered with.

        held: which; empty where it could not be read. unasked: or it holds the one that answered,
        and this is who could not be asked before that is known to be right.
        """
        row = {**answer.entry_row(self._table, entry), "macs": [mac.hex(":") for mac in macs]}
        row["holds"] = held.hex(":")
        if unasked:
            row["unasked"] = unasked
        self._unverified.append(row)
        self.count(entry, "undecided")

    def failed(self, entry: codec.Entry, refusal: rtnetlink.Refusal) -> None:
        """Add an entry that the kernel refused to put into PROBE."""
        self._failed.append(answer.failure_row(refusal, self._table))
        self.count(entry, "failed")

    def total(self) -> int:
        """Return how many entries have an outcome."""
        return sum(self._counts.values())

    def is_all_failed(self) -> bool:
        """Tell whether the kernel refused every entry that was not kept."""
        return set(self._counts) <= {"failed", "kept"}

    def as_dict(self, limit: int) -> dict[str, Any]:
        """Return the result; lists have at most ``limit`` rows."""
        result: dict[str, Any] = {
            "checked": sum(self._counts.values()) - self._counts["kept"] - self._counts["failed"],
            "confirmed": self._counts["confirmed"],
            "undecided": self._counts["undecided"],
            **self._lists,
            "healed": self.healed_rows(),
        }
        more = {
            "failed": self._failed,
            "still_wrong": self._still_wrong,
            "unverified": self._unverified,
        }
        result |= {name: rows for name, rows in more.items() if rows}
        answer.limit_lists(result, [name for name in (*LISTS, *more) if name in result], limit)
        if self._rows is not None:
            result["entries"] = list(self._rows.values())
        return result


def still_wrong(
    table: view.TableView, entries: Iterable[codec.Entry], overriding: Collection[codec.Key]
) -> Iterator[str]:
    """Yield lines about entries for which another MAC answers, and the kernel ignores it.

    overriding: those whose IPv6 answer had the Override flag. What keeps these, or an IPv4 entry,
    would keep the kernel from learning it after a flush, too.
    """
    refused, weak = list[str](), list[str]()
    for entry in entries:
        is_weak = len(entry.dst) == 16 and entry.key not in overriding
        name = f"{codec.address(entry.dst)} on {table.name(entry.ifindex)}"
        (weak if is_weak else refused).append(name)
    if refused:
        yield (
            f"still wrong: {naming.examples(refused)}: another MAC answers, but the kernel keeps "
            "the cached one (changed within locktime, a filter of this host drops the answer, or "
            "another process writes the entry): run arp.revalidate again after a second, then look "
            "for a filter (nft list ruleset)"
        )
    if weak:
        yield (
            f"still wrong: {naming.examples(weak)}: another MAC answers, but the kernel keeps the "
            "cached one: an IPv6 answer without Override flag (an ND proxy) replaces none; "
            "arp.flush lets the kernel learn it"
        )
