"""What the drill makes of an entry of others that is gone: deleted by somebody, or collected.

The real collection harms whoever holds entries on this machine, so it is played among the long
tests: functional/selftest/test_drill_beside.py.
"""

import pytest
from arp_engine.selftest import drill

#: RTM_DELNEIGH of 192.0.2.202, a NOARP entry, as Linux 6.18 sends it after `ip neigh del`: FAILED.
DELETED = bytes.fromhex(
    "400000001d000000000000000000000002000000020000002000000108000100c00002ca"
    "08000400000000001400030000000000000000000000000000000000"
)


def removed(state, flags=0):
    """Return the notification of an entry that went with the state and the flags that it had."""
    return DELETED[:24] + bytes([state, 0, flags]) + DELETED[27:]


COLLECTED, PERMANENT, EXTERN_LEARN = removed(0x40), removed(0x80), removed(0x02, 0x10)
UPDATED = DELETED[:4] + b"\x1c\x00" + DELETED[6:]  # RTM_NEWNEIGH, which comes before DELETED


class Heard:
    """Notifications that have arrived."""

    def __init__(self, *datagrams):
        self.datagrams = datagrams

    def drain(self, _at_most):
        return [*self.datagrams], False


class Host:
    """The drill's database; its one proxy entry is there."""

    def proxies(self):
        return 1


@pytest.fixture
def protected(monkeypatch):
    """Return what the drill says of these notifications, after one of five entries has gone."""
    owned = {f"192.0.2.{last}": ("NOARP", "02:00:00:00:00:0a") for last in range(200, 205)}
    left = {ip: seen for ip, seen in owned.items() if ip != "192.0.2.202"}
    monkeypatch.setattr(drill, "_table", lambda: left)

    def told(*datagrams):
        played = drill._Drill(Host(), None, Heard(*datagrams))
        played._owned = owned
        return played.protected()

    return told


def test_what_the_kernel_collects_is_no_failure(protected):
    passed, figures = protected(COLLECTED)
    assert (passed, figures) == (True, "4 of 4 owned, 1 of 1 proxy unchanged, 1 collected")
    assert len(figures) < 50, "Salt's table would cut it"


@pytest.mark.parametrize(
    "datagrams",
    [(), (UPDATED, DELETED), (UPDATED + DELETED,), (PERMANENT,), (EXTERN_LEARN,)],
    ids=["unsaid", "deleted", "one datagram", "PERMANENT", "extern_learn"],
)
def test_what_somebody_deletes_is_one(protected, datagrams):
    assert protected(*datagrams) == (False, "4 of 5 owned, 1 of 1 proxy unchanged")
