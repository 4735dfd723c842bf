"""Another run has the kernel's settings raised: what a prober does until it is its turn."""

import contextlib
import itertools
import time
from types import SimpleNamespace

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.model import Timers
from arp_engine.resolve import nud_probe

ENTRY = codec.Entry(ifindex=2, dst=b"\xc0\0\2\n")


class Other:
    """Another run that holds the lock until a time, on a clock that goes on while we wait."""

    def __init__(self, monkeypatch, until):
        self.now, self._until, self.waits = 1000.0, until, []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self._sleep)
        monkeypatch.setattr(nud_probe.rtnetlink, "_bind", lambda *_of: self.now >= self._until)
        monkeypatch.setattr(nud_probe.in_flight, "default_limit", lambda: 64)
        channel = SimpleNamespace(timers=lambda _family: {})
        monkeypatch.setattr(nud_probe.rtnetlink, "Channel", lambda: contextlib.nullcontext(channel))

    def _sleep(self, seconds):
        """Wait without doing anything else meanwhile."""
        self.now += seconds

    def wait(self, seconds):
        """Wait as a run does, whose look backs go on."""
        self.waits.append(self.now)
        self.now += seconds

    def prove(self, is_stopped=lambda: False):
        """Let the kernel prove an entry that is gone by then; return verdict and warnings."""
        table = SimpleNamespace(
            read_again=lambda _keys: {},
            keep=lambda *_of: None,
            timers=lambda *_of: Timers(),
            channel=SimpleNamespace(batch=8),
        )
        prober = nud_probe.NudProber(table, 0.0, self.wait, is_stopped)
        [result] = prober.run([ENTRY])
        return result.verdict, prober.warnings


def test_look_backs_go_on_while_another_run_has_the_lock(monkeypatch):
    """A former holder that is not asked meanwhile may live, and be told as healed away."""
    other = Other(monkeypatch, 1007.0)
    assert other.prove() == ("kept", [])
    moments = [1000.0, *other.waits, 1007.0]
    assert max(later - sooner for sooner, later in itertools.pairwise(moments)) < 0.1


def test_lock_that_is_never_free_is_waited_for_half_a_minute(monkeypatch):
    other = Other(monkeypatch, float("inf"))
    verdict, [line] = other.prove()
    assert (verdict, round(other.now)) == ("undecided", 1000 + nud_probe.MAX_LOCK_WAIT_S)
    assert line.startswith("another revalidation has had entries in PROBE for 30 s")


@pytest.mark.parametrize("stopped_s", [0.0, 2.0], ids=["before", "meanwhile"])
def test_run_that_is_stopped_waits_for_no_other_one(monkeypatch, stopped_s):
    other = Other(monkeypatch, 1007.0)
    told = other.prove(lambda: other.now >= 1000.0 + stopped_s)
    assert (told, other.now <= 1000.1 + stopped_s) == (("undecided", []), True)
