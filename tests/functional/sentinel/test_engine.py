"""The engine as a minion loads it, the service as systemd reads it, and whether it lives."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
import salt.engines
import salt.loader
import salt.scripts  # has Salt's programs fork, also on Python 3.14
import stalls
from arp_engine.formula import sentinel_unit
from arp_engine.reporting import sentinel_status, sinks
from conftest import BORN, DEAD
from sentry import SECOND_SYN_S, connect_within, database, guard  # noqa: F401

from lab.saltstack import SENTINEL

OPTIONS = {"dev": "db0", "rate": 50}


@pytest.fixture
def engine(scene, minion_opts, repo, tmp_path):
    """The engine in a process of its own, as the minion starts it; events fall into a file."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    sentinel_status.remove(sentinel_status.PATH)
    started = []

    def begin(options):
        opts = {**minion_opts, "engines_dirs": [str(repo / "_engines")], "__role": "minion"}
        heard = tmp_path / "events"

        def send(tag, data):
            with open(heard, "a", encoding="utf-8") as file:
                print(json.dumps([tag, data]), file=file)

        functions = salt.loader.minion_mods(opts)
        functions["event.send"] = send
        process = salt.engines.Engine(
            opts, "arp_sentinel.start", options, functions, {}, None, name="Engine"
        )
        process.start()
        stalls.watch(process.pid)
        started.append(process)
        return lambda: [json.loads(line) for line in heard.read_text().splitlines()]

    yield begin
    for process in started:
        process.terminate()
        process.join(10)
        assert not process.is_alive()
    if os.path.exists(sentinel_status.PATH):
        assert sentinel_status.read(sentinel_status.PATH, time.monotonic())["why"] == "stopped"
    sentinel_status.remove(sentinel_status.PATH)


@pytest.mark.timed
def test_heal_of_an_engine_that_was_switched_off_is_recorded(scene, engine, database, minion_opts):
    """The formula has removed its status file; it runs until the minion restarts."""
    directory = pathlib.Path(minion_opts["root_dir"], "var/lib/arp_hygiene")
    shutil.rmtree(directory, ignore_errors=True)  # what another test has left
    directory.mkdir(parents=True)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    engine(OPTIONS)
    scene.until(lambda: os.path.exists(sentinel_status.PATH))
    shutil.rmtree(os.path.dirname(sentinel_status.PATH))
    connect_within(SECOND_SYN_S, "192.0.2.10")
    scene.until(lambda: sinks.read_history(str(directory))[0]["heals"])
    [heal] = sinks.read_history(str(directory))[0]["heals"]
    assert (heal["ip"], heal["old"], heal["new"], heal["by"]) == (
        "192.0.2.10", DEAD, BORN, "sentinel",
    )  # fmt: skip
    shutil.rmtree(directory)
    assert not os.path.exists(os.path.dirname(sentinel_status.PATH))


@pytest.mark.timed
def test_a_heal_of_the_engine_is_sent_as_an_event(scene, engine, database):
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)  # before: what it has just been told it may not know
    events = engine(OPTIONS)
    scene.until(lambda: os.path.exists(sentinel_status.PATH))
    connect_within(SECOND_SYN_S, "192.0.2.10")
    scene.until(lambda: len(events()) >= 2)
    [tag, data] = events()[1]
    assert tag == "arp_hygiene/sentinel/healed"
    assert {key: data[key] for key in ("ip", "dev", "old", "new", "why")} == {
        "ip": "192.0.2.10", "dev": "db0", "old": DEAD, "new": BORN, "why": "syn",
    }  # fmt: skip


def test_engine_with_a_bad_option_leaves_its_refusal(scene, engine, monkeypatch):
    monkeypatch.setattr(sentinel_status, "WRITE_INTERVAL_S", 0.1)
    engine({"device": "db0"})

    def seen():
        return sentinel_status.read(sentinel_status.PATH, time.monotonic())

    scene.until(lambda: "refused" in seen())
    refused = seen()
    assert (refused["lives"], refused["as"], refused["refused"]) == (False, "engine", True)
    assert refused["why"].startswith("no option 'device'; there are dev, ip, ")
    # it goes on to say so: without a heartbeat it would count as a process that hangs
    scene.until(lambda: seen()["uptime_s"] > refused["uptime_s"])


def test_systemd_accepts_the_unit_file(tmp_path, repo):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing (Debian: apt-get install systemd)")
    unit = tmp_path / "arp-hygiene-sentinel.service"
    options = {"exclude": ["10.0.0.1"], "dev": 'a%b$c"d'}
    lines = sentinel_unit.service_lines(sys.executable, options, "/etc/salt/a sentinel.pyz")
    unit.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert "arp-hygiene-sentinel" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_the_engine_s_configuration_is_valid_yaml():
    import yaml

    lines = sentinel_unit.engine_lines(OPTIONS)
    assert yaml.safe_load("\n".join(lines)) == {"engines": [{"arp_sentinel": OPTIONS}]}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ('{"rate": 0}', "rate: 0: the sentinel needs a limit, in frames a second\n"),
        ("[1]", 'options: [1] is no mapping, such as {"dev": "eth0"}\n'),
        ("eth0", 'options: \'eth0\' is not JSON, such as {"dev": "eth0"}\n'),
    ],
)
def test_bad_options_end_the_sentinel_with_one_line(options, line):
    words = [*SENTINEL, options]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, line)


def test_the_status_says_whether_the_sentinel_runs(scene, guard):
    sentinel_status.remove(sentinel_status.PATH)
    now = time.monotonic
    assert sentinel_status.read(sentinel_status.PATH, now())["why"] == "not started since boot"
    begun = guard()
    scene.until(lambda: os.path.exists(sentinel_status.PATH))
    alive = sentinel_status.read(sentinel_status.PATH, now())
    assert (alive["lives"], alive["pid"], alive["told"]) == (
        True, begun.process.pid, {"watching": 1},
    )  # fmt: skip
    hung = sentinel_status.read(sentinel_status.PATH, alive["uptime_s"] + 1000)
    assert not hung["lives"]
    assert "no heartbeat for 1000 s" in hung["why"]
    begun.end(signal.SIGKILL)
    dead = sentinel_status.read(sentinel_status.PATH, now())
    assert dead["why"] == f"process {begun.process.pid} has exited"
    with open(sentinel_status.PATH, "w", encoding="utf-8") as file:
        file.write('{"pid":')
    assert sentinel_status.read(sentinel_status.PATH, now())["why"].startswith("cannot read ")
