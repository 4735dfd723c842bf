"""The measured works: flush, list, a mixed table. Each checks that the work was done."""

from benchmarks import peers, scene
from benchmarks.race import OURS, Race

ONE_LINER = "ip neigh | awk | xargs -n1 arp -d"
LIMIT = "the kernel's limit (C)"
FLUSH, LIST = "ip neigh flush nud stale", "ip -s -j neigh, parsed"
PYROUTE2, ARP_LIST = "pyroute2", "arp -an"
FLUSH_GOALS = {100: 0.35, 1000: 0.65, 10_000: 1.05, 100_000: 1.05}
#: The largest tables that the slow get, and in how many rounds.
MOST = {ONE_LINER: 1000, PYROUTE2: 10_000, ARP_LIST: 10_000}


class Works:
    """Everything that is measured on one scene, smallest tables first.

    In that order because the kernel's hash never shrinks: after 100,000 entries a look at 100 costs
    what the empty hash costs. Both sides of a pair always see the same hash.
    """

    def __init__(self, minion, sizes, rounds):
        self.minion, self.sizes, self.rounds = minion, sizes, rounds
        self.rows = []
        self.series = {}  # (work, family) to (peer to (size to seconds))

    def run(self):
        """Measure all of it, size by size."""
        for size in self.sizes:
            for family in (4, 6):
                self._flush(size, family)
                self._list(size, family)
            if size >= 10_000:
                self._flush_told(size)
            if size == 10_000:
                self._mixed(size)
        self._growth()

    def _race(self, prepare, runners, rounds=None):
        runners = {name: runner for name, runner in runners.items() if runner}

        def ready():
            prepare()
            self._warm()

        race = Race().run(rounds or self.rounds, ready, runners)
        scene.empty()
        return race

    def _often(self, size):
        """Return how many rounds a work gets: short ones need more."""
        return self.rounds * 3 if size <= 1000 else self.rounds

    def _warm(self):
        """Warm our code: filling the table has just warmed `ip`."""
        self.minion.call("arp.flush", dev="lo")

    def _keep(self, work, size, family, race):
        for name in race.times:
            peer = self.series.setdefault((work, family), {}).setdefault(name, {})
            peer[size] = race.median(name)

    def _ours(self, size, **words):
        """Flush, and check that no entry is left."""

        def run():
            took, result = self.minion.call("arp.flush", state="STALE", **words)
            if result["flushed"] != size or len(result.get("entries", range(size))) != size:
                raise AssertionError(f"flushed {result['flushed']} of {size}: {result['kept']}")
            return took

        return run

    def _flush(self, size, family):
        orders = peers.deletes(size, family)
        runners = {
            OURS: self._ours(size),
            FLUSH: peers.ip_flush,
            "ip -batch, neigh del": lambda: peers.ip_batch(orders),
            LIMIT: peers.limit("flush", family),
        }
        race = self._race(lambda: scene.fill(size, family), runners, self._often(size))
        work = f"flush, {size:,} STALE, IPv{family}"
        self.rows.append(race.row(work, FLUSH, FLUSH_GOALS[size]))
        self._keep("flush", size, family, race)
        if size == 1000 and family == 4 and peers.ARP:
            runners = {OURS: self._ours(size), ONE_LINER: peers.one_liner}
            race = self._race(lambda: scene.fill(size), runners)
            self.rows.append(race.row(work, ONE_LINER, 1 / 300))
            del race.times[OURS]
            self._keep("flush", size, family, race)
        elif family == 4 and peers.ARP:
            self._slow("flush", size, family, {ONE_LINER: peers.one_liner})
        self._slow("flush", size, family, {PYROUTE2: peers.pyroute2_flush})

    def _slow(self, work, size, family, runners):
        """Run the slow tools on their own, a few times."""
        if size <= min(MOST[name] for name in runners):
            few = min(3, self.rounds)
            self._keep(
                work, size, family, self._race(lambda: scene.fill(size, family), runners, few)
            )

    def _flush_told(self, size):
        race = self._race(
            lambda: scene.fill(size),
            {OURS: self._ours(size, rows=True), "ip -s -s": peers.ip_flush_told},
        )
        against = "ip -s -s neigh flush nud stale"
        work = f"flush, {size:,}, every row returned"
        self.rows.append(race.row(work, "ip -s -s", 0.70, against))

    def _list(self, size, family):
        scene.fill(size, family)
        race = self._race(
            lambda: None,
            {
                OURS: lambda: self.minion.call("arp.list")[0],
                LIST: peers.ip_list,
                LIMIT: peers.limit("list", family),
            },
            self._often(size),
        )
        self._slow("list", size, family, {PYROUTE2: peers.pyroute2_list})
        if peers.ARP and family == 4:
            self._slow("list", size, family, {ARP_LIST: peers.arp_list})
        self._keep("list", size, family, race)
        self.rows.append(race.row(f"list with ages, {size:,}, IPv{family}", LIST, 0.35))

    def _mixed(self, size):
        """A mixed table, against one of the same size that is all STALE."""
        scene.slow_timers(True)

        def fill_and_flush(how):
            scene.empty()
            scene.fill(size, how=how)
            self._warm()
            return self.minion.call("arp.flush")[0]

        race = self._race(
            lambda: None,
            {
                OURS: lambda: fill_and_flush(scene.MIXED),
                "stale": lambda: fill_and_flush(("nud stale",)),
            },
        )
        scene.slow_timers(False)
        work = f"flush, {size:,} mixed: seven states, some with owners"
        self.rows.append(race.row(work, "stale", 1.3, "arp.flush, all STALE"))

    def _growth(self):
        """Measure how much longer an entry takes in a large table."""
        flush = self.series["flush", 4]
        if 100_000 not in flush[OURS]:
            return
        race = Race()
        for name, size in ((OURS, 100_000), ("small", 10_000)):
            race.times[name] = [flush[OURS][size] / size]
        note = ""
        if LIMIT in flush:
            grown = flush[LIMIT][100_000] / flush[LIMIT][10_000] / 10
            note = f"in C: {grown:.2f}"
        work = "flush, time an entry in 100,000"
        self.rows.append(race.row(work, "small", 1.15, "in 10,000", note))
