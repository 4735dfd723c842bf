"""How long the kernel's verdict on an entry in PROBE is waited for."""

import contextlib
import time
import types

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.constants import FAILED, PROBE
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


@pytest.mark.parametrize("retrans_s", [3600.0, 1.0], ids=["overdue", "in time"])
def test_entry_still_in_probe_keeps_its_broadcast_probes(monkeypatch, retrans_s):
    """With 0 again it would fail without one, also where its host lives and hears nothing else."""
    now, raised = [1000.0], []
    timers = Timers(retrans_s=retrans_s)
    channel = types.SimpleNamespace(
        timers=lambda _family: {ENTRY.ifindex: timers},
        set_mcast_resolicit=lambda _family, _ifindex, count: raised.append(count),
        exchange=lambda _messages: ([], []),
        batch=8,
    )

    def entry():
        is_failed = now[0] >= 1000.0 + 3 * retrans_s
        return ENTRY._replace(mac=bytes(6), state=FAILED if is_failed else PROBE)

    table = types.SimpleNamespace(
        channel=channel,
        timers=lambda *_of: timers,
        name=lambda _ifindex: "db0",
        read_again=lambda keys: dict.fromkeys(keys, entry()),
        is_ours_still=lambda _entry: True,
        is_owned=lambda _entry: False,
    )
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(nud_probe.rtnetlink, "_bind", lambda *_of: True)
    monkeypatch.setattr(nud_probe.rtnetlink, "Channel", lambda: contextlib.nullcontext(channel))
    prober = nud_probe.NudProber(table, 0.0, lambda s: now.__setitem__(0, now[0] + s))
    [result] = prober.run([entry()])
    is_overdue = retrans_s > 1
    assert (result.verdict, raised) == (("undecided", [3]) if is_overdue else ("gone", [3, 0]))
    words = "ended while entries were in PROBE: mcast_resolicit stays 3 on ipv4 db0"
    assert [line[: len(words)] for line in prober.warnings] == ([words] if is_overdue else [])


def test_stopped_run_puts_nothing_more_into_probe(monkeypatch):
    """Also while no verdict comes: with slow timers that would be for a minute."""
    now, written = [1000.0], []
    timers = Timers(retrans_s=3600.0)
    channel = types.SimpleNamespace(
        timers=lambda _family: {}, exchange=lambda words: written.append(words) or ([], []), batch=1
    )
    probed = ENTRY._replace(mac=bytes(range(6)), state=PROBE)
    entries = [probed._replace(dst=bytes([192, 0, 2, last])) for last in range(9)]
    table = types.SimpleNamespace(
        channel=channel,
        timers=lambda *_of: timers,
        name=lambda _ifindex: "db0",
        read_again=lambda keys: {key: probed._replace(dst=key[1]) for key in keys},
        is_ours_still=lambda _entry: True,
        is_owned=lambda _entry: False,
    )
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(nud_probe.rtnetlink, "_bind", lambda *_of: True)
    monkeypatch.setattr(nud_probe.rtnetlink, "Channel", lambda: contextlib.nullcontext(channel))
    wait = lambda seconds: now.__setitem__(0, now[0] + seconds)  # noqa: E731
    prober = nud_probe.NudProber(table, 1.0, wait, lambda: now[0] >= 1002.5)
    assert [*prober.run(entries)] == []
    assert (len(written), now[0] < 1003) == (3, True)
