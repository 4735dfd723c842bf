"""The sentinel's status file: its heartbeat, counters and heals.

The heartbeat is the machine's uptime: a clock that is set changes nothing.
Standard library alone.
"""

import contextlib
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from .. import version
from . import files, run_history
from .events import EventKind

PATH = "/run/arp_hygiene/sentinel.json"
HEARTBEAT_TIMEOUT_S = 300.0  # no heartbeat for longer: the sentinel hangs
WRITE_INTERVAL_S, EVENT_INTERVAL_S = 30.0, 1.0  # without events, and with one
MAX_HEALS = 1000  # rows: scheduled runs copy them into the run history

Status = dict[str, Any]


class StatusWriter:
    """Counts what this sentinel does, continues what former ones counted since boot, writes it."""

    def __init__(
        self, path: str, run_as: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        """path: empty for no file. run_as: engine or service."""
        self._path, self._clock = path, clock
        _take_directory(os.path.dirname(path))
        former = read(path, clock()) if path else {}
        self._ours = {"pid": os.getpid(), "since": int(time.time()), "as": run_as}
        self._ours |= {"version": version.VERSION, "code": version.code() if path else ""}
        self.counts: Counter[str] = Counter(former.get("counts", {}))
        self._told: Counter[str] = Counter(former.get("told", {}))
        self._heals: deque[Status] = deque(former.get("heals", []), MAX_HEALS)
        self._last = ""
        self._due = self._wrote = float("-inf")
        self._is_refused = self._has_written = False

    def note(self, kind: EventKind, line: str, facts: Status) -> None:
        """Count one event, and keep a heal."""
        self._told[kind.tag] += 1
        self._last = line
        if kind is EventKind.HEALED:
            row = {name: facts[name] for name in ("ip", "dev", "old", "new")}
            at = facts.get("at", int(time.time()))  # of the change, not of the look back's end
            self._heals.append({"at": at, **row, "by": "sentinel"})
        self._due = min(self._due, self._wrote + EVENT_INTERVAL_S)

    def due(self) -> float:
        """Return when the next write is due."""
        return self._due if self._path else float("inf")

    def write(self, **more: Any) -> str:
        """Write the file; return an error's line the first time, empty while it goes on."""
        self._wrote = now = self._clock()
        self._due = now + WRITE_INTERVAL_S
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
            if self._path and not self._is_removed():
                write(self._path, status)
                self._has_written = True
            self._is_refused = False
        except OSError as error:
            was_refused, self._is_refused = self._is_refused, True
            return "" if was_refused else f"cannot write {self._path}: {error.strerror}"
        return ""

    def _is_removed(self) -> bool:
        """Tell whether the formula was removed while this sentinel, an engine, still runs."""
        return self._has_written and not os.path.isdir(os.path.dirname(self._path))

    def close(self) -> None:
        """Write that the sentinel was stopped, unless another one has the file by now."""
        if self._path and read(self._path, self._clock()).get("pid") == self._ours["pid"]:
            self.write(stopped=True)


def _take_directory(directory: str) -> None:
    """Take over the directory of a service that ran as another user: an engine runs as root.

    Without CAP_DAC_OVERRIDE, which a sentinel gives up, root cannot write there. A refusal shows
    when the file is written.
    """
    with contextlib.suppress(OSError):
        if os.stat(directory).st_uid != os.geteuid():
            os.chown(directory, os.geteuid(), os.getegid())


def write(path: str, status: Status) -> None:
    """Write a status file atomically. Raises OSError."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    files.write_atomically(path, json.dumps(status).encode(), 0o644)


def read(path: str, now: float) -> Status:
    """Return the last status, and ``lives``: the process runs, has a heartbeat and can watch.

    ``why`` says what is wrong where ``lives`` is False. now: the machine's uptime
    (time.monotonic).
    """
    not_started = {"lives": False, "why": "not started since boot"}
    try:
        with open(path, encoding="utf-8") as file:
            status = json.load(file)
        pid, silent_s = int(status["pid"]), now - float(status["uptime_s"])
        if not _is_whole(status):
            raise ValueError
    except FileNotFoundError:
        return not_started
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return {"lives": False, "why": f"cannot read {path}"}
    if silent_s < 0:  # of another boot
        return not_started
    why = status.get("failed", "")
    if status.get("stopped"):
        why = "stopped"
    elif not os.path.exists(f"/proc/{pid}"):
        why = f"process {pid} has exited"
    elif silent_s > HEARTBEAT_TIMEOUT_S:
        why = f"no heartbeat for {silent_s:.0f} s (process {pid} hangs)"
    return {**status, "lives": not why, **({"why": why} if why else {})}


def _is_whole(status: Status) -> bool:
    """Tell whether all that is read again is valid: the next sentinel continues counters, heals."""
    counts = [status.get(name, {}) for name in ("told", "counts")]
    heals, absent = status.get("heals", []), status.get("absent_devices", [])
    return (
        isinstance(status.get("failed", ""), str)
        and all(isinstance(each, dict) for each in counts)
        and all(isinstance(number, int) for each in counts for number in each.values())
        and isinstance(absent, list)
        and all(isinstance(name, str) for name in absent)
        and isinstance(heals, list)
        and all(map(run_history.is_heal, heals))
    )


def remove(path: str) -> None:
    """Remove the file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
