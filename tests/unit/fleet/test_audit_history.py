"""Recorded runs: new, still, healed since; bounded; their metrics."""

import pytest
from arp_engine.fleet import audit_history

NOW = 1_800_000_000


def row(minion, ip):
    return {"minion": minion, "dev": "eth0", "ip": ip}


def answer(*wrong, databases=("db1", "db2"), retcode=2, **lists):
    lists = {"wrong": list(wrong), "gone": [], "unproven": [], **lists}
    totals = {name: len(rows) for name, rows in lists.items()} | {"silent": 0}
    return {**lists, "totals": totals, "databases": list(databases), "retcode": retcode}


def recorded(*answers, settled=()):
    history = audit_history.empty()
    for number, each in enumerate(answers):
        history = audit_history.with_run(history, NOW + number, "audit", each, settled)
    return audit_history.parse(audit_history.dump(history))


def test_findings_are_new_still_or_healed_since():
    history = recorded(answer(row("db1", "10.0.0.1"), row("db2", "10.0.0.2")))
    now = answer(row("db1", "10.0.0.1"), row("db1", "10.0.0.3"))
    settled = ["db2 eth0 10.0.0.2"]
    assert audit_history.changes(history, now, settled) == {
        "new": 1, "still": 1, "healed since": 1
    }  # fmt: skip
    first, new = audit_history.with_first_seen(history, NOW + 900, now["wrong"])
    assert (first["first_seen"], new["first_seen"]) == (NOW, NOW + 900)


def test_finding_that_is_not_known_to_be_settled_stays_open():
    history = recorded(answer(row("db2", "10.0.0.2")))
    now = answer()
    assert audit_history.changes(history, now, ())["healed since"] == 0
    assert audit_history.with_run(history, NOW, "audit", now, ())["open"] == {
        "db2 eth0 10.0.0.2": NOW
    }


def test_one_database_does_not_take_the_others_place_in_the_history(monkeypatch):
    monkeypatch.setattr(audit_history, "MAX_OPEN", 4)
    history = recorded(answer(*(row("db1", f"10.0.0.{n}") for n in range(9))))
    later = answer(row("db2", "10.0.0.1"), *(row("db1", f"10.0.0.{n}") for n in range(9)))
    history = audit_history.with_run(history, NOW + 9, "audit", later, ())
    assert "db2 eth0 10.0.0.1" in history["open"]
    assert len(history["open"]) == 4


def test_interrupted_audit_is_not_in_the_metrics():
    history = recorded(answer(row("db1", "10.0.0.1")), answer(retcode=130))
    assert "arp_fleet_wrong 1" in audit_history.metrics(history).splitlines()


def interval(*runs):
    """Return the interval in the metrics of these runs: name and minute of each."""
    history = audit_history.empty()
    for name, minute in runs:
        history = audit_history.with_run(history, NOW + 60 * minute, name, answer(), ())
    key = "arp_fleet_interval_seconds "
    lines = audit_history.metrics(history).splitlines()
    return next((int(line.removeprefix(key)) for line in lines if line.startswith(key)), None)


def test_recorded_heal_is_in_the_metrics_with_what_it_has_left():
    rows = [row("db1", f"10.0.0.{n}") for n in range(3)]
    done = answer(*rows, healed=rows[:1], right_meanwhile=rows[1:2])
    history = audit_history.with_run(recorded(answer(*rows)), NOW + 9, "heal", done, ())
    lines = audit_history.metrics(history).splitlines()
    assert "arp_fleet_wrong 1" in lines
    assert "arp_fleet_databases_compared 2" in lines
    assert f"arp_fleet_last_run_timestamp_seconds {NOW + 9}" in lines
    assert history["runs"][-1]["wrong"] == 3, "the trend shows what it had found"


def test_scheduled_heals_have_an_interval():
    assert interval(("heal", 0), ("heal", 15), ("heal", 30)) == 900


def test_one_run_of_a_kind_has_no_interval():
    assert interval(("audit", 0)) is None
    assert interval(("audit", 0), ("heal", 1)) is None


def test_heal_right_after_each_audit_does_not_shorten_the_interval():
    audits = [("audit", 15 * n) for n in range(20)]
    each = [run for _, at in audits for run in (("audit", at), ("heal", at + 1))]
    assert interval(*each) == 900
    assert interval(*audits, ("heal", 286), ("heal", 287)) == 900


def test_interval_follows_a_new_schedule():
    former = [("audit", 15 * n) for n in range(90)]
    assert interval(*former, *(("heal", 1440 * n) for n in range(1, 8))) == 86400


def test_healed_entries_are_not_open_after_a_heal():
    rows = [row("db1", "10.0.0.1"), row("db1", "10.0.0.2")]
    history = recorded(answer(*rows, healed=rows[:1]))
    assert list(history["open"]) == ["db1 eth0 10.0.0.2"]


def test_entry_that_was_given_up_is_settled_unless_its_machine_is_up():
    gone, cut_off = row("db1", "10.0.0.1"), row("db1", "10.0.0.2")
    given_up = [gone, {**cut_off, "why": "its machine is up"}]
    now = answer(gone, cut_off, given_up=given_up)
    assert audit_history.changes(recorded(now), now, ())["still"] == 1
    assert [*recorded(now)["open"]] == ["db1 eth0 10.0.0.2"]
    assert "arp_fleet_wrong 1" in audit_history.metrics(recorded(now)).splitlines()


def test_history_is_bounded(monkeypatch):
    monkeypatch.setattr(audit_history, "MAX_RUNS", 3)
    monkeypatch.setattr(audit_history, "MAX_OPEN", 2)
    many = answer(*(row("db1", f"10.0.0.{n}") for n in range(9)))
    history = recorded(*[many] * 5)
    assert (len(history["runs"]), len(history["open"])) == (3, 2)


def test_twice_in_the_metrics_is_cached_and_proven():
    """Two Docker hosts have 172.17.0.1 for ever: no database holds it."""
    held = {"ip": "172.17.0.1", "held": 0, "truth": "live"}
    rows = [held, {**held, "held": 2, "truth": "cached"}]
    lines = audit_history.metrics(recorded(answer(twice=rows))).splitlines()
    assert "arp_fleet_twice 0" in lines
    rows.append({**held, "held": 1})
    assert "arp_fleet_twice 1" in audit_history.metrics(recorded(answer(twice=rows))).splitlines()


def test_last_success_is_the_first_run_while_no_run_was_complete():
    lines = audit_history.metrics(recorded(answer(retcode=4), answer(retcode=4))).splitlines()
    assert f"arp_fleet_last_success_timestamp_seconds {NOW}" in lines
    assert "arp_fleet_last_success" not in audit_history.metrics(audit_history.empty())


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"runs":[1],"open":{}}', '{"runs":[],"open":{"a":"b"}}', "5",
     '{"runs":[],"open":{}}', "[" * 5000 + "]" * 5000],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_corrupt_history_is_refused(text):
    with pytest.raises(ValueError, match="not a history of ours"):
        audit_history.parse(text)


def test_metrics_are_of_the_last_audit_and_the_last_complete_one():
    history = recorded(answer(row("db1", "10.0.0.1")), answer(retcode=4, databases=["db1"]))
    lines = audit_history.metrics(history).splitlines()
    assert "arp_fleet_wrong 0" in lines
    assert "arp_fleet_databases_compared 1" in lines
    assert f"arp_fleet_last_run_timestamp_seconds {NOW + 1}" in lines
    assert f"arp_fleet_last_success_timestamp_seconds {NOW}" in lines
    assert "arp_fleet_interval_seconds 1" in lines
    assert all(line.startswith(("# HELP", "# TYPE", "arp_fleet_")) for line in lines)


def gauges(history):
    """Return how many entries are wrong and gone by the metrics."""
    lines = audit_history.metrics(history).splitlines()
    return tuple(
        int(line.split()[1])
        for name in ("arp_fleet_wrong ", "arp_fleet_gone ")
        for line in lines
        if line.startswith(name)
    )


DB2 = [{"minion": "db2", "why": "no answer: it is down, or not connected"}]


def test_database_that_is_silent_for_a_run_keeps_its_findings_in_the_metrics():
    """Busy, or its minion restarts: the alert must not end, and come again."""
    first = answer(row("db1", "10.0.0.1"), row("db2", "10.0.0.2"), gone=[row("db2", "10.0.0.3")])
    missed = answer(row("db1", "10.0.0.1"), databases=["db1"], silent=DB2, retcode=2 + 4)
    assert gauges(recorded(first, missed, missed)) == (2, 1)
    assert gauges(recorded(first, missed, answer(row("db1", "10.0.0.1")))) == (1, 0)


def test_database_that_is_meant_no_more_leaves_the_metrics():
    """Its key was deleted: no run names it, and none will read it."""
    first = answer(row("db2", "10.0.0.2"))
    assert gauges(recorded(first, answer(databases=["db1"]))) == (0, 0)


def test_finding_that_was_left_out_when_its_database_was_read_does_not_come_back():
    """It is acknowledged meanwhile; then the database is silent."""
    silent = answer(databases=["db1"], silent=DB2, retcode=4)
    assert gauges(recorded(answer(row("db2", "10.0.0.2")), answer(), silent)) == (0, 0)


def test_audit_that_the_master_stopped_is_not_in_the_metrics():
    history = recorded(answer(row("db1", "10.0.0.1")), answer(retcode=4, stopped="Stopped early"))
    lines = audit_history.metrics(history).splitlines()
    assert "arp_fleet_wrong 1" in lines
    assert f"arp_fleet_last_run_timestamp_seconds {NOW}" in lines


def test_run_that_ended_early_does_not_change_what_a_finding_is():
    """It did not ask the machine, so that cached grains alone contradict the entry."""
    wrong = row("db2", "10.0.0.2")
    early = answer(unproven=[wrong], retcode=4 + 8, stopped="Stopped early")
    silent = answer(databases=["db1"], silent=DB2, retcode=4)
    assert gauges(recorded(answer(wrong), early, silent)) == (1, 0)
