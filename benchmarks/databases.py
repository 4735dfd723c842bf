"""``make databases``: real databases under load while machines beside them are re-created.

    python3 lab/private.py .venv/3008/bin/python -m benchmarks.databases

PostgreSQL (lab/postgres_scene.py) and Redis (lab/redis_scene.py), each with nothing, with the
schedule, with the sentinel, and with both on the database hosts. Twenty minutes. Debian's packages:
postgresql, pgbouncer, redis-server, redis-sentinel.
"""

import argparse
import math
import statistics
import sys

from lab import postgres, postgres_scene, redis, redis_scene
from lab.databases import HELPERS, percentile
from lab.machines import refuse_outside

SCENES = {"postgres": (postgres, postgres_scene), "redis": (redis, redis_scene)}
HEAD = """\
| {}, on the database hosts | re-created | failed transactions | first connection | worst | \
replica follows, worst | failovers | healthy: failed | median | 99 % | worst |
|---|---|---|---|---|---|---|---|---|---|---|"""


def seconds(value):
    """Return a time as text."""
    if value == math.inf:
        return "never"
    return f"{value:.1f} s" if value >= 1 else f"{value * 1e3:.{1 if value < 0.1 else 0}f} ms"


def row(seen):
    """Return one row of the table."""
    followed = max(seen.replica_s, default=math.inf)
    steady = [percentile(seen.steady_s, share) for share in (0.5, 0.99, 1)]
    cells = (
        seen.helper,
        seen.re_created,
        seen.failed + seen.replica_failed,
        seconds(statistics.median(seen.connected_s or [math.inf])),
        seconds(max(seen.connected_s, default=math.inf)),
        seconds(followed),
        f"{seen.failovers} of {seen.masters_died}" if seen.masters_died else "",
        f"{seen.steady_failed} of {len(seen.steady_s) + seen.steady_failed:,}",
        *map(seconds, steady),
    )
    return f"| {' | '.join(map(str, cells))} |"


def main():
    """Play what is asked for, and print the rows."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--seconds", type=int, default=130, help="of each scene")
    asked.add_argument("--scenes", default=",".join(SCENES))
    asked.add_argument("--helpers", default=",".join(HELPERS))
    asked.add_argument("--calm", action="store_true", help="no machine is re-created")
    asked = asked.parse_args()
    refuse_outside()
    for name in asked.scenes.split(","):
        installed, scene = SCENES[name]
        if lacks := installed.lacking():
            return lacks
        print(HEAD.format({"postgres": "PostgreSQL", "redis": "Redis"}[name]), flush=True)
        for helper in asked.helpers.split(","):
            print(row(scene.play(helper, asked.seconds, asked.calm)), flush=True)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
