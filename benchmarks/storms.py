"""New workers while something bad goes on: a rack has died, SYNs are forged, tables are large.

``python -m benchmarks.storms`` prints the table; ``make bench`` includes it. Each client gives up
after one second. The sentinel's frames are counted by a packet socket at the other end of the
cable, its CPU time by the kernel. ``before``: what was measured before the sentinel was made for
whole fleets, as numbers of failed connections.
"""

import contextlib
import itertools
import socket
import struct
import sys
import time
from pathlib import Path

from pyroute2.netlink import NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_NEWNEIGH

from benchmarks import guarded
from benchmarks.flood import CLOSED, Flood, frame
from benchmarks.guarded import (
    BORN,
    DEAD,
    PORT,
    Guard,
    Server,
    address,
    batch,
    call,
    connect,
    forget,
    hold_dead,
    in_worker,
    stage,
)
from benchmarks.mass import Counter
from lab.bare import missing
from lab.machines import refuse_outside

PATIENCE_S, EVERY_S = 1.0, 2.0
FORGED = [*itertools.product(("living", "dead", "unknown"), (PORT, CLOSED), (4, 6))]
FORGED_BEFORE = {(300, "living", PORT, 4): "8 of 8", (50_000, "living", PORT, 4): "0 of 80"}
PAUSE_S = 0.05  # between two new workers
POOL = 5500  # the port of pooled connections
PROTECTED = "10.64.0.0"  # entries that are not ours begin here
#: Hosts that do not know the connection: most answer with a reset, behind a firewall they do not.
SILENT = """
table inet silent {
  chain in { type filter hook input priority 0;
    tcp flags & (syn|ack) == syn|ack tcp dport 4000 drop
  }
}
"""


class Row:
    """One row: the connections while a sentinel runs, its frames and its CPU time."""

    def __init__(self, what, before, goal_ms, cpu_goal=None, is_for_all=False):
        """The goal is for 99 %, unless ``is_for_all``."""
        self.what, self.before = what, before
        self._goal_ms, self._cpu_goal, self._is_for_all = goal_ms, cpu_goal, is_for_all
        self.took = []

    @contextlib.contextmanager
    def measured(self, guard, counter):
        """Measure what happens meanwhile."""
        began, cpu_s, frames = time.monotonic(), guard.cpu_s(), counter.frames
        yield
        lasted_s = time.monotonic() - began
        self._cpu = 100 * (guard.cpu_s() - cpu_s) / lasted_s
        self._frames = (counter.frames - frames) / lasted_s

    def text(self):
        """Return the row."""
        goal = f"0; {self._goal_ms} ms" + (f"; {self._cpu_goal} %" if self._cpu_goal else "")
        cells = guarded.summary(self.took).split(" | ")
        is_cheap = not self._cpu_goal or self._cpu <= self._cpu_goal
        counted = [max(self.took)] if self._is_for_all else self.took
        is_met = guarded.verdict(counted, self._goal_ms) if is_cheap else "**missed**"
        cells += [f"{self._frames:.0f}", f"{self._cpu:.1f} %", goal, is_met]
        return f"| {self.what} | {self.before} | {' | '.join(cells)} |"


HEAD = (
    "| new workers while | before | failed | median | 99 % | worst | frames/s | CPU | goal | |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)


def one_by_one(names, pause_s=PAUSE_S):
    """Return the seconds until each has its word."""
    took = []
    for name in names:
        took.append(connect(name, patience_s=PATIENCE_S))
        time.sleep(pause_s)
    return took


# --- forged SYNs


def forged(rate, kind, port, family, before, count=40):
    """New workers while SYNs are forged in the names of 200 hosts."""
    names = {
        "living": [address(number, family) for number in range(300, 500)],
        "dead": [nobody(number, family) for number in range(200)],
        "unknown": [nobody(number, family) for number in range(200)],
    }[kind]
    new = [address(number, family) for number in range(count)]
    opened = "open" if port == PORT else "closed"
    what = f"{rate:,} forged SYNs a second, {kind} hosts, {opened} port, IPv{family}"
    row = Row(what, before, 250)
    if kind == "living":
        known(names)
    elif kind == "dead":
        hold_dead(names, "reachable")
    hold_dead(new, "reachable")
    frames = [frame(name, port) for name in names]
    with Guard() as guard, Counter() as counter, silent_hosts(), Flood(frames, rate, True) as flood:
        time.sleep(2)
        with row.measured(guard, counter):
            row.took = one_by_one(new)
    row.what = row.what.replace(f"{rate:,}", f"{flood.rate:,}", 1)
    forget(new + ([] if kind == "unknown" else names))
    return row.text()


def nobody(number, family):
    """Return an address that no host has."""
    if family == 4:
        return f"10.2.{number >> 8}.{number & 255}"
    return f"2001:db8::2:{number + 1:x}"


def known(names):
    """Give the database right entries of living hosts."""
    words = [f"neigh replace {name} lladdr {BORN} dev db0 nud" for name in names]
    batch([f"{word} permanent" for word in words] + [f"{word} reachable" for word in words])


def silent_hosts():
    """Let the worker drop SYN/ACKs that it did not ask for, where nft is installed."""
    return contextlib.nullcontext() if missing("nft") else guarded.worker_rules(SILENT)


# --- large tables, and tables that change


def healthy(rate, protected, before, cpu_goal=None, count=40):
    """New workers while known ones send SYNs, and the table is large; the CPU time before them."""
    peers, new = (
        [address(number) for number in numbers] for numbers in (range(300, 500), range(count))
    )
    row = Row("", before, 250, cpu_goal)
    known(peers)
    hold_dead(new, "reachable")
    fill(protected)
    with Guard() as guard, Counter() as counter:
        time.sleep(3)  # until a large table is in the filters
        with Flood([frame(name, CLOSED) for name in peers], rate) as flood:
            time.sleep(1)
            with row.measured(guard, counter):
                time.sleep(5)  # without the new workers, who cost CPU time too
            row.took = one_by_one(new)
    row.what = f"{flood.rate:,} healthy SYNs a second, {protected:,} entries that are not ours"
    empty(protected)
    forget(new + peers)
    return row.text()


def anew(entries, count=400, every_s=0.18):
    """New workers for 70 s, in which a large table is read anew once or twice."""
    new = [address(number) for number in range(count)]
    what = f"{entries:,} entries are read anew, once in some 40 s (the goal: of the worst)"
    row = Row(what, "", 250, is_for_all=True)
    hold_dead(new, "reachable")
    fill(entries)
    with Guard() as guard, Counter() as counter:
        time.sleep(3)  # until they are in the filters
        with row.measured(guard, counter):
            row.took = one_by_one(new, every_s)
    empty(entries)
    forget(new)
    return row.text()


def fill(count):
    """Give the database entries that are never ours to touch."""
    batch(
        [f"neigh add {far(number)} lladdr {BORN} dev db0 nud permanent" for number in range(count)]
    )


def empty(count):
    """Delete them."""
    batch([f"neigh del {far(number)} dev db0" for number in range(count)])


def far(number):
    """Return the address of one of them."""
    return f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def changes(seconds, before, rate=100_000, entries=3000):
    """New workers after the MACs of many entries have changed, again and again."""
    new = [address(number) for number in range(40)]
    fill(entries)
    row = Row("", before, 250)
    with Guard() as guard, Counter() as counter:
        memory_kb, cpu_s = guard.memory_kb(), guard.cpu_s()
        done = change(entries, rate, seconds)
        cpu = 100 * (guard.cpu_s() - cpu_s) / seconds
        hold_dead(new, "reachable")
        with row.measured(guard, counter):
            row.took = one_by_one(new)
        more_kb = guard.memory_kb() - memory_kb
    row.what = (
        f"(after it) {done:,} changes of the table a second for {seconds} s: "
        f"{cpu:.0f} % CPU, {more_kb:+,} kB"
    )
    empty(entries)
    forget(new)
    return row.text()


def change(entries, rate, seconds):
    """Replace the MACs of entries by turns, as fast as that; return how many a second."""
    ifindex = socket.if_nametoindex("db0")
    texts = []
    for mac in (DEAD, BORN):
        messages = []
        for number in range(entries):
            body = struct.pack("=BxxxiHBB", socket.AF_INET, ifindex, 0x80, 0, 0)
            body += struct.pack("=HH4s", 8, 1, socket.inet_aton(far(number)))
            body += struct.pack("=HH6sxx", 10, 2, bytes.fromhex(mac.replace(":", "")))
            flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE
            messages.append(struct.pack("=IHHII", 16 + len(body), RTM_NEWNEIGH, flags, 0, 0) + body)
        texts += [b"".join(messages[at : at + 500]) for at in range(0, entries, 500)]
    done, began = 0, time.monotonic()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        while (now := time.monotonic()) < began + seconds:
            if done < (now - began) * rate:
                sock.send(texts[done // 500 % len(texts)])
                done += 500
            else:
                time.sleep(0.001)
    return int(done / (time.monotonic() - began))


# --- a rack dies


def rack(count, family, before, every=12):
    """Peers with pooled connections vanish; the database goes on writing to them.

    Then every two seconds a new worker connects, and the database calls another one.
    """
    peers = [address(number, family) for number in range(100, 100 + count)]
    new = [address(number, family) for number in range(every)]
    called = [address(50 + number, family) for number in range(every)]
    host = "2001:db8::1" if family == 6 else "10.0.0.1"
    calls = Row(
        f"{count} peers of pooled connections have died, IPv{family}: the database calls", "", 150
    )
    row = Row(f"{count} peers of pooled connections have died, IPv{family}", before, 60)
    with contextlib.ExitStack() as stack:
        pooled = pool(stack, peers, host)
        known(peers)
        hold_dead(new + called, "reachable")
        guard, counter = stack.enter_context(Guard()), stack.enter_context(Counter())
        stack.callback(vanish(peers, family))
        for sock in pooled:
            sock.send(b"x")
        began = time.monotonic()
        with row.measured(guard, counter), calls.measured(guard, counter):
            for number in range(every):
                sleep_until(began + number * EVERY_S + 0.5)
                row.took.append(connect(new[number], patience_s=PATIENCE_S))
                sleep_until(began + number * EVERY_S + 1.5)
                calls.took.append(call(called[number], PATIENCE_S))
    forget(new + called + peers)
    return row.text(), calls.text()


def pool(stack, peers, host):
    """Return the database's ends of a connection with each peer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = stack.enter_context(socket.create_server((host, POOL), family=family, backlog=64))
    ours = []
    for name in peers:
        with in_worker():
            sock = stack.enter_context(socket.socket(family))
        sock.bind((name, 0))
        sock.connect((host, POOL))
        ours.append(stack.enter_context(server.accept()[0]))
    return ours


def vanish(peers, family):
    """Let peers be silent; return what brings them back."""
    if family == 6:
        lines = [f"address %s {name}/64 dev w0" for name in peers]
        batch([line % "del" for line in lines], "-n", "guarded")
        return lambda: batch([line % "add" + " nodad" for line in lines], "-n", "guarded")
    # more specific than the worker's own route, and not local: nobody answers for it
    lines = [f"route %s blackhole {name}/32 table local" for name in peers]
    batch([line % "add" for line in lines], "-n", "guarded")
    return lambda: batch([line % "del" for line in lines], "-n", "guarded")


def sleep_until(when):
    """Sleep until then."""
    time.sleep(max(when - time.monotonic(), 0))


def rows(is_quick):
    """Yield the rows."""
    yield HEAD
    for family in (4,) if is_quick else (4, 6):
        yield from rack(50 if is_quick else 200, family, "12 of 12" if family == 4 else "")
    if not is_quick:
        yield from rack(900, 4, "")
    rates, kinds = ((300,), FORGED[::4]) if is_quick else ((300, 50_000), FORGED)
    for rate, kind in itertools.product(rates, kinds):
        yield forged(rate, *kind, FORGED_BEFORE.get((rate, *kind), ""))
    if is_quick:
        return
    yield healthy(8_000, 1_100, "3 of 8", cpu_goal=5)
    yield healthy(20_000, 1_100, "3 of 5")
    yield healthy(8_000, 100_000, "")
    yield anew(100_000)
    yield changes(10, "")


def main():
    """Measure in a fresh namespace, and print."""
    refuse_outside()
    stage()
    batch(["route add 10.64.0.0/10 dev db0"])
    for version in ("ipv4", "ipv6"):  # what is confirmed stays so
        path = Path(f"/proc/sys/net/{version}/neigh/db0/base_reachable_time_ms")
        path.write_text("600000", encoding="ascii")
    with in_worker():
        servers = [Server("0.0.0.0"), Server("::")]
    with Server("10.0.0.1"), Server("2001:db8::1"):
        for row in rows("--quick" in sys.argv):
            print(row, flush=True)
    for server in servers:
        server.__exit__()
    print()


if __name__ == "__main__":
    sys.exit(main())
