"""arp_hygiene.run on a real table: what it does, logs, keeps and counts."""

import contextlib
import errno
import os
import pathlib
import socket
import tempfile

import pytest
from conftest import BORN, DEAD, ip
from formula import mounted, needs_another_user, syslog  # noqa: F401
from salt.exceptions import SaltInvocationError

HEALED = f"1 healed: 192.0.2.10 on db0: {DEAD} -> {BORN}"


@pytest.fixture
def outage(scene):
    """A worker was re-created with another MAC; the table holds the old MAC."""
    scene.quick()
    scene.sysctl("ipv4.neigh.db0.mcast_resolicit", 3)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    return scene


def test_heal_is_logged_and_kept_in_the_history(hygiene, outage, syslog):
    done = hygiene.run(family="ipv4")
    assert (done["success"], done["said"], done["problems"]) == (True, HEALED, [])
    assert done["healed"][0]["new"] == BORN
    assert syslog.lines() == [f"arp_hygiene: {HEALED}"]
    (row,) = hygiene.healed()
    assert row.pop("at").endswith("Z")
    assert row == {"ip": "192.0.2.10", "dev": "db0", "old": DEAD, "new": BORN, "by": "run"}
    (status,) = hygiene.status()
    assert (status["said"], status["healed_7d"], status["problem"]) == (HEALED, 1, "")
    assert status["installed"] == ""
    again = hygiene.run(family="ipv4")
    assert (again["said"], hygiene.status()[0]["healed_7d"]) == ("", 1)
    assert syslog.lines() == []


def test_test_mode_checks_and_changes_nothing(hygiene, outage, syslog):
    before = outage.table()
    hygiene.record.mkdir(parents=True)
    done = hygiene.run(family="ipv4", test=True)
    assert (done["success"], done["would_check"]) == (True, 1)
    assert outage.table() == before
    assert list(hygiene.record.iterdir()) == []
    assert syslog.lines() == []


def test_test_mode_finds_a_missing_metrics_directory(hygiene, outage):
    done = hygiene.run(test=True)
    assert not done["success"]
    assert (
        done["said"]
        == f"{hygiene.record} is not a directory: a run could not record its result there"
    )


@needs_another_user
@pytest.mark.parametrize("is_read_only", [False, True])
def test_test_mode_takes_a_history_of_another_user_for_one_to_be_given(
    hygiene, scene, monkeypatch, is_read_only
):
    """A former job's: the formula gives it to the new one after the test. Not so a disk's fault."""
    hygiene.run(test=True)  # all is loaded: the other user may have no right to read it
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as later:
        pathlib.Path(root).chmod(0o755)
        monkeypatch.setitem(hygiene.opts, "root_dir", root)
        record = pathlib.Path(root, "var/lib/arp_hygiene")
        record.parent.mkdir(parents=True)
        record.mkdir(mode=0o750)
        if is_read_only:
            later.enter_context(mounted("-t", "tmpfs", "-o", "ro,mode=750", "tmpfs", record))
        os.setresuid(1, 1, 0)
        later.callback(os.setresuid, 0, 0, 0)
        done = hygiene.run(how="flush", ip="192.0.2.77", test=True)
    assert not done["success"]
    if is_read_only:
        assert done["said"].startswith(f"{record} cannot be written: ")
    else:
        assert done["said"] == "user 1 has no CAP_NET_ADMIN here", "that is all it lacks"


def test_status_before_the_first_run_says_no_run_yet(hygiene):
    (status,) = hygiene.status()
    assert (status["last"], status["said"], status["problem"]) == ("", "no run yet", "")
    assert hygiene.healed() == []


def test_partial_refusal_fails_the_run_and_reports_the_heals(hygiene, scene, syslog, monkeypatch):
    """The kernel does refuse single entries, but not on demand."""
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
    done = hygiene.run(how="flush", family="ipv4")
    assert not done["success"]
    assert done["said"].startswith("1 refused, 1 flushed: refused 192.0.2.11 on ")
    assert "EBUSY" in done["said"]
    assert syslog.lines() == [f"arp_hygiene: {done['said']}"]
    assert hygiene.status()[0]["problem"] == "the last run failed"


@pytest.mark.parametrize("how", ["revalidate", "flush"])
def test_run_over_a_port_says_which_device_has_the_entries(hygiene, scene, syslog, how):
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "db0", "master", "br0")
    line = "dev: db0 is a port of br0, which has the neighbour entries"
    assert hygiene.run(how=how, dev="db0")["said"] == line
    assert syslog.lines() == [f"arp_hygiene: {line}"]


def test_nearly_full_table_is_reported(hygiene, arp, scene, syslog, monkeypatch):
    """gc_thresh3 is shared with other tests, so our own threshold is changed instead."""
    from arp_engine.netlink import rtnetlink
    from arp_engine.table import capacity

    scene.fill(20)
    assert hygiene.run(ip="192.0.2.0/24")["said"] == ""
    monkeypatch.setattr(capacity, "NEARLY_FULL", 0.001)
    monkeypatch.setattr(rtnetlink.Limits, "is_collecting", True)
    limit = arp.stats()["ipv4"]["gc_thresh3"]
    done = hygiene.run(ip="192.0.2.0/24")
    assert "ipv4 neighbour table " in done["said"]
    assert (
        f" of gc_thresh3 {limit}, all namespaces together; set gc_thresh2 {limit}" in done["said"]
    )
    assert syslog.lines() == [f"arp_hygiene: {done['said']}"]


def test_metrics_count_runs_and_heals(hygiene, outage, tmp_path):
    parser = pytest.importorskip("prometheus_client.parser")
    for _ in range(2):
        done = hygiene.run(family="ipv4", metrics=str(tmp_path))
        assert done["problems"] == []
    text = (tmp_path / "arp_hygiene.prom").read_text()
    found = {
        sample.name: sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["arp_hygiene_runs_total"] == 2
    assert found["arp_hygiene_healed_total"] == 1
    assert found["arp_hygiene_suspects"] == 0
    assert found["arp_hygiene_last_run_success"] == 1
    assert 'family="ipv4",state="REACHABLE"} 1.0' in text
    assert "192.0.2" not in text, "no series for an address"
    assert hygiene.traces()["textfile"]


def test_unwritable_metrics_do_not_stop_the_run(hygiene, outage, syslog, tmp_path):
    done = hygiene.run(family="ipv4", metrics=str(tmp_path / "none"))
    assert (done["success"], done["said"]) == (True, HEALED)
    told = f"cannot write metrics to {tmp_path}/none: No such file or directory"
    assert done["problems"] == [told]
    assert syslog.lines() == [f"arp_hygiene: {HEALED}", f"arp_hygiene: {told}"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ({"how": "purge"}, "how: 'purge' is not one of revalidate, flush"),
        ({"event": "no"}, "event: 'no' is neither true nor false"),
        ({"test": 1}, "test: 1 is neither true nor false"),
        ({"metrics": "here"}, "metrics: 'here' is not an absolute path"),
        ({"how": "flush", "rate": 5}, "rate: a rate applies to revalidate only"),
    ],
    ids=str,
)
def test_bad_argument_changes_nothing(hygiene, outage, words, line):
    before = outage.table()
    with pytest.raises(SaltInvocationError, match=line):
        hygiene.run(**words)
    assert outage.table() == before
