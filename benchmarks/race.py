"""Several ways to do the same work, in turns, and what came of it.

Times are worth little on a machine that does other things too; ratios of neighbours in time are.
So: in each round everybody runs once on an equal table, in an order that rotates, and the ratio is
taken inside the round.
"""

import statistics
from collections import namedtuple

OURS = "ours"

#: What is compared: the fewest and the most of the rounds' ratios stand beside their median.
Ratio = namedtuple("Ratio", "median low high rounds")


class Race:
    """Times in seconds, round by round, of everybody who does one work on one size of table."""

    def __init__(self, size):
        self.size = size
        self.times = {}  # name to seconds, one for each round

    def run(self, rounds, prepare, runners):
        """Let everybody run in each round; ``runners`` maps a name to what returns its seconds.

        A runner that comes as ``(function, few)`` runs in the first few rounds only: it is slow.
        """
        names = list(runners)
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                runner, most = runners[name] if isinstance(runners[name], tuple) else (None, rounds)
                if number < most:
                    prepare()
                    self.times.setdefault(name, []).append((runner or runners[name])())
        return self

    def median(self, name):
        """Return somebody's median in seconds, or None."""
        return statistics.median(self.times[name]) if self.times.get(name) else None

    def ratio(self, theirs, ours=OURS):
        """Return how much of their time we need."""
        return ratio(self.times[ours], self.times[theirs])


def ratio(ours, theirs):
    """Return the Ratio of two lists of times of the same rounds."""
    each = [a / b for a, b in zip(ours, theirs, strict=False)]
    return Ratio(statistics.median(each), min(each), max(each), len(each))
