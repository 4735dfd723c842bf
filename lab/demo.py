"""What ``make demo`` runs. Exit code 0: every expectation held; 1: one did not; 2: it broke."""

import sys
import time

from lab import story
from lab.machines import Failed, refuse_outside


def main():
    """Play it, say how long it took."""
    refuse_outside()
    began = time.monotonic()
    try:
        held = story.play()
    except Failed as failed:
        print(f"\nThe demo broke: {failed}", file=sys.stderr)
        return 2
    print(
        f"\n{'All as expected' if held else 'NOT as expected'}, {time.monotonic() - began:.0f} s."
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
