"""What people see: answers as shown_80.txt and shown_200.txt have them.

Real ones, from answers.json; but those of arp.diagnose are made here, by the code that judges.

ARP_SHOWN_UPDATE=1 writes both files anew: look at the difference.
"""

import ast
import functools
import importlib.util
import json
import os
import pathlib

import pytest
from arp_engine.diagnose import evidence, verdict
from arp_engine.reporting import run_history
from diagnose_cases import CASES

HERE = pathlib.Path(__file__).parent
ANSWERS = json.loads((HERE / "answers.json").read_text(encoding="utf-8"))
REPO = HERE.parents[2]
DIAGNOSES = {name: evidence.as_dict(seen) for name, (seen, _verdict) in CASES.items()}
GOLDEN = [
    "right", "right: kept alive, and rightly", "corrected: was suspect", "still wrong",
    "still wrong: the next hop", "still wrong: locktime", "still wrong: written back",
    "duplicate", "duplicate: a witness",
    "duplicate: the table is full", "flux", "proxy: beside the holder", "nobody: the table is full",
    "nobody: by hand", "upper layer: for long", "upper layer: connected", "owned: by hand",
    "owned: by zebra", "next hop right", "table full", "no entry", "cannot: no route",
    "cannot: no carrier", "read: an entry", "read: failed",
]  # fmt: skip
ANSWERS |= {f"diagnose: {name}": ("arp.diagnose", DIAGNOSES[name]) for name in GOLDEN}


@pytest.fixture
def outputter():
    spec = importlib.util.spec_from_file_location("arp_answer", REPO / "_output" / "arp_answer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__opts__ = {}
    return module


@pytest.fixture
def shown(outputter, monkeypatch):
    def show(answer, fun="", columns=80, color=False, minion="db1"):
        monkeypatch.setenv("COLUMNS", str(columns))
        outputter.__opts__ = {"fun": fun, "color": color}
        return outputter.output({minion: answer})

    return show


@pytest.mark.parametrize("columns", [80, 200])
def test_answers_are_shown_as_in_the_golden_file(shown, columns):
    path = HERE / f"shown_{columns}.txt"
    text = "\n\n".join(
        f"# {name}\n{shown(answer, fun, columns)}" for name, (fun, answer) in ANSWERS.items()
    )
    if os.environ.get("ARP_SHOWN_UPDATE"):
        path.write_text(f"{text}\n", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == f"{text}\n"


def test_every_function_with_the_outputter_has_an_answer_here(repo):
    named = set()
    for module in ("arp", "arp_hygiene", "arp_hygiene_run", "arp_hygiene_selftest"):
        text = (repo / "_modules" / f"{module}.py").read_text(encoding="utf-8")
        [value] = [
            node.value
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign) and node.targets[0].id == "__outputter__"
        ]
        outputters = eval(ast.unparse(value))  # dict, or dict.fromkeys, of constants
        assert set(outputters.values()) == {"arp_answer"}
        room = module.removesuffix("_run").removesuffix("_selftest")
        named |= {f"{room}.{name.rstrip('_')}" for name in outputters} - {"arp.list_stale"}
    assert named == {fun for fun, _answer in ANSWERS.values()}


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("name", DIAGNOSES)
def test_diagnosis_is_eight_lines_verdict_first_then_what_to_do(shown, name, columns):
    answer = DIAGNOSES[name]
    first, *rest = shown(answer, columns=columns).splitlines()
    assert first == f"db1: {answer['verdict'].upper()}"
    assert len(rest) < 8
    [to_do] = [line.split(maxsplit=1)[1] for line in rest if line.startswith("  do ")]
    assert not answer["cure"] or to_do == answer["cure"]  # in one piece, to be copied
    assert "see the sentence" not in to_do, "the sentence names no act"


def test_every_verdict_is_in_the_golden_files():
    assert {CASES[name][1] for name in GOLDEN} == set(verdict.VERDICTS)


def test_each_text_of_the_outputter_is_of_a_verdict(outputter):
    assert {*outputter.NOTHING_TO_DO, *outputter.NO_COMMAND} <= set(verdict.VERDICTS)
    assert not set(outputter.NOTHING_TO_DO) & set(outputter.NO_COMMAND)


@pytest.mark.parametrize(
    ("name", "kept_by"),
    [
        ("right: kept alive, and rightly", "an application (MSG_CONFIRM), or TCP that arrives"),
        ("upper layer: for long", None),  # the sentence says it
        ("right", None),  # the entry was STALE
    ],
)
def test_diagnosis_shows_what_kept_the_entry_once(shown, name, kept_by):
    text = shown(DIAGNOSES[name], columns=200)
    assert text.count("MSG_CONFIRM") == ("MSG_CONFIRM" in DIAGNOSES[name]["kept_alive_by"])
    lines = [line for line in text.splitlines() if line.startswith("  kept by  ")]
    assert len(lines) == (kept_by is not None)
    assert (kept_by or "") in "".join(lines)


def test_heal_that_is_not_on_record_is_shown_with_the_diagnosis(shown):
    answer = {**DIAGNOSES["corrected"], "warnings": ["cannot write /var/lib/arp: EROFS"]}
    assert "warning  cannot write /var/lib/arp: EROFS" in shown(answer)


def test_silent_host_that_may_live_has_a_question_before_the_command(shown):
    [to_do] = [line for line in shown(DIAGNOSES["upper layer: connected"]).splitlines()
               if line.startswith("  do ")]  # fmt: skip
    assert to_do.index("Then nothing") < to_do.index("arp.revalidate 192.0.2.10")


def test_multicast_is_shown_where_nothing_else_was_selected(shown):
    rows = ANSWERS["list"][1]
    multicast = [row for row in rows if row["owner"] == "multicast"]
    assert multicast
    assert "ff02" not in shown(rows)
    assert "and 2 multicast" in shown(rows)
    assert shown(multicast).count("ff02") == len(multicast)


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"),
     (172_799, "47 h"), (172_800, "2 d"), (864_000, "10 d")],
)  # fmt: skip
def test_age_has_one_unit(outputter, age_s, text):
    assert outputter._age(age_s) == text


def test_cut_list_says_how_many_more(shown):
    assert "refused  and 11 more: limit=0" in shown(ANSWERS["flush: refused"][1])


def test_interrupted_revalidation_says_so_first(shown):
    answer = {**ANSWERS["revalidate"][1], "interrupted": True, "no_outcome": 7}
    first = shown(answer).splitlines()[0]
    assert first.startswith("db1: INTERRUPTED, ")
    assert first.endswith("7 without outcome")


def test_status_without_a_problem_begins_with_the_last_run(shown):
    row = dict(ANSWERS["status: last run failed"][1][0], problem="", installed="cron */5 * * * *")
    assert shown([row]).splitlines()[0] == (
        f"db1: no problem, last run {row['last']}, 0 healed in seven days"
    )


def test_deletions_are_counted_apart_from_heals(shown):
    rows = ANSWERS["healed: and deleted"][1]
    assert shown(rows).splitlines()[0] == "db1: 1 healed, 414 deleted in seven days"
    assert shown(rows[1:2]).splitlines()[0] == "db1: 0 healed, 1 deleted in seven days"


def test_full_history_has_at_least_what_it_holds(outputter, shown):
    assert outputter.MAX_HEALS == run_history.MAX_HEALS
    row = dict(ANSWERS["status: all is well"][1][0], healed_7d=1000)
    assert shown([row]).splitlines()[0].endswith(", at least 1000 healed in seven days")
    heal, *_, deletion = ANSWERS["healed: and deleted"][1]
    first = shown([heal] * 1000).splitlines()[0]
    assert first == "db1: at least 1000 healed in seven days"
    first = shown([heal] * 9 + [{**deletion, "ip": "192.0.2.1"}] * 991).splitlines()[0]
    assert first == "db1: 9 healed, at least 991 deleted in seven days"


def test_cut_selftest_is_not_passed(shown):
    rows = ANSWERS["selftest: failed"][1][:-1]
    assert shown(rows).splitlines()[0].startswith("db1: FAILED: 6 of 7")


@pytest.mark.parametrize(
    "rows", [[{"name": "db9", "old": 1}], [{"ip": "192.0.2.98", "old": "", "new": "", "at": ""}]]
)
def test_rows_of_unknown_shape_are_no_heals(shown, rows):
    text = shown(rows)
    assert "healed" not in text
    assert all(str(value) in text for value in rows[0].values())


def test_several_minions_are_shown_one_after_the_other(outputter):
    data = {
        "db1": ANSWERS["revalidate"][1],
        "db2": "Minion did not return. [No response]",
        "db3": "ERROR: arp.revalidate: \x1b[2J\nTraceback",
        "db4": False,
        "db5": None,
    }
    lines = outputter.output(data).splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        lines[0],
        "db2: Minion did not return. [No response]",
        r"db3: ERROR: arp.revalidate: \x1b[2J",
        "db4: False",
        "db5: None",
    ]


def test_only_a_terminal_gets_bold_and_no_hue(shown):
    calm, urgent = ANSWERS["diagnose: right"][1], ANSWERS["diagnose: duplicate"][1]
    assert "\x1b" not in shown(calm) + shown(urgent)
    assert shown(calm, color=True).startswith("db1: \x1b[1mRIGHT\x1b[0m\n")
    assert shown(urgent, color=True).startswith("db1: \x1b[1;7mDUPLICATE ADDRESS\x1b[0m\n")


BAD = "\x1b[2J\r\x9b"  # clears a terminal
HOSTILE = "\x1b[2J\r\x9b\x07\u202e\udc80"


def hostile(value):
    """Return an answer in which every string, keys but ours too, holds control characters."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, list):
        return [hostile(each) for each in value]
    if isinstance(value, dict):
        return {**{key: hostile(each) for key, each in value.items()}, HOSTILE: 1}
    return value


@pytest.mark.parametrize("name", ANSWERS)
def test_control_characters_are_shown_not_sent(shown, name):
    fun, answer = ANSWERS[name]
    text = shown(hostile(answer), fun, minion=f"db1{HOSTILE}")
    assert all(char.isprintable() for char in text.replace("\n", ""))
    assert r"\x1b[2J" in text


def ragged(value):
    """Yield an answer with one of its values, at any depth, replaced by each kind of rubbish."""
    yield from (None, True, 7, float("inf"), float("nan"), "text", [], [1], {}, {"a": [1]})
    if not isinstance(value, dict | list):
        return
    for place, each in list(value.items() if isinstance(value, dict) else enumerate(value)):
        for other in ragged(each):
            copy = value.copy()
            copy[place] = other
            yield copy
        if isinstance(value, dict):
            yield {key: kept for key, kept in value.items() if key != place}


@pytest.mark.parametrize("name", [name for name in ANSWERS if len(str(ANSWERS[name])) < 2500])
def test_ragged_answer_is_shown_without_an_exception(shown, name):
    fun, answer = ANSWERS[name]
    for other in ragged(answer):
        assert shown(other, fun).startswith("db1:")


@pytest.mark.parametrize("data", [None, "text\x1b", [], 7, {}, {"db1": {1: {None: b"\xff"}}}])
def test_data_that_is_no_answer_is_shown(outputter, data):
    assert outputter.output(data).replace("\n", "").isprintable()


def test_answer_of_another_function_is_shown_as_data(shown):
    assert shown({"a": ["\x1b", 1]}).splitlines() == [
        "db1:", "  {", '    "a": [', r'      "\u001b",', "      1", "    ]", "  }",
    ]  # fmt: skip


def test_answer_that_is_nested_too_deep_ends_no_output(shown):
    """One hostile minion must not hide the answers of the others."""
    deep = functools.reduce(lambda inner, _level: [inner], range(100_000), None)
    assert shown({"healed": deep}) == "db1: nested too deep: see --out=json"


ENTRY = {**ANSWERS["list"][1][0], "ip": "192.0.2.98"}
HEALED = ANSWERS["healed"][1][0]
STATS = ANSWERS["stats"][1]["ipv4"]
FLUSHED = ANSWERS["flush: refused"][1]
PROBED = ANSWERS["revalidate"][1]
SELFTEST = ANSWERS["selftest: failed"][1]


def without(answer, *keys):
    """Return an answer of a version that had no such keys."""
    return {key: value for key, value in answer.items() if key not in keys}


#: Returns that are not as documented, and what a person must see of each.
UNUSUAL = {
    "an error": (f"ERROR: arp.flush: ip: 'db{BAD}' is no address", "is no address"),
    "an exception": (f"The minion function caused an exception:\nKeyError{BAD}", "KeyError"),
    "no return": (f"Minion did not return. [No response]{BAD}", "[No response]"),
    "None": (None, "None"),
    "False": (False, "False"),
    "an empty dict": ({}, "{}"),
    "empty lists": ([[]], "[]"),
    "a list for a dict": ([without(PROBED, "totals")], '"gone"', "192.0.2.12", '"PERMANENT": 2'),
    "a dict for a list": ({"0": ENTRY}, "192.0.2.98", "updated_s"),
    "texts for rows": ([f"192.0.2.98{BAD}", "state"], "192.0.2.98", "state"),
    "a row that is a text": ([ENTRY, f"192.0.2.99{BAD}"], "192.0.2.98", "192.0.2.99"),
    "a row of fewer keys": ([ENTRY, {"ip": f"192.0.2.99{BAD}"}], "192.0.2.98", "192.0.2.99"),
    "rows of nobody": ([{"name": f"db9{BAD}", "old": 1}, {"name": "db8"}], "db9", '"old": 1'),
    "a heal without its sender": ([without(HEALED, "by")], "192.0.2.10", '"new"'),
    "a heal without a new MAC": ([HEALED, without(HEALED, "new")], "192.0.2.10", '"by": "run"'),
    "a status of two": (ANSWERS["status: last run failed"][1] * 2, "the last run failed"),
    "a status of fewer keys": ([{"installed": "cron", "problem": f"late{BAD}"}],
                               "PROBLEM: late", "cron"),
    "interrupted": (
        {**PROBED, "interrupted": True, "no_outcome": 7,
         "changed": [{**HEALED, "ip": "192.0.2.99"}]},
        "INTERRUPTED", "7 without outcome", "192.0.2.99", "before it was certain",
    ),
    "interrupted at once": (
        {**without(PROBED, "checked"), "checked": 0, "interrupted": True, "healed": [], "gone": [],
         "confirmed": 0, "totals": {}, "warnings": [f"stopped{BAD}"]},
        "INTERRUPTED, NOTHING checked", "stopped",
    ),
    "test mode": ({**ANSWERS["revalidate: test mode"][1], "would_check": 0}, "0 would be checked"),
    "test mode of a flush": ({"would_flush": 3, "kept": {f"zebra{BAD}": 1}}, "3 would", "zebra"),
    "rows cut": ({**FLUSHED, "totals": {"failed": 4000}}, "4000 refused", "and 3996 more"),
    "refused without rows": (without(FLUSHED, "failed"), "15 refused", "and 15 more"),
    "a flush without kept": (without(FLUSHED, "kept"), "EBUSY", '"flushed": 5'),
    "stats without warnings": ({"ipv4": without(STATS, "warnings")}, '"gc_thresh3": 1024'),
    "stats without devices": ({"ipv4": {**STATS, "devices": None}}, '"entries": 9'),
    "a selftest that was cut": (SELFTEST[:3], "FAILED: 2 of 3", "0 of 2 connected"),
    "a selftest without figures": ([without(row, "figures") for row in SELFTEST], "FAILED"),
    "a run without problems": (
        without(ANSWERS["run: failed"][1], "problems"), '"success": false', "EBUSY",
    ),
    "a run that says nothing": ({"success": False, "said": "", "problems": [f"disk{BAD}"]}, "disk"),
    "a diagnosis of fewer keys": (
        without(DIAGNOSES["duplicate"], "witnesses", "kept_alive_by"), "2 MACs answer", "duplicate",
    ),
    "an unknown verdict": (
        {**DIAGNOSES["right"], "verdict": "asleep", "sentence": f"It sleeps.{BAD}"},
        "ASLEEP", "It sleeps.", "see the sentence",
    ),
    "a verdict that is a list": (
        {**DIAGNOSES["right"], "verdict": ["right"]}, '"verdict"', "STALE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("columns", [30, 80])
@pytest.mark.parametrize(("answer", "said"), [(a, said) for a, *said in UNUSUAL.values()],
                         ids=UNUSUAL)  # fmt: skip
def test_unusual_return_is_shown_whole_and_harmless(shown, answer, said, columns):
    text = shown(answer, columns=columns)
    assert all(char.isprintable() for char in text.replace("\n", ""))
    words = " ".join(text.split())
    assert [each for each in said if each not in words] == []
