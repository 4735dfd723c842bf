"""Which silent entries the kernel is made to probe, while TCP works through some of them."""

import contextlib
import time
from types import SimpleNamespace

import pytest
from arp_engine.netlink import codec, route, sock_diag
from arp_engine.netlink.constants import FAILED, PROBE, STALE
from arp_engine.netlink.model import Timers
from arp_engine.resolve import kernel_probes, nud_probe

FIRST, SECOND = (bytes([192, 0, 2, last]) for last in (10, 11))
OWN, MAC = bytes([192, 0, 2, 1]), bytes([2, 0, 0, 0, 0, 1])
ENTRIES = [codec.Entry(ifindex=2, state=STALE, kind=1, dst=dst, mac=MAC) for dst in (FIRST, SECOND)]


def connection(peer):
    return sock_diag.TcpSocket("ESTABLISHED", OWN, 40000, peer, 5432, 0, "", 0, 0, 1)


class Kernel:
    """Entries that nobody answers for, sockets, and a clock that goes on while we wait.

    Put into PROBE, an entry is FAILED three seconds later.
    """

    channel = property(lambda self: self)
    batch = 8

    def __init__(self, monkeypatch):
        self.now, self.probed, self.told, self.readings = 1000.0, {}, {}, 0
        self.speaks_at = {}  # peer to when its connection begins to be answered
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        channel = contextlib.nullcontext(SimpleNamespace(timers=lambda _family: {}))
        for module in (nud_probe, kernel_probes):
            monkeypatch.setattr(module.rtnetlink, "Channel", lambda: channel)
        monkeypatch.setattr(nud_probe.rtnetlink, "_bind", lambda *_of: True)
        monkeypatch.setattr(nud_probe.in_flight, "default_limit", lambda: 64)
        monkeypatch.setattr(sock_diag, "Sockets", lambda: contextlib.nullcontext(self))
        monkeypatch.setattr(route, "has_rules", lambda _family: False)
        monkeypatch.setattr(route, "lookup", lambda *_of, **_words: route.Route(2))

    def prove(self, rate):
        """Let the kernel probe the entries at this rate; return address to what is told of it."""
        prober = nud_probe.NudProber(self, rate, self._wait)
        report = SimpleNamespace(
            gone=lambda entry: self._tell(entry, "gone"),
            count=lambda entry, verdict: self._tell(entry, verdict),
        )
        words = lambda: False, lambda why, entry: self._tell(entry, why), None
        self.warnings, _refusal = kernel_probes.prove(prober, report, ENTRIES, *words)
        return self.told

    def _tell(self, entry, what):
        assert entry.dst not in self.told
        self.told[entry.dst] = what

    def _wait(self, seconds):
        self.now += seconds

    # --- the sockets

    def acknowledged(self, within_s):
        self.readings += 1
        answered = [peer for peer, since in self.speaks_at.items() if since <= self.now]
        return [connection(peer) for peer in answered if self.now < self.speaks_at[peer] + within_s]

    # --- the table

    def read_again(self, keys):
        wanted = {*keys}
        return {entry.key: self._entry(entry) for entry in ENTRIES if entry.key in wanted}

    def _entry(self, entry):
        since = self.now - self.probed.get(entry.dst, self.now)
        state = (FAILED if since > 3 else PROBE) if entry.dst in self.probed else STALE
        return entry._replace(state=state)

    def is_ours_still(self, _entry):
        return True

    def is_owned(self, _entry):
        return False

    def timers(self, *_of):
        return Timers()

    def exchange(self, messages):
        self.probed |= {each.dst: self.now for each in ENTRIES if each.dst in messages}
        return [], []


@pytest.mark.parametrize("speaks_s", [0.0, 5.0, 9.0], ids=lambda s: f"{s:g} s after the run began")
def test_connection_that_speaks_before_its_entry_is_probed_keeps_it(monkeypatch, speaks_s):
    """At a low rate that is long after the fallback began."""
    kernel = Kernel(monkeypatch)
    kernel.speaks_at[SECOND] = 1000.0 + speaks_s
    told = kernel.prove(rate=0.1)
    assert told == {FIRST: "gone", SECOND: kernel_probes.TCP_WORKS}
    assert (SECOND in kernel.probed, kernel.warnings) == (False, [])


def test_sockets_are_listed_no_more_often_than_once_a_second(monkeypatch):
    kernel = Kernel(monkeypatch)
    kernel.prove(rate=5.0)
    assert (len(kernel.probed), kernel.readings) == (2, 1)


def test_kernel_without_a_list_of_sockets_is_told_once(monkeypatch):
    def none():
        raise OSError(2, "cannot list TCP sockets")

    kernel = Kernel(monkeypatch)
    monkeypatch.setattr(sock_diag, "Sockets", none)
    assert kernel.prove(rate=0.1) == {FIRST: "gone", SECOND: "gone"}
    assert [line[:24] for line in kernel.warnings] == ["cannot list TCP sockets:"]


def test_list_of_sockets_that_fails_later_spares_whom_it_spared(monkeypatch):
    """In PROBE their connections could be lost; the warning says that nobody knows by now."""
    kernel = Kernel(monkeypatch)
    kernel.speaks_at[SECOND] = 1001.0
    by_tcp = kernel_probes._ByTcp({entry.key for entry in ENTRIES})
    assert by_tcp.working() == set()
    kernel.now = 1002.0
    assert {dst for _ifindex, dst in by_tcp.working()} == {SECOND}
    kernel.now = 1004.0
    monkeypatch.setattr(sock_diag, "Sockets", lambda: (_ for _ in ()).throw(OSError(24, "full")))
    assert {dst for _ifindex, dst in by_tcp.working()} == {SECOND}
    assert by_tcp.warnings == ["full: not known whether TCP to silent hosts works"]
