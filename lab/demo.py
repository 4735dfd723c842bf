"""What ``make demo`` runs. Exit code 0: every expectation held; 1: one did not; 2: it broke."""

import argparse
import concurrent.futures
import os
import sys
import time

from lab import bare, cures, film, story, table
from lab.machines import Failed, refuse_outside
from lab.tell import bad, printed, say, title


def main():
    """Play the story, then the film; say how long it took."""
    asked = argparse.ArgumentParser(description="The outage and its cures, in private namespaces.")
    asked.add_argument("--fast", action="store_true", help="fewer scenes, under a minute")
    asked.add_argument("--picture", default="build/outage", help="where to, without .svg and .png")
    asked = asked.parse_args()
    refuse_outside()
    began = time.monotonic()
    try:
        wrong = _play(asked.fast, asked.picture)
    except (Failed, concurrent.futures.TimeoutError) as failed:
        print(f"\nThe demo broke: {failed}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        os._exit(130)  # and the kernel ends what we started: we are a world of our own
    for sentence in wrong:
        bad(sentence)
    verdict = "NOT as expected" if wrong else "Everything that was played went as expected"
    print(f"\n{verdict}; {time.monotonic() - began:.0f} s.")
    return 1 if wrong else 0


def _play(fast, path):
    """Return what did not go as expected, one sentence each."""
    wrong = [] if story.play() else ["the story did not end as it should"]
    lacking = bare.missing("nft", "arping")
    if lacking:
        say(f"Not played: the film, six causes under nine cures: {lacking}.")
        return wrong
    outages, flows = film.play(fast)
    from lab import picture  # takes a second: not before it is needed  # noqa: PLC0415

    title("What was seen")
    printed(table.tables(outages, flows, cures.available(), film.CAUSES))
    for sentence in table.said(outages):
        say(sentence)
    picture.draw(outages, flows, cures.available(), path)
    say(f"The picture: {path}.svg and {path}.png")
    return wrong + film.broken(outages, flows)


if __name__ == "__main__":
    sys.exit(main())
