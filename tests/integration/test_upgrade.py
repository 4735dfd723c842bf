"""From the flat layout to the package and back, under a minion that runs all the time.

Its schedule, its engine and the master's runner go with it: what a sync brings is used at the next
call, what runs goes on, and nothing of the other layout stays.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import tempfile
import time

import flat_layout
import pytest
from arp_engine import version
from arp_engine.reporting import sentinel_status
from fleet_centre import Bus, run_on

from lab.datacentre import Datacentre
from lab.machines import poll
from lab.saltstack import REPOSITORY

pytestmark = pytest.mark.long

ROOMS = ("_modules", "_states", "_utils", "_runners", "_engines", "_output")
FLAT = pathlib.Path(os.path.dirname(sentinel_status.PATH), "flat")  # who the flat engine is
MINION = {
    "schedule": {"stats": {"function": "arp.stats", "seconds": 2, "return_job": True}},
    "engines": [{"arp_sentinel": {"dev": "eth0"}}],
}


class Site:
    """A master that serves one layout or the other, and the minion db1."""

    def __init__(self, root):
        self.root, self.served = root, root / "srv"
        self.serve_flat()

    def serve_flat(self):
        shutil.rmtree(self.served, ignore_errors=True)
        flat_layout.write(self.served)

    def serve_package(self):
        shutil.rmtree(self.served)
        for room in ROOMS:
            shutil.copytree(
                REPOSITORY / room,
                self.served / room,
                ignore=shutil.ignore_patterns("__pycache__"),
            )

    def sync(self):
        """Give it to master and minion; nothing stays there that is not served."""
        run_on(self.centre.master, "salt-run", "saltutil.sync_all")
        self.centre.master.salt("db1", "saltutil.sync_all")
        for side in ("m/var/cache/salt/master", "db1/var/cache/salt/minion"):
            extmods = self.root / side / "extmods"
            for path in extmods.glob("*/**/*.py*"):
                kind, *parts = path.relative_to(extmods).parts
                if "__pycache__" in parts:  # of a file that is there
                    parts = [*parts[:-2], f"{parts[-1].split('.')[0]}.py"]
                assert self.served.joinpath(f"_{kind}", *parts).exists(), path

    def stats(self):
        return self.centre.master.salt("db1", "arp.stats")["db1"]

    def audit(self):
        return run_on(self.centre.master, "salt-run", "arp.audit", "db1").stdout

    def scheduled(self):
        """Return what a scheduled job that starts from now on gives."""
        with Bus(self.centre.master) as bus:

            def done(found):
                return [each for each in found if each["data"].get("fun") == "arp.stats"]

            jobs = done(bus.heard("salt/job/", lambda found: done(found)[1:], seconds=60))
        return jobs[-1]["data"]["return"]

    def engine(self):
        """Return the process of the flat engine, or of the package's sentinel."""
        if FLAT.exists():
            return int(FLAT.read_text().split()[0])
        status = sentinel_status.read(sentinel_status.PATH, time.monotonic())
        return status["pid"] if status.get("lives") else 0

    def another_engine(self):
        """End the engine, whose minion starts it again; return its process."""
        former = self.engine()
        FLAT.unlink(missing_ok=True)
        os.kill(former, signal.SIGKILL)
        return poll("another engine runs", 90, lambda: self.engine() not in (0, former))


@pytest.fixture
def site():
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="u") as where,
        contextlib.ExitStack() as end,
    ):
        site = Site(pathlib.Path(where))
        site.centre = end.enter_context(
            Datacentre(
                site.root,
                ("db1",),
                minion=MINION,
                file_roots={"base": [str(site.served)]},
                fileserver_list_cache_time=0,
            )
        )
        end.callback(FLAT.unlink, missing_ok=True)
        yield site


def is_package(stats):
    return isinstance(stats, dict) and "ipv4" in stats


def test_flat_layout_and_package_replace_each_other(site):
    site.sync()
    assert site.stats() == "flat"
    assert "flat" in site.audit()
    assert site.scheduled() == "flat"
    for _ in range(2):
        site.serve_package()
        site.sync()
        assert is_package(site.stats())
        assert "entries of 1 database" in site.audit()
        assert is_package(site.scheduled())
        site.serve_flat()
        site.sync()
        assert site.stats() == "flat"
        assert "flat" in site.audit()
        assert site.scheduled() == "flat"


def test_changed_files_and_a_renamed_room_are_used_at_the_next_call(site):
    site.serve_package()
    site.sync()
    assert is_package(site.stats())
    room = site.served / "_utils" / "arp_engine" / "table"
    listing = room / "listing.py"
    listing.write_text(listing.read_text() + "\n\ndef mark() -> str:\n    return 'changed'\n")
    surface = site.served / "_modules" / "arp.py"
    text = surface.read_text()
    surface.write_text(text + "\n\ndef mark():\n    return listing.mark()\n")
    site.sync()
    assert site.centre.master.salt("db1", "arp.mark") == {"db1": "changed"}
    new = room.rename(room.with_name("neighbours"))
    for path in [*site.served.glob("_utils/arp_engine/**/*.py"), *site.served.glob("_*/*.py")]:
        text = path.read_text()
        path.write_text(
            text.replace("arp_engine.table", "arp_engine.neighbours").replace(
                "from ..table", "from ..neighbours"
            )
        )
    assert new.is_dir()
    site.sync()
    assert site.centre.master.salt("db1", "arp.mark") == {"db1": "changed"}
    assert is_package(site.stats())
    assert is_package(site.scheduled())


def test_engine_goes_on_until_it_is_started_again(site):
    """A sync changes nothing that runs: the formula says when a minion must be restarted."""
    site.sync()
    minion = site.centre.minions["db1"]
    daemon = minion.machine._daemons.pop()  # it reads its engines when it starts
    os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait()
    minion.start()
    flat = poll("the flat engine runs", 60, site.engine)
    site.serve_package()
    site.sync()
    assert site.stats()
    os.kill(flat, 0)
    site.another_engine()
    assert sentinel_status.read(sentinel_status.PATH, time.monotonic())["as"] == "engine"
    site.serve_flat()
    site.sync()
    assert sentinel_status.read(sentinel_status.PATH, time.monotonic())["lives"]
    site.another_engine()
    assert FLAT.exists()


def test_version_of_each_side_is_shown_and_nothing_stays_after_removal(site):
    """The commands of docs/upgrading.md that name versions, and its complete removal."""

    def runner():
        return run_on(site.centre.master, "salt-run", "arp.status", "db1", "glob").stdout

    salt = site.centre.master.salt
    site.serve_package()
    site.sync()
    assert salt("db1", "arp.version")["db1"]["version"] == version.VERSION
    assert "Other version" not in runner()
    served = site.served / "_utils" / "arp_engine" / "version.py"
    served.write_text(served.read_text().replace(version.VERSION, "9.8.7"), encoding="utf-8")
    run_on(site.centre.master, "salt-run", "saltutil.sync_all")
    assert (
        f"Other version than this master's: {version.VERSION} (code {version.code()}) on db1"
        in runner()
    )
    salt("db1", "saltutil.sync_all")
    assert salt("db1", "arp.version")["db1"]["version"] == "9.8.7"
    assert "Other version" not in runner()
    shutil.rmtree(site.served)
    site.served.mkdir()
    site.sync()
    assert salt("db1", "sys.list_functions", "arp")["db1"] == []
    assert "arp.status" not in run_on(site.centre.master, "salt-run", "-d", "arp").stdout
