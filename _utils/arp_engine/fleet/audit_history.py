"""What recorded audits and heals found: new, still there, healed since. Pure, and bounded.

A plain value that goes through JSON; the surface keeps it in the directory that the master's
configuration names. Standard library alone.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import fair, summary
from .compare import Row

MAX_RUNS = 100
RECENT_RUNS = 12  # that say how often runs come
MAX_OPEN = 50_000  # entries whose first sight is remembered
FILE = "arp_fleet_history.json"
_FINDINGS = ("wrong", "gone", "unproven")
_SETTLED = ("healed", "given_up", "right_meanwhile")
_COUNTS = (*_FINDINGS, "silent", "conflicts", "healed", "still_wrong")

History = dict[str, Any]


def empty() -> History:
    """Return the history before the first run."""
    return {"runs": [], "open": {}, "last_success": None}


def parse(text: str) -> History:
    """Return the history that a text holds; ValueError if it is corrupt."""
    try:
        read = json.loads(text)  # its errors are ValueErrors
    except RecursionError:
        raise ValueError("not a history of ours") from None
    good = (
        isinstance(read, dict)
        and isinstance(read.get("runs"), list)
        and all(isinstance(run, dict) and type(run.get("at")) is int for run in read["runs"])
        and all(isinstance(run.get("name"), str) for run in read["runs"])
        and isinstance(read.get("open"), dict)
        and all(type(at) is int for at in read["open"].values())
        and isinstance(read.get("last_success", ""), int | None)
    )
    if not good:
        raise ValueError("not a history of ours")
    return {key: read[key] for key in empty()}


def dump(history: History) -> str:
    """Return the text that :func:`parse` reads."""
    return json.dumps(history, separators=(",", ":")) + "\n"


def with_run(
    history: History, now: float, name: str, answer: Mapping[str, Any], settled: Collection[str]
) -> History:
    """Return the history after one more run.

    settled
        Findings that are known to be no more. Any other stays open: its database was not looked
        at, its machine did not answer, or it was left out this time.
    """
    found = _open(answer)
    closed = _closed(history, answer, settled)
    kept = {key: at for key, at in history["open"].items() if key not in closed}
    opened = {**kept, **{key: history["open"].get(key, int(now)) for key in found}}
    databases = len(answer["databases"])
    run = {"at": int(now), "name": name, "databases": databases, "retcode": answer["retcode"]}
    run |= {key: total for key, total in answer["totals"].items() if key in _COUNTS}
    run |= _left(answer)
    run["twice"] = summary.held_twice(answer.get("twice", ()))
    complete = not answer["retcode"] & 4 and answer["retcode"] not in (1, summary.INTERRUPTED)
    left = fair.deal(MAX_OPEN, Counter(map(_minion, opened)))  # none takes the others' part
    oldest = []
    for key in sorted(opened, key=opened.get):
        if left[_minion(key)]:
            left[_minion(key)] -= 1
            oldest.append(key)
    return {
        "runs": [*history["runs"], run][-MAX_RUNS:],
        "open": {key: opened[key] for key in oldest},
        "last_success": int(now) if complete else history["last_success"],
    }


def changes(
    history: History, answer: Mapping[str, Any], settled: Collection[str]
) -> dict[str, int]:
    """Return how many findings are new, were there before, and are healed since."""
    found, before = _open(answer), set(history["open"])
    return {
        "new": len(found - before),
        "still": len(found & before),
        "healed since": len(_closed(history, answer, settled)),
    }


def with_first_seen(history: History, now: float, rows: Collection[Row]) -> list[Row]:
    """Return findings with when each was first seen, in seconds since 1970."""
    return [{**row, "first_seen": history["open"].get(key_of(row), int(now))} for row in rows]


def metrics(history: History) -> str:
    """Return the numbers of the last recorded audit or heal as a Prometheus textfile.

    Of a heal: of what it has left.
    """
    whole = [run for run in history["runs"] if _is_whole(run)]
    last = whole[-1] if whole else {}
    left = {name: last.get(f"{name}_left", last.get(name)) for name in _FINDINGS}
    first_at = history["runs"][0]["at"] if history["runs"] else None
    values = {
        "wrong": ("Entries that a machine which answered contradicts.", left["wrong"]),
        "gone": ("Entries of machines that are gone.", left["gone"]),
        "unproven": ("Entries that disagree with what nobody confirmed.", left["unproven"]),
        "twice": ("Cached addresses that two machines have by their answers.", last.get("twice")),
        "silent": ("Minions that could not be asked.", last.get("silent")),
        "conflicts": ("Minions with two different returns.", last.get("conflicts")),
        "databases_compared": ("Databases whose tables were compared.", last.get("databases")),
        "last_run_timestamp_seconds": ("When the last run ended, since 1970.", last.get("at")),
        "interval_seconds": (
            "The usual time from one recorded run to the next; absent after the first one.",
            _interval_s(whole[-RECENT_RUNS:]),
        ),
        "last_success_timestamp_seconds": (
            "When all minions answered the last time, since 1970; if never, the first run.",
            history["last_success"] or first_at,
        ),
    }  # fmt: skip
    lines = []
    for name, (what, value) in values.items():
        if value is not None:
            full = f"arp_fleet_{name}"
            lines += [f"# HELP {full} {what}", f"# TYPE {full} gauge", f"{full} {value}"]
    return "\n".join(lines) + "\n"


def _interval_s(runs: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the usual time between two runs of the function that is recorded most often.

    Of that one alone: a heal by hand after a scheduled audit is no schedule of minutes.
    """
    (name, _), *_ = Counter(run["name"] for run in runs).most_common(1) or [("", 0)]
    times = [run["at"] for run in runs if run["name"] == name]
    gaps = sorted(late - early for early, late in itertools.pairwise(times))
    return gaps[len(gaps) // 2] if gaps else None


def _left(answer: Mapping[str, Any]) -> dict[str, int]:
    """Return how many findings of each kind a run has left: of a heal, those not settled."""
    settled = _healed(answer)
    return {
        f"{name}_left": total - sum(key_of(row) in settled for row in answer.get(name, ()))
        for name, total in answer["totals"].items()
        if name in _FINDINGS
    }


def _is_whole(run: Mapping[str, Any]) -> bool:
    """Tell whether a run was not interrupted: else it found nothing because it did not look."""
    return run.get("retcode") != summary.INTERRUPTED


def _open(answer: Mapping[str, Any]) -> set[str]:
    """Return the entries that disagree, and that a heal has not settled."""
    found = {key_of(row) for name in _FINDINGS for row in answer.get(name, ())}
    return found - _healed(answer)


def _closed(history: History, answer: Mapping[str, Any], settled: Collection[str]) -> set[str]:
    """Return the open findings that are known to be no more."""
    return (set(history["open"]) & (set(settled) | _healed(answer))) - _open(answer)


def _healed(answer: Mapping[str, Any]) -> set[str]:
    return {
        key_of(row)
        for name in _SETTLED
        for row in answer.get(name, ())
        if name != "given_up" or "why" not in row  # its machine is up, and does not answer
    }


def _minion(key: str) -> str:
    return key.split(" ", 1)[0]


def key_of(row: Row) -> str:
    """Return the name of an entry in the history."""
    return f"{row['minion']} {row['dev']} {row['ip']}"
