"""A run that does not run for a while: its machine was suspended, or somebody stopped it."""

import os
import signal
import subprocess
import sys
import time

from conftest import BORN, many

from lab import cable

PROGRAM = """
from arp_engine.resolve import revalidate
from arp_engine.table import selectors
done = revalidate.revalidate(selectors.parse_selectors(verb="revalidate", family="ipv4"), 50.0)
print(done["confirmed"], len(done["gone"]), len(done["healed"]), done["undecided"])
"""
LIVING = 60  # 1.2 s of probes
STOPPED_S = 4.0  # longer than any answer is waited for


def test_run_stopped_past_its_deadlines_confirms_every_living_host(scene, repo):
    """The answers that came meanwhile are in its socket: they count, and not the time."""
    cable.inhabit("10.0.0.0/24")
    names = [many(number) for number in range(1, LIVING + 1)]
    for name in names:
        scene.add(name, "stale", BORN)
    words = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(words, cwd=repo / "_utils", stdout=subprocess.PIPE, text=True) as run:
        scene.until(lambda: scene.table("reachable"))
        os.kill(run.pid, signal.SIGSTOP)
        time.sleep(STOPPED_S)
        os.kill(run.pid, signal.SIGCONT)
        assert run.communicate(timeout=60)[0].split() == [str(LIVING), "0", "0", "0"]
    assert scene.table("failed") == []
