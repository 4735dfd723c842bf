"""Sharing out a budget or rows, first between roles, then between their databases. Pure.

One database with very many wrong entries must not take the part of the others, nor a machine that
claims the addresses of very many. Standard library alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Mapping, Sequence
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
    often = Counter(name for row in rows for name in _machines(row))
    names = [_whose(row, often) for row in rows]
    left = deal(limit, Counter(names))
    kept = []
    for row, name in zip(rows, names, strict=True):
        if left[name]:
            left[name] -= 1
            kept.append(row)
    return kept


def spread(owners: Sequence[Collection[str]], limit: int) -> list[int]:
    """Return which of these items are shown, at most ``limit``: their numbers, in their order.

    An item belongs to several minions. By turns each role, and in it each minion, has its first
    item shown; what is shown of one minion counts for all that the item belongs to.
    """
    if len(owners) <= limit:
        return list(range(len(owners)))
    waiting: dict[str, deque[int]] = defaultdict(deque)
    for number, minions in enumerate(owners):
        for minion in minions:
            waiting[minion].append(number)
    roles = {minion: role(minion) for minion in waiting}
    of_role, of_minion, kept = Counter[str](), Counter[str](), set[int]()
    while waiting and len(kept) < limit:
        minion = min(waiting, key=lambda name: (of_role[roles[name]], of_minion[name]))
        number = waiting[minion].popleft()
        if not waiting[minion]:
            del waiting[minion]
        if number not in kept:
            kept.add(number)
            of_minion.update(set(owners[number]))
            of_role.update({roles[name] for name in owners[number]})
    return sorted(kept)


def _whose(row: Mapping[str, Any], often: Mapping[str, int]) -> str:
    """Return the minion of a row; of several, the one with the most rows."""
    machines = _machines(row) or [row.get("minion", "")]
    return max(machines, key=lambda name: (often[name], name))


def _machines(row: Mapping[str, Any]) -> list[str]:
    """Return the machines that a row names; one about the network's own MAC has their number."""
    machines = row.get("machines")
    return machines if isinstance(machines, list) else []


def _equally(total: int, wants: Mapping[str, int]) -> dict[str, int]:
    shares = {}
    for left, (name, want) in zip(
        range(len(wants), 0, -1), sorted(wants.items(), key=lambda item: item[1]), strict=True
    ):
        shares[name] = min(want, total // left)  # the smallest first: the rest is the others'
        total -= shares[name]
    return shares
