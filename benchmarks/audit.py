"""How long an audit waits, and what it needs, with minions that answer after 0.1 s. No daemons.

    .venv/3008/bin/python -m benchmarks.audit [machines percent_down]

200 databases with 500 entries each, one entry in a thousand wrong; Salt's default timeouts. The
clock is simulated, CPU and memory are real.
"""

import heapq
import pathlib
import random
import resource
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/unit/fleet"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "_utils"))

import simulated
from arp_engine.fleet.audit import Audit
from arp_engine.fleet.returns import Returns

from benchmarks.fleet import address, mac, row

SIZES = ((10_000, 0), (10_000, 1), (20_000, 0), (20_000, 1))
DATABASES, NEIGHBOURS = 200, 500
ANSWER_S = 0.1
TIMEOUT_S, GATHER_JOB_TIMEOUT_S = 5, 10


class _Master(simulated.Master):
    """Its minions answer later, and those that are down do not."""

    def __init__(self, tables, interfaces, down):
        super().__init__(tables, interfaces)
        self._down, self._coming, self._jobs, self._number = down, [], {}, 0

    def publish(self, tgt, _tgt_type, fun, _arg, _kwarg):
        jid = str(len(self._jobs))
        self._jobs[jid] = {}
        answers = self.answers.get(fun, {})
        for name in tgt:
            if name in answers and name not in self._down:
                self._number += 1  # the order of those that come at the same time
                coming = (self.now + ANSWER_S, self._number, jid, name, answers[name])
                heapq.heappush(self._coming, coming)
        return {"jid": jid, "minions": list(tgt)}

    def events(self, wait_s):
        self.now += wait_s
        while self._coming and self._coming[0][0] <= self.now:
            _, _, jid, name, content = heapq.heappop(self._coming)
            self._jobs[jid][name] = content
            yield jid, name, content

    def cached(self, jid):
        return dict(self._jobs[jid])


def measure(machines, percent_down):
    """Print one line."""
    chance = random.Random(1)
    tables = {
        f"db{number}": [
            row(chance.randrange(machines), 4, chance.random() < 0.001) for _ in range(NEIGHBOURS)
        ]
        for number in range(DATABASES)
    }
    interfaces = {
        f"web{number}": simulated.interfaces(mac(number), address(number, 4), address(number, 6))
        for number in range(machines)
    }
    for number, name in enumerate(tables, 1):
        interfaces[name] = simulated.interfaces(mac(2**30 + number), f"172.20.0.{number}")
    down = {f"web{number}" for number in range(machines) if number % 100 < percent_down}
    master = _Master(tables, interfaces, down)
    began = time.process_time()
    returns = Returns(master, TIMEOUT_S, GATHER_JOB_TIMEOUT_S, master.clock)
    answer = Audit(master, returns, simulated.parsed()).answer()
    cpu_s = time.process_time() - began
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert len(answer["databases"]) == DATABASES
    assert len(answer["silent"]) == len(down)
    assert 0 < len(answer["wrong"]) < DATABASES * NEIGHBOURS / 500
    print(f"{machines:9} {percent_down:5} {master.now:7.0f} {cpu_s:6.1f} {mb:6.0f}")


if __name__ == "__main__":
    if sys.argv[1:]:
        measure(*map(int, sys.argv[1:]))
    else:
        print(f"{'machines':>9} {'% down':>5} {'wait s':>7} {'CPU s':>6} {'MB':>6}", flush=True)
        for size in SIZES:
            words = [sys.executable, "-m", "benchmarks.audit", *map(str, size)]
            subprocess.run(words, check=True)
