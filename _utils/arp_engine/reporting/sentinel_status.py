"""Whether a sentinel lives, and what it has done: one small file, written now and then.

Times that are compared are the machine's uptime: who sets the clock makes nobody dead or alive.
Standard library alone.
"""

import contextlib
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from . import files, run_history
from .events import EventKind

PATH = "/run/arp_hygiene/sentinel.json"
SILENT_S = 300.0  # who has not written for longer than this is hung
WRITE_S, NEWS_S = 30.0, 1.0  # from one writing to the next: without news, and with some
HEALS = 1000  # rows, at most: scheduled runs take them from here into their memory

Status = dict[str, Any]


class Diary:
    """What sentinels have done here since boot: this one, and those before it."""

    def __init__(
        self, path: str, way: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the file, empty for none, and how this one was started: engine or service."""
        self._path, self._clock = path, clock
        former = read(path, clock()) if path else {}
        self._ours = {"pid": os.getpid(), "since": int(time.time()), "as": way}
        self.counts: Counter[str] = Counter(former.get("counts", {}))
        self._told: Counter[str] = Counter(former.get("told", {}))
        self._heals: deque[Status] = deque(former.get("heals", []), HEALS)
        self._last = ""
        self._due = self._wrote = float("-inf")
        self._is_refused = False

    def note(self, kind: EventKind, line: str, facts: Status) -> None:
        """Take one thing that is told."""
        self._told[kind.tag] += 1
        self._last = line
        if kind is EventKind.HEALED:
            row = {name: facts[name] for name in ("ip", "dev", "old", "new")}
            self._heals.append({"at": int(time.time()), **row, "by": "sentinel"})
        self._due = min(self._due, self._wrote + NEWS_S)

    def due(self) -> float:
        """Return when it is to be written down."""
        return self._due if self._path else float("inf")

    def write(self, **more: Any) -> str:
        """Write it down; return why that is refused, once until it is not."""
        self._wrote = now = self._clock()
        self._due = now + WRITE_S
        status = {
            **self._ours,
            "uptime_s": now,
            "last": self._last,
            "told": dict(self._told),
            "counts": dict(self.counts),
            "heals": list(self._heals),
            **more,
        }
        try:
            if self._path:
                write(self._path, status)
            self._is_refused = False
        except OSError as error:
            was_refused, self._is_refused = self._is_refused, True
            return "" if was_refused else f"cannot write {self._path}: {error.strerror}"
        return ""

    def close(self) -> None:
        """Say that it has ended because somebody wanted it; of another one say nothing."""
        if self._path and read(self._path, self._clock()).get("pid") == self._ours["pid"]:
            self.write(stopped=True)


def write(path: str, status: Status) -> None:
    """Write it down in one piece; OSError where that is refused."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    files.write_atomically(path, json.dumps(status).encode(), 0o644)


def read(path: str, now: float) -> Status:
    """Return what was written last, and ``lives``: it is there, not hung, and can watch.

    ``why`` says what is wrong where it does not. now: the machine's uptime (time.monotonic).
    """
    never = {"lives": False, "why": "it has never run since boot"}
    try:
        with open(path, encoding="utf-8") as file:
            status = json.load(file)
        pid, silent_s = int(status["pid"]), now - float(status["uptime_s"])
        if not _is_whole(status):
            raise ValueError
    except FileNotFoundError:
        return never
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {"lives": False, "why": f"{path} cannot be read"}
    if silent_s < 0:  # of another boot
        return never
    why = status.get("failed", "")
    if status.get("stopped"):
        why = "it was stopped"
    elif not os.path.exists(f"/proc/{pid}"):
        why = f"its process {pid} has ended"
    elif silent_s > SILENT_S:
        why = f"its process {pid} has said nothing for {silent_s:.0f} s"
    return {**status, "lives": not why, **({"why": why} if why else {})}


def _is_whole(status: Status) -> bool:
    """Tell whether what is counted and kept is as we write it: who comes next goes on with that."""
    counts = [status.get(name, {}) for name in ("told", "counts")]
    heals = status.get("heals", [])
    return (
        all(isinstance(each, dict) for each in counts)
        and all(isinstance(number, int) for each in counts for number in each.values())
        and isinstance(heals, list)
        and all(map(run_history.is_heal, heals))
    )


def forget(path: str) -> None:
    """Take it away."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
