"""Revalidation of one wrong entry and of many right ones, next to arping, arp-scan and `ip`."""

import contextlib
import functools
import os
import signal
import subprocess
import time
import types
from pathlib import Path

from benchmarks import peers, scene
from benchmarks.race import OURS, Race, Row
from lab import cable
from lab.causes import Confirming
from lab.machines import run

HERE = types.SimpleNamespace(inside=contextlib.nullcontext)  # a lab's machine: ourselves
LOCKTIME_S = 1.0  # a wrong entry that causes an outage is older than this
COUNT, WIRE = 1000, 4000


def everything(minion, rounds):
    """Return all rows."""
    scene.slow_timers(False)
    rows = [*healing(minion, rounds, 4), *healing(minion, rounds, 6)]
    return rows + living(minion, rounds) + on_one_wire(minion, rounds)


def healing(minion, rounds, family):
    """Heal one wrong entry that upper-layer confirmation keeps."""
    ip = cable.many(0, family)
    healers = {
        OURS: lambda: _ask(minion, ip),
        "proven": lambda: _prove(ip),
        "arping": lambda: peers.spawn(peers.ARPING, "-q", "-f", "-w2", "-Idb0", ip),
    }
    if not peers.ARPING or family == 6:
        del healers["arping"]
    with Confirming(HERE, ip):
        race = Race().run(
            rounds,
            lambda: _break(ip, family),
            {name: functools.partial(_heal, ip, healer) for name, healer in healers.items()},
        )
    scene.empty()
    work = f"one wrong entry with upper-layer confirmation healed, IPv{family}"
    rows = [
        Row(work, "ms", 50, None, race.median(OURS) * 1e3, None),
        race.row(work, "proven", None, "ip neigh change … nud probe, until the MAC is right"),
    ]
    if "arping" in healers:
        rows.append(race.row(work, "arping", None, "arping -f, given the address"))
    return rows


def _break(ip, family):
    """Write an entry with a dead MAC, and wait for longer than locktime."""
    scene.empty()
    scene.fill(1, family, how=("nud reachable",))
    time.sleep(LOCKTIME_S + 0.1)
    _shows(ip, cable.DEAD)


def _heal(ip, healer):
    took = healer()
    _shows(ip, cable.BORN)
    return took


def _shows(ip, mac):
    shown = run("ip", "neigh", "show", "to", ip)
    if mac not in shown:
        raise AssertionError(f"not {mac}: {shown}")


def _ask(minion, ip):
    """Revalidate one address; look until the kernel has another MAC.

    The call itself goes on to look back at the former holder; nobody waits for that.
    """
    began, child = time.perf_counter(), os.fork()
    if not child:
        minion.functions["arp.revalidate"](ip=ip)
        os._exit(0)
    while cable.BORN not in run("ip", "neigh", "show", "to", ip):
        time.sleep(0.002)
    took = time.perf_counter() - began
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return took


def _prove(ip):
    """Put one entry into PROBE; look until the kernel has another MAC."""
    began = time.perf_counter()
    peers.spawn(peers.IP, *f"neigh change {ip} lladdr {cable.DEAD} nud probe dev db0".split())
    while cable.BORN not in run("ip", "neigh", "show", "to", ip):
        time.sleep(0.002)
    return time.perf_counter() - began


def living(minion, rounds):
    """Confirm 1,000 living entries, as fast as is safe."""
    scene.empty()
    orders, failed = peers.probes(COUNT), {OURS: 0, "look": 0}

    def batch_and_look():
        began = time.perf_counter()
        peers.ip_batch(orders)
        while subprocess.check_output([peers.IP, "neigh", "show", "nud", "probe"]):
            pass
        took = time.perf_counter() - began
        failed["look"] += scene.left("failed")
        return took

    runners = {
        OURS: lambda: _confirms(minion, COUNT, failed),
        "batch": lambda: peers.ip_batch(orders),
        "look": batch_and_look,
        "C": peers.limit("prove", 4),
    }
    race = Race().run(
        rounds,
        lambda: scene.fill(COUNT, mac=cable.BORN),
        {name: runner for name, runner in runners.items() if runner},
    )
    scene.empty()
    work = "revalidate, 1,000 living, rate 0"
    note = f"living hosts FAILED: {failed[OURS]}, theirs {failed['look']}"
    if "C" in race.times:
        limit = race.median("C") / race.median("look")
        note += f"; proving in C: {limit:.2f}, {race.median('C') * 1e3:.1f} ms"
    return [
        race.row(work, "look", 1.0, "ip -batch, neigh change … nud probe, until proven", note),
        race.row(work, "batch", None, "the same, not waiting for any result"),
    ]


def _confirms(minion, count, failed):
    """Revalidate so many living entries; count those not confirmed, or FAILED."""
    took, result = minion.call("arp.revalidate", rate=0)
    # and perhaps the worker's link-local address, which its kernel may have announced meanwhile
    if result["checked"] not in (count, count + 1):
        raise AssertionError(f"revalidated {result['checked']} of {count}: {result}")
    failed[OURS] += max(result["checked"] - result["confirmed"], scene.left("failed"))
    return took


def on_one_wire(minion, rounds):
    """Probe 4,000 living hosts without a rate, with two backlog sizes; all must be found."""
    return [_scanned(minion, rounds, backlog) for backlog in (200, 1000) if peers.ARP_SCAN]


def _scanned(minion, rounds, backlog):
    failed, missed, dropped = {OURS: 0}, [], []

    def ours():
        before = _dropped()
        took = _confirms(minion, WIRE, failed)
        dropped.append(_dropped() - before)
        return took

    def scan():
        took, found = peers.arp_scan(WIRE)
        missed.append(WIRE - found)
        return took

    scene.empty()
    with _shown(backlog):
        race = Race().run(
            rounds, lambda: scene.fill(WIRE, mac=cable.BORN), {OURS: ours, "scan": scan}
        )
    scene.empty()
    note = f"living hosts FAILED or not found: {failed[OURS]}, theirs {sum(missed)}"
    note += f"; frames lost by a backlog: {sum(dropped)}"
    work = f"4,000 living on one wire, unpaced; backlog {backlog}"
    return race.row(work, "scan", 1.0, "arp-scan -q -B 100M", note)


@contextlib.contextmanager
def _shown(backlog):
    """Show this process another receive backlog; the real one belongs to the host."""
    where = Path("/proc/sys/net/core")
    run("mount", "-t", "tmpfs", "none", str(where))
    try:
        (where / "netdev_max_backlog").write_text(f"{backlog}\n", encoding="ascii")
        yield
    finally:
        run("umount", str(where))


def _dropped():
    """Return how many frames the backlogs of this machine's processors have lost."""
    lines = Path("/proc/net/softnet_stat").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1], 16) for line in lines)
