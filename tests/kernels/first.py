"""The first connection of a worker that is made anew, again and again, on a network of the lab.

The kernel's settings are as they come. Each round makes the worker anew, so that the database holds
the MAC of one who is dead, and connects by IPv4 and by IPv6: two entries, each wrong.
"""

import contextlib
import functools
import itertools
import json
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from arp_engine.sentinel.question_queue import PROBE_INTERVAL_S
from stage import FIREWALL

from lab.causes import Confirming, aged
from lab.cures import sentinel
from lab.fabric import Fabric
from lab.machines import poll
from lab.observe import PORT, Service, connect
from lab.scenes import LEARNT_S

ROUNDS = 5
REST_S = PROBE_INTERVAL_S + 1  # one address is not asked about sooner
START_S = 200  # the engine's import, there: 20 s, and minutes on a busy host
CLOSED = PORT + 1
PLAIN, VOUCHED = "plain", "vouched"
IN, OUT = "incoming", "outgoing"
_macs = (f"02:00:00:00:02:{number:02x}" for number in itertools.count())


class Pair:
    """A worker, and what the database holds of him: who connects to whom, and why it is wrong."""

    def __init__(self, network, number, cause, way, versions=(4, 6)):
        self._network, self._cause, self._way = network, cause, way
        self._versions = versions
        self._worker = network.fabric.worker(f"worker{number}", number, next(_macs))
        self._forgotten_at = 0.0
        self.without = {version: [] for version in versions}
        self.seen = {version: [] for version in versions}

    def play(self, results):
        """Make him anew, and at once let him connect, or be called."""
        with self._broken(), self._serving(), ThreadPoolExecutor() as pool:
            tries = {version: pool.submit(self._connect, version) for version in results}
            for version, took in tries.items():
                results[version].append(took.result())
        self._forgotten_at = time.monotonic() + REST_S

    def works(self):
        """Wait until he can connect."""
        for version in self._versions:
            ours, his = self._addresses(version)
            poll(f"{his} connects", 40, functools.partial(connect, self._worker, ours))

    def lines(self):
        """Yield whether each family is as it should be, and what was seen."""
        for version in self._versions:
            well = all(self.seen[version]) and not any(self.without[version])
            what = f"{self._cause} v{version}, {self._way} first connection{self._network.where}"
            seen, without = told(self.seen[version]), told(self.without[version])
            yield well, f"{what}: {seen}; without the sentinel: {without}"

    def knock(self, port):
        """Make him anew; return what came of his knocking at a port, by each family."""
        with self._broken(), ThreadPoolExecutor() as pool:
            tries = [pool.submit(self._connect, version, port) for version in self._versions]
            return [took.result() for took in tries]

    def _addresses(self, version):
        database, worker = self._network.database, self._worker
        return (database.ip, worker.ip) if version == 4 else (database.ip6, worker.ip6)

    def _connect(self, version, port=PORT):
        database, worker = self._addresses(version)
        if self._way == IN:
            return connect(self._worker, database, port)
        return connect(self._network.database, worker, port)

    @contextlib.contextmanager
    def _serving(self):
        """Whoever is called has a service; the database always has."""
        with contextlib.ExitStack() as services:
            for version in self._versions if self._way == OUT else ():
                services.enter_context(Service(self._worker, self._addresses(version)[1]))
            yield

    @contextlib.contextmanager
    def _broken(self):
        """Let them work, then let the worker die and be made anew."""
        database = self._network.database
        if self._way == OUT:
            time.sleep(max(0, self._forgotten_at - time.monotonic()))
        self.works()
        with contextlib.ExitStack() as confirming:
            for version in self._versions:
                his = self._addresses(version)[1]
                if self._cause == VOUCHED:
                    confirming.enter_context(Confirming(database, his))
                else:
                    aged(database, his)
            time.sleep(LEARNT_S)
            self._worker = self._network.fabric.recreate(self._worker, next(_macs))
            yield


def told(tries):
    """Say in a few words how many connected and how fast."""
    took_ms = sorted(1000 * took for took in tries if took)
    if not took_ms:
        return f"0 of {len(tries)}"
    median, worst = statistics.median(took_ms), took_ms[-1]
    return f"{len(took_ms)} of {len(tries)}, median {median:.0f} ms, worst {worst:.0f} ms"


class Network:
    """A database on a fabric, its services, and later its sentinel."""

    def __init__(self, scene, name, kind, where=""):
        self.fabric, self.where = scene.enter_context(Fabric(name, kind)), where
        self.database = self.fabric.database("db", 10)
        for ip in (self.database.ip, self.database.ip6):
            scene.enter_context(Service(self.database, ip))

    def play(self, pairs):
        """Play each pair without the sentinel, then with it; yield what was seen."""
        for pair in pairs:
            pair.play(pair.without)
        sentinel(self.database, START_S)
        for pair in pairs:
            pair.works()
        time.sleep(REST_S)
        for pair in pairs * ROUNDS:
            pair.play(pair.seen)
        for pair in pairs:
            yield from pair.lines()


def first_connections():
    """Every way of being wrong, both directions, both families; then behind a firewall."""
    with contextlib.ExitStack() as scene:
        network = Network(scene, "a", "answers")
        pairs = [
            Pair(network, 91 + number, cause, way)
            for number, (cause, way) in enumerate(itertools.product((VOUCHED, PLAIN), (IN, OUT)))
        ]
        yield from network.play(pairs)
        yield _firewall(scene, network, pairs[0])


def a_bad_fabric():
    """No request to one alone is answered, and every second broadcast is lost."""
    with contextlib.ExitStack() as scene:
        network = Network(scene, "m", "mute", ", every 2nd broadcast lost and no unicast answered")
        yield from network.play([Pair(network, 91, VOUCHED, IN, versions=(4,))])


def _firewall(scene, network, pair):
    """A firewall that trusts lo; behind it a listener on a port that no rule opens."""
    database = network.database
    for ip in (database.ip, database.ip6):
        scene.enter_context(Service(database, ip, CLOSED))
    before = pair.knock(CLOSED)
    with database.inside():
        subprocess.run(["nft", "-f", "-"], input=FIREWALL, text=True, check=True)
    knocked = pair.knock(CLOSED) + pair.knock(CLOSED)
    by_lo = _passed_by_lo(database)
    opened = pair.knock(PORT)
    well = all(before) and not any(knocked) and not by_lo and all(opened)
    return (
        well and _passed_by_lo(database) > 0,
        f"a port that the firewall closes: {told(knocked)} (before the firewall {told(before)}), "
        f"{by_lo} SYNs sent once more; the open one: {told(opened)}, {_passed_by_lo(database)}",
    )


def _passed_by_lo(database):
    """Return how many packets the firewall has let in by lo: what was sent once more."""
    rules = json.loads(database.do("nft -j list chain inet filter input"))["nftables"]
    [count] = [
        word["counter"]["packets"]
        for rule in rules
        for word in rule.get("rule", {}).get("expr", [])
        if "counter" in word
    ]
    return count
