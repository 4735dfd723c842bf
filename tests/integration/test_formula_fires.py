"""The schedule really fires: an outage heals with nobody typing, by cron and by Salt's scheduler.

Two databases on one cloud-like network, each with an application that keeps confirming the dead
MAC. db1's highstate installs a cron file, which a real cron daemon in db1's network reads; db2's
adds a job to a running minion. db3's job can only fail. All are due in the same minute.
"""

import contextlib
import pathlib
import subprocess
import tempfile

import pytest
import yaml
from formula_minion import Masterless

from lab.bare import missing
from lab.causes import Confirming
from lab.fabric import Fabric
from lab.machines import poll
from lab.observe import Service, connect

DUE_S = 240  # a minute, and what a loaded machine takes
PILLAR = {"schedule": {"every": 1, "splay": 0}, "requirement": {"install": "none"}}
NO_DEVICE, NO_DEVICE_HERE = {"clean": {"dev": "eth9"}}, "no device 'eth9' here"
SALT = {**PILLAR, "schedule": {**PILLAR["schedule"], "backend": "salt"}}


@pytest.fixture
def fabric():
    with Fabric() as built:
        yield built


@pytest.fixture
def short():
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="m") as path:
        yield pathlib.Path(path)


def cron_is_missing():
    """Why no cron daemon can run a job here, or an empty string."""
    if missing("cron"):
        return missing("cron")
    words = ["setpriv", "--init-groups", "--reuid=0", "true"]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        return "cron cannot switch user: map more ids to this user (/etc/subuid and newuidmap)"
    return ""


def dead(number):
    """Return the MAC of a worker that is gone."""
    return f"02:00:00:0a:00:{number}"


def outage(fabric, database, number, stack):
    """Re-create the database's worker while something vouches for the dead one."""
    worker = fabric.worker(f"worker-{database.label}", number, dead(number))
    stack.enter_context(Service(database, database.ip))
    poll("the network works", 30, lambda: connect(worker, database.ip))
    stack.enter_context(Confirming(database, worker.ip))
    worker = fabric.recreate(worker, f"02:00:00:0b:00:{number}")
    for _ in range(2):
        assert connect(worker, database.ip) is None, "no outage, nothing to heal"
    assert database.neighbour(worker.ip)["lladdr"] == dead(number)
    return worker


def test_schedules_heal_an_outage(fabric, short):
    no_cron = cron_is_missing()
    by_cron = Masterless(fabric.database("db1", 11), short / "1", PILLAR)
    by_salt = Masterless(fabric.database("db2", 12), short / "2", SALT)
    fails = Masterless(fabric.database("db3", 13), short / "3", {**SALT, **NO_DEVICE})
    for minion in (by_salt, fails):
        minion.start()
    told = yaml.safe_load(fails.machine.do(*fails.words("state.highstate"), check=False))["local"]
    (failed,) = [state for state in told.values() if state["result"] is False]
    assert NO_DEVICE_HERE in failed["comment"], "a device that is missing is refused"
    fails.machine.do("ip link add eth9 type veth peer name eth8")
    fails.apply()
    fails.machine.do("ip link del eth9")
    if not no_cron:
        by_cron.machine.start("cron", "-f")
    with contextlib.ExitStack() as stack:
        workers = {}
        for number, minion in enumerate([by_salt] if no_cron else [by_cron, by_salt], 90):
            workers[minion] = outage(fabric, minion.machine, number, stack)
            minion.apply()
        for minion, worker in workers.items():
            database = minion.machine
            what = f"{database.label} heals"
            poll(what, DUE_S, lambda w=worker, d=database: connect(w, d.ip))
            assert database.neighbour(worker.ip)["lladdr"] == worker.mac
    assert not by_salt.apply(), "a job in a running minion is found again as it was installed"
    poll("the log says why", DUE_S, lambda: NO_DEVICE_HERE in fails.log())
    status = lambda: by_salt.call("arp_hygiene.status")[0]  # noqa: E731
    # the run ends ten seconds after its heal, when the former holder has stayed silent
    poll("the heal is recorded", 180, lambda: status()["healed_7d"] == 1, every_s=1)
    row = status()
    assert row["installed"].startswith("salt ")
    healed = f"{dead(number)} -> {workers[by_salt].mac}"
    assert healed in row["said"] or row["said"] == ""
    what_salt_keeps_is_as_before(by_salt, short / "2/etc/minion.d/_schedule.conf")
    if no_cron:
        pytest.skip(f"healed by Salt's scheduler, not tried by cron: {no_cron}")


def what_salt_keeps_is_as_before(minion, saved):
    """Install and remove leave the minion's schedule file as it was: absent, or with a job."""
    minion.apply("state.apply", "arp_hygiene.remove")
    poll("nothing is saved", 30, lambda: not saved.exists())
    minion.call("schedule.add", "theirs", "function=test.ping", "hours=5")
    # Salt completes each job of its own accord once it has looked at it, and saves it so.
    poll(
        "Salt has looked",
        90,
        lambda: minion.call("schedule.save") and b"splay" in saved.read_bytes(),
    )
    before = saved.read_bytes()
    # Salt tells that it has changed a schedule before it saves it
    minion.apply()
    poll("ours is saved", 30, lambda: saved.read_bytes() != before)
    minion.apply("state.apply", "arp_hygiene.remove")
    poll("theirs is saved as it was", 30, lambda: saved.read_bytes() == before)
