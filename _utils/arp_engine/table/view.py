"""One call's view of the neighbour table: reads it, judges each entry, counts what is kept.

``TableView.judged`` is the only loop that judges entries: list, flush, dry run and revalidation all
use it. The rules are in table/ownership.py and table/selectors.py. A bad argument raises
ValueError, a refusal of the kernel OSError, each with one line for the operator.
"""

import errno
import functools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator

from ..netlink import codec, links, rtnetlink, table_dump
from ..netlink.model import Device, Entry, Head, Timers
from . import ownership, refusals
from .selectors import NotOnThisHost, Selectors

MAX_READS = 10  # of a table whose hash is resized during each: it has grown a thousandfold by then
UNSELECTED = "not selected"


class TableView:
    """What one call has read: devices, timers, and which entries are selected, ours, or kept."""

    def __init__(
        self,
        channel: rtnetlink.Channel,
        selectors: Selectors,
        must_be_provable: bool = False,
        is_read_only: bool = False,
        dumps: rtnetlink.Channel | None = None,
    ) -> None:
        """Raise NotOnThisHost where the selectors name a device that does not exist.

        must_be_provable: entries that the kernel cannot prove are kept, too. is_read_only: for a
        port of a bridge or bond, and for a VRF, take the devices that have the entries as well.
        dumps: reads the table, so that ``channel`` can be used in the middle of that.
        """
        self.channel, self.selectors, self._dumps = channel, selectors, dumps or channel
        self._must_be_provable = must_be_provable
        self._devices: dict[int, Device | None] = {}  # those asked for so far
        self._timers: dict[int, dict[int, Timers]] = {}  # family to (ifindex to Timers)
        self._named = None if selectors.dev is None else self._ifindexes(sorted(selectors.dev))
        if self._named and is_read_only:
            self._named = {at for named in self._named for at in links.with_entries(channel, named)}
        self._head_verdicts = {
            family: _HeadVerdicts(functools.partial(self._verdict, family))
            for family in selectors.families
        }
        self._read_at = 0.0  # when the kernel showed the entries: see age_s
        # ifindex to (address to reason)
        self._kept: defaultdict[int, dict[bytes, str]] = defaultdict(dict)

    def _ifindexes(self, names: list[str]) -> set[int]:
        found = {name: self.channel.ifindex(name) for name in names}
        for name in (name for name, ifindex in found.items() if not ifindex):
            here = ", ".join(sorted(other for _ifindex, other in self.channel.devices()))
            is_address = ":" in name or name.replace(".", "").isdigit()
            hint = "; several addresses: ip=A,B" if is_address else ""
            raise NotOnThisHost(f"dev: no device {name!r} here; there are {here}{hint}")
        return set(found.values())

    # --- read and judge

    def judged(
        self, families: Collection[int] | None = None, at_once: bool = False
    ) -> Iterator[tuple[str, table_dump.Block]]:
        """Read the table once; yield ``(owner, block)`` of selected entries. No owner: ours.

        families: fewer than are selected. at_once: yield what was read before more is received.

        The kernel may resize the hash during a dump. Some entries are then shown twice, others not
        at all, and no NLM_F_DUMP_INTR says so (net/core/neighbour.c: neigh_dump_info). Callers key
        entries by (ifindex, address) against the first; ``until_complete`` is against the second.
        """
        for family in families or self.selectors.families:
            verdict_by_head = self._head_verdicts[family].__getitem__
            chunks = self._chunks(family)
            for together in self._one_at_a_time(chunks) if at_once else [chunks]:
                for block in table_dump.read(together, group_by=verdict_by_head):
                    if block.group is None:
                        yield from self._one_by_one(family, block)
                    elif block.group != UNSELECTED:
                        yield str(block.group), block

    def _one_at_a_time(self, chunks: Iterable[bytes]) -> Iterator[list[bytes]]:
        """Yield each chunk alone, and note since when it may be out of date.

        The kernel writes the next chunk while we receive this one (net/netlink/af_netlink.c:
        netlink_recvmsg): each is as old as the moment at which we asked for the one before it.
        """
        before = now = time.monotonic()
        for chunk in chunks:
            self._read_at, before = before, now
            yield [chunk]
            now = time.monotonic()

    def age_s(self) -> float:
        """Return how long ago the kernel showed the entries that ``ours(at_once=True)`` yields."""
        return time.monotonic() - self._read_at

    def ours(
        self, families: Collection[int] | None = None, at_once: bool = False
    ) -> Iterator[table_dump.Block]:
        """Read the table once; yield selected entries that are ours, count the others as kept."""
        for reason, block in self.judged(families, at_once):
            if reason:
                for ifindex, addresses in block.by_device():
                    self._kept[ifindex].update(dict.fromkeys(addresses, reason))
            else:
                yield block

    def _chunks(self, family: int) -> Iterator[bytes]:
        """Yield the raw dump of one family; of one device only, where one is selected."""
        only = self._named if self._named and len(self._named) == 1 else [0]
        return self._dumps.neighbours(family, *only)

    def _verdict(self, family: int, entry: Head | Entry) -> str | None:
        """Return why an entry is not ours to touch, an empty string, or UNSELECTED.

        None for a head whose entries are to be judged one by one.
        """
        matches = self.selectors.matches(entry, self._named)
        if not matches:
            return None if matches is None else UNSELECTED
        reason = ownership.owner(entry, self.device(entry.ifindex))
        if reason == "" and self._must_be_provable:
            return ownership.why_unprovable(entry, self.timers(family, entry.ifindex))
        return reason

    def _one_by_one(
        self, family: int, block: table_dump.Block
    ) -> Iterator[tuple[str, table_dump.Block]]:
        """Judge each entry of a block, and yield them grouped by owner."""
        verdicts, by_head = [], self._head_verdicts[family]
        for head, entry in zip(block.each_head(), block.entries(), strict=True):
            verdict = by_head[head]
            verdicts.append(self._verdict(family, entry) if verdict is None else verdict)
        for reason in set(verdicts) - {UNSELECTED}:
            yield reason, block.pick((verdict == reason for verdict in verdicts), reason)

    def until_complete(self) -> Iterator[None]:
        """Yield once for each read of the table, until its hash was not resized meanwhile.

        A resize hides entries. It changes seed and size of the hash (net/core/neighbour.c:
        neigh_hash_grow), so equal values before and after prove that the read was complete.
        """
        before = self.hashes()
        for _read in range(MAX_READS):
            yield
            after = self.hashes()
            if after == before:
                return
            before = after
        resized = f"neighbour hash resized during all {MAX_READS} dumps"
        raise OSError(errno.EAGAIN, f"{resized}, so entries are missing: call the function again")

    def hashes(self, families: Collection[int] | None = None) -> dict[int, tuple[int, int]]:
        """Return seed and size of each family's hash."""
        limits = rtnetlink.limits(families or self.selectors.families)
        return {family: limit.hash for family, limit in limits.items()}

    def read_ours(self) -> dict[codec.Key, codec.Entry]:
        """Return all entries that are selected and ours."""
        found: dict[codec.Key, codec.Entry] = {}
        for _read in self.until_complete():
            for block in self.ours():
                found.update((entry.key, entry) for entry in block.entries())
        for ifindex, by_address in self._kept.items():  # shown twice, once with an owner: it counts
            for dst in by_address:
                found.pop((ifindex, dst), None)
        return found

    def read_again(self, keys: Iterable[codec.Key]) -> dict[codec.Key, codec.Entry | None]:
        """Return some entries as they are now; None for those that are gone.

        Each is requested alone (RTM_GETNEIGH). Kernels before 5.0 cannot do that: there the whole
        table is read, and an entry that it does not show is left out, as that proves nothing.
        """
        found: dict[codec.Key, codec.Entry | None] = {}
        wanted = list(keys)
        for entries, refused in self.channel.get_entries(wanted):
            found.update((entry.key, entry) for entry in entries)
            if any(refusal.errno == errno.EOPNOTSUPP for refusal in refused):
                return self._read_among(set(wanted))
            found.update((r.entry.key, None) for r in refused if refusals.already_gone(r))
        return found

    def not_ours_now(self, keys: Collection[codec.Key]) -> dict[codec.Key, codec.Entry | None]:
        """Return those of some entries that are gone (None) or have got an owner.

        Before a question is repeated: an answer would change the entry of its owner.
        """
        current = self.read_again(keys) if keys else {}
        return {key: each for key, each in current.items() if not each or self.is_owned(each)}

    def _read_among(self, keys: set[codec.Key]) -> dict[codec.Key, codec.Entry | None]:
        """Return those of some entries that one dump of the whole table shows."""
        return {
            entry.key: entry
            for family in self.selectors.families
            for block in table_dump.read(self._chunks(family))
            for entry in block.entries()
            if entry.key in keys
        }

    # --- entries that are kept

    def keep(self, reason: str, key: codec.Key) -> None:
        """Remember why a selected entry is not touched."""
        self._kept[key[0]][key[1]] = reason

    def is_ours_still(self, entry: codec.Entry) -> bool:
        """Judge an entry that was read again; count it as kept where it is not ours any more."""
        reason = self._verdict(codec.family_of(entry.dst), entry)
        if reason:
            self.keep("no longer selected" if reason == UNSELECTED else reason, entry.key)
        return not reason

    def is_owned(self, entry: codec.Entry) -> bool:
        """Tell whether an entry has an owner by now, selected or not; count it as kept then."""
        reason = ownership.owner(entry, self.device(entry.ifindex))
        if reason:
            self.keep(reason, entry.key)
        return bool(reason)

    def kept(self) -> dict[str, int]:
        """Return how many entries are kept for each reason."""
        counts: Counter[str] = Counter()
        for by_address in self._kept.values():
            counts.update(by_address.values())
        return dict(sorted(counts.items()))

    def kept_addresses(self) -> set[bytes]:
        """Return the addresses of the entries that are kept."""
        return {dst for by_address in self._kept.values() for dst in by_address}

    # --- devices

    def device(self, ifindex: int) -> Device | None:
        """Return a device, or None where it does not exist (any more)."""
        if ifindex not in self._devices:
            self._devices[ifindex] = self.channel.device(ifindex)
        return self._devices[ifindex]

    def name(self, ifindex: int) -> str:
        """Return a device's name; ``#IFINDEX`` where it does not exist any more."""
        device = self.device(ifindex)
        return device.name if device else f"#{ifindex}"

    def timers(self, family: int, ifindex: int) -> Timers:
        """Return a device's NUD timers; the kernel's defaults for a device that has just come."""
        if family not in self._timers:
            with rtnetlink.Channel() as channel:  # self.channel may be in the middle of a dump
                self._timers[family] = channel.timers(family)
        return self._timers[family].get(ifindex, Timers())


class _HeadVerdicts(dict[Head, str | None]):
    """Head to the verdict on all its entries, each found once."""

    def __init__(self, verdict: Callable[[Head], str | None]) -> None:
        self._verdict = verdict

    def __missing__(self, head: Head) -> str | None:
        self[head] = verdict = self._verdict(head)
        return verdict
