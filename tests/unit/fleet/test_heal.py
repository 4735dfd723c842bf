"""Who is asked when, what it costs, and what is known at any moment."""

import re

import pytest
from arp_engine.fleet import arguments, batches, compare, fair, html_report, summary
from arp_engine.fleet import heal as fleet_heal
from hypothesis import given
from hypothesis import strategies as st

OLD, NEW = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def wrong(minion, ip="192.0.2.90", dev="eth0", owner=""):
    return {
        "minion": minion, "ip": ip, "dev": dev, "mac": OLD, "state": "REACHABLE",
        "suspect": True, "owner": owner, "unchanged_s": 61.0, "mac_true": NEW,
        "machine": "worker", "truth": "live", "truth_age_s": 0,
    }  # fmt: skip


def verdict(*rows):
    return compare.Comparison(list(rows), [], [], [], {}, {}, {})


def answer(*ips, dev="eth0", verdict="healed", **more):
    """What arp.revalidate returns on one minion."""
    return {
        "ret": {
            "checked": len(ips),
            "healed": [{"ip": ip, "dev": dev, "old": OLD, "new": NEW} for ip in ips],
            "gone": [],
            "duplicates": [],
            "entries": [
                {
                    "ip": ip,
                    "dev": dev,
                    "mac": OLD,
                    "verdict": verdict,
                    "unicast_asked": 1,
                    "broadcast_asked": 1,
                }
                for ip in ips
            ],
            **more,
        }
    }


def told(heal, silent=()):
    return heal.answer(dict(silent))


IDS = st.builds(
    lambda word, number: f"{word}{number}",
    st.sampled_from(["db", "pg-", "web1x"]),
    st.integers(0, 9),
)


@given(st.sets(IDS), st.sets(IDS), st.sampled_from(["1/3", 0.5, 1, 0.01]), st.integers(1, 12))
def test_waves_keep_the_share_and_cover_every_minion(asked, others, share, batch):
    everybody = asked | others
    parsed = arguments.share(share)
    waves = list(batches.waves(asked, everybody, parsed, batch))
    assert sorted(minion for wave in waves for minion in wave) == sorted(asked)
    sizes = {}
    for minion in everybody:
        sizes.setdefault(batches.role(minion), []).append(minion)
    for wave in waves:
        assert 0 < len(wave) <= batch
        for role, members in sizes.items():
            together = sum(batches.role(minion) == role for minion in wave)
            assert together <= max(1, len(members) * parsed + 1e-6)


def test_members_go_in_numeric_order():
    minions = [f"db{number}" for number in (10, 2, 1)]
    assert list(batches.waves(minions, minions, 0.34, 9)) == [["db1"], ["db2"], ["db10"]]


def test_jobs_hold_these_entries_on_these_minions():
    rows = [wrong("db1"), wrong("db2"), wrong("db1", "192.0.2.91"), wrong("db2", dev="eth1")]
    assert batches.jobs(rows, ["db1", "db2"], 500) == {
        ("eth0", ("192.0.2.90", "192.0.2.91")): ["db1"],
        ("eth0", ("192.0.2.90",)): ["db2"],
        ("eth1", ("192.0.2.90",)): ["db2"],
    }
    assert batches.jobs(rows, ["db3"], 500) == {}


def test_equal_entries_share_one_job():
    rows = [wrong(f"db{number}") for number in range(5)]
    jobs = batches.jobs(rows, [each["minion"] for each in rows], 500)
    assert list(jobs) == [("eth0", ("192.0.2.90",))]


def test_job_size_is_bounded():
    rows = [wrong("db1", f"192.0.2.{number}") for number in range(7)]
    assert [len(ips) for _, ips in batches.jobs(rows, ["db1"], 3)] == [3, 3, 1]


def run(heal, wave, answers, most=500):
    """One wave of one round, as the run has it."""
    heal.next_round()
    while jobs := heal.jobs(wave, most):
        for (dev, ips), minions in jobs.items():
            heal.begin(minions, dev, ips)
            for minion in minions:
                heal.note_answer(minion, dev, ips, answers.get(minion))


def test_healed_entry_costs_what_was_sent():
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    run(heal, ["db1"], {"db1": answer("192.0.2.90")})
    heal.note_tables(verdict(), ["db1"])
    done = told(heal)
    assert done["healed"] == [
        {"minion": "db1", "ip": "192.0.2.90", "dev": "eth0", "old": OLD, "new": NEW}
    ]
    assert (done["retcode"], done["requests"], done["not_reached"]) == (0, 2, [])


def test_documented_maximum_of_an_entry_is_what_it_is_charged(repo):
    for page in ("docs/fleet.md", "_runners/arp.py"):
        counts = re.findall("entry counts ([0-9]+)", (repo / page).read_text(encoding="utf-8"))
        assert counts == [str(fleet_heal.WORST)]


def test_job_may_run_as_long_as_the_rate_allows_at_the_worst():
    assert fleet_heal.run_s(500, 500) == fleet_heal.WORST + 10
    assert fleet_heal.run_s(10, 0.1) == 100 * fleet_heal.WORST + 10


def test_failing_minion_does_not_end_the_run():
    heal = fleet_heal.Heal(verdict(wrong("db1"), wrong("db2"), wrong("db3")), 1000)
    run(
        heal,
        ["db1", "db2", "db3"],
        {
            "db1": {"ret": "ERROR: arp.revalidate: Operation not permitted"},
            "db3": answer("192.0.2.90"),
        },
    )
    done = told(heal)
    assert [row["minion"] for row in done["healed"]] == ["db3"]
    assert done["not_reached"] == [
        {"minion": "db1", "why": "ERROR: arp.revalidate: Operation not permitted"},
        {"minion": "db2", "why": "no answer"},
    ]
    assert done["retcode"] == 4


def test_budget_is_kept_and_the_rest_named():
    rows = [wrong(f"db{number}") for number in range(5)]
    heal = fleet_heal.Heal(verdict(*rows), 2 * fleet_heal.WORST + 2)
    everybody = [each["minion"] for each in rows]
    run(heal, everybody, {name: {"ret": {"healed": []}} for name in everybody})
    done = told(heal)
    assert (done["asked"], done["requests"]) == (2, 2 * fleet_heal.WORST)
    assert sum("budget" in row["why"] for row in done["not_reached"]) == 3


def rounds(heal, minions, answers):
    """Rounds until nothing is left to do, as the run has it."""
    while heal.next_round():
        while jobs := heal.jobs(minions, 500):
            for (dev, ips), names in jobs.items():
                heal.begin(names, dev, ips)
                for name in names:
                    heal.note_answer(name, dev, ips, answers(name, ips))


@pytest.mark.parametrize("loud", ["silent", "costly"])
def test_database_with_300_wrong_entries_leaves_the_budget_of_nine_others(loud):
    many = [wrong("db0", f"10.0.{n >> 8}.{n & 255}") for n in range(300)]
    rows = [*many, *(wrong(f"db{number}") for number in range(1, 10))]
    heal = fleet_heal.Heal(verdict(*rows), 1000)

    def answers(name, ips):
        if name != "db0":
            return answer(*ips)
        return None if loud == "silent" else {"ret": {"healed": []}}

    rounds(heal, [f"db{number}" for number in range(10)], answers)
    done = heal.answer({})
    assert {row["minion"] for row in done["healed"]} == {f"db{number}" for number in range(1, 10)}
    assert done["requests"] <= 1000


@pytest.mark.parametrize(
    "returned", [None, {"why": "it says that it still runs, after 60 s"}], ids=["down", "hangs"]
)
def test_silent_database_is_not_asked_in_every_round(returned):
    many = [wrong("db0", f"10.0.{n >> 8}.{n & 255}") for n in range(300)]
    heal, jobs = fleet_heal.Heal(verdict(*many, wrong("db1")), 1000), []

    def answers(name, ips):
        jobs.append(name)
        return returned if name == "db0" else answer(*ips)

    rounds(heal, ["db0", "db1"], answers)
    assert sorted(jobs) == ["db0", "db1"]
    assert told(heal)["not_reached"] == [
        {"minion": "db0", "why": summary.failure(returned)},
    ]


def test_outcome_of_an_entry_that_was_not_asked_about_does_not_count():
    """A hostile database says that it healed all, before it is asked about the rest."""
    ips = [f"192.0.2.{number}" for number in range(1, 10)]
    rows = [wrong("db1", ip) for ip in ips]
    heal = fleet_heal.Heal(verdict(*rows), fleet_heal.WORST)
    heal.next_round()
    [((dev, some), _)] = heal.jobs(["db1"], 500).items()
    heal.begin(["db1"], dev, some)
    heal.note_answer("db1", dev, some, answer(*ips))
    heal.note_tables(verdict(*rows[1:]), ["db1"])
    done = told(heal)
    assert [row["ip"] for row in done["healed"]] == list(some)
    assert (done["asked"], len(some)) == (1, 1)
    assert "1 healed" in done["summary"][0]
    assert "0 unknown" in done["summary"][0]


def test_budget_that_is_left_is_the_next_rounds():
    ips = [f"192.0.2.{number}" for number in range(50)]
    heal = fleet_heal.Heal(verdict(wrong("pg1"), *(wrong("db1", ip) for ip in ips)), 200)
    rounds(heal, ["pg1", "db1"], lambda _, some: answer(*some))
    assert (len(told(heal)["healed"]), told(heal)["requests"]) == (51, 102)


@given(st.integers(0, 200), st.dictionaries(IDS, st.integers(0, 50)))
def test_deal_gives_all_there_is_and_nobody_more_than_it_wants(total, wants):
    shares = fair.deal(total, wants)
    assert all(0 <= shares[name] <= wants[name] for name in wants)
    assert sum(shares.values()) == min(total, sum(wants.values()))


def test_deal_is_equal_between_roles_then_minions():
    wants = {"db1": 100, "db2": 100, "pg1": 100, "web1": 1}
    assert fair.deal(41, wants) == {"db1": 10, "db2": 10, "pg1": 20, "web1": 1}


@given(st.lists(st.sets(IDS, min_size=1, max_size=3), max_size=40), st.integers(0, 20))
def test_spread_shows_as_many_as_fit_in_order_and_each_role(owners, limit):
    shown = fair.spread(owners, limit)
    assert shown == sorted(set(shown))
    assert len(shown) == min(limit, len(owners))
    roles = [{batches.role(minion) for minion in minions} for minions in owners]
    if limit >= len(set().union(*roles)):
        assert set().union(*roles) == set().union(*(roles[number] for number in shown))


def test_limited_rows_show_every_database():
    rows = [wrong("db0", f"10.0.{n >> 8}.{n & 255}") for n in range(300)]
    rows += [wrong(f"db{number}") for number in range(1, 10)]
    shown = summary.cut(summary.with_totals({"wrong": rows}), 100)
    assert len(shown["wrong"]) == 100
    assert {row["minion"] for row in shown["wrong"]} == {f"db{number}" for number in range(10)}
    assert shown["totals"] == {"wrong": 309}


def test_machine_that_claims_everybodys_address_leaves_rows_of_the_other_claims():
    rows = [
        {"ip": f"10.0.{n >> 8}.{n & 255}", "machines": ["evil", f"w{n}"], "held": 9}
        for n in range(4000)
    ]
    real = {"ip": "10.9.0.1", "machines": ["a", "b"], "held": 1}
    shown = summary.cut(summary.with_totals({"twice": [*rows, real]}), 100)
    assert len(shown["twice"]) == 100
    assert real in shown["twice"]


def test_unused_budget_is_freed_for_the_next_wave():
    rows = [wrong(f"db{number}") for number in range(3)]
    heal = fleet_heal.Heal(verdict(*rows), fleet_heal.WORST + 6)
    rounds(heal, [each["minion"] for each in rows], lambda _, ips: answer(*ips))
    assert (told(heal)["asked"], told(heal)["requests"]) == (3, 6)


def test_freed_budget_covers_more_entries_than_fit_at_once():
    ips = [f"192.0.2.{number}" for number in range(50)]
    heal = fleet_heal.Heal(verdict(*(wrong("db1", ip) for ip in ips)), 200)
    heal.next_round()
    while jobs := heal.jobs(["db1"], 500):
        for (dev, some), minions in jobs.items():
            assert len(some) <= 5
            heal.begin(minions, dev, some)
            heal.note_answer("db1", dev, some, answer(*some))
    done = told(heal)
    assert (len(done["healed"]), done["requests"], done["not_reached"]) == (50, 100, [])


@pytest.mark.parametrize(
    "entries",
    [[], None, [{"unicast_asked": 0, "broadcast_asked": 0}], [{"unicast_asked": -9}], ["free"]],
    ids=str,
)
def test_missing_costs_are_charged_in_full(entries):
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    run(heal, ["db1"], {"db1": answer("192.0.2.90", entries=entries)})
    assert told(heal)["requests"] == fleet_heal.WORST


def test_unanswered_entry_costs_the_kernels_probes_too():
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    gone = [{"ip": "192.0.2.90", "dev": "eth0", "mac": OLD}]
    run(heal, ["db1"], {"db1": answer("192.0.2.90", verdict="gone", healed=[], gone=gone)})
    assert told(heal)["requests"] == 2 + 6
    assert [row["ip"] for row in told(heal)["given_up"]] == ["192.0.2.90"]


@pytest.mark.parametrize(
    ("truth", "code", "why"),
    [
        (
            "live",
            summary.WRONG,
            "the wrong entry is gone, but no host answers this database, and worker is up and "
            "reports this address: look at the network between the two",
        ),
        ("cached", 0, None),
        ("file", 0, None),
    ],
)
def test_entry_of_a_machine_that_is_up_and_answers_nobody_is_not_settled(truth, code, why):
    heal = fleet_heal.Heal(verdict(wrong("db1") | {"truth": truth}), 100)
    gone = [{"ip": "192.0.2.90", "dev": "eth0", "mac": OLD}]
    run(heal, ["db1"], {"db1": answer("192.0.2.90", verdict="gone", healed=[], gone=gone)})
    heal.note_tables(verdict(), ["db1"])
    done = told(heal)
    assert ([row.get("why") for row in done["given_up"]], done["retcode"]) == ([why], code)
    assert ("1 given up of machines that are up: see why." in done["summary"]) == bool(why)


def test_interrupted_run_names_what_it_did_not_reach():
    heal = fleet_heal.Heal(verdict(wrong("db1"), wrong("db2"), wrong("db3")), 200)
    run(heal, ["db1"], {"db1": answer("192.0.2.90")})
    heal.note_tables(verdict(), ["db1"])
    heal.next_round()
    [(job, minions)] = heal.jobs(["db2"], 500).items()
    heal.begin(minions, *job)  # here it is interrupted
    done = told(heal)
    assert [row["minion"] for row in done["healed"]] == ["db1"]
    assert done["not_reached"] == [
        {"minion": "db2", "why": "interrupted before it answered"},
        {"minion": "db3", "why": "the run ended first"},
    ]


def test_permanent_entry_is_never_asked_about():
    heal = fleet_heal.Heal(verdict(wrong("db1", owner="PERMANENT")), 100)
    assert heal.rows == []
    done = told(heal)
    assert [row["why"] for row in done["still_wrong"]] == ["never touched: PERMANENT"]
    assert done["retcode"] == 2


def test_confirmed_cached_mac_contradicts_the_claim():
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    confirmed = answer("192.0.2.90", verdict="confirmed", healed=[])
    run(heal, ["db1"], {"db1": confirmed})
    heal.note_tables(verdict(wrong("db1")), ["db1"])
    assert [row["why"] for row in told(heal)["still_wrong"]] == [
        "the host with the cached MAC still answers ARP, and the minion that has this address is "
        "another machine: find the host with that MAC, and shut one of the two down"
    ]


def test_still_wrong_after_asking_is_named():
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    run(heal, ["db1"], {"db1": answer(healed=[])})
    heal.note_tables(
        verdict(wrong("db1"), wrong("db1", "192.0.2.7")), ["db1"]
    )  # the second is another's
    done = told(heal)
    assert [(row["ip"], row["why"]) for row in done["still_wrong"]] == [
        ("192.0.2.90", "still wrong after asking")
    ]


@pytest.mark.parametrize("kind", ["gone", "unproven"])
def test_entry_that_has_its_former_mac_again_after_the_heal_is_not_healed(kind):
    """Somebody wrote it between the answer of the database and the second look at its table."""
    heal = fleet_heal.Heal(verdict()._replace(**{kind: [wrong("db1")]}), 100)
    row = {"ip": "192.0.2.90", "dev": "eth0", "old": OLD, "new": NEW}
    run(heal, ["db1"], {"db1": answer(healed=[row])})
    heal.note_tables(verdict()._replace(**{kind: [wrong("db1")]}), ["db1"])
    done = told(heal)
    assert (done["healed"], heal.counts()["healed"]) == ([], 0)
    assert [row["why"] for row in done["still_wrong"]] == ["in the table again after the heal"]


def test_heal_to_the_same_mac_is_none():
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    row = {"ip": "192.0.2.90", "dev": "eth0", "old": OLD, "new": OLD}
    run(heal, ["db1"], {"db1": answer(healed=[row])})
    assert heal.counts()["healed"] == 0


@pytest.mark.parametrize(
    ("mac", "outcome"),
    [(OLD, ("still_wrong", "still in the table after asking")),
     (NEW, ("right_meanwhile", "not in the table any more, or corrected"))],
    ids=["same MAC", "another MAC"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["gone", "unproven"])
def test_undecided_entry_is_right_only_if_the_table_has_changed(kind, mac, outcome):
    heal = fleet_heal.Heal(verdict()._replace(**{kind: [wrong("db1")]}), 100)
    run(heal, ["db1"], {"db1": answer("192.0.2.90", verdict="undecided", healed=[])})
    heal.note_tables(verdict()._replace(**{kind: [wrong("db1") | {"mac": mac}]}), ["db1"])
    assert [row["why"] for row in told(heal)[outcome[0]]] == [outcome[1]]


def test_entry_corrected_before_asking_is_no_contradiction():
    """Cron was there first: the MAC that is confirmed is not the one the audit saw."""
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    right = answer("192.0.2.90", verdict="confirmed", healed=[])
    right["ret"]["entries"][0]["mac"] = NEW
    run(heal, ["db1"], {"db1": right})
    heal.note_tables(verdict(), ["db1"])
    done = told(heal)
    assert (done["still_wrong"], done["not_reached"], done["retcode"]) == ([], [], 0)


def test_missing_second_table_is_not_reached():
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    run(heal, ["db1"], {"db1": answer("192.0.2.90", verdict="undecided", healed=[])})
    heal.note_tables(verdict(), [])
    assert told(heal)["not_reached"] == [
        {"minion": "db1", "why": "asked, but did not return arp.list afterwards"}
    ]


def test_duplicate_names_both_macs():
    heal = fleet_heal.Heal(verdict(wrong("db1")), 100)
    twice = [{"ip": "192.0.2.90", "dev": "eth0", "mac": OLD, "macs": [OLD, NEW]}]
    run(heal, ["db1"], {"db1": answer("192.0.2.90", healed=[], duplicates=twice)})
    assert f"{OLD}, {NEW}" in told(heal)["still_wrong"][0]["why"]


def asked_about(row, macs, proxy, kind="wrong"):
    """A heal of one row whose database says that a proxy answered."""
    heal = fleet_heal.Heal(verdict()._replace(**{kind: [row]}), 100)
    told = {"ip": row["ip"], "dev": row["dev"], "mac": OLD, "macs": macs, "proxy": proxy}
    run(heal, ["db1"], {"db1": answer("192.0.2.90", healed=[], duplicates=[told])})
    return heal


@pytest.mark.parametrize("truth", ["live", "file"])
@pytest.mark.parametrize(
    ("after", "outcome"), [([], "healed"), ([wrong("db1")], "still_wrong")], ids=["right", "wrong"]
)
def test_proxy_alone_is_right_where_it_answers_for_the_machine(after, outcome, truth):
    """Azure, PVLAN: the gateway's MAC is the true one of everybody."""
    heal = asked_about(wrong("db1") | {"truth": truth}, [NEW], NEW)
    heal.note_tables(verdict(*after), ["db1"])
    done = told(heal)
    assert [row["ip"] for row in done[outcome]] == ["192.0.2.90"]
    assert len(done["healed"]) + len(done["still_wrong"]) == 1


def test_proxy_alone_and_cached_grains_prove_no_heal():
    heal = asked_about(wrong("db1") | {"truth": "cached"}, [NEW], NEW, "unproven")
    heal.note_tables(verdict(), ["db1"])
    done = told(heal)
    assert [row["why"] for row in done["still_wrong"]] == [f"a proxy alone answers: {NEW}"]
    assert (done["healed"], done["retcode"]) == ([], summary.WRONG)


@pytest.mark.parametrize("mac", [OLD, "02:00:00:00:00:99"])
def test_another_proxy_alone_is_no_heal(mac):
    heal = asked_about(wrong("db1"), [mac], mac)
    assert told(heal)["still_wrong"][0]["why"] == f"a proxy alone answers: {mac}"


def test_proven_proxy_beside_another_host_is_no_heal():
    other = "02:00:00:00:00:99"
    heal = asked_about(wrong("db1"), [NEW, other], NEW)
    assert told(heal)["still_wrong"][0]["why"] == f"several hosts answer: {NEW}, {other}"


@pytest.mark.parametrize("proxy", ["02:00:00:00:00:99", True, [NEW], {}], ids=str)
def test_machine_beside_a_proxy_is_no_heal(proxy):
    """The table has the proxy's MAC then."""
    heal = asked_about(wrong("db1"), [NEW], proxy)
    hosts = f"{NEW}, {proxy}" if proxy else NEW
    assert told(heal)["still_wrong"][0]["why"] == f"several hosts answer: {hosts}"


@pytest.mark.parametrize("lie", [[], {}, ["healed"], None], ids=str)
def test_malformed_verdict_is_charged_in_full(lie):
    heal = fleet_heal.Heal(verdict(wrong("evil"), wrong("db2")), 100)
    run(heal, ["evil", "db2"], {"evil": answer("192.0.2.90", verdict=lie), "db2": answer()})
    assert told(heal)["requests"] >= 2 + fleet_heal.PROBES


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["healed", "gone", "duplicates", "entries", "ip", "macs", "verdict"]
                ),
                inner,
            )
        ),
    )
)
def test_any_answer_leaves_the_run_going(ret):
    heal = fleet_heal.Heal(verdict(wrong("evil"), wrong("db2")), 100)
    run(heal, ["evil", "db2"], {"evil": {"ret": ret}, "db2": answer("192.0.2.90")})
    done = told(heal)
    assert "db2" in {row["minion"] for row in done["healed"]}
    assert done["requests"] <= 100


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: arguments.share("2/1"), "share: '2/1' is not more than 0 and at most 1 (1/3)"),
        (lambda: arguments.share("1/0"), "share: '1/0' is not"),
        (lambda: arguments.share("third"), "share: 'third' is not"),
        (lambda: arguments.target("tgt", [1]), "tgt: [1] is not a target"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_argument_is_one_line(call, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        call()
    assert line in str(refused.value)


EVIL = "<script>alert(1)</script>\u202e\x1b[2J"


def test_page_escapes_what_minions_sent():
    row = {**wrong(EVIL), "machine": EVIL, "dev": EVIL, "state": EVIL}
    heal = {
        "wrong": [row],
        "gone": [{**row, "why": EVIL}],
        "silent": [{"minion": EVIL, "why": EVIL}],
    }
    page = html_report.page({**heal, "summary": [EVIL], "retcode": 2, "jid": EVIL}, 1.8e9)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page
    assert "\x1b" not in page


def test_page_is_self_contained():
    page = html_report.page({"wrong": [wrong("db1")], "summary": ["one"], "retcode": 2}, 1.8e9)
    assert "default-src 'none'" in page
    for word in ("http://", "https://", "src=", "<script", "@import", "url("):
        assert word not in page.replace("default-src=", "")
    assert "unchanged since 2027-01-15 07:58:59 UTC, 1 min" in page
