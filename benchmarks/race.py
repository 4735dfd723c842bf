"""Several ways to do the same work, in turns, and what came of it.

Times are worth little on a machine that does other things too; ratios of neighbours in time are.
So: in each round everybody runs once on an equal table, in an order that rotates, and the ratio is
taken inside the round.
"""

import statistics
from collections import namedtuple

OURS = "arp"

#: What is compared: the least and the most of the rounds' ratios stand beside their median.
Ratio = namedtuple("Ratio", "median low high rounds")

#: One line of the table. ``goal`` is None where nothing was promised.
Row = namedtuple("Row", "work against goal ratio ours theirs note", defaults=("",))


class Race:
    """Times in seconds, round by round, of everybody who does one work."""

    def __init__(self):
        self.times = {}  # name to seconds, one for each round

    def run(self, rounds, prepare, runners):
        """Let everybody run in each round; ``runners`` maps a name to what returns its seconds."""
        names = list(runners)
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                prepare()
                self.times.setdefault(name, []).append(runners[name]())
        return self

    def median(self, name):
        """Return somebody's median in seconds."""
        return statistics.median(self.times[name])

    def row(self, work, theirs, goal, against=None, note=""):
        """Return how we did against somebody."""
        each = [a / b for a, b in zip(self.times[OURS], self.times[theirs], strict=False)]
        ratio = Ratio(statistics.median(each), min(each), max(each), len(each))
        medians = self.median(OURS), self.median(theirs)
        return Row(work, against or theirs, goal, ratio, *medians, note)
