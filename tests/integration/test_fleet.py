"""A real master, two real databases with minions, a real outage on both: what an operator types.

Each database is a network namespace on the lab's cloud-like fabric; the master reaches it over a
network of its own. A worker of both is re-created while an application on each vouches for it.
"""

import contextlib
import itertools
import json
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.causes import Confirming, aged
from lab.datacentre import Datacentre
from lab.machines import poll, run
from lab.observe import connect
from lab.saltstack import REPOSITORY

CLEAN = """\
the neighbour table is clean:
  arp.clean:
    - dev: eth0
    - how: {{ pillar["how"] }}
    - nud: all
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Master, fabric, two databases with minions. ``salt`` runs a function on both."""
    served = tmp_path_factory.mktemp("served")
    (served / "clean.sls").write_text(CLEAN, encoding="utf-8")
    for room in ("_modules", "_states", "_utils"):  # copies: one test serves a newer version
        shutil.copytree(REPOSITORY / room, served / room)
    roots = {"base": [str(served), str(REPOSITORY / "salt")]}
    with contextlib.ExitStack() as world:
        world.callback(forget_loopback)
        root = Path(world.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="f")))
        centre = world.enter_context(Datacentre(root, file_roots=roots))
        databases = [minion.machine for minion in centre.minions.values()]
        for database in databases:
            database.set("base_reachable_time_ms", 2000)  # or a suspect takes a minute to show

        def salt(function, *words, **options):
            words += tuple(f"{key}={json.dumps(value)}" for key, value in options.items())
            answer = centre.master.salt("db*", function, *words)
            assert set(answer) == {"db1", "db2"}, answer
            return answer

        salt("saltutil.sync_all")
        yield SimpleNamespace(salt=salt, fabric=centre.fabric, databases=databases, served=served)


def forget_loopback():
    """The master's own connections leave entries on lo; other tests want an empty table."""
    for state in ("down", "up"):
        run("ip", "link", "set", "lo", state)


_numbers = itertools.count(1)


@pytest.fixture
def outage(fleet):
    """A worker re-created with its address while both databases vouch for the dead one.

    Each outage has an address of its own: what a database still retransmits to a worker that is
    gone makes the kernel ask for it once a second, and a newcomer there wait for the next time.
    """
    number = next(_numbers)
    old, new = f"02:00:00:0a:00:{number:02x}", f"02:00:00:0b:00:{number:02x}"
    worker = fleet.fabric.worker("worker", 100 + number, old)
    with contextlib.ExitStack() as stack:
        for database in fleet.databases:
            stack.callback(database.do, "ip neigh flush all")
        stack.callback(lambda: fleet.fabric.remove(fleet.fabric.machines["worker"]))
        for database in fleet.databases:
            poll("the network works", 30, lambda d=database: connect(worker, d.ip))
            stack.enter_context(Confirming(database, worker.ip))
        worker = fleet.fabric.recreate(worker, new)
        assert reached(fleet, worker) == []
        yield SimpleNamespace(worker=worker, ip=worker.ip, old=old, new=new)


def reached(fleet, worker, timeout_s=1.5):
    """Return the databases that a real client on the worker can connect to."""
    return [each.label for each in fleet.databases if connect(worker, each.ip, timeout_s=timeout_s)]


def is_reached(fleet, worker):
    """Tell whether it can connect to both, sooner or later: an outage does not end by itself."""
    return reached(fleet, worker, 30) == ["db1", "db2"]


def entry(answer, ip):
    """Pick the row of one address out of each minion's rows."""
    return [row for rows in answer.values() for row in rows if row["ip"] == ip]


def test_list_stale_returns_stale_entries(fleet):
    worker = fleet.fabric.worker("idle", 91, "02:00:00:00:00:91")
    for database in fleet.databases:
        assert connect(worker, database.ip)
        aged(database, worker.ip)
    rows = entry(fleet.salt("arp.list_stale", dev="eth0"), worker.ip)
    assert [(row["mac"], row["state"], row["suspect"]) for row in rows] == [
        ("02:00:00:00:00:91", "STALE", False)
    ] * 2
    fleet.fabric.remove(worker)


def test_list_marks_the_wrong_entry_as_suspect(fleet, outage):
    def suspects():
        rows = entry(fleet.salt("arp.list", ip=outage.ip), outage.ip)
        return rows if all(row["suspect"] for row in rows) else None

    rows = poll("both entries are suspect", 60, suspects)
    assert [(row["mac"], row["state"]) for row in rows] == [(outage.old, "REACHABLE")] * 2


def test_flush_heals_and_flush_of_stale_does_not(fleet, outage):
    fleet.salt("arp.flush", state="STALE")
    assert reached(fleet, outage.worker) == []
    answer = fleet.salt("arp.flush", dev="eth0", family="ipv4")
    assert all(each["flushed"] >= 1 for each in answer.values())
    assert is_reached(fleet, outage.worker)


def test_revalidate_heals_and_names_both_macs(fleet, outage):
    healed = {"ip": outage.ip, "dev": "eth0", "old": outage.old, "new": outage.new}
    answer = fleet.salt("arp.revalidate")  # no selectors: the master's own entry is asked too
    for each in answer.values():
        [row] = each["healed"]
        assert row == {**healed, "at": row["at"]}
    assert is_reached(fleet, outage.worker)
    assert [each["healed"] for each in fleet.salt("arp.revalidate").values()] == [[], []]


@pytest.mark.parametrize("how", ["revalidate", "flush"])
def test_state_clean_heals_both(fleet, outage, how):
    answer = fleet.salt("state.apply", "clean", pillar={"how": how})
    for states in answer.values():
        (state,) = states.values()
        assert state["result"] is True, state
        assert outage.ip in str(state["changes"])
    assert is_reached(fleet, outage.worker)


def test_state_clean_in_test_mode_changes_nothing(fleet, outage):
    fleet.salt("state.apply", "clean", pillar={"how": "flush"}, test=True)
    assert reached(fleet, outage.worker) == []

    def unchanged():
        entries = [database.neighbour(outage.ip) for database in fleet.databases]
        assert [each["lladdr"] for each in entries] == [outage.old] * 2
        return all(each["state"] == ["REACHABLE"] for each in entries)

    # DELAY for some seconds where the machine kept the application from confirming it
    poll("both entries are REACHABLE", 30, unchanged)


def test_synced_new_version_runs_on_running_minions(fleet):
    """A minion's parent keeps what it has imported until it restarts; a surface does not."""
    for answer in fleet.salt("arp.flush", test="maybe").values():
        assert "neither true nor false" in answer
    words = fleet.served / "_utils" / "arp_engine" / "table" / "parse.py"
    old = words.read_text(encoding="utf-8")
    words.write_text(old.replace("neither true nor false", "no flag"), encoding="utf-8")
    try:
        fleet.salt("saltutil.sync_all")
        for answer in fleet.salt("arp.flush", test="maybe").values():
            assert "'maybe' is no flag" in answer
    finally:
        words.write_text(old, encoding="utf-8")
        fleet.salt("saltutil.sync_all")
    for answer in fleet.salt("arp.flush", test="maybe").values():
        assert "neither true nor false" in answer
