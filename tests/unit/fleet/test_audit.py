"""A whole audit and a whole heal, on a fleet in memory."""

import re

import pytest
from arp_engine.fleet import arguments, heal_run
from arp_engine.fleet.audit import Audit
from arp_engine.fleet.returns import Returns
from arp_engine.fleet.settings import Settings
from simulated import Master

DEAD, BORN = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
IP = "192.0.2.90"
AUDIT = {
    "tgt": "db*", "tgt_type": "glob", "truth": "live", "machines": "*", "machines_type": "glob",
    "networks": None, "exclude": None, "report": None, "limit": 100, "timeout": None, "batch": 200,
}  # fmt: skip
HEAL = {"share": "1/3", "pause": 0, "budget": 10_000, "rate": 500, "test": False}


def row(ip=IP, mac=DEAD, **more):
    """One row as arp.list returns it."""
    return {"ip": ip, "mac": mac, "dev": "eth0", "state": "REACHABLE", "owner": "", **more}


def interfaces(mac, *ips):
    return {"eth0": {"hwaddr": mac, "up": True, "inet": [{"address": ip} for ip in ips]}}


def audited(master, options):
    return Audit(master, Returns(master, 5, 3, master.clock), options)


def parsed(**options):
    return arguments.parse_all({**AUDIT, **options}, Settings())


def audit(master, **options):
    return audited(master, parsed(**options)).answer()


def heal(master, **options):
    options = parsed(**HEAL, **options)
    return heal_run.heal(audited(master, options), options, RuntimeError)


def healed(kwarg):
    rows = [{"ip": ip, "dev": kwarg["dev"], "old": DEAD, "new": BORN} for ip in kwarg["ip"]]
    return {"healed": rows, "entries": []}


class NotConnected(Master):
    """The master cannot send a job to db2 any more."""

    def publish(self, tgt, tgt_type, fun, arg, kwarg):
        if fun == "arp.revalidate" and "db2" in tgt:
            raise RuntimeError("the master is away")
        return super().publish(tgt, tgt_type, fun, arg, kwarg)


def test_heal_stopped_by_the_master_returns_what_was_done():
    tables = {"db1": [row()], "db2": [row()]}
    master = NotConnected(tables, {"w": interfaces(BORN, IP)}, {"db1": healed, "db2": healed})
    answer = heal(master)
    assert [each["minion"] for each in answer["healed"]] == ["db1"]
    assert "db2" in [each["minion"] for each in answer["not_reached"]]
    assert answer["summary"][-1] == "Stopped early: the master is away"
    assert answer["interrupted"] is False


def test_audit_names_wrong_entries_and_silent_machines():
    interfaces_of = {"w": interfaces(BORN, IP), "silent": None}
    answer = audit(Master({"db1": [row()], "db2": None}, interfaces_of))
    assert [(each["minion"], each["mac_true"]) for each in answer["wrong"]] == [("db1", BORN)]
    assert answer["silent"] == [
        {"minion": "db1", "why": "did not return network.interfaces"},
        {"minion": "db2", "why": "did not return arp.list within 5 s"},
        {"minion": "silent", "why": "did not return network.interfaces"},
    ]
    assert (answer["retcode"], answer["conflicts"]) == (6, [])


class Forging(Master):
    """A hostile minion puts an empty table on the bus in db1's name."""

    def events(self, wait_s):
        return [("0", "db1", []), *super().events(wait_s)]


def test_forged_table_hides_nothing_and_costs_the_exit_code():
    answer = audit(Forging({"db1": [row()]}, {"w": interfaces(BORN, IP), "db1": {}}))
    assert [each["minion"] for each in answer["wrong"]] == ["db1"]
    assert [each["minion"] for each in answer["conflicts"]] == ["db1"]
    assert answer["retcode"] == 2 + 4
    assert "1 minion with two different returns: a forged one?" in answer["summary"]


@pytest.mark.parametrize(
    ("master", "line"),
    [
        (Master({}, {"w": interfaces(BORN, IP)}), "no minion matches 'db*' (glob)"),
        (Master({"db1": [row()]}, {}), "nothing to compare with"),
    ],
    ids=["mistyped role", "no interfaces"],
)
def test_nothing_to_look_at_is_an_error_and_not_clean(master, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        audit(master)
