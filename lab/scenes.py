"""The scenes of the film: one outage under one cure, and one healthy flow under one cure.

Each is a function that builds its own small network, plays, removes it and returns plain values, so
many of them can play at once, each in its own process.
"""

import contextlib
import time
from dataclasses import dataclass

from lab import cures, fleet
from lab.causes import Balanced, Confirming, aged
from lab.fabric import Fabric
from lab.machines import Machine, poll
from lab.observe import Attempts, Flow, LateWakes, Service, connect

OLD, NEW, OTHER = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"
PLAIN, UPPER, BALANCED, DUPLICATE = "plain", "upper-layer", "balanced", "duplicate"
PLAIN6, UPPER6 = "plain IPv6", "upper-layer IPv6"

# An unconfirmed entry is REACHABLE for 0.5 to 1.5 times this long, then 5 s in DELAY and 3 s in
# PROBE: without any cure it has healed after 12.5 s, or never. With the default, 30 s: 53 s.
BASE_REACHABLE_S = 3
CURE_AFTER_S = 3.0
# The worker dies later than locktime (1 s) after its address was learnt: until then the kernel
# ignores answers with another MAC.
LEARNT_S = 1.3
SEEN_S = 3  # after a slow cure, for one more attempt to begin and to end
# The kernel's own probes of one neighbour take 3 s, and the flow must go on until their result: a
# lost broadcast costs one second more.
CURES_APART_S = 4.5
FLEET_SIZE, ROUNDS_APART_S = 50, 1.0


@dataclass
class Outage:
    """The machines and addresses of one outage."""

    database: Machine
    client: Machine
    database_ip: str
    worker_ip: str


def heal(name, cause, cure, watch_s, turn=None):
    """Play one outage and one cure. Times in the answer are seconds since the new worker was born.

    ``turn`` limits how many salt-calls run at once: the cure is measured, not our own load.
    """
    with contextlib.ExitStack() as scene:
        began, outage = break_network(scene, cause, name, cure)
        attempts = scene.enter_context(Attempts(outage.client, outage.database_ip))
        with turn if cure.startswith("arp.") and turn else contextlib.nullcontext():
            time.sleep(max(0, began + CURE_AFTER_S - time.monotonic()))
            applied = time.monotonic()
            cures.apply(outage.database, cure)
            done = time.monotonic()
        time.sleep(max(0, max(began + watch_s, done + SEEN_S) - time.monotonic()))
        attempts.close()
        owners = _owners(outage) if cause == DUPLICATE else []  # probing changes the table
        works = attempts.works_since()
        own = cure in cures.BY_ITSELF
        return {
            "cause": cause,
            "cure": cure,
            "attempts": [
                (when - began, greeted and greeted - when)
                for when, greeted in sorted(attempts.seen, key=lambda attempt: attempt[0])
            ],
            "applied_s": None if own else applied - began,
            "done_s": None if own else done - began,
            "works_s": None if works is None else works - began,
            "owners": owners,
        }


def heal_fleet(name, cause, watch_s, turn=None):
    """Play 50 workers that are re-created at once, under the sentinel: as ``heal``.

    Each round of connections, one of each worker, is an attempt: as long as its last one took.
    """
    with contextlib.ExitStack() as scene:
        fabric = scene.enter_context(Fabric(name, "answers"))
        database = fabric.database("db", 10)
        workers = scene.enter_context(fleet.Fleet(fabric, database, FLEET_SIZE))
        scene.enter_context(Service(database, database.ip))
        cures.prepare(database, cures.SENTINEL)
        poll("all connect before the outage", 20, lambda: None not in workers.connect(database.ip))
        for worker in workers.machines:
            if cause == UPPER:
                scene.enter_context(Confirming(database, worker.ip))
        if cause == PLAIN:
            entries = [f"{each.ip} lladdr {each.mac} dev eth0" for each in workers.machines]
            fleet.batch(database, [f"neigh change {entry} nud stale" for entry in entries])
        time.sleep(LEARNT_S)
        workers.recreate()
        began, rounds = time.monotonic(), []
        while time.monotonic() < began + watch_s:
            rounds.append((time.monotonic() - began, workers.connect(database.ip)))
            time.sleep(ROUNDS_APART_S)
    attempts = [(when, None if None in took else max(took)) for when, took in rounds]
    works = [number for number, (_, took) in enumerate(attempts) if took is None][-1:]
    since = attempts[works[0] + 1 if works else 0 :]
    return {
        "cause": cause,
        "cure": cures.FLEET,
        "attempts": attempts,
        "applied_s": None,
        "done_s": None,
        "works_s": since[0][0] + since[0][1] if since else None,
        "owners": [],
        "first": rounds[0][1],
    }


def break_network(scene, cause, name, cure=cures.NOTHING):
    """Build the network, let it work, break it. Returns when the new worker was born."""
    six = cause in (PLAIN6, UPPER6)
    fabric = scene.enter_context(Fabric(name, "switch" if cause == DUPLICATE else "answers"))
    database = fabric.database("db", 10)
    database.set("base_reachable_time_ms", BASE_REACHABLE_S * 1000)
    twin = _asleep(fabric) if cause == DUPLICATE else None
    worker = fabric.worker("worker", 90, OLD)
    database_ip, ip = (database.ip6, worker.ip6) if six else (database.ip, worker.ip)
    scene.enter_context(Service(database, database_ip))
    cures.prepare(database, cure)
    # A loaded machine, or a kernel whose neighbour table is full, needs a moment.
    poll(
        f"{cause}: a connection before the outage (dmesg: table overflow?)",
        20,
        lambda: connect(worker, database_ip),
    )
    if cause in (UPPER, UPPER6):
        scene.enter_context(Confirming(database, ip))
    if cause == BALANCED:
        balancer = fabric.worker("balancer", 90, OTHER, published=False)
        scene.enter_context(Balanced(fabric, database, balancer))
    if cause in (PLAIN, PLAIN6):
        aged(database, ip)
    time.sleep(LEARNT_S)
    client = _awake(fabric, twin) if twin else fabric.recreate(worker, NEW)
    return time.monotonic(), Outage(database, client, database_ip, ip)


def _asleep(fabric):
    """A second machine with the worker's address, switched off.

    It is connected to the switch before the worker: a Linux bridge serves the latest port first, so
    the worker always answers first, as the nearer of two machines does.
    """
    twin = fabric.worker("twin", 90, NEW)
    twin.do("ip link set eth0 down")
    return twin


def _awake(fabric, twin):
    twin.do("ip link set eth0 up")
    fabric.introduce(twin)
    return twin


def _owners(outage):
    """Probe the address until two MACs have answered, five times at most; return all that did."""
    macs = set()
    for _ in range(5):
        said = outage.database.do(f"arping -b -c 2 -w 3 -I eth0 {outage.worker_ip}", check=False)
        macs |= {word.strip("[]").lower() for word in said.split() if word.startswith("[")}
        if len(macs) > 1:  # each is heard late on a machine that was stalled
            break
    return sorted(macs)


def harm(name, kind, cure, times=2, turn=None):
    """Send a healthy flow through a fabric and apply the cure several times meanwhile.

    All machines have the default kernel settings.
    """
    with contextlib.ExitStack() as scene:
        fabric = scene.enter_context(Fabric(name, kind))
        database = fabric.database("db", 10)
        worker = fabric.worker("worker", 80, "02:00:00:00:00:80")
        scene.enter_context(Service(database, database.ip))
        cures.prepare(database, cure)
        poll("a connection before the flow", 20, lambda: connect(worker, database.ip))
        with LateWakes() as late_wakes, Flow(database, worker) as flow:
            time.sleep(1)
            for _ in range(times):
                with turn or contextlib.nullcontext():
                    cures.apply(database, cure)
                time.sleep(CURES_APART_S)
        return {
            "kind": kind,
            "cure": cure,
            "times": times,
            "sent": flow.sent,
            "lost": flow.lost,
            "worst_ms": flow.worst_ms,
            "stalled_s": late_wakes.total_s,
        }
