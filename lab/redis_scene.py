"""Redis under load, while workers, a replica and the master are re-created: ``play``."""

import contextlib
import itertools
import math
import tempfile
import threading
import time
from pathlib import Path

from lab import redis
from lab.databases import EVERY_S, Helpers, Seen, macs
from lab.fabric import Fabric
from lab.machines import poll

BOOT_S = 6  # from the master's death until another machine has its address
WORKERS = {"short1": 90, "short2": 91}  # short-lived; and their numbers
STEADY = {"steady": 50, "calm": 51}
EVENTS = "short1", "short2", "replica", "short1", "short2", "master"


class _Scene:
    """Three hosts with Redis and Redis Sentinel, two healthy workers and two short-lived."""

    def __init__(self, world, root, helper):
        self.fabric = world.enter_context(Fabric())
        self.redis = redis.Redis(root / "redis")
        self.seen = Seen(helper)
        self.hosts = {f"db{n}": self.fabric.database(f"db{n}", 10 + n) for n in (1, 2, 3)}
        self._macs = {f"db{n}": macs(10 + n) for n in (1, 2, 3)}
        self._macs |= {name: macs(number) for name, number in WORKERS.items()}
        for machine in self.hosts.values():
            self.redis.host(machine, self.hosts["db1"])
        poll("both replicas follow", 60, lambda: self.redis.replication(self.hosts["db1"])[1] == 2)
        self.helpers = Helpers(helper, root)
        for machine in self.hosts.values():
            self.helpers.begin(machine)
        self._names, self._workers, self._dead = [], {}, []
        self._joins = []
        world.callback(lambda: [thread.join() for thread in self._joins])
        for number, name in ((number, name) for name, number in (STEADY | WORKERS).items()):
            mac = next(self._macs.get(name, macs(number)))
            self._workers[name] = self.fabric.worker(name, number, mac)
            self._begin(name)

    def _begin(self, name):
        life = f"{name}-{len(self._names)}"
        self._names.append(life)
        self.redis.client(self._workers[name], self.hosts.values(), life)

    def recreate(self, event):
        """Let one machine die silently, and another one have its address."""
        self.seen.re_created += 1
        if event in WORKERS:
            machine = self._workers[event]
            self._workers[event] = self.fabric.recreate(machine, next(self._macs[event]))
            self._begin(event)
            return
        roles = {name: self.redis.replication(machine) for name, machine in self.hosts.items()}
        wanted = "slave" if event == "replica" else "master"
        name = next(name for name, (role, *_rest) in roles.items() if role == wanted)
        if event == "master":
            name = max(roles, key=lambda name: roles[name][1])  # the one that replicas follow
        self._recreate_host(name, BOOT_S if event == "master" else 0)

    def _recreate_host(self, name, boot_s):
        machine, died = self.hosts[name], time.time()
        number = int(machine.ip.rsplit(".", 1)[1])
        self.fabric.remove(machine)
        time.sleep(boot_s)
        if boot_s:
            others = [other for label, other in self.hosts.items() if label != name]
            self.seen.masters_died += 1
            self.seen.failovers += any(
                self.redis.replication(other)[0] == "master" for other in others
            )
        machine = self.hosts[name] = self.fabric.database(name, number, next(self._macs[name]))
        for worker in self._workers.values():
            self.fabric.introduce(worker)
        self._dead.append((machine.ip, died, time.time()))
        self.redis.host(machine, machine)
        for begin, *what in ((self._follows, machine, time.time()), (self.helpers.begin, machine)):
            self._joins.append(threading.Thread(target=begin, args=what))
            self._joins[-1].start()

    def _follows(self, machine, created):
        took_s = math.inf
        while time.time() < created + 90:
            if self.redis.replication(machine)[::2] == ("slave", True):
                took_s = time.time() - created
                break
            time.sleep(0.1)
        self.seen.replica_s.append(took_s)

    def _is_machines_own(self, began, took_s, host):
        """Tell whether a failure is that of a machine that was dead then."""
        return any(
            host in (ip, "-") and began < until + 1 and began + took_s > since
            for ip, since, until in self._dead
        )

    def result(self):
        """Count what was seen; the first life of each short-lived worker is not part of it."""
        seen = self.seen
        for number, name in enumerate(self._names):
            told = self.redis.told(name)
            failed = [row for row in told if not row[0] and not self._is_machines_own(*row[1:])]
            if name.split("-")[0] in STEADY:
                seen.steady_s += [row[2] for row in told if row[0]]
                seen.steady_failed += len(failed)
            elif number >= len(STEADY | WORKERS):
                seen.lives += 1
                seen.failed += len(failed)
                ends = [row[1] + row[2] for row in told if row[0]]
                seen.connected_s.append(ends[0] - told[0][1] if ends else math.inf)
        seen.healed = len(self.helpers.told("healed"))
        return seen


def play(helper, seconds=120, calm=False):
    """Play it for a while, re-creating nothing if calm; return what was seen."""
    with contextlib.ExitStack() as world:
        root = Path(world.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="d")))
        scene = _Scene(world, root, helper)
        events, began = itertools.cycle(EVENTS), time.monotonic()
        due = math.inf if calm else began + 2
        while due < began + seconds - EVERY_S:
            time.sleep(max(0, due - time.monotonic()))
            scene.recreate(next(events))
            due = max(due + EVERY_S, time.monotonic())
        time.sleep(max(0, began + seconds + 1 - time.monotonic()))
        return scene.result()
