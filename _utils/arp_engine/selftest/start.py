"""Start the drill, wait for it, and show that the host's own table was not touched.

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
PACKAGE = Path(__file__).resolve().parents[1]
#: The caller's own import path, ours last: beside a synced engine may lie anybody's modules.
CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from arp_engine.selftest.process import main; main(int(sys.argv[2]))"
)


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


def _host_table() -> dict[tuple[str, str], str | None]:
    rows = listing.list_entries(selectors.parse_selectors(verb="list"))
    return {(row["dev"], row["ip"]): row["mac"] for row in rows}


def _untouched(
    before: dict[tuple[str, str], str | None],
    after: dict[tuple[str, str], str | None],
    told: dict[str, Any],
) -> drill.Row:
    """Compare the host's table before and after; its own traffic goes on meanwhile."""
    changed = sum(before[key] != after[key] for key in before.keys() & after.keys())
    came, went = len(after.keys() - before.keys()), len(before.keys() - after.keys())
    figures = f"{len(before)} entries, {changed} changed"
    if came or went:
        figures += f" ({came} came, {went} went meanwhile)"
    is_apart = told["inside"] != told["outside"] == drill.namespace()
    if not is_apart:
        figures += f"; the drill was in the namespace {told['inside']}, this host's"
    return drill.row("host table untouched", is_apart and not changed, figures)
