"""The drill as it runs on a host: it passes, it notices a broken engine, it leaves nothing."""

import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import stalls
from conftest import BORN, DEAD, ip
from salt.exceptions import CommandExecutionError

from lab.machines import poll

CHECKS = [
    "arp.list", "outage without us", "sentinel", "arp.revalidate", "arp.flush", "never touched",
    "host table untouched", "all",
]  # fmt: skip
PLAY = (
    "import json, sys; sys.path.insert(0, sys.argv[1]); exec(sys.argv[2]); "
    "from arp_engine.selftest import namespaces, start\n"
    "try: print(json.dumps(start.play()))\n"
    "except namespaces.NotPossible as why: print(json.dumps(str(why)))"
)
DROP = "from arp_engine.sentinel import privileges; privileges.keep_only(12, 13)"


@pytest.fixture
def engine(repo):
    """The directory that holds the engine."""
    return repo / "_utils"


def start(engine, first="pass"):
    """Start a drill in a process of its own, as a minion's job does."""
    words = [sys.executable, "-c", PLAY, str(engine), first]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def played(engine, first="pass"):
    """Play a drill; return its rows by check, or why it was not possible."""
    with start(engine, first) as job:
        out, err = job.communicate(timeout=60)
    assert out, err
    told = json.loads(out)
    if isinstance(told, str):
        return told
    return {row["check"]: row for row in told}


def children(pid):
    """Return the processes that descend from one."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *children(child)]
    return found


def is_alive(pid):
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextlib.contextmanager
def in_time():
    """Let a drill be played that claims a time: its worker connects within a second.

    The block adds its rows; all processes of the drill are watched.
    """
    rows = []
    stalls.watch(os.getpid())
    with stalls.measured():
        yield rows
        figures = [row["figures"] for row in rows if row["check"] == "sentinel"]
        is_late = any("too late" in each or "not watching" in each for each in figures)
        stalls.in_time(not is_late, figures)


@pytest.mark.timed
def test_all_checks_pass_and_the_host_table_stays(hygiene, scene):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "permanent", BORN)
    scene.add("192.0.2.11", "stale")
    before = scene.table()
    with in_time() as rows:
        rows.extend(hygiene.selftest())
    assert [row["check"] for row in rows] == CHECKS
    assert {row["result"] for row in rows} == {"pass"}, rows
    assert all(len(row["figures"]) < 50 for row in rows), "Salt's table would cut it"
    assert scene.table() == before
    figures = rows[-2]["figures"]
    assert (there := re.match(r"0 of (\d+) sockets there, 0 of 1 owned changed", figures)), figures
    assert int(there[1]) > 20


@pytest.fixture
def meanwhile(loaders, monkeypatch):
    """Let something else happen on the host while the drill is played."""
    assert "arp_hygiene.selftest" in loaders.modules
    start = importlib.import_module("arp_engine.selftest.start")
    drilled = start._drill

    def happen(change):
        monkeypatch.setattr(start, "_drill", lambda: (drilled(), change())[0])

    return happen


def test_own_traffic_of_the_host_meanwhile_is_no_failure(hygiene, scene, meanwhile):
    def traffic():
        scene.add("192.0.2.11", "failed", None)  # its host has gone
        scene.add("192.0.2.12", "reachable", BORN)  # healed
        scene.add("192.0.2.13", "stale", BORN)  # came
        ip("neigh", "del", "192.0.2.14", "dev", "db0")  # went

    for last in (11, 12, 14):
        scene.add(f"192.0.2.{last}", "stale", DEAD)
    meanwhile(traffic)
    row = hygiene.selftest()[-2]
    assert row["figures"].endswith("; 4 changed by the host's own traffic meanwhile")
    assert row["result"] == "pass"


def test_entry_set_by_hand_that_changed_meanwhile_is_a_failure(hygiene, scene, meanwhile):
    scene.add("192.0.2.10", "permanent", DEAD)
    meanwhile(lambda: scene.add("192.0.2.10", "permanent", BORN))
    row = hygiene.selftest()[-2]
    assert (row["result"], row["figures"].split(", ")[1]) == ("FAIL", "1 of 1 owned changed")


@pytest.mark.parametrize(
    ("file", "broken", "failed"),
    [
        ("table/flush.py", "def flush(*_, **__): return {'flushed': 0}", {"arp.flush"}),
        ("table/ownership.py", "owner = lambda entry, device: ''",
         {"arp.list", "never touched"}),
        ("sentinel/loop.py", "_Session._probe = lambda self: None", {"sentinel"}),
        ("sentinel/reinject.py", "Reinjector.release = lambda *_: None", {"sentinel"}),
        ("resolve/revalidate.py", "def revalidate(*_, **__): return {'confirmed': 2}",
         {"arp.revalidate"}),
        ("selftest/process.py",
         "import socket\nplay = run\nrun = lambda: (socket.socket().close(), play())[1]",
         {"host table untouched"}),
    ],
    ids=["flush", "ownership", "sentinel", "late", "revalidate", "a socket on the host"],
)  # fmt: skip
def test_a_broken_engine_fails_its_check(engine, tmp_path, file, broken, failed):
    shutil.copytree(engine / "arp_engine", tmp_path / "arp_engine")
    with open(tmp_path / "arp_engine" / file, "a", encoding="utf-8") as code:
        code.write(f"\n\n{broken}\n")
    rows = played(tmp_path)
    assert {name for name, row in rows.items() if row["result"] == "FAIL"} >= failed | {"all"}, rows


def test_without_cap_sys_admin_one_line_says_so(engine):
    told = played(engine, DROP)
    assert told == "no private network namespace: Operation not permitted (needs CAP_SYS_ADMIN)"


def test_without_rights_the_module_raises_one_line(hygiene, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(
        CommandExecutionError, match=r"not possible here: the drill exited with"
    ) as bad:
        hygiene.selftest()
    assert "\n" not in str(bad.value)


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["the job", "the drill", "the worker"])
def test_sigkill_leaves_no_process_and_no_namespace(engine, victim):
    before = set(namespaces())
    with start(engine) as job:
        family = poll("both hosts run", 20, lambda: both_hosts(job))
        os.kill([job.pid, *family][victim], signal.SIGKILL)
        poll("all have ended", 20, lambda: not any(map(is_alive, family)))
        job.communicate(timeout=30)
    poll("no namespace is left", 20, lambda: set(namespaces()) <= before)


def both_hosts(job):
    """Return the processes that are the two hosts; nothing while there are others: short ones."""
    found = children(job.pid)
    time.sleep(0.1)
    return len(found) == 2 and found == children(job.pid) and found


def namespaces():
    """Yield the network namespaces of all processes that can be seen."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield os.readlink(process / "ns/net")
