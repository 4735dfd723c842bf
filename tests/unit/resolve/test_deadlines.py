"""What is due when."""

from arp_engine.resolve import deadlines as resolve_deadlines


def test_keys_come_in_order_of_their_last_deadline():
    deadlines = resolve_deadlines.Deadlines()
    assert (deadlines.due(), deadlines.pop(1e9, 9)) == (float("inf"), [])
    for key, due in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("b", 4.0), ("d", 2.0)):
        deadlines.set(due, [key])
    deadlines.clear("c")
    deadlines.clear("nobody")
    assert (deadlines.due(), deadlines.pop(1.9, 9)) == (2.0, [])
    assert deadlines.pop(3.5, 9) == ["d", "a"]
    assert deadlines.pop(9, 9) == ["b"]


def test_keys_set_together_are_independent():
    deadlines = resolve_deadlines.Deadlines()
    deadlines.set(2.0, "abcd")
    deadlines.set(1.0, "c")
    deadlines.clear("a")
    assert deadlines.due() == 1.0
    assert (deadlines.pop(9, 0), deadlines.pop(9, -1)) == ([], [])
    assert (deadlines.pop(9, 2), deadlines.pop(9, 2)) == (["c", "b"], ["d"])
    assert deadlines.due() == float("inf")
    assert not deadlines._heap
    assert not deadlines._valid


def test_replaced_deadlines_are_dropped():
    deadlines = resolve_deadlines.Deadlines()
    for number in range(10_000):
        deadlines.set(number, "a")
        deadlines.due()
    assert len(deadlines._heap) == 1
