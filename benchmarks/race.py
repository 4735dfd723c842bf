"""Several tools for the same work, in turns, and their ratios.

Times are worth little on a machine that does other things too; ratios of neighbours in time are.
So in each round every tool runs once on an equal table, in an order that rotates, and the ratio is
taken inside the round.
"""

import statistics
from collections import namedtuple

OURS = "arp"

#: The median of the rounds' ratios, with the lowest and the highest.
Ratio = namedtuple("Ratio", "median low high rounds")

#: One row of the table. ``goal`` is None for a row without one.
Row = namedtuple("Row", "work against goal ratio ours theirs note", defaults=("",))


class Race:
    """Times in seconds, round by round, of all tools for one work."""

    def __init__(self):
        self.times = {}  # name to seconds, one for each round

    def run(self, rounds, prepare, runners):
        """Run every tool in each round; ``runners`` maps names to functions that return seconds."""
        names = list(runners)
        for number in range(rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                prepare()
                self.times.setdefault(name, []).append(runners[name]())
        return self

    def median(self, name):
        """Return the median of one tool in seconds."""
        return statistics.median(self.times[name])

    def row(self, work, theirs, goal, against=None, note=""):
        """Return our row against one tool."""
        each = [a / b for a, b in zip(self.times[OURS], self.times[theirs], strict=False)]
        ratio = Ratio(statistics.median(each), min(each), max(each), len(each))
        medians = self.median(OURS), self.median(theirs)
        return Row(work, against or theirs, goal, ratio, *medians, note)
