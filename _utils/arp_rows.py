"""The neighbour table as rows and counts. No Salt in here, and nothing is touched or sent."""

import contextlib
import gc
import os
import socket
from collections import deque
from itertools import starmap

try:
    import arp_netlink as netlink
    import arp_select as select
    import arp_table as tables
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_netlink as netlink
    from saltext.arp_hygiene.utils import arp_select as select
    from saltext.arp_hygiene.utils import arp_table as tables
    from saltext.arp_hygiene.utils import arp_wire as wire

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

SORTED = 1000  # rows; more are returned in the kernel's order: nobody reads them, all pay for it


def is_suspect(state, confirmed, updated, base_reachable_s):
    """Tell whether hints, and not ARP, keep an entry REACHABLE. Ages in ticks.

    Without hints REACHABLE ends at the latest 1.5 times base_reachable_time after it began
    (neigh_rand_reach_time), and is then asked for again; ``updated`` moves only when state or MAC
    change. So REACHABLE for longer, and confirmed since, means: somebody else vouches for it.
    """
    if state != select.REACHABLE:
        return False
    base = base_reachable_s * wire.TICKS
    return updated > 1.5 * base and updated - confirmed > 0.5 * base


def list_entries(selectors):
    """Return the table as rows."""
    with netlink.Channel() as channel, _no_collection():
        table = tables.Table(channel, selectors)
        timers, _limits = channel.tables(selectors.families)
        return rows(table, table.batches(), timers)


@contextlib.contextmanager
def _no_collection():
    """Keep the cyclic collector from walking a growing list of rows again and again.

    Rows hold no cycles; with the collector 100,000 of them take half as long again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def rows(table, batches, timers):
    """Return entries as dicts that a person reads and a program can use.

    By device and address, as long as a person can still read them.
    """
    found = {}
    write = _row_writer(table, timers, found)
    for batch in batches:
        deque(starmap(write, batch), maxlen=0)  # exhausts it without a loop in Python
    return list(found.values()) if len(found) > SORTED else [found[key] for key in sorted(found)]


def _row_writer(table, timers, found):
    """Return the function that writes the row of one entry; it takes an Entry's fields."""
    macs, ticks, reachable = _Macs(), wire.TICKS, select.REACHABLE
    shared4, shared6 = (_Shared(table, timers, family) for family in select.FAMILIES.values())
    ntoa, ntop, v6 = socket.inet_ntoa, socket.inet_ntop, socket.AF_INET6

    def write(ifindex, state, flags, kind, dst, mac, confirmed, used, updated, protocol=0, ext=0):
        short = len(dst) == 4
        name, dev, owner, base_s = (shared4 if short else shared6)[ifindex, state, flags, kind]
        if protocol or ext or not kind:  # what an entry does not share with its like
            entry = wire.Entry(
                ifindex, state, flags, kind, dst, mac, confirmed, used, updated, protocol, ext
            )
            owner = select.owner(entry, table.devices.get(ifindex))
        found[ifindex, dst] = {
            "ip": ntoa(dst) if short else ntop(v6, dst),
            "mac": macs[mac],
            "dev": dev,
            "state": name,
            "confirmed_s": confirmed / ticks,
            "used_s": used / ticks,
            "updated_s": updated / ticks,
            "suspect": state == reachable and is_suspect(state, confirmed, updated, base_s),
            "owner": owner,
        }

    return write


class _Shared(dict):
    """What entries of one family and one ``(ifindex, state, flags, kind)`` share in their rows."""

    def __init__(self, table, timers, family):
        super().__init__()
        self._table, self._timers, self._family = table, timers, family
        self._owners = tables.Owners(table)

    def __missing__(self, head):
        """Find it out once: state, device, owner, base_reachable_time."""
        timing = self._timers.get((self._family, head[0]), netlink.DEFAULT_TIMERS)
        self[head] = shared = (
            select.state_name(head[1]),
            self._table.name(head[0]),
            self._owners[head],
            timing.base_reachable_s,
        )
        return shared


class _Macs(dict):
    """MAC addresses as text, each written once."""

    def __missing__(self, mac):
        """Write one."""
        self[mac] = text = mac.hex(":")
        return text


def stats(selectors):
    """Return how full the tables are, by family, device and state, against their limits."""
    with netlink.Channel() as channel:
        table = tables.Table(channel, selectors)
        entries = table.read()
        _timers, limits = channel.tables(selectors.families)
    result = {}
    for family in selectors.families:
        result[tables.FAMILY_NAMES[family]] = {
            "entries": 0,
            "states": {},
            "devices": {},
            **limits.get(family, {}),  # ipv6.disable=1: there is no such table
        }
    for entry in entries.values():
        counts = result[tables.FAMILY_NAMES[wire.family_of(entry.dst)]]
        state, device = select.state_name(entry.state), table.name(entry.ifindex)
        by_device = counts["devices"].setdefault(device, {})
        counts["entries"] += 1
        counts["states"][state] = counts["states"].get(state, 0) + 1
        by_device[state] = by_device.get(state, 0) + 1
    return result
