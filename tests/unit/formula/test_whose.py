"""Whose an installed part is, where two minions live on one host."""

import pytest
from arp_engine.formula import plan, whose


@pytest.fixture
def host(tmp_path):
    """Paths of shared files on a host with two minions, a and b, and what was once c's."""
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "minion").touch()
    (tmp_path / "c").mkdir()
    paths = {name: str(tmp_path / name) for name in plan.paths("/etc/salt", "/")}
    return tmp_path, paths


def write(paths, name, lines, config_dir):
    with open(paths[name], "w", encoding="utf-8") as file:
        file.write("\n".join(whose.marked(lines, str(config_dir))) + "\n")


def test_file_of_another_minion_is_told_with_its_directory(host):
    root, paths = host
    write(paths, "cron", ["# ours", "x"], root / "a")
    write(paths, "record_mark", ["# ours"], root / "a")
    theirs = {"cron": str(root / "a"), "record": str(root / "a")}
    assert whose.foreign(paths, str(root / "b")) == theirs
    assert whose.foreign(paths, str(root / "a")) == {}
    (root / "link").symlink_to(root / "a")
    assert whose.foreign(paths, str(root / "link")) == {}


def test_file_without_a_mark_is_ours(host):
    """An older version wrote it."""
    root, paths = host
    (root / "cron").write_text("# Written by the Salt formula\n")
    (root / "timer").write_bytes(b"\xff\xfe")
    assert whose.foreign(paths, str(root / "b")) == {}


def test_file_of_a_minion_that_is_gone_is_ours(host):
    """A host changes from salt-minion to venv-salt-minion."""
    root, paths = host
    write(paths, "service", ["# ours"], root / "c")
    write(paths, "timer", ["# ours"], root / "none")
    assert whose.foreign(paths, str(root / "b")) == {}


@pytest.mark.parametrize(
    ("theirs", "found", "spared"),
    [
        ({}, {"record": True}, set()),
        ({"record": "/a"}, {"cron": True, "textfile": True}, {"textfile"}),
        ({"cron": "/a"}, {"record": True, "textfile": True}, {"record", "textfile"}),
        ({"cron": "/a"}, {"record": True, "salt": True}, set()),  # of its own schedule
        ({"cron": "/a"}, {"record": False}, set()),
    ],
)
def test_run_history_is_spared_with_its_schedule(theirs, found, spared):
    assert whose.spared(theirs, found) == {**theirs, **dict.fromkeys(spared, "/a")}
