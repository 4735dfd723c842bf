"""One line for each database: its runs, its sentinel, its table; the worst first.

Knows no Salt. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from .. import version
from ..reporting import run_history
from ..table import naming
from . import summary, targets
from .audit import Master, Options
from .compare import Row
from .returns import Returns

STATUS, STATS = "arp_hygiene.status", "arp.stats"  # what the databases are asked for
FULL_SHARE = 0.8  # of gc_thresh3: from here on arp.stats warns, too
MOST_NAMED = 5  # minions of one version
_TEXT = 200  # characters of one cell


def run(master: Master, asked: Returns, options: Options) -> Row:
    """Ask the databases; return the answer of arp.status, also where a person ends the run."""
    tgt, tgt_type = options["tgt"], options["tgt_type"]
    names = master.match(tgt, tgt_type)
    if names is None:
        raise ValueError(targets.WITHOUT_CACHE.format("tgt"))
    names &= master.accepted()
    undecided = master.undecided(tgt, tgt_type)
    if not names:
        raise ValueError(targets.refusal(f"{tgt!r} ({tgt_type})", undecided))
    statuses: dict[str, Row | None] = {}
    stats: dict[str, Row | None] = {}
    interrupted = False
    try:
        for fun, told in ((STATUS, statuses), (STATS, stats)):
            told.update(asked.ask_each(sorted(names), fun, options["batch"]))
        asked.listen_once_more()
    except master.interruptions:
        interrupted = True
    statuses |= {name: {"why": why} for name, why in undecided.items()}
    everybody = names | master.named(tgt, tgt_type) | set(undecided)
    return answer(everybody, statuses, stats, interrupted, asked.conflicts, asked.asked)


def rows(
    names: set[str],
    statuses: Mapping[str, Any],
    stats: Mapping[str, Any],
    interrupted: bool = False,
) -> tuple[list[Row], dict[str, str]]:
    """Return the rows, and the minions that gave none with the reason.

    statuses, stats
        Minion to its answer of arp_hygiene.status and of arp.stats. Where the run was interrupted
        between the two, the status alone is a row.
    """
    found, silent = [], {}
    for name in names:
        why = summary.failure(statuses.get(name))
        if not why and not (interrupted and name not in stats):
            why = summary.failure(stats.get(name))
        status = None if why else _status(statuses[name]["ret"])
        if why or status is None:
            silent[name] = why or "malformed arp_hygiene.status return"
        else:
            found.append(_row(name, status, (stats.get(name) or {}).get("ret")))
    found.sort(key=lambda row: (not row["problem"], bool(row["last"]), row["last"], row["minion"]))
    return found, silent


def answer(
    names: set[str],
    statuses: Mapping[str, Any],
    stats: Mapping[str, Any],
    interrupted: bool = False,
    conflicts: Collection[str] = (),
    asked: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Row:
    """Return the answer of arp.status.

    interrupted
        Not every minion was asked, or has answered.
    conflicts
        The minions with two different returns under their name.
    asked
        Function to the minions that were asked for it; for a run that was interrupted.
    """
    found, silent = rows(names, statuses, stats, interrupted)
    if interrupted:
        silent |= _unheard(names, statuses, stats, asked)
    troubled = sum(1 for row in found if row["problem"])
    healed = sum(row["healed_7d"] for row in found)
    is_full = any(row["healed_7d"] >= run_history.MAX_HEALS for row in found)
    lines = [
        f"{summary.number(len(found), 'database')}: {troubled} with a problem, "
        f"{'at least ' if is_full else ''}{healed} healed in seven days."
    ]
    if silent:
        lines.append(f"{summary.number(len(silent), 'minion')} did not answer.")
    lines += summary.conflict_lines(conflicts)
    lines += _mixed(found)
    code = summary.WRONG if troubled else 0
    code += summary.NOT_ALL_ANSWERED if silent or conflicts else 0
    if interrupted:
        lines.append(summary.WAS_INTERRUPTED)
        code = summary.INTERRUPTED
    doubtful = dict.fromkeys(conflicts, summary.CONFLICT)
    lists = {
        "status": found,
        "silent": summary.rows_of(silent),
        "conflicts": summary.rows_of(doubtful),
    }
    return {
        **summary.with_totals(lists),
        "summary": lines,
        "retcode": code,
    }


def _unheard(
    names: set[str],
    statuses: Mapping[str, Any],
    stats: Mapping[str, Any],
    asked: Mapping[str, Collection[str]],
) -> dict[str, str]:
    """Return minion to what it did not tell before the run was interrupted."""
    unheard = {}
    for name in names:
        if name not in statuses:
            is_asked = name in asked.get(STATUS, ())
            unheard[name] = summary.NOT_ANSWERED if is_asked else summary.NOT_ASKED
        elif name not in stats and not summary.failure(statuses[name]):
            is_asked = name in asked.get(STATS, ())
            why = summary.NOT_ANSWERED if is_asked else summary.NOT_ASKED
            unheard[name] = f"{STATS}: {why}"
    return unheard


def _mixed(found: list[Row]) -> list[str]:
    """Return a line for each version that is not this master's, with the databases that run it."""
    ours, lines = (version.VERSION, version.code()), []
    for label in sorted({(row["version"], row["code"]) for row in found} - {ours}):
        names = (row["minion"] for row in found if (row["version"], row["code"]) == label)
        named = naming.examples(names, MOST_NAMED)
        lines.append(f"Other version than this master's: {_label(*label)} on {named}.")
    return [*lines, f"This master has {_label(*ours)}: sync what is older."] if lines else []


def _label(number: str, code: str) -> str:
    return f"{number} (code {code})" if number else "an unknown one"


def _status(returned: Any) -> Row | None:
    good = isinstance(returned, list) and len(returned) == 1 and isinstance(returned[0], dict)
    return returned[0] if good else None


def _row(name: str, status: Row, stats: Any) -> Row:
    entries, most = _fill(stats)
    healed = status.get("healed_7d")
    problem = _text(status.get("problem"))
    if not problem and not (status.get("installed") or status.get("sentinel")):
        problem = (
            "no schedule and no sentinel: apply arp_hygiene (removed on purpose: docs/upgrading.md)"
        )
    if not problem and most and entries >= FULL_SHARE * most:
        problem = "the neighbour table is nearly full"
    return {
        "minion": name,
        "problem": problem,
        "last": _text(status.get("last")),
        "healed_7d": healed if type(healed) is int and healed >= 0 else 0,
        "sentinel": _text(status.get("sentinel")).partition(";")[0],
        "table": f"{entries} of {most}" if most else str(entries) if stats is not None else "",
        "version": _text(status.get("version")),
        "code": _text(status.get("code")),
        "said": _text(status.get("said")),
    }


def _fill(stats: Any) -> tuple[int, int]:
    """Return entries and gc_thresh3 of the family that is nearest to its limit."""
    fills = [(0, 0)]
    for told in stats.values() if isinstance(stats, dict) else ():
        if isinstance(told, dict):
            entries = told.get("entries_limited", told.get("entries_all_namespaces"))
            entries = told.get("entries") if entries is None else entries
            most = told.get("gc_thresh3", 0)
            if type(entries) is int and type(most) is int and entries >= 0 and most >= 0:
                fills.append((entries, most))
    return max(fills, key=lambda fill: (fill[0] / fill[1] if fill[1] else 0, fill[0]))


def _text(value: Any) -> str:
    return value[:_TEXT] if isinstance(value, str) else ""
