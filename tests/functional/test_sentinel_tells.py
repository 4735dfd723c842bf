"""What a sentinel has done: in its status, in the runs' memory and metrics."""

import signal
import time

import arp_status
import pytest
from conftest import BORN, DEAD
from sentry import connect, database, guard  # noqa: F401

ROW = {"ip": "192.0.2.10", "dev": "db0", "old": DEAD, "new": BORN, "by": "sentinel"}


@pytest.fixture(autouse=True)
def outage(scene):
    """An entry that holds a dead worker's MAC."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    scene.worker("192.0.2.10")
    scene.add("192.0.2.10", "reachable", DEAD)


def status():
    return arp_status.read(arp_status.PATH, time.monotonic())


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


def test_a_heal_is_in_the_status_the_memory_and_the_metrics(
    scene, hygiene, guard, database, tmp_path
):
    assert metrics(hygiene, tmp_path) == {}, "nobody wants a sentinel here"
    scene.add("192.0.2.10", "reachable", DEAD)  # the run has healed it
    begun = guard()
    assert connect("192.0.2.10") < 0.9
    begun.until("healed")
    scene.until(lambda: status().get("heals"))
    [by_run, row] = hygiene.healed()
    assert by_run["by"] == "run"
    assert row.pop("at").endswith("Z")
    assert row == ROW
    [said] = hygiene.status()
    assert (said["healed_7d"], said["problem"]) == (2, "")
    assert said["sentinel"] == f"lives; healed: 192.0.2.10 on db0: {DEAD} -> {BORN} (syn)"
    told = metrics(hygiene, tmp_path)
    assert (told["up"], told["told_total healed"], told["told_total failed"]) == (1, 1, 0)
    assert told["questions_total"] >= 1
    assert told["sent_again_total"] == 1
    begun.end(signal.SIGKILL)
    dead = metrics(hygiene, tmp_path)
    assert dead == {**told, "up": 0}
    guard()
    scene.until(lambda: status()["lives"])
    assert metrics(hygiene, tmp_path)["told_total healed"] == 1, "counted since boot"
    arp_status.forget(arp_status.PATH)
    assert [each["by"] for each in hygiene.healed()] == ["run", "sentinel"], "remembered"


def test_one_that_is_stopped_and_not_installed_is_no_alarm(scene, hygiene, guard, tmp_path):
    begun = guard()
    scene.until(lambda: status()["lives"])
    begun.end()
    assert status()["why"] == "it was stopped"
    assert hygiene.status()[0]["problem"] == ""
    assert metrics(hygiene, tmp_path) == {}


def test_the_clock_is_set_by_an_hour_and_nobody_takes_it_for_dead(
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
        assert hygiene.status()[0]["sentinel"].startswith("lives")
        assert connect("192.0.2.10") < 0.9
        begun.until("healed")
        scene.until(lambda: status()["last"].startswith("healed"))
        assert hygiene.status()[0]["problem"] == ""
        begun.end()
        assert hygiene.status()[0]["healed_7d"] >= 1
