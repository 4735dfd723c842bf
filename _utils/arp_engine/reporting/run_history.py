"""A minion's run history: its last scheduled run, the heals of seven days, totals.

A plain, bounded value that goes through JSON; reporting/sinks.py keeps it in a file. Standard
library alone, no Salt.
"""

from __future__ import annotations

import json
import time
from typing import Any

KEEP_DAYS = 7
DAY_S = 86400  # a time further ahead is not believed: the clock was wrong then, or is now
MAX_HEALS = 1000  # rows: about 120 kB
MASTER_FUNCTIONS = ("heal", "audit", "arp_born")  # name themselves in a job's metadata, as METADATA
METADATA = "arp_hygiene_by"
MAX_SELECTIONS = 5  # of the job, its former ones, and of runs by hand
MIN_UNSELECTED = 3  # runs that found no entry, until that is named
# counted in an answer
_ANSWERED = ("checked", "healed", "duplicates", "still_wrong", "gone", "flushed")
_TOTALS = ("runs", "failures", *_ANSWERED)

History = dict[str, Any]
Row = dict[str, Any]


def empty() -> History:
    """Return the history of a minion before its first run."""
    totals = dict.fromkeys(_TOTALS, 0)
    return {
        "last": None,
        "scheduled_at": 0,  # when the last run of the schedule ended; "last" may be one by hand
        "heals": [],
        "totals": totals,
        "metrics": None,
        "metrics_at": 0,
        "selections": {},  # selectors -> runs, and those of them that found an entry
    }


def parse(text: str) -> History:
    """Return the history that a text holds; ValueError for any other text (a corrupt file)."""
    try:
        value = json.loads(text)  # its errors are ValueErrors
    except RecursionError:
        raise ValueError("not a run history") from None
    is_history = (
        isinstance(value, dict)
        and isinstance(value.get("heals"), list)
        and isinstance(value.get("totals"), dict)
        and isinstance(value.get("metrics"), str | None)
        and isinstance(value.get("metrics_at", 0), int)
        and isinstance(value.get("scheduled_at", 0), int)
        and all(isinstance(number, int) for number in value["totals"].values())
        and all(map(is_heal, value["heals"]))
        and _are_selections(value.get("selections", {}))
        and (value.get("last") is None or _is_dated(value["last"], ("how", "said", "failed")))
    )
    if not is_history:
        raise ValueError("not a run history")
    return {
        "last": value.get("last"),
        "scheduled_at": value.get("scheduled_at", 0),
        "metrics": value.get("metrics"),
        "metrics_at": value.get("metrics_at", 0),
        "heals": _bounded(value["heals"]),
        "selections": value.get("selections", {}),
        "totals": {key: value["totals"].get(key, 0) for key in _TOTALS},
    }


def _are_selections(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(counts, list) and len(counts) == 2 and all(isinstance(n, int) for n in counts)
        for counts in value.values()
    )


def is_heal(row: Any) -> bool:
    """Tell whether a value is a heal, as the run history and a sentinel's status have them."""
    return (
        _is_dated(row, ("ip", "dev", "old", "new"))
        and isinstance(row.get("by", ""), str)
        and not any(isinstance(value, (dict, list)) for value in row.values())  # see unrecorded
    )


def _is_dated(row: Any, texts: tuple[str, ...]) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("at"), int)
        and 0 <= row["at"] < 2**40
        and all(isinstance(row.get(key), str) for key in texts)
    )


def dump(history: History) -> str:
    """Return the text that :func:`parse` reads."""
    return json.dumps(history, separators=(",", ":")) + "\n"


def with_run(history: History, now: float, run: dict[str, Any]) -> History:
    """Return the history after one more run.

    ``run`` has ``how``, ``said`` (the line, or empty), ``failed`` (the reason, or empty),
    ``metrics`` (the directory of the textfile, or None), ``answer`` (of arp.revalidate or
    arp.flush; empty after a failure), ``sentinel`` (heals, see :func:`with_heals`),
    ``selection`` (the selectors, where the table has what they could find; or empty) and
    ``scheduled`` (the schedule has made it).
    """
    answer = run["answer"]
    history = with_heals(history, run["sentinel"])
    healed = heal_rows(answer.get("healed", []), "run", now)
    counts = {key: _count(answer, key) for key in _ANSWERED}
    counts.update(runs=1, failures=int(bool(run["failed"])))
    return {
        "last": {"at": int(now), "how": run["how"], "said": run["said"], "failed": run["failed"]},
        "scheduled_at": int(now) if run.get("scheduled") else history["scheduled_at"],
        # a run by hand writes none, and the files of the schedule are still there
        "metrics": run["metrics"] or history["metrics"],
        "metrics_at": int(now) if run["metrics"] else history["metrics_at"],
        "heals": _bounded([*recent_heals(history, now), *healed]),
        "selections": _selections(history, run.get("selection", ""), answer),
        "totals": {key: history["totals"][key] + counts[key] for key in _TOTALS},
    }


def _selections(history: History, selection: str, answer: dict[str, Any]) -> dict[str, list[int]]:
    """Return the selections after a run, the one used last at the end."""
    former = dict(history["selections"])
    if selection:
        runs, found = former.pop(selection, [0, 0])
        is_found = any(answer.get(key) for key in ("checked", "flushed", "kept", "failed"))
        former[selection] = [runs + 1, found + is_found]
    return dict(list(former.items())[-MAX_SELECTIONS:])


def why_unselected(history: History, arguments: str) -> str:
    """Return that no run of the job has ever found an entry, and what to do; empty: one has.

    arguments: of the job, for a shell. One entry found shows that the selectors are no typo; from
    then on a table without such an entry is only idle.
    """
    for selection, (runs, found) in history["selections"].items():
        if selection in arguments and runs >= MIN_UNSELECTED and not found:
            return (
                f"nothing selected: {selection} has matched no entry in any of {runs} runs, though "
                "the table has entries: compare arp_hygiene:clean with arp.list; nothing is wrong "
                "where this host has not talked to any such address yet"
            )
    return ""


def heal_rows(healed: list[Row], by: str, now: float) -> list[Row]:
    """Return the rows of ``healed`` in an answer of arp.revalidate as the history has them.

    What has the MAC that it had was not healed, whoever says so; a deletion has no new one.
    """
    told = [row for row in healed if not row["new"] or row["old"] != row["new"]]
    return [{"at": int(now), **row, "by": by} for row in told]


def with_heals(history: History, rows: list[Row]) -> History:
    """Return the history with these heals too, oldest first; one that it has is not repeated."""
    heals = [*history["heals"], *unrecorded(history, rows)]
    return {**history, "heals": _bounded(sorted(heals, key=lambda row: row["at"]))}


def _bounded(rows: list[Row]) -> list[Row]:
    """Return as many rows as a history holds: without the oldest deletions, then the oldest heals.

    A scheduled flush leaves rows without end, of which nobody knows whether they were wrong.
    """
    excess = len(rows) - MAX_HEALS
    deletions = [number for number, row in enumerate(rows) if not row["new"]] if excess > 0 else []
    dropped = set(deletions[: max(0, excess)])
    return [row for number, row in enumerate(rows) if number not in dropped][-MAX_HEALS:]


def unrecorded(history: History, rows: list[Row]) -> list[Row]:
    """Return those of these heals that are not in the history.

    A full history has dropped all heals that are older than its first one.
    """
    recorded = {tuple(sorted(row.items())) for row in history["heals"]}
    is_full = len(history["heals"]) == MAX_HEALS
    heals = [row["at"] for row in history["heals"] if row["new"]] if is_full else []
    since = heals[0] if heals else float("-inf")
    return [row for row in rows if row["at"] > since and tuple(sorted(row.items())) not in recorded]


def unreported(history: History, rows: list[Row], now: float) -> list[Row]:
    """Return those of these heals that no run has reported; older than seven days: reported."""
    return unrecorded(history, recent_heals({**history, "heals": rows}, now))


def recent_heals(history: History, now: float) -> list[Row]:
    """Return the heals of the last seven days, oldest first; none of a clock that was far ahead."""
    since, until = now - KEEP_DAYS * DAY_S, now + DAY_S
    return [row for row in history["heals"] if since < row["at"] < until]


def count_recent(history: History, now: float) -> int:
    """Count the heals of the last seven days, without deletions: no row says what came of these.

    MAX_HEALS: perhaps there were more.
    """
    return sum(1 for row in recent_heals(history, now) if row["new"])


def _count(answer: dict[str, Any], key: str) -> int:
    value = answer.get(key, 0)
    return answer.get("totals", {}).get(key, len(value)) if isinstance(value, list) else value


def utc(at: float | None) -> str:
    """Return seconds since 1970 as an ISO 8601 text in UTC; empty for None."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) if at else ""
