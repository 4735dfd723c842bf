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
SORTED = 1000  # rows; more are returned in the kernel's order: nobody reads them, all pay for it
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

    def entries(self):
        """Yield the entries that are meant, as the kernel shows them: some twice, some not at all.

        That is what a table does that grows while it is read, without a word (no
        NLM_F_DUMP_INTR for neighbours). Who keys them by (ifindex, dst) mends the first; looking
        again mends the second.
        """
        wants, get = self.selectors.wants, self.devices.get
        for chunk in self.chunks():
            if self.selectors.all_meant:
                yield from wire.entries(chunk)
                continue
            for entry in wire.entries(chunk):
                if wants(entry, get(entry.ifindex)):
                    yield entry

    def read(self):
        """Return the entries that are meant: ``(ifindex, dst)`` to Entry."""
        return {(entry.ifindex, entry.dst): entry for entry in self.entries()}

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
    """Return the table as rows."""
    with netlink.Channel() as channel:
        table = Table(channel, selectors)
        timers, _limits = channel.tables(selectors.families)
        found = rows(table, table.entries(), timers)
    return ordered(found)


def ordered(found):
    """Return rows by device and address, as long as a person can still read them."""
    return list(found.values()) if len(found) > SORTED else [found[key] for key in sorted(found)]


def rows(table, entries, timers):
    """Return entries as dicts that a person reads and a program can use, by (ifindex, dst)."""
    owners = _Owners(table)
    names = {index: device.name for index, device in table.devices.items()}
    limits = {key: timing.base_reachable_s for key, timing in timers.items()}
    states, macs, found, ticks = {}, {}, {}, wire.TICKS
    for entry in entries:
        ifindex, state, flags, kind, dst, mac, confirmed, used, updated, protocol, ext = entry
        if mac not in macs:
            macs[mac] = mac.hex(":")
        if state not in states:
            states[state] = select.state_name(state)
        if protocol or ext or not kind:
            owner = select.owner(entry, table.devices.get(ifindex))
        else:
            owner = owners[ifindex, state, flags, kind]
        family = socket.AF_INET if len(dst) == 4 else socket.AF_INET6
        found[ifindex, dst] = {
            "ip": socket.inet_ntop(family, dst),
            "mac": macs[mac],
            "dev": names.get(ifindex) or table.name(ifindex),
            "state": states[state],
            "confirmed_s": confirmed / ticks,
            "used_s": used / ticks,
            "updated_s": updated / ticks,
            "suspect": state == select.REACHABLE
            and is_suspect(entry, limits.get((family, ifindex), DEFAULT_BASE_S)),
            "owner": owner,
        }
    return found


class _Owners(dict):
    """Who owns an entry, by what most entries share: ``(ifindex, state, flags, kind)``."""

    def __init__(self, table):
        super().__init__()
        self._devices = table.devices

    def __missing__(self, head):
        """Judge once for all entries alike: unicast, unless ``kind`` says otherwise."""
        entry = wire.Entry(*head, b"\0\0\0\0", b"", 0, 0, 0)
        self[head] = reason = select.owner(entry, self._devices.get(head[0]))
        return reason


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
            result["entries"] = ordered(rows(table, chosen, timers))
    if work.failed:
        result["failed"] = list(work.failed.values())
    return result


class _Flush:
    """One flush: what has been deleted, and what the kernel refused."""

    def __init__(self, table, rows_wanted):
        self.table, self.rows_wanted = table, rows_wanted
        self.flushed = 0
        self.removed = {}  # with rows: (ifindex, dst) to Entry
        self.failed = {}  # (ifindex, dst) to a row for the operator
        self._owners = _Owners(table)
        self._residue = set()  # (ifindex, dst) without a MAC that were deleted once
        self._began = time.monotonic()

    def run(self, orders):
        """Look and delete until nothing is left to do, at most ROUNDS times."""
        for again in range(ROUNDS):
            before = self.flushed
            for chunk in self.table.chunks():
                messages = []
                for layout, block in wire.blocks(chunk):
                    if again or not layout or not layout.mac or self.table.selectors.by_address:
                        messages += self._one_by_one(block, again)
                    else:
                        messages += self._alike(layout, block)
                for at in range(0, len(messages), netlink.BATCH):
                    self._send(orders, messages[at : at + netlink.BATCH])
            if self.flushed == before:
                return

    def _alike(self, layout, block):
        """Return the orders for a block, judged by what its entries share: the fast path."""
        heads = list(layout.heads.iter_unpack(block))
        ours = {head for head in set(heads) if self._is_ours(head)}
        messages = wire.delete_messages(block, layout)
        if self.rows_wanted or not ours.issuperset(heads):
            entries = layout.entries(block)
            chosen = [n for n, head in enumerate(heads) if head in ours]
            self.table.ours(entry for entry in entries if entry[:4] not in ours)
            self._note(entries[n] for n in chosen)
            messages = [messages[n] for n in chosen]
        return messages

    def _is_ours(self, head):
        """Tell whether entries of one ``(ifindex, state, flags, kind)`` are meant and ours."""
        device = self.table.devices.get(head[0])
        meant = self.table.selectors.wants(wire.Entry(*head, b"", b"", 0, 0, 0), device)
        return meant and bool(head[3]) and not self._owners[head]

    def _one_by_one(self, block, again):
        """Return the orders for a block, each entry judged alone."""
        chosen = [e for e in self.table.ours(wire.entries(block)) if self._is_due(e, again)]
        self._note(chosen)
        return [wire.delete_message(entry) for entry in chosen]

    def _note(self, entries):
        """Keep what will be deleted, where somebody wants to know."""
        if self.rows_wanted:
            self.removed.update(((entry.ifindex, entry.dst), entry) for entry in entries)

    def _is_due(self, entry, again):
        """Tell whether an entry should be deleted in this round.

        A deleted entry that somebody still refers to stays as FAILED for a moment: once is
        enough. And what the kernel has learned since we began is not what we were asked to
        delete: without this, a flush under traffic would delete its own cure, round after round.
        """
        if not entry.mac:
            key = entry.ifindex, entry.dst
            fresh = not again and key not in self._residue
            self._residue.add(key)
            return fresh
        return not again or entry.updated > (time.monotonic() - self._began) * wire.TICKS + 1

    def _send(self, orders, messages):
        """Send one batch of deletes."""
        _none, refusals = orders.exchange(b"".join(messages))
        for refusal in refusals:
            key = refusal.entry.ifindex, refusal.entry.dst
            self.removed.pop(key, None)
            if already_gone(refusal):
                continue
            if refusal.errno == errno.EPERM and not self.flushed and len(refusals) == len(messages):
                raise denied("delete", refusal, self.table)
            self.failed[key] = failure(refusal, self.table)
        self.flushed += len(messages) - len(refusals)


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
