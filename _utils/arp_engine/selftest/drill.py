"""An outage is staged between two private hosts and healed by the installed engine.

Each check is one row: what was tried, whether it passed, and the figures. All runs on the table of
a namespace of its own, by the same functions that run on the host's.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from pyroute2.netlink.rtnl import RTM_DELNEIGH
from pyroute2.netlink.rtnl.ndmsg import NUD_STALE

from ..netlink import codec
from ..netlink.constants import (
    FAILED,
    NOARP,
    NTF_EXT_LEARNED,
    NTF_EXT_MANAGED,
    NTF_PROXY,
    PERMANENT,
    REACHABLE,
    RTNLGRP_NEIGH,
)
from ..netlink.listener import Listener
from ..resolve import revalidate
from ..sentinel import loop, options
from ..table import flush, listing, selectors
from .namespaces import DEVICE, MACS, Host, Worker, Written, address, two_hosts

VERSIONS = (socket.AF_INET, socket.AF_INET6)
ALONE_S = 0.5  # how long the worker tries without us; the kernel alone needs 15 to 45 s
WRITTEN_S = 0.2  # before: the wrong entries of an outage are older than its newcomers' SYNs
CONNECT_S, HEAL_S, WATCHING_S = 3.0, 3.0, 3.0
CHECKED_S = 1.0  # after the heals: a living host is asked whether it answers for everybody
PATIENCE_S = 0.9  # of many a client: one second, less what its own work takes
ZEBRA = 11  # RTPROT_ZEBRA, include/uapi/linux/rtnetlink.h
ALONE, FIRST, WRONG, RIGHT, STALE_ONE = 10, 11, 12, 13, 14  # the worker's addresses
OWNED = {
    "PERMANENT": Written("192.0.2.200", PERMANENT),
    "NOARP": Written("192.0.2.201", NOARP),
    "extern_learn": Written("192.0.2.202", REACHABLE, flags=NTF_EXT_LEARNED),
    "protocol zebra": Written("192.0.2.203", NUD_STALE, protocol=ZEBRA),
    "managed": Written("192.0.2.204", REACHABLE, ext=NTF_EXT_MANAGED),
}
PROXY = Written("192.0.2.210", 0, flags=NTF_PROXY)  # in no list of neighbours

Row = dict[str, str]


def run() -> list[Row]:
    """Play everything; return the rows. NotPossible where no drill can be played here."""
    lasts = [ALONE, FIRST, WRONG, RIGHT, STALE_ONE]
    with two_hosts(lasts) as (host, worker), Listener([RTNLGRP_NEIGH]) as heard:
        drill = _Drill(host, worker, heard)
        drill.play("arp.list", drill.listed)
        drill.play("outage without us", drill.outage)
        drill.play("sentinel", drill.sentinel)
        drill.play("arp.revalidate", drill.revalidated)
        drill.play("arp.flush", drill.flushed)
        drill.play("never touched", drill.protected)
        return drill.rows


class _Drill:
    """The checks, in the order in which they are played."""

    def __init__(self, host: Host, worker: Worker, heard: Listener) -> None:
        self._host, self._worker, self._heard = host, worker, heard
        self._owned: dict[str, tuple[str, str]] = {}  # address to owner and MAC, as first listed
        self.rows: list[Row] = []

    def play(self, name: str, check: Callable[[], tuple[bool, str]]) -> None:
        """Play one check and keep its row; an error of the code that is tried is a failure."""
        try:
            passed, figures = check()
        except Exception as error:
            passed, figures = False, f"{type(error).__name__}: {error}"
        self.rows.append(row(name, passed, figures))

    def listed(self) -> tuple[bool, str]:
        """Every entry that is not ours shows its owner."""
        written = {}
        for owner, entry in OWNED.items():
            try:
                self._host.write(entry)
            except OSError:  # managed: kernels before 5.16
                continue
            written[entry.ip] = owner
        self._host.write(PROXY)
        self._write(STALE_ONE, NUD_STALE)
        rows = _table()
        self._owned = {ip: rows[ip] for ip in written if ip in rows}
        shown = sum(rows.get(ip, ("", ""))[0] == owner for ip, owner in written.items())
        ours = sum(not rows.get(ip, ("?",))[0] for ip in _both(STALE_ONE))
        return (
            (shown, ours) == (len(written), 2) and len(written) >= len(OWNED) - 1,
            f"{shown} of {len(written)} owners shown, {ours} of 2 entries ours",
        )

    def outage(self) -> tuple[bool, str]:
        """With a wrong entry, and without us, the worker cannot connect."""
        tries = self._connect_all(ALONE, ALONE_S)
        return not any(tries), f"{_connected(tries)} within {ALONE_S:g} s"

    def sentinel(self) -> tuple[bool, str]:
        """The first connection of a worker whose entry is wrong."""
        watching = threading.Event()
        watcher = loop.Sentinel(
            options.parse({"dev": DEVICE}),
            lambda kind, _line, _facts: watching.set() if kind.tag == "watching" else None,
        )
        thread = threading.Thread(target=watcher.run, daemon=True)
        thread.start()
        try:
            if not watching.wait(WATCHING_S):
                return False, f"not watching after {WATCHING_S:g} s"
            tries = self._connect_all(FIRST, CONNECT_S)
        finally:
            watcher.stop()
            thread.join(WATCHING_S)
        is_in_time = all(took is not None and took < PATIENCE_S for took in tries)
        is_late = all(tries) and not is_in_time
        return is_in_time, _connected(tries) + (", too late" if is_late else "")

    def revalidated(self) -> tuple[bool, str]:
        """The wrong entries are healed, the right ones confirmed."""
        self._write(WRONG, REACHABLE)
        self._write(RIGHT, NUD_STALE, MACS["worker"])
        began, healed_at = time.monotonic(), list[float]()

        def is_over() -> bool:  # the look back at the former holder would take ten seconds
            now = time.monotonic()
            if not healed_at and self._healed() == 2:
                healed_at.append(now)
            return now > (healed_at[0] + CHECKED_S if healed_at else began + HEAL_S)

        wanted = selectors.parse_selectors(ip=_both(WRONG) + _both(RIGHT), verb="revalidate")
        result = revalidate.revalidate(wanted, 500.0, is_stopped=is_over)
        return (
            (self._healed(), result["confirmed"]) == (2, 2),
            f"{self._healed()} of 2 healed, {result['confirmed']} of 2 confirmed",
        )

    def flushed(self) -> tuple[bool, str]:
        """Every entry that is ours goes."""
        before = [ip for ip, (owner, _mac) in _table().items() if not owner]
        began = time.monotonic()
        went = flush.flush(selectors.parse_selectors(verb="flush"))["flushed"]
        took_ms = 1000 * (time.monotonic() - began)
        left = sum(ip in before for ip, (owner, _mac) in _table().items() if not owner)
        return (
            (left, bool(before)) == (0, True),
            f"{went} flushed, {left} of {len(before)} left, {took_ms:.1f} ms",
        )

    def protected(self) -> tuple[bool, str]:
        """After all that, the entries of others are as they were."""
        now, proxies, collected = _table(), self._host.proxies(), self._collected()
        owned = {ip: seen for ip, seen in self._owned.items() if ip in now or ip not in collected}
        same = sum(now.get(ip) == seen for ip, seen in owned.items())
        figures = f"{same} of {len(owned)} owned, {proxies} of 1 proxy unchanged"
        if gone := len(self._owned) - len(owned):
            figures += f", {gone} collected"
        is_whole = len(self._owned) >= len(OWNED) - 1 and proxies == 1
        return is_whole and same == len(owned) > 0, figures

    def _collected(self) -> set[str]:
        """Return the addresses whose entry the kernel removed: its table is full (gc_thresh2).

        It has one table for all namespaces, and spares PERMANENT and extern_learn entries
        (net/core/neighbour.c: neigh_forced_gc). An entry that somebody deletes fails first
        (neigh_delete), and its notification says so.
        """
        datagrams, _lost = self._heard.drain(1024)
        gone = (
            codec.parse_neighbour(message)
            for datagram in datagrams
            for kind, message in codec.messages(datagram)
            if kind == RTM_DELNEIGH
        )
        return {
            codec.address(entry.dst)
            for entry in gone
            if entry
            and not entry.state & (FAILED | PERMANENT)
            and not entry.flags & NTF_EXT_LEARNED
        }

    def _write(self, last: int, state: int, mac: str = MACS["dead"]) -> None:
        for ip in _both(last):
            self._host.write(Written(ip, state, mac))

    def _connect_all(self, last: int, timeout_s: float) -> list[float | None]:
        self._write(last, REACHABLE)
        time.sleep(WRITTEN_S)
        return [self._worker.connect(family, last, timeout_s) for family in VERSIONS]

    def _healed(self) -> int:
        rows = _table()
        return sum(rows.get(ip, ("", ""))[1] == MACS["worker"] for ip in _both(WRONG))


def row(check: str, passed: bool, figures: str) -> Row:
    """Return a row of the result."""
    return {"check": check, "figures": figures, "result": "pass" if passed else "FAIL"}


def namespace() -> str:
    """Return the network namespace that this thread is in."""
    return os.readlink("/proc/thread-self/ns/net")


def _both(last: int) -> list[str]:
    return [address(family, last) for family in VERSIONS]


def _table() -> dict[str, tuple[str, str]]:
    """Return address to owner and MAC."""
    rows: list[dict[str, Any]] = listing.list_entries(selectors.parse_selectors(verb="list"))
    return {row["ip"]: (row["owner"] or "", row["mac"] or "") for row in rows}


def _connected(tries: list[float | None]) -> str:
    took = [f"{1000 * seconds:.0f} ms" for seconds in tries if seconds is not None]
    return f"{len(took)} of {len(tries)} connected" + (f" ({', '.join(took)})" if took else "")
