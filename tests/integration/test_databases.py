"""Real databases under load while machines beside them are re-created: the sentinel's promise."""

import pytest

from lab import postgres, postgres_scene, redis, redis_scene
from lab.databases import NOTHING, SENTINEL_ONLY, percentile

pytestmark = pytest.mark.long


@pytest.fixture
def play():
    def play(installed, scene, seconds):
        if lacks := installed.lacking():
            pytest.skip(lacks)
        return [scene.play(helper, seconds) for helper in (NOTHING, SENTINEL_ONLY)]

    return play


def healthy_as_without(with_sentinel, without):
    """Tell whether healthy clients wait as long as without it; a busy machine blurs it."""
    p99_s, was_s = (percentile(seen.steady_s, 0.99) for seen in (with_sentinel, without))
    return with_sentinel.steady_failed == 0 and p99_s < 3 * was_s + 0.05


def test_postgresql_loses_no_transaction_of_a_living_machine(play):
    without, seen = play(postgres, postgres_scene, 60)
    assert without.failed >= 5, "the outage was not staged"
    assert (seen.failed, seen.replica_failed, seen.lives) == (0, 0, 6)
    assert max(seen.connected_s) < 1
    assert max(seen.replica_s) < 10
    assert healthy_as_without(seen, without)


def test_redis_loses_no_transaction_of_a_living_machine_and_fails_over(play):
    without, seen = play(redis, redis_scene, 70)
    assert without.failed >= 5, "the outage was not staged"
    assert (seen.failed, seen.lives) == (0, 6)
    assert max(seen.connected_s) < 1
    assert (seen.failovers, seen.masters_died) == (1, 1)
    assert max(seen.replica_s) < 30  # Redis Sentinel itself waits ten seconds
    assert healthy_as_without(seen, without)
