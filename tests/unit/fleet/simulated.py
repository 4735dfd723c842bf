"""A fleet in memory: a master whose minions answer jobs from tables; whole runs on it."""

from arp_engine.fleet import arguments, heal_run, inventory, targets
from arp_engine.fleet.audit import Audit
from arp_engine.fleet.returns import Returns
from arp_engine.fleet.settings import Settings


class Master:
    """What ``arp_engine.fleet.audit`` and ``returns`` ask, without Salt.

    ``answers``: function to minion to what it returns; a callable gets the job's keywords.
    """

    interruptions, failures = (KeyboardInterrupt,), (RuntimeError,)

    def __init__(self, tables, interfaces, revalidate=None, grains=None):
        self.answers = {
            "arp.list": tables,
            "network.interfaces": interfaces,
            "arp.revalidate": revalidate or {},
            "test.ping": dict.fromkeys({*tables, *interfaces}, True),
        }
        self.grains = grains or {}
        self.unknown = set()  # minions that every target may mean
        self.now, self.sent, self.reports = 0.0, [], []
        self._cache, self._bus = {}, []

    def clock(self):
        return self.now

    def accepted(self):
        return set(self.answers["test.ping"])

    def match(self, tgt, _tgt_type):
        if isinstance(tgt, list):
            return set(tgt)
        return set(self.answers["arp.list"] if tgt == "db*" else self.answers["test.ping"])

    def undecided(self, _tgt, _tgt_type):
        return dict.fromkeys(self.unknown, targets.UNDECIDED)

    def named(self, tgt, tgt_type):
        return targets.named(tgt, tgt_type, lambda _: [])

    def cached_minions(self):
        return set(self.grains)

    def cached_hosts(self, names):
        return {name: self.grains[name] for name in names if name in self.grains}

    def publish(self, tgt, _tgt_type, fun, _arg, kwarg):
        jid = str(len(self.sent))
        self.sent.append((list(tgt), fun, kwarg))
        answers = self.answers.get(fun, {})
        self._cache[jid] = {
            name: answers[name](kwarg) if callable(answers[name]) else answers[name]
            for name in tgt
            if answers.get(name) is not None
        }
        self._bus += [(jid, name, content) for name, content in self._cache[jid].items()]
        return {"jid": jid, "minions": list(tgt)}

    def events(self, wait_s):
        self.now += wait_s
        bus, self._bus = self._bus, []
        return bus

    def cached(self, jid):
        return self._cache[jid]

    def pause(self, seconds):
        self.now += seconds

    def progress(self, **numbers):
        self.reports.append(numbers)


DEAD, BORN = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
IP = "192.0.2.90"
AUDIT = {
    "tgt": "db*", "tgt_type": "glob", "truth": "live", "machines": "*", "machines_type": "glob",
    "networks": None, "exclude": None, "report": None, "limit": 100, "timeout": None, "batch": 200,
    "fabric": None, "sample": None,
}  # fmt: skip
HEAL = {"share": "1/3", "pause": 0, "budget": 10_000, "rate": 500, "test": False}


def row(ip=IP, mac=DEAD, **more):
    """One row as arp.list returns it."""
    return {"ip": ip, "mac": mac, "dev": "eth0", "state": "REACHABLE", "owner": "", **more}


def interfaces(mac, *ips):
    return {"eth0": {"hwaddr": mac, "up": True, "inet": [{"address": ip} for ip in ips]}}


def returned_by(master):
    return Returns(master, 5, 3, master.clock)


def audited(master, options):
    return Audit(master, returned_by(master), options)


def parsed(**options):
    return arguments.parse_all({**AUDIT, **options}, Settings())


def audit(master, **options):
    return audited(master, parsed(**options)).answer()


def heal(master, **options):
    options = parsed(**{**HEAL, **options})
    return heal_run.heal(audited(master, options), options)


def healed(kwarg):
    rows = [{"ip": ip, "dev": kwarg["dev"], "old": DEAD, "new": BORN} for ip in kwarg["ip"]]
    return {"healed": rows, "entries": []}


def grains(mac, ip, age_s):
    return inventory.from_interfaces(interfaces(mac, ip), "cached", age_s)
