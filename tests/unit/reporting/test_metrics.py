"""The numbers of a host: every one there, none for an address, and Prometheus can read them."""

import re

import pytest
from arp_engine import version
from arp_engine.reporting import metrics, run_history, sinks

# cat /proc/net/stat/arp_cache, Linux 6.1, two CPUs
STAT = """\
entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast \
rcv_probes_ucast periodic_gc_runs forced_gc_runs unresolved_discards table_fulls
0000000c 0000001a 0000000e 00000001 000003e8 000003e7 00000002 00000000 00000000 \
00000047 00000003 0000000a 00000002
0000000c 00000003 00000000 00000000 000000c8 000000c8 00000000 00000000 00000000 \
00000000 00000001 00000001 00000001
"""
STATS = {
    "ipv4": {
        "entries": 3,
        "devices": {"eth0": {"REACHABLE": 2, "STALE": 1}},
        "entries_all_namespaces": 12,
        "entries_limited": 9,
        "gc_thresh1": 128,
        "gc_thresh2": 512,
        "gc_thresh3": 1024,
    },
    "ipv6": {"entries": 0, "devices": {}},
}
MEMORY = {
    **run_history.empty(),
    "last": {"at": 1_800_000_000, "how": "revalidate", "said": "", "failed": ""},
    "totals": {
        "runs": 7,
        "failures": 1,
        "checked": 90,
        "healed": 2,
        "duplicates": 4,
        "still_wrong": 5,
        "gone": 3,
        "flushed": 0,
    },
}


def test_kernel_counters_are_summed_over_processors():
    assert metrics.kernel_counts(STAT) == {
        "table_fulls": 3,
        "forced_gc_runs": 4,
        "unresolved_discards": 11,
    }


SAMPLE = r'(?P<name>[a-z_]+)(\{[a-z]+="[^"\\\\]*"(,[a-z]+="[^"\\\\]*")*\})? [0-9.e+]+'


def check(text):
    """The text format by its own grammar: HELP and TYPE, then the samples of that name alone."""
    assert text.endswith("\n")
    seen, name = set(), None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert name not in seen
            seen.add(name)
        elif line.startswith("# TYPE "):
            assert line.split()[2] == name
            assert line.split()[3] == ("counter" if name.endswith("_total") else "gauge")
        else:
            assert re.fullmatch(SAMPLE, line)["name"] == name, line


@pytest.fixture
def written(tmp_path):
    """The textfile as a scraper reads it: samples by name and labels."""
    parser = pytest.importorskip("prometheus_client.parser")
    counters = {"ipv4": metrics.kernel_counts(STAT)}
    families = metrics.families(STATS, 1, counters, MEMORY, None, 1_800_000_310)
    sinks.write_metrics(str(tmp_path), families)
    path = tmp_path / "arp_hygiene.prom"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644
    check(path.read_text())
    families = list(parser.text_string_to_metric_families(path.read_text()))
    assert all(family.documentation for family in families)
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_prometheus_parses_every_metric(written):
    assert written == {
        ("arp_hygiene_info", version.VERSION): 1,
        ("arp_hygiene_entries", "eth0", "ipv4", "REACHABLE"): 2,
        ("arp_hygiene_entries", "eth0", "ipv4", "STALE"): 1,
        ("arp_hygiene_limit", "ipv4", "thresh1"): 128,
        ("arp_hygiene_limit", "ipv4", "thresh2"): 512,
        ("arp_hygiene_limit", "ipv4", "thresh3"): 1024,
        ("arp_hygiene_entries_all_namespaces", "ipv4"): 12,
        ("arp_hygiene_entries_limited", "ipv4"): 9,
        ("arp_hygiene_suspects",): 1,
        ("arp_hygiene_table_fulls_total", "ipv4"): 3,
        ("arp_hygiene_forced_gc_runs_total", "ipv4"): 4,
        ("arp_hygiene_unresolved_discards_total", "ipv4"): 11,
        ("arp_hygiene_runs_total",): 7,
        ("arp_hygiene_failures_total",): 1,
        ("arp_hygiene_checked_total",): 90,
        ("arp_hygiene_healed_total",): 2,
        ("arp_hygiene_duplicates_total",): 4,
        ("arp_hygiene_still_wrong_total",): 5,
        ("arp_hygiene_gone_total",): 3,
        ("arp_hygiene_flushed_total",): 0,
        ("arp_hygiene_last_run_timestamp_seconds",): 1_800_000_000,
        ("arp_hygiene_next_run_timestamp_seconds",): 1_800_000_310,
        ("arp_hygiene_last_run_success",): 1,
    }


def test_dead_sentinel_is_down_and_keeps_its_counts():
    died = {"lives": False, "why": "process 7 has exited", "told": {"healed": 3, "failed": 1},
            "counts": {"questions": 9}}  # fmt: skip
    for status, lives in ((died, 0), ({**died, "lives": True}, 1)):
        found = metrics.families(STATS, 1, {}, MEMORY, status)
        told = {each.name: dict(each.samples) for each in found}
        assert told["arp_hygiene_sentinel_up"] == {(): lives}
        assert told["arp_hygiene_sentinel_questions"] == {(): 9}
        assert told["arp_hygiene_sentinel_sent_again"] == {(): 0}
        kinds = told["arp_hygiene_sentinel_told"]
        assert (kinds["healed",], kinds["failed",], kinds["alias",]) == (3, 1, 0)
    never = metrics.families(STATS, 1, {}, MEMORY, {"lives": False, "why": "never"})
    assert {each.name: dict(each.samples) for each in never}["arp_hygiene_sentinel_up"] == {(): 0}


def test_failure_before_any_count_is_a_metric():
    memory = {**MEMORY, "last": {**MEMORY["last"], "failed": "EPERM"}}
    told = {each.name: each.samples for each in metrics.families({}, None, {}, memory)}
    assert told["arp_hygiene_last_run_success"] == [((), 0)]
    assert "arp_hygiene_entries" not in told
    assert "arp_hygiene_suspects" not in told
