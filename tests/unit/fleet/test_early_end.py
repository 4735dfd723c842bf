"""An audit or a heal that a person or the master ends early: what is known is not lost."""

import pytest
from simulated import (
    BORN,
    DEAD,
    IP,
    Master,
    audit,
    audited,
    grains,
    heal,
    healed,
    interfaces,
    parsed,
    row,
)


class NotConnected(Master):
    """The master cannot send a job to db2 any more."""

    def publish(self, tgt, tgt_type, fun, arg, kwarg):
        if fun == "arp.revalidate" and "db2" in tgt:
            raise RuntimeError("the master is away")
        return super().publish(tgt, tgt_type, fun, arg, kwarg)


def test_heal_stopped_by_the_master_returns_what_was_done():
    tables = {"db1": lambda kwarg: [row(mac=BORN if kwarg else DEAD)], "db2": [row()]}
    master = NotConnected(tables, {"w": interfaces(BORN, IP)}, {"db1": healed, "db2": healed})
    answer = heal(master)
    assert answer["counts"]["entries"] == 2
    assert [each["minion"] for each in answer["healed"]] == ["db1"]
    assert "db2" in [each["minion"] for each in answer["not_reached"]]
    assert answer["summary"][-1] == "Stopped early: the master is away"
    assert answer["interrupted"] is False


class BusyAmidAWave(Master):
    """The master takes the first job of a wave, and no second one."""

    def publish(self, tgt, tgt_type, fun, arg, kwarg):
        if fun == "arp.revalidate" and kwarg["dev"] == "eth1":
            raise RuntimeError("the master is busy")
        return super().publish(tgt, tgt_type, fun, arg, kwarg)


def test_heal_stopped_amid_a_wave_has_the_answers_to_the_jobs_before():
    """db1 is asked about eth0, and has healed it; the job about eth1 cannot be sent."""
    entries = [row(), row("192.0.2.91", dev="eth1")]

    def table(kwarg):
        return [row(mac=BORN)] if kwarg else entries

    hosts = {"w": interfaces(BORN, IP, "192.0.2.91"), "db1": {}}
    master = BusyAmidAWave({"db1": table}, hosts, {"db1": healed})
    answer = heal(master)
    assert [(each["ip"], each["new"]) for each in answer["healed"]] == [(IP, BORN)]
    why = "perhaps not asked: the master is busy"
    assert answer["not_reached"] == [{"minion": "db1", "why": why}]
    assert master.sent[-1][1:] == ("arp.list", {"ip": [IP]}), "and its table is read again"
    assert answer["summary"][-1] == "Stopped early: the master is busy"
    assert (answer["retcode"], answer["interrupted"]) == (4, False)


class Busy(Master):
    """The master takes no job about interfaces any more."""

    def publish(self, tgt, tgt_type, fun, arg, kwarg):
        if fun == "network.interfaces" and "w2" in tgt:
            raise RuntimeError("the master is busy")
        return super().publish(tgt, tgt_type, fun, arg, kwarg)


def test_audit_stopped_by_the_master_returns_what_is_known():
    hosts = {"db1": {}, "w1": interfaces(BORN, IP), "w2": {}, "w3": {}}
    answer = audit(Busy({"db1": [row()]}, hosts), batch=1)
    assert [each["machine"] for each in answer["wrong"]] == ["w1"]
    why = {each["minion"]: each["why"] for each in answer["silent"]}
    assert why == dict.fromkeys(("w2", "w3"), "not asked: the master is busy")
    assert answer["summary"][-1] == answer["stopped"] == "Stopped early: the master is busy"
    assert answer["retcode"] == 2 + 4


class Interrupted(Master):
    """A person ends the run when so many jobs were sent."""

    def __init__(self, jobs, *words):
        super().__init__(*words)
        self.jobs_left = jobs

    def publish(self, *words):
        self.jobs_left -= 1
        if self.jobs_left < 0:
            raise KeyboardInterrupt
        return super().publish(*words)


@pytest.mark.parametrize("jobs", range(4))
def test_interrupted_audit_names_who_was_not_asked(jobs):
    tables = {"db1": [row()], "db2": [row()]}
    hosts = {"db1": {}, "db2": {}, "w": interfaces(BORN, IP)}
    answer = audit(Interrupted(jobs, tables, hosts), batch=1)
    assert answer["retcode"] == 130
    why = {each["minion"]: each["why"] for each in answer["silent"]}
    asked = ["db1", "db2", "db1", "db2", "w"][:jobs]
    for name in set(tables) | set(hosts):
        wanted = asked.count(name) < (2 if name in tables else 1)
        assert (why.get(name) == "not asked: interrupted") is wanted, (name, why)
    assert answer["counts"]["databases"] == min(jobs, 2)


@pytest.mark.parametrize("truth", ["file", "live"])
def test_interrupted_while_tables_are_read_compares_what_was_read(truth):
    """With the truth that the master has itself: the file, or cached grains."""
    hosts = {"db1": None, "db2": None, "w": None}
    master = Interrupted(1, {"db1": [row()], "db2": [row()]}, hosts)
    master.grains = {"w": grains(BORN, IP, 60)}
    options = parsed()
    options["batch"] = 1
    if truth == "file":
        host = grains(BORN, IP, 5)._replace(source="file")
        options |= {"truth": "file", "truth_file": {"w": host}}
    answer = audited(master, options).answer()
    found = "wrong" if truth == "file" else "unproven"
    assert [each["minion"] for each in answer[found]] == ["db1"]
    assert (answer["counts"]["strangers"], answer["retcode"]) == (0, 130)


def test_interrupted_audit_knows_the_declared_mac_of_the_network():
    master = Interrupted(1, {"db1": [row()], "db2": [row()]}, {"w": None})
    options = parsed(fabric=DEAD)
    host = grains(BORN, IP, 5)._replace(source="file")
    options |= {"truth": "file", "truth_file": {"w": host}, "batch": 1}
    answer = audited(master, options).answer()
    assert (answer["wrong"], answer["counts"]["fabric"], answer["retcode"]) == ([], 1, 130)


def test_audit_stopped_before_any_machine_was_asked_tells_why():
    """And not that there is nothing to compare with."""
    hosts = {"db1": None, "w2": None}
    answer = audit(Busy({"db1": [row()]}, hosts))
    assert answer["summary"][-1] == "Stopped early: the master is busy"
    assert answer["retcode"] == 4


@pytest.mark.parametrize("test", [True, False])
def test_heal_interrupted_during_its_audit_names_the_entries_not_asked_about(test):
    tables = {"db1": [row()], "db2": [row()]}
    hosts = {"db1": {}, "db2": {}, "w": interfaces(BORN, IP), "z": {}}
    master = Interrupted(5, tables, hosts, {"db1": healed, "db2": healed})
    answer = heal(master, batch=1, test=test)
    assert (answer["retcode"], answer["interrupted"]) == (130, True)
    assert [each["minion"] for each in answer["wrong"]] == ["db1", "db2"]
    assert not [each for each in master.sent if each[1] == "arp.revalidate"]
    if not test:
        why = {each["minion"]: each["why"] for each in answer["not_reached"]}
        assert why == dict.fromkeys(("db1", "db2", "z"), "not asked: interrupted")
        assert (answer["healed"], answer["asked"]) == ([], 0)


class InterruptedWait(Master):
    """A person ends the run while the machines are waited for."""

    def events(self, wait_s):
        if self.sent[-1][1] == "network.interfaces":
            raise KeyboardInterrupt
        return super().events(wait_s)


def test_interrupted_audit_tells_who_was_asked_and_who_was_not():
    hosts = {f"w{n}": interfaces(BORN, f"192.0.2.{n}") for n in range(3)}
    answer = audit(InterruptedWait({"db1": [row()]}, hosts), batch=2)
    why = {each["minion"]: each["why"] for each in answer["silent"]}
    assert (
        sorted(why.values()) == ["no answer yet: interrupted"] * 2 + ["not asked: interrupted"] * 2
    )


@pytest.mark.parametrize(
    ("how", "retcode"),
    [(RuntimeError("the master is away"), 4), (KeyboardInterrupt(), 130)],
    ids=["the master", "a person"],
)
def test_database_whose_large_table_is_read_when_the_run_ends_is_silent(how, retcode):
    """Its first answer has come, and part 7 of its table cannot be asked for."""

    def table(kwarg):
        if not kwarg:
            return "VALUE_TRIMMED"
        if kwarg["part"].startswith("7/"):
            raise how
        return {"columns": ["ip"], "rows": []}

    master = Master({"db1": [row(mac=BORN)], "db2": table}, {"w": None})
    options = parsed()
    host = grains(BORN, IP, 5)._replace(source="file")
    options |= {"truth": "file", "truth_file": {"w": host}, "batch": 1}
    answer = audited(master, options).answer()
    why = "interrupted" if retcode == 130 else how
    assert answer["silent"] == [{"minion": "db2", "why": f"no answer yet: {why}"}]
    assert (answer["databases"], answer["wrong"], answer["retcode"]) == (["db1"], [], retcode)


def test_audit_stopped_before_a_doubt_was_settled_is_not_complete():
    """All have answered, and the database is not asked whether the network's MAC answers."""
    rows = [row(f"192.0.2.{n}", DEAD) for n in range(1, 11)]
    hosts = {f"w{n}": interfaces(f"02:00:00:00:01:{n:02x}", f"192.0.2.{n}") for n in range(1, 11)}

    def away(_kwarg):
        raise RuntimeError("the master is away")

    master = Master({"db1": rows}, {**hosts, "db1": {}})
    master.answers["arp.diagnose"] = {"db1": away}
    answer = audit(master)
    assert answer["summary"][-1] == "Stopped early: the master is away"
    assert (answer["silent"], answer["retcode"]) == ([], 2 + 4)


class Blind(Master):
    """The master keeps no cached grains: each minion decides whether it is meant."""

    def match(self, tgt, tgt_type):
        return None if tgt_type == "grain" else super().match(tgt, tgt_type)

    def publish(self, tgt, tgt_type, fun, arg, kwarg):
        names = list(self.answers["arp.list"]) if tgt_type == "grain" else tgt
        return super().publish(names, tgt_type, fun, arg, kwarg)

    def events(self, wait_s):
        yield from super().events(wait_s)
        if self.now > 1:
            raise KeyboardInterrupt


def test_interrupted_audit_without_cached_grains_loses_no_table():
    """db2 hangs when the person ends the run: what db1 has returned is compared."""
    options = parsed(tgt="role:db", tgt_type="grain")
    host = grains(BORN, IP, 5)._replace(source="file")
    options |= {"truth": "file", "truth_file": {"w": host}}
    answer = audited(Blind({"db1": [row()], "db2": None}, {"w": None}), options).answer()
    assert [each["minion"] for each in answer["wrong"]] == ["db1"]
    assert answer["silent"] == [{"minion": "db2", "why": "no answer yet: interrupted"}]
    assert answer["retcode"] == 130


class InterruptedWave(Master):
    """A person ends the run when db1 has answered and db2 has not."""

    def publish(self, tgt, tgt_type, fun, arg, kwarg):
        self.is_heal = fun == "arp.revalidate"
        return super().publish(tgt, tgt_type, fun, arg, kwarg)

    def events(self, wait_s):
        if self.is_heal and not self._bus:
            raise KeyboardInterrupt
        return super().events(wait_s)


def test_interrupted_wave_loses_no_answer():
    tables = {"db1": [row()], "db2": [row()]}
    master = InterruptedWave(tables, {"w": interfaces(BORN, IP)}, {"db1": healed})
    answer = heal(master, share=1)
    assert [each["minion"] for each in answer["healed"]] == ["db1"]
    assert {"minion": "db2", "why": "interrupted before it answered"} in answer["not_reached"]
    assert (answer["retcode"], answer["interrupted"]) == (130, True)
