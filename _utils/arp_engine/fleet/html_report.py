"""The answer of an audit or a heal as one self-contained HTML page. Pure.

A value that a minion sent is text, never markup. No scripts; readable on a phone.
Standard library alone.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

Row = dict[str, Any]
MAX_MATRIX = 40  # rows and columns of the matrix; the lists below it are complete

MARK = "<!doctype html>\n<!-- arp_fleet -->\n"  # the first bytes of every page of ours

STYLE = """
:root { color-scheme: light dark; --bad: #b3261e; --good: #1e6b34; --dim: #6b6b6b; --line: #8884; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 70rem; }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
p { margin: .2rem 0; } .dim { color: var(--dim); font-size: .85rem; }
.bad { color: var(--bad); } .good { color: var(--good); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; }
table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left; }
th:first-child { position: sticky; left: 0; background: Canvas; min-width: 9rem;
  max-width: 9rem; overflow-wrap: anywhere; }
th.up { writing-mode: vertical-rl; vertical-align: top; white-space: nowrap; }
td.mark { text-align: center; font-weight: bold; color: #fff; }
td.wrong, td.still { background: var(--bad); } td.gone { background: #8a5a00; }
td.healed { background: var(--good); } td.up { background: #5a6b1e; }
ul { list-style: none; padding: 0; margin: 0; }
li { padding: .5rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
code { font-size: .9em; }
@media (prefers-color-scheme: dark) {
  :root { --bad: #f2685f; --good: #5cc47a; --dim: #a0a0a0; } td.mark { color: #000; }
}
"""
MARKS = {
    "wrong": ("✕", "wrong"),
    "gone": ("-", "of a machine that is gone"),
    "healed": ("✓", "was wrong, healed"),
    "up": ("○", "no answer: given up"),
    "still": ("!", "still wrong"),
}


def page(answer: Mapping[str, Any], now: float) -> str:
    """Return the page. ``now``: the time of the answer, in seconds since 1970."""
    marks = _marks(answer)
    code = answer.get("retcode", 0)
    parts = [
        "<h1>Neighbour tables of the fleet</h1>",
        _dim(f"{_utc(now)} · job {answer.get('jid', '')}"),
        *(
            f'<p class="{"bad" if code else "good"}">{_text(line)}</p>'
            for line in answer.get("summary", [])
        ),
        _matrix(marks),
        _list("Still wrong", map(_why, _rows(answer, "still_wrong"))),
        _list("Not reached", map(_reason, _rows(answer, "not_reached"))),
        _list("Wrong", (_wrong(row, now, marks) for row in _rows(answer, "wrong"))),
        _list("Of machines that are gone", (_gone(row, now) for row in _rows(answer, "gone"))),
        _list("Claimed by several machines", map(_twice, _rows(answer, "twice"))),
        _list("Did not answer", map(_reason, _rows(answer, "silent"))),
    ]
    return (
        f'{MARK}<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>Neighbour tables of the fleet</title>\n<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
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


def _marks(answer: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return the mark of each address on each database; an outcome overrides a finding."""
    marks: dict[tuple[str, str], str] = {}
    for key, kind in (
        ("wrong", "wrong"), ("gone", "gone"), ("healed", "healed"), ("given_up", "up"),
        ("still_wrong", "still"),
    ):  # fmt: skip
        for row in _rows(answer, key):
            marks[row["ip"], row["minion"]] = kind
    return marks


def _matrix(marks: Mapping[tuple[str, str], str]) -> str:
    """Return the table of addresses by databases."""
    if not marks:
        return ""
    ips = list(dict.fromkeys(ip for ip, _ in marks))
    healed = {minion for (_, minion), kind in marks.items() if kind == "healed"}
    minions = sorted({minion for _, minion in marks}, key=lambda name: (name in healed, name))
    head = "".join(f'<th class="up">{_text(minion)}</th>' for minion in minions[:MAX_MATRIX])
    lines = [
        f"<tr><th><code>{_text(ip)}</code></th>"
        + "".join(_mark(marks.get((ip, minion))) for minion in minions[:MAX_MATRIX])
        + "</tr>"
        for ip in ips[:MAX_MATRIX]
    ]
    kinds = dict.fromkeys(marks.values())
    legend = " · ".join(f"{MARKS[kind][0]} {MARKS[kind][1]}" for kind in kinds)
    left_out = (max(0, len(ips) - MAX_MATRIX), max(0, len(minions) - MAX_MATRIX))
    more = (
        f" · not shown: {left_out[0]} addresses, {left_out[1]} databases" if any(left_out) else ""
    )
    return (
        f'<h2>Addresses and databases</h2><div class="scroll"><table><tr><th></th>{head}</tr>'
        + "".join(lines)
        + f"</table></div>{_dim(legend + more)}"
    )


def _mark(kind: str | None) -> str:
    if kind is None:
        return "<td></td>"
    return f'<td class="mark {kind}" title="{MARKS[kind][1]}">{MARKS[kind][0]}</td>'


def _wrong(row: Row, now: float, marks: Mapping[tuple[str, str], str]) -> str:
    done = marks.get((row["ip"], row["minion"]), "wrong")
    truth = "answered just now"
    if row.get("truth") != "live":
        truth = f"from cached grains, {_span(row.get('truth_age_s'))} old"
    return (
        f"<b>{_text(row['minion'])}</b> has {_code(row['ip'])} on {_text(row['dev'])} "
        f'at <span class="bad">{_code(row["mac"])}</span>; it is {_text(row["machine"])}, at '
        f"{_code(row['mac_true'])} ({_text(truth)}).{_dim(_age(row, now))}"
        + (_dim(MARKS[done][1]) if done != "wrong" else "")
    )


def _gone(row: Row, now: float) -> str:
    return (
        f"<b>{_text(row['minion'])}</b> has {_code(row['ip'])} on {_text(row['dev'])} at "
        f"{_code(row['mac'])}: {_text(row['why'])}.{_dim(_age(row, now))}"
    )


def _age(row: Row, now: float) -> str:
    """Return its state, its age, and what keeps it."""
    parts = [str(row["state"])]
    if row.get("unchanged_s") is not None:
        since = _utc(now - row["unchanged_s"])
        parts.append(f"unchanged since {since}, {_span(row['unchanged_s'])}")
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


def _why(row: Row) -> str:
    return f"<b>{_text(row['minion'])}</b> {_code(row['ip'])}: {_text(row['why'])}"


def _reason(row: Row) -> str:
    return f"<b>{_text(row['minion'])}</b> {_text(row['why'])}"


def _list(title: str, items: Iterable[str]) -> str:
    lines = "".join(f"<li>{item}</li>" for item in items)
    return f"<h2>{title}</h2><ul>{lines}</ul>" if lines else ""


def _rows(answer: Mapping[str, Any], key: str) -> list[Row]:
    return list(answer.get(key, []))


def _text(value: Any) -> str:
    """Return text without markup, control characters and changes of writing direction."""
    return escape("".join(char if char.isprintable() else "?" for char in str(value)))


def _code(value: Any) -> str:
    return f"<code>{_text(value)}</code>"


def _dim(line: str) -> str:
    return f'<p class="dim">{_text(line)}</p>'


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _span(seconds: float | None) -> str:
    """Return a duration as text."""
    if seconds is None:
        return "of unknown age"
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"
