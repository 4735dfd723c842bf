"""Nothing slow lies between the last look at an entry and the message that writes it anew.

An owner who came meanwhile would lose its mark: the message holds the whole entry.
"""

import contextlib
from types import SimpleNamespace

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.constants import STALE
from arp_engine.netlink.model import Timers
from arp_engine.resolve import locktime, nud_probe

ENTRY = codec.Entry(ifindex=2, state=STALE, dst=b"\xc0\0\2\n", mac=b"\2\0\0\0\0\1", confirmed=9999)


class Table:
    """A table of one entry that notes what is done, in order."""

    def __init__(self):
        self.done = []
        self.channel = SimpleNamespace(
            batch=8, exchange=lambda _messages: self.done.append("write") or ([], [])
        )

    def timers(self, _family, _ifindex):
        self.done.append("timers")
        return Timers()

    def device(self, _ifindex):
        self.done.append("device")

    def read_again(self, keys):
        self.done.append("read")
        return {key: ENTRY for key in keys}

    def is_ours_still(self, _entry):
        self.done.append("judge")
        return True


def begin_locktime(table, _monkeypatch):
    assert locktime.begin(table, ENTRY.key, ENTRY.mac)


def put_into_probe(table, monkeypatch):
    channel = SimpleNamespace(timers=lambda _family: {})
    monkeypatch.setattr(nud_probe.rtnetlink, "_bind", lambda *_of: True)
    monkeypatch.setattr(nud_probe.rtnetlink, "Channel", lambda: contextlib.nullcontext(channel))
    prober = nud_probe.NudProber(table, 0.0, is_stopped=lambda: "write" in table.done)
    assert not [*prober.run([ENTRY], spared=lambda: table.done.append("spared") or ())]


@pytest.mark.parametrize("write", [begin_locktime, put_into_probe])
def test_entry_is_read_and_judged_right_before_it_is_written(monkeypatch, write):
    table = Table()
    write(table, monkeypatch)
    until_written = table.done[: table.done.index("write") + 1]
    assert until_written[-3:] == ["read", "judge", "write"]
    assert table.done.count("write") == 1
