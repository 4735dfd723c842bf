"""What a sentinel has done: in status, memory and metrics of the runs; and its own failures."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile

import pytest
import stalls
from arp_engine.formula import sentinel_unit
from arp_engine.reporting import sentinel_status
from arp_engine.sentinel import loop
from conftest import BORN, DEAD
from formula import mounted
from sentry import SECOND_SYN_S, connect_within, database, guard, healed_line, syn  # noqa: F401

from lab.saltstack import SENTINEL

ROW = {"ip": "192.0.2.10", "dev": "db0", "old": DEAD, "new": BORN, "by": "sentinel"}


@pytest.fixture(autouse=True)
def outage(scene):
    """An entry that holds a dead worker's MAC."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)
    yield
    sentinel_status.remove(sentinel_status.PATH)


def status():
    return sentinel_status.read(sentinel_status.PATH, time.monotonic())


def metrics(hygiene, directory):
    """The sentinel's numbers as Prometheus reads them after a run."""
    parser = pytest.importorskip("prometheus_client.parser")
    assert hygiene.run(family="ipv4", metrics=str(directory))["problems"] == []
    families = parser.text_string_to_metric_families((directory / "arp_hygiene.prom").read_text())
    samples = [sample for family in families for sample in family.samples]
    return {
        " ".join([sample.name.removeprefix("arp_hygiene_sentinel_"), *sample.labels.values()]):
        sample.value for sample in samples if "sentinel" in sample.name
    }  # fmt: skip


@pytest.mark.timed
def test_a_heal_is_in_status_run_history_and_metrics(scene, hygiene, guard, database, tmp_path):
    assert metrics(hygiene, tmp_path) == {}, "nobody wants a sentinel here"
    scene.add("192.0.2.10", "reachable", DEAD)  # the run has healed it
    begun = guard()
    connect_within(SECOND_SYN_S, "192.0.2.10")
    begun.until("healed")
    scene.until(lambda: status().get("heals"))
    [by_run, row] = hygiene.healed()
    assert by_run["by"] == "run"
    assert row.pop("at").endswith("Z")
    assert row == ROW
    [said] = hygiene.status()
    assert (said["healed_7d"], said["problem"]) == (2, "")
    assert said["sentinel"] == f"running; {healed_line('192.0.2.10')}"
    told = metrics(hygiene, tmp_path)
    assert (told["up"], told["told_total healed"], told["told_total failed"]) == (1, 1, 0)
    assert told["questions_total"] >= 1
    assert told["sent_again_total"] in (1, 2)  # once more, if its answer was late
    begun.end(signal.SIGKILL)
    dead = metrics(hygiene, tmp_path)
    assert dead == {**told, "up": 0}
    guard()
    scene.until(lambda: status()["lives"])
    assert metrics(hygiene, tmp_path)["told_total healed"] == 1, "counted since boot"
    sentinel_status.remove(sentinel_status.PATH)
    assert [each["by"] for each in hygiene.healed()] == ["run", "sentinel"], "remembered"


def test_a_stopped_sentinel_that_is_not_installed_is_no_alarm(scene, hygiene, guard, tmp_path):
    begun = guard()
    scene.until(lambda: status()["lives"])
    begun.end()
    assert status()["why"] == "stopped"
    assert hygiene.status()[0]["problem"] == ""
    assert metrics(hygiene, tmp_path) == {}


@pytest.mark.parametrize(
    "torn",
    ["", "[]", "[" * 100_000, '{"heals": null}', '{"heals": [5]}', '{"told": []}',
     '{"counts": {"questions": "x"}}'],
)  # fmt: skip
def test_a_corrupt_status_file_is_replaced(scene, hygiene, guard, torn):
    begun = guard()
    scene.until(lambda: status()["lives"])
    begun.end()
    if ":" in torn:
        torn = json.dumps({**status(), **json.loads(torn)})
    pathlib.Path(sentinel_status.PATH).write_text(torn, encoding="utf-8")
    assert status() == {"lives": False, "why": f"cannot read {sentinel_status.PATH}"}
    assert hygiene.run(family="ipv4")["problems"] == []
    guard()
    scene.until(lambda: status()["lives"])
    assert status()["told"] == {"watching": 1}


@pytest.mark.timed
def test_a_clock_set_by_an_hour_leaves_the_status_running(
    scene, hygiene, guard, database, monkeypatch
):
    """Forward and backward; a real clock is everybody's, and no test may set it."""
    jump = "import time; real = time.time; time.time = lambda: real() + {}"
    real = time.time
    for seconds in (3600, -3600):
        scene.add("192.0.2.10", "reachable", DEAD)
        begun = guard(patch=jump.format(seconds))
        scene.until(lambda: status()["lives"])
        monkeypatch.setattr(time, "time", lambda offset=seconds: real() - offset)
        assert hygiene.status()[0]["sentinel"].startswith("running")
        connect_within(SECOND_SYN_S, "192.0.2.10")
        begun.until("healed")
        scene.until(lambda: status()["last"].startswith("healed"))
        assert hygiene.status()[0]["problem"] == ""
        begun.end()
        assert hygiene.status()[0]["healed_7d"] >= 1


BROKEN = """
parse = loop.tcp_syn.parse
def broken(data, left=[{times}]):
    left[0] -= 1
    if left[0] >= 0:
        raise ZeroDivisionError("made up")
    return parse(data)
loop.tcp_syn.parse = broken
"""


@pytest.mark.timed
def test_an_exception_is_told_and_watching_starts_again(scene, guard, database):
    """Its rights are given up by then: what it opens anew must do without them."""
    begun = guard(patch=BROKEN.format(times=1))
    connect_within(5, "192.0.2.10")  # this SYN is lost on it, the client's next one is not
    begun.until("healed")
    [line] = begun.told("failed")
    why = r"ZeroDivisionError: made up \(loop\.py:\d+\)"
    assert re.fullmatch(f"failed: not watching: {why}; next try in 1 s", line)
    assert len(begun.told("watching")) == 2
    scene.until(lambda: status()["lives"])


def test_an_exception_in_replaced_code_is_told_without_source(scene, wire, tmp_path):
    """A service runs one file, and the formula puts another in its place before it restarts it."""
    path, begin = (
        tmp_path / "sentinel.pyz",
        "from arp_engine.sentinel import loop, process\n",
    )
    path.write_bytes(sentinel_unit.bundle())
    with zipfile.ZipFile(path, "a") as bundle, pytest.warns(UserWarning, match="Duplicate name"):
        bundle.writestr("__main__.py", begin + BROKEN.format(times=1) + "process.main()\n")
    words = [sys.executable, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as service:
        ends = threading.Timer(30, service.kill)  # and with it what is waited for
        ends.start()
        assert service.stdout.readline().startswith(b"watching: ")
        (tmp_path / "new").write_bytes(path.read_bytes()[:100])
        (tmp_path / "new").replace(path)
        wire.say(syn("192.0.2.10"))
        said = [service.stdout.readline() for _line in range(2)]
        service.terminate()
        ends.cancel()
    why = b"ZeroDivisionError: made up (loop.py:"
    assert said[0].startswith(b"failed: not watching: " + why)
    assert said[1].startswith(b"watching: ")


@pytest.mark.timed
def test_it_watches_while_nobody_reads_its_output(scene, repo, database):
    with open("/dev/full", "w") as full, subprocess.Popen(SENTINEL, stdout=full) as begun:
        stalls.watch(begun.pid)
        try:
            scene.until(lambda: status()["lives"])
            connect_within(SECOND_SYN_S, "192.0.2.10")
            scene.until(lambda: status().get("heals"))
            assert begun.poll() is None
            begun.terminate()
            assert begun.wait(30) == 0
        finally:
            begun.kill()


@pytest.mark.timed
def test_it_watches_while_the_disk_of_its_status_is_full(scene, guard, database):
    path = pathlib.Path(sentinel_status.PATH)
    path.parent.mkdir(exist_ok=True)
    with mounted("-t", "tmpfs", "-o", "size=8k", "tmpfs", path.parent):
        theirs = path.parent / "theirs"
        theirs.write_bytes(bytes(8192))
        begun = guard(ready="failed")
        connect_within(SECOND_SYN_S, "192.0.2.10")
        begun.until("healed")
        assert begun.told("failed") == [f"failed: cannot write {path}: No space left on device"]
        theirs.unlink()
        scene.add("192.0.2.10", "reachable", DEAD)
        connect_within(SECOND_SYN_S, "192.0.2.10")
        scene.until(lambda: len(status().get("heals", [])) == 2)
        assert status()["lives"]
        begun.end()


@pytest.mark.timed
def test_it_watches_while_the_reader_of_its_output_is_stopped(scene, database):
    """Such as a stopped journald: a write would wait for it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    with subprocess.Popen(SENTINEL, stdout=writer, stderr=subprocess.DEVNULL) as begun:
        stalls.watch(begun.pid)
        try:
            scene.until(lambda: status()["lives"])
            connect_within(SECOND_SYN_S, "192.0.2.10")
            scene.until(lambda: status().get("heals"))
        finally:
            begun.kill()
            os.close(writer)
            os.close(reader)


def test_each_failure_doubles_the_pause_and_is_in_the_status(scene, wire, guard):
    begun = guard(patch="loop.RETRY_S = 0.05\n" + BROKEN.format(times=1000))

    def heard():
        wire.sock.send(bytes(syn("192.0.2.10")))
        return len(begun.told("failed")) >= 3

    scene.until(heard)
    waits = [float(line.split()[-2]) for line in begun.told("failed")]
    assert waits[:3] == [0.05, 0.1, 0.2]
    scene.until(lambda: status().get("failed"))
    assert status()["why"].startswith("not watching: ZeroDivisionError: made up (")


def test_no_pause_after_a_failure_is_longer_than_a_minute(monkeypatch):
    waits = []

    class Broken:
        def __init__(self, sentinel):
            if len(waits) == 9:
                sentinel.stop()
            raise MemoryError

    monkeypatch.setattr(loop, "_Session", Broken)
    monkeypatch.setattr(loop.select, "select", lambda *words: waits.append(words[-1]))
    said = []
    loop.Sentinel(None, lambda *words: said.append(words[1])).run()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert said[0].startswith("failed: not watching: MemoryError (")
