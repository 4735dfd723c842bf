"""An entry that another host got from a proxy, whose own answer may come last: who has it then."""

from types import SimpleNamespace

import pytest
from arp_engine.netlink import codec
from arp_engine.netlink.constants import PERMANENT, REACHABLE
from arp_engine.resolve.changes import Changed
from arp_engine.resolve.late_answers import LATE_S, READ_AFTER_S
from arp_engine.resolve.watched import Watched

PROXY, NEW, THIRD = (bytes([2, 0, 0, 0, 0, last]) for last in (1, 2, 3))
ENTRY = codec.Entry(ifindex=2, state=REACHABLE, kind=1, dst=bytes([10, 0, 0, 1]), mac=PROXY)
ALL = {PROXY, NEW}


class Table:
    """A table whose one entry has each of some MACs in turn; None: it is gone."""

    def __init__(self, macs, state):
        self._macs, self._state = list(macs), state

    def read_again(self, keys):
        mac = self._macs.pop(0)
        return {key: mac and ENTRY._replace(mac=mac, state=self._state) for key in keys}

    def is_owned(self, entry):
        return entry.state == PERMANENT


def passed_on(macs, answered=(NEW,), state=REACHABLE):
    """Return what is passed on once no answer can come: as what, who has it, who answered."""
    told = []
    changes = SimpleNamespace(
        add_silent=lambda changed: told.append(("silent", changed.taken, {*changed.macs})),
        add_contested=lambda changed: told.append(("contested", changed.taken, {*changed.macs})),
    )
    watched = Watched(Table(macs, state), changes)
    watched.watch_from_proxy(ENTRY.key, Changed(ENTRY, NEW, answered), 0.0)
    for now in (READ_AFTER_S, LATE_S):
        assert not told
        assert not [*watched.read(now, 1)]
    assert len(watched) == 0
    return told


@pytest.mark.parametrize(
    ("macs", "told"),
    [
        ([NEW, NEW], ("silent", NEW, {NEW})),
        ([NEW, PROXY], ("contested", PROXY, ALL)),
        ([PROXY, NEW], ("silent", NEW, ALL)),  # the proxy's answer came, and another one of it
        ([THIRD, NEW], ("contested", NEW, {NEW, THIRD})),
        ([NEW, None], ("silent", NEW, {NEW})),  # gone: nobody is given anything
    ],
)
def test_who_has_an_entry_when_no_answer_can_come_is_passed_on(macs, told):
    assert passed_on(macs) == [told]


def test_two_newcomers_are_several():
    told = passed_on([NEW, NEW], answered=(NEW, THIRD))
    assert told == [("contested", NEW, {NEW, THIRD})]


def test_entry_that_has_an_owner_by_then_is_not_told_as_the_proxys():
    assert passed_on([PROXY, PROXY], state=PERMANENT) == [("silent", NEW, {NEW})]
