"""What people see of the fleet: fleet_answers.json as fleet_80.txt and fleet_120.txt show it.

ARP_SHOWN_UPDATE=1 writes both files anew: look at the difference.
"""

import importlib.util
import json
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
ANSWERS = json.loads((HERE / "fleet_answers.json").read_text(encoding="utf-8"))


@pytest.fixture
def show(monkeypatch):
    path = HERE.parents[2] / "_output" / "arp_fleet.py"
    spec = importlib.util.spec_from_file_location("arp_fleet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def show(answer, columns=None):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: columns is not None, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        return module.output(answer)

    return show


@pytest.mark.parametrize("columns", [80, 120])
def test_answers_are_shown_as_in_the_golden_file(show, columns):
    path = HERE / f"fleet_{columns}.txt"
    text = "\n\n".join(f"# {name}\n{show(each, columns)}" for name, each in ANSWERS.items())
    assert max(map(len, text.splitlines())) <= columns
    if os.environ.get("ARP_SHOWN_UPDATE"):
        path.write_text(f"{text}\n", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == f"{text}\n"


@pytest.mark.parametrize("columns", [None, 200])
def test_table_has_120_columns_at_most_in_a_file_and_on_a_wide_terminal(show, columns):
    assert show(ANSWERS["audit"], columns) == show(ANSWERS["audit"], 120)


@pytest.mark.parametrize("columns", [1, 20, 40])
def test_tiny_terminal_loses_no_address(show, columns):
    text = show(ANSWERS["audit"], columns)
    assert "10.0.1.90" in text
    assert "jid 2026" in text


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (270_000, "3 d"), (None, "")],
)
def test_age_is_shown_in_its_largest_unit(show, seconds, age):
    rows = [{"minion": "db1", "ip": "10.0.0.1", "unchanged_s": seconds}]
    shown = show({"summary": [], "wrong": rows, "jid": "1"})
    assert shown.splitlines()[-3].split("10.0.0.1")[1].strip() == age


AUDIT = ANSWERS["audit"]
ROW = {"minion": "db1", "ip": "10.0.1.90", "mac": "02:00:00:00:00:0a"}
BAD = "\x1b[2J\r\x9b"  # clears a terminal
UNUSUAL = {
    "an error": {"error": f"arp.audit: no{BAD}\nsuch role", "retcode": 1, "jid": "2026"},
    "an exception": f"Exception occurred in runner arp.audit: Traceback{BAD}\nKeyError: 'a'",
    "None": None,
    "a number": 7,
    "a list": [{"minion": f"db1{BAD}"}, "db2"],
    "rows alone": {"wrong": [{**ROW, "minion": f"db1{BAD}"}]},
    "without a job id": {"summary": [f"1 wrong{BAD}"], "wrong": [ROW]},
    "a row of fewer keys": {"summary": ["2 wrong"], "wrong": [ROW, {"ip": f"10.0.1.91{BAD}"}]},
    "a row that is a text": {"summary": ["2 wrong"], "wrong": [ROW, f"10.0.1.91{BAD}"]},
    "a table that is a dict": {"summary": ["1 wrong"], "wrong": {"10.0.1.92": ROW}},
    "a table that is None": {"summary": ["0 wrong"], "wrong": None, "jid": None},
    "an age that is a text": {"summary": [], "wrong": [{**ROW, "unchanged_s": "3"}], "jid": "1"},
    "an endless age": {"summary": [], "wrong": [{**ROW, "unchanged_s": float("inf")}]},
    "a summary that is a text": {"summary": f"2 wrong{BAD}", "wrong": [ROW]},
    "interrupted": {**AUDIT, "retcode": 130, "summary": [*AUDIT["summary"], f"interrupted{BAD}"]},
    "of an older version": {"summary": AUDIT["summary"], "wrong": AUDIT["wrong"]},
}


@pytest.mark.parametrize("columns", [None, 60])
@pytest.mark.parametrize("answer", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_answer_is_shown_whole_and_harmless(show, answer, columns):
    text = show(answer, columns)
    assert all(char.isprintable() for char in text.replace("\n", ""))
    for said in ["10.0.1.90", "10.0.1.91", "10.0.1.92", "such role", "KeyError", "db2", "2 wrong"]:
        assert (said in str(answer)) <= (said in text), said


def test_answer_without_a_job_id_is_a_table_all_the_same(show):
    text = show({"summary": ["1 wrong"], "wrong": [ROW]}, 80)
    assert text.splitlines()[0] == "1 wrong"
    assert text.endswith("jid unknown")
