"""What runs beside a database, and what its clients have seen: for postgres_scene, redis_scene."""

import itertools
import math
import shutil
import subprocess
from dataclasses import dataclass, field

from lab.machines import poll
from lab.saltstack import REPOSITORY, SENTINEL, Minion

NOTHING, SCHEDULE, SENTINEL_ONLY, BOTH = "nothing", "the schedule", "the sentinel", "both"
HELPERS = NOTHING, SCHEDULE, SENTINEL_ONLY, BOTH
SCHEDULE_S = 60  # the shortest that the formula allows
EVERY_S = 8  # one machine after the other is re-created
PRIVATE_RUN = "mkdir -p /run/arp_hygiene; mount -t tmpfs none /run/arp_hygiene; exec"


@dataclass
class Seen:
    """What clients have seen; times in seconds."""

    helper: str
    re_created: int = 0
    lives: int = 0  # of short-lived workers, which connect at once
    failed: int = 0  # transactions and connections of machines that live
    connected_s: list = field(default_factory=list)  # each first connection, from the first attempt
    replica_s: list = field(default_factory=list)  # from its re-creation until it follows
    replica_failed: int = 0  # its connections
    masters_died: int = 0
    failovers: int = 0
    steady_s: list = field(default_factory=list)  # each transaction of the healthy workers
    steady_failed: int = 0
    healed: int = 0


def make_directory(root, user):
    """Make a directory of a user's, which that user can reach."""
    root.mkdir(parents=True)
    shutil.chown(root, user)
    for place in (root, *root.parents):
        place.chmod(place.stat().st_mode | 0o111)


def percentile(values, share):
    """Return a percentile; infinite where there is no value."""
    if not values:
        return math.inf
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Helpers:
    """What runs on the database hosts: nothing, a minion with a schedule, the sentinel, or both."""

    def __init__(self, helper, root):
        self._helper, self._root, self._said = helper, root, []
        self._numbers = itertools.count()

    def begin(self, machine):
        """Start them on a machine; return when they work."""
        name = f"{machine.label}-{next(self._numbers)}"
        if self._helper in (SENTINEL_ONLY, BOTH):
            self._sentinel(machine, self._root / f"{name}.sentinel")
        if self._helper in (SCHEDULE, BOTH):
            self._schedule(machine, self._root / name)

    @staticmethod
    def _schedule(machine, root):
        job = {"function": "arp.revalidate", "seconds": SCHEDULE_S, "run_on_start": True}
        minion = Minion(
            machine,
            root,
            master_type="disable",
            file_client="local",
            module_dirs=[str(REPOSITORY)],
            schedule={"arp": job},
            log_level_logfile="info",
            mine_enabled=False,
        )
        minion.start()
        began = "Running scheduled job: arp"
        poll("the schedule runs", 60, lambda: began in minion.log(), every_s=0.2)

    def _sentinel(self, machine, told):
        words = ["sh", "-c", f'{PRIVATE_RUN} "$@"', "sh", *SENTINEL, '{"dev": "eth0"}']
        with open(told, "w", encoding="utf-8") as out:
            machine.start(*words, stdout=out, stderr=subprocess.STDOUT)
        self._said.append(told)
        poll("the sentinel is running", 40, lambda: "watching" in told.read_text())

    def told(self, kind):
        """Return the sentinels' lines of one kind."""
        lines = itertools.chain(*(file.read_text().splitlines() for file in self._said))
        return [line for line in lines if line.startswith(f"{kind}: ")]


def macs(number):
    """Return the MACs of one machine, life after life."""
    return (f"02:00:00:00:{number:02x}:{life:02x}" for life in itertools.count(1))
