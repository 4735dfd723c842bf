"""What a scheduled run reports: one line for the log, and the data of its events.

A run that changed and found nothing reports nothing. Standard library alone, no Salt, no file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .events import EventKind

LINE_BYTES = 500  # at most: what a pager, a mail's subject and every syslog can take
MAX_ROWS = 20  # in an event: a master's bus is no place for a thousand

Answer = dict[str, Any]
Row = dict[str, Any]


def _refused(row: Row) -> str:
    return f"{row['ip']} on {row['dev']}: {row['error']}"


def _duplicate(row: Row) -> str:
    where, macs = f"{row['ip']} on {row['dev']}", row["macs"]
    if len(macs) == 1:
        return f"{where}: only {macs[0]} answers, and it does for every address (proxy ARP)"
    return f"{where}: {' and '.join(macs)} answer"


def _still_wrong(row: Row) -> str:
    macs, answer = " and ".join(row["macs"]), "answers" if len(row["macs"]) == 1 else "answer"
    but = f"the kernel keeps {row['mac']}"
    if row.get("written_back"):
        but = f"somebody else has written {row['mac']} again"
    return f"{row['ip']} on {row['dev']}: {macs} {answer}, but {but}"


def _unverified(row: Row) -> str:
    macs = " and ".join(row["macs"])
    if row.get("unasked"):
        return f"{row['ip']} on {row['dev']}: {macs} answered, but {row['unasked']}"
    answered = f"{macs} answered, and then " if macs else ""
    end = f"somebody else has written {row['holds']}"
    if not row["holds"]:
        end = "the entry could not be read again"
    return f"{row['ip']} on {row['dev']}: {answered}{end}"


def _healed(row: Row) -> str:
    return f"{row['ip']} on {row['dev']}: {row['old']} -> {row['new']}"


def _gone(row: Row) -> str:
    return f"{row['ip']} on {row['dev']}: no host answers, entry FAILED"


# What a run reports, most urgent first: its key in an answer, how a row is told.
_KINDS: tuple[tuple[EventKind, str, Callable[[Row], str] | None], ...] = (
    (EventKind.REFUSED, "failed", _refused),
    (EventKind.DUPLICATE, "duplicates", _duplicate),
    (EventKind.DISAGREEMENT, "still_wrong", _still_wrong),
    (EventKind.HEALED, "healed", _healed),
    (EventKind.UNDECIDED, "undecided", _unverified),
    (EventKind.GONE, "gone", _gone),
    (EventKind.FLUSHED, "flushed", None),
)
#: Key of a count -> the list that has the rows of some of these.
_SOME = {"undecided": "unverified"}


def by_kind(answer: Answer) -> dict[str, Answer]:
    """Return what an answer of arp.revalidate or arp.flush has to report, the most urgent first.

    Event kind to ``count`` and ``rows``, at most MAX_ROWS; a kind without any is absent.
    """
    kinds = {}
    for kind, key, _show in _KINDS:
        value = answer.get(key) or []
        is_list = isinstance(value, list)
        rows = value if is_list else answer.get(_SOME.get(key, ""), [])
        count = answer.get("totals", {}).get(key, len(rows)) if is_list else value
        if kind is EventKind.UNDECIDED and count and EventKind.DISAGREEMENT.tag in kinds:
            count -= kinds[EventKind.DISAGREEMENT.tag]["count"]  # these are undecided, too
        if count:
            kinds[kind.tag] = {"count": count, "rows": rows[:MAX_ROWS]}
    return kinds


def summary(kinds: dict[str, Answer], warnings: list[str]) -> str:
    """Return the line of a run: counts, the first rows, warnings; empty if there are none."""
    if not kinds:
        return one_line("; ".join(warnings))
    counts = ", ".join(f"{each['count']} {kind}" for kind, each in kinds.items())
    room = LINE_BYTES - sum(len(f"; {warning}".encode()) for warning in warnings)
    text, left_out = counts, sum(each["count"] for each in kinds.values() if each["rows"])
    for kind, _key, show in _KINDS:
        name = f"{kind.tag} " if len(kinds) > 1 else ""
        for row in kinds.get(kind.tag, {"rows": []})["rows"] if show else []:
            longer = f"{text}{': ' if text == counts else '; '}{name}{show(row)}"
            if len(f"{longer}; and {left_out} more".encode()) > room:
                break
            text, left_out = longer, left_out - 1
    if left_out and text != counts:
        text += f"; and {left_out} more"
    return one_line("; ".join([text, *warnings]))


def waits_for(devices: list[str]) -> str:
    """Return the words for named devices that are absent, and may come."""
    if len(devices) == 1:
        return f"waits for device {devices[0]}, which does not exist"
    return f"waits for devices {', '.join(devices)}, which do not exist"


def one_line(text: str, limit: int = LINE_BYTES) -> str:
    """Return text as one printable line of at most ``limit`` bytes, cut at its end.

    Without double quotes and backslashes: a shell takes it out of JSON as it stands.
    """
    plain = text.replace('"', "'").replace("\\", "/")
    line = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    if len(line.encode()) <= limit:
        return line
    return line.encode()[: limit - 4].decode(errors="ignore").rstrip() + " ..."
