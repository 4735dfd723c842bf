"""The answer of an audit as plain data. Pure. Standard library alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from . import fair
from .compare import Bindings, Comparison, Row

WRONG, NOT_ALL_ANSWERED = 2, 4  # exit codes; their sum is both


def failure(answer: Any) -> str:
    """Return why a minion's answer cannot be used, in one line, or ""."""
    if not isinstance(answer, dict) or "ret" not in answer:
        return "no answer"
    ret = answer["ret"]
    if isinstance(ret, str):
        lines = [line.strip() for line in ret.splitlines() if line.strip()]
        return (lines[-1] if lines else "an empty answer")[:300]
    if ret is None or isinstance(ret, bool):
        return f"answered {ret}"
    return ""


def unconfirmed(result: Comparison, known: Bindings) -> set[str]:
    """Return the machines that an entry disagrees with by their cached grains alone."""
    ips = [row["ip"] for row in result.wrong]
    ips += [row["ip"] for row in result.twice if row["held"]]
    bindings = (binding for ip in ips for binding in known.by_ip[ip])
    return {binding.machine for binding in bindings if not binding.host.live}


def limited(lists: Mapping[str, list[Any]], limit: int) -> dict[str, Any]:
    """Return lists cut to ``limit`` rows (0: not at all), and their real lengths."""
    shown = {name: fair.cut(rows, limit) for name, rows in lists.items()}
    return {**shown, "totals": {name: len(rows) for name, rows in lists.items()}}


def rows_of(reasons: Mapping[str, str]) -> list[Row]:
    """Return minions and reasons as rows."""
    return [{"minion": name, "why": why} for name, why in sorted(reasons.items())]


def answer(
    result: Comparison,
    known: Bindings,
    tables: Collection[str],
    silent: Mapping[str, str],
    conflicts: Mapping[str, str],
    limit: int,
) -> dict[str, Any]:
    """Return the answer of an audit.

    silent
        Minion to why it gave no usable answer.
    conflicts
        Minion to why its answer may be forged.
    """
    lists = {"wrong": result.wrong, "twice": result.twice, "gone": result.gone}
    held = sum(1 for row in result.twice if row["held"])
    live = sum(1 for host in known.hosts.values() if host.live)
    counts = {
        **result.counts,
        "databases": len(tables),
        "machines": len(known.hosts),
        "machines_asked": live,
    }
    code = WRONG if result.wrong or result.gone or held else 0
    return {
        **limited({**lists, "silent": rows_of(silent), "conflicts": rows_of(conflicts)}, limit),
        "counts": counts,
        "summary": _summary(result, counts, held, len(silent), len(conflicts)),
        "retcode": code + (NOT_ALL_ANSWERED if silent or conflicts else 0),
    }


def _summary(
    result: Comparison, counts: Mapping[str, int], held: int, silent: int, conflicts: int
) -> list[str]:
    lines = [
        f"{_number(counts['entries'], 'entry', 'entries')} of "
        f"{_number(counts['databases'], 'database')}: {len(result.wrong)} wrong, "
        f"{len(result.gone)} of machines that are gone, "
        f"{_number(held, 'cached address', 'cached addresses')} claimed twice.",
        f"Compared with {_number(counts['machines'], 'machine')}: {counts['machines_asked']} "
        f"answered, {counts['machines'] - counts['machines_asked']} from cached grains.",
    ]
    unheld = len(result.twice) - held
    if unheld:
        first = next(row["ip"] for row in result.twice if not row["held"])
        lines.append(
            f"{_number(unheld, 'address', 'addresses')} claimed twice and cached by no database "
            f"({first}{', …' if unheld > 1 else ''})."
        )
    if counts["strangers"]:
        what = _number(counts["strangers"], "entry", "entries")
        lines.append(f"{what} of strangers: no machine of the fleet has these addresses.")
    if silent:
        lines.append(f"{_number(silent, 'minion')} did not answer.")
    if conflicts:
        lines.append(f"{_number(conflicts, 'minion')} with two different returns: a forged one?")
    return lines


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
