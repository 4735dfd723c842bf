"""An entry that somebody else writes while the sentinel asks about it is left alone."""

import contextlib

import pytest
from conftest import BORN, DEAD, ip
from sentry import PAIR, database, guard, syn  # noqa: F401
from wire import Wire, answer

#: After a broadcast the sentinel stands still until the entry is written, also on a busy machine.
STANDS_STILL = """
import os, time
from arp_engine.packets import probe_schedule
def wait_s(schedule, step):
    latest = time.monotonic() + 30
    while not schedule.is_unicast(step) and not os.path.exists({!r}) and time.monotonic() < latest:
        time.sleep(0.01)
    return 0.4
probe_schedule.Schedule.wait_s = wait_s
"""
OTHER = "02:00:00:00:00:0c"


@pytest.fixture(autouse=True)
def no_locktime(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)


OWNED, LEARNT = "reachable extern_learn", "reachable"  # by a control plane; by a packet, as if


def write(address, words, first):
    orders = f"neigh replace {address} lladdr {OTHER} dev db0 nud {words}\n"
    if first == "del":  # by one process: a reply of the database meanwhile would ask a question
        orders = f"neigh del {address} dev db0\n{orders}"
    ip("-batch", "-", stdin=orders)


@PAIR
@pytest.mark.parametrize(
    ("words", "first"), [(OWNED, ""), (LEARNT, ""), (LEARNT, "del")], ids=["owned", "", "del"]
)
def test_an_entry_written_during_a_probe_is_not_asked_about(
    scene, guard, database, tmp_path, address, words, first
):
    """The first broadcast is lost; before the second one the entry has another MAC."""
    scene.add(address, "reachable", DEAD)
    written, broadcasts = tmp_path / "written", []
    begun, wire = guard(patch=STANDS_STILL.format(str(written))), Wire()

    def respond(asked, to_all, number):
        if asked == address and to_all:
            broadcasts.append(number)
            if not number:
                write(address, words, first)
                written.touch()
        if not to_all and wire.asked_mac == OTHER:  # by a later doubt
            return [answer(asked, OTHER)]
        return [answer(asked, BORN)] if to_all and number else []

    with contextlib.closing(wire), wire.answering(respond):
        wire.say(syn(address, BORN))
        scene.until(written.exists)
        # the sentinel has worked through all that when it heals the next one
        scene.add("192.0.2.77", "reachable", DEAD)
        wire.say(syn("192.0.2.77", BORN))
        begun.until("healed")
    [row] = [row for row in scene.table() if row.startswith(f"{address} ")]
    assert row.startswith(f"{address} db0 {OTHER} ")
    assert ("extern_learn" in row) == ("extern_learn" in words)
    assert broadcasts == [0]
