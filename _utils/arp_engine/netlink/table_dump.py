"""Neighbour messages by the block: the fast path for tables of any size.

No sockets and no policy. One dump answer is a chunk of up to 32 KiB full of messages like this
one (IPv4, Ethernet, 76 bytes; byte order is the machine's)::

     0 nlmsghdr   length:4  type:2  flags:2  sequence:4  port:4
    16 ndmsg      family:1  pad:3  ifindex:4  state:2  flags:1  kind:1
    28 NDA_DST        08 00 01 00  address:4      (IPv6: 14 00 01 00  address:16)
    36 NDA_LLADDR     0a 00 02 00  mac:6  pad:2   (absent in FAILED and INCOMPLETE)
    48 NDA_PROBES     08 00 04 00  probes:4
    56 NDA_CACHEINFO  14 00 03 00  confirmed:4  used:4  updated:4  references:4
    76 NDA_PROTOCOL   05 00 0c 00  protocol:1  pad:3   (only where somebody set it)
    84 NDA_FLAGS_EXT  08 00 0f 00  flags:4             (only where somebody set one)

Chunks are sorted into blocks: messages of one layout whose heads (netlink/model.py) are in one
group; the caller says which group a head is in. A block is checked by columns
(``block[offset::size]``), and unpacked or rewritten in one go. A message that fits no layout is a
block of one, read by netlink/codec.py. Both agree: tests/unit/netlink/test_codec.py.
"""

import functools
import socket
import struct
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import chain, compress, product
from typing import Any, NamedTuple

from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_NEWNEIGH

from . import codec
from .constants import (
    NDA_CACHEINFO,
    NDA_DST,
    NDA_FLAGS_EXT,
    NDA_LLADDR,
    NDA_PROBES,
    NDA_PROTOCOL,
)
from .model import Entry, Head

# NamedTuple._make without its count of fields, which costs as much as the rest
_head, _entry = (functools.partial(tuple.__new__, kind) for kind in (Head, Entry))

COLUMNS_MIN = 16  # messages; with fewer, one number a message is compared faster than columns
BLOCK_MIN = 16  # messages of one group; fewer are not worth a block of their own
SORT_MAX = 1 << 18  # bytes of mixed messages; more of them at once are sorted no faster
HEAD_FIELDS = len(Head._fields)

#: The group of a head's entries, which decides what they may share a block with; None where each
#: entry has its own. Called once for each head in a chunk: it should be cheap, or remember.
GroupBy = Callable[[Head], Hashable]


class _Columns(NamedTuple):
    """Bytes that messages should have in common: where, and as a mask of one big number."""

    offsets: tuple[int, ...]
    mask: int


def _columns(offsets: Iterable[int]) -> _Columns:
    offsets = tuple(offsets)
    return _Columns(offsets, sum(0xFF << 8 * at for at in offsets))


_HEAD = _columns(range(20, codec.ATTRIBUTES_AT))  # ifindex, state, flags, kind


class Layout:
    """The shape of all messages of one family that carry the same attributes."""

    def __init__(self, family: int, has_mac: bool, has_protocol: bool, has_ext: bool) -> None:
        """Say what they carry: a six-byte MAC, NDA_PROTOCOL, NDA_FLAGS_EXT."""
        width = 4 if family == socket.AF_INET else 16
        carried = [(NDA_DST, width, f"{width}s")]
        if has_mac:
            carried.append((NDA_LLADDR, 6, "6s2x"))
        carried += [(NDA_PROBES, 4, "4x"), (NDA_CACHEINFO, 16, "III4x")]
        if has_protocol:
            carried.append((NDA_PROTOCOL, 1, "4x"))
        if has_ext:
            carried.append((NDA_FLAGS_EXT, 4, "4x"))
        shape, fixed = "", {16: bytes([family])}  # offset to the bytes that all messages have there
        self._origins: dict[int, range] = {}  # where NDA_PROTOCOL and NDA_FLAGS_EXT are
        for kind, length, values in carried:
            at = codec.ATTRIBUTES_AT + struct.calcsize("=" + shape)
            fixed[at] = codec.ATTRIBUTE.pack(4 + length, kind)
            if kind in (NDA_PROTOCOL, NDA_FLAGS_EXT):
                self._origins[kind] = range(at + 4, at + 4 + length)
            shape += "4x" + values
            if kind == NDA_DST and not has_mac:
                shape += "0s"  # an empty MAC
        self.has_mac, self.size = has_mac, codec.ATTRIBUTES_AT + struct.calcsize("=" + shape)
        fixed[0] = struct.pack("=IH", self.size, RTM_NEWNEIGH)
        self._fixed = [(at + n, mark[n]) for at, mark in fixed.items() for n in range(len(mark))]
        columns = [at for at, _value in self._fixed] + [*chain(*self._origins.values())]
        self._all = _columns(columns)
        self._attributes = _columns([at for at in columns if at >= codec.ATTRIBUTES_AT])
        behind_head = self.size - codec.ATTRIBUTES_AT
        self._rows = struct.Struct(f"=20xiHBB{shape}")
        self._heads = struct.Struct(f"=20xiHBB{behind_head}x")
        self._tails = struct.Struct(f"={codec.ATTRIBUTES_AT}x{shape}")
        self._dst = struct.Struct(f"={codec.ATTRIBUTES_AT + 4}x{width}s{behind_head - 4 - width}x")

    def fits(self, data: bytes, same_start: bool = False) -> bool:
        """Tell whether the data is messages of this layout alone, of one protocol and flags.

        same_start: their bytes before the attributes are known to be the same.
        """
        if len(data) % self.size or any(data[at] != value for at, value in self._fixed):
            return False
        return self._are_alike(data, self._attributes if same_start else self._all)

    def _are_alike(self, data: bytes, columns: _Columns) -> bool:
        """Tell whether all messages have the same bytes in some columns."""
        size, count = self.size, len(data) // self.size
        if count < COLUMNS_MIN:
            numbers = (int.from_bytes(message, "little") for message in self.messages(data))
            return count == 1 or len({number & columns.mask for number in numbers}) == 1
        return all(data[at::size] == data[at : at + 1] * count for at in columns.offsets)

    def messages(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages one by one."""
        return (data[at : at + self.size] for at in range(0, len(data), self.size))

    def origin(self, data: bytes) -> tuple[int, ...]:
        """Return who wrote the entries: NDA_PROTOCOL, NDA_FLAGS_EXT."""
        values = (
            bytes(data[at] for at in self._origins.get(kind, ()))
            for kind in (NDA_PROTOCOL, NDA_FLAGS_EXT)
        )
        return tuple(int.from_bytes(value, sys.byteorder) for value in values)

    def heads(self, data: bytes) -> set[Head]:
        """Return the heads that occur."""
        origin = self.origin(data)
        if self._are_alike(data, _HEAD):
            return {Head(*origin, *self._heads.unpack_from(data))}
        return set(map(_head, map(origin.__add__, set(self._heads.iter_unpack(data)))))

    def each_head(self, data: bytes) -> Iterator[Head]:
        """Yield the head of each message."""
        return map(_head, map(self.origin(data).__add__, self._heads.iter_unpack(data)))

    def tails(self, data: bytes) -> Iterator[tuple[Any, ...]]:
        """Yield the fields of each Entry that are not in its head."""
        return self._tails.iter_unpack(data)

    def addresses(self, data: bytes) -> Iterator[bytes]:
        """Yield ``dst`` of each message."""
        return chain.from_iterable(self._dst.iter_unpack(data))

    def entries(self, data: bytes) -> Iterator[Entry]:
        """Yield the entries."""
        return map(_entry, map(self.origin(data).__add__, self._rows.iter_unpack(data)))


class Block:
    """Messages of one layout, and the group of all their heads (None: of several, or of none)."""

    __slots__ = ("_layout", "data", "group")

    def __init__(self, layout: Layout, data: bytes, group: Hashable) -> None:
        self._layout, self.data, self.group = layout, data, group

    def __len__(self) -> int:
        return len(self.data) // self._layout.size

    @property
    def size(self) -> int:
        """Return the length of one message."""
        return self._layout.size

    @property
    def has_mac(self) -> bool:
        """Tell whether the entries have a MAC."""
        return self._layout.has_mac

    def heads(self) -> set[Head]:
        """Return the heads that occur."""
        return self._layout.heads(self.data)

    def each_head(self) -> Iterator[Head]:
        """Yield the head of each entry."""
        return self._layout.each_head(self.data)

    def by_device(self) -> Iterator[tuple[int, Iterable[bytes]]]:
        """Yield the entries' addresses, device by device."""
        devices = {head.ifindex for head in self.heads()}
        if len(devices) == 1:
            yield devices.pop(), self.addresses()
        else:
            for entry in self.entries():
                yield entry.ifindex, (entry.dst,)

    def tails(self) -> Iterator[tuple[Any, ...]]:
        """Yield ``(dst, mac, confirmed, used, updated)`` of each entry."""
        return self._layout.tails(self.data)

    def entries(self) -> Iterator[Entry]:
        """Yield the entries."""
        return self._layout.entries(self.data)

    def addresses(self) -> Iterator[bytes]:
        """Yield ``dst`` of each entry."""
        return self._layout.addresses(self.data)

    def pick(self, chosen: Iterable[bool], group: Hashable = None) -> "Block":
        """Return a block of the chosen messages; ``chosen`` has one value for each."""
        picked = compress(self._layout.messages(self.data), chosen)
        return Block(self._layout, b"".join(picked), group)

    def deletes(self) -> bytearray:
        """Return requests to delete the entries, each as long as its message.

        RTM_DELNEIGH reads family, ifindex and NDA_DST and ignores the rest: another type and other
        flags turn the kernel's answer into a request.
        """
        orders, count = bytearray(self.data), len(self)
        for offset, value in enumerate(struct.pack("=HH", RTM_DELNEIGH, NLM_F_REQUEST), 4):
            orders[offset :: self.size] = bytes([value]) * count
        return orders


class Single(Block):
    """A block of one message that fits no layout."""

    __slots__ = ("_entry",)

    def __init__(self, entry: Entry, group: Hashable = None) -> None:
        self._entry, self.group = entry, group

    def __len__(self) -> int:
        return 1

    @property
    def size(self) -> int:
        """Return the length of the request that ``deletes`` returns."""
        return len(self.deletes())

    @property
    def has_mac(self) -> bool:
        """Tell whether it has a MAC."""
        return bool(self._entry.mac)

    def heads(self) -> set[Head]:
        """Return its head."""
        return {self._entry.head}

    def each_head(self) -> Iterator[Head]:
        """Yield its head."""
        yield self._entry.head

    def tails(self) -> Iterator[tuple[Any, ...]]:
        """Yield its fields that are not in its head."""
        yield self._entry[HEAD_FIELDS:]

    def entries(self) -> Iterator[Entry]:
        """Yield the entry."""
        yield self._entry

    def addresses(self) -> Iterator[bytes]:
        """Yield its address."""
        yield self._entry.dst

    def pick(self, chosen: Iterable[bool], group: Hashable = None) -> Block:
        """Return it: callers pick only groups that have an entry."""
        return Single(self._entry, group)

    def deletes(self) -> bytearray:
        """Return the request to delete it."""
        return bytearray(codec.delete_message(self._entry.key))


_LAYOUTS: dict[int, list[Layout]] = {}  # size to the layouts of that size
for _shape in product((socket.AF_INET, socket.AF_INET6), *[(True, False)] * 3):
    _layout = Layout(*_shape)
    _LAYOUTS.setdefault(_layout.size, []).append(_layout)


def _one_group(_head: Head) -> Hashable:
    return True


def read(chunks: Iterable[bytes], group_by: GroupBy = _one_group) -> Iterator[Block]:
    """Yield blocks until every neighbour message of some dump answers is in one.

    The heads in a block are in one group (``Block.group``), unless too few of them are to be worth
    a block of their own. Blocks do not come in the order of the chunks, and later than their chunk.
    """
    mixed = _Mixed(group_by)
    for chunk in chunks:
        block = _unsorted(chunk, group_by)
        if block:
            yield block
        else:
            mixed.add(chunk)
        if mixed.size > SORT_MAX:
            yield from mixed.blocks()
            mixed = _Mixed(group_by)
    yield from mixed.blocks()


def _layout_of(data: bytes, same_start: bool = False) -> Layout | None:
    """Return the layout that all messages have."""
    if len(data) >= codec.U32.size:
        for layout in _LAYOUTS.get(codec.U32.unpack_from(data)[0], ()):
            if layout.fits(data, same_start):
                return layout
    return None


def _unsorted(chunk: bytes, group_by: GroupBy) -> Block | None:
    """Return a chunk as one block, where there is nothing to sort or it is not worth it."""
    layout = _layout_of(chunk)
    if not layout:
        return None
    heads = layout.heads(chunk)
    groups = set(map(group_by, heads))
    if len(groups) > 1 and len(heads) * BLOCK_MIN <= len(chunk) // layout.size:
        return None
    return Block(layout, chunk, _only(groups))


class _Mixed:
    """Messages sorted by the bytes before their attributes: nlmsghdr and ndmsg."""

    def __init__(self, group_by: GroupBy) -> None:
        self.size = 0  # bytes taken
        self._group_by = group_by
        self._by_start: dict[bytes, tuple[int, list[bytes]]] = {}  # to padded size and messages

    def add(self, chunk: bytes) -> None:
        """Sort the messages of a chunk."""
        by_start, first, at, end = self._by_start, codec.ATTRIBUTES_AT, 0, len(chunk)
        size = 0
        while at < end:
            start = chunk[at : at + first]
            try:
                size, messages = by_start[start]
            except KeyError:
                size, messages = by_start[start] = _padded_size(start), []
            messages.append(chunk[at : at + size])
            at += size
        if at > end:
            raise codec.MalformedMessage(
                f"netlink message of {size} bytes at {at - size} in a chunk of {end}"
            )
        self.size += end

    def blocks(self) -> Iterator[Block]:
        """Yield what :py:func:`read` yields."""
        few: dict[int, list[bytes]] = {}  # padded size to messages of many heads
        for size, messages in self._by_start.values():
            if len(messages) < BLOCK_MIN:
                few.setdefault(size, []).extend(messages)
            else:
                yield from self._joined(messages, same_start=True)
        for messages in few.values():
            yield from self._joined(messages)

    def _joined(self, messages: list[bytes], same_start: bool = False) -> Iterator[Block]:
        """Yield messages of one length: in one block, or each in its own where layouts differ."""
        data = b"".join(messages)
        layout = _layout_of(data, same_start)
        if layout:
            yield Block(layout, data, _only(set(map(self._group_by, layout.heads(data)))))
        elif len(messages) > 1:
            for message in messages:
                yield from self._joined([message])
        else:
            entry = codec.parse(data)
            if entry:
                yield Single(entry, self._group_by(entry.head))


def _only(groups: set[Hashable]) -> Hashable:
    """Return the one group there is; None where there are several."""
    return groups.pop() if len(groups) == 1 else None


def _padded_size(start: bytes) -> int:
    """Return how many bytes a message that starts like this takes in a chunk."""
    is_whole = len(start) == codec.ATTRIBUTES_AT
    size = codec.U32.unpack_from(start)[0] if is_whole else len(start)
    if size < codec.ATTRIBUTES_AT:
        raise codec.MalformedMessage(f"netlink message of {size} bytes")
    return codec.padded(size)


def entries(*chunks: bytes) -> list[Entry]:
    """Return the entries of some dump answers."""
    return [entry for block in read(chunks) for entry in block.entries()]
