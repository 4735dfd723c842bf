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


def test_one_slow_answer_does_not_make_the_next_ones_wait():
    """Or each hiccup of a host would delay the newcomers after it."""
    assert learned(*[0.0002] * 20, 0.1).wait_s(2) < 3 * patience.MIN_S
    assert learned(*[0.0002] * 20, 0.1, *[0.0002] * 7).wait_s(2) == patience.MIN_S


def test_a_network_that_becomes_slow_is_learned_with_a_few_answers():
    assert learned(*[0.0002] * 100, *[0.04] * 6).wait_s(2) > 0.04


def test_a_network_that_becomes_fast_is_learned_with_some_answers():
    assert learned(*[0.04] * 100, *[0.0002] * 40).wait_s(2) < 0.005


def test_the_wait_for_a_second_answer_has_a_bound_of_its_own():
    assert patience.Patience().share(2) == 1
    assert learned(*[0.0002] * 20).share(2) == patience.MIN_SHARE
    assert learned(*[5.0] * 20).share(2) == patience.MAX_S / patience.FIRST_S


def test_the_wait_has_a_limit():
    assert learned(*[5.0, 0.0001] * 20).wait_s(2) == patience.MAX_S


def test_a_device_that_is_forgotten_is_learned_anew():
    found = learned(0.04)
    found.forget(2)
    assert found.wait_s(2) == patience.FIRST_S
