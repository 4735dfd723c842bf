"""Salt's own remedy against a return in another minion's name: each minion signs its returns."""

import json
import pathlib
import tempfile

import pytest
from fleet_centre import Centre

pytestmark = pytest.mark.long

HOSTILE = pathlib.Path(__file__).parent / "hostile"
FORGERY, LIES = pathlib.Path("/tmp/forgery"), pathlib.Path("/tmp/lies")
DEAD = "02:00:00:00:00:dd"


@pytest.fixture
def centre(repo):
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as where,
        Centre(
            pathlib.Path(where),
            repo,
            ("db1",),
            minion={"minion_sign_messages": True},
            require_minion_sign_messages=True,
            drop_messages_signature_fail=True,
        ) as centre,
    ):
        signs = {"minion_sign_messages": True}
        centre.sync()
        centre.worker("worker1", 90, "02:00:00:00:00:90", **signs)
        centre.worker("evil", 66, "02:00:00:00:00:66", module_dirs=[str(HOSTILE)], **signs)
        centre.wait_for("worker1", "evil")
        yield centre


def test_forged_return_of_a_syndic_is_dropped_where_minions_sign(centre):
    db1, worker = centre.fabric.machines["db1"], centre.fabric.machines["worker1"]
    db1.do(f"ip neigh replace {worker.ip} lladdr {DEAD} dev eth0 nud stale")
    LIES.write_text("{}", encoding="utf-8")
    content = {"eth0": {"hwaddr": DEAD, "up": True, "inet": [{"address": worker.ip}]}}
    forgery = {"victim": "worker1", "content": content, "channel": "syndic"}
    FORGERY.write_text(json.dumps(forgery), encoding="utf-8")
    try:
        seen = centre.run("arp.audit")
    finally:
        FORGERY.unlink()
    assert [(row["minion"], row["mac"]) for row in seen.data["wrong"]] == [("db1", DEAD)]
    assert seen.data["conflicts"] == []
