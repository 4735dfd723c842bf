"""Which addresses a suspected proxy is asked for."""

import pytest
from arp_engine.resolve import interface_facts, proxy

MAC = bytes([2, 0, 0, 0, 0, 9])
OWN = interface_facts.Address(bytes([10, 0, 0, 1]), 24, 0, 0)
DEVICE = interface_facts.Interface(2, "db0", 1, 0, MAC, b"\xff" * 6, 0, False, (OWN,))


@pytest.mark.parametrize("free", [{77, 200}, {5, 77, 200}, {77}, set()], ids=str)
def test_the_last_free_addresses_of_a_full_network_are_found(free):
    used = {(2, bytes([10, 0, 0, last])) for last in range(2, 255) if last not in free}
    claim = proxy.Claim(2, bytes([10, 0, 0, 10]), MAC)
    for _ in range(20):
        found = {dst[-1] for dst in proxy.unused(None, DEVICE, claim, used)}
        assert found <= free
        assert len(found) == (proxy.ADDRESSES if len(free) > 1 else 0)
