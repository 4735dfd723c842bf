"""The counts of a run as metrics: names, help and samples. Never a series for each address.

:func:`families` returns plain values; reporting/sinks.py writes them. Standard library alone, no
Salt, no Prometheus.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import version
from .events import OF_SENTINEL

# /proc/net/stat/NAME, one for each family: neigh_stat_seq_show in net/core/neighbour.c
STAT_FILES = {"ipv4": "arp_cache", "ipv6": "ndisc_cache"}
_STATS = {
    "table_fulls": "Times the table was full and a new neighbour was refused, since boot.",
    "forced_gc_runs": "Garbage collections because the table was nearly full, since boot.",
    "unresolved_discards": "Packets dropped because their neighbour was not resolved, since boot.",
}
_EVERYWHERE = {
    "entries_all_namespaces": "Entries of all network namespaces.",
    "entries_limited": "Those of them that gc_thresh3 limits, at most.",
}
_LIMITS = ("gc_thresh1", "gc_thresh2", "gc_thresh3")


class Metric(NamedTuple):
    """One metric: its samples are pairs of label values and a number."""

    name: str
    help: str
    kind: str  # "gauge" or "counter"
    labels: tuple[str, ...]
    samples: list[tuple[tuple[str, ...], float]]


def kernel_counts(text: str) -> dict[str, int]:
    """Return the counters of one file below /proc/net/stat: hexadecimal, a line for each CPU."""
    head, *rows = (line.split() for line in text.splitlines() if line.strip())
    sums = dict.fromkeys(_STATS, 0)
    for row in rows:
        for name, value in zip(head, row, strict=False):  # a newer kernel may name more
            if name in sums:
                sums[name] += int(value, 16)
    return sums


def families(
    stats: dict[str, Any],
    suspects: int | None,
    counters: dict[str, dict[str, int]],
    history: dict[str, Any],
    sentinel: dict[str, Any] | None = None,
    next_run: float | None = None,
) -> list[Metric]:
    """Return every metric of a host.

    stats
        The answer of arp.stats.
    suspects
        How many entries are suspect; None where they were not counted.
    counters
        Family to :func:`kernel_counts`; empty in a network namespace without such a file.
    history
        The minion's run history (``reporting/run_history.py``), this run included.
    sentinel
        The status that ``reporting/sentinel_status.py`` reads; None where no sentinel is installed.
    next_run
        When the next run is due, in seconds since 1970; None: nobody knows.
    """
    entries = [
        ((family, device, state), count)
        for family, counts in sorted(stats.items())
        for device, states in sorted(counts.get("devices", {}).items())
        for state, count in sorted(states.items())
    ]
    limits = [
        ((family, key.removeprefix("gc_")), counts[key])
        for family, counts in sorted(stats.items())
        for key in _LIMITS
        if key in counts
    ]
    metrics = [
        Metric(
            "info",
            "1; what this minion runs is in the labels.",
            "gauge",
            ("version",),
            [((version.VERSION,), 1)],
        ),
        Metric(
            "entries",
            "Neighbour entries.",
            "gauge",
            ("family", "device", "state"),
            entries,
        ),
        Metric("limit", "gc_thresh1, 2 and 3.", "gauge", ("family", "threshold"), limits),
        *_everywhere(stats),
        *_of_the_kernel(counters),
        *_of_the_runs(history),
        Metric(
            "next_run_timestamp_seconds",
            "When the next run is due, as of the last run, in seconds since 1970-01-01 UTC.",
            "gauge",
            (),
            [((), next_run)] if next_run else [],
        ),
        *(_of_the_sentinel(sentinel) if sentinel else []),
    ]
    if suspects is not None:
        what = "Entries kept REACHABLE for longer than ARP alone would."
        metrics.append(Metric("suspects", what, "gauge", (), [((), suspects)]))
    return [each._replace(name=f"arp_hygiene_{each.name}") for each in metrics if each.samples]


def _everywhere(stats: dict[str, Any]) -> list[Metric]:
    return [
        Metric(
            name,
            what,
            "gauge",
            ("family",),
            [((family,), told[name]) for family, told in sorted(stats.items()) if name in told],
        )
        for name, what in _EVERYWHERE.items()
    ]


def _of_the_kernel(counters: dict[str, dict[str, int]]) -> list[Metric]:
    return [
        Metric(
            name,
            what,
            "counter",
            ("family",),
            [((family,), counts[name]) for family, counts in sorted(counters.items())],
        )
        for name, what in _STATS.items()
    ]


def _of_the_runs(history: dict[str, Any]) -> list[Metric]:
    last = history["last"]
    counters = {
        "runs": "Scheduled runs since the run history began.",
        "failures": "Scheduled runs that failed.",
        "checked": "Entries that were probed.",
        "healed": "Entries whose wrong MAC was replaced by the right one.",
        "duplicates": "Addresses for which two hosts answered.",
        "still_wrong": "Entries for which only another MAC answered, and the kernel kept theirs.",
        "gone": "Entries whose address no host answered for.",
        "flushed": "Entries deleted.",
    }
    metrics = [
        Metric(name, what, "counter", (), [((), history["totals"][name])])
        for name, what in counters.items()
    ]
    if last:
        when, well = last["at"], int(not last["failed"])
        seconds = "When the last run ended, in seconds since 1970-01-01 UTC."
        metrics.append(Metric("last_run_timestamp_seconds", seconds, "gauge", (), [((), when)]))
        metrics.append(
            Metric(
                "last_run_success",
                "1: the last run succeeded.",
                "gauge",
                (),
                [((), well)],
            )
        )
    return metrics


def _of_the_sentinel(status: dict[str, Any]) -> list[Metric]:
    """Return the sentinel's counters; one that is not running keeps its last counts."""
    told_by_kind, counts = status.get("told", {}), status.get("counts", {})
    tags = sorted(kind.tag for kind in OF_SENTINEL)
    kinds = [((tag,), told_by_kind.get(tag, 0)) for tag in tags]
    lives = [((), int(status["lives"]))]
    return [
        Metric(
            "sentinel_up",
            "1: the sentinel is running and watches.",
            "gauge",
            (),
            lives,
        ),
        Metric("sentinel_told", "Events of the sentinel since boot.", "counter", ("kind",), kinds),
        *(
            Metric(f"sentinel_{name}", what, "counter", (), [((), counts.get(name, 0))])
            for name, what in (
                ("questions", "Addresses that the sentinel has probed since boot."),
                ("sent_again", "SYNs that the sentinel has sent again after a heal, since boot."),
            )
        ),
    ]
