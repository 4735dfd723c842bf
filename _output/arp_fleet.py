"""Show the answer of salt-run arp.audit and arp.heal: the summary, then tables.

``--out=json`` shows the same answer as data.
"""

#: The tables in order, and the columns of each, the most wanted first.
TABLES = {
    "status": "minion problem last healed_7d sentinel table version said",
    "wrong": "minion ip dev mac mac_true machine state suspect owner unchanged_s truth truth_age_s",
    "twice": "ip count machines macs held",
    "gone": "minion ip dev mac state suspect owner unchanged_s why",
    "unproven": "minion ip dev mac mac_true machine state suspect owner unchanged_s why",
    "fabric": "mac machines addresses databases",
    "acknowledged": "minion ip mac finding why until",
    "healed": "minion ip dev old new",
    "given_up": "minion ip dev mac",
    "right_meanwhile": "minion ip dev mac why",
    "still_wrong": "minion ip dev mac mac_true machine why",
    "not_reached": "minion why",
    "silent": "minion why",
    "conflicts": "minion why",
}


def output(data, **_kwargs):
    """Return an answer as text; Salt calls it."""
    if not isinstance(data, dict) or "summary" not in data:
        return str(data.get("error", data) if isinstance(data, dict) else data)
    lines = [*data["summary"]]
    for name, columns in TABLES.items():
        if data.get(name):
            lines += ["", f"{name.replace('_', ' ')}:", *_table(columns.split(), data[name])]
    return "\n".join([*lines, "", f"jid {data['jid']}"])


def _table(columns, rows):
    """Return lines: a heading and the rows, in aligned columns."""
    cells = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _cell(value):
    """Return one value as text; a control character becomes a question mark."""
    if value is None:
        return "-"
    words = map(str, value) if isinstance(value, list) else [str(value)]
    return "".join(char if char.isprintable() else "?" for char in ", ".join(words))
