"""The neighbour table as rows and counts. No Salt in here, and nothing is touched or sent."""

import contextlib
import gc
import os
import socket
from collections import defaultdict
from itertools import chain

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

_LAST = [str(byte) for byte in range(256)]
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
    with netlink.Channel() as channel, no_collection():
        table = tables.Table(channel, selectors)
        timers, _limits = channel.tables(selectors.families)
        rows = Rows(table, timers)
        for batch in table.batches():
            rows.add(*batch)
        return rows.listed()


@contextlib.contextmanager
def no_collection():
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


class Rows:
    """Entries as dicts that a person reads and a program can use.

    Kept by device and address: a table that grows while it is read shows some of them twice.
    """

    def __init__(self, table, timers):
        """Take a Table and what its devices' timers are."""
        self._found = defaultdict(dict)  # ifindex to (dst to row)
        self._table, self._macs, self._networks = table, _Macs(), _Networks()
        self._shared = {
            family: _Shared(table, timers, family) for family in table.selectors.families
        }

    def add(self, family, layout, head, batch):
        """Take a batch in the shape of Table.batches."""
        if not layout:
            for entry in batch:
                self._add_one(family, entry)
            return
        if head.kind:
            self._add_run(family, head, layout.tails(batch))
        else:  # no word from the kernel what kind of address it is: look at the address
            for entry in layout.entries(batch):
                self._add_one(family, entry)

    def drop(self, ifindex, dst):
        """Forget a row."""
        self._found[ifindex].pop(dst, None)

    def listed(self):
        """Return the rows; by device and address, as long as a person can still read them."""
        found = self._found
        if sum(map(len, found.values())) > SORTED:
            return list(chain.from_iterable(by_address.values() for by_address in found.values()))
        return [found[index][dst] for index in sorted(found) for dst in sorted(found[index])]

    def _add_one(self, family, entry):
        owner = select.owner(entry, self._table.device(entry.ifindex))
        head, tail = wire.Head(*entry[: len(wire.Head._fields)]), entry[len(wire.Head._fields) :]
        self._add_run(family, head, [tail], owner)

    def _add_run(self, family, head, run, owner=None):
        """Write the rows of entries that share their head: the fast path."""
        name, dev, usual, base_s = self._shared[family][head]
        owner = usual if owner is None else owner
        reachable, macs, ticks = head.state == select.REACHABLE, self._macs, wire.TICKS
        found, networks = self._found[head.ifindex], self._networks
        ipv4, ntop, ipv6 = family == socket.AF_INET, socket.inet_ntop, socket.AF_INET6
        alike = {  # a copy, and what differs, is faster than nine new values
            "ip": "",
            "mac": "",
            "dev": dev,
            "state": name,
            "confirmed_s": 0.0,
            "used_s": 0.0,
            "updated_s": 0.0,
            "suspect": False,
            "owner": owner,
        }
        for dst, mac, confirmed, used, updated in run:
            found[dst] = row = alike.copy()
            row["ip"] = networks[dst[:3]] + _LAST[dst[3]] if ipv4 else ntop(ipv6, dst)
            row["mac"] = macs[mac]
            row["confirmed_s"] = confirmed / ticks
            row["used_s"] = used / ticks
            row["updated_s"] = updated / ticks
            if reachable and is_suspect(head.state, confirmed, updated, base_s):
                row["suspect"] = True


class _Shared(dict):
    """What entries of one family and one head share in their rows."""

    def __init__(self, table, timers, family):
        super().__init__()
        self._table, self._timers, self._family = table, timers, family
        self._owners = tables.Owners(table)

    def __missing__(self, head):
        """Find it out once: state, device, owner, base_reachable_time."""
        timing = self._timers.get((self._family, head.ifindex), netlink.DEFAULT_TIMERS)
        self[head] = shared = (
            select.state_name(head.state),
            self._table.name(head.ifindex),
            self._owners[head],
            timing.base_reachable_s,
        )
        return shared


class _Networks(dict):
    """The first three bytes of IPv4 addresses as text, each written once."""

    def __missing__(self, network):
        """Write one."""
        self[network] = text = socket.inet_ntoa(network + b"\0")[:-1]
        return text


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
