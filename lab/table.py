"""The film's results as tables, in words and columns."""

from lab.cures import EVERY_S, FLEET
from lab.scenes import CURE_AFTER_S, CURES_APART_S, DUPLICATE

FABRIC_NAMES = {
    "switch": "a switch",
    "answers": "answers all",
    "lossy": "loses every 2nd",
    "mute": "no unicast, 2nd",
    "random": "no unicast, random",
}


def healing_cell(seen):
    """Say how long a client waited: since the command, or else since the new worker's start."""
    if seen["works_s"] is None:
        return "never"
    return f"{max(0, seen['works_s'] - (seen['applied_s'] or 0)):.1f} s"


def harm_cell(seen):
    """Say what a healthy flow lost, and its worst delay."""
    worst = seen["worst_ms"]
    return f"{seen['lost']} / {worst:.0f} ms" if worst >= 10 else f"{seen['lost']} / {worst:.1f} ms"


def grid(corner, names, columns, cells):
    """Lay out a table: ``cells[(row, column)]``, missing ones stay empty."""
    widths = [max(len(row) for row in (corner, *names))]
    widths += [
        max(len(str(column)), *(len(cells.get((row, column), "")) for row in names))
        for column in columns
    ]
    lines = [[corner, *map(str, columns)], ["-" * width for width in widths]]
    lines += [[row, *(cells.get((row, column), "") for column in columns)] for row in names]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def tables(outages, flows, cures, causes):
    """Return both tables as text."""
    heals = {(seen["cure"], seen["cause"]): healing_cell(seen) for seen in outages}
    played = {cause for _, cause in heals}
    names = [cure for cure in cures if cure in {key[0] for key in heals}]
    return "\n".join(
        [
            "Seconds until a new worker can connect, from typing the command, Salt's own start",
            f"included; without a command from the new worker's start, {CURE_AFTER_S:g} s earlier.",
            f"The schedule is Salt's own, every {EVERY_S} s.",
            "",
            grid("cure", names, [cause for cause in causes if cause in played], heals),
            "",
            harm_table(flows, cures),
        ]
    )


def harm_table(flows, cures):
    """Return what healthy flows lost, as text."""
    harms = {(seen["cure"], FABRIC_NAMES[seen["kind"]]): harm_cell(seen) for seen in flows}
    fabrics = [name for name in FABRIC_NAMES.values() if name in {key[1] for key in harms}]
    times = next(iter(flows))["times"]
    often = "once" if times == 1 else f"{times} times, {CURES_APART_S:g} s apart"
    return "\n".join(
        [
            "Harm to a healthy flow of 1,000 packets a second: packets lost / worst delay while",
            f"the cure is applied {often}. Kernel defaults. `no unicast`: only broadcast requests",
            "are answered, and every 2nd of those is lost, or half of them at random.",
            "",
            grid("cure", [c for c in cures if c in {key[0] for key in harms}], fabrics, harms),
        ]
    )


def said(outages):
    """Return sentences that explain the table."""
    return [
        "Flushing STALE entries heals nothing in any column: after 3 s the plain entry is already "
        "in DELAY and heals without help, and the others are REACHABLE.",
        _said_of_the_duplicate(outages),
        *map(_said_of_a_fleet, [seen for seen in outages if seen["cure"] == FLEET]),
    ]


def _said_of_a_fleet(seen):
    """Return how long the first connections of many workers took."""
    took = sorted(2.0 if each is None else each for each in seen["first"])
    return (
        f"{len(took)} workers at once, {seen['cause']}: {seen['first'].count(None)} first "
        f"connections failed; median {took[len(took) // 2] * 1e3:.0f} ms, worst "
        f"{took[-1] * 1e3:.0f} ms."
    )


def _said_of_the_duplicate(outages):
    """Return who answers for the duplicate address."""
    for seen in outages:
        if seen["cause"] == DUPLICATE and seen["owners"]:
            return (
                f"Duplicate address: to a probe {' and '.join(seen['owners'])} both answer. "
                "No change of the table can heal this; remove one of the two machines."
            )
    return ""
