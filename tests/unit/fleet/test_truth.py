"""What is compared with: cached grains, a file; and findings that are known."""

import pytest
from arp_engine.fleet import acknowledge, truth_file
from simulated import (
    BORN,
    DEAD,
    IP,
    Master,
    audit,
    audited,
    grains,
    interfaces,
    parsed,
    row,
)


@pytest.mark.parametrize(("age_days", "unproven"), [(29, 1), (31, 0)])
def test_grains_older_than_memory_days_contradict_nobody(age_days, unproven):
    master = Master({"db1": [row()]}, {"w": None, "db1": interfaces(DEAD, "192.0.2.1")})
    master.grains = {"w": grains(BORN, IP, age_days * 86400)}
    answer = audit(master)
    assert (len(answer["unproven"]) > 0 and answer["unproven"][0]["machine"] == "w") is bool(
        unproven
    )
    assert "w" in {each["minion"] for each in answer["silent"]}


@pytest.mark.parametrize("truth", ["live", "cached"])
def test_entry_of_a_machine_whose_key_was_deleted_is_unproven(truth):
    master = Master({"db1": [row()]}, {"db1": interfaces(BORN, "192.0.2.1")})
    master.grains = {"former": grains(DEAD, IP, 60), "db1": grains(BORN, "192.0.2.1", 60)}
    answer = audit(master, truth=truth)
    assert (answer["gone"], answer["retcode"]) == ([], 8)
    assert [each["machine"] for each in answer["unproven"]] == ["former"]
    declared = audit(master, truth=truth, fabric=DEAD)
    assert declared["fabric"] == [], "no machine has the address"


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
    host = grains(BORN, IP, 5)._replace(source="file")
    options |= {"truth": "file", "truth_file": {"w": host}, "truth_age_s": 3 * 86400}
    answer = audited(master, options).answer()
    assert [(each["machine"], each["truth"]) for each in answer["wrong"]] == [("w", "file")]
    assert (answer["silent"], answer["retcode"]) == ([], 2)
    assert [each[1] for each in master.sent] == ["arp.list"]
    counts = answer["counts"]
    assert (counts["machines"], counts["machines_asked"], counts["machines_file"]) == (1, 0, 1)
    assert answer["summary"][1] == (
        "Compared with 1 machine: 0 answered, 0 from cached grains, 1 from the truth file (written "
        "3 d ago)."
    )


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


MONTH_S = 30 * 86400


def test_old_row_of_a_machine_in_the_truth_file_hides_no_young_one():
    """An address that left the machine long ago is beside one that it has."""
    lines = [
        "address,mac,machine,age_s",
        f"{IP},{BORN},w,60",
        f"192.0.2.91,{DEAD},w,{MONTH_S + 1}",
        f"192.0.2.92,{DEAD},old,{MONTH_S + 1}",
        f"192.0.2.93,{DEAD},unknown,",
    ]
    hosts = truth_file.parse_truth("\n".join(lines), MONTH_S)
    assert hosts["w"].addresses == [(IP, "", BORN)]
    assert (hosts["w"].macs, hosts["w"].age_s) == ({BORN}, 60)
    assert hosts["unknown"].addresses
    options = parsed()
    options |= {"truth": "file", "truth_file": hosts}
    answer = audited(Master({"db1": [row(), row("192.0.2.91")]}, {}), options).answer()
    assert [each["ip"] for each in answer["wrong"]] == [IP]
    assert [each["minion"] for each in answer["silent"]] == ["old"]


@pytest.mark.parametrize(("age", "total"), [("60", 3660), ("", 3600)])
def test_age_of_the_file_is_added(age, total):
    """Whoever wrote it may have stopped: a machine's age was true then."""
    text = f"address,mac,machine,age_s\n{IP},{BORN},w,{age}\n"
    assert truth_file.parse_truth(text, MONTH_S, 3600)["w"].age_s == total
    assert truth_file.parse_truth(text, MONTH_S, MONTH_S + 1)["w"].addresses == []


def test_old_row_of_another_mac_makes_its_address_not_gone():
    """The truth file has the address: that it does not have it would be a lie."""
    lines = [
        "address,mac,machine,age_s",
        f"192.0.2.7,{BORN},w,60",
        f"{IP},{BORN},w,{MONTH_S + 1}",
    ]
    options = parsed(networks="192.0.2.0/24")
    options |= {"truth": "file", "truth_file": truth_file.parse_truth("\n".join(lines), MONTH_S)}
    answer = audited(Master({"db1": [row(), row("192.0.2.91")]}, {}), options).answer()
    assert [(each["ip"], each["why"].split(", and ")[1]) for each in answer["gone"]] == [
        ("192.0.2.91", "the truth file does not have it")
    ]
    assert (answer["wrong"], answer["counts"]["strangers"]) == ([], 1)


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


def test_expired_acknowledgements_are_named_once_each():
    rows = [row(f"192.0.2.{number}") for number in range(1, 11)]
    hosts = {"w": interfaces(BORN, *(each["ip"] for each in rows)), "db1": {}}
    options = parsed()
    options["acknowledged"] = [
        *known(address="192.0.2.0/24", until="2020-01-01"),
        *(each for n in range(1, 8) for each in known(address=f"192.0.2.{n}", until="2020-01-02")),
        *known(address="198.51.100.1", until="2020-01-03"),
    ]
    answer = audited(Master({"db1": rows}, hosts), options).answer()
    assert answer["expired"][:2] == [
        {"about": "192.0.2.0/24", "why": "old load balancer", "until": "2020-01-01",
         "findings": 10},
        {"about": "192.0.2.1", "why": "old load balancer", "until": "2020-01-02", "findings": 1},
    ]  # fmt: skip
    lines = [line for line in answer["summary"] if "expired" in line]
    assert lines[0] == "The acknowledgement of 192.0.2.0/24 has expired (2020-01-01)."
    assert (len(lines), lines[-1]) == (6, "And 3 more acknowledgements expired.")
    assert (len(answer["wrong"]), answer["totals"]["expired"]) == (10, 8)


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
    host = truth_file.parse_truth(text, MONTH_S)["w"]
    assert host.addresses == [(IP, "", BORN), ("2001:db8::1", "", BORN)]
    assert (host.source, host.live, host.age_s) == ("file", True, None)


COLUMNS = "address,mac,machine"


def test_bad_line_of_a_truth_file_is_named_as_an_editor_counts():
    text = f'{COLUMNS}\n\n{IP},{BORN},"w\n1"\n\nbad,{BORN},w\n'
    with pytest.raises(ValueError, match=r"^truth: line 6 is not address"):
        truth_file.parse_truth(text, MONTH_S)


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
        truth_file.parse_truth(text, MONTH_S)
    assert "secret" not in str(refused.value)


def test_machines_of_a_truth_file_are_not_chosen_by_a_target():
    """Nobody is asked, so the file's rows of another site would count all the same."""
    options = parsed(machines="a-*") | {"truth": "file", "truth_file": {}}
    with pytest.raises(
        ValueError, match=r"^machines: 'a-\*' \(glob\): with truth=file no minion is"
    ):
        audited(Master({"db1": [row()]}, {}), options)


def test_addresses_that_salt_cut_off_are_no_absence():
    cut = {"eth0": {"hwaddr": BORN, "up": True, "inet": "VALUE_TRIMMED"}}
    answer = audit(Master({"db1": [row()]}, {"w": cut, "db1": interfaces(DEAD, "192.0.2.1")}))
    [silent] = answer["silent"]
    assert silent["minion"] == "w"
    assert silent["why"].endswith("its addresses exceed max_event_size of the master: raise it")
    assert (answer["gone"], answer["retcode"]) == ([], 4)
