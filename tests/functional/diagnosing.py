"""The addresses that the tests of arp.diagnose ask about."""

import pytest

V4, V6 = "192.0.2.10", "2001:db8::10"
SECOND = "02:00:00:00:00:0c"  # the MAC of one more NIC on the link
PAIR = pytest.mark.parametrize("address", [V4, V6], ids=["v4", "v6"])


def other(address, last):
    """Return another address of the same network."""
    return f"{address.rpartition(':')[0] or '192.0.2'}{':' if ':' in address else '.'}{last}"
