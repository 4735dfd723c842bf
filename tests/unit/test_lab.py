"""What the lab counts as a success, and what as a result that was not expected."""

import pytest

from lab import film, observe
from lab.cures import FLUSH, PROBE, REVALIDATE
from lab.film import MAY_LOSE_NONE_S


class Client:
    """A socket whose SYN was repeated so many times; what it receives."""

    def __init__(self, repeated, greeting=observe.GREETING):
        self._repeated, self._greeting = repeated, greeting

    def recv(self, _size):
        return self._greeting

    def getsockopt(self, _level, _option, size):
        return bytes(100) + self._repeated.to_bytes(4, "little") + bytes(size - 104)


@pytest.mark.parametrize(("repeated", "is_in_time"), [(0, True), (1, True), (2, False), (3, False)])
def test_connection_by_a_syn_after_the_timeout_has_failed(repeated, is_in_time):
    assert observe.is_greeted(Client(repeated), observe.TIMEOUT_S) is is_in_time


def test_connection_that_ends_without_a_greeting_has_failed():
    assert not observe.is_greeted(Client(0, b""), observe.TIMEOUT_S)


def flow(kind, cure, lost, stalled_s=0.0):
    return {"kind": kind, "cure": cure, "lost": lost, "stalled_s": stalled_s}


EXPECTED = [
    flow("lossy", FLUSH, 500),
    flow("mute", FLUSH, 500),
    flow("mute", PROBE, 500),
    flow("mute", REVALIDATE, 0),
]


def test_flows_that_lose_as_expected_are_not_reported():
    assert film.broken([], EXPECTED) == []


def test_a_flush_that_loses_nothing_is_reported_unless_its_flow_stalled():
    unharmed = flow("lossy", FLUSH, 0)
    assert film.broken([], [*EXPECTED, unharmed]) == [f"{FLUSH} on lossy: 0 packets lost"]
    stalled = {**unharmed, "stalled_s": MAY_LOSE_NONE_S + 0.1}
    assert film.broken([], [*EXPECTED, stalled]) == []


def test_a_film_in_which_no_flush_loses_a_packet_is_reported_though_all_stalled():
    flows = [{**each, "lost": 0, "stalled_s": 9.0} for each in EXPECTED]
    assert film.broken([], flows) == ["no flush lost a packet, on any fabric"]


def test_a_stall_excuses_no_loss():
    flows = [*EXPECTED, flow("switch", REVALIDATE, 1, stalled_s=9.0)]
    assert film.broken([], flows) == [f"{REVALIDATE} on switch: 1 packets lost"]
