"""Show the answer of salt-run arp.audit and arp.heal to people: what it comes to, then tables.

``--out=json`` and the others show the same answer whole.
"""

#: Tables in this order, and the columns of each: what one looks for comes first.
TABLES = {
    "wrong": "minion ip dev mac mac_true machine state suspect owner unchanged_s truth truth_age_s",
    "twice": "ip count machines macs held",
    "gone": "minion ip dev mac state suspect owner unchanged_s why",
    "healed": "minion ip dev old new",
    "given_up": "minion ip dev mac",
    "still_wrong": "minion ip dev mac mac_true machine why",
    "not_reached": "minion why",
    "silent": "minion why",
}


def output(data, **_kwargs):
    """Return the text."""
    if not isinstance(data, dict) or "summary" not in data:
        return str(data.get("error", data) if isinstance(data, dict) else data)
    lines = [*data["summary"]]
    for name, columns in TABLES.items():
        if data.get(name):
            lines += ["", f"{name.replace('_', ' ')}:", *_table(columns.split(), data[name])]
    return "\n".join([*lines, "", f"jid {data['jid']}"])


def _table(columns, rows):
    """Return lines: a head and the rows, each column as wide as it must be."""
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _cell(value):
    """Return one value as a word; what could move a terminal's cursor is shown, not done."""
    if value is None:
        return "-"
    words = map(str, value) if isinstance(value, list) else [str(value)]
    return "".join(char if char.isprintable() else "?" for char in ", ".join(words))
