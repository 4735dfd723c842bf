"""What became of each entry, how it is marked on the page, and what a run comes to. Pure.

Standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from . import summary

Entries = dict[tuple[str, str, str], str]  # address, database, its device to the kind of mark
Marks = dict[tuple[str, str], str]  # address and database to the worst kind of mark
#: Kind to its sign and its meaning, the worst first.
MARKS = {
    "still": ("!", "still wrong"),
    "wrong": ("✕", "wrong"),
    "gone": ("-", "gone"),
    "unproven": ("?", "unproven"),
    "given": ("○", "given up: no answer"),
    "healed": ("✓", "healed"),
    "right": ("=", "right meanwhile"),
}
#: List to the kind of its rows; what was done overrides what was found.
KIND_OF_LIST = {
    "wrong": "wrong", "gone": "gone", "unproven": "unproven", "right_meanwhile": "right",
    "given_up": "given", "healed": "healed", "still_wrong": "still",
}  # fmt: skip
SEVERITY = {kind: number for number, kind in enumerate(MARKS)}


def entries_of(answer: Mapping[str, Any]) -> Entries:
    """Return what became of each entry."""
    entries: Entries = {}
    for name, kind in KIND_OF_LIST.items():
        for row in answer.get(name, ()):
            entries[row["ip"], row["minion"], row["dev"]] = kind
    return entries


def marks_of(entries: Entries) -> Marks:
    """Return the mark of each address on each database: of several devices the worst."""
    marks: Marks = {}
    for (ip, minion, _), kind in entries.items():
        marks[ip, minion] = min(kind, marks.get((ip, minion), kind), key=SEVERITY.get)
    return marks


def verdict(answer: Mapping[str, Any], entries: Entries) -> str:
    """Return what a run comes to: what was found, then a sentence for each bit of its exit code."""
    code, kinds = answer.get("retcode", 0), list(entries.values())
    counts = {kind: kinds.count(kind) for kind in MARKS if kind in kinds}
    found = ", ".join(f"{count:,} {MARKS[kind][1]}" for kind, count in counts.items())
    if code == summary.INTERRUPTED:
        sentences = ["Interrupted", found]
    elif code:
        sentences = [found, *_why_not_0(answer, code)]
    else:
        sentences = [found, *_why_0(answer, found)]
    return ". ".join(filter(None, sentences)) + "."


def _why_0(answer: Mapping[str, Any], found: str) -> Iterator[str]:
    """Yield what exit code 0 says, and how many entries it says nothing of."""
    counts = answer.get("counts", {})
    unseen = counts.get("strangers", 0) + counts.get("not_compared", 0)
    known = " or acknowledged" if answer.get("acknowledged") else ""
    if not found:
        yield f"All entries {'that were compared ' if unseen else ''}are right{known}"
    if unseen:
        of = summary.number(counts["entries"], "entry", "entries")
        yield f"{unseen:,} of {of} could not be compared"


def _why_not_0(answer: Mapping[str, Any], code: int) -> Iterator[str]:
    """Yield what an exit code says beyond the entries that are marked."""
    twice = summary.held_twice(answer.get("twice", ()))
    counts = answer.get("counts", {})
    if code & summary.ERROR:
        yield "The run ended with an error"
    if twice:
        yield f"{summary.number(twice, 'cached address', 'cached addresses')} claimed twice"
    if code & summary.NOT_ALL_ANSWERED:
        if answer.get("silent") or answer.get("not_reached"):
            yield "Not every minion answered"
        if answer.get("conflicts"):
            yield "Two different returns under one name"
        if "entries" in counts and summary.is_blind(counts):
            yield "Nothing could be compared"
    if code & summary.UNPROVEN:
        yield "Not all is proven: entries rest on cached grains alone"
