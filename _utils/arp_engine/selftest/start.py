"""Start the drill, wait for it, and show that it had no way to the host's own table.

The drill is a new process with the Python and the engine of its caller: a process with threads must
neither fork into the drill nor change its own namespace.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..table import listing, selectors
from . import drill
from .namespaces import NotPossible

TIMEOUT_S = 30.0  # it takes about three seconds
BY_HAND = ("PERMANENT", "NOARP")  # owners whose entries no traffic changes
PACKAGE = Path(__file__).resolve().parents[1]
#: The caller's own import path, ours last: beside a synced engine may lie anybody's modules.
CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from arp_engine.selftest.process import main; main(int(sys.argv[2]))"
)

Table = dict[tuple[str, str], tuple[str, str]]  # (device, address) to owner and MAC


def play() -> list[drill.Row]:
    """Play the drill; return its rows. NotPossible, in one line, where that is not possible."""
    began, before = time.monotonic(), _host_table()
    told = _drill()
    after = _host_table()
    took_s = time.monotonic() - began
    python = platform.python_version()
    figures = f"Linux {platform.release()}, Python {python}, {took_s:.1f} s"
    rows = [*told["rows"], _untouched(before, after, told)]
    return [*rows, drill.row("all", all(row["result"] == "pass" for row in rows), figures)]


def _drill() -> dict[str, Any]:
    """Run the process; return what it told."""
    path = [*filter(None, sys.path), str(PACKAGE.parent)]
    words = [sys.executable, "-I", "-c", CODE, json.dumps(path), str(os.getpid())]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotPossible(f"the drill did not end within {TIMEOUT_S:g} s and was killed") from None
    try:
        told: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        why = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise NotPossible(f"the drill exited with code {done.returncode}: {why}") from None
    if "not_possible" in told:
        raise NotPossible(told["not_possible"])
    return told


def _host_table() -> Table:
    """Return the table without multicast entries: the kernel writes those for its own groups."""
    rows = listing.list_entries(selectors.parse_selectors(verb="list"))
    entries = {(row["dev"], row["ip"]): (row["owner"], row["mac"]) for row in rows}
    return {key: entry for key, entry in entries.items() if entry[0] != "multicast"}


def _untouched(before: Table, after: Table, told: dict[str, Any]) -> drill.Row:
    """Show that every socket of the drill was in a namespace of its own.

    The host's own traffic changes its table meanwhile, so that alone proves nothing; but no traffic
    changes an entry that was set by hand.
    """
    inside, sockets = told["inside"], told["sockets"]
    there = sum(count for where, count in sockets.items() if where != inside)
    is_apart = inside != told["outside"] == drill.namespace() and inside in sockets and not there
    both = before.keys() & after.keys()
    changed = {key for key in both if before[key] != after[key]}
    by_hand = {key for key in both if before[key][0] in BY_HAND}
    figures = (
        f"{there} of {sum(sockets.values())} sockets there, "
        f"{len(changed & by_hand)} of {len(by_hand)} owned changed"
    )
    if meanwhile := len(changed - by_hand) + len(before.keys() ^ after.keys()):
        figures += f"; {meanwhile} changed by the host's own traffic meanwhile"
    return drill.row("host table untouched", is_apart and not changed & by_hand, figures)
