"""The film: each cause under each cure, and what each cure does to a healthy flow.

Scenes mostly wait, so they play at once, each in its own process and namespaces. ``play`` returns
the results; ``broken`` returns the expectations that did not hold.
"""

import multiprocessing
import signal
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from lab import cures
from lab.cures import ALL, FLEET, FLUSH, NOTHING, ONE_BY_ONE, PROBE, REVALIDATE, SENTINEL, STALE
from lab.scenes import (
    BALANCED,
    DUPLICATE,
    NEW,
    OLD,
    PLAIN,
    PLAIN6,
    UPPER,
    UPPER6,
    harm,
    heal,
    heal_fleet,
)
from lab.tell import say, title

CAUSES = [PLAIN, UPPER, BALANCED, DUPLICATE, PLAIN6, UPPER6]
FABRICS = ["switch", "answers", "lossy", "mute", "random"]
DELETES = (ALL, ONE_BY_ONE, FLUSH)

# The cures are measured, not our own load: scenes that run Salt begin this far apart, and at most
# so many salt-calls run at once.
APART_S, FLOWS_APART_S, SALT_CALLS_AT_ONCE = 1.1, 0.9, 3
# After a flush the next answer is a second away. Of the 1,000 packets that a flow sends meanwhile
# the kernel queues about 250 and drops the rest. A flow that was stalled for longer than this while
# it ran may have sent too few to lose any.
MAY_LOSE_NONE_S = 0.5


def plan(fast):
    """Return the scenes: (function, arguments) rows."""
    if fast:
        causes = [PLAIN, UPPER, DUPLICATE]
        played = [NOTHING, STALE, FLUSH, PROBE, REVALIDATE, SENTINEL]
        fabrics, harming = ["lossy", "mute"], [FLUSH, PROBE, REVALIDATE, SENTINEL]
    else:
        causes, played = CAUSES, cures.available()
        fabrics, harming = FABRICS, cures.available()
    watch_s = 15.0 if fast else 18.0
    healing = [
        (heal, (cause, cure, watch_s))
        for cause in causes
        for cure in played
        if not (cure == ONE_BY_ONE and cause in (PLAIN6, UPPER6))  # arp(8) has no IPv6
    ]
    healing += [(heal_fleet, (cause, watch_s)) for cause in (PLAIN, UPPER)]
    times = 1 if fast else 2
    return healing, [(harm, (fabric, cure, times)) for fabric in fabrics for cure in harming]


def play(fast):
    """Play all scenes; return (outages, flows), each a list of what the scenes returned."""
    healing, harming = plan(fast)
    title("The same outage, several causes, several cures")
    say(f"""{len(healing)} outages at once. A worker is re-created with its address and a new MAC;
        a client on it connects to the database every quarter of a second, with a timeout of 2 s.
        The cure is applied 3 s after the new worker has started; the sentinel runs before that, and
        is played once more with 50 workers that are re-created at once.
        Causes: a plain STALE entry; upper-layer confirmation by an application (MSG_CONFIRM);
        upper-layer confirmation by TCP through a load balancer that preserves client addresses; a
        duplicate address.""")
    outages = _all(healing, _starts(healing))
    say(f"""{len(harming)} healthy flows at once, 1,000 packets a second from a database to a worker
        whose entry is right, while the cure is applied to the database. Fabrics: a plain switch;
        one that answers every ARP request; one that loses every second request; one that answers
        only broadcast requests and loses every second; the same with random loss. All kernel
        settings are the defaults.""")
    return outages, flows(harming)


def flows(scenes):
    """Play healthy flows, started one after another; return what each lost."""
    return _all(scenes, [number * FLOWS_APART_S for number in range(len(scenes))])


def _starts(scenes):
    """Return when each scene begins: those that run Salt evenly spaced, the others in between."""
    salt = [str(arguments[1]).startswith("arp.") for _, arguments in scenes]
    pace = {True: APART_S, False: APART_S * sum(salt) / max(1, len(salt) - sum(salt))}
    return [salt[:number].count(kind) * pace[kind] for number, kind in enumerate(salt)]


def _all(scenes, starts_s):
    """Run each scene in a process, at its second; return the results."""
    answers, told = [], 0
    with multiprocessing.Manager() as manager:
        turn = manager.BoundedSemaphore(SALT_CALLS_AT_ONCE)
        with ProcessPoolExecutor(len(scenes), initializer=_quiet) as pool:
            waiting = [
                pool.submit(_one, start_s, function, arguments, f"s{number}-", turn)
                for number, (start_s, (function, arguments)) in enumerate(
                    zip(starts_s, scenes, strict=True)
                )
            ]
            for done in as_completed(waiting, timeout=150 + starts_s[-1]):
                answers.append(done.result())
                if len(answers) * 4 // len(scenes) > told:
                    told = len(answers) * 4 // len(scenes)
                    print(f"  {len(answers)} of {len(scenes)} played", flush=True)
    return answers


def _quiet():
    """Ignore Ctrl-C: the process that started the scenes ends them all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _one(wait_s, function, arguments, name, turn):
    time.sleep(wait_s)
    return function(name, *arguments, turn=turn)


def _heals(cause, cure):
    """Tell whether connections should work again under this cure."""
    if cause == DUPLICATE:
        return False
    return cause in (PLAIN, PLAIN6) or cure not in (NOTHING, STALE)


def _harms(kind, cure):
    """Tell whether a healthy flow should lose packets; None where the loss is random."""
    if cure in DELETES or cure == PROBE:
        harming = ("mute",) if cure == PROBE else ("lossy", "mute")
        return None if kind == "random" else kind in harming
    return False


def broken(outages, flows):
    """Return one sentence for each expectation that did not hold."""
    wrong = []
    for seen in outages:
        name = f"{seen['cause']}, {seen['cure']}"
        if (seen["works_s"] is not None) != _heals(seen["cause"], seen["cure"]):
            healed = "healed" if seen["works_s"] is not None else "was not healed"
            wrong.append(f"{name}: {healed}; expected the opposite")
        failed = sum(took is None for _when, took in seen["attempts"])
        if seen["cure"] in (SENTINEL, FLEET) and seen["cause"] != DUPLICATE and failed:
            wrong.append(f"{name}: {failed} connections failed; expected none")
        if seen["cause"] == DUPLICATE and seen["owners"] != [OLD, NEW]:
            wrong.append(f"{name}: expected answers of two machines, got: {seen['owners']}")
    for seen in flows:
        if not seen["lost"] and seen["stalled_s"] > MAY_LOSE_NONE_S:
            continue
        if _harms(seen["kind"], seen["cure"]) not in (None, seen["lost"] > 0):
            wrong.append(f"{seen['cure']} on {seen['kind']}: {seen['lost']} packets lost")
    flushed = [seen["lost"] for seen in flows if seen["cure"] in DELETES]
    if flushed and not any(flushed):
        wrong.append("no flush lost a packet, on any fabric")
    return wrong
