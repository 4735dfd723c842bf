"""The holder keeps its entry while the sentinel asks a second host that uses its address."""

import contextlib

from asking import OTHER, states_of
from conftest import BORN
from sentry import guard, syn  # noqa: F401
from wire import Wire, answer

ADDRESS = "192.0.2.10"


def test_holder_that_answers_no_unicast_is_not_put_into_probe(scene, guard):
    """In PROBE the kernel asks by unicast alone, and gives up the entry after three seconds."""
    scene.sysctl("ipv4.neigh.db0.delay_first_probe_time", 600)  # the kernel itself probes later
    wire = Wire()

    def respond(asked, to_all, number):
        return [answer(asked, BORN)] if asked == ADDRESS and to_all and number % 2 else []

    with contextlib.closing(wire), wire.answering(respond):
        scene.add(ADDRESS, "reachable", BORN)
        begun = guard()
        with states_of(ADDRESS) as states:
            wire.say(syn(ADDRESS, OTHER))
            begun.until("alias")
    assert states, "locktime was begun"
    assert not {"PROBE", "FAILED"} & set(states)
