"""How slow a living host may be: the schedules as they are, in virtual time."""

import pytest
from test_decide import NEW, OLD
from virtual_wire import Host, Wire

ADDRESSES = [bytes([0, 0, 0, 1]), bytes([0, 0, 0, 2])]
AT_ONCE = [0.0003]
LOCKTIME = pytest.mark.parametrize("locktime_s", [1.0, 0.0], ids=["v4", "v6"])


def called(locktime_s, hosts):
    """Return a wire a minute after a SYN from another MAC than the one in the entry."""
    wire = Wire(0, locktime_s, OLD, hosts)
    wire.syn(wire.keys[0], NEW)
    wire.run(60)
    return wire


@LOCKTIME
@pytest.mark.parametrize("late_s", [0.06, 0.35])
def test_a_claimant_that_answers_late_is_a_duplicate_and_no_alias(locktime_s, late_s):
    hosts = {OLD: Host(ADDRESSES, AT_ONCE), NEW: Host(ADDRESSES[:1], [late_s])}
    wire = called(locktime_s, hosts)
    assert "duplicate" in wire.said
    assert "alias" not in wire.said
    assert wire.mac(wire.keys[0]) == OLD


@LOCKTIME
def test_a_former_holder_that_answers_late_is_not_told_as_dead(locktime_s):
    hosts = {OLD: Host(ADDRESSES, [0.35]), NEW: Host(ADDRESSES[:1], AT_ONCE)}
    wire = called(locktime_s, hosts)
    assert "duplicate" in wire.said
    assert "healed" not in wire.said


@LOCKTIME
def test_a_proxy_that_answers_late_is_found(locktime_s):
    """A router's control plane may be slow."""
    wire = called(locktime_s, {NEW: Host([], [0.12], is_proxy=True)})
    assert "duplicate" in wire.said
    assert "healed" not in wire.said
