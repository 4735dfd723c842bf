"""Filter programs that the kernel attaches."""

import pytest
from arp_engine.packets import bpf


def test_a_program_is_limited_to_bpf_maxinsns():
    many = {number.to_bytes(4, "big"): frozenset({bytes(6)}) for number in range(600)}
    with pytest.raises(ValueError, match="instructions, limit 4096"):
        bpf.inbound_syns(4, many)
    assert len(bpf.inbound_syns(4, dict(list(many.items())[:500]))) <= 8 * 4096
