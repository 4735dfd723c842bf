"""Sharing out a budget or rows, first between roles, then between their databases. Pure.

One database with very many wrong entries must not take the part of the others. Standard library
alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from .batches import role


def deal(total: int, wants: Mapping[str, int]) -> dict[str, int]:
    """Return how much each minion gets of ``total``: never more than it wants.

    Roles get equal parts, and the minions of one role; what one does not want is the others'.
    """
    members: dict[str, dict[str, int]] = defaultdict(dict)
    for minion, want in wants.items():
        members[role(minion)][minion] = want
    parts = _equally(total, {name: sum(each.values()) for name, each in members.items()})
    shares: dict[str, int] = {}
    for name, each in members.items():
        shares |= _equally(parts[name], each)
    return shares


def cut(rows: list[Any], limit: int) -> list[Any]:
    """Return at most ``limit`` rows (0: all) in their order, shared out between their minions."""
    if not limit or len(rows) <= limit:
        return rows
    left = deal(limit, Counter(row.get("minion", "") for row in rows))
    kept = []
    for row in rows:
        minion = row.get("minion", "")
        if left[minion]:
            left[minion] -= 1
            kept.append(row)
    return kept


def _equally(total: int, wants: Mapping[str, int]) -> dict[str, int]:
    shares = {}
    for left, (name, want) in zip(
        range(len(wants), 0, -1), sorted(wants.items(), key=lambda item: item[1]), strict=True
    ):
        shares[name] = min(want, total // left)  # the smallest first: the rest is the others'
        total -= shares[name]
    return shares
