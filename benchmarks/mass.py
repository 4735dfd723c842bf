"""A fleet that is re-created at once: its first connections, and what the sentinel sends.

``python -m benchmarks.mass`` prints the table; ``make bench`` includes it. All entries hold dead
MACs; the workers begin to connect within a second, and give up after one. The frames are counted by
a packet socket at the other end of the cable.
"""

import select
import socket
import sys
import threading
import time
from pathlib import Path

from benchmarks.guarded import (
    PORT,
    Guard,
    Server,
    address,
    forget,
    hold_dead,
    in_worker,
    stage,
    summary,
)
from lab.machines import refuse_outside

PATIENCE_S, WITHIN_S = 1.0, 1.0
LOOK_BACK_S = 11.0
ETH_P_ALL, SOLICITATION = 3, 135


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


def row(count, family, is_confirmed, first):
    """Play one fleet, and return its row."""
    names = [address(first + number, family) for number in range(count)]
    host = "2001:db8::1" if family == 6 else "10.0.0.1"
    hold_dead(names, "reachable" if is_confirmed else "stale")
    with Guard(), Counter() as counter:
        took = connect_all(sockets(names), host)
        at_once = counter.frames
        time.sleep(LOOK_BACK_S)
        later = counter.frames - at_once
    forget(names)
    kind = "upper-layer confirmation" if is_confirmed else "plain"
    return f"| {count} | IPv{family}, {kind} | {summary(took)} | {at_once} | {later} |"


def table(counts):
    """Return a table of fleets."""
    rows = [
        "| workers | entries | failed | median | 99 % | worst | frames until then | and in the next 11 s |",  # noqa: E501
        "|---|---|---|---|---|---|---|---|",
    ]
    first = 1
    for count in counts:
        for family in (4, 6):
            for is_confirmed in (False, True):
                rows.append(row(count, family, is_confirmed, first))
                first += count
    return "\n".join(rows) + "\n"


def main():
    """Measure in a fresh namespace, and print."""
    refuse_outside()
    stage()
    for version in ("ipv4", "ipv6"):  # what is confirmed stays so
        path = Path(f"/proc/sys/net/{version}/neigh/db0/base_reachable_time_ms")
        path.write_text("600000", encoding="ascii")
    with Server("10.0.0.1"), Server("2001:db8::1"):
        print(table((20,) if "--quick" in sys.argv else (20, 200)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
