"""How long to wait for the host with the cached MAC before everybody is asked: learned per device.

A network whose hosts answer in 0.2 ms is not waited for 15 ms; one whose hosts take 40 ms is waited
for longer. As TCP does for its retransmissions (RFC 6298): the smoothed time of the answers and
four times its variation, within bounds. One answer that comes late, as its host or this one was
busy, at most doubles the wait: the next newcomers would have to wait for it. A network that becomes
slow is learned with a few answers all the same. What is learned wrong is made good by the look back
at the former holder (look_back.py): nobody without one learns.
"""

FIRST_S = 0.015  # before anything is learned
MIN_S, MAX_S = 0.002, 0.2  # ten times as long as a host takes that is not busy
MIN_SHARE = 1 / 15  # of other waits, that are for slow networks too


class Patience:
    """The time that answers take, by device."""

    def __init__(self) -> None:
        self._times: dict[int, tuple[float, float]] = {}  # smoothed time, variation

    def add(self, ifindex: int, took_s: float) -> None:
        """Learn from one answer."""
        took_s = min(took_s, 2 * self.wait_s(ifindex), MAX_S)
        time_s, variation_s = self._times.get(ifindex, (took_s, took_s))
        variation_s += (abs(took_s - time_s) - variation_s) / 4
        self._times[ifindex] = time_s + (took_s - time_s) / 8, variation_s

    def forget(self, ifindex: int) -> None:
        """Forget a device: it may be another one by now."""
        self._times.pop(ifindex, None)

    def wait_s(self, ifindex: int) -> float:
        """Return how long to wait for one host."""
        return min(max(self._learned_s(ifindex), MIN_S), MAX_S)

    def share(self, ifindex: int) -> float:
        """Return which part of a wait that is long enough before anything is learned is enough."""
        return min(max(self._learned_s(ifindex), MIN_SHARE * FIRST_S), MAX_S) / FIRST_S

    def _learned_s(self, ifindex: int) -> float:
        if ifindex not in self._times:
            return FIRST_S
        time_s, variation_s = self._times[ifindex]
        return time_s + 4 * variation_s
