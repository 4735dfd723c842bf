"""The comparison of tables and interfaces: pure, so every case is written down."""

import pytest
from arp_engine.fleet import bindings, compare, html_report, inventory, summary
from arp_engine.table import parse
from hypothesis import given
from hypothesis import strategies as st

DEAD, BORN, OTHER = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
IP, IP6 = "192.0.2.90", "2001:db8::90"


def interface(mac, *ips, up=True):
    """One interface as network.interfaces tells it."""
    rows = [{"address": ip, "netmask": "255.255.255.0", "prefixlen": "64"} for ip in ips]
    return {
        "hwaddr": mac,
        "up": up,
        "inet": [row for row in rows if ":" not in row["address"]],
        "inet6": [row for row in rows if ":" in row["address"]],
    }


def asked(mac, *ips, **more):
    return inventory.from_interfaces({"eth0": interface(mac, *ips), **more})


def remembered(mac, *ips, age_s=60):
    return inventory.from_interfaces({"eth0": interface(mac, *ips)}, source="cached", age_s=age_s)


def row(ip=IP, mac=DEAD, dev="eth0", state="REACHABLE", **more):
    """One row as arp.list returns it."""
    return {
        "ip": ip, "mac": mac, "dev": dev, "state": state, "suspect": False, "owner": "",
        "confirmed_s": 0.1, "used_s": 0.1, "updated_s": 7.0, **more,
    }  # fmt: skip


def compared(rows, facts, accepted=None, former=None, **scope):
    networks = {key: parse.networks(key, value) for key, value in scope.items()}
    fleet = bindings.Bindings(
        facts, set(facts) if accepted is None else accepted, former, bindings.Scope(**networks)
    )
    return compare.compare({"db1": rows}, fleet)


def found(verdict):
    """Return what was found as three sets of addresses."""
    return tuple(
        {each["ip"] for each in rows} for rows in (verdict.wrong, verdict.twice, verdict.gone)
    )


NOTHING = (set(), set(), set())


@pytest.mark.parametrize("ip", [IP, IP6])
def test_wrong_entry_has_all_fields(ip):
    verdict = compared([row(ip, suspect=True)], {"worker": asked(BORN, ip)})
    assert verdict.wrong == [
        {
            "minion": "db1", "ip": ip, "dev": "eth0", "mac": DEAD, "state": "REACHABLE",
            "suspect": True, "owner": "", "unchanged_s": 7.0, "mac_true": BORN,
            "machine": "worker", "truth": "live", "truth_age_s": 0,
        }
    ]  # fmt: skip


def test_right_entry_agrees():
    verdict = compared([row(mac=BORN.upper())], {"worker": asked(BORN, IP)})
    assert (found(verdict), verdict.counts["agree"]) == (NOTHING, 1)


@pytest.mark.parametrize(
    ("eth1", "flux"),
    [
        (interface(OTHER, "192.0.2.91"), 1),
        (interface(OTHER, "192.0.2.91", up=False), 0),
        (interface(OTHER, "198.51.100.1"), 0),
        (interface(OTHER), 0),
    ],
    ids=["up, same network", "down", "another network", "no address"],
)
def test_mac_of_another_card_is_flux_only_where_it_is_up_on_that_network(eth1, flux):
    verdict = compared([row(mac=OTHER)], {"worker": asked(BORN, IP, eth1=eth1)})
    assert (verdict.counts["flux"], len(verdict.wrong)) == (flux, 1 - flux)


def test_mac_of_another_card_by_cached_grains_alone_is_unproven():
    """They do not tell whether that card is up and on that network."""
    two = {"eth0": interface(BORN, IP), "eth1": interface(OTHER, "192.0.2.91")}
    grains = {
        "hwaddr_interfaces": {dev: each["hwaddr"] for dev, each in two.items()},
        "ip4_interfaces": {dev: [r["address"] for r in each["inet"]] for dev, each in two.items()},
    }
    verdict = compared([row(mac=OTHER)], {"worker": inventory.from_grains(grains)})
    assert (verdict.counts["flux"], [each["mac"] for each in verdict.unproven]) == (0, [OTHER])


def test_another_mac_of_the_machine_in_the_truth_file_is_unproven():
    host = inventory.HostInventory([(IP, "", BORN)], frozenset({BORN, OTHER}), "file", 5)
    verdict = compared([row(mac=OTHER), row(mac=DEAD)], {"worker": host})
    assert [each["mac"] for each in verdict.unproven] == [OTHER]
    assert [each["mac"] for each in verdict.wrong] == [DEAD]


def test_right_mac_behind_a_gateway_that_answers_for_all_is_the_gateways():
    fleet = bindings.Bindings({"worker": asked(BORN, IP)}, {"worker"})
    verdict = compare.compare({"db1": [row()], "db2": [row()]}, fleet, {("db1", "eth0", 4, OTHER)})
    assert [(each["minion"], each["mac_true"]) for each in verdict.wrong] == [
        ("db1", OTHER), ("db2", BORN),
    ]  # fmt: skip


def test_claim_of_another_machine_hides_no_wrong_entry():
    """It says what the honest one says, and has a card with the cached MAC beside it."""
    clone = asked(BORN, IP, eth1=interface(DEAD, "192.0.2.91"))
    verdict = compared([row()], {"honest": asked(BORN, IP), "hostile": clone})
    assert (found(verdict)[0], verdict.counts["flux"]) == ({IP}, 0)


def test_address_on_a_card_that_is_down_is_nobodys():
    """A standby that has the address on a card that is down claims nothing."""
    facts = {"active": asked(BORN, IP), "standby": inventory.from_interfaces(
        {"eth0": interface(OTHER, IP, up=False)}
    )}  # fmt: skip
    verdict = compared([row(mac=BORN)], facts)
    assert (found(verdict), verdict.counts["agree"]) == (NOTHING, 1)


def test_mac_of_another_card_for_an_address_on_one_that_is_down_is_unproven():
    """Linux answers with it: functional/fleet/test_cards_that_are_down.py."""
    cards = {"eth0": interface(BORN, "192.0.2.5"), "eth1": interface(OTHER, IP, up=False)}
    verdict = compared([row(mac=BORN)], {"w": inventory.from_interfaces(cards)})
    assert found(verdict) == NOTHING
    assert verdict.unproven[0]["why"] == "w has this MAC, and not the address on a card that is up"


def test_table_with_a_device_whose_name_is_too_long_is_malformed():
    """It would be a key of the history."""
    facts = {"worker": asked(BORN, IP)}
    assert len(compared([row(dev="e" * 127)], facts).wrong) == 1
    verdict = compared([row(dev="e" * 128)], facts)
    assert verdict.malformed == {"db1": "malformed arp.list return: a device with too long a name"}


def test_secondary_address_is_compared():
    eth0 = interface(BORN)
    eth0["secondary"] = [{"type": "inet", "address": IP, "label": "eth0:1"}]
    assert found(compared([row()], {"w": inventory.from_interfaces({"eth0": eth0})}))[0] == {IP}


def test_address_of_two_machines_is_twice():
    verdict = compared([row(mac=BORN)], {"w1": asked(BORN, IP), "w2": asked(OTHER, IP)})
    assert found(verdict) == (set(), {IP}, set())
    assert verdict.twice == [
        {
            "ip": IP, "machines": ["w1", "w2"], "macs": [BORN, OTHER], "count": 2, "held": 1,
            "truth": "live",
        }
    ]  # fmt: skip


def test_address_of_two_machines_by_cached_grains_alone_is_not_proven():
    facts = {"w1": remembered(BORN, IP), "w2": remembered(OTHER, IP)}
    verdict = compared([row(mac=BORN)], facts)
    fleet = bindings.Bindings(facts, set(facts))
    told = summary.answer(summary.Findings(verdict, fleet, {"db1": []}, {}))
    assert told["retcode"] == summary.UNPROVEN
    assert "1 cached address claimed twice by cached grains alone: not proven." in told["summary"]


def test_address_of_all_machines_is_one_row_and_exit_code_0():
    facts = {f"w{n}": asked(f"02:42:00:00:00:{n:02x}", "172.17.0.1") for n in range(50)}
    facts["w0"] = asked("02:42:00:00:00:00", "172.17.0.1", IP)
    verdict = compared([row(mac="02:42:00:00:00:00")], facts)
    assert [(each["count"], each["held"]) for each in verdict.twice] == [(50, 0)]
    fleet = bindings.Bindings(facts, set(facts))
    told = summary.answer(summary.Findings(verdict, fleet, {}, {}))
    assert told["retcode"] == 0
    assert "1 address claimed twice and cached by no database (172.17.0.1)." in told["summary"]


def test_live_answer_overrides_cached_grains():
    facts = {"old": remembered(DEAD, IP, age_s=9000), "new": asked(BORN, IP)}
    verdict = compared([row(mac=DEAD)], facts)
    assert found(verdict) == ({IP}, set(), set())
    assert verdict.wrong[0]["machine"] == "new"


def test_address_without_machine_is_a_stranger():
    verdict = compared([row("192.0.2.1")], {"worker": asked(BORN, IP)})
    assert (found(verdict), verdict.counts["strangers"]) == (NOTHING, 1)


def test_gone_has_a_reason():
    verdict = compared([row()], {"w": asked(BORN, IP6)}, networks="192.0.2.0/24")
    assert "every machine answered" in verdict.gone[0]["why"]


def test_cached_grains_of_a_machine_whose_key_was_deleted_make_no_address_gone():
    """Even of 29 days ago: they are memory, and nobody can be asked."""
    former = {"w": remembered(DEAD, IP, age_s=29 * 86400)}
    verdict = compared([row(), row(IP, OTHER)], {"x": asked(BORN, IP6)}, former=former)
    assert (found(verdict), verdict.counts["strangers"]) == (NOTHING, 1)
    [unproven] = verdict.unproven
    assert (unproven["machine"], unproven["mac_true"]) == ("w", "")
    assert (unproven["truth"], unproven["truth_age_s"]) == ("cached", 29 * 86400)
    assert unproven["why"] == "belonged to w, whose key is no longer accepted: cached grains"


def test_former_address_in_a_closed_network_is_gone_where_every_machine_answered():
    former = {"w": remembered(DEAD, IP)}
    verdict = compared([row()], {"x": asked(BORN, IP6)}, former=former, networks="192.0.2.0/24")
    assert [each["why"] for each in verdict.gone] == [
        "the network is all the fleet's, every machine answered, and none has it"
    ]


@pytest.mark.parametrize(
    ("facts", "accepted"),
    [
        ({}, {"silent"}),
        ({"silent": remembered(DEAD, IP6)}, {"silent"}),
        ({"w": asked(BORN, IP6)}, {"w", "silent"}),
    ],
    ids=["no data", "remembered only", "one of two unheard"],
)
def test_unheard_machine_makes_no_address_gone(facts, accepted):
    verdict = compared([row()], facts, accepted, networks="192.0.2.0/24")
    assert (found(verdict), verdict.counts["strangers"]) == (NOTHING, 1)


def test_only_accepted_keys_count():
    verdict = compared([row()], {"rejected": asked(BORN, IP)}, accepted=set())
    assert found(verdict) == NOTHING


def test_excluded_address_is_not_compared():
    verdict = compared([row()], {"w1": asked(BORN, IP), "w2": asked(OTHER, IP)}, exclude=IP)
    assert (found(verdict), verdict.counts["not_compared"]) == (NOTHING, 1)


@pytest.mark.parametrize(
    "entry",
    [
        row("fe80::1"), row("127.0.0.1", "00:00:00:00:00:00"), row(mac="", state="FAILED"),
        row("192.0.2.255", "ff:ff:ff:ff:ff:ff", owner="broadcast"), row("224.0.0.1"),
        row(owner="NOARP"), row("not an address"),
    ],
    ids=lambda entry: f"{entry['ip']} {entry['owner']}",
)  # fmt: skip
def test_entry_of_no_single_machine_is_not_compared(entry):
    facts = {"w": asked(BORN, IP, "192.0.2.255")}
    verdict = compared([entry], facts, networks="0.0.0.0/0")
    assert (found(verdict), verdict.counts["not_compared"]) == (NOTHING, 1)


def test_wrong_permanent_entry_has_its_owner():
    verdict = compared([row(owner="PERMANENT", state="PERMANENT")], {"worker": asked(BORN, IP)})
    assert verdict.wrong[0]["owner"] == "PERMANENT"


def test_grains_and_interfaces_give_equal_inventories():
    grains = {
        "hwaddr_interfaces": {"eth0": BORN.upper(), "lo": "00:00:00:00:00:00"},
        "ip4_interfaces": {"eth0": [IP], "lo": ["127.0.0.1"]},
        "ip6_interfaces": {"eth0": [IP6, "fe80::1"], "lo": ["::1"]},
    }
    told = inventory.from_grains(grains, "live", age_s=0)
    same = asked(BORN, IP, IP6, "fe80::1", lo=interface("00:00:00:00:00:00", "127.0.0.1"))
    assert told == same._replace(networks={}), "grains have no masks"


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (None, "malformed interfaces: missing"),
        ("lies", "malformed interfaces: not a dictionary (str)"),
        ({"eth0": [1]}, "malformed interface 'eth0': not a dictionary (list)"),
        ({5: {}}, "interface '5'"),
        (
            {"eth0": interface(BORN, *[f"10.{n >> 8}.{n & 255}.1" for n in range(5000)])},
            "5000 addr",
        ),
        (
            {
                f"eth{dev}": interface(BORN, *[f"10.{dev}.{n >> 8}.{n & 255}" for n in range(900)])
                for dev in range(9)
            },
            "more than 4096 are refused",
        ),
    ],
    ids=["nothing", "text", "list", "number", "5000 on one", "8100 on nine"],
)
def test_malformed_interfaces_are_one_line(told, line):
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        inventory.from_interfaces(told)
    assert line in str(refused.value)


KEYS = ["ip", "mac", "dev", "state", "owner", "updated_s", "hwaddr", "inet", "address", "eth0"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=4)
    | st.floats() | st.sampled_from([IP, IP6, DEAD]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(KEYS)
        | st.integers(),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(ANYTHING)
def test_any_interfaces_are_an_inventory_or_one_line(told):
    for read in (inventory.from_interfaces, inventory.from_grains):
        try:
            facts = read(told)
        except ValueError as error:
            refused = str(error)
        else:
            refused = ""
            assert all(inventory.parse_address(ip) == ip for ip, _, _ in facts.addresses)
        assert "\n" not in refused


@pytest.mark.parametrize("age", [float("nan"), float("inf"), 1e300, 2**63, -1, "old"], ids=str)
def test_impossible_age_is_none_and_renders(age):
    verdict = compared([row(updated_s=age)], {"worker": asked(BORN, IP)})
    [wrong] = verdict.wrong
    assert wrong["unchanged_s"] is None
    assert IP in html_report.page({"wrong": [wrong]}, 1.8e9)


@given(st.lists(ANYTHING, max_size=4), ANYTHING)
def test_any_table_leaves_the_others_compared(rows, instead):
    fleet = bindings.Bindings({"worker": asked(BORN, IP)}, {"worker"})
    tables = {"db1": [row()], "evil": rows, "worse": instead}
    verdict = compare.compare(tables, fleet)
    assert ("db1", IP) in {(each["minion"], each["ip"]) for each in verdict.wrong}


def adds_up(verdict):
    """Tell whether each entry is counted exactly once."""
    counts = {key: value for key, value in verdict.counts.items() if key != "entries"}
    rows = len(verdict.wrong) + len(verdict.gone) + len(verdict.unproven)
    return verdict.counts["entries"] == sum(counts.values()) + rows


MACHINES = st.dictionaries(
    st.sampled_from(["w1", "w2", "w3"]),
    st.tuples(st.sampled_from([DEAD, BORN, OTHER]), st.sets(st.sampled_from([IP, IP6]))),
)


@given(MACHINES, st.lists(st.tuples(st.sampled_from([IP, IP6]), st.sampled_from([DEAD, BORN]))))
def test_wrong_means_no_machine_with_the_address_has_the_mac(machines, entries):
    """The same said in another way, one entry and one machine at a time."""
    facts = {name: asked(mac, *ips) for name, (mac, ips) in machines.items()}
    verdict = compared([row(ip, mac) for ip, mac in entries], facts)
    expected = [
        (ip, mac)
        for ip, mac in entries
        if any(ip in ips for _, ips in machines.values())
        and not any(ip in ips and mac == own for own, ips in machines.values())
    ]
    assert sorted((each["ip"], each["mac"]) for each in verdict.wrong) == sorted(expected)
    assert adds_up(verdict)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (None, "no answer"),
        ({"ret": "Traceback\n  x\nOSError: refused\n"}, "OSError: refused"),
        ({"ret": "'arp.list' is not available."}, "'arp.list' is not available."),
        ({"ret": False}, "answered False"),
        ({"ret": []}, ""),
    ],
    ids=["silent", "traceback", "missing", "False", "an empty table"],
)
def test_failure_names_the_reason(told, line):
    assert summary.failure(told) == line


def test_interface_without_mac_has_no_binding():
    facts = {"w": inventory.from_interfaces({"tun0": interface("00:00:00:00:00:00", IP)})}
    assert (found(compared([row()], facts)), facts["w"].macs) == (NOTHING, frozenset())


def test_cached_address_of_two_machines_is_exit_code_2():
    facts = {"w1": asked(BORN, IP), "w2": asked(OTHER, IP)}
    fleet = bindings.Bindings(facts, set(facts))
    rows = [row(mac=BORN)]
    told = summary.answer(
        summary.Findings(compare.compare({"db1": rows}, fleet), fleet, {"db1": rows}, {})
    )
    assert told["retcode"] == 2


@pytest.mark.parametrize(
    ("rows", "silent", "code"),
    [([row(mac=BORN)], {}, 0), ([row()], {}, 2), ([], {"db2": "x"}, 4), ([row()], {"d": "x"}, 6)],
    ids=["clean", "wrong", "silent", "both"],
)
def test_exit_codes_add_up(rows, silent, code):
    facts = {"worker": asked(BORN, IP)}
    fleet = bindings.Bindings(facts, set(facts))
    verdict = compare.compare({"db1": rows}, fleet)
    assert (
        summary.answer(summary.Findings(verdict, fleet, {"db1": rows}, silent))["retcode"] == code
    )


def test_limit_cuts_lists_and_totals_do_not():
    rows = [row(f"192.0.2.{number}") for number in range(1, 50)]
    facts = {"worker": asked(BORN, *(each["ip"] for each in rows))}
    fleet = bindings.Bindings(facts, set(facts))
    told = summary.answer(
        summary.Findings(compare.compare({"db1": rows}, fleet), fleet, {"db1": rows}, {})
    )
    told = summary.cut(told, 10)
    assert (len(told["wrong"]), told["totals"]["wrong"]) == (10, 49)


def test_unconfirmed_are_machines_known_by_grains_alone():
    facts = {"w1": remembered(BORN, IP), "w2": asked(OTHER, IP6)}
    fleet = bindings.Bindings(facts, set(facts))
    verdict = compare.compare({"db1": [row(), row(IP6)]}, fleet)
    assert summary.unconfirmed(verdict, fleet) == {"w1"}


MORE = st.dictionaries(
    st.sampled_from(["w1", "w2", "w3"]),
    st.tuples(
        st.sampled_from([DEAD, BORN, OTHER]),
        st.sets(st.sampled_from([IP, IP6])),
        st.sampled_from(["live", "cached"]),
        st.sampled_from(["eth0", "lo", "dummy0"]),
    ),
)


@given(MORE, MORE, st.lists(st.tuples(st.sampled_from([IP, IP6]), st.sampled_from([DEAD, BORN]))))
def test_every_entry_is_counted_once(machines, former, entries):
    def inventories(described):
        return {
            name: inventory.from_interfaces({dev: interface(mac, *ips)}, source)
            for name, (mac, ips, source, dev) in described.items()
        }

    rows = [row(ip, mac) for ip, mac in entries]
    verdict = compared(rows, inventories(machines), former=inventories(former))
    assert adds_up(verdict)


def test_cached_grains_prove_nothing_wrong_and_nothing_right():
    """The newcomer's minion is not connected yet: its cached grains name the dead MAC."""
    facts = {"worker": remembered(DEAD, IP, age_s=60)}
    fleet = bindings.Bindings(facts, {"worker"})
    tables = {"db1": [row(mac=DEAD)], "db2": [row(mac=BORN)]}
    result = compare.compare(tables, fleet)
    told = summary.answer(summary.Findings(result, fleet, tables, {"worker": "down"}))
    assert (told["wrong"], told["counts"]["agree"], told["counts"]["agree_cached"]) == ([], 0, 1)
    [row_] = told["unproven"]
    assert (row_["minion"], row_["mac_true"], row_["truth_age_s"]) == ("db2", DEAD, 60)
    assert told["retcode"] == 4 + 8
    assert (
        "2 entries of 2 databases: 0 wrong, 0 of machines that are gone, 1 unproven"
        in (told["summary"][0])
    )


def test_stranger_at_a_former_machines_address_is_not_gone():
    verdict = compared([row(mac=OTHER)], {}, set(), {"w": remembered(DEAD, IP)})
    assert (found(verdict), verdict.counts["strangers"]) == (NOTHING, 1)


def test_address_of_a_machine_with_a_new_id_is_not_gone():
    """Its old id is not accepted any more; it answers, and does not list the address."""
    verdict = compared([row()], {"new": asked(DEAD, IP6)}, former={"old": remembered(DEAD, IP)})
    assert found(verdict) == NOTHING
    assert (
        verdict.unproven[0]["why"] == "new has this MAC, and not the address on a card that is up"
    )


def test_virtual_address_on_lo_that_an_appliance_answers_for_is_not_gone():
    """LVS with a director that is no minion, in a network that is all the fleet's."""
    facts = {"real": asked(BORN, "192.0.2.7", lo=interface("", IP))}
    verdict = compared([row(mac=OTHER)], facts, networks="192.0.2.0/24")
    assert found(verdict) == NOTHING
    assert "real has it on a device without ARP" in verdict.unproven[0]["why"]


def test_address_that_its_host_does_not_list_is_unproven():
    """MetalLB, a VPN pool, pods of a cloud node: the host rightly answers. Or it has moved."""
    verdict = compared([row(mac=BORN)], {"node": asked(BORN, IP6)}, networks="192.0.2.0/24")
    assert found(verdict) == NOTHING
    assert (
        verdict.unproven[0]["why"] == "node has this MAC, and not the address on a card that is up"
    )


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("dev", ["lo", "dummy0", "kube-ipvs0", "tun0"])
def test_address_on_a_device_without_arp_is_right_at_any_mac_of_its_host(dev, up):
    """Also where it is down, as kube-ipvs0 always is: the host's cards answer for it."""
    unbound = {dev: interface(OTHER if dev.startswith("d") else "00:00:00:00:00:00", IP, up=up)}
    facts = {"w": asked(BORN, IP6, **unbound)}
    verdict = compared([row(mac=BORN), row(mac=DEAD)], facts)
    assert found(verdict) == NOTHING
    assert verdict.counts["agree"] == 1
    assert "device without ARP: any host may answer" in verdict.unproven[0]["why"]


def test_card_with_the_address_overrides_a_virtual_address_on_lo():
    """LVS: the real servers have the address on lo, and the director answers for it."""
    director = asked(BORN, IP)
    facts = {"director": director, "real": asked(OTHER, IP6, lo=interface("", IP))}
    verdict = compared([row(mac=BORN), row(mac=DEAD)], facts)
    assert (len(verdict.wrong), verdict.twice, verdict.counts["agree"]) == (1, [], 1)


def test_node_with_10000_virtual_addresses_is_believed():
    many = [f"10.{n >> 8}.{n & 255}.1" for n in range(10_000)]
    facts = {"node": asked(BORN, IP, **{"kube-ipvs0": interface(OTHER, *many)})}
    assert [each["mac_true"] for each in compared([row()], facts).wrong] == [BORN]


def test_two_ids_of_one_machine_are_one_claimant():
    facts = {"machine": asked(BORN, IP), "proxy": asked(BORN, IP)}
    verdict = compared([row(mac=BORN)], facts)
    assert (found(verdict), verdict.counts["agree"]) == (NOTHING, 1)


def test_entry_on_a_host_bridge_is_not_compared():
    """172.17.0.2 on this host's docker0 is another container than that of another host."""
    facts = {"container": asked(BORN, "172.17.0.2")}
    verdict = compared([row("172.17.0.2", dev="docker0")], facts)
    assert (found(verdict), verdict.counts["not_compared"]) == (NOTHING, 1)


GATEWAY = "12:34:56:78:9a:bc"


def proxied(count=10):
    """Many machines, all of whose entries have one MAC; and one that has another."""
    facts = {f"w{n}": asked(f"02:00:00:00:01:{n:02x}", f"192.0.2.{n}") for n in range(1, count)}
    return facts, [row(f"192.0.2.{n}", GATEWAY) for n in range(2, count)] + [row("192.0.2.1")]


def test_mac_of_many_machines_is_a_candidate_for_the_networks_own():
    facts, rows = proxied()
    [candidate] = compare.fabric_candidates(compared(rows, facts))
    assert {each["mac"] for each in candidate} == {GATEWAY}
    some = [row("192.0.2.1", GATEWAY), row("192.0.2.2", GATEWAY)]
    assert compare.fabric_candidates(compared(some, facts)) == [], "two may be a coincidence"


def test_right_ipv6_entries_beside_a_gateway_of_ipv4_alone_hide_no_candidate():
    facts, rows = proxied()
    six = {f"x{n}": asked(f"02:00:00:00:02:{n:02x}", f"2001:db8::{n}") for n in range(1, 30)}
    right = [row(f"2001:db8::{n}", f"02:00:00:00:02:{n:02x}") for n in range(1, 30)]
    [candidate] = compare.fabric_candidates(compared(rows + right, {**facts, **six}))
    assert {each["mac"] for each in candidate} == {GATEWAY}


def test_gateway_of_ipv4_alone_makes_no_ipv6_entry_right():
    facts = {"w": asked(BORN, IP, IP6)}
    fleet = bindings.Bindings(facts, set(facts))
    tables = {"db1": [row(mac=GATEWAY), row(IP6, GATEWAY)]}
    verdict = compare.compare(tables, fleet, {("db1", "eth0", 4, GATEWAY)})
    assert (verdict.counts["fabric"], [each["ip"] for each in verdict.wrong]) == (1, [IP6])


def test_what_the_network_answers_agrees_and_another_mac_is_wrong():
    facts, rows = proxied()
    fleet = bindings.Bindings(facts, set(facts))
    verdict = compare.compare({"db1": rows}, fleet, {("db1", "eth0", 4, GATEWAY)})
    assert verdict.counts["fabric"] == 8
    assert [(each["ip"], each["mac"]) for each in verdict.wrong] == [("192.0.2.1", DEAD)]
    assert adds_up(verdict)


def test_tables_without_any_address_of_a_machine_are_not_called_clean():
    facts = {"worker": asked(BORN, IP)}
    fleet = bindings.Bindings(facts, set(facts))
    for rows in ([], [row("198.51.100.1")]):
        found_ = summary.Findings(compare.compare({"db1": rows}, fleet), fleet, {"db1": rows}, {})
        told = summary.answer(found_)
        assert told["retcode"] == 4
        assert "nothing could be compared. Install Salt on the workers" in told["summary"][2]
        assert told["summary"][2].endswith(", or use truth=file:NAME.")
