"""The token bucket."""

import pytest
from arp_engine.resolve import rate_limit
from hypothesis import given
from hypothesis import strategies as st


def sent_within(pace, seconds, step=0.001):
    """Send whenever one may go; return when each went."""
    times, now = [], 0.0
    while now < seconds:
        count = pace.available(now)
        pace.spend(count, now)
        times += [now] * count
        now = max(now + step, pace.due(now))
    return times


@pytest.mark.parametrize("rate", [0.5, 1, 7, 100, 5000])
def test_rate_is_kept_and_used(rate):
    pace = rate_limit.TokenBucket(rate)
    times = sent_within(pace, 20)
    late = 2 + rate * 0.001  # what the last step had not come to
    assert 20 * rate - late <= len(times) - pace.burst <= 20 * rate + 1


@given(st.floats(0.1, 10_000), st.integers(1, 64), st.lists(st.floats(0, 3), max_size=60))
def test_no_window_exceeds_rate_and_burst(rate, burst, pauses):
    pace, now, times = rate_limit.TokenBucket(rate, burst), 0.0, []
    for pause in pauses:
        now += pause
        count = pace.available(now)
        assert count <= burst
        pace.spend(count, now)
        times += [now] * count
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            allowed = burst + rate * (times[last] - start)
            assert last - first + 1 <= allowed * (1 + 1e-9) + 0.01


def test_pause_earns_one_burst():
    pace = rate_limit.TokenBucket(100, 5)
    assert pace.available(0) == 5
    pace.spend(5, 0)
    assert (pace.available(0), pace.due(0)) == (0, pytest.approx(0.01))
    assert pace.available(0.01) == 1
    assert pace.available(1000) == 5


def test_next_is_available_when_due():
    pace = rate_limit.TokenBucket(3)
    now = 12345.678
    for _ in range(1000):
        pace.spend(pace.available(now), now)
        later = pace.due(now)
        assert later > now
        now = later
        assert pace.available(now) == 1


def test_rate_zero_is_unlimited():
    pace = rate_limit.TokenBucket(0)
    pace.spend(1_000_000, 0)
    assert (pace.available(0) > 1_000_000, pace.due(0)) == (True, 0)


def test_what_is_kept_for_others_delays_the_next():
    pace = rate_limit.TokenBucket(100, 10)
    pace.spend(8, 0)
    assert (pace.due(0), pace.due(0, 5)) == (0, pytest.approx(0.04))
