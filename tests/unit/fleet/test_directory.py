"""What a run reads and writes on the master."""

import os
import time

import pytest
import yaml
from arp_engine.fleet import audit_history, directory, heal_run
from arp_engine.fleet.settings import Settings
from simulated import BORN, HEAL, IP, Master, audited, interfaces, parsed, row

ENTRY = {"minion": "db1", "dev": "eth0", "ip": "192.0.2.1"}


def answer(*wrong):
    return {
        "wrong": list(wrong), "gone": [], "unproven": [], "databases": ["db1"], "summary": [],
        "totals": {"wrong": len(wrong)}, "retcode": 2 if wrong else 0,
    }  # fmt: skip


def remembered(path, told, is_recorded=True, settled=()):
    settings, began = Settings(str(path)), time.time()
    directory.remember("audit", told, is_recorded, settings, began, lambda _: set(settled))
    return told


def test_run_that_is_not_recorded_is_compared_and_writes_nothing(tmp_path):
    remembered(tmp_path, answer(ENTRY))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    told = remembered(tmp_path, answer(), is_recorded=False)
    assert told["history"]["changes"] == {"new": 0, "still": 0, "healed since": 0}
    told = remembered(tmp_path, answer(), is_recorded=False, settled=["db1 eth0 192.0.2.1"])
    assert told["summary"] == ["Since the recorded runs: 0 new, 0 still, 1 healed since."]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_corrupt_history_begins_anew_and_says_so(tmp_path):
    (tmp_path / audit_history.FILE).write_text("[" * 9, encoding="utf-8")
    [line] = remembered(tmp_path, answer(ENTRY))["summary"]
    assert line.startswith("The history is not readable, and begins anew: ")


def test_history_that_would_be_too_large_to_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "MAX_HISTORY", 1000)
    long = {**ENTRY, "dev": "e" * 1000}
    told = remembered(tmp_path, answer(long))
    assert told["summary"] == ["Too many findings to remember: the next run calls all of them new."]
    told = remembered(tmp_path, answer(long), is_recorded=False)
    assert told["summary"] == ["Since the recorded runs: 1 new, 0 still, 0 healed since."]
    assert (tmp_path / directory.METRICS).exists()


def test_run_that_cannot_be_recorded_is_not_exit_code_0():
    told = remembered("/proc/self", answer())
    assert told["retcode"] == 1
    assert told["summary"][-1].startswith("The run could not be recorded: ")


@pytest.mark.parametrize("text", ["a: b: c", "{", "\t- x", "!!python/object:os.system {}"])
def test_acknowledgements_that_are_no_yaml_are_one_line(tmp_path, text):
    path = tmp_path / "known.yaml"
    path.write_text(text, encoding="utf-8")
    options = {"truth_path": ""}
    with pytest.raises(ValueError, match=r"^acknowledged: [^\n]*is not YAML: [^\n]*$"):
        directory.read_inputs(options, Settings(acknowledged=str(path)), yaml.safe_load)


def test_truth_file_is_as_old_as_it_was_written(tmp_path):
    """Its export may have ended months ago."""
    path = tmp_path / "netbox.csv"
    path.write_text("address,mac,machine\n192.0.2.1,02:00:00:00:00:0b,w\n", encoding="utf-8")
    options = {"truth_path": str(path), "memory_days": 30}
    for days, addresses in ((29, 1), (31, 0)):
        written_at = time.time() - days * 86400
        os.utime(path, (written_at, written_at))
        directory.read_inputs(options, Settings(), None)
        assert len(options["truth_file"]["w"].addresses) == addresses
        assert options["truth_age_s"] // 86400 == days


def fleet_gauge(path):
    lines = (path / directory.METRICS).read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("arp_fleet_wrong "))


@pytest.mark.parametrize("first_seen", ["meanwhile", "before"])
def test_heal_does_not_settle_what_an_audit_found_after_its_tables_were_read(tmp_path, first_seen):
    """The worker is re-created while the heal runs; the scheduled audit of that time sees it."""
    worker, settings, began = "02:00:00:00:00:0c", Settings(str(tmp_path)), time.time()
    master = Master({"db1": [row(mac=BORN)]}, {"db1": {}, "w": interfaces(worker, IP)})
    if first_seen == "before":
        early = audited(master, parsed())
        directory.remember("audit", early.answer(), True, settings, began, early.settled)
    master.answers["network.interfaces"]["w"] = interfaces(BORN, IP)
    heal, began = audited(master, parsed(**HEAL)), time.time()
    master.answers["network.interfaces"]["w"] = interfaces(worker, IP)
    later = audited(master, parsed())
    directory.remember("audit", later.answer(), True, settings, time.time(), later.settled)
    assert fleet_gauge(tmp_path) == "arp_fleet_wrong 1"
    done = heal_run.heal(heal, parsed(**HEAL))
    directory.remember("heal", done, True, settings, began, heal.settled)
    assert fleet_gauge(tmp_path) == "arp_fleet_wrong 1"
    assert "1 healed since" not in " ".join(done["summary"])
    assert done["summary"][-1] == (
        "Recorded findings that stay open, as their database was not read or a later run has seen "
        f"them: db1 eth0 {IP}."
    )
    master.answers["arp.list"]["db1"] = [row(mac=worker)]
    last, began = audited(master, parsed()), time.time()
    directory.remember("audit", last.answer(), True, settings, began, last.settled)
    assert fleet_gauge(tmp_path) == "arp_fleet_wrong 0"
    assert "eth0" not in (tmp_path / audit_history.FILE).read_text(encoding="utf-8")


def test_finding_of_a_clock_that_was_set_back_can_be_settled(tmp_path):
    ahead = time.time() + 86400
    history = audit_history.with_run(audit_history.empty(), ahead, "audit", answer(ENTRY), ())
    (tmp_path / audit_history.FILE).write_text(audit_history.dump(history), encoding="utf-8")
    told = remembered(tmp_path, answer(), settled=["db1 eth0 192.0.2.1"])
    assert told["history"]["changes"]["healed since"] == 1


def test_database_whose_table_is_malformed_was_not_read(tmp_path):
    master = Master({"db1": [row()]}, {"db1": {}, "w": interfaces(BORN, IP)})
    settings = Settings(str(tmp_path))
    for table in ([row()], ["no row"]):
        master.answers["arp.list"]["db1"] = table
        audit, began = audited(master, parsed()), time.time()
        directory.remember("audit", audit.answer(), True, settings, began, audit.settled)
    assert fleet_gauge(tmp_path) == "arp_fleet_wrong 1"
