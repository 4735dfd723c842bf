"""A heal reaches the master: from the job as cron starts it, and from a minion's own run."""

import pathlib
import tempfile
import time

import pytest
from arp_engine.reporting import sentinel_status
from fleet_centre import Bus

from lab.causes import Confirming
from lab.datacentre import Datacentre
from lab.machines import poll
from lab.observe import connect
from lab.saltstack import SENTINEL, file_roots


def macs(number):
    """Return the MACs of a worker that is gone and of the one that has its address now."""
    return f"02:00:00:0a:00:{number}", f"02:00:00:0b:00:{number}"


@pytest.fixture(scope="module")
def centre():
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as where:
        root = pathlib.Path(where)
        with Datacentre(root, ("db1",), file_roots=file_roots(root / "his")) as built:
            built.master.salt("*", "saltutil.sync_all")
            yield built


def heals(bus):
    """Return what heals the bus tells of: those until there is one, and any more right after.

    Of heals alone: a table that other tests fill, in namespaces of their own, is told about too.
    """
    told = bus.heard("arp_hygiene/", lambda found: any(map(is_heal, found)))
    bus.fire("arp_hygiene/all", {})
    told += bus.heard("arp_hygiene/", lambda found: found and found[-1]["tag"].endswith("/all"))
    return [(each["tag"], each["data"]) for each in told if is_heal(each)]


def is_heal(event):
    return event["tag"].endswith("healed")


@pytest.mark.parametrize(("way", "number"), [("salt-call", 90), ("minion", 91)])
def test_heal_is_an_event_at_the_master(centre, way, number):
    (db1,) = centre.minions.values()
    database = db1.machine
    dead, born = macs(number)
    worker = centre.fabric.worker(f"worker{number}", number, dead)
    poll("the network works", 30, lambda: connect(worker, database.ip))
    with Bus(centre.master) as bus, Confirming(database, worker.ip):
        worker = centre.fabric.recreate(worker, born)
        if way == "minion":
            centre.master.salt("db1", "arp_hygiene.run")
        else:
            assert db1.call("arp_hygiene.run")["success"]
        ((tag, event),) = heals(bus)
    assert tag == "arp_hygiene/healed"
    assert event["id"] == "db1", "the one thing that a master verifies"
    (row,) = event["data"]["rows"]
    assert (row["ip"], row["old"], row["new"]) == (worker.ip, dead, born)
    assert f"{dead} -> {born}" in event["data"]["said"]


def test_service_heal_reaches_the_master_with_the_next_run(centre):
    (db1,) = centre.minions.values()
    database = db1.machine
    database.start(*SENTINEL)
    status = lambda: sentinel_status.read(sentinel_status.PATH, time.monotonic())  # noqa: E731
    poll("the sentinel is running", 60, lambda: status()["lives"])
    dead, born = macs(92)
    worker = centre.fabric.worker("worker92", 92, dead)
    poll("the network works", 30, lambda: connect(worker, database.ip))
    worker = centre.fabric.recreate(worker, born)
    poll("it has healed", 30, lambda: connect(worker, database.ip) and status().get("heals"))
    with Bus(centre.master) as bus:
        for _again in range(2):
            assert db1.call("arp_hygiene.run")["success"]
        ((tag, event),) = heals(bus)
    assert (tag, event["id"]) == ("arp_hygiene/sentinel/healed", "db1")
    (row,) = event["data"]["rows"]
    assert (row["ip"], row["old"], row["new"]) == (worker.ip, dead, born)
    assert event["data"]["said"].startswith(f"1 healed: {worker.ip} on ")
    recorded = [each["by"] for each in db1.call("arp_hygiene.healed") if each["ip"] == worker.ip]
    assert recorded == ["sentinel"]
