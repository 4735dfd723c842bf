"""The sentinel below a real minion of a real master: with it, it comes, ends, and comes again."""

import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest
from arp_engine.reporting import sentinel_status

from lab.datacentre import Datacentre
from lab.machines import poll
from lab.observe import connect
from lab.saltstack import file_roots

pytestmark = pytest.mark.long

MACS = itertools.cycle(["02:00:00:00:00:0b", "02:00:00:00:00:0a"])
PILLAR = {"requirement": {"install": "none"}, "schedule": {"backend": "none"}}


class Site:
    """A master, a database whose minion has the engine, and a worker that is re-created."""

    def __init__(self, centre):
        self.centre = centre
        (self.minion,) = centre.minions.values()
        self.database = self.minion.machine
        self.worker = centre.fabric.worker("worker", 90, next(MACS))
        poll("the network works", 30, lambda: connect(self.worker, self.database.ip))

    def apply(self, sentinel, sls="arp_hygiene"):
        """Apply the formula from the master; return its states."""
        pillar = json.dumps({"arp_hygiene": {**PILLAR, "sentinel": sentinel}})
        answer = self.centre.master.salt("db1", "state.apply", sls, f"pillar={pillar}")["db1"]
        assert all(state["result"] is not False for state in answer.values()), answer
        return [state["__id__"] for state in answer.values() if state.get("__state_ran__", True)]

    def start(self):
        """Start the minion; return when the master hears it, who would wait long for an answer."""
        self.minion.start()
        poll("the minion answers", 90, lambda: self.centre.master.up() == {"db1"}, every_s=1)

    def end(self, how):
        """End the minion's first process, and wait until all that it began has ended too."""
        daemon = self.database._daemons.pop()
        os.kill(daemon.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(5)
        poll("no sentinel is left", 30, lambda: not self.sentinels())
        # Jobs of 3007 linger for half a minute, and no second minion starts beside them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        daemon.wait()

    def sentinels(self):
        """Return the processes that hold packet sockets on the database: it has no others."""
        lines = self.database.do("ss -0Hp").split("pid=")[1:]
        return {int(line.partition(",")[0]) for line in lines}

    @staticmethod
    def status():
        """Return what the sentinel has written last."""
        return sentinel_status.read(sentinel_status.PATH, time.monotonic())

    def watches(self, former=0):
        """Return the status where exactly one watches, and not a former one; else nothing."""
        status = self.status()
        alone = status["lives"] and self.sentinels() == {status["pid"]} != {former}
        return status if alone else None

    def heals(self):
        """Re-create the worker: its first connection succeeds, and that is the sentinel's doing.

        The kernel alone needs half a minute at least; that it takes no second is shown elsewhere.
        """
        before = len(self.status()["heals"])
        self.worker = self.centre.fabric.recreate(self.worker, next(MACS))
        assert connect(self.worker, self.database.ip, timeout_s=8), self.minion.log()
        poll("it has told", 60, lambda: len(self.status().get("heals", ())) == before + 1)
        assert self.watches()


@pytest.fixture
def site():
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="s") as where:
        root = pathlib.Path(where)
        with Datacentre(root, ("db1",), file_roots=file_roots(root / "his")) as centre:
            centre.master.salt("*", "saltutil.sync_all")
            yield Site(centre)


def test_engine_starts_and_ends_with_its_minion(site):
    by_hand = "the minion must be restarted by hand (it reads its engines at its start)"
    assert by_hand in site.apply({"as": "engine", "dev": "eth0"})
    assert not site.sentinels()
    for how in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        site.end(how)
        site.start()
        status = poll("exactly one watches", 60, site.watches)
        assert status["as"] == "engine"
        site.heals()
    (status,) = site.centre.master.salt("db1", "arp_hygiene.status")["db1"]
    assert (status["healed_7d"], status["problem"]) == (3, "")
    assert status["sentinel"].startswith("running; healed: ")
    log = site.minion.log()
    assert "Traceback" not in log, log
    assert by_hand in site.apply(False)
    site.end(signal.SIGTERM)
    site.start()
    assert not site.sentinels()
    (status,) = site.centre.master.salt("db1", "arp_hygiene.status")["db1"]
    assert (status["sentinel"], status["problem"]) == ("", "")


def test_killed_engine_is_started_again(site):
    site.apply({"as": "engine", "dev": "eth0"})
    site.end(signal.SIGTERM)
    site.start()
    former = poll("exactly one watches", 60, site.watches)
    os.kill(former["pid"], signal.SIGKILL)
    poll("another one watches", 60, lambda: site.watches(former["pid"]))
    site.heals()


def test_engine_heals_while_the_master_is_gone(site):
    """Events that cannot be sent wait, and cost neither threads nor descriptors."""
    site.apply({"as": "engine", "dev": "eth0"})
    site.end(signal.SIGTERM)
    site.start()
    pid = poll("exactly one watches", 60, site.watches)["pid"]
    site.heals()
    held = holds(pid)
    site.centre.master.stop()
    for _again in range(10):
        site.heals()
    assert site.watches()["pid"] == pid
    assert all(now <= before + 3 for now, before in zip(holds(pid), held, strict=True)), held
    site.centre.master.start()
    poll("the minion answers", 180, lambda: site.centre.master.up() == {"db1"}, every_s=1)
    site.heals()
    assert site.watches()["pid"] == pid
    (row,) = site.centre.master.salt("db1", "arp_hygiene.status")["db1"]
    assert (row["healed_7d"], row["problem"]) == (12, "")
    log = site.minion.log()
    assert "Traceback" not in log, log


def holds(pid):
    """Return a process's descriptors, threads, and memory in tens of MB."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    threads, memory_kb = (int(status.split(name)[1].split()[0]) for name in ("Threads:", "VmRSS:"))
    return len(os.listdir(f"/proc/{pid}/fd")), threads, memory_kb // 10_000
