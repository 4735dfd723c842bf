"""Locktime is begun without the state PROBE, in which the kernel may give a living entry up."""

import time

import pytest
from arp_engine.netlink import rtnetlink
from arp_engine.netlink.constants import TICKS
from arp_engine.resolve import locktime
from arp_engine.table import selectors, view
from asking import states_of
from conftest import BORN
from wire import packed

ADDRESS = "192.0.2.10"
OLD_S = 0.5
#: Within delay_first_probe_time each confirmation of this test is recent, or none is.
RECENT, NOT_RECENT = 600, 1


@pytest.fixture
def begin(scene):
    """Begin locktime of an entry some time after its last change; return what came of it."""
    with rtnetlink.Channel() as channel:
        key = channel.ifindex("db0"), packed(ADDRESS)

        def table():
            return view.TableView(channel, selectors.parse_selectors())

        def read():
            return table().read_again([key])[key]

        def begin(state, delay_probe_s, **words):
            scene.sysctl("ipv4.neigh.db0.ucast_solicit", 0)  # in PROBE it is FAILED at once
            scene.sysctl("ipv4.neigh.db0.delay_first_probe_time", 600)
            scene.add(ADDRESS, state, BORN)
            scene.until(lambda: read().updated > OLD_S * TICKS)
            scene.sysctl("ipv4.neigh.db0.delay_first_probe_time", delay_probe_s)
            began = time.monotonic()
            is_begun = locktime.begin(table(), key, bytes.fromhex(BORN.replace(":", "")), **words)
            scene.until(lambda: not scene.table("delay"))
            entry = read()
            has_changed = time.monotonic() - entry.updated / TICKS > began - OLD_S / 2
            return is_begun, has_changed, scene.table()[0].split()[-1]

        yield begin


@pytest.mark.parametrize("state", ["reachable", "stale"])
def test_recently_confirmed_entry_is_reachable_by_its_own_confirmation(begin, state):
    assert begin(state, RECENT) == (True, True, "REACHABLE")


def test_stale_entry_without_a_recent_confirmation_stays_stale(begin):
    assert begin("stale", NOT_RECENT) == (True, True, "STALE")


def test_reachable_entry_without_a_recent_confirmation_is_left_alone(begin):
    assert begin("reachable", NOT_RECENT) == (False, False, "REACHABLE")


def test_reachable_entry_that_is_asked_next_may_become_stale(begin):
    assert begin("reachable", NOT_RECENT, is_asked_next=True) == (True, True, "STALE")


@pytest.mark.parametrize("ucast_solicit", [3, 0])
def test_diagnosis_of_a_living_host_puts_its_entry_into_no_probe(arp, scene, ucast_solicit):
    scene.worker(ADDRESS)
    scene.sysctl("ipv4.neigh.db0.ucast_solicit", ucast_solicit)
    scene.sysctl("ipv4.neigh.db0.delay_first_probe_time", RECENT)  # the kernel itself probes later
    scene.add(ADDRESS, "reachable", BORN)
    with states_of(ADDRESS) as states:
        assert arp.diagnose(ADDRESS)["entry_after"]["mac"] == BORN
    assert states, "locktime was begun"
    assert not {"PROBE", "FAILED"} & set(states)
