"""A heal reaches the master: from the job as cron starts it, and from a minion's own run."""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import arp_status
import pytest

from lab.causes import Confirming
from lab.datacentre import Datacentre
from lab.machines import poll
from lab.observe import connect
from lab.saltstack import BIN, REPOSITORY, file_roots

DEAD, BORN = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


@pytest.fixture
def centre():
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as where:
        root = pathlib.Path(where)
        with Datacentre(root, ("db1",), file_roots=file_roots(root / "his")) as built:
            built.master.salt("*", "saltutil.sync_all")
            yield built


def heard(centre, tmp_path):
    """Return what heals the master's event bus has told of since this was first called.

    Of heals alone: a table that other tests fill, in namespaces of their own, is told about too.
    """
    path = tmp_path / "events"
    if not path.exists():
        etc = centre.master.root / "etc"
        words = [BIN / "salt-run", "-c", etc, "state.event", "arp_hygiene/*healed"]
        with path.open("w") as file:
            listening = subprocess.Popen([*map(str, words)], stdout=file, stderr=file)
        return listening
    lines = [line.split("\t", 1) for line in path.read_text().splitlines() if "\t{" in line]
    return [(tag, json.loads(data)) for tag, data in lines]


@pytest.mark.parametrize("way", ["salt-call", "minion"])
def test_a_heal_is_an_event_at_the_master(centre, tmp_path, way):
    (db1,) = centre.minions.values()
    database = db1.machine
    worker = centre.fabric.worker("worker", 90, DEAD)
    poll("the network works", 5, lambda: connect(worker, database.ip))
    listening = heard(centre, tmp_path)
    try:
        with Confirming(database, worker.ip):
            worker = centre.fabric.recreate(worker, BORN)
            if way == "minion":
                centre.master.salt("db1", "arp_hygiene.run")
            else:
                assert db1.call("arp_hygiene.run")["success"]
            poll("the master has heard of it", 20, lambda: heard(centre, tmp_path))
    finally:
        listening.terminate()
        listening.wait(20)
    ((tag, event),) = heard(centre, tmp_path)
    assert tag == "arp_hygiene/healed"
    assert event["id"] == "db1", "the one thing that a master verifies"
    (row,) = event["data"]["rows"]
    assert (row["ip"], row["old"], row["new"]) == (worker.ip, DEAD, BORN)
    assert f"{DEAD} -> {BORN}" in event["data"]["said"]


def test_a_heal_of_a_sentinel_beside_the_minion_goes_with_the_next_run(centre, tmp_path):
    (db1,) = centre.minions.values()
    database = db1.machine
    database.start(sys.executable, str(REPOSITORY / "_utils" / "arp_sentinel_loop.py"))
    status = lambda: arp_status.read(arp_status.PATH, time.monotonic())  # noqa: E731
    poll("the sentinel watches", 20, lambda: status()["lives"])
    worker = centre.fabric.worker("worker", 90, DEAD)
    poll("the network works", 5, lambda: connect(worker, database.ip))
    worker = centre.fabric.recreate(worker, BORN)
    poll("it has healed", 10, lambda: connect(worker, database.ip) and status()["heals"])
    listening = heard(centre, tmp_path)
    try:
        for _again in range(2):
            assert db1.call("arp_hygiene.run")["success"]
        poll("the master has heard of it", 20, lambda: heard(centre, tmp_path))
    finally:
        listening.terminate()
        listening.wait(20)
    ((tag, event),) = heard(centre, tmp_path)
    assert (tag, event["id"]) == ("arp_hygiene/sentinel/healed", "db1")
    (row,) = event["data"]["rows"]
    assert (row["ip"], row["old"], row["new"]) == (worker.ip, DEAD, BORN)
    assert event["data"]["said"].startswith(f"1 healed: healed {worker.ip} on ")
    assert [each["by"] for each in db1.call("arp_hygiene.healed")] == ["sentinel"]
