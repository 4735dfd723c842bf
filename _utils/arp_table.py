"""What one call knows of the machine: its devices, what is meant, what is ours; and why not.

No Salt in here. Bad arguments raise ValueError, a refusing kernel OSError; both carry one line for
the operator.
"""

import errno
import os
import socket
from collections import Counter, defaultdict
from itertools import chain

try:
    import arp_blocks as blocks
    import arp_select as select
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_blocks as blocks
    from saltext.arp_hygiene.utils import arp_select as select
    from saltext.arp_hygiene.utils import arp_wire as wire

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

FAMILY_NAMES = {number: name for name, number in select.FAMILIES.items()}


class Table:
    """What one call knows of the machine: its devices, and which entries are meant and ours."""

    def __init__(self, channel, selectors):
        """Take both; select.Unknown where the selectors name a device that does not exist."""
        self.channel, self.selectors = channel, selectors
        self._devices = {}  # ifindex to Device, as far as asked for
        self._meant = channel.names() if selectors.dev else {}  # name to ifindex
        selectors.check_devices(self._meant)
        self._kept = defaultdict(dict)  # ifindex to dst, of a meant entry that is not ours, to why

    def chunks(self, *families):
        """Yield the raw chunks of some families, or all that are meant, and the device meant."""
        ifindex = 0
        if self.selectors.dev and len(self.selectors.dev) == 1:
            [ifindex] = (self._meant[name] for name in self.selectors.dev)
        for family in families or self.selectors.families:
            yield from self.channel.neighbours(family, ifindex)

    def batches(self):
        """Yield what is meant: ``family, layout, head, block``, or ``family, None, None, entries``.

        A table that grows while it is read shows some entries twice and others not at all, without
        a word (no NLM_F_DUMP_INTR for neighbours). Who keys them by (ifindex, dst) mends the
        first; looking again mends the second.
        """
        for family in self.selectors.families:
            for layout, head, block in blocks.read(self.chunks(family)):
                if not layout or self.selectors.by_address:
                    yield family, None, None, [e for e in blocks.entries(block) if self.wants(e)]
                elif self.is_meant(head):
                    yield family, layout, head, block

    def wants(self, entry):
        """Tell whether an entry is meant."""
        return self.selectors.wants(entry, self.device(entry.ifindex))

    def is_meant(self, head):
        """Tell whether entries of one head are meant, where no address is named."""
        return self.wants(wire.Entry(*head))

    def read(self):
        """Return the entries that are meant: ``(ifindex, dst)`` to Entry."""
        return {
            (entry.ifindex, entry.dst): entry
            for _family, layout, _head, batch in self.batches()
            for entry in (layout.entries(batch) if layout else batch)
        }

    def read_ours(self, also=None):
        """Return the entries that are meant and ours: ``(ifindex, dst)`` to Entry. See ``ours``."""
        found, owners = {}, Owners(self)
        for _family, layout, head, batch in self.batches():
            if layout and head.kind:  # what is true of the first is true of all
                first = next(layout.entries(batch))
                reason = owners[head] or (also(first) if also else "")
                if reason:
                    self.keep(reason, head.ifindex, *layout.addresses(batch))
                    continue
                ours = layout.entries(batch)
            else:
                ours = self.ours(layout.entries(batch) if layout else batch, also)
            found.update(((entry.ifindex, entry.dst), entry) for entry in ours)
        for ifindex, by_address in self._kept.items():  # seen twice, and owned once: owned
            for dst in by_address:
                found.pop((ifindex, dst), None)
        return found

    def ours(self, entries, also=None):
        """Return those of some entries that are meant and ours; remember why others are kept.

        ``also`` may name one more reason to keep an entry.
        """
        chosen = []
        for entry in entries:
            if not self.wants(entry):
                continue
            reason = select.owner(entry, self.device(entry.ifindex)) or (
                also(entry) if also else ""
            )
            if reason:
                self.keep(reason, entry.ifindex, entry.dst)
            else:
                chosen.append(entry)
        return chosen

    def keep(self, reason, ifindex, *addresses):
        """Remember why entries that are meant are not touched."""
        self._kept[ifindex].update(dict.fromkeys(addresses, reason))

    def device(self, ifindex):
        """Return a Device, or None where there is none (any more)."""
        if ifindex not in self._devices:
            self._devices[ifindex] = self.channel.device(ifindex)
        return self._devices[ifindex]

    def name(self, ifindex):
        """Return a device's name; a number where it has none any more."""
        device = self.device(ifindex)
        return device.name if device else f"#{ifindex}"

    def kept_counts(self):
        """Return reason to count."""
        reasons = chain.from_iterable(by_address.values() for by_address in self._kept.values())
        return dict(sorted(Counter(reasons).items()))


class Owners(dict):
    """Who owns entries, by their head."""

    def __init__(self, table):
        super().__init__()
        self._table = table

    def __missing__(self, head):
        """Judge once for all entries alike: unicast, unless ``kind`` says otherwise."""
        entry = wire.Entry(*head, dst=b"\0\0\0\0")
        self[head] = reason = select.owner(entry, self._table.device(entry.ifindex))
        return reason


def address(dst):
    """Return a packed address as text."""
    return socket.inet_ntop(wire.family_of(dst), dst)


def named(table, entry):
    """Return an entry as the operator knows it."""
    mac, dev = entry.mac.hex(":"), table.name(entry.ifindex)
    return {"ip": address(entry.dst), "dev": dev, "mac": mac}


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
