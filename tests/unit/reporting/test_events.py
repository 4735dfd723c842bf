"""The kinds of events: the docs list the same ones, and each is reported somewhere."""

import re

import pytest
from arp_engine.reporting.events import OF_SENTINEL, EventKind


def test_docs_of_the_sentinel_list_its_kinds(repo):
    text = (repo / "docs" / "sentinel.md").read_text(encoding="utf-8")
    table = text.split("## What it tells")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`( !)? \| (.+) \|$", table, re.MULTILINE)
    assert rows == [
        (kind.tag, " !" if kind.is_urgent else "", kind.meaning) for kind in OF_SENTINEL
    ]


def test_docs_of_operation_list_the_kinds_of_a_run(repo):
    text = (repo / "docs" / "operating.md").read_text(encoding="utf-8")
    [table] = re.findall(r"^\| event of a run \|(.+?)\n\n", text, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `arp_hygiene/(\w+)` \| (.+) \|$", table, re.MULTILINE)
    assert rows == [(kind.tag, kind.meaning) for kind in EventKind if kind.by_run]


@pytest.mark.parametrize("kind", EventKind, ids=lambda kind: kind.tag)
def test_each_kind_is_reported_by_some_code(repo, kind):
    paths = [*(repo / "_utils").glob("**/*.py"), *(repo / "_modules").glob("*.py")]
    assert any(
        re.search(rf"EventKind\.{kind.name}\b", path.read_text(encoding="utf-8")) for path in paths
    )


def test_tags_differ():
    assert len({kind.tag for kind in EventKind}) == len(EventKind)
