"""``make soak``: whether anything grows: memory, descriptors, threads, files. MINUTES=5: shorter.

    python3 lab/private.py .venv/3008/bin/python -m benchmarks.soak [--minutes 60]

sentinel       a sentinel for so long under mixed load: healthy and re-created workers, calls to
               re-created ones, forged SYNs, changed entries, devices that come and go
notifications  a sentinel that is told of so many changes as fast as the kernel makes them
stop           a sentinel that is stopped (SIGSTOP) for so many seconds, as in a suspended machine,
               while its table changes and SYNs come; then it heals as before
runs           scheduled runs (arp_hygiene.run) in one process that has loaded a minion

Each is measured after a tenth of it and until its end. Exits with 1 where something grew by more
than its bound.
"""

import argparse
import os
import signal
import sys
import time
from collections import deque
from pathlib import Path

from benchmarks import flood
from benchmarks.guarded import (
    BORN,
    DEAD,
    Guard,
    Server,
    address,
    batch,
    call,
    connect,
    forget,
    hold_dead,
    in_worker,
    recreations,
    stage,
)
from benchmarks.minion import Minion
from lab.machines import refuse_outside, run

STATUS = Path("/run/arp_hygiene/sentinel.json")
SAMPLE_S = 5.0
#: Name to unit, and how much more than after a tenth of the time is allowed.
BOUNDS = {
    "memory": ("kB", 4096),
    "descriptors": ("", 2),
    "threads": ("", 1),  # one of Salt's own comes and goes
    "file": ("kB", 150),  # a thousand heals
}


class Watch:
    """What a process holds, over time."""

    def __init__(self, pid, file):
        self._pid, self._file, self.samples = pid, file, []

    def sample(self):
        """Look once."""
        place = Path(f"/proc/{self._pid}")
        status = dict(
            line.split(":", 1) for line in (place / "status").read_text("ascii").splitlines()
        )
        self.samples.append(
            {
                "memory": int(status["VmRSS"].split()[0]),
                "descriptors": len(os.listdir(place / "fd")),
                "threads": int(status["Threads"]),
                "file": -(-self._file.stat().st_size // 1024) if self._file.exists() else 0,
            }
        )

    def report(self, what):
        """Print a row for each figure; return whether all stayed within their bounds."""
        early, later = (
            self.samples[len(self.samples) // 10],
            self.samples[len(self.samples) // 10 :],
        )
        is_flat = True
        for name, (unit, more) in BOUNDS.items():
            most = max(sample[name] for sample in later)
            within = most <= early[name] + more
            is_flat = is_flat and within
            figures = (early[name], most, self.samples[-1][name])
            cells = [f"{figure:,} {unit}".strip() for figure in figures]
            verdict = f"+{more:,} {unit}".strip() + ("" if within else " **exceeded**")
            print(f"| {what} | {name} | {' | '.join(cells)} | {verdict} |", flush=True)
        return is_flat


def write(names, *macs):
    """Write entries, with each MAC in turn; as PERMANENT first: see ``lab.cable.fill``."""
    for mac in macs:
        for state in ("permanent", "stale"):
            batch([f"neigh replace {name} lladdr {mac} dev db0 nud {state}" for name in names])


def forge(names, rate, seconds):
    """Send SYNs in the name of these addresses, each from another MAC."""
    flood.send([flood.frame(name, flood.CLOSED) for name in names], rate, seconds, forged=True)


def flap(number):
    """Let a device come, learn a neighbour, and go."""
    run(*["ip", "link", "add", "flap", "type", "veth", "peer", "name", "flip"])
    name = f"198.18.0.{number % 250 + 2}"
    entry = f"neigh replace {name} lladdr {DEAD} dev flap nud"
    lines = ["link set flap up", "address add 198.18.0.1/24 dev flap"]
    batch([*lines, f"{entry} permanent", f"{entry} reachable"])
    run(*["ip", "link", "del", "flap"])


class Load:
    """Mixed load, in rounds."""

    def __init__(self):
        self.made = self.failed = self.rounds = 0
        self._changed = [address(20_000 + n) for n in range(100)]
        self._held = deque()  # re-created workers: one is forgotten after its heal has been told

    def flood(self):
        """Send more SYNs than can be read."""
        write(self._changed, DEAD)
        forge(self._changed, 50_000, 1)
        forget(self._changed)

    def round(self):
        """Connect, re-create, forge and change; a few seconds."""
        calm, number = address(7), self.rounds
        write([calm], BORN)
        took = [connect(calm) for _ in range(5)]
        family, state = (4, 6)[number % 2], ("stale", "reachable")[number // 2 % 2]
        caller, called = address(1000 + number, family), address(40_000 + number, family)
        hold_dead([caller, called], state)
        took += [connect(caller), call(called)]
        self._held.append([caller, called])
        if len(self._held) > 15:
            forget(self._held.popleft())
        for mac in (DEAD, BORN):  # of which notifications tell
            batch(
                [f"neigh replace {name} lladdr {mac} dev db0 nud stale" for name in self._changed]
            )
        forge(self._changed, 400, 0.2)
        forget(self._changed)
        if not number % 20:
            flap(number)
        self.made += len(took)
        self.failed += sum(seconds == float("inf") for seconds in took)
        self.rounds += 1


def beside_load(minutes):
    """A sentinel for some minutes under mixed load.

    First a flood: from then on each family's filter has 32 sockets, also where one comes later, as
    the sentinel finds more SYNs than it can read on a busy machine.
    """
    load = Load()
    with Guard() as guard:
        load.flood()
        watch = Watch(guard.pid, STATUS)
        end = time.monotonic() + 60 * minutes
        due = time.monotonic() + SAMPLE_S
        while time.monotonic() < end:
            load.round()
            if time.monotonic() >= due:
                watch.sample()
                due += SAMPLE_S
        watch.sample()
    is_flat = watch.report(f"{minutes:g} minutes, {load.made:,} connections, {load.failed} failed")
    return is_flat and not load.failed


def told_fast(count):
    """A sentinel that hears of many changes; then it heals as before."""
    names = [address(30_000 + n) for n in range(200)]
    devices = [f"link set db0 alias {word}" for word in ("a", "b")] * 10
    with Guard() as guard:
        watch = Watch(guard.pid, STATUS)
        told = 0
        while told < count:
            for _ in range(10):
                write(names, DEAD, BORN)
                batch(devices)
                told += 4 * len(names) + len(devices)
            watch.sample()
        forget(names)
        time.sleep(2)  # it takes them in turn
        watch.sample()
        took = recreations(3, 4, False, first=50_000)
    print(f"# after {told:,} notifications: {[f'{seconds * 1e3:.0f} ms' for seconds in took]}")
    return watch.report(f"{told:,} notifications") and max(took) < 1


def stopped(seconds):
    """A sentinel that does not run for a while, of which the kernel's queues overflow."""
    load = Load()
    with Guard() as guard:
        watch = Watch(guard.pid, STATUS)
        load.round()
        watch.sample()
        guard.signal(signal.SIGSTOP)
        end = time.monotonic() + seconds
        names = [address(30_000 + n) for n in range(400)]
        while time.monotonic() < end:
            write(names, *(DEAD, BORN) * 3)
            forge(names, 2000, 1)
        forget(names)
        guard.signal(signal.SIGCONT)
        took = recreations(5, 4, False, first=50_100)
        time.sleep(15)
        watch.sample()
    print(f"# stopped for {seconds:g} s, then: {[f'{each * 1e3:.0f} ms' for each in took]}")
    return watch.report(f"stopped for {seconds:g} s") and max(took) < 1


def scheduled(count):
    """Many runs in one process."""
    minion = Minion()
    names = [address(60_000 + n) for n in range(50)]
    history = Path(minion.opts["root_dir"], "var/lib/arp_hygiene/memory.json")
    watch = Watch(os.getpid(), history)
    for number in range(count):
        if not number % 100:
            write(names, BORN)
        _seconds, done = minion.call("arp_hygiene.run", ip="10.1.0.0/16")
        assert done["success"], done
        if not number % max(1, count // 100):
            watch.sample()
    return watch.report(f"{count:,} scheduled runs in one process")


def main():
    """Play all, and print a table."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--minutes", type=float, default=60)
    asked.add_argument("--notifications", type=int, default=1_500_000)
    asked.add_argument("--stop", type=float, default=180)
    asked.add_argument("--runs", type=int, default=2000)
    asked = asked.parse_args()
    refuse_outside()
    stage()
    print("| what | | after a tenth | most | at the end | allowed |\n|---|---|---|---|---|---|")
    with in_worker():
        theirs = Server("0.0.0.0"), Server("::")
    with Server("10.0.0.1"), Server("2001:db8::1"), theirs[0], theirs[1]:
        parts = [
            beside_load(asked.minutes),
            told_fast(asked.notifications),
            stopped(asked.stop),
            scheduled(asked.runs),
        ]
    return not all(parts)


if __name__ == "__main__":
    sys.exit(main())
