"""15,000 machines start at once, as after a power cut, on a real master with one real database."""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time

import pytest
import salt.cache
import salt.config
from fleet_centre import Bus, Centre, accepting

from lab.machines import poll

pytestmark = pytest.mark.long

STARTS = 15_000
MOST = 500  # addresses in one job, by default
MACHINES = {f"sim{n:05}": f"10.9.{n // 250}.{n % 250 + 1}" for n in range(STARTS)}
#: What the master says when machines start: three events each, as fast as its bus takes them.
STORM = """
import sys, salt.config, salt.utils.event
opts = salt.config.master_config(sys.argv[1])
with salt.utils.event.get_master_event(opts, opts["sock_dir"], listen=False) as bus:
    for name in sys.stdin.read().split():
        load = {"id": name, "cmd": "_minion_event", "pretag": None, "data": "started"}
        bus.fire_event({"id": name, "act": "accept", "pub": "k" * 450, "result": True}, "salt/auth")
        bus.fire_event(load, "minion_start")
        bus.fire_event(load, f"salt/minion/{name}/start")
"""


@pytest.fixture(scope="module")
def centre(repo):
    """One database; the engine on the master, with the default target."""
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as where,
        Centre(
            pathlib.Path(where),
            repo,
            ["db1"],
            engines=[{"arp_born": {"networks": ["10.9.0.0/16"]}}],
            engines_dirs=[str(repo / "_engines")],
            utils_dirs=[str(repo / "_utils")],
        ) as centre,
    ):
        centre.sync()
        with accepting(centre.master, MACHINES):
            yield centre


def config(master):
    return str(master.root / "etc" / "master")


def remember(master):
    """Put the machines' grains and pillar where the master keeps them, as at a start."""
    cache = salt.cache.factory(salt.config.master_config(config(master)))
    has_bank = bool(cache.list("grains"))  # Salt 3008
    for name, ip in MACHINES.items():
        grains = {
            "id": name,
            "hwaddr_interfaces": {"eth0": "02:00:00:00:00:01"},
            "ip4_interfaces": {"eth0": [ip]},
        }
        if has_bank:
            cache.store("grains", name, grains)
            cache.store("pillar", name, {})
        else:
            cache.store(f"minions/{name}", "data", {"grains": grains, "pillar": {}})


def engine():
    """Return the process of the engine."""
    found = []
    for words in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if b"arp_born" in words.read_bytes():
                found.append(words.parent)
    [process] = found
    return process


def megabytes(process, key):
    lines = (process / "status").read_text().splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(kib) / 1024


def told(events, what):
    return [event["data"] for event in events if event["tag"] == f"arp/born/{what}"]


def test_15000_starts_at_once_lose_none_in_bounded_jobs(centre):
    remember(centre.master)
    process = engine()
    before_mb = megabytes(process, "VmRSS")
    found = []
    with Bus(centre.master) as bus:
        began = time.monotonic()
        storm = subprocess.Popen(
            [sys.executable, "-c", STORM, config(centre.master)], stdin=subprocess.PIPE, text=True
        )
        storm.stdin.write("\n".join(MACHINES))
        storm.stdin.close()

        def missing():
            found.extend(bus.heard_now("arp/born/"))
            asked = {ip for job in told(found, "asked") for ip in job["addresses"]}
            return set(MACHINES.values()) - asked

        def is_calm():
            found.extend(bus.heard_now("arp/born/"))
            waiting = told(found, "waiting")
            return not waiting or waiting[-1]["machines"] == 0

        poll("all are asked about", 600, lambda: not missing(), every_s=0.1)
        asked_s = time.monotonic() - began
        assert storm.wait(60) == 0
        needed = len(told(found, "asked"))
        poll("nobody waits any more", 300, is_calm, every_s=0.1)
    jobs = told(found, "asked")
    waited = [each["machines"] for each in told(found, "waiting")]
    print(
        f"{STARTS} starts: all asked about after {asked_s:.0f} s in {needed} jobs, {len(jobs)} in "
        f"all; waiting {waited}; engine {before_mb:.0f} MB, at most "
        f"{megabytes(process, 'VmHWM'):.0f} MB"
    )
    assert engine() == process, "it did not end meanwhile"
    assert max(waited) > MOST, "the storm was one"
    assert waited[-1] == 0
    assert all(len(job["addresses"]) <= MOST for job in jobs)
    # where the master holds the engine up, those that may have started meanwhile are asked again
    assert len(jobs) <= 3 * STARTS / MOST
    assert centre.master.salt("db1", "test.ping") == {"db1": True}
