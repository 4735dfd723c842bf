"""Ten minions on one master: every function there is, in one run."""

import pathlib
import tempfile

import pytest
from fleet_centre import Centre

from lab.observe import connect

pytestmark = pytest.mark.long

NAMES = tuple(f"db{number}" for number in range(1, 9))
EVERYBODY = {*NAMES, "worker1", "worker2"}


@pytest.fixture(scope="module")
def centre(repo):
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as where,
        Centre(pathlib.Path(where), repo, NAMES) as centre,
    ):
        for number, name in enumerate(("worker1", "worker2"), 90):
            centre.worker(name, number, f"02:00:00:00:00:{number}")
        centre.wait_for("worker1", "worker2")
        centre.sync()
        yield centre


def test_every_function_answers_on_ten_minions(centre):
    worker = centre.fabric.machines["worker1"]
    for name in NAMES:
        assert connect(worker, centre.fabric.machines[name].ip, timeout_s=30)
    for words in (
        ["arp.list"],
        ["arp.list_stale"],
        ["arp.stats"],
        ["arp.diagnose", "10.0.1.11"],
        ["arp.revalidate", "dev=eth0"],
        ["arp.announce", "dev=eth0"],
        ["arp.flush", "dev=eth0", "test=True"],
    ):
        answers = centre.master.salt("*", *words)
        assert set(answers) == EVERYBODY, words
        assert all(isinstance(each, (dict, list)) for each in answers.values()), answers
    rows = centre.master.salt("db*", "arp.list", f"ip={worker.ip}")
    assert {row["mac"] for each in rows.values() for row in each} == {worker.mac}

    new = "02:00:00:00:01:01"
    worker = centre.worker("worker1", 90, new)
    centre.wait_for("worker1")
    seen = centre.run("arp.audit")
    assert [row["minion"] for row in seen.data["wrong"]] == sorted(NAMES)
    healed = centre.run("arp.heal", "pause=0")
    assert (len(healed.data["healed"]), healed.data["waves"], healed.code) == (8, 4, 0)
    assert centre.run("arp.audit").code == 0
    centre.master.salt("*", "arp.flush", "dev=eth0")
    assert connect(worker, centre.fabric.machines["db8"].ip, timeout_s=30)
