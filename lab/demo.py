"""``make demo``. Exit code 0: as expected; 1: some result was not; 2: the demo itself failed."""

import argparse
import concurrent.futures
import os
import sys
import time

from lab import bare, cures, film, story, table
from lab.machines import Failed, refuse_outside
from lab.tell import bad, printed, say, title


def main():
    """Play the story, then the film."""
    asked = argparse.ArgumentParser(description="The outage and its cures, in private namespaces.")
    asked.add_argument("--fast", action="store_true", help="fewer scenes, under a minute")
    asked.add_argument("--picture", default="build/outage", help="without .svg and .png")
    asked = asked.parse_args()
    refuse_outside()
    began = time.monotonic()
    try:
        wrong = _play(asked.fast, asked.picture)
    except (Failed, concurrent.futures.TimeoutError) as failed:
        print(f"\nThe demo itself failed: {failed}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        os._exit(130)  # the kernel ends all children with our PID namespace
    for sentence in wrong:
        bad(sentence)
    verdict = "NOT as expected" if wrong else "All results are as expected"
    print(f"\n{verdict}; {time.monotonic() - began:.0f} s.")
    return 1 if wrong else 0


def _play(fast, path):
    """Return a sentence for each result that was not as expected."""
    wrong = [] if story.play() else ["the story did not end with a heal"]
    lacking = bare.missing("nft", "arping")
    if lacking:
        say(f"Not played: six causes under nine cures: {lacking}.")
        return wrong
    outages, flows = film.play(fast)
    from lab import picture  # takes a second to import  # noqa: PLC0415

    title("Results")
    names = [*cures.available(), cures.FLEET]
    printed(table.tables(outages, flows, names, film.CAUSES))
    for sentence in table.said(outages):
        say(sentence)
    picture.draw(outages, flows, names, path)
    say(f"Picture: {path}.svg; an excerpt: {path}.png")
    return wrong + film.broken(outages, flows)


if __name__ == "__main__":
    sys.exit(main())
