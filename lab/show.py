"""Play one scene and print each change of the database's entry. For docs/why.md.

python3 lab/private.py .venv/3008/bin/python -m lab.show CAUSE CURE

CAUSE: plain, upper-layer, balanced, duplicate, "plain IPv6", "upper-layer IPv6".
CURE, applied after three seconds: nothing, or a command such as "ip neigh flush all",
"arp.revalidate", or "ip neigh change {ip} dev eth0 nud stale".
Instead of both: stay, which shows that idle STALE entries stay; or harm RUNS, which counts the
packets that a healthy flow loses on each fabric in that many runs, with PROBE and with
arp.revalidate.
"""

import contextlib
import sys
import time

from lab import cures, film, scenes, table
from lab.fabric import Fabric
from lab.machines import refuse_outside
from lab.observe import Attempts

WATCH_S = 16


def show(cause, cure):
    """Play one outage; print the entry whenever it changes, and how connecting went."""
    with contextlib.ExitStack() as scene:
        began, outage = scenes.break_network(scene, cause, "")
        attempts = scene.enter_context(Attempts(outage.client, outage.database_ip))
        print(f"  0.0 s  new worker {outage.client.mac}, database's entry:")
        typed, before = cure == cures.NOTHING, None
        while time.monotonic() < began + WATCH_S:
            row = outage.database.neighbour(outage.worker_ip) or {}
            now = f"{' '.join(row.get('state', ['(none)']))} {row.get('lladdr', '')}"
            if now != before:
                print(f"{time.monotonic() - began:5.1f} s  {now}", flush=True)
                before = now
            if not typed and time.monotonic() > began + scenes.CURE_AFTER_S:
                typed = True
                print(f"{time.monotonic() - began:5.1f} s  # {cure}", flush=True)
                _type(outage, cure)
            time.sleep(0.05)
        attempts.close()
        works = attempts.works_since()
        print("connections " + (f"work after {works - began:.1f} s" if works else "never work"))


def _is_typed(cure):
    """Tell whether ``show`` can apply a cure."""
    words = cures.NOTHING, cures.ONE_BY_ONE, cures.FLUSH, cures.REVALIDATE
    return cure in words or cure.startswith("ip ")


def _type(outage, cure):
    if cure.startswith("ip "):
        outage.database.do(cure.format(ip=outage.worker_ip))
    else:
        cures.apply(outage.database, cure)


def stay():
    """Count idle STALE entries for 40 s, with ``gc_stale_time`` 1 s."""
    with Fabric() as fabric:
        database = fabric.database("db", 10)
        database.set("gc_stale_time", 1)
        database.set("base_reachable_time_ms", 2000)
        for number in range(50, 60):
            entry = f"10.0.1.{number} lladdr 02:00:00:00:00:{number} dev eth0 nud stale"
            database.do(f"ip neigh add {entry}")
        for second in range(0, 41, 10):
            left = len(database.do("ip -4 neigh show nud stale").splitlines())
            print(f"{second:3} s  {left} STALE entries", flush=True)
            time.sleep(10 if second < 40 else 0)
    print("They are collected only above gc_thresh1 (128) entries, counted over all namespaces.")


def harm(runs):
    """Print what healthy flows lost in all runs together, with PROBE and with arp.revalidate."""
    played = [
        (scenes.harm, (kind, cure, 1))
        for _run in range(runs)
        for kind in film.FABRICS
        for cure in (cures.PROBE, cures.REVALIDATE)
    ]
    together = {}
    for seen in film.flows(played):
        flow = together.setdefault((seen["kind"], seen["cure"]), {**seen, "sent": 0, "lost": 0})
        flow["sent"], flow["lost"] = flow["sent"] + seen["sent"], flow["lost"] + seen["lost"]
        flow["worst_ms"] = max(flow["worst_ms"], seen["worst_ms"])
    flows = together.values()
    print(table.harm_table(flows, cures.available()))
    print(f"{runs} flows in each field together, {min(flow['sent'] for flow in flows):,} packets.")


if __name__ == "__main__":
    refuse_outside()
    if sys.argv[1:] == ["stay"]:
        stay()
    elif len(sys.argv) == 3 and sys.argv[1] == "harm":
        harm(int(sys.argv[2]))
    elif len(sys.argv) == 3 and sys.argv[1] in film.CAUSES and _is_typed(sys.argv[2]):
        show(*sys.argv[1:])
    else:
        sys.exit(__doc__)
