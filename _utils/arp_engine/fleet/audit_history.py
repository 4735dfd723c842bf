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
    """Return the history before the first run.

    ``open``: entries whose finding is not known to be settled, and when each was first seen.
    ``last_seen``: those of them that count, with kind and time: they were there when their
    database was read the last time.
    """
    return {"runs": [], "open": {}, "last_seen": {}, "last_success": None}


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
        and isinstance(read.get("last_seen", {}), dict)
        and all(map(_is_sight, read.get("last_seen", {}).values()))
        and isinstance(read.get("last_success", ""), int | None)
    )
    if not good:
        raise ValueError("not a history of ours")
    return {key: read.get(key, value) for key, value in empty().items()}


def _is_sight(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2
    return is_pair and value[0] in _FINDINGS and type(value[1]) in (int, float)


def dump(history: History) -> str:
    """Return the text that :func:`parse` reads."""
    return json.dumps(history, separators=(",", ":")) + "\n"


def with_run(
    history: History,
    now: float,
    name: str,
    answer: Mapping[str, Any],
    settled: Collection[str],
    newer: Collection[str] = (),
) -> History:
    """Return the history after one more run.

    settled
        Findings that are known to be no more. Any other stays open: its database was not looked
        at, its machine did not answer, or it was left out this time.
    newer
        Findings that this run does not settle: see :func:`seen_since`.
    """
    found = _open(answer)
    closed = _closed(history, answer, settled, newer)
    kept = {key: at for key, at in history["open"].items() if key not in closed}
    opened = {**kept, **{key: history["open"].get(key, int(now)) for key in found}}
    databases = len(answer["databases"])
    run = {"at": int(now), "name": name, "databases": databases, "retcode": answer["retcode"]}
    run |= {key: total for key, total in answer["totals"].items() if key in _COUNTS}
    run |= _left(history, answer, settled, newer)
    run["twice"] = summary.held_twice(answer.get("twice", ()))
    if answer.get("stopped"):
        run["stopped"] = True
    last_seen = {key: [kind, now] for key, kind in found.items()}
    if _is_whole(run):
        last_seen = {**unseen(history, answer, settled, newer), **last_seen}
    else:  # it may say "unproven" of what was wrong, because it did not ask the machine
        last_seen |= {key: at for key, at in history["last_seen"].items() if key in kept}
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
        "last_seen": {key: last_seen[key] for key in oldest if key in last_seen},
        "last_success": int(now) if complete else history["last_success"],
    }


def seen_since(history: History, began: float, now: float) -> set[str]:
    """Return the findings that another run has seen since this one began to read the tables.

    It cannot settle them: what it knows is older. A time to come is of a clock that was set back.
    """
    return {key for key, (_, at) in history["last_seen"].items() if began <= at <= now}


def changes(
    history: History,
    answer: Mapping[str, Any],
    settled: Collection[str],
    newer: Collection[str] = (),
) -> dict[str, int]:
    """Return how many findings are new, were there before, and are healed since."""
    found, before = set(_open(answer)), set(history["open"])
    return {
        "new": len(found - before),
        "still": len(found & before),
        "healed since": len(_closed(history, answer, settled, newer)),
    }


def unseen(
    history: History,
    answer: Mapping[str, Any],
    settled: Collection[str],
    newer: Collection[str] = (),
) -> dict[str, list[Any]]:
    """Return the findings that this run did not look at, and that count as they were last seen.

    The table of their database was not read, or another run has seen them since this one began.
    """
    silent = {row["minion"] for row in answer.get("silent", ())} - set(answer["databases"])
    over = {*_open(answer), *_closed(history, answer, settled, newer)}
    return {
        key: sight
        for key, sight in history["last_seen"].items()
        if key not in over and (key in newer or _minion(key) in silent)
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
        "wrong": (
            "Entries that a machine which answered contradicts; of databases that were not read, "
            "those of the last time.",
            left["wrong"],
        ),
        "gone": ("Entries of machines that are gone; not read: the same.", left["gone"]),
        "unproven": (
            "Entries that disagree with what nobody confirmed; not read: the same.",
            left["unproven"],
        ),
        "twice": (
            "Cached addresses that two machines have by their answers; minions that are silent "
            "count for none.",
            last.get("twice"),
        ),
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


def _left(
    history: History,
    answer: Mapping[str, Any],
    settled: Collection[str],
    newer: Collection[str],
) -> dict[str, int]:
    """Return how many findings of each kind there are after a run: of a heal, those not settled.

    A database that was silent this time has those of the last time, or an alert would end.
    """
    healed = _healed(answer)
    others = Counter(kind for kind, _ in unseen(history, answer, settled, newer).values())
    return {
        f"{name}_left": total
        - sum(key_of(row) in healed for row in answer.get(name, ()))
        + others[name]
        for name, total in answer["totals"].items()
        if name in _FINDINGS
    }


def _is_whole(run: Mapping[str, Any]) -> bool:
    """Tell whether a run did not end early: else it found nothing because it did not look."""
    return run.get("retcode") != summary.INTERRUPTED and not run.get("stopped")


def _open(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the entries that disagree, and that a heal has not settled, with their kind."""
    found = {key_of(row): name for name in _FINDINGS for row in answer.get(name, ())}
    healed = _healed(answer)
    return {key: name for key, name in found.items() if key not in healed}


def _closed(
    history: History,
    answer: Mapping[str, Any],
    settled: Collection[str],
    newer: Collection[str],
) -> set[str]:
    """Return the open findings that are known to be no more."""
    known = (set(settled) | _healed(answer)) - set(newer)
    return (set(history["open"]) & known) - set(_open(answer))


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
