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

Chunks are sorted into blocks: messages of one layout, alike in all that decides what shall become
of them. A block is checked by columns (``block[offset::size]``), judged once, and unpacked or
rewritten in one go. What fits no layout is left to arp_wire; both agree: tests/unit/test_wire.py.
"""

import os
import socket
import struct
import sys
from collections import namedtuple
from itertools import chain, compress, product

from pyroute2.netlink import NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELNEIGH, RTM_NEWNEIGH

try:
    import arp_wire as wire
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_wire as wire

LOADED = os.stat(__file__).st_mtime_ns  # the surface reloads a file that has changed since

FEW = 16  # messages; more of them are faster looked at by columns
MANY = 1 << 18  # bytes of mixed messages; more of them at once are sorted no faster

#: Bytes that messages should have in common: where, and as a mask of one big number.
_Columns = namedtuple("_Columns", "offsets mask")


def _columns(offsets):
    return _Columns(tuple(offsets), sum(0xFF << 8 * at for at in offsets))


_HEAD = _columns(range(20, wire.START))  # ifindex, state, flags, kind


class Layout:
    """The shape of all messages of one family that carry the same attributes."""

    def __init__(self, family, mac, protocol, ext):
        """Say what they carry: a six-byte MAC, NDA_PROTOCOL, NDA_FLAGS_EXT."""
        width = 4 if family == socket.AF_INET else 16
        shape, fixed, self._marks = "", {16: bytes([family])}, {}
        for kind, length, values in (
            (wire.NDA_DST, width, f"{width}s"),
            (wire.NDA_LLADDR, 6 * mac, "6s2x"),
            (wire.NDA_PROBES, 4, "4x"),
            (wire.NDA_CACHEINFO, 16, "III4x"),
            (wire.NDA_PROTOCOL, 1 * protocol, "4x"),
            (wire.NDA_FLAGS_EXT, 4 * ext, "4x"),
        ):
            if length:
                at = wire.START + struct.calcsize("=" + shape)
                fixed[at] = wire.ATTRIBUTE.pack(4 + length, kind)
                if kind in (wire.NDA_PROTOCOL, wire.NDA_FLAGS_EXT):
                    self._marks[kind] = range(at + 4, at + 4 + length)
                shape += "4x" + values
            elif kind == wire.NDA_LLADDR:
                shape += "0s"  # an empty MAC
        self.mac, self.size = mac, wire.START + struct.calcsize("=" + shape)
        fixed[0] = struct.pack("=IH", self.size, RTM_NEWNEIGH)
        self._fixed = [(at + n, mark[n]) for at, mark in fixed.items() for n in range(len(mark))]
        columns = [at for at, _value in self._fixed] + [*chain(*self._marks.values())]
        self._all = _columns(columns)
        self._behind = _columns([at for at in columns if at >= wire.START])
        self._rows = struct.Struct(f"=20xiHBB{shape}")
        self._heads = struct.Struct(f"=20xiHBB{self.size - wire.START}x")
        self._tails = struct.Struct(f"={wire.START}x{shape}")
        behind = self.size - wire.START - 4 - width
        self._dst = struct.Struct(f"={wire.START + 4}x{width}s{behind}x")

    def fills(self, block, sorted_already=False):
        """Tell whether a block is nothing but messages of this layout, one marked like another.

        sorted_already: their first START bytes are alike.
        """
        if len(block) % self.size or any(block[at] != value for at, value in self._fixed):
            return False
        return self._are_alike(block, self._behind if sorted_already else self._all)

    def _are_alike(self, block, columns):
        """Tell whether all messages of a block have the same bytes in some columns."""
        size, count = self.size, len(block) // self.size
        if count < FEW:  # one big number for each message is cheaper than many short columns
            messages = (block[at : at + size] for at in range(0, len(block), size))
            numbers = (int.from_bytes(message, "little") for message in messages)
            return count == 1 or len({number & columns.mask for number in numbers}) == 1
        return all(block[at::size] == block[at : at + 1] * count for at in columns.offsets)

    def marks(self, block):
        """Return who wrote the entries of a block: NDA_PROTOCOL, NDA_FLAGS_EXT."""
        values = (
            bytes(block[at] for at in self._marks.get(kind, ()))
            for kind in (wire.NDA_PROTOCOL, wire.NDA_FLAGS_EXT)
        )
        return tuple(int.from_bytes(value, sys.byteorder) for value in values)

    def heads(self, block):
        """Return the heads that occur in a block."""
        marks = self.marks(block)
        if self._are_alike(block, _HEAD):
            return {wire.Head(*marks, *self._heads.unpack_from(block))}
        return {wire.Head(*marks, *rest) for rest in set(self._heads.iter_unpack(block))}

    def tails(self, block):
        """Yield the other fields of an Entry for each message of a block."""
        return self._tails.iter_unpack(block)

    def addresses(self, block):
        """Yield ``dst`` of each message of a block."""
        return chain.from_iterable(self._dst.iter_unpack(block))

    def entries(self, block, only=None):
        """Yield the entries of a block; those whose ``dst`` is in ``only``, where it is given."""
        rows = self._rows.iter_unpack(block)
        if only is not None:
            rows = compress(rows, map(only.__contains__, self.addresses(block)))
        return map(wire.Entry._make, map(self.marks(block).__add__, rows))

    def deletes(self, block):
        """Return a block as orders to delete its entries.

        RTM_DELNEIGH reads family, ifindex and NDA_DST and ignores the rest: a changed type and
        changed flags make an order of an answer.
        """
        orders, count = bytearray(block), len(block) // self.size
        for offset, value in enumerate(struct.pack("=HH", RTM_DELNEIGH, NLM_F_REQUEST), 4):
            orders[offset :: self.size] = bytes([value]) * count
        return orders


_LAYOUTS = {}  # size to those who have it
for _shape in product((socket.AF_INET, socket.AF_INET6), *[(True, False)] * 3):
    _layout = Layout(*_shape)
    _LAYOUTS.setdefault(_layout.size, []).append(_layout)


def _itself(head):
    return head


def read(chunks, sort=_itself):
    """Yield ``(layout, shared, block)`` until every message of some dump answers is in a block.

    Messages of one block have one layout, and heads for which ``sort(head)`` is the same; that is
    ``shared``. They do not come in the order of the chunks, and later than their chunk. A message
    of no known layout comes alone, with None and None.
    """
    mixed = _Mixed()
    for chunk in chunks:
        for layout in _layouts(chunk):
            if layout.fills(chunk):
                shared = set(map(sort, layout.heads(chunk)))
                if len(shared) == 1:
                    yield layout, shared.pop(), chunk
                    break
        else:
            mixed.take(chunk)
        if mixed.size > MANY:
            yield from mixed.blocks(sort)
            mixed = _Mixed()
    yield from mixed.blocks(sort)


def _layouts(chunk):
    """Return the layouts that the first message of a chunk may have."""
    return _LAYOUTS.get(wire.LENGTH.unpack_from(chunk)[0], ()) if chunk else ()


class _Mixed:
    """Messages sorted by their first START bytes: the kernel's header, and a head without marks."""

    def __init__(self):
        self.size, self._alike = 0, {}  # bytes taken; start to (padded size, messages)

    def take(self, chunk):
        """Sort the messages of a chunk in."""
        alike, first, at, end = self._alike, wire.START, 0, len(chunk)
        while at < end:
            start = chunk[at : at + first]
            try:
                size, messages = alike[start]
            except KeyError:
                size, messages = alike[start] = _padded_size(start), []
            messages.append(chunk[at : at + size])
            at += size
        if at > end:
            raise ValueError(f"netlink message of {size} bytes at {at - size} in a chunk of {end}")
        self.size += end

    def blocks(self, sort):
        """Yield what :py:func:`read` yields."""
        for _size, messages in self._alike.values():
            for layout, block in _alike(messages):
                yield layout, sort(*layout.heads(block)) if layout else None, block


def _padded_size(start):
    """Return how much room a message that starts like this takes in a chunk."""
    size = wire.LENGTH.unpack_from(start)[0] if len(start) == wire.START else len(start)
    if size < wire.START:
        raise ValueError(f"netlink message of {size} bytes")
    return size + 3 & ~3


def _alike(messages):
    """Yield ``(layout, block)`` of messages whose first START bytes are alike."""
    block = b"".join(messages)
    layouts = _layouts(block)
    for layout in layouts:
        if layout.fills(block, sorted_already=True):
            yield layout, block
            return
    for message in messages:
        if layouts and len(messages) > 1:  # of one length, and yet not alike
            yield from _alike([message])
        else:
            yield None, message


def entries(*chunks):
    """Return the entries of some dump answers, by either path."""
    found = []
    for layout, _shared, block in read(chunks, bool):  # any heads: unpacked with the rest
        if layout:
            found += layout.entries(block)
        else:
            entry = wire.parse(block)
            if entry:
                found.append(entry)
    return found
