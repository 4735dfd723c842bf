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

DEAD, BORN = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


@pytest.fixture
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
    told = bus.heard("arp_hygiene/", lambda found: any(map(is_heal, found)), seconds=30)
    bus.fire("arp_hygiene/all", {})
    told += bus.heard("arp_hygiene/", lambda found: found and found[-1]["tag"].endswith("/all"))
    return [(each["tag"], each["data"]) for each in told if is_heal(each)]


def is_heal(event):
    return event["tag"].endswith("healed")


@pytest.mark.parametrize("way", ["salt-call", "minion"])
def test_heal_is_an_event_at_the_master(centre, way):
    (db1,) = centre.minions.values()
    database = db1.machine
    worker = centre.fabric.worker("worker", 90, DEAD)
    poll("the network works", 30, lambda: connect(worker, database.ip))
    with Bus(centre.master) as bus, Confirming(database, worker.ip):
        worker = centre.fabric.recreate(worker, BORN)
        if way == "minion":
            centre.master.salt("db1", "arp_hygiene.run")
        else:
            assert db1.call("arp_hygiene.run")["success"]
        ((tag, event),) = heals(bus)
    assert tag == "arp_hygiene/healed"
    assert event["id"] == "db1", "the one thing that a master verifies"
    (row,) = event["data"]["rows"]
    assert (row["ip"], row["old"], row["new"]) == (worker.ip, DEAD, BORN)
    assert f"{DEAD} -> {BORN}" in event["data"]["said"]


def test_service_heal_reaches_the_master_with_the_next_run(centre):
    (db1,) = centre.minions.values()
    database = db1.machine
    database.start(*SENTINEL)
    status = lambda: sentinel_status.read(sentinel_status.PATH, time.monotonic())  # noqa: E731
    poll("the sentinel is running", 60, lambda: status()["lives"])
    worker = centre.fabric.worker("worker", 90, DEAD)
    poll("the network works", 30, lambda: connect(worker, database.ip))
    worker = centre.fabric.recreate(worker, BORN)
    poll("it has healed", 30, lambda: connect(worker, database.ip) and status()["heals"])
    with Bus(centre.master) as bus:
        for _again in range(2):
            assert db1.call("arp_hygiene.run")["success"]
        ((tag, event),) = heals(bus)
    assert (tag, event["id"]) == ("arp_hygiene/sentinel/healed", "db1")
    (row,) = event["data"]["rows"]
    assert (row["ip"], row["old"], row["new"]) == (worker.ip, DEAD, BORN)
    assert event["data"]["said"].startswith(f"1 healed: {worker.ip} on ")
    assert [each["by"] for each in db1.call("arp_hygiene.healed")] == ["sentinel"]
