"""The lab leaves nothing behind, whatever ends it, and its networks do what they claim."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.bare import hidden, missing
from lab.fabric import Fabric
from lab.machines import Failed, poll
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
    poll("the tenant lives", 30, lambda: alive(mark))
    # Ctrl-C reaches everything on the terminal, kill reaches the one process.
    (os.killpg if end == signal.SIGINT else os.kill)(world.pid, end)
    world.wait(30)
    poll("everything it started has ended", 30, lambda: not alive(mark))
    assert not Path("/run/netns/tenant").exists()
    assert not Path("/tmp/trace").exists()


def needs(*programs):
    """Skip where one of these is missing, and say so."""
    return pytest.mark.skipif(bool(missing(*programs)), reason=missing(*programs))


def test_a_bare_machine_lacks_what_is_hidden_and_gets_it_back():
    """Staged with a program that every Debian has."""
    with hidden({"flock": "util-linux"}):
        assert not shutil.which("flock")
        if shutil.which("dpkg-query"):
            words = ["dpkg-query", "--show", "--showformat=${Version}", "util-linux"]
            assert not subprocess.run(words, capture_output=True, check=False).stdout
    assert shutil.which("flock")


def test_a_network_that_needs_nft_says_so():
    with hidden({"nft": "nftables"}):
        with pytest.raises(Failed, match=r"nft is missing \(Debian: apt-get install nftables\)"):
            Fabric("t-", "lossy")
        with Fabric("t-") as fabric:
            database = fabric.database("db", 10)
            with pytest.raises(Failed, match="nft is missing"):
                fabric.divert(database, "10.0.1.90", 6432, "02:00:00:00:00:0c")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("answers", True),
        pytest.param("lossy", True, marks=needs("nft")),
        pytest.param("mute", False, marks=needs("nft")),
        pytest.param("random", False, marks=needs("nft")),
        ("switch", False),
    ],
)
def test_who_answers_a_unicast_request_for_a_moved_address(kind, told):
    """A cloud's fabric answers whatever MAC was asked; a dead machine on a switch does not."""
    with Fabric("t-", kind) as fabric:
        database = fabric.database("db", 10)
        database.set("locktime", 0)
        worker = fabric.worker("worker", 90, "02:00:00:00:00:0a")
        with Service(database, database.ip):
            poll("the network works", 60, lambda: connect(worker, database.ip))
        worker = fabric.recreate(worker, "02:00:00:00:00:0b")
        entry = f"{worker.ip} lladdr 02:00:00:00:00:0a dev eth0"
        database.do(f"ip neigh replace {entry} nud probe")

        def verdict():
            row = database.neighbour(worker.ip) or {"state": ["FAILED"]}  # and collected
            return row if row["state"] != ["PROBE"] else None

        row = poll("the kernel's verdict", 60, verdict)
        assert row.get("lladdr") == ("02:00:00:00:00:0b" if told else None)


def test_two_machines_with_one_mac_are_refused():
    with Fabric("t-") as fabric:
        database = fabric.database("db", 10)
        with pytest.raises(Failed, match=f"{database.mac} is t-db's MAC; worker needs another"):
            fabric.worker("worker", 90, database.mac)


@needs("nft", "arping")
def test_nobody_hears_of_a_new_machine_except_on_a_switch():
    for kind in ("answers", "switch"):
        with Fabric("t-", kind) as fabric:
            database = fabric.database("db", 10)
            worker = fabric.worker("worker", 90, "02:00:00:00:00:0a")
            database.do(f"ip neigh replace {worker.ip} lladdr 02:00:00:00:00:0c dev eth0 nud stale")
            worker.do(f"arping -q -A -c 1 -I eth0 {worker.ip}")  # a gratuitous announcement

            def heard(database=database, worker=worker):
                return database.neighbour(worker.ip)["lladdr"] == "02:00:00:00:00:0a"

            if kind == "switch":
                poll("the database has heard it", 30, heard)
            else:
                database.do("sleep 0.2")
                assert not heard()


@pytest.mark.parametrize(
    "words", [["vuoched", "nothing"], ["plain", "arp.flsh"], ["plain"]], ids=str
)
def test_a_scene_that_there_is_not_is_not_played(repo, words):
    done = subprocess.run(
        [sys.executable, "-m", "lab.show", *words],
        cwd=repo, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "CAUSE: plain, upper-layer, balanced, duplicate" in done.stderr
