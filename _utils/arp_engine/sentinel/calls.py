"""Our own SYNs that may wait for an answer in vain. Told the time; standard library alone."""

from collections import OrderedDict

from ..packets.tcp_syn import Syn

SILENT_S = 0.05  # a neighbour that lives answers in less than 1 ms
MOST = 512  # remembered; older ones give way


class Calls:
    """The latest SYNs we sent, each for as long as an answer is waited for."""

    def __init__(self) -> None:
        """Remember none."""
        self._due: OrderedDict[tuple, tuple[float, int, Syn]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._due)

    def put(self, syn: Syn, ifindex: int, now: float) -> None:
        """Remember one; what is sent again is remembered once."""
        self._due.setdefault(syn.connection, (now + SILENT_S, ifindex, syn))
        if len(self._due) > MOST:
            self._due.popitem(last=False)

    def next_due(self) -> float:
        """Return when the first has waited long enough."""
        return next(iter(self._due.values()))[0] if self._due else float("inf")

    def waited(self, now: float) -> list[tuple[int, Syn]]:
        """Return those that have, and forget them."""
        found = []
        while self._due and self.next_due() <= now:
            _connection, (_due, ifindex, syn) = self._due.popitem(last=False)
            found.append((ifindex, syn))
        return found
