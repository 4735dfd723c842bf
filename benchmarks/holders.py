"""Whether anybody who is right loses his entry: thousands of addresses that two hosts answer for.

    python3 lab/private.py .venv/3008/bin/python -m benchmarks.holders [--trials N]

plays 30 rows of 334 trials: 5 scenes, 3 cures, 2 families, some 11 minutes. Hundreds of addresses
are played at a time, each with hosts of its own.

In each trial the table holds the right MAC of a living host, and another host answers for the same
address, at once. The right host pauses for 0.1 to 5 s (a virtual machine that is migrated), or is
merely late. The entry counts as lost unless the right MAC stands in it from one second after its
host answers again until the end of the trial. What is seen of the table is iproute2's.

==========  =====================================================================================
proxy       one router answers for every address there is (proxy ARP) and forwards nothing; its
            SYNs in the host's name (once it pauses) carry its MAC
forwarding  the same, and it forwards: the host's packets carry its MAC all the time
twin        each address has a second host of its own (a clone)
vrrp        a virtual MAC moves from one router to another, which takes 0.1 to 5 s; the packets of
            both carry their own MACs
moving      a virtual address moves (failover): its former node is silent from then on; the entry
            must follow
lateN       a twin, and the right host answers N ms late
==========  =====================================================================================
"""

import argparse
import json
import random
import subprocess
import sys
import time

from benchmarks.guarded import Guard, Server
from lab import cable
from lab.machines import refuse_outside, run

PROXY = "02:00:00:00:00:99"
SETTLED_S = 1.0  # after the right host answers again, its MAC stands in the entry
SLACK_S = 0.15  # locktime is counted in the kernel's ticks, and a look at the table takes a while
SAMPLE_S = 0.05
PROXIES, ALWAYS = ("proxy", "forwarding"), (-1e6, 1e6)
RATE_PPS = 500  # of a run
SYN_S = 0.02  # from the begin of a trial to the first SYN of the other host
LONGEST_PAUSE_S = 5.0
BATCH = 350  # trials at a time: above gc_thresh2 (512 of all namespaces) the kernel collects
DB = {4: "10.9.0.1", 6: "2001:db8::1"}
VIRTUAL = "00:00:5e:00:01"  # of VRRP (RFC 9568, 7.3)


def address(number, family):
    """Return one of the addresses that are held."""
    if family == 4:
        return f"10.9.{1 + (number >> 8)}.{number & 255}"
    return f"2001:db8::1:{number + 1:x}"


def mac(kind, number):
    """Return the MAC of one host."""
    return f"02:{kind:02x}:00:00:{number >> 8:02x}:{number & 255:02x}"


def plan(scene, family, count, by_sentinel, late_s=None):
    """Return ``(hosts, address to (right MAC, time from which it must stand))``."""
    hosts, right = [], {}
    others = {"mac": PROXY, "addresses": None, "delay_s": 0.0, "silent": [], "syns": []}
    for number in range(count):
        name = address(number, family)
        begin = 0.5 + random.uniform(0, 0.5)
        pause_s = 0.0 if late_s is not None else random.uniform(0.1, LONGEST_PAUSE_S)
        silent = [(begin, begin + pause_s)] if pause_s else []
        if scene == "moving":
            silent, pause_s = [(begin, 1e6)], 0.0
        times = range(8) if scene == "forwarding" else (0.0, 1.0, 3.0)
        syns = [(begin + SYN_S + at, name) for at in times] if by_sentinel else []
        held = {"mac": mac(1, number), "addresses": [name], "delay_s": late_s or 0.0}
        if scene == "vrrp":
            held["mac"] = f"{VIRTUAL}:{number & 255:02x}"
        hosts.append({**held, "silent": silent, "syns": []})
        twin = {"mac": mac(2, number), "addresses": [name], "delay_s": 0.0, "syns": syns}
        if scene in PROXIES:
            others["syns"] += syns
        elif scene == "vrrp":  # both routers' own MACs; neither answers with it
            for kind, some in ((2, syns[:1]), (3, syns[1:])):
                hosts.append({**twin, "mac": mac(kind, number), "syns": some, "silent": [ALWAYS]})
        else:
            hosts.append({**twin, "silent": [(-1e6, begin)] if scene == "moving" else []})
        # a run alone asks about each when its turn comes: four frames, and those before are
        # looked back at meanwhile
        settled_s = SETTLED_S if by_sentinel or scene != "moving" else 3.0 + 5 * count / RATE_PPS
        answers_s = SYN_S + late_s if late_s and by_sentinel else pause_s  # when it can be heard
        holder = mac(2, number) if scene == "moving" else held["mac"]
        right[name] = (holder, begin + answers_s + settled_s)
    return hosts + [others] * (scene in PROXIES), right


def _first(scene, number):
    """Return the MAC that an entry has at the begin of a trial."""
    return f"{VIRTUAL}:{number & 255:02x}" if scene == "vrrp" else mac(1, number)


def table(family):
    """Return address to MAC, as iproute2 shows it."""
    rows = json.loads(run("ip", f"-{family}", "-j", "neigh", "show", "dev", "db0") or "[]")
    return {row["dst"]: row.get("lladdr", "") for row in rows}


def trials(scene, family, count, how, late_s=None):
    """Play ``count`` trials at once; return how many right entries were lost, and some of them."""
    hosts, right = plan(scene, family, count, "sentinel" in how, late_s)
    run("ip", "neigh", "flush", "dev", "db0", "nud", "all", check=False)
    entries = [
        f"neigh replace {name} lladdr {_first(scene, number)} dev db0 nud reachable"
        for number, name in enumerate(right)
    ]
    cable.ip(*entries)
    time.sleep(1.2)  # an entry that is younger than locktime takes no answer
    words = [sys.executable, "-m", "benchmarks.responder", "w0"]
    db = {"mac": cable.HOST, "4": DB[4], "6": DB[6], "link-local": "fe80::1"}
    voice = subprocess.Popen(
        ["ip", "netns", "exec", "worker", *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    voice.stdin.write(json.dumps({"db": db, "hosts": hosts}) + "\n")
    voice.stdin.flush()
    if voice.stdout.readline() != "up\n":  # scapy has built some 2,000 frames
        raise SystemExit("the other hosts did not start")
    began = time.monotonic()
    voice.stdin.write(f"{began}\n")
    voice.stdin.flush()
    asks = []
    if "revalidate" in how:
        time.sleep(1.05 if scene == "moving" else 0.6)  # while some pause, or after all moved
        asks = [subprocess.Popen([sys.executable, "-c", REVALIDATE, str(family), str(RATE_PPS)])]
    lost = {}
    end_s = LONGEST_PAUSE_S + 1.0 + SETTLED_S + 4.0 if late_s is None else 6.0
    while (now_s := time.monotonic() - began) < end_s:
        seen = table(family)
        for name, (wanted, from_s) in right.items():
            if now_s > from_s + SLACK_S and seen.get(name) != wanted:
                lost.setdefault(name, (round(now_s - from_s, 2), seen.get(name)))
        time.sleep(SAMPLE_S)
    for each in asks:  # which look back for ten seconds after their last change
        each.wait(60)
    gone = list(lost)
    for _ in range(2):  # the trial may end while the other host is asked, which has the entry then
        still = table(family)
        gone = [name for name in gone if still.get(name) != right[name][0]]
        time.sleep(SETTLED_S)
    voice.stdin.close()
    voice.wait(10)
    return len(lost), len(gone), list(lost.items())[:3]


REVALIDATE = """
import sys; sys.path.insert(0, "_utils")
from arp_engine.resolve import revalidate
from arp_engine.table import selectors
family = {"4": "ipv4", "6": "ipv6"}[sys.argv[1]]
chosen = selectors.parse_selectors(verb="revalidate", family=family)
revalidate.revalidate(chosen, float(sys.argv[2]))
"""


def main():
    """Play all scenes, and print a table."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--trials", type=int, default=334, help="of each scene, cure and family")
    asked.add_argument("--scenes", default="proxy,forwarding,twin,vrrp,moving")
    asked.add_argument("--how", default="sentinel,revalidate,both")
    asked.add_argument("--family", default="4,6")
    asked = asked.parse_args()
    refuse_outside()
    cable.lay()
    cable.ip(f"address add {DB[4]}/16 dev db0")
    print("| scene | cure | family | trials | lost | lost for good |\n|---|---|---|---|---|---|")
    total = failed = 0
    with Server(DB[4]), Server(DB[6]):
        for scene in asked.scenes.split(","):
            late_s = int(scene[4:]) / 1000 if scene.startswith("late") else None
            for how in asked.how.split(","):
                for family in map(int, asked.family.split(",")):
                    ways = ("sentinel", "revalidate") if how == "both" else (how,)
                    total, failed = (
                        total + asked.trials,
                        failed + _row(scene, how, ways, family, asked.trials, late_s),
                    )
    print(f"\n{failed} of {total} right entries were lost.")
    return bool(failed)


def _row(scene, how, ways, family, count, late_s):
    """Play one row in batches, print it, and return how many were lost."""
    lost = for_good = 0
    examples = []
    kind = "twin" if late_s is not None else scene
    for first in range(0, count, BATCH):
        size = min(BATCH, count - first)
        if "sentinel" in ways:
            with Guard():
                came = trials(kind, family, size, ways, late_s)
        else:
            came = trials(kind, family, size, ways, late_s)
        lost, for_good, examples = lost + came[0], for_good + came[1], came[2]
    print(
        f"| {scene} | {how} | IPv{family} | {count} | {lost} | {for_good} | {examples}", flush=True
    )
    return lost


if __name__ == "__main__":
    sys.exit(main())
