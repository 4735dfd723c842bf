"""A whole audit and a whole heal, on a fleet in memory."""

import re

import pytest
from arp_engine.fleet import summary
from arp_engine.table import listing, parse
from simulated import (
    BORN,
    DEAD,
    IP,
    Master,
    audit,
    audited,
    grains,
    heal,
    interfaces,
    parsed,
    row,
)


class Hanging(Master):
    """A minion never returns, and says for ever that it still runs the job."""

    def __init__(self, *words):
        super().__init__(*words)
        self.answers["saltutil.find_job"] = {"hung": {"pid": 1}}


@pytest.mark.parametrize("hung", ["database", "machine"])
def test_minion_that_runs_for_ever_ends_no_audit_and_is_silent(hung):
    tables = {"db1": [row()], **({"hung": None} if hung == "database" else {})}
    master = Hanging(tables, {"w": interfaces(BORN, IP), "db1": {}, "hung": None})
    answer = audit(master, tgt=list(tables))
    assert [each["minion"] for each in answer["wrong"]] == ["db1"]
    [silent] = answer["silent"]
    assert silent["minion"] == "hung"
    assert silent["why"].startswith("it says that it still runs, after 6")


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


class Blind(Master):
    """The master keeps no cached grains: only the minions know whether a grain matches."""

    def match(self, tgt, tgt_type):
        return None if tgt_type == "grain" else super().match(tgt, tgt_type)


@pytest.mark.parametrize("function", [audit, heal])
def test_machines_that_only_the_minions_can_match_are_refused_before_any_job(function):
    """They were all machines: `machines=` was ignored."""
    master = Blind({"db1": [row()]}, {"w": interfaces(BORN, IP), "db1": {}})
    line = "^machines: without minion_data_cache, name minions by glob, list or pcre$"
    with pytest.raises(ValueError, match=line):
        function(master, machines="role:web", machines_type="grain")
    assert master.sent == []


def test_name_in_a_list_that_is_no_minion_is_silent():
    master = Master({"db1": [row()]}, {"w": interfaces(BORN, IP), "db1": {}})
    answer = audit(master, tgt=["db1", "db9"], machines=["w", "db1", "w9"])
    assert answer["silent"] == [
        {"minion": name, "why": "no minion of this name is accepted here"} for name in ("db9", "w9")
    ]
    assert answer["retcode"] == 2 + 4


@pytest.mark.parametrize("truth", ["live", "cached"])
def test_mistyped_target_is_an_error_before_any_machine_is_asked(truth):
    """And not hidden by a machine that is silent, which is an exit code of its own."""
    master = Master({}, {"w": interfaces(BORN, IP), "silent": None})
    master.grains = {"w": grains(BORN, IP, 60)}
    with pytest.raises(ValueError, match=r"^no minion matches 'db\*' \(glob\)$"):
        audit(master, truth=truth)
    assert master.sent == []


class Registering(Master):
    """A hostile minion has registered names that match the databases' target."""

    def match(self, tgt, tgt_type):
        return super().match(tgt, tgt_type) | {f"db{number}" for number in range(100, 1100)}


def test_matched_name_without_an_accepted_key_is_not_asked():
    master = Registering({"db1": [row()]}, {"w": interfaces(BORN, IP), "db1": {}})
    answer = audit(master)
    assert (answer["silent"], answer["retcode"]) == ([], 2)
    assert [each[0] for each in master.sent if each[1] == "arp.list"] == [["db1"]]


@pytest.mark.parametrize("step", [0, 1], ids=["one MAC", "another MAC on each device"])
def test_lying_database_has_few_questions_asked(step):
    """Each of its devices shows a MAC for three machines."""
    rows = [row(f"192.0.2.{n}", f"02:00:00:00:dd:{m * step:02x}", dev=f"eth{m}")
            for m in range(50) for n in (1, 2, 3)]  # fmt: skip
    hosts = {f"w{n}": interfaces(f"02:00:00:00:01:{n:02x}", f"192.0.2.{n}") for n in (1, 2, 3)}
    master = Master({"db1": rows}, {**hosts, "db1": {}})
    assert len(audit(master)["wrong"]) == len(rows)
    questions = [each for each in master.sent if each[1] == "arp.diagnose"]
    assert len(questions) == 16 * 2


GATEWAY, AZURE = "02:00:00:00:fe:01", "12:34:56:78:9a:bc"


def diagnose(verdict, mac=GATEWAY, **more):
    """``more``: whether it answered for an address that nobody has; an older version has no key."""
    more = more or {"proxies": [mac] if verdict == "right" else []}
    return lambda kwarg: {"verdict": verdict, "answers_ms": {mac: 0.3}, "ip": kwarg["ip"], **more}


def proxied(verdict, mac=GATEWAY):
    """Two databases behind a gateway that answers for ten machines, or a dead host of all ten."""
    rows = [row(f"192.0.2.{n}", mac) for n in range(1, 11)]
    hosts = {f"w{n}": interfaces(f"02:00:00:00:01:{n:02x}", f"192.0.2.{n}") for n in range(1, 11)}
    hosts |= {"db1": {}, "db2": {}}
    master = Master({"db1": rows, "db2": rows}, hosts)
    master.answers["arp.diagnose"] = dict.fromkeys(("db1", "db2"), diagnose(verdict, mac))
    return master


@pytest.mark.parametrize("function", [audit, heal])
def test_two_gateways_and_a_small_limit_are_one_row(function):
    """Their rows count machines, where those of `twice` name them."""
    second = "02:00:00:00:fe:02"
    master = proxied("right")
    for rows in master.answers["arp.list"].values():
        rows += [row(each["ip"], second, dev="eth1") for each in rows[:10]]
    answer = function(master, fabric=f"{GATEWAY},{second}")
    assert answer["totals"]["fabric"] == 2
    shown = summary.cut(answer, 1)
    assert (len(shown["fabric"]), shown["fabric"][0]["machines"]) == (1, 10)


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


def test_gateway_on_two_devices_of_a_database_is_recognised_on_both():
    master = proxied("right")
    rows = master.answers["arp.list"]["db1"]
    rows += [row(each["ip"], GATEWAY, dev="eth1") for each in rows]
    answer = audit(master)
    assert (answer["wrong"], answer["retcode"]) == ([], 0)
    questions = [each for each in master.sent if each[1] == "arp.diagnose"]
    assert sorted(each[2]["dev"] for each in questions) == ["eth0", "eth0", "eth1", "eth1"]


@pytest.mark.parametrize(
    "told", [{"proxies": []}, {"proxies": [DEAD]}, {"proxies": GATEWAY}, {"version": "older"}],
    ids=str,
)  # fmt: skip
def test_mac_that_answers_for_machines_alone_is_not_the_networks(told):
    """A switch still answers for the workers of a dead host: they were re-created elsewhere."""
    master = proxied("right")
    master.answers["arp.diagnose"]["db2"] = diagnose("right", **told)
    answer = audit(master)
    assert {each["minion"] for each in answer["wrong"]} == {"db2"}
    assert (len(answer["wrong"]), answer["retcode"]) == (10, 2)
    assert (
        f"{GATEWAY} answers 1 database for addresses of several machines, and is not known to "
        "answer for one that nobody has: not taken for the network's own. If it is, declare it: "
        f"fabric={GATEWAY}."
    ) in answer["summary"]
    declared = audit(master, fabric=GATEWAY)
    assert (declared["wrong"], declared["retcode"]) == ([], 0)


@pytest.mark.parametrize("told", [{"proxies": []}, {"version": "older"}], ids=str)
def test_mac_of_azure_need_not_answer_for_an_address_that_nobody_has(told):
    master = proxied("right", AZURE)
    master.answers["arp.diagnose"]["db2"] = diagnose("right", AZURE, **told)
    answer = audit(master)
    assert (answer["wrong"], answer["retcode"]) == ([], 0)
    assert answer["fabric"] == [{"mac": AZURE, "machines": 10, "addresses": 10, "databases": 2}]


def test_mac_of_azure_that_does_not_answer_is_wrong():
    assert len(audit(proxied("nobody answers", AZURE))["wrong"]) == 20


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


@pytest.mark.parametrize("how", ["recognised", "declared"])
def test_network_that_answers_for_an_address_that_nobody_has_makes_it_not_gone(how):
    """It answers for all of them; that the entry is there says nothing."""
    master = proxied("right" if how == "recognised" else "nobody answers")
    rows = [*master.answers["arp.list"]["db1"], row("192.0.2.200", GATEWAY)]
    master.answers["arp.list"] = {"db1": [*rows, row("192.0.2.201", DEAD)], "db2": rows}
    fabric = {"fabric": GATEWAY} if how == "declared" else {}
    answer = audit(master, networks="192.0.2.0/24", **fabric)
    assert [(each["minion"], each["ip"]) for each in answer["gone"]] == [("db1", "192.0.2.201")]
    assert (answer["wrong"], answer["counts"]["strangers"]) == ([], 2)


def test_declared_network_mac_of_an_address_that_nobody_has_is_not_gone():
    master = Master({"db1": [row("192.0.2.200", GATEWAY)]}, {"w": interfaces(BORN, IP), "db1": {}})
    answer = audit(master, networks="192.0.2.0/24", fabric=GATEWAY)
    assert (answer["gone"], answer["fabric"], answer["counts"]["strangers"]) == ([], [], 1)


def test_declared_network_mac_is_not_asked_about():
    master = proxied("nobody answers")
    assert audit(master, fabric=GATEWAY)["retcode"] == 0
    assert not [each for each in master.sent if each[1] == "arp.diagnose"]


@pytest.mark.parametrize("truth", ["live", "cached"])
def test_declared_network_mac_in_one_entry_is_the_networks(truth):
    """No candidate: it stands for one machine, beside entries that are right."""
    mine = [row(f"192.0.2.{n}", f"02:00:00:00:01:{n:02x}") for n in range(2, 9)]
    hosts = {f"w{n}": interfaces(f"02:00:00:00:01:{n:02x}", f"192.0.2.{n}") for n in range(1, 9)}
    master = Master({"db1": [row("192.0.2.1", GATEWAY), *mine]}, {**hosts, "db1": {}})
    if truth == "cached":
        master.grains = {"w1": grains("02:00:00:00:01:01", "192.0.2.1", 60)}
        master.answers["network.interfaces"]["w1"] = None
    answer = audit(master, fabric=GATEWAY)
    assert (answer["wrong"], answer["unproven"], answer["counts"]["fabric"]) == ([], [], 1)
    assert answer["fabric"] == [{"mac": GATEWAY, "machines": 1, "addresses": 1, "databases": 1}]
    assert audit(master)["counts"]["fabric"] == 0, "not declared, and not recognised"


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


def test_owned_entry_against_cached_grains_is_the_same_exit_code_of_audit_and_heal():
    """It is never touched, so no question settles it."""
    master = Master({"db1": [row(owner="PERMANENT")]}, {"w": None, "db1": {}})
    master.grains = {"w": grains(BORN, IP, 60)}
    assert audit(master)["retcode"] == 4 + 8
    done = heal(master)
    assert (done["asked"], done["retcode"]) == (0, 4 + 8)


def test_heal_in_test_mode_has_the_keys_of_a_heal_and_rows_that_limit_cuts():
    ips = [f"192.0.2.{n}" for n in range(1, 11)]
    master = Master({"db1": [row(ip) for ip in ips]}, {"w": interfaces(BORN, *ips), "db1": {}})
    told = heal(master, test=True)
    assert (told["would_waves"], told["waves"], told["totals"]["would_ask"]) == (1, 0, 10)
    assert len(summary.cut(told, 3)["would_ask"]) == 3


def test_heal_that_could_compare_nothing_has_the_exit_code_of_the_audit():
    tables, hosts = {"db1": [row("198.51.100.1")]}, {"w": interfaces(BORN, IP), "db1": {}}
    assert audit(Master(tables, hosts))["retcode"] == 4
    assert heal(Master(tables, hosts))["retcode"] == 4


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
