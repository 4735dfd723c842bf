"""The answer of an audit or a heal as one self-contained HTML page. Pure.

It is made from the whole answer, never from lists that were cut for a terminal. The result comes
before the findings, the worst before the rest; what does not fit is counted, and what is shown is
shared out between the databases. A value that a minion sent is text, never markup. No scripts;
readable on a phone, by keyboard and by a screen reader.

Standard library alone.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import os
import re
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from html import escape
from typing import Any

from . import fair, summary
from .batches import role
from .html_style import STYLE
from .page_marks import MARKS, SEVERITY, Entries, Marks, entries_of, marks_of, verdict

Row = dict[str, Any]
MAX_MATRIX = 40  # rows and columns of the matrix
MAX_ROWS = 100  # of each list
MAX_MINIONS = 5  # named of one address
MARK = "<!doctype html>\n<!-- arp_fleet -->\n"  # the first bytes of every page of ours


def page(answer: Mapping[str, Any], now: float) -> str:
    """Return the page. ``now``: the time of the answer, in seconds since 1970."""
    entries = entries_of(answer)
    marks = marks_of(entries)
    kind = "unproven" if "unproven" in marks.values() else "good"  # green: all of it is proven
    kind = "bad" if answer.get("retcode") else kind
    databases = answer.get("counts", {}).get("databases", 0)
    listed = functools.partial(_list, entries)
    parts = [
        "<h1>Neighbour tables of the fleet</h1>",
        _dim(f"{_utc(now)} · job {answer.get('jid', '')}"),
        f'<p class="verdict {kind}">{_text(verdict(answer, entries))}</p>',
        *(f"<p>{_text(line)}</p>" for line in answer.get("summary", [])),
        _command(answer.get("command", "")),
        listed("Still wrong", _rows(answer, "still_wrong"), _still_wrong),
        listed("Not reached", _rows(answer, "not_reached"), _reason),
        _addresses(answer, marks, databases),
        _roles(marks),
        _matrix(marks),
        listed("Wrong", _rows(answer, "wrong"), lambda row: _wrong(row, now, entries)),
        listed("Unproven", _rows(answer, "unproven"), lambda row: _because(row, now)),
        listed("Of machines that are gone", _rows(answer, "gone"), lambda row: _because(row, now)),
        listed("Claimed by several machines", _rows(answer, "twice"), _twice),
        listed("Acknowledged", _rows(answer, "acknowledged"), _acknowledged),
        listed("Did not answer", _rows(answer, "silent"), _reason),
        listed("Two different returns under one name", _rows(answer, "conflicts"), _reason),
        _trend(answer.get("history", {})),
    ]
    return (
        f'{MARK}<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Neighbour tables of the fleet</title>\n<style>{STYLE}</style></head>\n<body>"
        "<main>\n" + "\n".join(filter(None, parts)) + "\n</main></body></html>\n"
    )


def may_replace(path: str) -> bool:
    """Tell whether a path is free, or a page of ours: never another file, never a link."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(len(MARK)) == MARK.encode()
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _command(command: str) -> str:
    if not command:
        return ""
    return f'<p class="dim">Next:</p><pre tabindex="0" aria-label="command">{_text(command)}</pre>'


def _addresses(answer: Mapping[str, Any], marks: Marks, databases: int) -> str:
    """Return one row for each address, the worst and most frequent first."""
    by_ip: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (ip, minion), kind in marks.items():
        by_ip[ip][kind].append(minion)
    known: dict[str, Row] = {}
    for name in ("wrong", "gone", "unproven"):
        for row in _rows(answer, name):
            known.setdefault(row["ip"], row)
    rows = [
        (SEVERITY[kind], -len(minions), _natural(ip), ip, kind, minions)
        for ip, kinds in by_ip.items()
        for kind, minions in kinds.items()
    ]
    rows.sort(key=lambda row: row[:3])
    lines = []
    for _, _, _, ip, kind, minions in _shared_out([(row[0], row[-1], row) for row in rows]):
        row = known.get(ip, {})
        roles = defaultdict(int)
        for minion in minions:
            roles[role(minion)] += 1
        where = ", ".join(f"{name} ({count})" for name, count in sorted(roles.items())[:3])
        if len(minions) <= MAX_MINIONS:
            where = ", ".join(sorted(minions, key=_natural))
        macs = f"<td>{_code(row.get('mac', ''))}</td><td>{_code(row.get('mac_true', ''))}</td>"
        lines.append(
            f'<tr><th scope="row">{_code(ip)}</th><td>{MARKS[kind][1]}</td>'
            f'<td class="number">{len(minions)} of {max(databases, len(minions))}</td>'
            f"<td>{_text(where)}</td>{macs}<td>{_text(row.get('machine', ''))}</td></tr>"
        )
    heads = ("address", "", "databases", "which", "cached MAC", "real MAC", "machine")
    return _table("By address", heads, lines, len(rows) - len(lines))


def _roles(marks: Marks) -> str:
    """Return one row for each role of databases, where there are several."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    minions: dict[str, set[str]] = defaultdict(set)
    for (_, minion), kind in marks.items():
        counts[role(minion)][kind] += 1
        minions[role(minion)].add(minion)
    if len(counts) < 2:
        return ""
    kinds = [kind for kind in MARKS if any(kind in each for each in counts.values())]
    order = sorted(counts, key=lambda name: ([-counts[name][kind] for kind in kinds], name))
    lines = [
        f'<tr><th scope="row">{_text(name)}</th><td class="number">{len(minions[name])}</td>'
        + "".join(f'<td class="number">{counts[name][kind] or ""}</td>' for kind in kinds)
        + "</tr>"
        for name in order[:MAX_ROWS]
    ]
    heads = ("role", "databases", *(MARKS[kind][1] for kind in kinds))
    return _table("By role", heads, lines, len(order) - len(lines))


def _matrix(marks: Marks) -> str:
    """Return the table of addresses by databases; the worst of both are always in it."""
    if not marks:
        return ""
    worst_minion: dict[str, int] = {}
    for (_, minion), kind in marks.items():
        worst_minion[minion] = min(SEVERITY[kind], worst_minion.get(minion, 99))
    minions = sorted(worst_minion, key=lambda name: (worst_minion[name], _natural(name)))
    columns = _shared_out([(worst_minion[name], [name], name) for name in minions])
    shown = set(columns)
    holding: dict[str, list[str]] = defaultdict(list)  # address to the columns that have it
    for ip, minion in marks:
        if minion in shown:
            holding[ip].append(minion)
    worst_ip = {
        ip: min(SEVERITY[marks[ip, minion]] for minion in several)
        for ip, several in holding.items()
    }
    ips = sorted(worst_ip, key=lambda ip: (worst_ip[ip], -len(holding[ip]), _natural(ip)))
    ips = _shared_out([(worst_ip[ip], holding[ip], ip) for ip in ips])
    head = "".join(f'<th class="up" scope="col">{_text(name)}</th>' for name in columns)
    lines = [
        f'<tr><th scope="row">{_code(ip)}</th>'
        + "".join(_mark(marks.get((ip, minion))) for minion in columns)
        + "</tr>"
        for ip in ips
    ]
    kinds = sorted(set(marks.values()), key=SEVERITY.get)
    legend = " · ".join(f"{MARKS[kind][0]} {MARKS[kind][1]}" for kind in kinds)
    left = len({ip for ip, _ in marks}) - len(lines), len(minions) - len(columns)
    if any(left):
        legend += f" · and {left[0]:,} more addresses, {left[1]:,} more databases"
    title = "Addresses and databases"
    return (
        f'<h2>{title}</h2><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f'<table><thead><tr><th scope="col">address</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>{_dim(legend)}"
    )


def _shared_out(items: Iterable[tuple[int, Collection[str], Any]]) -> list[Any]:
    """Return what fits into the matrix, of items with their severity and databases, in order.

    The worst severity first; within it each database has its share.
    """
    shown: list[Any] = []
    for _, group in itertools.groupby(items, key=lambda item: item[0]):
        several = list(group)
        numbers = fair.spread([item[1] for item in several], MAX_MATRIX - len(shown))
        shown += [several[number][2] for number in numbers]
    return shown


def _mark(kind: str | None) -> str:
    if kind is None:
        return "<td></td>"
    sign, meaning = MARKS[kind]
    return f'<td class="mark {kind}" title="{meaning}" aria-label="{meaning}">{sign}</td>'


def _trend(history: Mapping[str, Any]) -> str:
    """Return the last runs, the newest first."""
    runs = list(reversed(history.get("runs", [])))
    lines = [
        f'<tr><th scope="row">{_utc(run["at"])}</th><td>{_text(run["name"])}</td>'
        + "".join(
            f'<td class="number">{_text(run.get(key, ""))}</td>'
            for key in ("wrong", "gone", "twice", "silent", "healed", "databases")
        )
        + "</tr>"
        for run in runs[:MAX_MATRIX]
    ]
    heads = ("run", "", "wrong", "gone", "twice", "silent", "healed", "databases")
    changes = ""
    if history.get("changes"):
        changes = _dim(", ".join(f"{n} {what}" for what, n in history["changes"].items()))
    return _table("The last runs", heads, lines, len(runs) - len(lines)) + changes if runs else ""


def _table(title: str, heads: Iterable[str], lines: list[str], more: int) -> str:
    if not lines:
        return ""
    head = "".join(f'<th scope="col">{_text(name)}</th>' if name else "<td></td>" for name in heads)
    return (
        f'<h2>{title}</h2><div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        + (_dim(f"and {more:,} more") if more > 0 else "")
    )


def _wrong(row: Row, now: float, entries: Entries) -> str:
    done = entries[row["ip"], row["minion"], row["dev"]]
    truth = {"live": "answered just now", "file": "from the truth file"}.get(row.get("truth"), "")
    return (
        f"<b>{_text(row['minion'])}</b> has {_code(row['ip'])} on {_text(row['dev'])} "
        f'at <span class="bad">{_code(row["mac"])}</span>; it is {_text(row["machine"])}, at '
        f"{_code(row['mac_true'])} ({_text(truth)}).{_dim(_age(row, now))}"
        + (_dim(MARKS[done][1]) if done != "wrong" else "")
    )


def _because(row: Row, now: float) -> str:
    return (
        f"<b>{_text(row['minion'])}</b> has {_code(row['ip'])} on {_text(row['dev'])} at "
        f"{_code(row['mac'])}: {_text(row['why'])}.{_dim(_age(row, now))}"
    )


def _age(row: Row, now: float) -> str:
    """Return its state, its age, and what keeps it."""
    parts = [str(row["state"])]
    if row.get("unchanged_s") is not None:
        since = _utc(now - row["unchanged_s"])
        parts.append(f"unchanged since {since}, {summary.span(row['unchanged_s'])}")
    if row.get("truth") == "cached":
        parts.append(f"cached grains {summary.span(row.get('truth_age_s'))} old")
    if row.get("suspect"):
        parts.append("suspect: kept REACHABLE by upper-layer confirmation")
    if row.get("owner"):
        parts.append(f"never touched: {row['owner']}")
    return " · ".join(parts)


def _twice(row: Row) -> str:
    more = row["count"] - len(row["machines"])
    names = ", ".join(row["machines"]) + (f" and {more} more" if more else "")
    macs = " ".join(_code(mac) for mac in row["macs"])
    held = f"cached by {row['held']} databases" if row["held"] else "cached by no database"
    return f"{_code(row['ip'])}: {_text(names)} {macs}{_dim(held)}"


def _acknowledged(row: Row) -> str:
    until = f" until {row['until']}" if row["until"] else ""
    who = f"<b>{_text(row['minion'])}</b> " if row["minion"] else ""
    why = f"{row['why']} ({row['finding']}, acknowledged{until})"
    return f"{who}{_code(row['ip'])} {_code(row['mac'])}: {_text(why)}"


def _still_wrong(row: Row) -> str:
    return f"<b>{_text(row['minion'])}</b> {_code(row['ip'])}: {_text(row['why'])}"


def _reason(row: Row) -> str:
    return f"<b>{_text(row['minion'])}</b> {_text(row['why'])}"


def _list(entries: Entries, title: str, rows: list[Row], shown: Callable[[Row], str]) -> str:
    """Return a list of rows, those of the worst entries first; each database has its share."""
    if not rows:
        return ""
    by_severity: dict[int, list[Row]] = defaultdict(list)
    for row in sorted(
        rows, key=lambda row: (_natural(row.get("minion", "")), _natural(row.get("ip", "")))
    ):
        kind = entries.get((row.get("ip", ""), row.get("minion", ""), row.get("dev", "")))
        by_severity[SEVERITY.get(kind, 0)].append(row)
    some: list[Row] = []
    for severity in sorted(by_severity):
        if len(some) < MAX_ROWS:
            some += fair.cut(by_severity[severity], MAX_ROWS - len(some))
    lines = "".join(f"<li>{shown(row)}</li>" for row in some)
    more = len(rows) - len(some)
    return f"<h2>{title}</h2><ul>{lines}</ul>" + (_dim(f"and {more:,} more") if more > 0 else "")


def _natural(name: str) -> tuple[Any, ...]:
    """Sort db2 before db10, and 10.0.1.9 before 10.0.1.90."""
    try:
        parsed = ipaddress.ip_address(name)
    except ValueError:
        parts = re.split(r"([0-9]+)", name)
        return (
            9,
            *((int(part[:18]), "") if at % 2 else (0, part) for at, part in enumerate(parts)),
        )
    return parsed.version, (int(parsed), "")


def _rows(answer: Mapping[str, Any], key: str) -> list[Row]:
    return list(answer.get(key, []))


def _text(value: Any) -> str:
    """Return text without markup, control characters and changes of writing direction."""
    return escape("".join(char if char.isprintable() else "?" for char in str(value)))


def _code(value: Any) -> str:
    return f"<code>{_text(value)}</code>" if value else ""


def _dim(line: str) -> str:
    return f'<p class="dim">{_text(line)}</p>'


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
