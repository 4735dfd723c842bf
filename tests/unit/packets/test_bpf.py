"""Filter programs that the kernel attaches."""

import pytest
from arp_engine.packets import bpf

SEED = 0x9E3779B1
MAC = bytes([2, 0, 0, 0, 0, 1])


def table(entries, length=4):
    return {(2, number.to_bytes(length, "big")): MAC for number in range(entries)}


def test_a_program_has_no_more_instructions_than_the_kernel_takes():
    with pytest.raises(ValueError, match="instructions, limit 4096"):
        bpf.inbound_syns(4, table(600), SEED)
    assert len(bpf.inbound_syns(4, table(500), SEED)) <= 8 * 4096
    assert len(bpf.inbound_syns(16, table(500, 16), SEED)) <= 8 * 4096


@pytest.mark.parametrize("length", [4, 16])
def test_parts_of_a_table_are_of_similar_size(length):
    parts = [0] * 16
    for key in table(4096, length):
        parts[bpf.hash_of(key, SEED) >> 28] += 1
    assert min(parts) > 128
    assert max(parts) < 512


def test_two_entries_with_one_hash_pass_all_their_syns(monkeypatch):
    one, other = table(2)
    alone = bpf.inbound_syns(4, {one: b""}, SEED)
    first = bpf.hash_of(one, SEED)
    monkeypatch.setattr(bpf, "hash_of", lambda _key, _seed: first)
    assert bpf.inbound_syns(4, {one: MAC, other: MAC}, SEED) == alone
