"""The border to syslog and to files: where a run's words, memory and metrics are put down.

No decision here: text in, OSError out. No Salt; the Prometheus client library, and that only where
metrics are wanted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import syslog
import time
from collections.abc import Iterator
from typing import Any

from . import files, run_history
from . import metrics as reporting_metrics

TAG = "arp_hygiene"
MEMORY = "memory.json"
TEXTFILE = "arp_hygiene.prom"
_LOCK_S = 2.0  # another run holds the memory for milliseconds; a stopped one for ever


def log(line: str, failed: bool = False) -> None:
    """Write one line to syslog, which on a systemd host is the journal. Nobody there: no error."""
    syslog.openlog(TAG, 0, syslog.LOG_DAEMON)
    try:
        syslog.syslog(syslog.LOG_ERR if failed else syslog.LOG_NOTICE, line)
    finally:
        syslog.closelog()


def read(directory: str) -> tuple[run_history.Memory, str]:
    """Return what is remembered, and why that is nothing where it should be something."""
    path = os.path.join(directory, MEMORY)
    try:
        with open(path, encoding="utf-8") as file:
            return run_history.parse(file.read()), ""
    except FileNotFoundError:
        return run_history.empty(), ""
    except (OSError, ValueError) as bad:
        why = bad.strerror if isinstance(bad, OSError) else "torn"
        return run_history.empty(), f"{path} cannot be read, what it held is forgotten: {why}"


def remember(
    directory: str, now: float, run: dict[str, Any]
) -> tuple[run_history.Memory, list[str]]:
    """Add a run to the memory; return it, and a line for each thing that went wrong with that."""
    try:
        with _held(directory):
            memory, forgotten = read(directory)
            memory = run_history.after(memory, now, run)
            path = os.path.join(directory, MEMORY)
            files.write_atomically(path, run_history.dump(memory).encode(), 0o640)
        return memory, [forgotten] if forgotten else []
    except OSError as bad:
        memory = run_history.after(read(directory)[0], now, run)
        return memory, [f"{directory} cannot be written, the run is not remembered: {bad.strerror}"]


@contextlib.contextmanager
def _held(directory: str) -> Iterator[None]:
    """Hold the directory of the memory, so that two runs do not forget each other."""
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
                    break  # to forget a heal is better than not to end
                time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def kernel_counters() -> dict[str, dict[str, int]]:
    """Return the kernel's own counters by family; a container's namespace has none."""
    found = {}
    for family, name in reporting_metrics.STAT_FILES.items():
        with contextlib.suppress(OSError), open(f"/proc/net/stat/{name}", encoding="ascii") as file:
            found[family] = reporting_metrics.kernel_counts(file.read())
    return found


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
