"""The sentinel's status file: who writes it, and who does not any more."""

import json
import os
import shutil
import time

import pytest
from arp_engine import version
from arp_engine.reporting import sentinel_status


def test_removed_directory_is_not_made_again(tmp_path):
    """An engine lives on until its minion restarts, and arp_hygiene.remove leaves nothing."""
    path = tmp_path / "arp_hygiene" / "sentinel.json"
    writer = sentinel_status.StatusWriter(str(path), "engine")
    assert writer.write() == ""
    assert path.exists()
    shutil.rmtree(path.parent)
    assert writer.write() == ""
    writer.close()
    assert not path.parent.exists()
    assert sentinel_status.StatusWriter(str(path), "engine").write() == ""
    assert path.exists(), "the next one writes it"


@pytest.mark.parametrize(
    "damage",
    [{"failed": 5}, {"uptime_s": 10**400}, {"pid": 1e400}, {"counts": {"asked": "x"}},
     {"heals": [5]}, {"told": []}, {"absent_devices": "eth0"}, {"absent_devices": [5]}],
    ids=str,
)  # fmt: skip
def test_damaged_status_is_not_believed(tmp_path, damage):
    path = tmp_path / "sentinel.json"
    whole = {"pid": 1, "uptime_s": 1.0, "counts": {}, "told": {}, "heals": []}
    path.write_text(json.dumps({**whole, **damage}), encoding="utf-8")
    told = sentinel_status.read(str(path), 2.0)
    assert told == {"lives": False, "why": f"cannot read {path}"}


def test_status_names_the_version_and_the_code_that_run(tmp_path):
    path = str(tmp_path / "sentinel.json")
    assert sentinel_status.StatusWriter(path, "service").write() == ""
    seen = sentinel_status.read(path, time.monotonic())
    assert (seen["version"], seen["code"]) == (version.VERSION, version.code())


def test_directory_of_a_service_is_taken_over_by_an_engine(tmp_path):
    """A root without CAP_DAC_OVERRIDE could not write there."""
    path = tmp_path / "run" / "sentinel.json"
    path.parent.mkdir()
    os.chown(path.parent, 65534, 65534)
    sentinel_status.StatusWriter(str(path), "engine")
    assert path.parent.stat().st_uid == os.geteuid()
