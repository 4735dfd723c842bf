"""The jobs of one wave: how fast they may be together."""

import pytest
from arp_engine.fleet import heal as fleet_heal
from arp_engine.fleet import heal_run
from arp_engine.fleet.returns import Returns
from simulated import BORN, DEAD, HEAL, IP, Master, audited, healed, interfaces, parsed, row
from simulated import heal as run


class Sent(Returns):
    """Notes for how long a job may run."""

    run_s = ()

    def publish(self, *words, **more):
        self.run_s += (more.get("run_s"),)
        return super().publish(*words, **more)


def table(*devs, count=1000):
    return [row(f"10.0.{n >> 8}.{n & 255}", dev=dev) for dev in devs for n in range(count)]


def fleet(tables):
    ips = {each["ip"] for rows in tables.values() for each in rows}
    hosts = {"w": interfaces(BORN, *ips), **{name: {} for name in tables}}
    return Master(tables, hosts, dict.fromkeys(tables, healed))


def asked(master):
    return [(names, kwarg) for names, fun, kwarg in master.sent if fun == "arp.revalidate"]


def test_jobs_of_one_database_have_the_rate_together():
    """1,000 wrong entries on each of two devices: four jobs at the same time."""
    master = fleet({"db1": table("eth0", "eth1")})
    run(master, rate=500, budget=10**6)
    assert [kwarg["rate"] for _, kwarg in asked(master)] == [125] * 4
    assert {len(kwarg["ip"]) for _, kwarg in asked(master)} == {500}


def test_job_may_run_as_long_as_its_own_rate_takes():
    master = fleet({"db1": table("eth0", "eth1")})
    options = parsed(**{**HEAL, "rate": 500, "budget": 10**6})
    audit = audited(master, options)
    audit.returns = Sent(master, 5, 3, master.clock)
    heal_run.heal(audit, options)
    assert audit.returns.run_s[:4] == (fleet_heal.run_s(500, 125),) * 4


def test_job_shared_by_two_databases_is_slow_enough_for_both():
    master = fleet({"db1": table("eth0", count=3), "db2": table("eth0", "eth1", count=3)})
    run(master, rate=500, share=1)
    assert [(names, kwarg["rate"]) for names, kwarg in asked(master)] == [
        (["db1", "db2"], 250),
        (["db2"], 250),
    ]


@pytest.mark.parametrize(("rate", "each"), [(0, 0), (0.01, 0.01), (0.1, 0.05)])
def test_rate_of_each_job_is_one_that_a_database_takes(rate, each):
    master = fleet({"db1": table("eth0", "eth1", count=3)})
    run(master, rate=rate)
    assert [kwarg["rate"] for _, kwarg in asked(master)] == [each] * 2


def undecided(kwarg):
    """Neither healed nor gone; one probe was enough, so that the budget allows another one."""
    row_of = {"dev": kwarg["dev"], "verdict": "undecided", "unicast_asked": 1, "broadcast_asked": 0}
    return {"healed": [], "entries": [{**row_of, "ip": ip} for ip in kwarg["ip"]]}


@pytest.mark.parametrize("again", [{}, [5], [{"ip": IP}], {"columns": [], "rows": []}], ids=str)
def test_malformed_table_after_asking_makes_no_entry_right(again):
    tables = {"db1": lambda kwarg: again if kwarg else [row()]}
    hosts = {"w": interfaces(BORN, IP), "db1": {}}
    done = run(Master(tables, hosts, {"db1": undecided}))
    assert (done["right_meanwhile"], done["still_wrong"]) == ([], [])
    [missed] = done["not_reached"]
    assert missed["minion"] == "db1"
    assert missed["why"].startswith("asked, but afterwards: malformed arp.list return: ")
    assert (done["asked"], done["retcode"]) == (1, 4)


def test_entry_of_a_malformed_table_is_read_again_with_the_next_ones():
    """A table of other addresses does not say that it is corrected."""
    rows, reads = [row("192.0.2.1"), row("192.0.2.2")], []

    def table(kwarg):
        if not kwarg:
            return rows
        reads.append(kwarg["ip"])
        return "no table" if len(reads) == 1 else [r for r in rows if r["ip"] in kwarg["ip"]]

    hosts = {"w": interfaces(BORN, "192.0.2.1", "192.0.2.2"), "db1": {}}
    done = run(Master({"db1": table}, hosts, {"db1": undecided}), budget=fleet_heal.WORST + 20)
    assert reads == [["192.0.2.1"], ["192.0.2.1", "192.0.2.2"]]
    assert {each["ip"] for each in done["still_wrong"]} == {"192.0.2.1", "192.0.2.2"}
    assert (done["right_meanwhile"], done["not_reached"]) == ([], [])


@pytest.mark.parametrize(
    ("databases", "in_waves"), [(0, ""), (1, " in 1 wave"), (2, " in 2 waves")], ids=str
)
def test_what_the_audit_found_reads_as_before_the_heal(databases, in_waves):
    tables = {f"db{number}": lambda _kwarg: [row()] for number in range(databases)}
    tables |= {"db9": lambda _kwarg: []}
    hosts = {"w": interfaces(BORN, IP), **{name: {} for name in tables}}
    done = run(Master(tables, hosts, dict.fromkeys(tables, undecided)))
    first, *more = done["summary"]
    assert first.startswith(f"Before the heal: {databases} entr")
    assert any(f"{databases} asked about{in_waves}: " in line for line in more)


LATEST = "02:00:00:00:00:0c"


def test_entry_healed_to_a_mac_that_its_machine_has_since_the_run_began_is_healed():
    """It was re-created once more while the run waited for its turn."""
    tables = {"db1": [row()]}
    hosts = {"w": interfaces(BORN, IP), "db1": {}}

    def to_latest(_kwarg):
        hosts["w"] = interfaces(LATEST, IP)
        tables["db1"] = [row(mac=LATEST)]
        return {"healed": [{"ip": IP, "dev": "eth0", "old": DEAD, "new": LATEST}], "entries": []}

    master = Master(tables, hosts, {"db1": to_latest})
    done = run(master)
    assert [each["new"] for each in done["healed"]] == [LATEST]
    assert (done["still_wrong"], done["retcode"]) == ([], 0)
    assert master.sent[-1][:2] == (["w"], "network.interfaces"), "one job, for this machine alone"


def confirmed(kwarg):
    told = {"dev": kwarg["dev"], "verdict": "confirmed", "mac": DEAD}
    return {"healed": [], "entries": [{**told, "ip": ip} for ip in kwarg["ip"]]}


def test_entry_whose_address_came_back_to_the_cached_mac_during_the_run_is_right():
    """A VIP: two living machines, of which none has to be shut down."""
    hosts = {"w1": interfaces(BORN, IP), "w2": interfaces(DEAD, "192.0.2.1"), "db1": {}}

    def moves(kwarg):
        hosts["w1"] = interfaces(BORN, "192.0.2.2")
        hosts["w2"] = interfaces(DEAD, "192.0.2.1", IP)
        return confirmed(kwarg)

    done = run(Master({"db1": [row()]}, hosts, {"db1": moves}))
    assert [each["why"] for each in done["right_meanwhile"]] == [fleet_heal.NOT_CONTRADICTED]
    assert (done["still_wrong"], done["retcode"]) == ([], 0)


@pytest.mark.parametrize("again", [None, "broken", {"eth0": 5}, interfaces(BORN, IP)], ids=str)
def test_machine_that_does_not_take_back_its_claim_contradicts_the_entry(again):
    """Also one that is silent or broken when it is asked again: what it said counts."""
    hosts = {"w": interfaces(BORN, IP), "db1": {}}

    def answer(kwarg):
        hosts["w"] = again
        return confirmed(kwarg)

    done = run(Master({"db1": [row()]}, hosts, {"db1": answer}))
    [wrong] = done["still_wrong"]
    assert wrong["why"].endswith("and shut one of the two down")
    assert ("w" in [each["minion"] for each in done["silent"]], done["retcode"]) == (False, 2)


def test_tables_read_after_asking_are_not_lost_where_the_machines_cannot_be_asked_again():
    class Away(Master):
        def publish(self, tgt, tgt_type, fun, arg, kwarg):
            is_again = any(sent[1] == "arp.revalidate" for sent in self.sent)
            if fun == "network.interfaces" and is_again:
                raise RuntimeError("the master is away")
            return super().publish(tgt, tgt_type, fun, arg, kwarg)

    hosts = {"w": interfaces(BORN, IP), "db1": {}}
    done = run(Away({"db1": [row()]}, hosts, {"db1": undecided}))
    assert [each["why"] for each in done["still_wrong"]] == ["still wrong after asking"]
    assert (done["not_reached"], done["retcode"]) == ([], 2)
    assert done["summary"][-1] == "Stopped early: the master is away"
