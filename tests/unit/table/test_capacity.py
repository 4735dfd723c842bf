"""When a table counts as nearly full, and which sizes the warning names."""

import pytest
from arp_engine.table import capacity


@pytest.mark.parametrize(
    ("counted", "gc_thresh3", "line"),
    [
        (819, 1024, ""),
        (
            820,
            1024,
            "ipv4 neighbour table at most 80 % full: 820 of gc_thresh3 1024, "
            "all namespaces together; set gc_thresh2 1024, gc_thresh3 2048",
        ),
        (
            1100,
            1024,
            "ipv4 neighbour table at most 107 % full: 1100 of gc_thresh3 1024, "
            "all namespaces together; set gc_thresh2 2048, gc_thresh3 4096",
        ),
        (0, 0, ""),
    ],
    ids=["below 80 %", "80 %", "over the limit", "no table"],
)
def test_warning_from_80_percent_names_the_sizes_to_set(counted, gc_thresh3, line):
    assert capacity.warning("ipv4", counted, counted, gc_thresh3, is_collecting=False) == line


@pytest.mark.parametrize(("is_collecting", "warns"), [(False, False), (True, True)], ids=str)
def test_entries_not_seen_warn_only_where_the_kernel_collects(is_collecting, warns):
    """An overlay's PERMANENT entries are in another namespace, and no limit counts them."""
    assert bool(capacity.warning("ipv4", 1100, 20, 1024, is_collecting)) == warns


def test_line_in_the_sentinels_page_is_the_real_one(repo):
    line = capacity.warning("ipv4", 983, 983, 1024, is_collecting=False)
    assert f"| `{line}` |" in (repo / "docs/sentinel.md").read_text(encoding="utf-8")
