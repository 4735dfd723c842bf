"""Which minions are asked at the same time: never more than a share of one role. Pure.

The ids of one role's members (db1, db2, db3) differ in numbers alone; the schedule's splay uses the
same rule. Standard library alone.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any

Row = dict[str, Any]
#: One job: the device, and the addresses on it. Minions that hold the same share it.
Job = tuple[str, tuple[str, ...]]


def role(minion: str) -> str:
    """Return the role that an id belongs to: db1 and db12 are both ``db#``."""
    return re.sub(r"[0-9]+", "#", minion)


def waves(
    minions: Iterable[str], everybody: Collection[str], share: float, batch: int
) -> Iterator[list[str]]:
    """Yield the minions that are asked together, wave by wave.

    everybody
        All members of all roles, also those that need not be asked: a share is a share of them.
    share
        Of one role, more than 0 and at most 1. One member always may.
    batch
        How many at most in one wave.
    """
    sizes = Counter(map(role, everybody))
    waiting: dict[str, deque[str]] = defaultdict(deque)
    for minion in sorted(set(minions), key=_by_number):
        waiting[role(minion)].append(minion)
    queue = deque(waiting)
    while queue:
        wave: list[str] = []
        for name in list(queue):
            members = waiting[name]
            most = max(1, int(sizes[name] * share + 1e-9))
            for _ in range(min(most, len(members), batch - len(wave))):
                wave.append(members.popleft())
        queue = deque(name for name in queue if waiting[name])
        queue.rotate(-1)  # the role that a full batch left out goes first
        yield wave


def _by_number(minion: str) -> list[Any]:
    """Sort db2 before db10."""
    parts = re.split(r"([0-9]+)", minion)  # text and numbers by turns
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def jobs(rows: Iterable[Row], wave: Collection[str], most: int) -> dict[Job, list[str]]:
    """Return the jobs of one wave: these entries on these minions, and no others."""
    held: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        if row["minion"] in wave:
            held[row["minion"], row["dev"]].add(row["ip"])
    found: dict[Job, list[str]] = defaultdict(list)
    for (minion, dev), ips in held.items():
        ordered = sorted(ips)
        for first in range(0, len(ordered), most):
            found[dev, tuple(ordered[first : first + most])].append(minion)
    return dict(found)
