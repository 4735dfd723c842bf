"""Revalidation as an operator asks for it: what is proven, what is told, what is warned of.

No Salt in here. How the kernel is made to prove an entry is in arp_probe.
"""

import errno
import os
import re
import time

try:
    import arp_netlink as netlink
    import arp_probe as probe
    import arp_rows as rows
    import arp_select as select
    import arp_table as tables
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_netlink as netlink
    from saltext.arp_hygiene.utils import arp_probe as probe
    from saltext.arp_hygiene.utils import arp_rows as rows
    from saltext.arp_hygiene.utils import arp_select as select
    from saltext.arp_hygiene.utils import arp_table as tables
    from saltext.arp_hygiene.utils import arp_wire as wire

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

# Before 4.2 an administrative PROBE keeps the old probe count and can fail at once
# ("neigh: Better handling of transition to NUD_PROBE state").
OLDEST_KERNEL = (4, 2)


def revalidate(selectors, rate, test=False):
    """Prove every entry that is meant and ours; return what came of each.

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
        table = tables.Table(channel, selectors)
        timers, _limits = channel.tables(selectors.families)
        read_at = time.monotonic()  # before it is read: a large table takes its time
        chosen = table.read_ours(also=lambda entry: probe.unprovable(entry, timers))
        suspects = {key: entry for key, entry in chosen.items() if _suspect(entry, timers)}
        if test:
            result = {
                "would_check": len(chosen),
                "suspects": [tables.named(table, entry) for entry in suspects.values()],
            }
        else:
            todo = {**suspects, **chosen}  # suspects first
            result = probe.Run(table, timers, len(chosen)).run(todo.values(), rate, read_at)
        result["kept"] = table.kept_counts()
        result["warnings"] = _warnings(table, timers, chosen.values())
    return result


def _suspect(entry, timers):
    if entry.state != select.REACHABLE:
        return False
    timing = timers.get((wire.family_of(entry.dst), entry.ifindex))
    return timing is not None and rows.is_suspect(
        entry.state, entry.confirmed, entry.updated, timing.base_reachable_s
    )


def _warnings(table, timers, entries):
    """Say where revalidation is not harmless on every fabric, or cannot heal."""
    lines = []
    for family, ifindex in sorted({(wire.family_of(e.dst), e.ifindex) for e in entries}):
        timing = timers.get((family, ifindex), netlink.DEFAULT_TIMERS)
        key = f"net.{tables.FAMILY_NAMES[family]}.neigh.{table.name(ifindex)}"
        if not timing.mcast_resolicit:
            lines.append(
                f"{key}.mcast_resolicit is 0: where nobody answers unicast requests, a live entry "
                "fails before the kernel asks by broadcast; set it to 3"
            )
        if timing.locktime_s >= timing.solicits * timing.retrans_s:
            lines.append(
                f"{key}.locktime lasts as long as all probes: a new MAC is not believed in time, "
                "and its entry fails instead of being healed"
            )
    return lines
