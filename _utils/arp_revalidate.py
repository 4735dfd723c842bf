"""Revalidation as an operator asks for it: what is proven, what is told, what is warned of.

No Salt in here. How the kernel is made to prove an entry is in arp_probe.
"""

import errno
import os
import re
import time
from collections.abc import Iterable
from typing import Any

import arp_judge as judge
import arp_netlink as netlink
import arp_probe as probe
import arp_table as tables
import arp_wire as wire
from arp_kernel import FAMILY_NAMES
from arp_select import LIMIT, Selectors

# Before 4.2 an administrative PROBE keeps the old probe count and can fail at once
# ("neigh: Better handling of transition to NUD_PROBE state").
OLDEST_KERNEL = (4, 2)
LISTS = ("healed", "gone")


def revalidate(
    selectors: Selectors, rate: float, test: bool = False, limit: int = LIMIT
) -> dict[str, Any]:
    """Prove every entry that is selected and ours; return what came of each.

    rate: entries a second; 0 for as fast as is safe.
    """
    release = os.uname().release
    version = tuple(int(number) for number in re.findall(r"\d+", release)[:2])
    if version < OLDEST_KERNEL:
        raise OSError(
            errno.EOPNOTSUPP,
            f"cannot revalidate on Linux {release}: before 4.2 the kernel does not start its "
            "probes anew and may fail a live neighbour; use arp.flush",
        )
    with netlink.Channel() as channel:
        table = tables.Table(channel, selectors, to_be_proven=True)
        read_at = time.monotonic()  # before it is read: a large table takes its time
        chosen = table.read_ours()
        suspects = {key: entry for key, entry in chosen.items() if _is_suspect(table, entry)}
        if test:
            rows = [tables.named(table, entry) for entry in suspects.values()]
            result = tables.bounded({"suspects": rows}, ("suspects",), limit)
            result["would_check"] = len(chosen)
        else:
            todo = {**suspects, **chosen}  # suspects first
            result = probe.Run(table, len(chosen)).run(todo.values(), rate, read_at)
            tables.bounded(result, (*LISTS, *({"failed"} & set(result))), limit)
        result["kept"] = table.kept()
        result["warnings"] = _warnings(table, chosen.values())
    return result


def _is_suspect(table: tables.Table, entry: wire.Entry) -> bool:
    timers = table.timers(wire.family_of(entry.dst), entry.ifindex)
    return judge.is_suspect(entry.state, entry.confirmed, entry.updated, timers.base_reachable_s)


def _warnings(table: tables.Table, entries: Iterable[wire.Entry]) -> list[str]:
    """Say where revalidation is not harmless on every fabric, or cannot heal."""
    lines = []
    devices: dict[int, set[int]] = {}  # family to ifindexes
    for entry in entries:
        devices.setdefault(wire.family_of(entry.dst), set()).add(entry.ifindex)
    for family, indexes in sorted(devices.items()):
        timers = {table.name(ifindex): table.timers(family, ifindex) for ifindex in indexes}
        unasked = [name for name, timing in timers.items() if not timing.mcast_resolicit]
        locked = [
            name
            for name, timing in timers.items()
            if timing.locktime_s >= timing.solicits * timing.retrans_s
        ]
        key = f"net.{FAMILY_NAMES[family]}.neigh"
        if unasked:
            lines.append(
                f"{key}.*.mcast_resolicit is 0 on {tables.some(unasked)}: where nobody answers "
                "unicast requests, a live entry fails before the kernel asks by broadcast; "
                "set it to 3"
            )
        if locked:
            lines.append(
                f"{key}.*.locktime lasts as long as all probes on {tables.some(locked)}: a new MAC "
                "is not believed in time, and its entry fails instead of being healed"
            )
    return lines
