"""A run says that it asks, to the sentinel of its own network namespace alone."""

import pytest
from arp_engine.resolve import under_way
from conftest import BORN
from wire import namespace


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def look():
    """Return what a sentinel is told, each time as of now."""
    clock = Clock()
    seen = under_way.UnderWay(clock)

    def look():
        clock.now += 2 * under_way.MAX_AGE_S
        return seen.is_told()

    return look


def test_each_of_several_says_so_until_it_ends(scene, look):
    assert not look()
    with under_way.told():
        assert look()
        with under_way.told(), under_way.told(), under_way.told(), under_way.told():
            assert look()
        with namespace("worker"):
            assert not look()
        assert look()
    assert not look()


def test_a_look_is_as_old_as_a_quarter_of_a_second(scene):
    clock = Clock()
    seen = under_way.UnderWay(clock)
    assert not seen.is_told()
    with under_way.told():
        clock.now += under_way.MAX_AGE_S / 2
        assert not seen.is_told()
        clock.now += under_way.MAX_AGE_S
        assert seen.is_told()


@pytest.mark.parametrize("verb", ["revalidate", "diagnose"])
def test_whoever_asks_says_so(arp, scene, wire, look, verb):
    scene.add("192.0.2.10", "reachable", BORN)
    seen = []
    with wire.answering(lambda _ip, _to_all, _n: seen.append(look()) or []):
        getattr(arp, verb)("192.0.2.10")
    assert any(seen)
    assert not look()
