"""The kernel's TCP counters of this network namespace: while they stand, no socket waits anew."""

import os
from typing import NamedTuple

DIRECTORY = "/proc/thread-self/net"
MAX_BYTES = 65536  # the longer file has 4 kB
#: The file, its group of numbers, and the names of those that are wanted, in their order.
SOURCES = (
    ("netstat", b"TcpExt:", (b"TCPSynRetrans", b"TCPTimeouts")),
    ("snmp", b"Tcp:", (b"RetransSegs", b"InSegs")),
)


class TcpCounters(NamedTuple):
    """Counters since boot."""

    syn_retransmits: int  # SYNs and SYN/ACKs sent again
    timeouts: int
    retransmits: int
    segments_in: int

    @property
    def unanswered(self) -> tuple[int, int, int]:
        """Those of which one grows whenever a segment gets no answer in time."""
        return self[:3]


class CounterFiles:
    """The files with the counters, held open: to open them costs three times what reading costs."""

    def __init__(self) -> None:
        """Open them; they show the network namespace of this thread for as long as they are."""
        self._files: list[tuple[int, bytes, list[int]]] = []
        try:
            for name, group, wanted in SOURCES:
                file = os.open(f"{DIRECTORY}/{name}", os.O_RDONLY | os.O_CLOEXEC)
                self._files.append((file, group, []))
                names = _group(file, group, 0)
                self._files[-1][2].extend(map(names.index, wanted))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "CounterFiles":
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def close(self) -> None:
        """Close them."""
        while self._files:
            os.close(self._files.pop()[0])

    def read(self) -> TcpCounters:
        """Return the counters as they are now."""
        found: list[int] = []
        for file, group, columns in self._files:
            numbers = _group(file, group, 1)
            found += [int(numbers[column]) for column in columns]
        return TcpCounters(*found)


def _group(file: int, group: bytes, line: int) -> list[bytes]:
    """Return the words of a group: of its line of names (0), or of its line of numbers (1)."""
    lines = [each for each in os.pread(file, MAX_BYTES, 0).split(b"\n") if each.startswith(group)]
    return lines[line].split()
