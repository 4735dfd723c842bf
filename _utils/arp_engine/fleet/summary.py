"""The answer of an audit as plain data. Pure. Standard library alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from . import fair
from .bindings import Bindings
from .compare import Comparison, Row
from .inventory import TRIMMED

ERROR, WRONG, NOT_ALL_ANSWERED, UNPROVEN = 1, 2, 4, 8  # exit codes; their sum is all of them

INTERRUPTED = 130  # the exit code of a run that a person ended
MAX_EXPIRED = 5  # acknowledgements that have expired and are named
#: Why a minion is silent.
NOT_ASKED, NOT_ANSWERED = "not asked: interrupted", "no answer yet: interrupted"
#: Why a minion is in ``conflicts``.
CONFLICT = "two different returns under its name: one of them was forged; the job cache's counts"
WAS_INTERRUPTED = "Interrupted: not every minion was asked."


class Findings(NamedTuple):
    """Everything that an audit has found out."""

    result: Comparison
    known: Bindings
    tables: Collection[str]  # of these databases
    silent: Mapping[str, str]  # minion to why it gave no usable answer
    conflicts: Mapping[str, str] = {}  # minion to why its answer may be forged
    fabric: Collection[Row] = ()  # MACs with which the network answers for every address
    acknowledged: Collection[Row] = ()
    expired: Collection[Row] = ()  # acknowledgements
    truth_age_s: int | None = None  # of the truth file


def failure(answer: Any) -> str:
    """Return why a minion's answer cannot be used, in one line, or ""."""
    if not isinstance(answer, dict) or "ret" not in answer:
        return answer["why"] if isinstance(answer, dict) and "why" in answer else "no answer"
    ret = answer["ret"]
    if ret == TRIMMED:
        return "its return exceeds max_event_size of the master: raise it, or narrow the target"
    if isinstance(ret, str):
        lines = [line.strip() for line in ret.splitlines() if line.strip()]
        return (lines[-1] if lines else "an empty answer")[:300]
    if ret is None or isinstance(ret, bool):
        return f"answered {ret}"
    return ""


def unconfirmed(result: Comparison, known: Bindings) -> set[str]:
    """Return the machines that an entry disagrees with by their cached grains alone."""
    ips = [row["ip"] for row in result.unproven if row["truth"] == "cached"]
    ips += [row["ip"] for row in result.twice if row["held"] and row["truth"] == "cached"]
    bindings = (binding for ip in ips for binding in known.by_ip.get(ip, ()))
    return {binding.machine for binding in bindings if not binding.host.live}


def with_totals(lists: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Return lists and their lengths."""
    return {**lists, "totals": {name: len(rows) for name, rows in lists.items()}}


def cut(answer: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return an answer whose lists are cut to ``limit`` rows (0: not at all)."""
    return {**answer, **{name: fair.cut(answer[name], limit) for name in answer["totals"]}}


def rows_of(reasons: Mapping[str, str]) -> list[Row]:
    """Return minions and reasons as rows."""
    return [{"minion": name, "why": why} for name, why in sorted(reasons.items())]


def lists(found: Findings) -> dict[str, list[Row]]:
    """Return every list of an audit, whole."""
    result = found.result
    return {
        "wrong": result.wrong,
        "twice": result.twice,
        "gone": result.gone,
        "unproven": result.unproven,
        "fabric": list(found.fabric),
        "acknowledged": list(found.acknowledged),
        "expired": list(found.expired),
        "silent": rows_of(found.silent),
        "conflicts": rows_of(found.conflicts),
    }


def answer(found: Findings) -> dict[str, Any]:
    """Return the answer of an audit, whole."""
    result, hosts = found.result, found.known.hosts
    held = held_twice(result.twice)
    sources = Counter(host.source for host in hosts.values())
    counts = {
        **result.counts,
        "acknowledged": sum(1 for row in found.acknowledged if row["minion"]),
        "databases": len(found.tables),
        "machines": len(hosts),
        "machines_asked": sources["live"],
        "machines_file": sources["file"],
    }
    return {
        **with_totals(lists(found)),
        "counts": counts,
        "summary": _summary(found, counts, held),
        "retcode": sum(
            code
            for code, is_so in (
                (WRONG, result.wrong or result.gone or held),
                (NOT_ALL_ANSWERED, found.silent or found.conflicts or is_blind(counts)),
                (UNPROVEN, counts["agree_cached"] or rests_on_memory(result)),
            )
            if is_so
        ),
    }


def is_blind(counts: Mapping[str, int]) -> bool:
    """Tell whether no entry was of an address that a machine has: then none can be wrong."""
    unseen = counts["strangers"] + counts["not_compared"]
    return counts["entries"] == unseen


def held_twice(twice: Collection[Row]) -> int:
    """Return how many cached addresses two machines claim that answered."""
    return sum(1 for row in twice if row["held"] and row["truth"] != "cached")


def twice_by_memory(result: Comparison) -> int:
    """Return how many cached addresses two machines claim by their cached grains alone."""
    return sum(1 for row in result.twice if row["held"] and row["truth"] == "cached")


def rests_on_memory(result: Comparison) -> bool:
    """Tell whether an entry disagrees with cached grains alone, or they with each other."""
    is_cached = any(row["truth"] == "cached" for row in result.unproven)
    return is_cached or twice_by_memory(result) > 0


def _summary(found: Findings, counts: Mapping[str, int], held: int) -> list[str]:
    result = found.result
    from_file = counts["machines_file"]
    cached = counts["machines"] - counts["machines_asked"] - from_file
    age = "" if found.truth_age_s is None else f" (written {span(found.truth_age_s)} ago)"
    more = f", {from_file} from the truth file{age}" if from_file else ""
    lines = [
        f"{number(counts['entries'], 'entry', 'entries')} of "
        f"{number(counts['databases'], 'database')}: {len(result.wrong)} wrong, "
        f"{len(result.gone)} of machines that are gone, {len(result.unproven)} unproven, "
        f"{number(held, 'cached address', 'cached addresses')} claimed twice.",
        f"Compared with {number(counts['machines'], 'machine')}: {counts['machines_asked']} "
        f"answered, {cached} from cached grains{more}.",
    ]
    if is_blind(counts):
        advice = "or add them to the truth file" if from_file else "or use truth=file:NAME"
        lines.append(
            "No entry is of an address that a machine has: nothing could be compared. "
            f"Install Salt on the workers, {advice}."
        )
    if counts["agree_cached"]:
        what = number(counts["agree_cached"], "entry agrees", "entries agree")
        lines.append(f"{what} with cached grains alone, which may be outdated: not proven right.")
    lines += [
        f"{row['mac']} answers for {row['machines']} machines on "
        f"{number(row['databases'], 'database')}: the network answers for every address."
        for row in found.fabric
    ]
    if counts["acknowledged"]:
        lines.append(f"{number(counts['acknowledged'], 'entry', 'entries')} acknowledged.")
    expired = list(found.expired)
    lines += [
        f"The acknowledgement of {row['about']} has expired ({row['until']})."
        for row in expired[:MAX_EXPIRED]
    ]
    if len(expired) > MAX_EXPIRED:
        lines.append(f"And {number(len(expired) - MAX_EXPIRED, 'more acknowledgement')} expired.")
    remembered = twice_by_memory(result)
    if remembered:
        what = number(remembered, "cached address", "cached addresses")
        lines.append(f"{what} claimed twice by cached grains alone: not proven.")
    unheld = len(result.twice) - held - remembered
    if unheld:
        first = next(row["ip"] for row in result.twice if not row["held"])
        lines.append(
            f"{number(unheld, 'address', 'addresses')} claimed twice and cached by no database "
            f"({first}{', …' if unheld > 1 else ''})."
        )
    if counts["strangers"]:
        what = number(counts["strangers"], "entry", "entries")
        lines.append(f"{what} of strangers: no machine of the fleet has these addresses.")
    if found.silent:
        lines.append(f"{number(len(found.silent), 'minion')} did not answer.")
    return lines + conflict_lines(found.conflicts)


def conflict_lines(conflicts: Collection[str]) -> list[str]:
    """Return the line about minions with two different returns, if there are any."""
    many = number(len(conflicts), "minion")
    return [f"{many} with two different returns: a forged one?"] if conflicts else []


def span(seconds: float | None) -> str:
    """Return a duration as text."""
    if seconds is None:
        return "of unknown age"
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


def number(count: int, one: str, many: str = "") -> str:
    """Return a count and the word for it."""
    return f"{count} {one if count == 1 else many or one + 's'}"
