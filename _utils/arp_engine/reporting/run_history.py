"""What a minion remembers: its last scheduled run, seven days of heals (a sentinel's too), totals.

A plain, bounded value that goes through JSON; where it is kept is another file's business.
Standard library alone, no Salt.
"""

from __future__ import annotations

import json
import time
from typing import Any

DAYS = 7
HEALS = 1000  # rows, at most: about 120 kB
_TOTALS = ("runs", "failures", "checked", "healed", "gone", "flushed")

Memory = dict[str, Any]
Row = dict[str, Any]


def empty() -> Memory:
    """Return the memory of a minion that has run nothing yet."""
    return {"last": None, "heals": [], "totals": dict.fromkeys(_TOTALS, 0), "metrics": None}


def parse(text: str) -> Memory:
    """Return the memory that a text holds; ValueError when it is not one (a torn file)."""
    read = json.loads(text)  # its errors are ValueErrors
    whole = (
        isinstance(read, dict)
        and isinstance(read.get("heals"), list)
        and isinstance(read.get("totals"), dict)
        and isinstance(read.get("metrics"), str | None)
        and all(isinstance(number, int) for number in read["totals"].values())
        and all(map(is_heal, read["heals"]))
        and (read.get("last") is None or _is_dated(read["last"], ("how", "said", "failed")))
    )
    if not whole:
        raise ValueError("it is no memory of ours")
    return {
        "last": read.get("last"),
        "metrics": read.get("metrics"),
        "heals": read["heals"][-HEALS:],
        "totals": {key: read["totals"].get(key, 0) for key in _TOTALS},
    }


def is_heal(row: Any) -> bool:
    """Tell whether a value is a heal as we write it, in the memory or a sentinel's status."""
    return _is_dated(row, ("ip", "dev", "old", "new")) and isinstance(row.get("by", ""), str)


def _is_dated(row: Any, texts: tuple[str, ...]) -> bool:
    """Tell whether a value is a moment, and these texts about it."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("at"), int)
        and 0 <= row["at"] < 2**40
        and all(isinstance(row.get(key), str) for key in texts)
    )


def dump(memory: Memory) -> str:
    """Return the text that :func:`parse` reads."""
    return json.dumps(memory, separators=(",", ":")) + "\n"


def after(memory: Memory, now: float, run: dict[str, Any]) -> Memory:
    """Return the memory after one more run.

    ``run`` has ``how``, ``said`` (the line, or empty), ``failed`` (the reason, or empty),
    ``metrics`` (the directory of the textfile, or None), ``answer`` (of arp.revalidate or
    arp.flush; empty after a failure) and ``sentinel`` (see :func:`joined`).
    """
    answer = run["answer"]
    healed = answer.get("healed", [])
    memory = joined(memory, run["sentinel"])
    heals = [*recent(memory, now), *({"at": int(now), **row, "by": "run"} for row in healed)]
    counts = {key: _count(answer, key) for key in ("checked", "healed", "gone", "flushed")}
    counts.update(runs=1, failures=int(bool(run["failed"])))
    return {
        "last": {"at": int(now), "how": run["how"], "said": run["said"], "failed": run["failed"]},
        "metrics": run["metrics"],
        "heals": heals[-HEALS:],
        "totals": {key: memory["totals"][key] + counts[key] for key in _TOTALS},
    }


def joined(memory: Memory, rows: list[Row]) -> Memory:
    """Return the memory with the heals of a sentinel too, as its status has them."""
    heals = [*memory["heals"], *unknown(memory, rows)]
    return {**memory, "heals": sorted(heals, key=lambda row: row["at"])[-HEALS:]}


def unknown(memory: Memory, rows: list[Row]) -> list[Row]:
    """Return those of these heals that are not remembered yet.

    A memory that is full has forgotten all that is older.
    """
    known = {tuple(sorted(row.items())) for row in memory["heals"]}
    since = memory["heals"][0]["at"] if len(memory["heals"]) == HEALS else float("-inf")
    return [row for row in rows if row["at"] > since and tuple(sorted(row.items())) not in known]


def untold(memory: Memory, rows: list[Row], now: float) -> list[Row]:
    """Return those of these heals that no run has told: what it has forgotten, it has told."""
    return unknown(memory, recent({**memory, "heals": rows}, now))


def recent(memory: Memory, now: float) -> list[Row]:
    """Return the heals of the last seven days, oldest first."""
    return [row for row in memory["heals"] if row["at"] > now - DAYS * 86400]


def _count(answer: dict[str, Any], key: str) -> int:
    value = answer.get(key, 0)
    return answer.get("totals", {}).get(key, len(value)) if isinstance(value, list) else value


def utc(at: float | None) -> str:
    """Return a moment as text; empty for none."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) if at else ""
