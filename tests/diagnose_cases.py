"""Evidence of every kind, and the verdict on it: for the verdicts themselves, and how they look."""

from dataclasses import replace

from arp_engine.diagnose import verdict
from arp_engine.diagnose.facts import Evidence, Load, Route

ADDRESS, ROUTER, OTHER, V6 = "192.0.2.10", "192.0.2.254", "192.0.2.77", "2001:db8::10"
A, B, C = (f"02:00:00:00:00:0{letter}" for letter in "abc")
LINK = Route("db0", "192.0.2.1")
BEHIND = Route("db0", "192.0.2.1", ROUTER)
FULL = Load(1200, 100, 128, 512, 1024, refused=3)
FULL_NOW = FULL._replace(refused_lately=1)
ROOM = Load(1100, 100, 128, 512, 1024)
STUCK = {"state": "SYN_RECV", "peer": ADDRESS}


def row(mac=A, state="STALE", owner="", suspect=False, confirmed_s=40.0):
    return {
        "ip": ADDRESS,
        "mac": mac,
        "dev": "db0",
        "state": state,
        "confirmed_s": confirmed_s,
        "used_s": 1.0,
        "updated_s": 90.0,
        "suspect": suspect,
        "owner": owner,
    }


def seen(before=None, answers=(), after=None, route=LINK, **more):
    """Return evidence; ``answers``: MACs, or MACs to milliseconds."""
    found = answers if isinstance(answers, dict) else dict.fromkeys(answers, 0.5)
    more.setdefault("asked_s", 0.65)
    is_probed = more.get("asked", True) and not more.get("cannot_ask") and not route.why_not
    more.setdefault("broadcast_asked", 2 if is_probed else 0)
    return Evidence(ADDRESS, route, before, after, answers=found, **more)


def read(before=None, **more):
    """Return evidence of test=True."""
    return seen(before, after=before, asked=False, asked_s=0.0, **more)


FAILED, INCOMPLETE = row("", "FAILED"), row("", "INCOMPLETE", "INCOMPLETE")
PERMANENT = row(A, "PERMANENT", "PERMANENT")
ZEBRA = row(A, "REACHABLE", "protocol zebra")
SUSPECT = row(A, "REACHABLE", suspect=True, confirmed_s=0.01)
FRESH = row(A, "REACHABLE", confirmed_s=5.0)  # by ARP, lately
REFRESHED = row(A, "REACHABLE", confirmed_s=0.1)  # during our probes

CASES = {
    # the table and the wire agree
    "right": (seen(row(), [A], row(A, "REACHABLE")), verdict.RIGHT),
    "right: kept alive, and rightly": (seen(SUSPECT, [A], SUSPECT), verdict.RIGHT),
    "right: set by hand": (seen(PERMANENT, [A], PERMANENT), verdict.RIGHT),
    "right: a full table does not matter": (seen(row(), [A], row(), load=FULL), verdict.RIGHT),
    "next hop right": (seen(row(), [A], row(), BEHIND), verdict.NEXT_HOP),
    # they did not
    "corrected": (seen(row(), [B], row(B, "REACHABLE")), verdict.CORRECTED),
    "corrected: was suspect": (seen(SUSPECT, [B], row(B)), verdict.CORRECTED),
    "corrected: had failed": (seen(FAILED, [B], row(B)), verdict.CORRECTED),
    "corrected: was being resolved": (seen(INCOMPLETE, [B], row(B)), verdict.CORRECTED),
    "corrected: the next hop": (seen(row(), [B], row(B), BEHIND), verdict.CORRECTED),
    "still wrong": (seen(row(), [B], row()), verdict.STILL_WRONG),
    "still wrong: a third MAC": (seen(row(), [B], row(C)), verdict.STILL_WRONG),
    "still wrong: was right": (seen(row(B), [B], row(C)), verdict.STILL_WRONG),
    "still wrong: being resolved": (seen(None, [B], INCOMPLETE), verdict.STILL_WRONG),
    "still wrong: locktime": (seen(row(), [B], row(), locktime_left_s=4), verdict.STILL_WRONG),
    "still wrong: a filter": (seen(row(), [B], row(), arp_filter=True), verdict.STILL_WRONG),
    "still wrong: failed, and IPv4 takes any answer": (
        seen(FAILED, [B], FAILED),
        verdict.STILL_WRONG,
    ),
    "still wrong: failed in IPv6, and sockets wait": (
        replace(seen(FAILED, [B], FAILED, sockets=[{}]), address=V6),
        verdict.STILL_WRONG,
    ),
    "still wrong: no entry, sockets wait, an ARP filter": (
        seen(None, [B], arp_filter=True, sockets=[{}]),
        verdict.STILL_WRONG,
    ),
    "still wrong: the next hop": (seen(row(), [B], row(), BEHIND), verdict.STILL_WRONG),
    "owned: by hand": (seen(PERMANENT, [B], PERMANENT), verdict.OWNED),
    "owned: by zebra": (seen(ZEBRA, [B], ZEBRA), verdict.OWNED),
    "owned: taken over meanwhile": (seen(row(), [B], PERMANENT), verdict.OWNED),
    "owned: without a MAC": (seen(FAILED, [B], row("", "FAILED", "managed")), verdict.OWNED),
    "owned: corrected by its owner": (seen(ZEBRA, [B], row(B)), verdict.CORRECTED),
    # there is none
    "no entry": (seen(None, [A]), verdict.NO_ENTRY),
    "no entry: learned meanwhile": (seen(None, [A], row(A)), verdict.NO_ENTRY),
    "no entry: deleted meanwhile": (seen(row(), [B]), verdict.NO_ENTRY),
    "no entry: failed is none in IPv6": (
        replace(seen(FAILED, [B], FAILED), address=V6),
        verdict.NO_ENTRY,
    ),
    "no entry: there is an ARP filter": (seen(None, [A], arp_filter=True), verdict.NO_ENTRY),
    "no entry: the next hop": (seen(None, [A], None, BEHIND), verdict.NO_ENTRY),
    "no entry: full with what no limit counts": (seen(None, [A], load=ROOM), verdict.NO_ENTRY),
    "table full": (seen(None, [A], load=FULL), verdict.TABLE_FULL),
    "table full: the next hop": (seen(None, [A], None, BEHIND, load=FULL), verdict.TABLE_FULL),
    "table full: at this moment": (
        seen(None, [A], load=ROOM._replace(refused_lately=3)),
        verdict.TABLE_FULL,
    ),
    "table full: on a kernel that does not count": (
        seen(None, [A], load=FULL._replace(refused=-1)),
        verdict.TABLE_FULL,
    ),
    "table full once": (seen(None, [A], load=ROOM._replace(refused=3)), verdict.NO_ENTRY),
    "table full, or of what no limit counts elsewhere": (
        seen(None, [A], load=FULL._replace(refused=0)),
        verdict.NO_ENTRY,
    ),
    # nobody answers
    "nobody: no entry": (seen(), verdict.SILENT),
    "nobody: no entry, no room": (seen(load=FULL), verdict.SILENT),
    "nobody: the table is full": (seen(load=FULL_NOW), verdict.SILENT),
    "nobody: stale": (seen(row(), (), row()), verdict.SILENT),
    "nobody: the kernel knows": (seen(FAILED, (), FAILED), verdict.SILENT),
    "nobody: the kernel finds out": (seen(row(), (), INCOMPLETE), verdict.SILENT),
    "nobody: learned by ARP lately": (seen(FRESH, (), FRESH), verdict.SILENT),
    "nobody: by hand": (seen(PERMANENT, (), PERMANENT), verdict.SILENT),
    "nobody: by zebra, suspect": (
        seen(ZEBRA | {"suspect": True}, (), ZEBRA | {"suspect": True}),
        verdict.SILENT,
    ),
    "nobody: suspect until it failed": (seen(SUSPECT, (), FAILED), verdict.SILENT),
    "nobody: the next hop": (seen(row(), (), row(), BEHIND), verdict.SILENT),
    "upper layer: for long": (seen(SUSPECT, (), SUSPECT), verdict.UPPER_LAYER_ONLY),
    "upper layer: during our probes": (seen(FRESH, (), REFRESHED), verdict.UPPER_LAYER_ONLY),
    "upper layer: connected": (seen(SUSPECT, (), SUSPECT, connected=2), verdict.UPPER_LAYER_ONLY),
    "upper layer: the next hop": (seen(SUSPECT, (), SUSPECT, BEHIND), verdict.UPPER_LAYER_ONLY),
    # two answer
    "duplicate": (seen(row(), [A, B], row()), verdict.DUPLICATE),
    "duplicate: neither is in the table": (seen(row(C), [A, B], row()), verdict.DUPLICATE),
    "duplicate: no entry, no room": (seen(None, [A, B], load=FULL), verdict.DUPLICATE),
    "duplicate: the table is full": (seen(row(), [A, B], row(), load=FULL_NOW), verdict.DUPLICATE),
    "still wrong: written back": (
        seen(row(), [B], row(), locktime_left_s=0.5, is_written_back=True),
        verdict.STILL_WRONG,
    ),
    "duplicate: one set by hand": (seen(PERMANENT, [A, B], PERMANENT), verdict.DUPLICATE),
    "duplicate: the next hop": (seen(row(), [A, B], row(), BEHIND), verdict.DUPLICATE),
    "duplicate: a witness": (
        seen(row(), [A, B], row(), witnesses={OTHER: [A]}),
        verdict.DUPLICATE,
    ),
    "duplicate: a witness is silent": (
        seen(row(), [A, B], row(), witnesses={OTHER: []}),
        verdict.DUPLICATE,
    ),
    "duplicate: a witness has moved away": (
        seen(row(), [A, B], row(), witnesses={OTHER: [C]}),
        verdict.DUPLICATE,
    ),
    "duplicate: one witness of two proves it": (
        seen(row(), [A, B], row(), witnesses={OTHER: [A, B], "192.0.2.78": [B]}),
        verdict.DUPLICATE,
    ),
    "flux": (seen(row(), [A, B], row(), witnesses={OTHER: [A, B]}), verdict.FLUX),
    "flux: of three NICs": (
        seen(row(), [A, B, C], row(), witnesses={OTHER: [A, B, C]}),
        verdict.FLUX,
    ),
    "flux: another witness is silent": (
        seen(row(), [A, B], row(), witnesses={OTHER: [A, B], "192.0.2.78": []}),
        verdict.FLUX,
    ),
    "flux: was wrong before": (
        seen(row(C), [A, B], row(), witnesses={OTHER: [A, B]}),
        verdict.FLUX,
    ),
    # a proxy answers
    "proxy: beside the holder": (seen(row(), [A, B], row(), proxies={B}), verdict.PROXY),
    "proxy: took the entry": (seen(row(), [A, B], row(B), proxies={B}), verdict.PROXY),
    "proxy: had the entry": (seen(row(A), [A, B], row(B), proxies={A}), verdict.CORRECTED),
    "proxy: keeps the entry": (seen(row(A), [A, B], row(A), proxies={A}), verdict.PROXY),
    "proxy: alone, new": (seen(row(), [B], row(B), proxies={B}), verdict.PROXY),
    "proxy: no entry": (seen(None, [B], row(B), proxies={B}), verdict.PROXY),
    "proxy: alone, and another MAC was and is cached": (
        seen(row(), [B], row(), proxies={B}),
        verdict.PROXY,
    ),
    "proxy: alone, while locktime remains": (
        seen(row(), [B], row(), proxies={B}, locktime_left_s=4),
        verdict.PROXY,
    ),
    "proxy: alone, and the entry is set by hand": (
        seen(PERMANENT, [B], PERMANENT, proxies={B}),
        verdict.PROXY,
    ),
    "proxy: two of them": (seen(row(), [A, B], row(B), proxies={A, B}), verdict.PROXY),
    "proxy: two hosts, too": (seen(row(), [A, B, C], row(), proxies={C}), verdict.PROXY),
    "proxy: alone, as before": (seen(row(), [A], row(), proxies={A}), verdict.RIGHT),
    "proxy: the router, as before": (
        seen(row(), [A], row(), BEHIND, proxies={A}),
        verdict.NEXT_HOP,
    ),
    # no probe can be sent
    "cannot: no route": (seen(route=Route(why_not="ENETUNREACH")), verdict.CANNOT),
    "cannot: no route, only read": (read(route=Route(why_not="ENETUNREACH")), verdict.CANNOT),
    "cannot: no carrier": (seen(row(), (), row(), cannot_ask="no carrier"), verdict.CANNOT),
    "cannot: no carrier, suspect": (
        seen(SUSPECT, (), SUSPECT, cannot_ask="no carrier"),
        verdict.CANNOT,
    ),
    "cannot: no carrier, no room": (seen(cannot_ask="no carrier", load=FULL), verdict.CANNOT),
    "cannot: the former holder could not be asked": (
        seen(row(), [B], row(B), unproved=f"{A} could not be asked again (no carrier)"),
        verdict.CANNOT,
    ),
    # test=True
    "read: an entry": (read(row()), verdict.NOT_ASKED),
    "read: a suspect": (read(SUSPECT), verdict.NOT_ASKED),
    "read: set by hand": (read(PERMANENT), verdict.NOT_ASKED),
    "read: being resolved": (read(INCOMPLETE), verdict.NOT_ASKED),
    "read: failed": (read(FAILED), verdict.SILENT),
    "read: no entry": (read(), verdict.NOT_ASKED),
    "read: no entry, no room": (read(load=FULL), verdict.TABLE_FULL),
    "read: behind a router": (read(row(), route=BEHIND), verdict.NOT_ASKED),
}
