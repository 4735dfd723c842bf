"""Who is asked at the same time: never more than a share of one role. Pure.

The members of one role (db1, db2, db3) differ in the numbers of their ids, as the schedule's splay
has it. Standard library alone.
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
    """Return what the members of one role have in common: db1 and db12 are both ``db#``."""
    return re.sub(r"[0-9]+", "#", minion)


def waves(
    minions: Iterable[str], everybody: Collection[str], share: float, batch: int
) -> Iterator[list[str]]:
    """Yield who is asked together, wave by wave.

    everybody
        All members of all roles, those that need not be asked too: a share is a share of them.
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
            may = max(1, int(sizes[name] * share + 1e-9))
            for _ in range(min(may, len(members), batch - len(wave))):
                wave.append(members.popleft())
        queue = deque(name for name in queue if waiting[name])
        queue.rotate(-1)  # the role that a full batch left out comes first
        yield wave


def _by_number(minion: str) -> list[Any]:
    """Sort db2 before db10."""
    parts = re.split(r"([0-9]+)", minion)  # text and numbers by turns
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def jobs(rows: Iterable[Row], wave: Collection[str], most: int) -> dict[Job, list[str]]:
    """Return the jobs of one wave: exactly these entries on exactly these minions."""
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
