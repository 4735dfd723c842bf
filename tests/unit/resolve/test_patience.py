"""How long a host is waited for, learned from the answers of its device."""

from arp_engine.resolve import patience


def learned(*times_s, ifindex=2):
    found = patience.Patience()
    for took_s in times_s:
        found.add(ifindex, took_s)
    return found


def test_before_the_first_answer_the_wait_is_the_default():
    assert learned(ifindex=3).wait_s(2) == patience.FIRST_S


def test_a_fast_network_is_waited_for_briefly_and_a_slow_one_for_longer():
    assert learned(*[0.0002] * 20).wait_s(2) == patience.MIN_S
    assert 0.04 < learned(*[0.04] * 20).wait_s(2) < 0.06


def test_one_slow_answer_makes_the_wait_longer():
    assert learned(*[0.0002] * 20, 0.02).wait_s(2) > 0.02


def test_the_wait_has_a_limit():
    assert learned(*[5.0, 0.0001] * 20).wait_s(2) == patience.MAX_S


def test_a_device_that_is_forgotten_is_learned_anew():
    found = learned(0.04)
    found.forget(2)
    assert found.wait_s(2) == patience.FIRST_S
