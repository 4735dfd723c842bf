"""What a fleet's comparison comes to: the answer of an audit as plain data. Pure.

Standard library alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from .compare import Fleet, Row, Verdict

WRONG, UNASKED = 2, 4  # exit codes; their sum is both


def failure(told: Any) -> str:
    """Return why a minion's answer is none, in one line, or an empty string."""
    if not isinstance(told, dict) or "ret" not in told:
        return "no answer"
    ret = told["ret"]
    if isinstance(ret, str):
        lines = [line.strip() for line in ret.splitlines() if line.strip()]
        return (lines[-1] if lines else "an empty answer")[:300]
    if ret is None or isinstance(ret, bool):
        return f"answered {ret}"
    return ""


def behind(verdict: Verdict, fleet: Fleet) -> set[str]:
    """Return the machines whose word stands against an entry and that were not asked yet."""
    ips = [row["ip"] for row in verdict.wrong]
    ips += [row["ip"] for row in verdict.twice if row["held"]]
    claims = (claim for ip in ips for claim in fleet.owners[ip])
    return {claim.machine for claim in claims if not claim.facts.live}


def bounded(lists: Mapping[str, list[Any]], limit: int) -> dict[str, Any]:
    """Return lists cut to ``limit`` rows (0: not at all), and how long they really are."""
    cut = {name: rows[:limit] if limit else rows for name, rows in lists.items()}
    return {**cut, "totals": {name: len(rows) for name, rows in lists.items()}}


def rows_of(reasons: Mapping[str, str]) -> list[Row]:
    """Return minion to why as rows."""
    return [{"minion": name, "why": why} for name, why in sorted(reasons.items())]


def told(
    verdict: Verdict,
    fleet: Fleet,
    tables: Collection[str],
    silent: Mapping[str, str],
    limit: int,
) -> dict[str, Any]:
    """Return the answer of an audit."""
    lists = {"wrong": verdict.wrong, "twice": verdict.twice, "gone": verdict.gone}
    held = sum(1 for row in verdict.twice if row["held"])
    asked = sum(1 for facts in fleet.facts.values() if facts.live)
    counts = {
        **verdict.counts,
        "databases": len(tables),
        "machines": len(fleet.facts),
        "machines_asked": asked,
    }
    code = WRONG if verdict.wrong or verdict.gone or held else 0
    return {
        **bounded({**lists, "silent": rows_of(silent)}, limit),
        "counts": counts,
        "summary": _summary(verdict, counts, held, len(silent)),
        "retcode": code + (UNASKED if silent else 0),
    }


def _summary(verdict: Verdict, counts: Mapping[str, int], held: int, silent: int) -> list[str]:
    lines = [
        f"{_number(counts['entries'], 'entry', 'entries')} of "
        f"{_number(counts['databases'], 'database')}: {len(verdict.wrong)} wrong, "
        f"{len(verdict.gone)} of machines that are gone, "
        f"{_number(held, 'held address', 'held addresses')} claimed twice.",
        f"Compared with {_number(counts['machines'], 'machine')}: {counts['machines_asked']} "
        f"answered, {counts['machines'] - counts['machines_asked']} by what the master remembers "
        "of them.",
    ]
    unheld = len(verdict.twice) - held
    if unheld:
        first = next(row["ip"] for row in verdict.twice if not row["held"])
        lines.append(
            f"{_number(unheld, 'address', 'addresses')} claimed twice that no database holds "
            f"({first}{', …' if unheld > 1 else ''})."
        )
    if counts["strangers"]:
        what = _number(counts["strangers"], "entry", "entries")
        lines.append(f"{what} of strangers: no machine of the fleet has these addresses.")
    if silent:
        lines.append(f"{_number(silent, 'minion')} could not be asked.")
    return lines


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
