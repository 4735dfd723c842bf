"""MACs with which the network answers for every address: asked about, and told. Knows no Salt.

Standard library alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from . import compare, summary
from .compare import Row
from .returns import Returns

QUESTIONS = 2  # addresses, on each device of a database


def answering_for_all(asked: Returns, rows: list[Row]) -> set[compare.Port]:
    """Have each database ask about two addresses of a device; return where the MAC answers.

    A dead host would not answer. Each database decides for its own entries alone: one that
    lies must not make the others' wrong entries right.
    """
    common = Counter((row["dev"], row["ip"]) for row in rows)
    by_port: dict[compare.Port, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: -common[row["dev"], row["ip"]]):
        by_port[compare.port(row)].append(row)
    databases: dict[tuple[str, str], list[str]] = defaultdict(list)  # of a device and an address
    for several in by_port.values():
        for row in several[:QUESTIONS]:
            databases[row["dev"], row["ip"]].append(row["minion"])
    jobs = {
        (dev, ip): asked.publish(names, "list", "arp.diagnose", {"ip": ip, "dev": dev})
        for (dev, ip), names in databases.items()
    }
    asked.gather(jobs.values())
    return {
        at
        for at, several in by_port.items()
        if all(
            _is_right(jobs[row["dev"], row["ip"]].answers.get(row["minion"]), row["mac"])
            for row in several[:QUESTIONS]
        )
    }


def _is_right(answer: Row | None, mac: str) -> bool:
    """Tell whether arp.diagnose heard this MAC, and found the entry right."""
    returned = None if summary.failure(answer) else answer["ret"]
    if not isinstance(returned, dict) or returned.get("verdict") != "right":
        return False
    heard = returned.get("answers_ms")
    return isinstance(heard, dict) and list(heard) == [mac]


def rows_of(rows: list[Row]) -> list[Row]:
    """Return a row for each of the MACs that entries have."""
    by_mac: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_mac[row["mac"]].append(row)
    return [
        {
            "mac": mac,
            "machines": len({row["machine"] for row in several}),
            "addresses": len({row["ip"] for row in several}),
            "databases": len({row["minion"] for row in several}),
        }
        for mac, several in by_mac.items()
    ]
