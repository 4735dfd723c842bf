"""The state arp.clean, by Salt's own state compiler."""

import pytest
from conftest import BORN, DEAD, ip


@pytest.fixture
def clean(arp, loaders):
    """Apply arp.clean; return its report."""

    def apply(test=False, **words):
        words.setdefault("family", "ipv4")
        ret = loaders.states.arp.clean(name="the table is clean", test=test, **words)
        return {"result": ret.result, "changes": ret.changes, "comment": ret.comment}

    return apply


@pytest.fixture
def lively(scene):
    scene.quick()
    scene.sysctl("ipv4.neigh.db0.mcast_resolicit", 3)
    return scene


def test_revalidate_reports_healed_and_gone_as_changes(clean, lively):
    lively.worker("192.0.2.10")
    lively.worker("192.0.2.11")
    lively.add("192.0.2.10", "reachable", DEAD)
    lively.add("192.0.2.11", "reachable", BORN)
    lively.add("192.0.2.12", "stale", DEAD)
    lively.add("192.0.2.13", "permanent", DEAD)
    ret = clean()
    assert ret["result"] is True
    assert ret["changes"] == {
        "192.0.2.10 on db0": {"old": DEAD, "new": BORN},
        "192.0.2.12 on db0": {"old": DEAD, "new": None},
    }
    assert ret["comment"] == (
        "3 entries checked: 1 confirmed, 1 healed, 1 gone, 0 undecided, 1 kept (PERMANENT)."
    )
    again = clean()
    assert (again["result"], again["changes"]) == (True, {})


def test_entry_that_is_still_wrong_is_no_success(clean, scene):
    """The worker answers, and the kernel keeps the cached MAC for longer than a run waits."""
    scene.sysctl("ipv4.neigh.db0.locktime", 100_000)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    ret = clean()
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "still wrong: 192.0.2.10 on db0: another MAC answers" in ret["comment"]


def test_comment_counts_duplicates_beyond_the_examples(clean, scene, monkeypatch):
    from arp_engine.resolve import revalidate

    rows = [
        {"ip": f"192.0.{2 + n // 256}.{n % 256}", "dev": "db0", "mac": DEAD, "macs": [DEAD, BORN]}
        for n in range(5000)
    ]
    told = {"checked": 5000, "confirmed": 0, "undecided": 0, "healed": [], "gone": []}
    told |= {"duplicates": rows, "totals": {"healed": 0, "gone": 0, "duplicates": 5000}}
    told |= {"kept": {}, "warnings": []}
    monkeypatch.setattr(revalidate, "revalidate", lambda *_words: told)
    assert clean()["comment"].endswith(
        "Duplicate address, two hosts answer, or one that answers for every address (proxy ARP), "
        "a flush cannot fix it: 192.0.2.0 on db0, "
        "192.0.2.1 on db0, 192.0.2.2 on db0 and 4997 more."
    )


def test_nothing_selected_is_not_clean(clean, scene):
    """As after a typo in `ip`."""
    scene.add("192.0.2.10", "stale", DEAD)
    typo = {"ip": "192.0.3.0/24"}
    assert clean(**typo)["comment"] == "Nothing checked: no entry is selected."
    assert clean(test=True, **typo)["comment"] == (
        "0 entries would be checked: no entry is selected."
    )
    for test in (False, True):
        assert clean(test=test, how="flush", nud="all", **typo)["comment"] == (
            "Nothing to delete: no entry is selected."
        )


def test_entries_that_cannot_be_probed_are_not_clean(clean, scene):
    scene.sysctl("ipv4.conf.db0.arp_evict_nocarrier", 0)
    scene.add("192.0.2.10", "stale", DEAD)
    ip("-n", "worker", "link", "set", "w0", "down")
    scene.until(lambda: "NO-CARRIER" in ip("link", "show", "db0"))
    assert clean()["comment"] == "Nothing checked, 1 kept (no carrier)."


def test_flush_that_looked_and_found_nothing_of_ours_is_already_clean(clean, scene):
    scene.add("192.0.2.10", "permanent", DEAD)
    assert clean(how="flush", nud="all")["comment"] == (
        "Already clean: nothing to delete, 1 kept (PERMANENT)."
    )


@pytest.mark.parametrize(
    ("words", "nothing"),
    [({}, "Nothing checked"), ({"how": "flush", "nud": "all"}, "Nothing to delete")],
    ids=str,
)
def test_port_without_entries_is_not_just_clean(clean, scene, words, nothing):
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "db0", "master", "br0")
    assert clean(dev="db0", **words)["comment"] == (
        f"{nothing}: no entry is selected. dev: db0 is a port of br0, which has the neighbour "
        "entries."
    )


def test_revalidate_in_test_mode_has_no_changes(clean, lively):
    """Suspects that an application rightly confirms must not count as changes at every run."""
    lively.add("192.0.2.10", "stale", DEAD)
    before = lively.table()
    ret = clean(test=True)
    assert (ret["result"], ret["changes"]) == (True, {})
    assert ret["comment"] == "1 entry would be checked."
    assert lively.table() == before

    lively.sysctl("ipv4.neigh.db0.base_reachable_time_ms", 200)
    lively.add("192.0.2.11", "reachable", DEAD)
    with lively.confirming("192.0.2.11"):
        told = []

        def is_suspect():
            told.append(clean(test=True))
            return "1 suspect" in told[-1]["comment"]

        lively.until(is_suspect)
    ret = told[-1]
    assert (ret["result"], ret["changes"]) == (True, {})
    assert ret["comment"] == (
        "2 entries would be checked; 1 suspect, which need not be wrong (REACHABLE for longer than "
        "ARP would keep it): 192.0.2.11 on db0."
    )


def test_flush_changes_equal_those_of_test_mode(clean, scene):
    for last in range(10, 15):
        scene.add(f"192.0.2.{last}")
    plan = clean(test=True, how="flush", nud="STALE")
    assert plan["result"] is None
    assert len(scene.table()) == 5
    done = clean(how="flush", nud="STALE")
    assert done["result"] is True
    assert done["changes"] == plan["changes"]
    assert done["changes"]["192.0.2.10 on db0"] == {"old": DEAD, "new": None}
    assert "5 entries would be deleted: 192.0.2.10 on db0" in plan["comment"]
    assert "5 entries deleted: 192.0.2.10 on db0" in done["comment"]
    assert done["comment"].endswith("and 2 more.")
    assert scene.table() == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"how": "purge"}, "how: 'purge' is not one of revalidate, flush"),
        ({"how": "flush", "nud": "all", "rate": 5}, "rate: allowed with `how: revalidate` only"),
        ({"how": "flush"}, "nud: required with `how: flush`: name the neighbour states, or `all`"),
        ({"ip": "192.0.2.1/24"}, "has host bits set"),
        ({"nud": "PERMANENT"}, "PERMANENT is never touched"),
        ({"dev": "eth7"}, "no device 'eth7'"),
    ],
    ids=str,
)
@pytest.mark.parametrize("test", [False, True])
def test_bad_argument_fails_the_state_and_changes_nothing(clean, scene, words, line, test):
    scene.add("192.0.2.10")
    before = scene.table()
    ret = clean(test=test, **words)
    assert ret["result"] is False
    assert line in ret["comment"]
    assert "\n" not in ret["comment"]
    assert ret["changes"] == {}
    assert scene.table() == before


def test_partial_failure_reports_changes_and_refusals(clean, scene, monkeypatch):
    import errno
    import socket

    from arp_engine.netlink import codec, rtnetlink
    from pyroute2.netlink.rtnl import RTM_DELNEIGH

    scene.add("192.0.2.10")
    scene.add("192.0.2.11")
    original = rtnetlink.Channel.exchange

    def exchange(channel, orders):
        if codec.HEADER.unpack_from(orders)[1] != RTM_DELNEIGH:
            return original(channel, orders)
        monkeypatch.setattr(rtnetlink.Channel, "exchange", original)
        found, refusals = original(channel, orders)
        entry = codec.Entry(ifindex=2, dst=socket.inet_aton("192.0.2.11"))
        return found, [*refusals, rtnetlink.Refusal(entry, errno.EBUSY, "")]

    monkeypatch.setattr(rtnetlink.Channel, "exchange", exchange)
    ret = clean(how="flush", nud="all")
    assert ret["result"] is False
    assert list(ret["changes"]) == ["192.0.2.10 on db0"]
    assert "1 entry deleted" in ret["comment"]
    assert "The kernel refused 1: 192.0.2.11 on" in ret["comment"]
