"""What a scheduled run has to say: one line for a log, a few facts for an event.

A run that changed and found nothing says nothing. Standard library alone, no Salt, no file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .events import EventKind

LIMIT = 500  # bytes of a line: what a pager, a mail's subject and every syslog can take
ROWS = 20  # rows in an event: a master's bus is no place for a thousand

Answer = dict[str, Any]
Row = dict[str, Any]


def _refused(row: Row) -> str:
    return f"{row['ip']} on {row['dev']}: {row['error']}"


def _duplicate(row: Row) -> str:
    return f"{row['ip']} on {row['dev']}: {' and '.join(row['macs'])} answer"


def _healed(row: Row) -> str:
    return f"{row['ip']} on {row['dev']}: {row['old']} -> {row['new']}"


def _gone(row: Row) -> str:
    return f"{row['ip']} on {row['dev']}: nobody answers"


# What a run reports, most urgent first: its key in an answer, how a row is told.
_KINDS: tuple[tuple[EventKind, str, Callable[[Row], str] | None], ...] = (
    (EventKind.REFUSED, "failed", _refused),
    (EventKind.DUPLICATE, "duplicates", _duplicate),
    (EventKind.HEALED, "healed", _healed),
    (EventKind.UNDECIDED, "undecided", None),
    (EventKind.GONE, "gone", _gone),
    (EventKind.FLUSHED, "flushed", None),
)


def news(answer: Answer) -> dict[str, Answer]:
    """Return what is worth telling in an answer of arp.revalidate or arp.flush.

    By kind, most urgent first: ``count``, and ``rows``, at most ROWS of them. A key that an
    answer does not have is nothing to tell.
    """
    found = {}
    for kind, key, _show in _KINDS:
        value = answer.get(key) or []
        rows = value if isinstance(value, list) else []
        count = answer.get("totals", {}).get(key, len(rows)) if rows else value
        if count:
            found[kind.tag] = {"count": count, "rows": rows[:ROWS]}
    return found


def line(found: dict[str, Answer], warnings: list[str]) -> str:
    """Return the one line of a run: counts, the first of each, warnings; empty without news."""
    if not found:
        return one_line("; ".join(warnings))
    counts = ", ".join(f"{each['count']} {kind}" for kind, each in found.items())
    room = LIMIT - sum(len(f"; {text}".encode()) for text in warnings)
    told, left = counts, sum(each["count"] for each in found.values() if each["rows"])
    for kind, _key, show in _KINDS:
        for row in found.get(kind.tag, {"rows": []})["rows"] if show else []:
            longer = f"{told}{': ' if told == counts else '; '}{kind.tag} {show(row)}"
            if len(f"{longer}; and {left} more".encode()) > room:
                break
            told, left = longer, left - 1
    if left and told != counts:
        told += f"; and {left} more"
    return one_line("; ".join([told, *warnings]))


def one_line(text: str, limit: int = LIMIT) -> str:
    """Return text as one printable line of at most ``limit`` bytes, cut at its end.

    Without double quotes and backslashes: a shell takes it out of JSON as it stands.
    """
    plain = text.replace('"', "'").replace("\\", "/")
    words = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    if len(words.encode()) <= limit:
        return words
    return words.encode()[: limit - 4].decode(errors="ignore").rstrip() + " ..."
