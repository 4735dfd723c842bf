"""How long the kernel's verdict on an entry in PROBE is waited for."""

import types

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.model import Timers
from arp_engine.resolve import nud_probe

ENTRY = codec.Entry(ifindex=2, dst=b"\xc0\0\2\n")


def patience_s(**timers):
    """Return it for an entry on a device that has these timers."""
    table = types.SimpleNamespace(timers=lambda _family, _ifindex: Timers(**timers))
    prober = nud_probe.NudProber.__new__(nud_probe.NudProber)
    prober._table = table
    return prober._patience_s(ENTRY)


@pytest.mark.parametrize(
    ("timers", "probes_last_s"),
    [
        ({}, 6),
        ({"retrans_s": 0.1}, 0.6),
        ({"solicits": 6, "mcast_resolicit": 3}, 6),
        ({"solicits": 10, "retrans_s": 0.5}, 6.5),
    ],
    ids=["defaults", "fast", "broadcast probes of its own", "more probes"],
)
def test_the_kernel_has_time_for_all_its_probes_and_a_late_timer(timers, probes_last_s):
    """The timer wheel fires up to an eighth late; broadcast probes are added where it has none."""
    waits_s = patience_s(**timers)
    assert probes_last_s * 9 / 8 < waits_s < probes_last_s * 9 / 8 + 1


def test_timers_of_days_are_not_waited_for():
    assert patience_s(retrans_s=86_400.0) == nud_probe.MAX_VERDICT_S == 60
