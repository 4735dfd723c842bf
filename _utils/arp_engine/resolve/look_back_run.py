"""Look back at the former holders of many entries, and wait until each is decided."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..netlink import codec
from ..packets.probe_schedule import Schedule, alone
from ..table import view
from .ask import Asker, ask
from .look_back import TOO_FEW, Change, LookBacks
from .question import Question

BATCH = 64  # questions put at a time
LONGEST_WAIT_S = 1.0


class Outcome(NamedTuple):
    """What came of looking back at one entry."""

    is_returned: bool  # the former holder answered: it is alive
    current: codec.Entry | None  # the entry as it is now; None: it is gone
    unasked: str = ""  # why the former holder could not be asked; empty: its silence is evidence


def is_answered(key: codec.Key, mac: bytes) -> bool:
    """Ask a host for an address once, alone; tell whether it answers."""
    return bool(that_answer({key: mac}))


def that_answer(hosts: Mapping[codec.Key, bytes], rate: float = 0.0) -> set[codec.Key]:
    """Ask the host of each address once, alone; return the addresses whose hosts answer."""
    by_schedule: dict[Schedule, list[Question]] = {}
    for key, mac in hosts.items():
        by_schedule.setdefault(alone(key[1]), []).append(Question(*key, mac))
    return {
        key
        for schedule, questions in by_schedule.items()
        for key, result in ask(questions, rate, schedule=schedule).items()
        if hosts[key] in result.answers
    }


def look_back(
    table: view.TableView,
    changes: Iterable[Change],
    rate: float,
    clock: Callable[[], float] = time.monotonic,
) -> dict[codec.Key, Outcome]:
    """Ask the former holder of each change until it answers, or for ten seconds.

    A question to one MAC alone gives that host its entry back, and nobody else anything.
    """
    backs, outcomes = LookBacks(), dict[codec.Key, Outcome]()
    for change in changes:
        timers = table.timers(codec.family_of(change.key[1]), change.key[0])
        backs.begin(change, timers.locktime_s if len(change.key[1]) == 4 else 0.0)
    with contextlib.closing(Asker(rate, clock)) as asker:
        while len(backs) or len(asker):
            questions = backs.questions(clock(), BATCH)
            not_ours = table.not_ours_now([question[:2] for question, _schedule in questions])
            for key, current in not_ours.items():
                backs.end(key)
                outcomes[key] = Outcome(False, current)
            for question, schedule in questions:
                key = question[:2]
                if key not in not_ours and not asker.put(question, schedule=schedule):
                    backs.postpone(key, clock())
            done = asker.step()
            table_now = table.read_again([question[:2] for question, _result in done])
            for question, result in done:
                key, current = question[:2], table_now.get(question[:2])
                outcome = backs.decide(key, result, current.mac if current else b"", clock())
                if key in table_now and not current:
                    backs.end(key)
                    outcome = outcome or "gone"
                if outcome and key not in outcomes:
                    why = (result.why or TOO_FEW) if outcome == "unasked" else ""
                    outcomes[key] = Outcome(outcome == "returned", current, why)
            due = min(backs.next_due(), asker.next_due() or float("inf"))
            if (seconds := due - clock()) > 0 and due < float("inf"):
                asker.wait(min(seconds, LONGEST_WAIT_S))
    return outcomes
