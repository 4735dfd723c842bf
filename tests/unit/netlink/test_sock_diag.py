"""sock_diag messages, parsed by columns and one by one: both agree."""

import contextlib
import struct

import pytest
from arp_engine.netlink import codec, sock_diag
from hypothesis import given, settings
from hypothesis import strategies as st

# Linux 6.18, the answer to TCPDIAG_GETSOCK (little-endian), of a caller bound to 192.0.2.1:40000:
#   s.connect_ex(("192.0.2.10", 5432)), 192.0.2.10 being no living host
SYN_SENT = bytes.fromhex(
    "7c0000001200020002001000120000000202" "01009c401538c0000201000000000000000000000000"
    "c000020a000000000000000000000000000000005d31020000000000e8030000000000000100000000000000"
    "ffed2300050008000000000008000f00000000000c00150001000000000000000600160052000000"
)  # fmt: skip
#   one end of a connection to 127.0.0.1:5432
ESTABLISHED = bytes.fromhex(
    "7c0000001200020003001000120000000201" "00008b1415387f000001000000000000000000000000"
    "7f000001000000000000000000000000000000005e3102000000000000000000000000000000000000000000"
    "01ee2300050008000000000008000f00000000000c00150001000000000000000600160052000000"
)  # fmt: skip
SHORTER = struct.pack("=I", 116) + ESTABLISHED[4:116]
RETRANSMITS = ESTABLISHED[:18] + b"\1\3" + ESTABLISHED[20:]

little = pytest.mark.skipif(struct.pack("=H", 1) != b"\1\0", reason="captured little-endian")


def read(chunk, unanswered_only=False):
    return list(sock_diag._parse_chunk(chunk, unanswered_only))


@little
def test_a_captured_message():
    [found] = read(SYN_SENT)
    assert found.row() == {
        "state": "SYN_SENT",
        "local": "192.0.2.1",
        "local_port": 40000,
        "peer": "192.0.2.10",
        "peer_port": 5432,
        "ifindex": 0,
        "timer": "retransmit",
        "retransmits": 0,
        "expires_ms": 1000,
        "cookie": 0x2315D,
    }
    assert found.is_unanswered


@little
@pytest.mark.parametrize(
    ("messages", "unanswered"),
    [
        ([], 0),
        ([ESTABLISHED] * 300, 0),
        ([ESTABLISHED] * 299 + [SYN_SENT], 1),
        ([RETRANSMITS, *[ESTABLISHED] * 299], 1),
        ([ESTABLISHED, SHORTER, RETRANSMITS], 1),
        ([SHORTER, SYN_SENT, SYN_SENT], 2),
    ],
    ids=["empty", "idle", "one SYN_SENT", "one retransmits", "of two sizes", "shorter first"],
)
def test_reading_by_columns_and_one_by_one_agree(messages, unanswered):
    chunk = b"".join(messages)
    assert read(chunk) == list(sock_diag._parse_one_by_one(chunk))
    assert len(read(chunk)) == len(messages)
    assert sum(found.is_unanswered for found in read(chunk, unanswered_only=True)) == unanswered


@little
@pytest.mark.parametrize("length", [0, 15, 87, 125, 1 << 31])
def test_a_wrong_length_is_malformed_and_no_endless_loop(length):
    with pytest.raises(codec.MalformedMessage, match=r"netlink (message of|data cut short)"):
        read(struct.pack("=I", length) + ESTABLISHED[4:])


@little
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([ESTABLISHED, SYN_SENT, SHORTER]), min_size=1, max_size=3),
    st.integers(0, 400),
    st.booleans(),
    st.booleans(),
)
def test_a_cut_message_is_read_or_malformed(messages, cut, claims_its_size, unanswered_only):
    short = b"".join(messages)[:cut]
    if claims_its_size and len(short) >= codec.U32.size:
        short = codec.U32.pack(len(short)) + short[4:]
    with contextlib.suppress(codec.MalformedMessage):
        read(short, unanswered_only)
