"""Looking back at many entries at once: scripted answers, on a clock of the test's own."""

from types import SimpleNamespace

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.constants import REACHABLE
from arp_engine.resolve import look_back_run
from arp_engine.resolve.look_back import Change
from arp_engine.resolve.question import ProbeResult

FORMER, TAKEN = bytes([2, 0, 0, 0, 0, 1]), bytes([2, 0, 0, 0, 0, 2])
KEY = 2, bytes([10, 0, 0, 1])


class Script:
    """A table with one entry, and an asker whose questions all have the same result."""

    def __init__(self, monkeypatch, result):
        self._result, self._pending, self.now = result, [], 1000.0
        monkeypatch.setattr(look_back_run, "Asker", lambda *_of: self)

    def entry(self):
        mac = FORMER if FORMER in self._result.answers else TAKEN
        return codec.Entry(ifindex=KEY[0], state=REACHABLE, kind=1, dst=KEY[1], mac=mac)

    def timers(self, *_of):
        return SimpleNamespace(locktime_s=1.0)

    def not_ours_now(self, _keys):
        return {}

    def read_again(self, keys):
        return {key: self.entry() for key in keys}

    def __len__(self):
        return len(self._pending)

    def put(self, question, **_words):
        self._pending.append(question)
        return True

    def step(self):
        done, self._pending = [(each, self._result) for each in self._pending], []
        return done

    def next_due(self):
        return None

    def wait(self, seconds):
        self.now += seconds

    def close(self):
        pass


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        (ProbeResult(1, 0, {FORMER: 0.1}), (True, "")),
        (ProbeResult(1, 0, {}), (False, "")),
        (ProbeResult(0, 0, {}, "no carrier"), (False, "no carrier")),
        (ProbeResult(0, 0, {}), (False, "too few probes were sent")),
    ],
    ids=["returned", "silent", "unasked", "unasked, and nobody knows why"],
)
def test_former_holder_that_could_not_be_asked_is_told_from_a_silent_one(
    monkeypatch, result, outcome
):
    script = Script(monkeypatch, result)
    change = Change(KEY, FORMER, TAKEN, script.now)
    [found] = look_back_run.look_back(script, [change], 0.0, lambda: script.now).values()
    assert (found.is_returned, found.unasked) == outcome
    assert found.current == script.entry()
