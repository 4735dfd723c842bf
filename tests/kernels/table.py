"""Flush and revalidate: what is ours, and what is somebody else's. The engine, without Salt."""

import contextlib
import ctypes

from arp_engine.resolve import revalidate as resolve_revalidate
from arp_engine.table import flush as table_flush
from arp_engine.table import selectors as table_selectors
from stage import OWNED, Scene, ip, own

from lab.cable import BORN, DEAD

CLONE_NEWNET = 0x40000000
STATES = ("reachable", "stale", "delay", "probe", "failed")
OURS, OURS6 = "192.0.2.10", "2001:db8::10"


@contextlib.contextmanager
def database_host():
    """A fresh database host; the calling thread stands in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", encoding="ascii") as before:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield Scene()
        finally:
            libc.setns(before.fileno(), CLONE_NEWNET)


def flush(**words):
    return table_flush.flush(table_selectors.parse_selectors(verb="flush", **words))


def revalidate(**words):
    selectors = table_selectors.parse_selectors(verb="revalidate", **words)
    return resolve_revalidate.revalidate(selectors, 500.0)


def flushed():
    """What is ours goes, in every state."""
    with database_host() as scene:
        for number, state in enumerate(STATES):
            for network in ("192.0.2.1", "2001:db8::1"):
                scene.add(f"{network}{number}", state, DEAD if state != "failed" else None)
        went, left = flush()["flushed"], scene.table()
    yield (
        (went, left) == (2 * len(STATES), []),
        f"flush: {went} of {2 * len(STATES)} entries of ours went ({', '.join(STATES)}), "
        f"{len(left)} left",
    )


def protected():
    """What is somebody else's stays as it is, whatever is done."""
    with database_host() as scene:
        own()
        ip("neigh", "add", "192.0.2.30", "managed", "dev", "db0")
        ip("neigh", "add", "proxy", "192.0.2.40", "dev", "db0")
        scene.add(OURS, "stale")
        kinds = dict.fromkeys([reason for _address, _words, reason in OWNED] + ["managed", "proxy"])
        before = _somebodys(scene)
        checked = revalidate(exclude=OURS)["checked"]
        went = flush()["flushed"]
        after = _somebodys(scene)
    yield (
        (checked, went, after) == (0, 1, before),
        f"protected: {len(before & after)} of {len(before)} entries stay as they are "
        f"({', '.join(kinds)}), {checked} asked about; {went} of 1 of ours flushed",
    )


def _somebodys(scene):
    """All rows but ours; that of the managed one without its state: the kernel asks for it."""
    rows = {row for row in scene.table() if row.split()[0] != OURS}
    rows = {row if "managed" not in row else row.rsplit(" ", 1)[0] for row in rows}
    return rows | {line.strip() for line in ip("neigh", "show", "proxy").splitlines()}


def revalidated():
    """The wrong is healed though it is vouched for, the right confirmed, the dead gone."""
    right, dead = "192.0.2.11", "192.0.2.12"
    with database_host() as scene:
        for address in (OURS, OURS6, right):
            scene.worker(address)
        scene.add(OURS, "reachable", DEAD)
        scene.add(OURS6, "reachable", DEAD)
        scene.add(right, "stale", BORN)
        scene.add(dead, "stale", DEAD)
        with scene.confirming(OURS):
            result = revalidate()
        table = scene.table("reachable")
    healed = {(row["ip"], row["old"], row["new"]) for row in result["healed"]}
    gone = [row["ip"] for row in result["gone"]]
    expected = {(address, DEAD, BORN) for address in (OURS, OURS6)}
    living = [f"{address} db0 {BORN} REACHABLE" for address in sorted((OURS, right, OURS6))]
    told = result["checked"], result["confirmed"], gone
    yield (
        (healed, told, table) == (expected, (4, 1, [dead]), living),
        f"revalidate: {len(healed & expected)} of 2 wrong entries healed (one vouched for), "
        f"{result['confirmed']} of 1 confirmed, {len(gone)} of 1 gone",
    )
