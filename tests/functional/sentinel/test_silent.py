"""The sentinel and dead hosts whose entries stand: where nobody is, and later somebody."""

import time

import pytest
import stalls
from conftest import BORN, DEAD
from sentry import (  # noqa: F401
    PAIR,
    PORT,
    SECOND_SYN_S,
    connect,
    database,
    guard,
    healed_line,
    syn,
)

CLOSED = PORT + 1
COUNTED = """
import atexit
counts, wait = [0], loop._Session._wait
def counted(self):
    counts[0] += 1
    wait(self)
loop._Session._wait = counted
atexit.register(lambda: print("waits:", counts[0]))
"""


def test_the_loop_sleeps_while_all_probe_slots_are_taken(scene, wire, guard):
    """Forged SYNs of twenty dead hosts: six of them are asked about at a time."""
    dead = [f"192.0.2.{number}" for number in range(100, 120)]
    for address in dead:
        scene.add(address, "reachable", DEAD)
    begun = guard(patch=COUNTED)
    wire.say(*[syn(address, BORN, port=CLOSED) for address in dead])
    time.sleep(2)
    [line] = [line for line in begun.end() if line.startswith("waits:")]
    assert 1 < int(line.split()[1]) < 2000


@pytest.mark.timed
@PAIR
def test_a_worker_just_after_a_silent_probe_is_not_late(scene, wire, guard, database, address):
    """A worker is asked about while he is being made anew; then he comes."""
    scene.add(address, "reachable", DEAD)
    begun = guard()
    with stalls.within(SECOND_SYN_S) as claim:
        wire.say(syn(address, BORN, port=CLOSED))
        time.sleep(1.7)  # a question that nobody answers takes 1.3 s
        assert begun.lines == begun.told("watching")
        scene.worker(address)
        claim.took_s = connect(address)
    assert begun.until("healed") == [healed_line(address)]
