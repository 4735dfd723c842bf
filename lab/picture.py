"""The film's results as a picture: a timeline per cause and cure, and the harm beside it."""

import os
import sys
from pathlib import Path

# matplotlib's font index takes seconds to build: keep it in the environment, not in /tmp.
os.environ.setdefault("MPLCONFIGDIR", str(Path(sys.prefix) / "matplotlib"))

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from lab.cures import ALL, BY_ITSELF, FLEET, NOTHING, REVALIDATE, SENTINEL
from lab.scenes import BALANCED, CURE_AFTER_S, DUPLICATE, PLAIN, UPPER
from lab.table import harm_cell

# Colours that the colour-blind can tell apart (Okabe and Ito).
FAILS, SLOW, WORKS, PALE = "#d55e00", "#f0c04a", "#009e73", "#eeeeee"
SLOW_S = 0.25
EXCERPT = (NOTHING, ALL, REVALIDATE, SENTINEL)
HEADINGS = {
    PLAIN: "plain STALE entry",
    UPPER: "confirmed by\nan application",
    BALANCED: "confirmed by TCP\nvia a balancer",
    DUPLICATE: "duplicate address",
}
FABRICS = {
    "switch": "a plain\nswitch",
    "answers": "ARP always\nanswered",
    "lossy": "every 2nd\nARP lost",
    "mute": "no unicast,\n2nd lost",
    "random": "no unicast,\nrandom loss",
}


def draw(outages, flows, cures, path):
    """Draw all to ``path``.svg, and four cures on three columns, for a phone, to ``path``.png."""
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "outage", "font.family": "DejaVu Sans"})
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    names = [cure for cure in cures if any(row["cure"] == cure for row in outages)]
    figure = _figure(outages, flows, names, HEADINGS, FABRICS)
    figure.savefig(f"{path}.svg", metadata={"Date": None})
    few = [cure for cure in EXCERPT if cure in names]
    causes = [PLAIN, BALANCED if any(row["cause"] == BALANCED for row in outages) else UPPER]
    figure = _figure(outages, flows, few, causes, ["lossy"])
    figure.savefig(f"{path}.png", dpi=160)
    plt.close("all")


def _figure(outages, flows, names, causes, fabrics):
    seen = {(row["cause"], row["cure"]): row for row in outages}
    causes = [cause for cause in causes if cause in {key[0] for key in seen}]
    fabrics = [key for key in fabrics if key in {row["kind"] for row in flows}]
    is_excerpt = len(fabrics) <= 1
    ratios = [1.7] * len(causes) + [max(0.95 * len(fabrics), 1.3 if is_excerpt else 3.1)]
    figure, axes = plt.subplots(
        1,
        len(causes) + 1,
        figsize=(1.5 + sum(ratios), 1.5 + 0.46 * len(names) + 0.5 * (not is_excerpt)),
        width_ratios=ratios,
        layout="constrained",
    )
    for axis, cause in zip(axes, causes, strict=False):
        _timelines(axis, [seen.get((cause, cure)) for cure in names], HEADINGS[cause])
    axes[0].set_yticks(range(len(names)), names)
    for label in axes[0].get_yticklabels():
        ours = label.get_text().startswith("arp.") or label.get_text() in (SENTINEL, FLEET)
        label.set_fontweight("bold" if ours else "normal")
    harm = {(row["kind"], row["cure"]): row for row in flows}
    _harm(axes[-1], harm, fabrics, names, "lost packets\nof a healthy flow" * is_excerpt)
    _caption(figure, 2 if is_excerpt else 4)
    return figure


def _timelines(axis, rows, heading):
    """One column: for each cure a strip of attempts, coloured by how they went."""
    for place, row in enumerate(rows):
        if row is None:
            axis.text(6, place, "not played", va="center", color="grey", fontsize=8)
            continue
        # salt-calls may have waited: shift each strip so that all cures are at the same second
        late = (row["applied_s"] or CURE_AFTER_S) - CURE_AFTER_S
        for began, width, colour in _spans(row["attempts"], late):
            axis.barh(place, width, left=began, height=0.62, color=colour, linewidth=0)
        if row["cure"] not in BY_ITSELF:
            axis.plot([CURE_AFTER_S] * 2, [place - 0.42, place + 0.42], color="black", linewidth=2)
    axis.set(title=heading, xlim=(0, 13), ylim=(len(rows) - 0.4, -0.6), yticks=[])
    axis.set_xticks([0, 3, 6, 9, 12])
    axis.set_xlabel("seconds after its start", fontsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.title.set_fontsize(9.5)


def _spans(attempts, late):
    """Join neighbouring attempts of one colour: (when, how long, colour)."""
    spans = []
    for number, (when, took) in enumerate(attempts):
        colour = FAILS if took is None else WORKS if took < SLOW_S else SLOW
        until = attempts[number + 1][0] if number + 1 < len(attempts) else when
        if spans and spans[-1][2] == colour:
            spans[-1][1] = until - late
        else:
            spans.append([when - late, until - late, colour])
    return [(max(0, a), max(0, b) - max(0, a), colour) for a, b, colour in spans if b > 0]


def _harm(axis, seen, fabrics, names, title):
    """A field for each cure and fabric, coloured by whether a healthy flow lost packets."""
    for place, cure in enumerate(names):
        for column, fabric in enumerate(fabrics):
            if cure == FLEET:
                continue  # the same cure as above
            row = seen.get((fabric, cure))
            colour = PALE if row is None else FAILS if row["lost"] else WORKS
            text = "not\nplayed" if row is None else harm_cell(row).replace(" / ", " lost\n")
            axis.barh(place, 0.94, left=column + 0.03, height=0.86, color=colour, alpha=0.85)
            axis.text(
                column + 0.5, place, text, ha="center", va="center", fontsize=7.5,
                color="grey" if row is None else "white",
            )  # fmt: skip
    axis.set(xlim=(0, len(fabrics)), ylim=(len(names) - 0.4, -0.6), yticks=[])
    axis.set_xticks([column + 0.5 for column in range(len(fabrics))])
    axis.set_xticklabels([FABRICS[fabric] for fabric in fabrics], fontsize=8)
    if not title:
        times = next(iter(seen.values()))["times"]
        cured = "the cure once" if times == 1 else f"the cure {times} times"
        title = f"harm to a healthy flow, {cured}\n(1,000 packets/s: lost, worst delay)"
    axis.set_title(title)
    axis.title.set_fontsize(9.5)
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axis.tick_params(length=0)


def _caption(figure, columns):
    """Add the legend of the colours."""
    handles = [
        Patch(color=FAILS, label="a new worker's connection fails (timeout 2 s)"),
        Patch(color=SLOW, label="works, but late"),
        Patch(color=WORKS, label="works"),
        plt.Line2D([], [], color="black", linewidth=2, label="the cure is applied"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
