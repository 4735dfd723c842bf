"""An entry that a control plane takes over while the sentinel asks about it is left alone."""

import contextlib

import pytest
from conftest import BORN, DEAD, ip
from sentry import PAIR, database, guard, syn  # noqa: F401
from wire import Wire, answer

OTHER = "02:00:00:00:00:0c"


@pytest.fixture(autouse=True)
def no_locktime(scene):
    scene.sysctl("ipv4.neigh.db0.locktime", 0)


def take_over(address):
    words = f"lladdr {OTHER} nud reachable dev db0 extern_learn"
    ip("neigh", "replace", address, *words.split())


@PAIR
def test_an_entry_taken_over_during_a_probe_is_not_asked_about(scene, guard, database, address):
    """The first broadcast is lost; before the second one the entry has an owner."""
    scene.add(address, "reachable", DEAD)
    begun, wire = guard(), Wire()
    broadcasts = []

    def respond(asked, to_all, number):
        if asked == address and to_all:
            broadcasts.append(number)
            if not number:
                take_over(address)
        return [answer(asked, BORN)] if to_all and number else []

    with contextlib.closing(wire), wire.answering(respond):
        wire.say(syn(address, BORN))
        scene.until(lambda: broadcasts, 10)
        # the sentinel has worked through all that when it heals the next one
        scene.add("192.0.2.77", "reachable", DEAD)
        wire.say(syn("192.0.2.77", BORN))
        begun.until("healed", 1, 20)
    assert f"{address} db0 {OTHER} extern_learn REACHABLE" in scene.table()
    assert broadcasts == [0]
