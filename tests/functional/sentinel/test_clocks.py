"""The sentinel where the kernel's clock has just begun, has run for years, or has passed a sleep.

In a time namespace of its own. The wall clock has none: it is set on the kernels of an emulator
(``tests/kernels/clocks.py``).
"""

import contextlib
import os
import time

import pytest
from conftest import DEAD
from sentry import SECOND_SYN_S, Guard, connect_within, database, healed_line  # noqa: F401

YEAR_S = 365 * 86400
#: Name to what the monotonic clock shows, and by how much the one that counts sleep is ahead.
CLOCKS = {"just booted": (3, 0), "ten years": (10 * YEAR_S, 0), "slept": (60, 30 * 86400)}


@contextlib.contextmanager
def guarded(repo, monotonic_s, asleep_s):
    """A sentinel whose clocks show that."""
    offset_s = monotonic_s - int(time.monotonic())
    clocks = [f"--monotonic={offset_s}", f"--boottime={offset_s + asleep_s}"]
    guard = Guard(repo, under=["unshare", "--time", *clocks])
    try:
        guard.until("watching")
        yield guard
    finally:
        guard.end()


@pytest.mark.skipif(not os.path.exists("/proc/self/ns/time"), reason="no time namespaces here")
@pytest.mark.timed
@pytest.mark.parametrize("clock", CLOCKS)
def test_first_connections_at_every_age_of_the_clock(scene, repo, database, clock):
    """Nothing that has never happened counts as just done, and no limit as spent."""
    scene.sysctl("ipv4.neigh.db0.locktime", 0)
    with guarded(repo, *CLOCKS[clock]) as begun:
        for address in ("192.0.2.10", "2001:db8::10"):
            scene.worker(address)
            scene.add(address, "reachable", DEAD)
            connect_within(SECOND_SYN_S, address)
            assert healed_line(address) in begun.until("healed", 1 + (":" in address))
