"""Where our time goes: into the kernel, and into which of our functions."""

import cProfile
import pstats

from benchmarks import scene

KERNEL = ("'send'", "'recv", "socket.close", "'bind'")


def profiles(minion):
    """Return one line for each work: shares of what a profiler sees (it makes Python slower)."""
    lines = ["| work | system calls | our functions, their own time |", "|---|---|---|"]
    for label, count, how, name, words in (
        ("flush, 100", 100, ("nud stale",), "arp.flush", {"state": "STALE"}),
        ("flush, 1,000", 1000, ("nud stale",), "arp.flush", {"state": "STALE"}),
        ("flush, 10,000 mixed", 10_000, scene.MIXED, "arp.flush", {}),
        ("flush, 10,000, rows returned", 10_000, ("nud stale",), "arp.flush", {"rows": True}),
        ("list, 10,000", 10_000, ("nud stale",), "arp.list", {}),
        ("revalidate, 1,000 living", 1000, ("nud stale",), "arp.revalidate", {"rate": 0}),
    ):
        scene.slow_timers(how == scene.MIXED)
        profiler = cProfile.Profile()
        for _again in range(5):
            scene.empty()
            scene.fill(count, how=how, mac=scene.BORN)
            profiler.enable()
            minion.call(name, **words)
            profiler.disable()
        lines.append(f"| {label} | {_shares(pstats.Stats(profiler).stats)} |")
    scene.slow_timers(False)
    scene.empty()
    return "\n".join(lines)


def _shares(stats):
    own = {key: value[2] for key, value in stats.items()}
    total = sum(own.values())
    kernel = sum(t for key, t in own.items() if any(word in key[2] for word in KERNEL))
    ours = {key: t for key, t in own.items() if not any(word in key[2] for word in KERNEL)}
    top = sorted(ours.items(), key=lambda item: -item[1])[:5]
    named = ", ".join(f"{_name(key)} {t / total:.0%}" for key, t in top)
    return f"{kernel / total:.0%} | {named}"


def _name(key):
    file, _line, function = key
    where = file.rpartition("/")[2].removesuffix(".py")
    return f"`{function}`" if where in ("~", "") else f"`{where}.{function}`"
