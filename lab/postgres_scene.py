"""PostgreSQL under load, while workers and the replica are re-created: ``play``."""

import contextlib
import itertools
import math
import tempfile
import time
from pathlib import Path

from lab import postgres
from lab.causes import Confirming
from lab.databases import EVERY_S, Helpers, Seen, macs
from lab.fabric import Fabric
from lab.machines import poll

#: Short-lived worker: number, through PgBouncer?, kept REACHABLE by an application?
WORKERS = {
    "direct": (90, False, False),
    "pooled": (91, True, False),
    "direct-kept": (92, False, True),
    "pooled-kept": (93, True, True),
}


class _Scene:
    """A primary with PgBouncer before it, a replica, two healthy workers and four short-lived."""

    def __init__(self, world, root, helper, seconds):
        self.fabric = world.enter_context(Fabric())
        self.primary, self.pool = self.fabric.database("db", 10), self.fabric.database("pool", 11)
        self.postgres = postgres.Postgres(root / "postgres")
        self.postgres.primary(self.primary)
        self.postgres.pool(self.pool, self.primary)
        self.seen = Seen(helper)
        self._lives = {name: itertools.count(1) for name in (*WORKERS, "replica")}
        self._macs = {name: macs(number) for name, (number, *_how) in WORKERS.items()}
        self._macs["replica"] = macs(94)
        self._names = []  # of all lives
        self._life, self._died = {}, {}  # a machine's life now; a life to when it ended
        self._replicas = []  # (when it was created, name)
        self._machines = {}
        for number, (name, host) in enumerate((("steady", self.primary), ("calm", self.pool)), 50):
            machine = self.fabric.worker(name, number, next(macs(number)))
            self._machines[name] = machine, host
        for name, (number, is_pooled, is_kept) in WORKERS.items():
            machine = self.fabric.worker(name, number, next(self._macs[name]))
            self._machines[name] = machine, self.pool if is_pooled else self.primary
            if is_kept:
                world.enter_context(Confirming(self._machines[name][1], machine.ip))
            self._begin(name)
        machine = self.fabric.worker("replica", 94, next(self._macs["replica"]))
        self._machines["replica"] = machine, self.primary
        self._begin("replica")
        poll("the replica follows", 60, lambda: self.postgres.followed(self._replicas[0][1])[0])
        self.helpers = Helpers(helper, root)
        for machine in (self.primary, self.pool):
            self.helpers.begin(machine)
        for name in ("steady", "calm"):
            machine, host = self._machines[name]
            self.postgres.steady(machine, host.ip, self._port(host), seconds, name)

    def _port(self, host):
        return postgres.POOL_PORT if host is self.pool else postgres.PORT

    def _begin(self, name):
        machine, host = self._machines[name]
        life = self._life[name] = f"{name}-{next(self._lives[name])}"
        if name == "replica":
            self._replicas.append((time.time(), life))
            self.postgres.replica(machine, self.primary, life)
        else:
            self._names.append(life)
            self.postgres.client(machine, host.ip, self._port(host), life)

    def recreate(self, name):
        """Let one machine die silently, and another one have its address."""
        machine, host = self._machines[name]
        self._died[self._life[name]] = time.time()
        self._machines[name] = self.fabric.recreate(machine, next(self._macs[name])), host
        self._begin(name)
        self.seen.re_created += 1

    def result(self):
        """Count what was seen; the first life of each is not part of it."""
        seen, first = self.seen, len(WORKERS)
        for name in self._names[first:]:
            told = self.postgres.told(name)
            seen.lives += 1
            died = self._died.get(name, math.inf)
            seen.failed += sum(
                not is_connected and ended < died for is_connected, _began, ended in told
            )
            ends = [ended for is_connected, _began, ended in told if is_connected]
            seen.connected_s.append(ends[0] - told[0][1] if ends else math.inf)
        for created, name in self._replicas[1:]:
            streams, failed = self.postgres.followed(name)
            seen.replica_failed += failed
            seen.replica_s.append(streams - created if streams else math.inf)
        for name in ("steady", "calm"):
            seen.steady_s += self.postgres.latencies(name)
            log = (self.postgres.root / f"{name}.log").read_text()
            seen.steady_failed += log.count("error:")
        seen.healed = len(self.helpers.told("healed"))
        return seen


def play(helper, seconds=120, calm=False):
    """Play PostgreSQL for a while, re-creating nothing if calm; return what was seen."""
    with contextlib.ExitStack() as world:
        root = Path(world.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="d")))
        scene = _Scene(world, root, helper, seconds)
        names, began = itertools.cycle([*WORKERS, "replica"]), time.monotonic()
        due = math.inf if calm else began + 2
        while due < began + seconds - EVERY_S:
            time.sleep(max(0, due - time.monotonic()))
            scene.recreate(next(names))
            due += EVERY_S
        time.sleep(max(0, began + seconds + 1 - time.monotonic()))
        return scene.result()
