"""One line for each database, the worst first."""

import pytest
from arp_engine import version
from arp_engine.fleet import status
from hypothesis import given
from hypothesis import strategies as st
from simulated import Master, parsed, returned_by


def status_of(**more):
    row = {
        "installed": "cron */5",
        "last": "2026-11-24T07:30:02Z",
        "said": "1 healed",
        "problem": "",
        "version": version.VERSION,
        "code": version.code(),
    }
    return {"ret": [{**row, "healed_7d": 3, "sentinel": "running; healed x", **more}]}


def stats_of(entries=10):
    return {"ret": {"ipv4": {"entries_all_namespaces": entries, "gc_thresh3": 1024}, "ipv6": {}}}


def shown(statuses, stats=None):
    stats = stats or dict.fromkeys(statuses, stats_of())
    return status.answer(set(statuses) | {"down"}, statuses, stats)


def test_worst_database_is_first():
    statuses = {
        "db1": status_of(),
        "db2": status_of(problem="the last run failed"),
        "db3": status_of(last=""),
        "db4": status_of(last="2026-11-01T00:00:00Z"),
        "db5": status_of(installed="", sentinel=""),
    }
    answer = shown(statuses)
    assert [row["minion"] for row in answer["status"]] == ["db2", "db5", "db3", "db4", "db1"]
    assert answer["silent"] == [{"minion": "down", "why": "no answer"}]
    assert answer["retcode"] == 2 + 4
    assert answer["summary"][0] == "5 databases: 2 with a problem, 15 healed in seven days."


def test_full_history_has_at_least_its_heals():
    answer = shown({"db1": status_of(), "db2": status_of(healed_7d=1000)})
    assert answer["summary"][0].endswith(" at least 1003 healed in seven days.")


def test_sentinel_without_a_schedule_is_no_problem():
    [row] = shown({"db1": status_of(installed="")})["status"]
    assert (row["problem"], row["sentinel"]) == ("", "running")


def test_table_near_its_limit_is_a_problem():
    answer = shown({"db1": status_of()}, {"db1": stats_of(820)})
    [row] = answer["status"]
    assert (row["table"], row["problem"]) == ("820 of 1024", "the neighbour table is nearly full")
    assert row["sentinel"] == "running"


def test_mixed_fleet_is_named():
    same = {f"db{number}": status_of() for number in range(3)}
    assert len(shown(same)["summary"]) == 2
    older = {f"old{number}": status_of(version="0.0.9", code="12ab") for number in range(7)}
    other = {"never": {"ret": [{"installed": "cron"}]}, "edited": status_of(code="34cd")}
    answer = shown({**same, **older, **other})
    assert [row["version"] for row in answer["status"] if row["minion"] == "old3"] == ["0.0.9"]
    assert answer["summary"][2:] == [
        "Other version than this master's: an unknown one on never.",
        "Other version than this master's: 0.0.9 (code 12ab) on old0, old1, old2, old3, old4 "
        "and 2 more.",
        f"Other version than this master's: {version.VERSION} (code 34cd) on edited.",
        f"This master has {version.VERSION} (code {version.code()}): sync what is older.",
    ]
    assert answer["retcode"] == 4, "it is no problem: so is each rollout"


class InterruptedBetween(Master):
    """A person ends the run between its two jobs."""

    def publish(self, tgt, tgt_type, fun, arg, kwarg):
        if fun == "arp.stats":
            raise KeyboardInterrupt
        return super().publish(tgt, tgt_type, fun, arg, kwarg)


def test_status_interrupted_between_its_jobs_has_a_row_for_each_database():
    answer = run(InterruptedBetween({}, {}), "db1", "db2")
    assert [(row["minion"], row["last"], row["table"]) for row in answer["status"]] == [
        ("db1", "2026-11-24T07:30:02Z", ""),
        ("db2", "2026-11-24T07:30:02Z", ""),
    ]
    assert [row["why"] for row in answer["silent"]] == ["arp.stats: not asked: interrupted"] * 2
    assert answer["retcode"] == 130


class InterruptedWait(Master):
    """A person ends the run when db2 is asked, db1 has answered, and db3 was not asked."""

    def __init__(self, fun):
        super().__init__({}, {})
        self.fun = fun

    def events(self, wait_s):
        if self.sent[-1][:2] == (["db2"], self.fun):
            raise KeyboardInterrupt
        return super().events(wait_s)


@pytest.mark.parametrize(
    ("fun", "rows", "silent"),
    [
        (
            "arp_hygiene.status",
            ["db1"],
            {
                "db1": "arp.stats: not asked: interrupted",
                "db2": "no answer yet: interrupted",
                "db3": "not asked: interrupted",
            },
        ),
        (
            "arp.stats",
            ["db1", "db2", "db3"],
            {
                "db2": "arp.stats: no answer yet: interrupted",
                "db3": "arp.stats: not asked: interrupted",
            },
        ),
    ],
)
def test_interrupted_status_tells_who_was_asked_and_who_was_not(fun, rows, silent):
    answer = run(InterruptedWait(fun), "db1", "db2", "db3", batch=1)
    assert [row["minion"] for row in answer["status"]] == rows
    assert {row["minion"]: row["why"] for row in answer["silent"]} == silent
    assert answer["retcode"] == 130


class Forging(Master):
    """A hostile minion puts a status of its own on the bus in db1's name."""

    def events(self, wait_s):
        return [("0", "db1", []), *super().events(wait_s)]


def run(master, *names, **options):
    master.answers["test.ping"] = dict.fromkeys(names, True)
    master.answers["arp_hygiene.status"] = dict.fromkeys(names, status_of()["ret"])
    master.answers["arp.stats"] = dict.fromkeys(names, stats_of()["ret"])
    return status.run(master, returned_by(master), parsed(tgt=list(names), **options))


def test_two_returns_under_one_name_cost_the_exit_code():
    answer = run(Forging({}, {}), "db1", "db2")
    assert [row["minion"] for row in answer["status"]] == ["db1", "db2"]
    assert [row["minion"] for row in answer["conflicts"]] == ["db1"]
    assert "1 minion with two different returns: a forged one?" in answer["summary"]
    assert answer["retcode"] == 4
    assert run(Master({}, {}), "db1")["retcode"] == 0


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["last", "problem", "healed_7d", "ipv4", "gc_thresh3", "entries"]),
            inner,
        )
    ),
)


@given(ANYTHING, ANYTHING)
def test_any_answer_is_a_row_or_a_reason(one, other):
    answer = status.answer({"evil"}, {"evil": {"ret": one}}, {"evil": {"ret": other}})
    assert len(answer["status"]) + len(answer["silent"]) == 1
