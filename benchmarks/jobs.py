"""Costs that do not depend on the size: a job of Salt's scheduler, memory."""

import os

from benchmarks import scene
from benchmarks.race import OURS, Race, Row

COUNT = 1000


def scheduled(minion, rounds):
    """Return what jobs of Salt's scheduler cost, trivial ones subtracted: CPU, not time."""
    race = Race()
    for _round in range(2 * rounds):  # small differences of large numbers
        cost = {}
        for name, words in (
            ("arp.flush", ()),
            ("cmd.run", ("ip neigh flush nud stale",)),
            ("test.ping", ()),
        ):
            scene.fill(COUNT)
            cost[name] = minion.job(name, *words)
            kept = scene.left("stale")
            if kept != (COUNT if name == "test.ping" else 0):
                raise AssertionError(f"{name} left {kept} of {COUNT}")
            scene.empty()
        trivial = cost.pop("test.ping")
        race.times.setdefault("trivial", []).append(trivial)
        race.times.setdefault(OURS, []).append(cost["arp.flush"] - trivial)
        race.times.setdefault("cmd", []).append(cost["cmd.run"] - trivial)
    note = f"CPU; the trivial job itself: {race.median('trivial') * 1000:.0f} ms"
    against = "cmd.run 'ip neigh flush nud stale'"
    return [race.row("scheduled flush of 1,000, over test.ping", "cmd", 1.0, against, note)]


def memory(minion, size):
    """Return how far a flush lifts the peak of the process's memory."""
    scene.fill(size)
    grown = _in_a_child(lambda: minion.call("arp.flush", state="STALE"))
    scene.empty()
    return [Row(f"flush, {size:,}: memory", "MiB, peak", 16, None, grown, None)]


def _in_a_child(work):
    """Return by how many MiB the peak of resident memory grows while a forked child works."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")  # the peak begins anew
            before = _kib("VmRSS")
            work()
            os.write(writing, str(_kib("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading, encoding="ascii") as file:
        return int(file.read()) / 1024


def _kib(name):
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))
