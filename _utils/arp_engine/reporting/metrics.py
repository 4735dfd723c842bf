"""The numbers of a run as metrics: names, help and samples. No series for an address, ever.

:func:`families` returns plain values; writing them down is another file's business. Standard
library alone, no Salt, no Prometheus.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .events import OF_SENTINEL

# /proc/net/stat/NAME, one for each family: neigh_stat_seq_show in net/core/neighbour.c
STAT_FILES = {"ipv4": "arp_cache", "ipv6": "ndisc_cache"}
_STATS = {
    "table_fulls": "Times the table was full and a new neighbour was refused.",
    "forced_gc_runs": "Times the kernel collected garbage because the table was nearly full.",
    "unresolved_discards": "Packets dropped because their neighbour was not resolved.",
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
    memory: dict[str, Any],
    sentinel: dict[str, Any] | None = None,
) -> list[Metric]:
    """Return every metric of a host.

    stats
        The answer of arp.stats.
    suspects
        How many entries are suspect; None where nobody counted.
    counters
        Family to :func:`kernel_counts`; empty in a network namespace that has no such file.
    memory
        What ``reporting/run_history.py`` remembers, this run included.
    sentinel
        What ``reporting/sentinel_status.py`` reads; None where there is no sentinel, and shall be
        none.
    """
    entries = [
        ((family, device, state), count)
        for family, told in sorted(stats.items())
        for device, states in sorted(told.get("devices", {}).items())
        for state, count in sorted(states.items())
    ]
    limits = [
        ((family, key.removeprefix("gc_")), told[key])
        for family, told in sorted(stats.items())
        for key in _LIMITS
        if key in told
    ]
    everywhere = [
        ((family,), told["entries_all_namespaces"])
        for family, told in sorted(stats.items())
        if "entries_all_namespaces" in told
    ]
    found = [
        Metric("entries", "Entries.", "gauge", ("family", "device", "state"), entries),
        Metric("limit", "gc_thresh1, 2 and 3.", "gauge", ("family", "threshold"), limits),
        Metric(
            "entries_all_namespaces",
            "Entries that count against the limits.",
            "gauge",
            ("family",),
            everywhere,
        ),
        *_of_the_kernel(counters),
        *_of_the_runs(memory),
        *(_of_the_sentinel(sentinel) if sentinel else []),
    ]
    if suspects is not None:
        what = "Entries kept REACHABLE for longer than ARP alone would."
        found.append(Metric("suspects", what, "gauge", (), [((), suspects)]))
    return [each._replace(name=f"arp_hygiene_{each.name}") for each in found if each.samples]


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


def _of_the_runs(memory: dict[str, Any]) -> list[Metric]:
    last = memory["last"]
    counters = {
        "runs": "Runs since this minion remembers.",
        "failures": "Runs that failed.",
        "checked": "Entries that were asked about.",
        "healed": "Entries that held a wrong MAC and got the right one.",
        "gone": "Entries nobody answered for.",
        "flushed": "Entries deleted.",
    }
    found = [
        Metric(name, what, "counter", (), [((), memory["totals"][name])])
        for name, what in counters.items()
    ]
    if last:
        when, well = last["at"], int(not last["failed"])
        seconds = "When the last run ended, in seconds since 1970."
        found.append(Metric("last_run_seconds", seconds, "gauge", (), [((), when)]))
        found.append(
            Metric("last_run_success", "1: the last run did not fail.", "gauge", (), [((), well)])
        )
    return found


def _of_the_sentinel(status: dict[str, Any]) -> list[Metric]:
    """Return what a sentinel counts; one that does not live keeps what it had counted."""
    told, counts = status.get("told", {}), status.get("counts", {})
    tags = sorted(kind.tag for kind in OF_SENTINEL)
    kinds = [((tag,), told.get(tag, 0)) for tag in tags]
    lives = [((), int(status["lives"]))]
    return [
        Metric("sentinel_up", "1: the sentinel lives and watches.", "gauge", (), lives),
        Metric("sentinel_told", "What it has told since boot.", "counter", ("kind",), kinds),
        *(
            Metric(f"sentinel_{name}", what, "counter", (), [((), counts.get(name, 0))])
            for name, what in (
                ("questions", "Addresses it has asked about."),
                ("sent_again", "SYNs it has sent once more after a heal."),
            )
        ),
    ]
