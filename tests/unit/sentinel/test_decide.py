"""What becomes of a doubted entry."""

from arp_engine.netlink import codec, model
from arp_engine.netlink.constants import PERMANENT, REACHABLE
from arp_engine.packets import tcp_syn
from arp_engine.sentinel import decide


class Here:
    def is_selected(self, _entry):
        return True

    def device(self, _ifindex):
        return model.Device("db0", 0)


def test_a_frame_that_does_not_say_whom_it_is_from_contradicts_nothing():
    """InfiniBand's do not, and its entries hold twenty bytes."""
    watch, source = decide.Watch(100, None, None, Here(), None), bytes([192, 0, 2, 1])
    entry = codec.Entry(ifindex=2, state=REACHABLE, kind=1, dst=source, mac=bytes([2] * 20))
    watch.known.read_anew([entry])
    syn = tcp_syn.Syn(source, 4000, bytes([192, 0, 2, 2]), 5432, b"")
    watch.came(2, b"", syn)
    assert not len(watch.doubts)
    watch.came(2, bytes([4] * 20), syn)
    assert len(watch.doubts) == 1


def test_under_a_flood_only_what_a_syn_could_change_is_looked_at():
    watch = decide.Watch(100, None, None, Here(), None)
    ours, owned, asked = (bytes([192, 0, 2, number]) for number in (1, 2, 3))
    states = {ours: REACHABLE, owned: PERMANENT, asked: REACHABLE}
    watch.known.read_anew(
        codec.Entry(ifindex=2, state=state, kind=1, dst=dst, mac=bytes([2] * 6))
        for dst, state in states.items()
    )
    watch.doubts.put((2, asked), "syn", 0.0)
    assert set(watch.filter_for_kernel(False, 100)) == {ours, owned, asked}
    assert set(watch.filter_for_kernel(True, 100)) == {ours}
