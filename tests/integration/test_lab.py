"""The lab leaves nothing behind, whatever ends it, and its networks do what they claim."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.fabric import Fabric
from lab.machines import poll
from lab.observe import Service, connect

TENANT = "ip netns add tenant; touch /tmp/trace; setsid sleep {} & echo ready; wait"


def alive(mark):
    """Return the processes that have this word on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_text(encoding="utf-8").split("\0"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=str)
def test_whatever_ends_it_nothing_stays(repo, end):
    mark = f"98{os.getpid()}{end.value}"
    world = subprocess.Popen(
        [sys.executable, "lab/private.py", "sh", "-c", TENANT.format(mark)],
        cwd=repo,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert world.stdout.readline() == b"ready\n"
    poll("the tenant lives", 5, lambda: alive(mark))
    # Ctrl-C reaches everything on the terminal, kill reaches the one process.
    (os.killpg if end == signal.SIGINT else os.kill)(world.pid, end)
    world.wait(10)
    poll("everything it started has ended", 5, lambda: not alive(mark))
    assert not Path("/run/netns/tenant").exists()
    assert not Path("/tmp/trace").exists()


@pytest.mark.parametrize(
    ("kind", "told"),
    [("answers", True), ("lossy", True), ("mute", False), ("switch", False)],
)
def test_who_answers_a_unicast_request_for_a_moved_address(kind, told):
    """A cloud's fabric answers whatever MAC was asked; a dead machine on a switch does not."""
    with Fabric("t-", kind) as fabric:
        database = fabric.database("db", 10)
        database.set("locktime", 0)
        worker = fabric.worker("worker", 90, "02:00:00:00:00:0a")
        with Service(database, database.ip):
            assert connect(worker, database.ip, timeout_s=3)
        worker = fabric.recreate(worker, "02:00:00:00:00:0b")
        entry = f"{worker.ip} lladdr 02:00:00:00:00:0a dev eth0"
        database.do(f"ip neigh replace {entry} nud probe")

        def verdict():
            row = database.neighbour(worker.ip)
            return row if row["state"] != ["PROBE"] else None

        row = poll("the kernel's verdict", 6, verdict)
        assert row.get("lladdr") == ("02:00:00:00:00:0b" if told else None)


def test_nobody_hears_of_a_new_machine_except_on_a_switch():
    for kind in ("answers", "switch"):
        with Fabric("t-", kind) as fabric:
            database = fabric.database("db", 10)
            worker = fabric.worker("worker", 90, "02:00:00:00:00:0a")
            database.do(f"ip neigh replace {worker.ip} lladdr 02:00:00:00:00:0c dev eth0 nud stale")
            worker.do(f"arping -q -A -c 1 -I eth0 {worker.ip}")  # a gratuitous announcement
            database.do("sleep 0.2")
            heard = database.neighbour(worker.ip)["lladdr"] == "02:00:00:00:00:0a"
            assert heard == (kind == "switch"), kind
