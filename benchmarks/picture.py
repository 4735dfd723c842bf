"""Time against entries, of all tools, on two logarithmic scales."""

import os
import sys
from pathlib import Path

os.environ.setdefault("MPLCONFIGDIR", str(Path(sys.prefix) / "matplotlib"))  # as in lab/picture.py

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.race import OURS
from benchmarks.work import ARP_LIST, FLUSH, LIMIT, LIST, ONE_LINER, PYROUTE2

# Colours that the colour-blind can tell apart (Okabe and Ito); one program, one colour.
COLOURS = {
    FLUSH: "#0072b2",
    LIST: "#0072b2",
    "ip -batch, neigh del": "#e69f00",
    ONE_LINER: "#cc79a7",
    ARP_LIST: "#cc79a7",
    PYROUTE2: "#56b4e9",
}


def draw(series, path):
    """Draw flush and list, IPv4, to ``path`` (.png)."""
    plt.rcParams.update({"font.size": 9, "font.family": "DejaVu Sans"})
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    for axis, work in zip(axes, ("flush", "list"), strict=True):
        _panel(axis, work, series[work, 4])
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _panel(axis, work, peers):
    for name, by_size in peers.items():
        sizes = sorted(by_size)
        style = {"color": "#d55e00", "linewidth": 2.4, "marker": "o", "zorder": 3}
        label = f"arp.{work}"
        if name == LIMIT:
            label = name
            style = {"color": "black", "linewidth": 1.2, "linestyle": "--", "marker": "."}
        elif name != OURS:
            label = name
            style = {"color": COLOURS[name], "linewidth": 1.4, "marker": "s", "markersize": 4}
        axis.plot(sizes, [by_size[size] * 1000 for size in sizes], label=label, **style)
    axis.set(xscale="log", yscale="log", xlabel="entries (IPv4)", ylabel="milliseconds")
    axis.set_title(f"{work} a neighbour table")
    axis.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right", fontsize=8)
