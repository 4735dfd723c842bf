"""A whole audit and a whole heal, on a fleet in memory."""

import re

import pytest
from arp_engine.fleet import acknowledge, arguments, heal_run, inventory, truth_file
from arp_engine.fleet.audit import Audit
from arp_engine.fleet.returns import Returns
from arp_engine.fleet.settings import Settings
from arp_engine.table import listing, parse
from simulated import Master

DEAD, BORN = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
IP = "192.0.2.90"
AUDIT = {
    "tgt": "db*", "tgt_type": "glob", "truth": "live", "machines": "*", "machines_type": "glob",
    "networks": None, "exclude": None, "report": None, "limit": 100, "timeout": None, "batch": 200,
    "fabric": None, "sample": None,
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
    options = parsed(**{**HEAL, **options})
    return heal_run.heal(audited(master, options), options)


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
    tables = {"db1": lambda kwarg: [row(mac=BORN if kwarg else DEAD)], "db2": [row()]}
    master = NotConnected(tables, {"w": interfaces(BORN, IP)}, {"db1": healed, "db2": healed})
    answer = heal(master)
    assert answer["counts"]["entries"] == 2
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
        (Master({"db1": [row()]}, {}), "nothing to compare with: no machine answered"),
    ],
    ids=["mistyped role", "no interfaces"],
)
def test_nothing_to_look_at_is_an_error_and_not_clean(master, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        audit(master)


def test_mistyped_machines_are_an_error_and_make_no_address_gone():
    """Nobody is left to be heard: every address of a closed network would be gone."""
    master = Master({"db1": [row()]}, {"w": interfaces(BORN, IP)})
    master.grains = {"former": grains(DEAD, "192.0.2.7", 60)}
    with pytest.raises(ValueError, match=r"^no minion matches machines=\['wrokers'\] \(list\)$"):
        audit(master, machines=["wrokers"], networks="192.0.2.0/24")


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
    assert answer["summary"][-1] == "Stopped early: the master is busy"
    assert answer["retcode"] == 2 + 4


def test_name_in_a_list_that_is_no_minion_is_silent():
    master = Master({"db1": [row()]}, {"w": interfaces(BORN, IP), "db1": {}})
    answer = audit(master, tgt=["db1", "db9"], machines=["w", "db1", "w9"])
    assert answer["silent"] == [
        {"minion": name, "why": "no minion of this name is accepted here"} for name in ("db9", "w9")
    ]
    assert answer["retcode"] == 2 + 4


class Registering(Master):
    """A hostile minion has registered names that match the databases' target."""

    def match(self, tgt, tgt_type):
        return super().match(tgt, tgt_type) | {f"db{number}" for number in range(100, 1100)}


def test_matched_name_without_an_accepted_key_is_not_asked():
    master = Registering({"db1": [row()]}, {"w": interfaces(BORN, IP), "db1": {}})
    answer = audit(master)
    assert (answer["silent"], answer["retcode"]) == ([], 2)
    assert [each[0] for each in master.sent if each[1] == "arp.list"] == [["db1"]]


def test_lying_database_has_few_questions_asked():
    """Each of its devices shows another MAC for three machines."""
    rows = [row(f"192.0.2.{n}", f"02:00:00:00:dd:{m:02x}", dev=f"eth{m}")
            for m in range(50) for n in (1, 2, 3)]  # fmt: skip
    hosts = {f"w{n}": interfaces(f"02:00:00:00:01:{n:02x}", f"192.0.2.{n}") for n in (1, 2, 3)}
    master = Master({"db1": rows}, {**hosts, "db1": {}})
    assert len(audit(master)["wrong"]) == len(rows)
    questions = [each for each in master.sent if each[1] == "arp.diagnose"]
    assert len(questions) == 8 * 2


GATEWAY = "12:34:56:78:9a:bc"


def diagnose(verdict):
    return lambda kwarg: {"verdict": verdict, "answers_ms": {GATEWAY: 0.3}, "ip": kwarg["ip"]}


def proxied(verdict):
    """Two databases behind a gateway that answers for ten machines, or a dead host of all ten."""
    rows = [row(f"192.0.2.{n}", GATEWAY) for n in range(1, 11)]
    hosts = {f"w{n}": interfaces(f"02:00:00:00:01:{n:02x}", f"192.0.2.{n}") for n in range(1, 11)}
    hosts |= {"db1": {}, "db2": {}}
    master = Master({"db1": rows, "db2": rows}, hosts)
    master.answers["arp.diagnose"] = {"db1": diagnose(verdict), "db2": diagnose(verdict)}
    return master


def test_wrong_entry_beside_the_gateway_shows_the_gateways_mac():
    master = proxied("right")
    master.answers["arp.list"]["db1"][0]["mac"] = DEAD
    [wrong] = [each for each in audit(master)["wrong"] if each["minion"] == "db1"]
    assert (wrong["mac"], wrong["mac_true"]) == (DEAD, GATEWAY)


def test_network_that_answers_for_every_address_is_one_finding_and_exit_code_0():
    master = proxied("right")
    answer = audit(master)
    assert (answer["wrong"], answer["retcode"]) == ([], 0)
    assert answer["fabric"] == [{"mac": GATEWAY, "machines": 10, "addresses": 10, "databases": 2}]
    assert f"{GATEWAY} answers for 10 machines on 2 databases" in "".join(answer["summary"])
    questions = [each for each in master.sent if each[1] == "arp.diagnose"]
    assert [each[0] for each in questions] == [["db1", "db2"]] * 2, "two addresses"


def test_dead_host_of_many_addresses_is_wrong_and_not_the_network():
    answer = audit(proxied("nobody answers"))
    assert (len(answer["wrong"]), answer["fabric"], answer["retcode"]) == (20, [], 2)


def test_lying_database_makes_no_other_databases_entries_right():
    """It shows a dead host's MAC for many machines, and says that this MAC answers."""
    master = proxied("nobody answers")
    master.answers["arp.diagnose"]["db1"] = diagnose("right")
    answer = audit(master)
    assert {each["minion"] for each in answer["wrong"]} == {"db2"}
    assert answer["retcode"] == 2


def test_declared_network_mac_is_not_asked_about():
    master = proxied("nobody answers")
    assert audit(master, fabric=GATEWAY)["retcode"] == 0
    assert not [each for each in master.sent if each[1] == "arp.diagnose"]


def grains(mac, ip, age_s):
    return inventory.from_interfaces(interfaces(mac, ip), "cached", age_s)


@pytest.mark.parametrize(("age_days", "unproven"), [(29, 1), (31, 0)])
def test_grains_older_than_memory_days_contradict_nobody(age_days, unproven):
    master = Master({"db1": [row()]}, {"w": None, "db1": interfaces(DEAD, "192.0.2.1")})
    master.grains = {"w": grains(BORN, IP, age_days * 86400)}
    answer = audit(master)
    assert (len(answer["unproven"]) > 0 and answer["unproven"][0]["machine"] == "w") is bool(
        unproven
    )
    assert "w" in {each["minion"] for each in answer["silent"]}


def test_cached_truth_asks_the_machines_that_an_entry_disagrees_with():
    master = Master(
        {"db1": [row()]}, {"w": interfaces(BORN, IP), "idle": interfaces(DEAD, "192.0.2.7")}
    )
    master.grains = {"w": grains(BORN, IP, 60), "idle": grains(DEAD, "192.0.2.7", 60)}
    answer = audit(master, truth="cached")
    assert [each["truth"] for each in answer["wrong"]] == ["live"]
    assert [each[0] for each in master.sent if each[1] == "network.interfaces"] == [["w"]]
    assert "does not see" in answer["summary"][-1]


def test_sample_tells_how_far_the_cached_grains_are_right():
    hosts = {f"w{n}": interfaces(BORN, f"192.0.2.{n}") for n in range(1, 101)}
    hosts["db1"] = interfaces(BORN, "192.0.2.200")
    master = Master({"db1": [row("192.0.2.1", BORN)]}, hosts)
    master.grains = {f"w{n}": grains(DEAD, f"192.0.2.{n}", 60) for n in range(1, 101)}
    answer = audit(master, truth="cached", sample="5%")
    asked = [name for each in master.sent if each[1] == "network.interfaces" for name in each[0]]
    assert len(set(asked)) in (5, 6), "and the one behind the entry"
    assert "Sample: 5 of 5 machines differ from their cached grains." in answer["summary"]


def test_truth_from_a_file_asks_no_machine():
    master = Master({"db1": [row()]}, {})
    options = parsed()
    options["truth"], options["truth_file"] = (
        "file",
        {"w": grains(BORN, IP, 5)._replace(source="file")},
    )
    answer = audited(master, options).answer()
    assert [(each["machine"], each["truth"]) for each in answer["wrong"]] == [("w", "file")]
    assert (answer["silent"], answer["retcode"]) == ([], 2)
    assert [each[1] for each in master.sent] == ["arp.list"]


def test_old_rows_of_the_truth_file_contradict_nobody():
    master = Master({"db1": [row(), row("192.0.2.7", BORN)]}, {})
    options = parsed()
    options["truth"], options["truth_file"] = (
        "file",
        {
            "old": grains(BORN, IP, 31 * 86400)._replace(source="file"),
            "young": grains(BORN, "192.0.2.7", None)._replace(source="file"),
        },
    )
    answer = audited(master, options).answer()
    assert (answer["wrong"], answer["counts"]["agree"]) == ([], 1)
    assert [each["minion"] for each in answer["silent"]] == ["old"]


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


def test_heal_counts_add_up_and_has_the_exit_code_of_audit():
    ips = [f"192.0.2.{n}" for n in range(1, 6)]
    twice = "192.0.2.9"
    tables = {"db1": [row(ip) for ip in ips] + [row(twice, BORN)]}
    hosts = {
        "w": interfaces(BORN, *ips, twice),
        "other": interfaces("02:00:00:00:00:0c", twice),
        "db1": {},
    }
    entry = {"unicast_asked": 1, "broadcast_asked": 0}

    def answer(kwarg):
        tables["db1"][:] = [row(ips[2]), row(twice, BORN)]  # one resists
        return {
            "healed": [{"ip": ips[0], "dev": "eth0", "old": DEAD, "new": BORN}],
            "gone": [{"ip": ips[1], "dev": "eth0"}],
            "entries": [{**entry, "ip": ip, "dev": "eth0", "verdict": "healed"} for ip in ips],
        }

    done = heal(Master(tables, hosts, {"db1": answer}))
    buckets = {
        key: len(done[key]) for key in ("healed", "given_up", "still_wrong", "right_meanwhile")
    }
    assert buckets == {"healed": 1, "given_up": 1, "still_wrong": 1, "right_meanwhile": 2}
    assert sum(buckets.values()) == done["asked"]
    assert done["retcode"] == 2


def test_address_claimed_twice_is_the_exit_code_of_a_heal_too():
    hosts = {"w": interfaces(BORN, IP), "other": interfaces("02:00:00:00:00:0c", IP), "db1": {}}
    done = heal(Master({"db1": [row(IP, BORN)]}, hosts))
    assert (done["asked"], done["retcode"]) == (0, 2)


def known(**item):
    return acknowledge.parse_all([{"why": "old load balancer", **item}])


@pytest.mark.parametrize(
    ("item", "code", "line"),
    [
        ({"address": IP}, 0, "1 entry acknowledged."),
        ({"address": "192.0.2.0/24", "until": "2999-01-01"}, 0, "1 entry acknowledged."),
        ({"mac": DEAD}, 0, "1 entry acknowledged."),
        (
            {"address": IP, "until": "2020-01-01"},
            2,
            "The acknowledgement of 192.0.2.90 has expired",
        ),
        ({"address": "192.0.2.7"}, 2, "1 wrong"),
    ],
    ids=["address", "network", "mac", "expired", "another"],
)
def test_acknowledged_finding_is_shown_and_costs_no_exit_code(item, code, line):
    options = parsed()
    options["acknowledged"] = known(**item)
    master = Master({"db1": [row()]}, {"w": interfaces(BORN, IP), "db1": {}})
    answer = audited(master, options).answer()
    assert answer["retcode"] == code
    assert line in " ".join(answer["summary"])
    if not code:
        [shown] = answer["acknowledged"]
        assert (shown["finding"], shown["why"]) == ("wrong", "old load balancer")


@pytest.mark.parametrize(
    ("item", "line"),
    [
        ("x", "item 1: needs either address or mac"),
        ({"why": "x"}, "item 1: needs either"),
        ({"address": IP}, "item 1: why is missing"),
        ({"address": "x", "why": "x"}, "item 1: address: 'x' is not an IPv4"),
        ({"mac": 5, "why": "x"}, "item 1: mac: 5 is not a MAC"),
        ({"mac": DEAD, "why": "x", "until": "soon"}, "until: 'soon' is not a date"),
    ],
)
def test_bad_acknowledgement_is_one_line(item, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        acknowledge.parse_all([item])
    assert line in str(refused.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_truth_file_is_read_by_columns(end):
    lines = ["machine,address,mac,age_s", f"w,{IP},{BORN},60", f"w,2001:db8::1,{BORN},", ""]
    text = end.join(lines)
    host = truth_file.parse_truth(text)["w"]
    assert host.addresses == [(IP, "", BORN), ("2001:db8::1", "", BORN)]
    assert (host.source, host.live, host.age_s) == ("file", True, None)


COLUMNS = "address,mac,machine"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root:x:0:0:secret\n",
        f"address,mac,machine\n{IP},secret,w\n",
        f"address,mac,machine\n{IP}\n",
        f"address,mac,machine,age_s\n{IP},{BORN},w,{'9' * 5000}\n",
        f'address,mac,machine\n{IP},{BORN},"{"secret" * 30_000}"\n',
    ],
    ids=["empty", "passwd", "bad mac", "short", "long age", "long field"],
)
def test_bad_truth_file_names_a_line_and_nothing_in_it(text):
    with pytest.raises(ValueError, match=r"^truth: line [12]") as refused:
        truth_file.parse_truth(text)
    assert "secret" not in str(refused.value)


def test_settled_is_what_left_the_table_or_is_right_by_a_live_answer():
    """And nothing of a machine that is silent, an address left out, a database not asked."""
    tables = {
        "db1": [row("192.0.2.1", BORN), row("192.0.2.2"), row("192.0.2.3"), row("198.51.100.9")],
        "db2": "no table",
    }
    hosts = {"w": interfaces(BORN, "192.0.2.1", "192.0.2.2", "198.51.100.9"), "w3": None}
    done = audited(Master(tables, hosts), parsed(exclude="198.51.100.0/24"))
    ips = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "198.51.100.9"]
    entries = [f"db1 eth0 {ip}" for ip in ips] + ["db2 eth0 192.0.2.1", "db3 eth0 192.0.2.1"]
    assert done.settled(entries) == {"db1 eth0 192.0.2.1", "db1 eth0 192.0.2.4"}


def test_table_above_max_event_size_is_read_in_parts():
    rows = [row(f"10.{n >> 8}.{n & 255}.1") for n in range(20_000)]

    def table(kwarg):
        if not kwarg:
            return "VALUE_TRIMMED"
        which, parts = parse.part(kwarg["part"])
        some = [dict.fromkeys(listing.COMPACT, "") | each for each in rows]
        return listing.compact(listing.in_part(some, (which, parts)))

    answer = audit(Master({"db1": table}, {"w": interfaces(BORN, "10.0.0.1"), "db1": {}}))
    assert (answer["counts"]["entries"], len(answer["wrong"])) == (20_000, 1)


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        ("VALUE_TRIMMED", "its return exceeds max_event_size"),
        ("TypeError: list_() got an unexpected keyword argument", "unexpected keyword"),
        ([], "malformed arp.list return: no columns or rows (list)"),
        ({"columns": ["ip"], "rows": [[1, 2]]}, "a row that does not fit the columns"),
        ({"columns": [1], "rows": []}, "a column that is no text"),
    ],
    ids=["still too large", "old module", "list", "ragged", "number"],
)
def test_large_table_that_cannot_be_read_is_silent_with_a_reason(returned, why):
    table = {"db1": lambda kwarg: returned if kwarg else "VALUE_TRIMMED", "db2": [row()]}
    answer = audit(Master(table, {"w": interfaces(BORN, IP)}))
    [silent] = [each for each in answer["silent"] if why in each["why"]]
    assert silent["minion"] == "db1"
    assert [each["minion"] for each in answer["wrong"]] == ["db2"]
