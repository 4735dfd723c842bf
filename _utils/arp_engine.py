"""See, flush and count the kernel's neighbour table. No Salt in here.

Every function opens its own sockets, closes them, and returns plain values. Bad arguments raise
ValueError, a refusing kernel OSError; both carry one line for the operator.
"""

import errno
import os
import socket
import time
from collections import Counter

try:
    import arp_netlink as netlink
    import arp_select as select
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_netlink as netlink
    from saltext.arp_hygiene.utils import arp_select as select
    from saltext.arp_hygiene.utils import arp_wire as wire

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

ROUNDS = 10  # looks at the table before a flush gives up; two are enough on a quiet table
DEFAULT_BASE_S = netlink.DEFAULT_TIMERS.base_reachable_s
FAMILY_NAMES = {number: name for name, number in select.FAMILIES.items()}


class Table:
    """What one call knows of the machine: its devices, and which entries are meant and ours."""

    def __init__(self, channel, selectors):
        """Read the devices; select.Unknown where the selectors name one that does not exist."""
        self.channel, self.selectors = channel, selectors
        self.devices = channel.devices()
        selectors.check_devices(self.devices)
        self.kept = {}  # (ifindex, dst) of a meant entry that is not ours: why

    def chunks(self):
        """Yield the raw chunks of the families and the one device that are meant."""
        ifindex = 0
        if self.selectors.dev and len(self.selectors.dev) == 1:
            ifindex = next(i for i, d in self.devices.items() if d.name in self.selectors.dev)
        for family in self.selectors.families:
            yield from self.channel.neighbours(family, ifindex)

    def read(self):
        """Return the entries that are meant: ``(ifindex, dst)`` to Entry.

        A table that grows while it is read shows entries twice, and hides others, without a word
        (no NLM_F_DUMP_INTR for neighbours): the first is mended here, the second by looking again.
        """
        return {
            (entry.ifindex, entry.dst): entry
            for chunk in self.chunks()
            for entry in wire.entries(chunk)
            if self.selectors.wants(entry, self.devices.get(entry.ifindex))
        }

    def ours(self, entries, also=None):
        """Return those of some entries that are meant and ours; remember why others are kept.

        ``also`` may name one more reason to keep an entry.
        """
        chosen = []
        for entry in entries:
            device = self.devices.get(entry.ifindex)
            if not self.selectors.wants(entry, device):
                continue
            reason = select.owner(entry, device) or (also(entry) if also else "")
            if reason:
                self.kept[entry.ifindex, entry.dst] = reason
            else:
                chosen.append(entry)
        return chosen

    def name(self, ifindex):
        """Return a device's name; a number where it has none any more."""
        device = self.devices.get(ifindex)
        return device.name if device else f"#{ifindex}"

    def kept_counts(self):
        """Return reason to count."""
        return dict(sorted(Counter(self.kept.values()).items()))


def address(dst):
    """Return a packed address as text."""
    return socket.inet_ntop(wire.family_of(dst), dst)


def is_suspect(entry, base_reachable_s):
    """Tell whether hints, and not ARP, keep an entry REACHABLE.

    Without hints REACHABLE ends at the latest 1.5 times base_reachable_time after it began
    (neigh_rand_reach_time), and is then asked for again; ``updated`` moves only when state or MAC
    change. So REACHABLE for longer, and confirmed since, means: somebody else vouches for it.
    """
    if entry.state != select.REACHABLE:
        return False
    limit = 1.5 * base_reachable_s * wire.TICKS
    return entry.updated > limit and entry.updated - entry.confirmed > limit / 1.5 / 2


def list_entries(selectors):
    """Return the table as rows, ordered by device and address."""
    with netlink.Channel() as channel:
        table = Table(channel, selectors)
        timers, _limits = channel.tables(selectors.families)
        entries = table.read()
    return rows(table, [entries[key] for key in sorted(entries)], timers)


def rows(table, entries, timers):
    """Return entries as dicts that a person reads and a program can use."""
    names, states, macs = {}, {}, {}
    for device in {entry.ifindex for entry in entries}:
        names[device] = table.name(device)
    for state in {entry.state for entry in entries}:
        states[state] = select.state_name(state)
    limits = {key: timing.base_reachable_s for key, timing in timers.items()}
    ticks, ntop, get = wire.TICKS, socket.inet_ntop, table.devices.get
    found = []
    for entry in entries:
        ifindex, state, _flags, _kind, dst, mac, confirmed, used, updated, _protocol, _ext = entry
        family = wire.family_of(dst)
        text = macs.get(mac)
        if text is None:
            text = macs[mac] = mac.hex(":")
        found.append(
            {
                "ip": ntop(family, dst),
                "mac": text,
                "dev": names[ifindex],
                "state": states[state],
                "confirmed_s": confirmed / ticks,
                "used_s": used / ticks,
                "updated_s": updated / ticks,
                "suspect": state == select.REACHABLE
                and is_suspect(entry, limits.get((family, ifindex), DEFAULT_BASE_S)),
                "owner": select.owner(entry, get(ifindex)),
            }
        )
    return found


def flush(selectors, rows_wanted=False, test=False):
    """Delete every entry that is meant and ours; return counts, and rows where they are wanted.

    The table is looked at again until a look finds nothing left to do: a growing table hides
    entries from a dump, and so does deleting while the dump goes on.
    """
    with netlink.Channel() as channel:
        table = Table(channel, selectors)
        work = _Flush(table, rows_wanted)
        if test:
            chosen = table.ours(table.read().values())
            result = {"would_flush": len(chosen)}
        else:
            with netlink.Channel() as orders:
                work.run(orders)
            chosen = work.removed.values()
            result = {"flushed": work.flushed}
        result["kept"] = table.kept_counts()
        if rows_wanted:
            timers, _limits = channel.tables(selectors.families)
            chosen = sorted(chosen, key=lambda entry: (entry.ifindex, entry.dst))
            result["entries"] = rows(table, chosen, timers)
    if work.failed:
        result["failed"] = list(work.failed.values())
    return result


class _Flush:
    """One flush: what has been deleted, and what the kernel refused."""

    def __init__(self, table, rows_wanted):
        self.table, self.rows_wanted = table, rows_wanted
        self.flushed = 0
        self.removed = {}  # with rows: key to Entry
        self.failed = {}  # key to a row for the operator
        self._residue = set()  # keys without a MAC that were deleted once
        self._began = time.monotonic()

    def run(self, orders):
        """Look and delete until nothing is left to do, at most ROUNDS times."""
        for again in range(ROUNDS):
            before = self.flushed
            for chunk in self.table.chunks():
                self._chunk(orders, chunk, again)
            if self.flushed == before:
                return

    def _chunk(self, orders, chunk, again):
        """Delete what is ours in one chunk of the dump."""
        layout = None if again or self.rows_wanted else wire.uniform(chunk)
        if layout and self._all_ours(chunk, layout):
            messages, size = memoryview(wire.as_deletes(chunk, layout)), layout.size
            for at in range(0, len(messages), size * netlink.BATCH):
                self._send(orders, messages[at : at + size * netlink.BATCH], size)
            return
        chosen = self.table.ours(wire.entries(chunk))
        chosen = [entry for entry in chosen if self._is_due(entry, again)]
        for at in range(0, len(chosen), netlink.BATCH):
            batch = chosen[at : at + netlink.BATCH]
            gone = self._send(orders, b"".join(map(wire.delete_message, batch)), 0, len(batch))
            if self.rows_wanted:
                for entry in batch:
                    if (entry.ifindex, entry.dst) not in gone:
                        self.removed.setdefault((entry.ifindex, entry.dst), entry)

    def _all_ours(self, chunk, layout):
        """Tell, by columns, whether every entry of a uniform chunk is meant and ours."""
        meant = self.table.selectors
        if not layout.mac or meant.ip is not None or meant.exclude is not None:
            return False
        ifindexes, states, others = layout.columns_of(chunk)
        return not others and all(
            self._plain(ifindex, state) for ifindex in ifindexes for state in states
        )

    def _plain(self, ifindex, state):
        """Tell whether a unicast entry with no flags is meant and ours: by the same rules."""
        probe = wire.Entry(ifindex, state, 0, 1, b"\0\0\0\0", b"", 0, 0, 0)
        device = self.table.devices.get(ifindex)
        return self.table.selectors.wants(probe, device) and not select.owner(probe, device)

    def _is_due(self, entry, again):
        """Tell whether an entry should be deleted in this round.

        A deleted entry that somebody still refers to stays as FAILED for a moment: once is
        enough. And what the kernel has learned since we began is not what we were asked to
        delete: without this, a flush under traffic would delete its own cure, round after round.
        """
        if not entry.mac:
            key = entry.ifindex, entry.dst
            if key in self._residue:
                return False
            self._residue.add(key)
            return not again
        since = (time.monotonic() - self._began) * wire.TICKS
        return not again or entry.updated > since + 1

    def _send(self, orders, messages, size, count=None):
        """Send one batch of deletes; return the keys of those that were gone already."""
        count = len(messages) // size if count is None else count
        _none, refusals = orders.exchange(messages)
        gone = set()
        for refusal in refusals:
            key = refusal.entry.ifindex, refusal.entry.dst
            if not already_gone(refusal):
                self._refused(refusal, len(refusals) == count)
                self.failed[key] = failure(refusal, self.table)
            gone.add(key)
        self.flushed += count - len(refusals)
        return gone

    def _refused(self, refusal, whole_batch):
        """Stop at once where the kernel lets us delete nothing at all."""
        if whole_batch and not self.flushed and refusal.errno == errno.EPERM:
            raise denied("delete", refusal, self.table)


def already_gone(refusal):
    """Tell whether a refusal means that the entry, or its device, is no more: success.

    EPERM with "Neighbor entry is now dead" is a race with another deletion.
    """
    return refusal.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO) or (
        refusal.errno == errno.EPERM and "dead" in refusal.text
    )


def errno_text(refusal):
    """Return the errno's name and what the kernel said."""
    name = errno.errorcode.get(refusal.errno, str(refusal.errno))
    return f"{name}: {refusal.text or os.strerror(refusal.errno)}"


def failure(refusal, table):
    """Return the row that tells the operator what the kernel refused."""
    return {
        "ip": address(refusal.entry.dst),
        "dev": table.name(refusal.entry.ifindex),
        "error": errno_text(refusal),
    }


def denied(verb, refusal, table):
    """Return the exception for a kernel that lets us touch nothing."""
    return PermissionError(
        refusal.errno,
        f"cannot {verb} {address(refusal.entry.dst)} on {table.name(refusal.entry.ifindex)}: "
        f"{errno_text(refusal)}; this needs CAP_NET_ADMIN, run the minion as root",
    )


def stats(selectors):
    """Return how full the tables are, by family, device and state, against their limits."""
    with netlink.Channel() as channel:
        table = Table(channel, selectors)
        entries = table.read()
        _timers, limits = channel.tables(selectors.families)
    result = {}
    for family in selectors.families:
        result[FAMILY_NAMES[family]] = {"entries": 0, "states": {}, "devices": {}, **limits[family]}
    for entry in entries.values():
        counts = result[FAMILY_NAMES[wire.family_of(entry.dst)]]
        state, device = select.state_name(entry.state), table.name(entry.ifindex)
        by_device = counts["devices"].setdefault(device, {})
        counts["entries"] += 1
        counts["states"][state] = counts["states"].get(state, 0) + 1
        by_device[state] = by_device.get(state, 0) + 1
    return result
