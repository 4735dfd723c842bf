"""Show the answer of salt-run arp.audit, arp.heal and arp.status: the summary, then tables.

A table is as wide as the terminal, at most 120 columns. Of its columns those without a value are
left out, then the least wanted; long reasons take several lines. ``--out=json`` shows all, as data.
An answer of an unknown shape is shown as JSON; of a control character a question mark is shown.
"""

import itertools
import json
import shutil
import sys
import textwrap

MAX_WIDTH = 120  # also where there is no terminal
#: Columns of seconds, shown as ages, and their headings.
AGES = {"unchanged_s": "unchanged", "truth_age_s": "truth age"}
UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
#: Columns that give way in a narrow table, and to how many characters: names are cut, texts take
#: several lines.
NAMES = dict.fromkeys(("minion", "machine", "machines"), 20)
TEXTS = dict.fromkeys(("why", "said", "problem"), 20)
NEEDED, ALWAYS = 5, ("why", "problem")  # columns that are never left out: the first five, and these
MIN_WIDTH = 40

#: The tables in order, and the columns of each, the most wanted first.
TABLES = {
    "status": "minion problem last healed_7d sentinel table version said",
    "wrong": "minion ip dev mac mac_true machine unchanged_s state owner suspect truth truth_age_s",
    "twice": "ip count machines macs held",
    "gone": "minion ip dev mac unchanged_s state owner suspect why",
    "unproven": "minion ip dev mac mac_true machine unchanged_s state owner suspect why",
    "fabric": "mac machines addresses databases",
    "acknowledged": "minion ip mac finding why until",
    "expired": "about findings why until",
    "healed": "minion ip dev old new",
    "given_up": "minion ip dev mac",
    "right_meanwhile": "minion ip dev mac why",
    "still_wrong": "minion ip dev mac mac_true machine why",
    "not_reached": "minion why",
    "silent": "minion why",
    "conflicts": "minion why",
}
FOUND = ("wrong", "gone", "unproven")  # by the audit; a heal comes after it
HEADINGS = {"table": "table ≤"}  # at most so many entries count, of gc_thresh3


def output(data, **_kwargs):
    """Return an answer as text, whatever it is; Salt calls it."""
    is_answer = isinstance(data, dict) and isinstance(data.get("summary"), list)
    try:
        if is_answer:
            return _answer(data)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        pass  # ragged: of another version
    if isinstance(data, dict) and not is_answer:
        data = data.get("error", data)
    if isinstance(data, dict | list):
        data = json.dumps(data, indent=2, default=str, skipkeys=True)
    return "\n".join(_cell("", line) for line in str(data).splitlines())


def _answer(data):
    width = MAX_WIDTH
    if sys.stdout.isatty():
        width = min(width, max(MIN_WIDTH, shutil.get_terminal_size((width, 24)).columns))
    lines = [line for told in data["summary"] for line in _wrapped(_cell("", told), width)]
    for name, columns in TABLES.items():
        if data.get(name):
            when = " before the heal" if name in FOUND and "healed" in data else ""
            lines += ["", f"{name.replace('_', ' ')}{when}:"]
            lines += [f"  {line}" for line in _table(columns.split(), data[name], width - 2)]
    return "\n".join([*lines, "", f"jid {_cell('', data.get('jid') or 'unknown')}"])


def _table(columns, rows, width):
    """Return lines: a heading and the rows, in aligned columns."""
    cells = {column: [_cell(column, row.get(column)) for row in rows] for column in columns}
    kept = [column for column in columns if any(cells[column])]
    sizes = {column: max(map(len, [_heading(column), *cells[column]])) for column in kept}
    widths = {column: min(size, _least(column, size)) for column, size in sizes.items()}
    while _total(widths) > width and len(widths) > NEEDED:
        del widths[next(column for column in reversed(widths) if column not in ALWAYS)]
    if _total(widths) > width:
        return [line for row in rows for line in _paragraph(kept, row, width)]
    for column in sorted(widths, key=lambda column: column in TEXTS):  # names before texts
        widths[column] += min(width - _total(widths), sizes[column] - widths[column])
    headed = [[_heading(column), *cells[column]] for column in widths]
    return [line for row in zip(*headed, strict=True) for line in _lines(row, widths)]


def _lines(row, widths):
    """Return one row as a line, or several where a text is long."""
    parts = [
        _wrapped(cell, width) if column in TEXTS else [_shortened(cell, width)]
        for (column, width), cell in zip(widths.items(), row, strict=True)
    ]
    lines = itertools.zip_longest(*parts, fillvalue="")
    return ["  ".join(map(str.ljust, line, widths.values())).rstrip() for line in lines]


def _paragraph(columns, row, width):
    """Return a row that is wider than the terminal as names and values."""
    pairs = [(_heading(column), _cell(column, row.get(column))) for column in columns]
    text = ", ".join(f"{name} {value}" for name, value in pairs if value)
    return textwrap.wrap(text, width, subsequent_indent="    ", break_on_hyphens=False)


def _total(widths):
    return sum(widths.values()) + 2 * (len(widths) - 1)


def _least(column, size):
    return {**NAMES, **TEXTS}.get(column, size)


def _heading(column):
    return AGES.get(column, HEADINGS.get(column, column))


def _wrapped(text, width):
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _shortened(text, width):
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _cell(column, value):
    """Return one value as text; a control character becomes a question mark."""
    if column in AGES:
        return _age(value)
    if value is None or isinstance(value, bool):
        return "yes" if value else ""
    words = map(str, value) if isinstance(value, list) else [str(value)]
    return "".join(char if char.isprintable() else "?" for char in ", ".join(words))


def _age(seconds):
    """Return an age in its largest unit: 3 d."""
    if not isinstance(seconds, (int, float)):
        return ""
    for size, unit in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
