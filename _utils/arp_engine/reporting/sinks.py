"""Where a run's line, history and metrics go: syslog and files.

No Salt; the Prometheus client library, and that only where metrics are wanted.
"""

from __future__ import annotations

import contextlib
import contextvars
import fcntl
import os
import select
import socket
import syslog
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import files, heal_log, run_history
from . import metrics as reporting_metrics

SYSLOG, SYSLOG_TAG = "/dev/log", "arp_hygiene"
HISTORY = "memory.json"
TEXTFILE = "arp_hygiene.prom"
_DIRECTORY = "var/lib/arp_hygiene"  # of the history, below the minion's root_dir
_LOCK_S = 2.0  # another writer holds the history for milliseconds; a stopped one for ever


#: Whether the caller of arp.revalidate or arp.flush records the heals: a scheduled run does.
_is_recorded_by_caller = contextvars.ContextVar("is_recorded_by_caller", default=False)


def history_directory(root_dir: str) -> str:
    """Return where the history of a minion is; ``root_dir``: Salt's option of that name."""
    return os.path.join(root_dir, _DIRECTORY)


def log(line: str, failed: bool = False) -> None:
    """Write one line to syslog (on a systemd host: the journal); no error where none listens.

    Where the reader is stopped, the line is lost: syslog(3) would wait for it.
    """
    if not _is_syslog_read():
        return
    syslog.openlog(SYSLOG_TAG, 0, syslog.LOG_DAEMON)
    try:
        syslog.syslog(syslog.LOG_ERR if failed else syslog.LOG_NOTICE, line)
    finally:
        syslog.closelog()


def _is_syslog_read() -> bool:
    """Tell whether there is room for a line, or nobody who could have any."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(SYSLOG)
        except OSError:
            return True  # absent, or a stream: syslog(3) copes with both
        ready = select.poll()
        ready.register(probe, select.POLLOUT)
        return bool(ready.poll(0))


def read_history(directory: str) -> tuple[run_history.History, str]:
    """Return the run history, and why it is not whole (empty text: it is)."""
    rows, lost = heal_log.read(directory)  # before what takes them over: none is missed between
    history, problem = _read_file(os.path.join(directory, HISTORY))
    return run_history.with_heals(history, rows), "; ".join(filter(None, [problem, lost]))


def _read_file(path: str) -> tuple[run_history.History, str]:
    try:
        with open(path, encoding="utf-8") as file:
            return run_history.parse(file.read()), ""
    except FileNotFoundError:
        return run_history.empty(), ""
    except OSError as error:
        problem = f"cannot read {path} ({error.strerror})"
    except (ValueError, RecursionError):
        problem = f"cannot parse {path} (corrupt)"
    return run_history.empty(), f"{problem}; starting with an empty run history"


def record_run(
    directory: str, now: float, run: dict[str, Any]
) -> tuple[run_history.History, list[str]]:
    """Add a run to the history; return the history, and a line for each problem with its file."""

    def add(history: run_history.History) -> run_history.History:
        if not textfile(history["metrics"]):
            history = {**history, "metrics": None}
        return run_history.with_run(history, now, run)

    return _update(directory, add, "this run")


def record_heals(directory: str, now: float, by: str, healed: list[run_history.Row]) -> list[str]:
    """Add heals to the history: the rows of an answer's ``healed``, and who made them.

    Nothing is recorded below :func:`recorded_by_caller`. Returns a line for each problem with the
    file, and never raises for one.
    """
    if not healed or _is_recorded_by_caller.get():
        return []
    kept = healed[-run_history.MAX_HEALS :]  # of more, the history would drop the first ones
    rows = run_history.heal_rows(kept, by, now)
    try:
        with _locked(directory):
            former, size = heal_log.append(directory, rows)
    except OSError as error:
        path = os.path.join(directory, heal_log.NAME)
        return [f"cannot write {path} ({error.strerror}): the run history lacks heals by {by}"]
    is_corrupt = not former and read_history(directory)[1]  # looked at once between two runs
    return _take_over(directory, now) if is_corrupt or size > heal_log.MAX_BYTES else []


def _take_over(directory: str, now: float) -> list[str]:
    """Put the heals that were appended into the run history: perhaps no run will ever do it."""

    def recent(history: run_history.History) -> run_history.History:
        return {**history, "heals": run_history.recent_heals(history, now)}

    return _update(directory, recent, f"what {heal_log.NAME} holds")[1]


@contextlib.contextmanager
def recorded_by_caller() -> Iterator[None]:
    """Have the functions called in the block record no heals: the caller does, with its run."""
    token = _is_recorded_by_caller.set(True)
    try:
        yield
    finally:
        _is_recorded_by_caller.reset(token)


def _update(
    directory: str, change: Callable[[run_history.History], run_history.History], what: str
) -> tuple[run_history.History, list[str]]:
    try:
        with _locked(directory):
            former, problem = read_history(directory)
            history = change(former)
            _write_history(directory, history)
            heal_log.remove(directory)
        return history, [problem] if problem else []
    except OSError as error:
        path = os.path.join(directory, HISTORY)
        history = change(read_history(directory)[0])
        return history, [f"cannot write {path} ({error.strerror}): the run history lacks {what}"]


def _write_history(directory: str, history: run_history.History) -> None:
    """Write the file for the user of the scheduled run, whoever writes it."""
    path, there = os.path.join(directory, HISTORY), os.stat(directory)
    owner = (there.st_uid, there.st_gid) if os.geteuid() == 0 else None
    files.write_atomically(path, run_history.dump(history).encode(), 0o640, owner)


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Lock the directory of the history, so that no writer drops what another has just added."""
    os.makedirs(directory, mode=0o750, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    break  # losing a row is better than never ending
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def kernel_counters() -> dict[str, dict[str, int]]:
    """Return the kernel's counters by family; empty in a container's network namespace."""
    counters = {}
    for family, name in reporting_metrics.STAT_FILES.items():
        with contextlib.suppress(OSError), open(f"/proc/net/stat/{name}", encoding="ascii") as file:
            counters[family] = reporting_metrics.kernel_counts(file.read())
    return counters


def textfile(directory: str | None) -> str:
    """Return the path of the metrics in this directory; empty where there are none."""
    path = os.path.join(directory, TEXTFILE) if directory else ""
    return path if os.path.lexists(path) else ""


def write_metrics(directory: str, metrics: list[reporting_metrics.Metric]) -> None:
    """Write a textfile for the Prometheus node exporter. ImportError without its library."""
    import prometheus_client  # noqa: PLC0415 (only where it is wanted)
    from prometheus_client.core import (  # noqa: PLC0415
        CollectorRegistry,
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}

    class Collector:
        def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
            for each in metrics:
                family = kinds[each.kind](each.name, each.help, labels=each.labels)
                for labels, value in each.samples:
                    family.add_metric(labels, value)
                yield family

    registry = CollectorRegistry()
    registry.register(Collector())
    path = os.path.join(directory, TEXTFILE)
    # the exporter is another user
    files.write_atomically(path, prometheus_client.generate_latest(registry), 0o644)
