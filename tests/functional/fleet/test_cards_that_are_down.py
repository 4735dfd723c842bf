"""What the kernel of a machine answers for addresses on its cards that are down."""

import pytest

from lab import cable
from lab.cable import BORN

V4, V6 = "192.0.2.77", "2001:db8::77"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("address", "outcome"), [(V4, ("healed", BORN)), (V6, ("gone", None))], ids=["IPv4", "IPv6"]
)
def test_another_card_answers_for_an_ipv4_address_on_one_that_is_down(
    arp, scene, when, address, outcome
):
    """Whether it got the address before it was set down or after: docs/fleet.md says so."""
    bits = 24 if address == V4 else 64
    steps = [f"addr add {address}/{bits} dev d0", "link set d0 down"]
    steps = steps if when == "before" else steps[::-1]
    cable.ip(
        "link add d0 type veth peer name d1",
        "link set d1 up",
        "link set d0 up",
        *steps,
        namespace="worker",
    )
    scene.quick()
    scene.add(address)
    told = arp.revalidate(ip=address)
    assert [row.get("new") for row in told[outcome[0]]] == [outcome[1]]
