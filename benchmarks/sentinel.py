"""First connections with and without the sentinel, and what it costs.

``python -m benchmarks.sentinel`` prints its tables; ``make bench`` includes them, and those of
``mass`` (a whole fleet at once) and ``storms`` (while something bad goes on). In a namespace of
its own, with default kernel settings.
"""

import socket
import statistics
import subprocess
import sys
import time

from benchmarks import burden
from benchmarks.guarded import (
    BORN,
    PORT,
    REPO,
    Guard,
    Server,
    address,
    batch,
    call,
    confirming,
    connect,
    failed,
    hold_dead,
    in_worker,
    lossy,
    recreations,
    stage,
    summary,
)
from lab.bare import missing
from lab.machines import refuse_outside


def main():
    """Measure in a fresh namespace, and print."""
    refuse_outside()
    quick = "--quick" in sys.argv
    stage()
    with Server("10.0.0.1"), Server("2001:db8::1"):
        print(connections(*((20, 20) if quick else (1000, 100))), flush=True)
        print(established(3 if quick else 10), flush=True)
        print(burden.healthy(200 if quick else 1000), flush=True)
        print(burden.costs(6 if quick else 10, 5_000 if quick else 100_000), flush=True)
        print(burden.leaving(*((3, 50_000) if quick else (11, 200_000))), flush=True)
    print(burden.hour(20_000 if quick else burden.HOUR))


def section(quick):
    """Return the tables, measured in other processes."""
    parts = []
    for module in ("benchmarks.sentinel", "benchmarks.mass", "benchmarks.storms"):
        words = [sys.executable, "-m", module, *(["--quick"] if quick else [])]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=REPO)
        parts.append(done.stdout)
    return "".join(parts)


def connections(most, fewer):
    """Return a table of first connections; ``fewer`` of them in the slow cases."""
    rows = [
        "| first connection of a re-created worker | without: failed | failed | median | 99 % | worst |",  # noqa: E501
        "|---|---|---|---|---|---|",
    ]
    kinds = [(family, is_confirmed) for family in (4, 6) for is_confirmed in (False, True)]
    for family, is_confirmed in kinds:
        rows.append(_row("", most, family, is_confirmed))
    if not missing("nft"):
        with lossy():
            for family, is_confirmed in kinds:
                rows.append(_row(", half of the probes lost", fewer, family, is_confirmed))
    with in_worker():
        servers = [Server("0.0.0.0"), Server("::")]  # for the database's connections
    for family in (4, 6):
        rows.append(_row(", the database connects", fewer, family, False, call))
    for server in servers:
        server.__exit__()
    return "\n".join(rows) + "\n"


def _row(what, count, family, is_confirmed, attempt=connect):
    without = recreations(2, family, is_confirmed, attempt, first=1000)
    with Guard():
        took = recreations(count, family, is_confirmed, attempt)
    kind = "upper-layer confirmation" if is_confirmed else "plain"
    return f"| IPv{family}, {kind}{what} | {failed(without)} of 2 | {summary(took)} |"


def established(count):
    """Return a line on connections whose entry became wrong: from the write to the echo."""
    name, took = address(1), []
    with in_worker():
        server = Server("0.0.0.0", echo=True)
    with Guard():
        for _ in range(count):
            batch([f"neigh replace {name} lladdr {BORN} dev db0 nud reachable"])
            with socket.create_connection((name, PORT), 5) as sock:
                sock.settimeout(30)
                hold_dead([name], "reachable")
                with confirming(name):
                    began = time.monotonic()
                    sock.sendall(b"word")
                    sock.recv(4)
                    took.append(time.monotonic() - began)
    server.__exit__()
    middle, worst = statistics.median(took), max(took)
    return (
        f"An established connection whose entry became wrong, {count} times: the answer came "
        f"{middle * 1e3:.0f} ms after the write, {worst * 1e3:.0f} ms at worst; the first "
        "retransmission is due after 200 ms.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
