"""The formula's sentinel: as an engine, as a service, and its removal."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import pytest
import yaml
from arp_engine import version
from arp_engine.formula import facts as formula_facts
from arp_engine.formula import sentinel_unit
from arp_engine.reporting import sentinel_status
from conftest import Scene
from formula import BIN, NO_PIP, apply, caller, everything, mounted, systemd  # noqa: F401

from lab.bare import missing

UNIT = pathlib.Path("/etc/systemd/system/arp-hygiene-sentinel.service")
NEEDS_SYSTEMCTL = pytest.mark.skipif(bool(missing("systemctl")), reason=missing("systemctl"))
CODE = "arp_hygiene_sentinel.pyz"
BY_HAND = "the minion must be restarted by hand (it reads its engines at its start)"
OPTIONS = {"dev": "db0", "rate": 50}


def tree(sentinel=True):
    return {"requirement": NO_PIP, "schedule": {"backend": "none"}, "sentinel": sentinel}


@pytest.fixture
def engine(apply):
    """The file of the engine; before and afterwards nothing of this part is there."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(os.path.dirname(sentinel_status.PATH))
    path = pathlib.Path(apply.caller.opts["conf_file"]).parent / "minion.d"
    yield path / "arp_hygiene_sentinel.conf"
    for left in (path / "arp_hygiene_sentinel.conf", UNIT, path.parent / CODE):
        left.unlink(missing_ok=True)


def test_without_systemd_the_sentinel_is_an_engine(apply, engine):
    before = everything()
    told = apply(tree(OPTIONS), test=True)
    assert not engine.exists()
    done = apply(tree(OPTIONS))
    assert not done.failed
    assert sorted(done.changed) == ["the sentinel is configured"]
    assert BY_HAND in done.states
    assert done.states[BY_HAND]["comment"].startswith("restart salt-minion: ")
    assert set(done.changed) <= set(told.pending)
    assert yaml.safe_load(engine.read_text()) == {"engines": [{"arp_sentinel": OPTIONS}]}
    assert not apply(tree(OPTIONS)).changed
    assert list(apply(tree(False)).changed) == [str(engine)]
    assert not engine.exists()
    assert everything() == before
    assert list(apply(tree(False)).states) == ["arp_hygiene has nothing to do here"]


@NEEDS_SYSTEMCTL
def test_removal_removes_the_sentinel(apply, engine):
    before = everything()
    assert not apply(tree()).failed
    UNIT.parent.mkdir(parents=True, exist_ok=True)
    UNIT.write_text("[Unit]\n")
    code = engine.parents[1] / CODE
    code.touch()
    sentinel_status.write(sentinel_status.PATH, {})
    assert apply.caller.cmd("arp_hygiene.traces")["sentinel"]
    done = apply(tree("nonsense"), "arp_hygiene.remove")  # whatever the pillar has become
    assert not done.failed
    assert set(done.changed) == {*map(str, (engine, UNIT, code)), "/run/arp_hygiene"}
    assert everything() == before


SERVICE = """#!/bin/sh
# chkconfig: 345 20 80
### BEGIN INIT INFO
# Provides: salt-minion
# Default-Start: 2 3 4 5
# Default-Stop: 0 1 6
### END INIT INFO
echo "$1" >>{told}
"""


@pytest.fixture
def restarts(apply, tmp_path):
    """A minion of this machine: configured in /etc/salt, and a service that is no systemd one.

    The file in which the service writes what it was told.
    """
    if not shutil.which("update-rc.d"):
        pytest.skip("update-rc.d is missing (Debian: apt-get install init-system-helpers)")
    etc, script = pathlib.Path("/etc/salt"), pathlib.Path("/etc/init.d/salt-minion")
    theirs = pathlib.Path(apply.caller.opts["conf_file"]).parent
    made = not etc.exists()
    etc.mkdir(exist_ok=True)
    script.parent.mkdir(exist_ok=True)
    script.write_text(SERVICE.format(told=tmp_path / "told"))
    script.chmod(0o755)
    with mounted("--bind", theirs, etc):
        yield tmp_path / "told"
    script.unlink()
    if made:
        etc.rmdir()


@NEEDS_SYSTEMCTL
def test_minion_service_restarts_after_the_state_run(apply, engine, restarts):
    words = [str(BIN / "salt-call"), "--local", "-c", "/etc/salt", "--out=json"]
    pillar = f"pillar={json.dumps({'arp_hygiene': tree()})}"
    run = [*words, "state.apply", "arp_hygiene", pillar]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    states = json.loads(done.stdout)["local"]
    [last] = [state for state in states.values() if state["__run_num__"] == len(states) - 1]
    assert last["__id__"] == "the minion restarts after this state run"
    Scene.until(lambda: restarts.exists() and "start" in restarts.read_text(), 30)
    restarts.unlink()
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert not any(state["changes"] for state in json.loads(done.stdout)["local"].values())
    assert not restarts.exists()


@NEEDS_SYSTEMCTL
def test_invalid_pillar_does_not_hide_the_minions_service(apply, engine, restarts):
    assert not apply(tree()).failed
    words = [str(BIN / "salt-call"), "--local", "-c", "/etc/salt", "--out=json"]
    pillar = f"pillar={json.dumps({'arp_hygiene': tree('nonsense')})}"
    run = [*words, "state.apply", "arp_hygiene.remove", pillar, "test=True"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    states = {state["__id__"] for state in json.loads(done.stdout)["local"].values()}
    assert "the minion restarts after this state run" in states
    assert BY_HAND not in states


@pytest.mark.parametrize("bad", ["yes", {"rate": 0}, {"as": "service"}, {"dev": "a b"}], ids=str)
def test_bad_option_is_one_line_and_changes_nothing(apply, engine, bad):
    before = everything()
    done = apply(tree(bad))
    assert len(done.failed) == len(done.states) == 1
    [state] = done.states.values()
    assert state["comment"].startswith("pillar arp_hygiene:sentinel:")
    assert everything() == before
    assert not engine.exists()


@pytest.mark.skipif(bool(missing("systemd-analyze")), reason=missing("systemd-analyze"))
def test_systemd_verifies_the_unit(apply, engine, systemd):
    pillar = {"arp_hygiene": tree(OPTIONS)}
    words = "the sentinel is configured", "arp_hygiene.sentinel"
    done = apply.caller.cmd("state.sls_id", *words, pillar=pillar)
    assert all(state["result"] for state in done.values()), done
    verify = ["systemd-analyze", "verify", str(UNIT)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "arp-hygiene-sentinel" not in done.stderr
    assert done.returncode == 0, done.stderr
    [start] = [line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart=")]
    assert start.split()[1] == str(engine.parents[1] / CODE)


@pytest.mark.skipif(bool(missing("systemd-analyze")), reason=missing("systemd-analyze"))
@pytest.mark.parametrize(("is_public", "most"), [(True, 2.0), (False, 2.3)], ids=["own", "root"])
def test_unit_is_confined(tmp_path, is_public, most):
    unit = tmp_path / "arp-hygiene-sentinel.service"
    lines = sentinel_unit.service_lines("/usr/bin/python3", {}, "/etc/salt/x.pyz", is_public)
    unit.write_text("\n".join(lines) + "\n")
    words = ["systemd-analyze", "security", "--offline=yes", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "Overall exposure" not in done.stdout:
        pytest.skip(f"systemd-analyze cannot judge a file (systemd 250 can): {done.stderr}")
    score = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)[1])
    assert score <= most, done.stdout


def test_code_is_public_where_any_user_can_read_it():
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chmod(place, 0o755)
        code, link = pathlib.Path(place, "lib", "code.py"), pathlib.Path(place, "link.py")
        code.parent.mkdir(0o755)
        code.touch(0o644)
        link.symlink_to(code)
        assert formula_facts.is_public([str(code), str(link), place])
        code.parent.chmod(0o700)
        assert not formula_facts.is_public([str(link)])
        code.parent.chmod(0o755)
        code.chmod(0o640)
        assert not formula_facts.is_public([str(code)])
        assert not formula_facts.is_public([f"{place}/absent"])


def test_status_shows_whether_the_sentinel_runs(apply, engine):
    status = lambda: apply.caller.cmd("arp_hygiene.status")[0]  # noqa: E731
    sentinel_status.remove(sentinel_status.PATH)
    assert (status()["sentinel"], status()["problem"]) == ("", "")
    apply(tree())
    assert status()["sentinel"] == "not running"
    assert status()["problem"].startswith("sentinel: not started since boot: restart the minion")
    news = "healed: 192.0.2.10 on db0: 02:00:00:00:00:0a -> 02:00:00:00:00:0b"
    beat = {"pid": os.getpid(), "uptime_s": time.monotonic(), "last": news}
    sentinel_status.write(sentinel_status.PATH, {**beat, "code": version.code()})
    assert (status()["sentinel"], status()["problem"]) == (f"running; {news}", "")
    assert json.dumps(status())
    sentinel_status.remove(sentinel_status.PATH)


def test_service_code_survives_clear_cache_and_follows_a_sync(apply, engine, scene):
    """It is one file of its own, and runs where nothing of ours is on the path."""
    caller, path = apply.caller, engine.parents[1] / CODE
    told = caller.cmd("arp_hygiene.sentinel_code", test=True)
    assert not path.exists()
    assert caller.cmd("arp_hygiene.sentinel_code") == told
    assert told["old"] == ""
    assert caller.cmd("arp_hygiene.sentinel_code") == {}
    words = [sys.executable, "-I", str(path)]
    done = subprocess.run([*words, '{"rate": 0}'], capture_output=True, text=True, check=False)
    assert done.stderr == "rate: 0: the sentinel needs a limit, in frames a second\n"
    process = subprocess.Popen([*words, '{"dev": "db0"}'], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    process.terminate()
    assert process.wait(30) == 0
    process.stdout.close()
    assert line.startswith("watching: ")
    path.write_bytes(b"of a former sync")
    again = caller.cmd("arp_hygiene.sentinel_code")
    assert again == told, "a corrupt file is none"
    sentinel_status.remove(sentinel_status.PATH)


def test_unwritable_code_is_one_line(apply, engine):
    path = engine.parents[1] / CODE
    path.mkdir()
    try:
        done = apply.caller.cmd("state.single", "arp_hygiene.sentinel_code", "the code is here")
    finally:
        path.rmdir()
    [state] = done.values()
    assert (state["result"], state["comment"]) == (
        False, f"cannot write {path}: Is a directory",
    )  # fmt: skip


def test_switched_off_its_heals_stay_on_record(apply, engine):
    """A run would have recorded them; there is no schedule here."""
    apply(tree())
    row = {"ip": "192.0.2.10", "dev": "db0", "old": "02:00:00:00:00:0a", "new": "02:00:00:00:00:0b"}
    heal = {"at": int(time.time()), **row, "by": "sentinel"}
    beat = {"pid": os.getpid(), "uptime_s": time.monotonic(), "heals": [heal]}
    sentinel_status.write(sentinel_status.PATH, beat)
    told = apply(tree(False), test=True)
    done = apply(tree(False))
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    assert done.changed["the sentinel's heals are recorded"] == {"recorded": 1}
    assert not os.path.exists(os.path.dirname(sentinel_status.PATH))
    [recorded] = apply.caller.cmd("arp_hygiene.healed")
    assert {**row, "by": "sentinel"}.items() <= recorded.items()
    assert not apply(tree(False), "arp_hygiene.remove").failed
    assert not apply.record.exists()
