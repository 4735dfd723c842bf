"""The machine's own wall clock is set under a sentinel that watches.

Only here: a namespace has no wall clock of its own. (The clocks that it has are set in
``tests/functional/sentinel/test_clocks.py``.) A suspended machine looks like this to a program: the
monotonic clock and the kernel's own stand still, the wall clock jumps ahead.
"""

import contextlib
import time

from first import IN, OUT, PLAIN, REST_S, VOUCHED, Network, Pair, told

from lab.cures import sentinel

START_S = 200
YEAR_S = 365 * 86400


def clocks():
    """A year back, ten years ahead: the next first connections are healed as before."""
    with contextlib.ExitStack() as scene:
        network = Network(scene, "c", "answers")
        pairs = [Pair(network, 91, VOUCHED, IN), Pair(network, 92, PLAIN, OUT)]
        for pair in pairs:
            pair.play(pair.without)
        failed = not any(
            took for pair in pairs for tries in pair.without.values() for took in tries
        )
        yield failed, "clocks: without the sentinel no first connection"
        sentinel(network.database, START_S)
        yield _connections(pairs, "the wall clock as it was")
        for years in (-1, 10):
            _set(years * YEAR_S)
            yield _connections(pairs, f"the wall clock set by {years:+} years")


def _connections(pairs, what):
    """Make each worker anew once; say what came of the first connections."""
    for pair in pairs:
        pair.works()
    time.sleep(REST_S)
    seen = []
    for pair in pairs:
        pair.play(pair.seen)
        seen += [tries[-1] for tries in pair.seen.values()]
    return all(seen), f"clocks: {what}: {told(seen)}"


def _set(seconds):
    """Set the wall clock."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
