"""A heal by hand or by the master is in arp_hygiene.healed: real tables, Salt's real loaders."""

import contextlib
import os
import subprocess

import pytest
import salt.utils.ctx
from conftest import BORN, DEAD, ip

IP = "192.0.2.10"
ROW = {"ip": IP, "dev": "db0", "old": DEAD, "new": BORN}


@pytest.fixture
def outage(scene):
    """The worker at IP was recreated: the table holds the MAC of its former NIC."""
    scene.quick()
    scene.sysctl("ipv4.neigh.db0.mcast_resolicit", 3)
    scene.worker(IP)
    scene.add(IP, "reachable", DEAD)
    return scene


def on_record(hygiene):
    """Return the rows of arp_hygiene.healed, without the moment."""
    return [{name: row[name] for name in row if name != "at"} for row in hygiene.healed()]


@contextlib.contextmanager
def job(data):
    """Run the block as a minion runs a job of its master."""
    request = {"data": data, "opts": {}}
    if hasattr(salt.utils.ctx, "request_context"):
        context = salt.utils.ctx.request_context(request)
    else:  # Salt 3006
        context = salt.utils.ctx.RequestContext(request)
    with context:
        yield


@pytest.mark.parametrize("function", ["revalidate", "diagnose"])
def test_heal_by_hand_is_recorded_with_the_function(arp, hygiene, outage, function):
    """Also where the formula was never applied."""
    assert not hygiene.record.exists()
    done = getattr(arp, function)(IP)
    assert "cannot write" not in str(done)
    assert on_record(hygiene) == [{**ROW, "by": function}]
    assert (hygiene.status()[0]["healed_7d"], hygiene.status()[0]["said"]) == (1, "no run yet")
    assert hygiene.record.stat().st_mode & 0o777 == 0o750
    assert hygiene.traces()["record"], "arp_hygiene.remove would leave it"
    getattr(arp, function)(IP)
    assert len(on_record(hygiene)) == 1, "a right entry is no heal"


@pytest.mark.parametrize(
    ("metadata", "by"),
    [
        ({"arp_hygiene_by": "heal"}, "heal"),
        ({"arp_hygiene_by": "arp_born"}, "arp_born"),
        ({"arp_hygiene_by": "root"}, "revalidate"),
        ({"arp_hygiene_by": ["heal"]}, "revalidate"),
        ("heal", "revalidate"),
        (None, "revalidate"),
    ],
    ids=str,
)
def test_job_of_the_master_is_recorded_with_its_sender(arp, hygiene, outage, metadata, by):
    with job({"fun": "arp.revalidate", "metadata": metadata}):
        arp.revalidate(IP)
    assert on_record(hygiene) == [{**ROW, "by": by}]


def test_diagnosis_of_two_wrong_next_hops_records_both(arp, hygiene, scene):
    hops = ["192.0.2.11", "192.0.2.12"]
    words = [word for hop in hops for word in ("nexthop", "via", hop)]
    ip("route", "add", "default", *words)
    scene.sysctl("ipv4.fib_multipath_hash_policy", 1)
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    for hop in hops:
        scene.worker(hop)
        scene.add(hop, "reachable", DEAD)
    arp.diagnose("198.51.100.1")
    assert sorted(row["ip"] for row in on_record(hygiene)) == hops


def test_scheduled_run_records_its_heal_once(hygiene, outage):
    with job({"fun": "arp_hygiene.run", "metadata": {"arp_hygiene_by": "heal"}}):
        hygiene.run(family="ipv4")
    assert on_record(hygiene) == [{**ROW, "by": "run"}]


def test_call_after_a_scheduled_run_is_recorded_again(arp, hygiene, outage):
    hygiene.run(family="ipv4")
    outage.add(IP, "reachable", DEAD)
    arp.revalidate(IP)
    assert [row["by"] for row in on_record(hygiene)] == ["run", "revalidate"]


def test_dry_runs_record_nothing(arp, hygiene, outage):
    arp.revalidate(IP, test=True)
    arp.diagnose(IP, test=True)
    arp.flush(IP, test=True)
    assert not hygiene.record.exists()


def test_limit_bounds_the_return_and_not_the_record(arp, hygiene, outage):
    outage.worker("192.0.2.11")
    outage.add("192.0.2.11", "reachable", DEAD)
    done = arp.revalidate(family="ipv4", limit=1)
    assert (len(done["healed"]), done["totals"]["healed"]) == (1, 2)
    assert sorted(row["ip"] for row in on_record(hygiene)) == [IP, "192.0.2.11"]


@pytest.mark.parametrize("rows", [False, True], ids=["counts", "rows"])
def test_flush_of_few_entries_records_each(arp, hygiene, outage, rows):
    outage.add("192.0.2.11", "failed", "")
    done = arp.flush(family="ipv4", rows=rows)
    assert (done["flushed"], "entries" in done) == (2, rows)
    assert on_record(hygiene) == [{**ROW, "new": "", "by": "flush"}], "what had no MAC is no heal"
    assert hygiene.status()[0]["healed_7d"] == 0, "nobody knows whether it was wrong"


def test_flush_of_many_entries_records_their_number(arp, hygiene, scene):
    scene.fill(21)
    assert arp.flush(family="ipv4") == {"flushed": 21, "kept": {}}
    assert on_record(hygiene) == [
        {"ip": "21 entries", "dev": "", "old": "", "new": "", "by": "flush"}
    ]


@pytest.mark.parametrize("function", ["revalidate", "diagnose", "flush"])
def test_heal_that_cannot_be_recorded_is_a_warning(arp, hygiene, outage, function):
    hygiene.record.parent.mkdir(parents=True, exist_ok=True)
    hygiene.record.write_text("in the way")
    try:
        done = getattr(arp, function)(IP)
    finally:
        hygiene.record.unlink()
    assert done["warnings"][-1] == (
        f"cannot write {hygiene.record}/heals.jsonl (File exists): "
        f"the run history lacks heals by {function}"
    )
    assert f"{IP} db0 {DEAD}" not in str(outage.table()), "it was healed all the same"


def test_full_disk_during_a_heal_is_a_warning(arp, hygiene, outage):
    hygiene.record.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", hygiene.record], check=True)
    try:
        (hygiene.record / "memory.json").write_text("{" * 4096)
        [line] = arp.revalidate(IP)["warnings"]
    finally:
        subprocess.run(["umount", hygiene.record], check=True)
    assert "(No space left on device): the run history lacks heals by revalidate" in line


def test_corrupt_history_is_said_and_the_heal_recorded(arp, hygiene, outage):
    hygiene.record.mkdir(parents=True)
    (hygiene.record / "memory.json").write_text("[" * 100_000)
    [line] = arp.revalidate(IP)["warnings"]
    assert line.endswith("memory.json (corrupt); starting with an empty run history")
    assert on_record(hygiene) == [{**ROW, "by": "revalidate"}]


def test_history_belongs_to_the_owner_of_its_directory(arp, hygiene, outage):
    """The user of the scheduled run must read what root has written."""
    hygiene.record.mkdir(parents=True)
    os.chown(hygiene.record, 65534, 65534)
    arp.revalidate(IP)
    there = (hygiene.record / "heals.jsonl").stat()
    assert (there.st_uid, there.st_gid, there.st_mode & 0o777) == (65534, 65534, 0o640)
