"""A whole audit and a whole heal, on a fleet in memory."""

from arp_engine.fleet import arguments, heal_run
from arp_engine.fleet.audit import Audit
from simulated import Minions

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


def audit(minions, **options):
    return Audit(minions, arguments.parse_all({**AUDIT, **options}))


def heal(minions, **options):
    options = arguments.parse_all({**AUDIT, **HEAL, **options})
    return heal_run.heal(Audit(minions, options), options, RuntimeError)


def healed(kwarg):
    rows = [{"ip": ip, "dev": kwarg["dev"], "old": DEAD, "new": BORN} for ip in kwarg["ip"]]
    return {"healed": rows, "entries": []}


class NotConnected(Minions):
    """The master cannot send a job to db2 any more."""

    def publish(self, tgt, tgt_type, fun, kwarg=None, arg=()):
        if fun == "arp.revalidate" and "db2" in tgt:
            raise RuntimeError("the master is away")
        return super().publish(tgt, tgt_type, fun, kwarg, arg)


def test_heal_stopped_by_the_master_returns_what_was_done():
    tables = {"db1": [row()], "db2": [row()]}
    minions = NotConnected(tables, {"w": interfaces(BORN, IP)}, {"db1": healed, "db2": healed})
    answer = heal(minions)
    assert [each["minion"] for each in answer["healed"]] == ["db1"]
    assert "db2" in [each["minion"] for each in answer["not_reached"]]
    assert answer["summary"][-1] == "Stopped early: the master is away"
    assert answer["interrupted"] is False
