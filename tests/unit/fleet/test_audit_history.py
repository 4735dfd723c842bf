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


def recorded(*answers):
    history = audit_history.empty()
    for number, each in enumerate(answers):
        history = audit_history.with_run(history, NOW + number, "audit", each)
    return audit_history.parse(audit_history.dump(history))


def test_findings_are_new_still_or_healed_since():
    history = recorded(answer(row("db1", "10.0.0.1"), row("db2", "10.0.0.2")))
    now = answer(row("db1", "10.0.0.1"), row("db1", "10.0.0.3"))
    assert audit_history.changes(history, now) == {"new": 1, "still": 1, "healed since": 1}
    first, new = audit_history.with_first_seen(history, NOW + 900, now["wrong"])
    assert (first["first_seen"], new["first_seen"]) == (NOW, NOW + 900)


def test_entry_of_a_database_that_did_not_answer_is_not_healed():
    history = recorded(answer(row("db2", "10.0.0.2")))
    now = answer(databases=["db1"])
    assert audit_history.changes(history, now)["healed since"] == 0
    assert audit_history.with_run(history, NOW, "audit", now)["open"] == {"db2 eth0 10.0.0.2": NOW}


def test_healed_entries_are_not_open_after_a_heal():
    rows = [row("db1", "10.0.0.1"), row("db1", "10.0.0.2")]
    history = recorded(answer(*rows, healed=rows[:1]))
    assert list(history["open"]) == ["db1 eth0 10.0.0.2"]


def test_history_is_bounded(monkeypatch):
    monkeypatch.setattr(audit_history, "MAX_RUNS", 3)
    monkeypatch.setattr(audit_history, "MAX_OPEN", 2)
    many = answer(*(row("db1", f"10.0.0.{n}") for n in range(9)))
    history = recorded(*[many] * 5)
    assert (len(history["runs"]), len(history["open"])) == (3, 2)


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"runs":[1],"open":{}}', '{"runs":[],"open":{"a":"b"}}', "5",
     '{"runs":[],"open":{}}', "[" * 5000],
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
    assert f"arp_fleet_last_run_seconds {NOW + 1}" in lines
    assert f"arp_fleet_last_success_seconds {NOW}" in lines
    assert all(line.startswith(("# HELP", "# TYPE", "arp_fleet_")) for line in lines)
