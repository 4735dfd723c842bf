"""A process that measures stalls: it sleeps for a moment over and over, and sees how late it wakes.

It measures from one line on stdin, which names the processes to watch, to the next, and answers
each line, the second one with the seconds. Plain Python: it starts at once.
"""

import contextlib
import os
import select
import time

TICK_S = 0.01
#: Who shares a processor, be it with other processes of the same test, waits often, but each time
#: for a few milliseconds: that is no stall.
LEAST_S = 0.02


class Stall:
    """How long the machine stalls from now on."""

    def __init__(self, waited, clock=time.monotonic):
        """Take a function that returns how long each thread has waited for a processor so far."""
        self._waited, self._clock = waited, clock
        self._before, self._began = waited(), clock()
        self._late = {}  # by whom: how long together

    def look(self):
        """Take into account what was since the last look, a tick ago."""
        now, waited = self._clock(), self._waited()
        self._add("sleeper", now - self._began - TICK_S)
        for thread, seconds in waited.items():
            self._add(thread, seconds - self._before.get(thread, 0.0))
        self._began, self._before = now, waited

    def _add(self, who, seconds):
        if seconds > LEAST_S:
            self._late[who] = self._late.get(who, 0.0) + seconds

    def seconds(self):
        """Return the time of whom it has kept longest: together, in long pieces."""
        return max(self._late.values(), default=0.0)


def waited(test, watched):
    """Return how long each thread has waited: of the test, of what it watches, and its children."""
    found, left = {}, [*watched]
    threads = _threads(test)
    while left:
        if (pid := left.pop()) != str(os.getpid()):
            threads += (family := _threads(pid))
            left += [child for thread in family for child in _words(f"{thread}/children")]
    for thread in threads:
        if words := _words(f"{thread}/schedstat"):
            found[thread] = int(words[1]) / 1e9
    return found


def _threads(pid):
    with contextlib.suppress(OSError):
        return [f"/proc/{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
    return []


def _words(path):
    with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
        return file.read().split()
    return []


def main():
    """Measure whenever it is told to, until nobody can tell it any more."""
    while names := os.read(0, 1 << 16).split():
        test, *watched = [name.decode() for name in names]
        stall = Stall(lambda test=test, watched=watched: waited(test, watched))
        print(flush=True)
        while not select.select([0], [], [], TICK_S)[0]:
            stall.look()
        if not os.read(0, 1 << 16):
            break
        stall.look()
        print(stall.seconds(), flush=True)


if __name__ == "__main__":
    main()
