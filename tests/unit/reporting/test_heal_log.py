"""Heals are appended to a file; the next run, or a full file, moves them into the run history."""

import pytest
from arp_engine.reporting import heal_log, run_history, sinks

NOW = 1_800_000_000
RUN = {"how": "revalidate", "said": "", "failed": "", "metrics": None, "answer": {}, "sentinel": []}


def heal(number):
    return {"ip": f"192.0.2.{number}", "dev": "eth0", "old": "02:00:00:00:00:0a", "new": ""}


@pytest.fixture
def record(tmp_path):
    """Return ``(directory, add, heals)``."""
    directory = str(tmp_path / "record")

    def add(number, now=NOW):
        return sinks.record_heals(directory, now, "flush", [heal(number)])

    def heals():
        return [int(row["ip"].split(".")[3]) for row in sinks.read_history(directory)[0]["heals"]]

    return tmp_path / "record", add, heals


def test_heals_are_read_before_and_after_a_run_takes_them_over(record):
    directory, add, heals = record
    assert [add(1), add(2)] == [[], []]
    assert not (directory / "memory.json").exists()
    assert heals() == [1, 2]
    assert sinks.record_run(str(directory), NOW, RUN)[1] == []
    assert not (directory / heal_log.NAME).exists()
    add(3)
    assert heals() == [1, 2, 3]


def test_heals_that_were_taken_over_but_not_removed_are_counted_once(record, monkeypatch):
    directory, add, heals = record
    add(1)
    monkeypatch.setattr(heal_log, "remove", lambda _directory: None)  # killed in between
    sinks.record_run(str(directory), NOW, RUN)
    assert (directory / heal_log.NAME).exists()
    assert heals() == [1]


def test_full_file_is_taken_over_without_a_run(record, monkeypatch):
    directory, add, heals = record
    monkeypatch.setattr(heal_log, "MAX_BYTES", 300)
    for number in range(9):
        assert add(number) == []
        assert not (directory / heal_log.NAME).exists() or (
            (directory / heal_log.NAME).stat().st_size <= 300
        )
    assert heals() == list(range(9))


def test_of_more_heals_than_the_history_holds_only_the_last_are_written(record):
    directory, _add, heals = record
    some = [heal(number % 250) for number in range(10 * run_history.MAX_HEALS)]
    assert sinks.record_heals(str(directory), NOW, "flush", some) == []
    lines = (directory / heal_log.NAME).read_text(encoding="ascii").splitlines()
    assert len(lines) == run_history.MAX_HEALS
    assert heals() == [number % 250 for number in range(9 * run_history.MAX_HEALS, len(some))]


def test_line_that_is_cut_costs_one_heal_and_is_said(record):
    directory, add, heals = record
    add(1)
    with open(directory / heal_log.NAME, "a", encoding="utf-8") as file:
        file.write('{"at": 18\n')
    add(2)
    assert heals() == [1, 2]
    problem = sinks.read_history(str(directory))[1]
    assert problem == f"cannot parse {directory}/heals.jsonl (corrupt): 1 heals are missing"
    assert sinks.record_run(str(directory), NOW, RUN)[1] == [problem]
    assert sinks.read_history(str(directory))[1] == ""


def test_link_in_place_of_the_file_is_not_followed(record, tmp_path):
    directory, add, _heals = record
    directory.mkdir()
    (directory / heal_log.NAME).symlink_to(tmp_path / "elsewhere")
    [line] = add(1)
    assert line.startswith(f"cannot write {directory}/heals.jsonl (")
    assert not (tmp_path / "elsewhere").exists()
