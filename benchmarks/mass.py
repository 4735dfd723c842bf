"""A fleet that is re-created at once: its first connections, and what the sentinel sends.

``python -m benchmarks.mass`` prints the table; ``make bench`` includes it. All entries hold dead
MACs; the workers begin to connect within a second, and give up after one. The frames are counted by
a packet socket at the other end of the cable.
"""

import contextlib
import select
import socket
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.guarded import (
    PORT,
    Guard,
    Server,
    address,
    forget,
    hold_dead,
    in_worker,
    lossy,
    stage,
    summary,
    verdict,
)
from lab.bare import missing
from lab.machines import refuse_outside

PATIENCE_S, WITHIN_S = 1.0, 1.0
LOOK_BACK_S = 11.0
ETH_P_ALL, SOLICITATION = 3, 135


#: Workers: for plain entries, and for those that upper-layer confirmation keeps REACHABLE.
GOALS_MS = {20: (30, 20), 200: (50, 30), 1000: (120, 60)}
LOOKED_BACK = 200  # the look backs of fleets of this size are counted
#: Of how many connections failed before the sentinel was made for whole fleets.
BEFORE = {(200, 4, False): "159 of 200", (200, 4, True): "130 of 200"}


class Fleet(NamedTuple):
    """Workers that are re-created at once; goal: the 99th percentile of their connections."""

    count: int
    family: int
    is_confirmed: bool
    goal_ms: int
    before: str = ""
    is_lossy: bool = False


class Counter:
    """Counts the ARP requests and neighbour solicitations that reach the worker."""

    def __init__(self):
        self.frames = 0
        with in_worker():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        self._sock.bind(("w0", ETH_P_ALL))
        self._sock.settimeout(0.1)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def _count(self):
        while not self._ends.is_set():
            try:
                frame, sender = self._sock.recvfrom(128)
            except TimeoutError:
                continue
            if sender[2] != socket.PACKET_OUTGOING:
                is_arp = frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1"
                is_nd = frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_ICMPV6
                self.frames += is_arp or (is_nd and frame[54] == SOLICITATION)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._ends.set()
        self._thread.join()
        self._sock.close()


def sockets(names):
    """Return the workers' sockets, one for each address."""
    opened = []
    with in_worker():
        for name in names:
            sock = socket.socket(socket.AF_INET6 if ":" in name else socket.AF_INET)
            sock.bind((name, 0))
            sock.setblocking(False)
            opened.append(sock)
    return opened


def connect_all(socks, host):
    """Return the seconds until each has its word; infinite where it gave up."""
    poll, waiting, took = select.epoll(), {}, []
    began, unsent = time.monotonic(), list(reversed(socks))
    while unsent or waiting:
        now = time.monotonic()
        while unsent and len(socks) - len(unsent) <= (now - began) * len(socks) / WITHIN_S:
            sock = unsent.pop()
            sock.connect_ex((host, PORT))
            waiting[sock.fileno()] = time.monotonic()
            poll.register(sock, select.EPOLLIN)
        for number, event in poll.poll(0.002):
            then = waiting.pop(number)
            took.append(time.monotonic() - then if event == select.EPOLLIN else float("inf"))
            poll.unregister(number)
        for number, then in list(waiting.items()):
            if time.monotonic() - then > PATIENCE_S:
                del waiting[number]
                took.append(float("inf"))
                poll.unregister(number)
    for sock in socks:
        sock.close()
    poll.close()
    return took


def row(fleet, first):
    """Play one fleet, and return its row."""
    names = [address(first + number, fleet.family) for number in range(fleet.count)]
    host = "2001:db8::1" if fleet.family == 6 else "10.0.0.1"
    hold_dead(names, "reachable" if fleet.is_confirmed else "stale")
    fabric = lossy() if fleet.is_lossy else contextlib.nullcontext()
    with fabric, Guard(), Counter() as counter:
        took = connect_all(sockets(names), host)
        at_once, later = counter.frames, "-"
        if fleet.count == LOOKED_BACK and not fleet.is_lossy:
            time.sleep(LOOK_BACK_S)
            later = counter.frames - at_once
    forget(names)
    kind = "upper-layer confirmation" if fleet.is_confirmed else "plain"
    kind += ", half of the probes lost" if fleet.is_lossy else ""
    cells = summary(took), at_once, later, f"0; {fleet.goal_ms} ms", verdict(took, fleet.goal_ms)
    words = f"{fleet.count:,}", f"IPv{fleet.family}, {kind}", fleet.before, *map(str, cells)
    return f"| {' | '.join(words)} |"


def fleets(is_quick):
    """Return the fleets that are played."""
    if is_quick:
        return [Fleet(20, family, True, 20) for family in (4, 6)]
    found = []
    for count, (plain_ms, confirmed_ms) in GOALS_MS.items():
        for family in (4, 6):
            found.append(
                Fleet(count, family, False, plain_ms, BEFORE.get((count, family, False), ""))
            )
            found.append(
                Fleet(count, family, True, confirmed_ms, BEFORE.get((count, family, True), ""))
            )
    if not missing("nft"):
        found += [Fleet(200, 4, False, 500, "", True), Fleet(200, 6, True, 500, "", True)]
    return found


def table(found):
    """Return a table of fleets."""
    rows = [
        "| workers | entries | before | failed | median | 99 % | worst | frames until then | "
        "and in the next 11 s | goal | |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    first = 1
    for fleet in found:
        rows.append(row(fleet, first))
        first += fleet.count
    return "\n".join(rows) + "\n"


def main():
    """Measure in a fresh namespace, and print."""
    refuse_outside()
    stage()
    for version in ("ipv4", "ipv6"):  # what is confirmed stays so
        path = Path(f"/proc/sys/net/{version}/neigh/db0/base_reachable_time_ms")
        path.write_text("600000", encoding="ascii")
    with Server("10.0.0.1"), Server("2001:db8::1"):
        print(table(fleets("--quick" in sys.argv)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
