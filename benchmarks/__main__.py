"""``make bench``: all measurements in one run, in private namespaces; ``--quick`` to try it."""

import argparse
import sys
import time
from pathlib import Path

from benchmarks import asking, jobs, many, peers, report, scene, sentinel
from benchmarks.minion import Minion
from benchmarks.profile import profiles
from benchmarks.work import Works
from lab.machines import refuse_outside

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main():
    """Measure, print, and write docs/benchmarks.md."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--quick", action="store_true", help="small tables, 3 rounds, no document")
    asked.add_argument("--picture", help="where to draw; default: beside the document")
    asked = asked.parse_args()
    refuse_outside()
    began = time.monotonic()
    scene.stage()
    minion = Minion()
    works = Works(
        minion, (100, 1000, 10_000) if asked.quick else (100, 1000, 10_000, 100_000),
        rounds := 3 if asked.quick else 7,
    )  # fmt: skip
    look = peers.limit("list", 4)
    look_s = min(look() for _again in range(9)) if look else None
    # Before the large tables: a dump takes as long as the hash is large, and it never shrinks.
    rows = asking.everything(minion, rounds) + jobs.scheduled(minion, rounds)
    rows += many.devices(minion, rounds, 200 if asked.quick else 1000)
    shares = profiles(minion)
    works.run()
    rows = works.rows + rows + many.networks(minion, rounds)
    rows += jobs.memory(minion, works.sizes[-1])
    text = "\n\n".join(
        ["", report.machine(rounds, look_s), report.table(rows), "### Medians of all tools",
         report.times(works.series), "### What could not be run", report.missing(),
         "### The sentinel", sentinel.section(asked.quick).rstrip(),
         "### What the time is made of", shares]
    )  # fmt: skip
    print(text)
    if not asked.quick:
        report.write(DOCS / "benchmarks.md", text)
    if not asked.quick or asked.picture:
        from benchmarks import picture  # takes a second  # noqa: PLC0415

        picture.draw(works.series, asked.picture or DOCS / "benchmarks.png")
    print(f"\n{time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    sys.exit(main())
