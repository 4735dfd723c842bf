"""What a minion remembers: seven days of heals, totals, the last run; bounded, and never half."""

import pytest
from arp_engine.reporting import run_history
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000
DAY = 86400
HEAL = {"ip": "192.0.2.9", "dev": "eth0", "old": "02:00:00:00:00:0a", "new": "02:00:00:00:00:0b"}


def run(failed="", said="", metrics=None, sentinel=(), selection="", **answer):
    return {
        "selection": selection,
        "sentinel": list(sentinel),
        "how": "revalidate",
        "said": said,
        "failed": failed,
        "metrics": metrics,
        "answer": answer,
    }


def test_totals_add_up_over_runs():
    held = run_history.with_run(
        run_history.empty(), NOW, run(said="1 healed", checked=9, healed=[HEAL], gone=[])
    )
    held = run_history.with_run(held, NOW + 300, run(failed="EPERM", said="EPERM"))
    held = run_history.with_run(
        held, NOW + 600, run(checked=9, healed=[], gone=[HEAL], metrics="/srv/m")
    )
    assert held["totals"] == {
        "runs": 3, "failures": 1, "checked": 18, "healed": 1, "duplicates": 0, "gone": 1,
        "flushed": 0, "still_wrong": 0,
    }  # fmt: skip
    assert held["last"] == {"at": NOW + 600, "how": "revalidate", "said": "", "failed": ""}
    assert held["heals"] == [{"at": NOW, **HEAL, "by": "run"}]
    assert held["metrics"] == "/srv/m"
    assert run_history.parse(run_history.dump(held)) == held


def test_run_without_metrics_forgets_no_metrics():
    held = run_history.with_run(run_history.empty(), NOW, run(metrics="/srv/m"))
    held = run_history.with_run(held, NOW + 300, run())
    assert (held["last"]["at"], held["metrics"], held["metrics_at"]) == (NOW + 300, "/srv/m", NOW)
    former = {key: value for key, value in held.items() if key != "metrics_at"}
    assert run_history.parse(run_history.dump(former))["metrics_at"] == 0


def test_run_by_hand_is_the_last_and_none_of_the_schedule():
    held = run_history.with_run(run_history.empty(), NOW, {**run(), "scheduled": True})
    held = run_history.with_run(held, NOW + 300, run())
    assert (held["last"]["at"], held["scheduled_at"]) == (NOW + 300, NOW)
    assert run_history.parse(run_history.dump(held)) == held
    former = {key: value for key, value in held.items() if key != "scheduled_at"}
    assert run_history.parse(run_history.dump(former))["scheduled_at"] == 0


@pytest.mark.parametrize(
    ("answers", "is_named"),
    [
        ([{"checked": 0}] * 2, False),  # too few to tell
        ([{"checked": 0, "kept": {}}] * 3, True),
        ([{"flushed": 0, "kept": {}}] * 3, True),
        ([{"kept": {"router": 1}}, *[{"checked": 0}] * 9], False),  # idle now, and no typo
        ([{"flushed": 1}, *[{"flushed": 0}] * 9], False),
        ([{"checked": 0, "failed": [{}]}] * 3, False),
    ],
    ids=range(6),
)
def test_selectors_that_never_match_are_named(answers, is_named):
    held, words = run_history.empty(), "'ip=\"10.9.0.0/16\"'"
    for answer in answers:
        held = run_history.with_run(held, NOW, {**run(selection=words), "answer": answer})
        for number in range(2):  # runs by hand, and without selectors
            held = run_history.with_run(held, NOW, run(selection=f"ip={number}"))
            held = run_history.with_run(held, NOW, run())
    held = run_history.parse(run_history.dump(held))
    why = run_history.why_unselected(held, f"arp_hygiene.run {words} event=true")
    assert why.startswith(f"nothing selected: {words} has matched no entry in any of") is is_named
    assert bool(why) is is_named
    assert run_history.why_unselected(held, "arp_hygiene.run event=true") == ""


def test_selections_are_bounded():
    held = run_history.empty()
    for number in range(99):
        held = run_history.with_run(held, NOW, run(selection=f"ip={number}"))
    assert list(held["selections"]) == [f"ip={number}" for number in range(94, 99)]


def test_heal_is_dropped_after_seven_days():
    held = run_history.with_run(run_history.empty(), NOW, run(healed=[HEAL]))
    assert len(run_history.recent_heals(held, NOW + 7 * DAY - 1)) == 1
    assert run_history.recent_heals(held, NOW + 7 * DAY) == []
    assert run_history.with_run(held, NOW + 7 * DAY, run())["heals"] == []
    assert run_history.with_run(held, NOW + 7 * DAY, run())["totals"]["healed"] == 1


def test_heals_of_a_clock_that_was_years_ahead_go_when_it_is_set_back():
    ahead = NOW + 1000 * DAY
    held = run_history.with_run(run_history.empty(), ahead, run(healed=[HEAL] * 2000))
    assert len(held["heals"]) == run_history.MAX_HEALS
    assert run_history.count_recent(held, NOW) == 0
    held = run_history.with_run(held, NOW, run(healed=[HEAL]))
    assert held["heals"] == [{"at": NOW, **HEAL, "by": "run"}]
    seen = [{"at": NOW + 5, **HEAL, "by": "sentinel"}]
    assert run_history.unreported(held, seen, NOW + 9) == seen


def test_sentinel_heals_are_recorded_once_and_in_order():
    early, late = ({"at": NOW + at, **HEAL, "by": "sentinel"} for at in (-5, 5))
    held = run_history.with_run(run_history.empty(), NOW, run(healed=[HEAL], sentinel=[early]))
    assert run_history.unrecorded(held, [early, late]) == [late]
    for _again in range(2):
        held = run_history.with_run(held, NOW + 300, run(sentinel=[early, late]))
    own = {"at": NOW, **HEAL, "by": "run"}
    assert held["heals"] == [early, own, late]
    assert held["totals"]["healed"] == 1, "of the runs; the sentinel counts for itself"
    assert run_history.with_run(held, NOW + 7 * DAY, run(sentinel=[early, late]))["heals"] == [late]


def test_old_sentinel_heal_is_reported_once():
    """Its rows stand in its status until the next boot."""
    old = {"at": NOW, **HEAL, "by": "sentinel"}
    held = run_history.with_run(run_history.empty(), NOW, run(sentinel=[old]))
    for later in (300, 7 * DAY + 300, 7 * DAY + 600):
        assert run_history.unreported(held, [old], NOW + later) == []
        held = run_history.with_run(held, NOW + later, run(sentinel=[old]))
    rows = [{"at": NOW + at, **HEAL, "by": "sentinel"} for at in range(run_history.MAX_HEALS)]
    held = run_history.with_run(
        run_history.empty(), NOW + 2000, run(sentinel=rows, healed=[HEAL] * 9)
    )
    assert run_history.unreported(held, rows, NOW + 2300) == []
    new = {"at": NOW + 2200, **HEAL, "by": "sentinel"}
    assert run_history.unreported(held, [*rows, new], NOW + 2300) == [new]


def test_history_is_bounded():
    held = run_history.empty()
    for hour in range(3):
        held = run_history.with_run(
            held, NOW + hour, run(healed=[HEAL] * 800, totals={"healed": 5000})
        )
    assert len(held["heals"]) == run_history.MAX_HEALS
    assert held["heals"][0]["at"] == NOW + 1, "the oldest go first"
    assert held["totals"]["healed"] == 15000
    assert len(run_history.dump(held)) < 200_000


def test_deletions_are_dropped_before_heals():
    """A flush by a schedule leaves rows without end: "0 healed, 1000 deleted"."""
    held = run_history.with_run(run_history.empty(), NOW, run(healed=[HEAL] * 9))
    for number in range(1, 101):
        rows = [{"at": NOW + number, **HEAL, "new": "", "by": "flush"}] * 20
        held = run_history.with_heals(held, rows)
    assert run_history.count_recent(held, NOW + 200) == 9
    assert len(held["heals"]) == run_history.MAX_HEALS
    assert held["heals"][-1]["at"] == NOW + 100, "the oldest deletions go first"
    assert run_history.parse(run_history.dump(held)) == held
    held = run_history.with_run(held, NOW + 200, run(healed=[HEAL] * 2000))
    assert run_history.count_recent(held, NOW + 200) == run_history.MAX_HEALS


def test_old_heal_that_deletions_have_not_pushed_out_is_recorded():
    held = run_history.with_run(run_history.empty(), NOW, run(healed=[HEAL]))
    rows = [{"at": NOW + 9, **HEAL, "new": "", "by": "flush", "ip": str(n)} for n in range(2000)]
    held = run_history.with_heals(held, rows)
    late = {"at": NOW + 5, **HEAL, "by": "sentinel"}
    assert run_history.unrecorded(held, [late]) == [late]
    only = run_history.with_heals(run_history.empty(), rows)
    assert run_history.unrecorded(only, [late]) == [late]


@given(st.integers(min_value=0))
def test_truncated_text_is_not_a_run_history(length):
    whole = run_history.dump(
        run_history.with_run(run_history.empty(), NOW, run(healed=[HEAL]))
    ).strip()
    truncated = whole[: length % len(whole)]
    with pytest.raises(ValueError, match=r"."):
        run_history.parse(truncated)


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"heals": 5, "totals": {}}', '{"heals": [], "totals": {"runs": "x"}}',
     '{"heals": [5], "totals": {}}', '{"heals": [], "totals": {}, "last": {}}',
     '{"heals": [], "totals": {}, "last": {"at": 5}}',
     '{"heals": [], "totals": {}, "last": {"at": "5", "how": "", "said": "", "failed": ""}}',
     '{"heals": [{"at": 5, "ip": "192.0.2.1"}], "totals": {}}',
     '{"heals": [{"at": null, "ip": "", "dev": "", "old": "", "new": ""}], "totals": {}}',
     '{"heals": [{"at": 5, "ip": [], "dev": "", "old": "", "new": ""}], "totals": {}}',
     '{"heals": [{"at": 5, "ip": "", "dev": "", "old": "", "new": "", "x": []}], "totals": {}}',
     '{"heals": [], "totals": {}, "selections": {"ip": 5}}',
     "[" * 5000 + "]" * 5000],
    ids=lambda text: text[:60],
)  # fmt: skip
def test_other_json_is_not_a_run_history(text):
    with pytest.raises(ValueError, match="not a run history"):
        run_history.parse(text)


def test_time_is_in_utc():
    assert run_history.utc(NOW) == "2027-01-15T08:00:00Z"
    assert run_history.utc(None) == ""


def test_heal_to_the_same_mac_is_not_recorded():
    rows = [{"ip": "192.0.2.1", "dev": "eth0", "old": "a", "new": new} for new in ("a", "b")]
    rows.append({"ip": "21 entries", "dev": "", "old": "", "new": ""})  # of a flush
    assert [row["new"] for row in run_history.heal_rows(rows, "run", 5.0)] == ["b", ""]
