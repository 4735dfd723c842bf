"""What is learnt of addresses is bounded, and expires."""

import time

from arp_engine.sentinel import memory


def test_aliases_are_bounded_and_expire():
    aliases = memory.Aliases()
    for number in range(10_000):
        assert aliases.add("a", number.to_bytes(6, "big"), number / 1000)
    assert len(aliases) == memory.MAX_ALIASES
    assert ("a", (9999).to_bytes(6, "big")) in aliases
    aliases.expire(10 + memory.ALIAS_S[0])
    assert not len(aliases)


def test_an_alias_is_believed_for_longer_each_time_and_is_news_once():
    aliases, now, rests, news = memory.Aliases(), 0.0, [], []
    for _ in range(11):
        news.append(aliases.add("a", b"mac", now))
        due = aliases.next_due()
        rests.append(due - now)
        now = due
        aliases.expire(now)
        assert ("a", b"mac") not in aliases
    assert rests == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert news == [True] + 10 * [False]


def test_forgetting_one_address_is_cheap_among_many():
    """Each announcement of another MAC causes it, thousands of times a second."""
    aliases, began = memory.Aliases(), time.process_time()
    for number in range(memory.MAX_ALIASES):
        aliases.add(number % 100, number.to_bytes(6, "big"), 0.0)
    for _ in range(20_000):
        aliases.forget("another")
    assert time.process_time() - began < 1
    aliases.forget(7)
    assert {key for key in range(100) if aliases.of(key)} == {*range(100)} - {7}
    assert (7, (7).to_bytes(6, "big")) not in aliases
    assert aliases.add(7, (7).to_bytes(6, "big"), 1.0)


def test_a_verified_address_rests_twice_as_long_each_time_up_to_a_limit():
    verified, now, rests = memory.Verified(), 0.0, []
    for _ in range(6):
        verified.add("a", now)
        began = now
        while verified.is_recent("a", now):
            now += 0.5
        rests.append(now - began)
    assert rests == [1, 2, 4, 8, 10, 10]
    verified.add("a", now + 100)
    assert not verified.is_recent("a", now + 101), "the former rest is long over"


def test_a_changed_mac_ends_the_rest_of_a_verified_address():
    verified = memory.Verified()
    verified.add("a", 0.0)
    verified.forget("a")
    assert not verified.is_recent("a", 0.1)


def test_who_was_asked_may_answer_for_a_second_and_is_bounded():
    asked = memory.RecentHosts()
    asked.add("a", [b"mac"], (), 0)
    asked.add("a", [b"two"], (), 0.5)
    assert asked.holds("a", b"mac", 0.9)
    assert not asked.holds("a", b"mac", 1.0)
    assert not asked.holds("a", b"other", 0.9)
    assert not asked.holds("b", b"mac", 0)
    asked.add("a", [b"mac", b""], [b"three"], 2)
    assert asked.holds("a", b"other", 2.9)
    assert not asked.holds("a", b"three", 2)
    for number in range(memory.MAX_RECENT):
        asked.add(number, [b"mac"], (), 2)
    assert not asked.holds("a", b"other", 2)
    assert asked.holds(0, b"mac", 2)


def test_a_reason_why_an_address_cannot_be_asked_about_is_news_once_while_it_goes_on():
    unaskable, pause_s = memory.Unaskable(), memory.UNASKABLE_S
    assert [unaskable.add("a", "no carrier", now) for now in (0, 3, 6)] == [True, False, False]
    assert unaskable.add("a", "no permission", 9)
    assert unaskable.add("a", "no permission", 9 + pause_s)
    assert not unaskable.add("a", "no permission", 8 + 2 * pause_s)
    unaskable.forget("a")
    assert unaskable.add("a", "no permission", 9 + 2 * pause_s)
    for number in range(memory.MAX_UNASKABLE):
        unaskable.add(number, "no carrier", 0)
    assert unaskable.add("a", "no permission", 10 + 2 * pause_s), "bounded"


def test_the_third_change_of_mac_within_a_minute_is_alternating():
    changes = memory.MacChanges()
    assert [changes.is_alternating("a", now, b"") for now in (0, 10, 20, 21)] == [0, 0, 1, 0]
    assert not any(changes.is_alternating("b", now, b"") for now in (0, 50, 100, 150))


def test_of_an_address_only_the_newest_macs_are_remembered():
    """Forged announcements name another MAC each time, thousands in a minute."""
    changes, most = memory.MacChanges(), memory.MAX_FORMER_MACS
    for number in range(3 * most):
        changes.is_alternating("a", number / 1000, b"holder" if number % most == 1 else number)
    now = 3 * most / 1000
    known = [number for number in range(3 * most) if changes.had("a", number, now)]
    assert known == [2 * most, *range(2 * most + 2, 3 * most)]
    assert changes.had("a", b"holder", now)
