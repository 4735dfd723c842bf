"""A slower host than the holder may answer a broadcast of ours, too, after the question is over.

The holder's answer changed nothing, so it began no ``locktime``: the kernel takes the late one. So
an entry that was confirmed by an answer to a broadcast is read again for a second.

Pure: told the time, opens nothing.
"""

from ..netlink.codec import Key
from . import deadlines

READ_AFTER_S = 0.25  # and once more when it is over: a host without its entry waits no longer
LATE_S = 1.0  # a change within so long after a broadcast of ours is our doing


class LateAnswers:
    """The entries for which an answer may still come."""

    def __init__(self) -> None:
        self._due = deadlines.Deadlines()
        self._over: dict[Key, float] = {}

    def __len__(self) -> int:
        return len(self._over)

    def __contains__(self, key: Key) -> bool:
        return key in self._over

    def begin(self, key: Key, now: float) -> None:
        """Read an entry again from now on."""
        self._over[key] = now + LATE_S
        self._due.set(now + READ_AFTER_S, [key])

    def end(self, key: Key) -> None:
        """Read it no more."""
        self._over.pop(key, None)
        self._due.clear(key)

    def next_due(self) -> float:
        """Return when ``pop`` has the next one."""
        return self._due.due()

    def pop(self, now: float, most: int) -> list[Key]:
        """Return the entries that are to be read now; for the last time, where it is over."""
        keys: list[Key] = self._due.pop(now, most)
        for key in keys:
            if now < self._over[key]:
                self._due.set(self._over[key], [key])
            else:
                del self._over[key]
        return keys
