"""How long the comparison of a fleet takes, and what it needs: no daemons, simulated data.

    .venv/3008/bin/python -m benchmarks.fleet [machines databases neighbours]

Without numbers: 10,000 machines, 200 databases with 500 neighbours each, and the halves and quarter
of it, each in a process of its own; one entry in a thousand is wrong.
"""

import pathlib
import random
import resource
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "_utils"))

from arp_engine.fleet import bindings, compare, html_report, inventory, summary

SIZES = ((2500, 200, 500), (5000, 200, 500), (10_000, 200, 500), (10_000, 100, 500))
HEAD = f"{'machines':>9} {'databases':>9} {'entries':>9} {'parse s':>8} {'compare s':>9} {'MB':>6}"


def mac(number):
    """Return the MAC of one machine."""
    return "02:" + ":".join(f"{number >> shift & 255:02x}" for shift in (32, 24, 16, 8, 0))


def address(number, family):
    """Return the address of one machine."""
    if family == 4:
        return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return f"2001:db8::{number + 1:x}"


def grains(number):
    """Return what the master remembers of one machine."""
    return {
        "hwaddr_interfaces": {"lo": "00:00:00:00:00:00", "eth0": mac(number)},
        "ip4_interfaces": {"lo": ["127.0.0.1"], "eth0": [address(number, 4)]},
        "ip6_interfaces": {"lo": ["::1"], "eth0": [address(number, 6), "fe80::1"]},
    }


def row(number, family, wrong):
    """Return one row of arp.list."""
    return {
        "ip": address(number, family), "mac": mac(number + 2**20 * wrong), "dev": "eth0",
        "state": "STALE", "suspect": False, "owner": "", "confirmed_s": 1.0, "used_s": 1.0,
        "updated_s": 1.0,
    }  # fmt: skip


def measure(machines, databases, neighbours):
    """Print one line."""
    chance = random.Random(1)
    told = {f"web{number}": grains(number) for number in range(machines)}
    tables = {
        f"db{number}": [
            row(chance.randrange(machines), chance.choice((4, 6)), chance.random() < 0.001)
            for _ in range(neighbours)
        ]
        for number in range(databases)
    }
    began = time.perf_counter()
    facts = {name: inventory.from_grains(each, "live", age_s=1) for name, each in told.items()}
    parsed = time.perf_counter()
    fleet = bindings.Bindings(facts, set(facts))
    verdict = compare.compare(tables, fleet)
    answer = summary.answer(summary.Findings(verdict, fleet, tables, {}))
    html_report.page(answer, time.time())
    done = time.perf_counter()
    mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert 0 < len(verdict.wrong) < databases * neighbours / 100
    print(
        f"{machines:9} {databases:9} {databases * neighbours:9} {parsed - began:8.2f} "
        f"{done - parsed:9.2f} {mb:6.0f}"
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        measure(*map(int, sys.argv[1:]))
    else:
        print(HEAD, flush=True)
        for size in SIZES:
            words = [sys.executable, "-m", "benchmarks.fleet", *map(str, size)]
            subprocess.run(words, check=True)
