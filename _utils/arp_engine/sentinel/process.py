"""The sentinel as a process of its own, which tells on stdout.

    python -m arp_engine.sentinel '{"dev": "eth0", "rate": 50}'

Options: sentinel/options.py.
"""

import contextlib
import json
import os
import select
import signal
import sys

from ..reporting import sentinel_status, throttle
from ..reporting.events import EventKind
from . import loop
from . import options as sentinel_options


def print_line(kind: EventKind, line: str, _facts: throttle.Row) -> None:
    """Print a line; for the journal with the priority that a scheduled run gives to syslog.

    A line that cannot be written (full disk, dead or stopped journal) is lost; watching goes on.
    """
    urgency = f"<{3 if kind.is_urgent else 5}>" if "JOURNAL_STREAM" in os.environ else ""
    with contextlib.suppress(OSError):
        # A write would wait for a reader that is so late that there is no room for a line.
        if sys.stdout and select.select([], [sys.stdout], [], 0)[1]:
            # print() would keep what cannot be written, and fail the process's end with it
            os.write(sys.stdout.fileno(), f"{urgency}{line}\n".encode(errors="backslashreplace"))


def main() -> None:
    """Run the sentinel as a process of its own."""
    try:
        options = sentinel_options.parse(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {})
    except json.JSONDecodeError:
        sys.exit(f'options: {sys.argv[1]!r} is not JSON, such as {{"dev": "eth0"}}')
    except ValueError as bad:
        sys.exit(str(bad))
    sentinel = loop.Sentinel(
        options, print_line, drop_rights=True, status_path=sentinel_status.PATH, way="service"
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sentinel.stop())
    sentinel.run()
