"""The results as text, for the terminal and for docs/benchmarks.md between two marks."""

import os
import platform
import subprocess

import pyroute2
import salt.version

from benchmarks import peers
from benchmarks.work import LIMIT, MOST, PYROUTE2

BEGIN, END = "<!-- measured: `make bench` writes from here -->", "<!-- to here -->"


def table(rows):
    """Return the ratios against their goals."""
    lines = [
        "| work | against | goal | ours / theirs | spread | ours | theirs | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        value = row.ratio.median if row.ratio else row.ours
        met = "" if row.goal is None else "met" if value <= row.goal else "**missed**"
        goal = "-" if row.goal is None else f"≤ {_number(row.goal)}"
        if row.ratio:
            spread = f"{_number(row.ratio.low)} to {_number(row.ratio.high)} ({row.ratio.rounds})"
            cells = [_number(value), spread, _time(row.ours), _time(row.theirs)]
        else:
            cells = [f"{value:.1f}", "", "", ""]
        remark = "; ".join(filter(None, (met, row.note)))
        against = row.against.replace("|", "\\|")
        lines.append(f"| {' | '.join([row.work, against, goal, *cells, remark])} |")
    return "\n".join(lines)


def times(series):
    """Return the medians of all tools."""
    parts = []
    for (work, family), peers_ in series.items():
        sizes = sorted({size for by_size in peers_.values() for size in by_size})
        lines = [f"| {work}, IPv{family} | " + " | ".join(f"{size:,}" for size in sizes) + " |"]
        lines.append("|---" * (len(sizes) + 1) + "|")
        for name, by_size in peers_.items():
            cells = [_time(by_size[size]) if size in by_size else "-" for size in sizes]
            label = f"**arp.{work}**" if name == "arp" else name.replace("|", "\\|")
            lines.append(f"| {label} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def machine(rounds, look_s):
    """Return one paragraph on the machine.

    look_s: how long a dump of an empty table takes, which shows how large the hash has grown; None
    without a compiler.
    """
    hash_ = "" if look_s is None else f" A look at the empty table took {look_s * 1e6:.0f} µs."
    iproute2 = subprocess.check_output([peers.IP, "-V"], text=True).split("-")[-1].split(",")[0]
    model = "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":")[1].strip() for line in file if "model name" in line), model)
    return (
        f"{os.cpu_count()} CPUs ({model}), Linux {platform.release().split('-')[0]}, "
        f"iproute2 {iproute2}, {_net_tools()}, Python {platform.python_version()}, "
        f"Salt {salt.version.__version__}, pyroute2 {pyroute2.__version__}. "
        f"{rounds} rounds (small tables three times as many), load {os.getloadavg()[0]:.1f}."
        + hash_
    )


def missing():
    """Return a line for each measurement that was not possible here."""
    lines = [
        f"{name}: not measured above {most:,} entries, it takes minutes"
        for name, most in MOST.items()
    ]
    lines.append(
        f"{PYROUTE2}: has no call that flushes; measured with `get_neighbours` and `neigh('del')`"
    )
    for name, program in (("arping", peers.ARPING), ("arp-scan", peers.ARP_SCAN)):
        if not program:
            lines.append(f"{name} is not installed")
    if not peers.ARP:
        lines.append("net-tools is not installed")
    else:
        lines.append("net-tools: has only IPv4, no ages and no JSON; `arp -an` is not parsed")
    if not peers.COMPILER:
        lines.append(f"no C compiler: {LIMIT} could not be measured")
    return "\n".join(f"- {line}." for line in lines)


def write(path, text):
    """Write the results between the marks."""
    page = path.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    path.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


def _net_tools():
    if not peers.ARP:
        return "no net-tools"
    said = subprocess.run([peers.ARP, "-V"], capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).splitlines()[0].strip()


def _number(value):
    return f"1/{1 / value:.0f}" if 0 < value < 0.02 else f"{value:.2f}"


def _time(seconds):
    if seconds < 0.0001:
        return f"{seconds * 1e6:.2f} µs"
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"
