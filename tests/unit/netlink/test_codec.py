"""Neighbour messages, parsed one by one and by the block; both agree, also with pyroute2."""

import contextlib
import socket
import struct
from collections import Counter

import pytest
from arp_engine.netlink import codec, constants, table_dump
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ndmsg import ndmsg

# Linux 6.18, IPv4, captured from the answer to RTM_GETNEIGH (little-endian):
#   ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:01 nud stale dev v0
STALE = bytes.fromhex(
    "4c0000001c00020001001000b2a10000" "02000000030000000400000108000100c0000202"
    "0a00020002000000000100000800040000000000" "1400030070170000000000000000000000000000"
)  # fmt: skip
#   ip neigh add 192.0.2.9 nud failed dev v0
FAILED = bytes.fromhex(
    "400000001c00020001001000b2a10000" "02000000030000002000000108000100c0000209"
    "0800040000000000" "1400030070170000000000000000000000000000"
)  # fmt: skip
#   ip neigh add 192.0.2.19 lladdr 02:00:00:00:00:01 protocol zebra nud reachable dev v0
ZEBRA = bytes.fromhex(
    "540000001c00020001001000b2a10000" "02000000030000000200000108000100c0000213"
    "0a00020002000000000100000800040000000000" "1400030000000000000000000000000000000000"
    "05000c000b000000"
)  # fmt: skip


def by_head(head):
    """Put each head into a group of its own."""
    return head


little = pytest.mark.skipif(struct.pack("=H", 1) != b"\1\0", reason="captured little-endian")


@little
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (STALE, (4, "192.0.2.2", "02:00:00:00:00:01", 6000, 0)),
        (FAILED, (32, "192.0.2.9", "", 6000, 0)),
        (ZEBRA, (2, "192.0.2.19", "02:00:00:00:00:01", 0, 11)),
    ],
    ids=["stale", "failed", "zebra"],
)
def test_captured_messages(message, expected):
    [entry] = table_dump.entries(message)
    assert (
        entry.state,
        socket.inet_ntoa(entry.dst),
        entry.mac.hex(":"),
        entry.confirmed,
        entry.protocol,
    ) == expected
    assert entry.ifindex == 3
    assert entry.kind == 1


@little
def test_a_mixed_chunk_is_sorted_into_blocks():
    chunk = STALE + FAILED + ZEBRA + STALE
    assert [entry.state for entry in table_dump.entries(chunk)] == [4, 4, 32, 2]
    found = list(table_dump.read([STALE * 40 + ZEBRA + FAILED, STALE + FAILED], by_head))
    assert [(len(block), block.size, block.has_mac) for block in found] == [
        (41, 76, True),
        (1, 84, True),
        (2, 64, False),
    ]
    assert [block.group for block in found] == [
        entry.head for entry in one_by_one(STALE + ZEBRA + FAILED)
    ]


@little
def test_a_block_holds_one_group():
    reachable = STALE[:24] + b"\2" + STALE[25:]
    chunk = STALE * 20 + reachable * 20
    [block] = table_dump.read([chunk], lambda head: head.ifindex)
    assert (block.group, block.data) == (3, chunk)
    found = table_dump.read([chunk, STALE], lambda head: head.state)
    assert [(block.group, block.data) for block in found] == [
        (4, STALE),  # at once: nothing in it to sort
        (4, STALE * 20),
        (2, reachable * 20),
    ]


@little
def test_many_small_groups_stay_in_one_block_without_a_group():
    """A thousand devices with five entries each are not a thousand blocks."""
    chunk = b"".join(STALE[:20] + bytes([n, 0, 0, 0]) + STALE[24:] for n in range(1, 101)) * 5
    [block] = table_dump.read([chunk], by_head)
    assert (block.group, len(block)) == (None, 500)
    [block] = table_dump.read([chunk], lambda head: head.state)
    assert block.group == 4
    assert sorted(ifindex for ifindex, _dst in block.by_device()) == sorted([*range(1, 101)] * 5)


@little
def test_messages_of_equal_length_with_other_protocols_differ():
    bird = ZEBRA[:80] + b"\14" + ZEBRA[81:]
    for messages in ([ZEBRA, bird], [ZEBRA] * 20 + [bird] * 20):
        chunk = b"".join(messages)
        assert Counter(table_dump.entries(chunk)) == Counter(one_by_one(chunk))
        assert {block.group.protocol for block in table_dump.read([chunk], by_head)} == {11, 12}


@little
def test_pick_returns_a_block():
    [block] = table_dump.read([STALE * 3 + STALE[:32] + b"\xc0\0\2\x63" + STALE[36:]])
    picked = block.pick([False, True, False, True], "why")
    assert (len(picked), picked.group) == (2, "why")
    assert [codec.address(dst) for dst in picked.addresses()] == ["192.0.2.2", "192.0.2.99"]


@little
@pytest.mark.parametrize(
    ("at", "size", "name"), [(56, 8, 3), (76, 4, 12)], ids=["cacheinfo", "protocol"]
)
def test_an_attribute_shorter_than_its_value_is_malformed(at, size, name):
    cut = ZEBRA[:at] + struct.pack("=HH", size, name) + ZEBRA[at + 4 : at + size]
    cut = struct.pack("=I", len(cut)) + cut[4:]
    with pytest.raises(codec.MalformedMessage, match="netlink data cut short"):
        table_dump.entries(cut)


@pytest.mark.parametrize("length", [0, 15, 77])
def test_a_wrong_length_is_malformed_and_no_endless_loop(length):
    broken = struct.pack("=I", length) + STALE[4:]
    with pytest.raises(codec.MalformedMessage, match="netlink message of"):
        table_dump.entries(broken)


def test_a_wrong_attribute_length_is_malformed():
    broken = ZEBRA[:28] + b"\xff\xff" + ZEBRA[30:]
    with pytest.raises(codec.MalformedMessage, match="netlink attribute of"):
        table_dump.entries(broken)


def test_a_bridges_message_is_no_neighbour():
    """AF_BRIDGE, and no NDA_DST: bridge fdb add 02:00:00:00:00:01 dev p0."""
    of_bridge = STALE[:16] + b"\7" + STALE[17:28] + STALE[36:]
    of_bridge = struct.pack("=I", len(of_bridge)) + of_bridge[4:]
    assert codec.parse_neighbour(of_bridge) is None
    assert table_dump.entries(STALE + of_bridge) == table_dump.entries(STALE)


@little
def test_a_message_without_an_address_is_malformed():
    without = STALE[:28] + STALE[36:]
    without = struct.pack("=I", len(without)) + without[4:]
    with pytest.raises(codec.MalformedMessage, match="NDA_DST"):
        table_dump.entries(without)


@little
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([STALE, FAILED, ZEBRA]), min_size=1, max_size=3),
    st.integers(0, 255),
    st.integers(0, 255),
    st.booleans(),
)
def test_a_cut_or_damaged_message_is_read_or_malformed(batch, cut, value, claims_its_size):
    """No other exception: neither where the bytes end, nor where a length in them is wrong."""
    whole = b"".join(batch)
    short = bytearray(whole[: cut % len(whole)])
    if claims_its_size and len(short) >= codec.U32.size:
        short[:4] = codec.U32.pack(len(short))
    damaged = bytearray(whole)
    damaged[cut % len(whole)] = value
    for data in (bytes(short), bytes(damaged)):
        for read in (
            table_dump.entries,
            codec.parse,
            codec.parse_neighbour,
            lambda datagram: list(codec.links(datagram)),
            lambda datagram: list(codec.messages(datagram)),
        ):
            with contextlib.suppress(codec.MalformedMessage):
                read(data)


u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))


@st.composite
def messages(draw):
    """Make a neighbour message as a kernel of any age and any link layer could."""
    family = draw(st.sampled_from([socket.AF_INET, socket.AF_INET6]))
    dst = draw(st.binary(min_size=4 if family == socket.AF_INET else 16, max_size=16))
    dst = dst[: 4 if family == socket.AF_INET else 16]
    attributes = [codec.attribute(constants.NDA_DST, dst)]
    width = draw(st.sampled_from([6, 6, 6, 0, 4, 7, 8, 20]))
    if width:
        attributes.append(codec.attribute(2, draw(st.binary(min_size=width, max_size=width))))
    attributes.append(codec.attribute(constants.NDA_PROBES, struct.pack("=I", draw(u32))))
    ages = [draw(u32) for _ in range(4)]
    attributes.append(codec.attribute(constants.NDA_CACHEINFO, struct.pack("=4I", *ages)))
    if draw(st.booleans()):
        attributes.append(codec.attribute(constants.NDA_PROTOCOL, bytes([draw(u8)])))
    if draw(st.booleans()):
        attributes.append(codec.attribute(constants.NDA_FLAGS_EXT, struct.pack("=I", draw(u32))))
    if draw(st.booleans()):
        attributes.append(codec.attribute(draw(st.integers(16, 200)), draw(st.binary(max_size=9))))
    if draw(st.integers(0, 9)) == 0:
        attributes = draw(st.permutations(attributes))
    ifindex = draw(st.integers(1, 2**31 - 1))
    body = codec.NDMSG.pack(family, ifindex, draw(u16), draw(u8), draw(u8)) + b"".join(attributes)
    return codec.HEADER.pack(16 + len(body), 28, 2, draw(u32), draw(u32)) + body


def one_by_one(chunk):
    """Parse message by message, without layouts."""
    return [codec.parse(message) for _kind, message in codec.messages(chunk)]


@settings(max_examples=300, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=12))
def test_blocks_and_single_messages_give_the_same_entries(batch):
    chunk = b"".join(batch)
    assert Counter(table_dump.entries(chunk)) == Counter(one_by_one(chunk))
    for message in batch:
        assert table_dump.entries(message * 30) == one_by_one(message) * 30
    for block in table_dump.read(batch, by_head):
        truth = list(block.entries())
        assert block.heads() == {entry.head for entry in truth}
        assert block.group in (None, *block.heads())
        assert list(block.tails()) == [entry[table_dump.HEAD_FIELDS :] for entry in truth]
        assert list(block.addresses()) == [entry.dst for entry in truth]
        assert block.has_mac == any(entry.mac for entry in truth)


@settings(max_examples=100, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=6), st.integers(1, 40), st.integers(1, 5))
def test_every_message_is_in_one_block(batch, often, chunks):
    found = list(table_dump.read([b"".join(batch * often)] * chunks, lambda head: head.state))
    assert sum(map(len, found)) == len(batch) * often * chunks
    for block in found:
        states = {entry.state for entry in block.entries()}
        assert states == {block.group} or (block.group is None and len(states) > 1)


@settings(max_examples=200, deadline=None)
@given(messages())
def test_pyroute2_reads_the_same_fields(message):
    [entry] = table_dump.entries(message)
    theirs = ndmsg(message)
    theirs.decode()
    assert (theirs["ifindex"], theirs["state"], theirs["flags"]) == entry[2:5]
    assert theirs["ndm_type"] == entry.kind
    assert socket.inet_pton(codec.family_of(entry.dst), theirs.get_attr("NDA_DST")) == entry.dst
    ages = theirs.get_attr("NDA_CACHEINFO")
    assert (ages["ndm_confirmed"], ages["ndm_used"], ages["ndm_updated"]) == entry[-3:]
    if len(entry.mac) == 6:
        assert theirs.get_attr("NDA_LLADDR") == entry.mac.hex(":")


@settings(max_examples=100, deadline=None)
@given(messages())
def test_requests_name_the_entry_and_no_other_flags(message):
    [entry] = table_dump.entries(message)
    [block] = table_dump.read([message])
    orders = [
        codec.delete_message(entry.key),
        codec.probe_message(entry),
        *(bytes(each) for _kind, each in codec.messages(codec.locktime_messages(entry, True))),
        bytes(block.deletes()),
    ]
    for order in orders:
        theirs = ndmsg(order)
        theirs.decode()
        assert theirs["header"]["flags"] == 1  # REQUEST: no CREATE, no REPLACE
        assert theirs["ifindex"] == entry.ifindex
        assert socket.inet_pton(theirs["family"], theirs.get_attr("NDA_DST")) == entry.dst
    probe = ndmsg(orders[1])
    probe.decode()
    assert probe["state"] == 0x10
    assert theirs["header"]["type"] in (28, 29)
