r"""Show answers of arp.* and arp_hygiene.* to people: a headline for each minion, then details.

``--out=json`` has all of an answer, as data. An answer of an unknown shape is shown as JSON. Since
other machines write them, a control character is shown (``\x1b``) and never reaches the terminal.
"""

import json
import re
import shutil
import textwrap
from collections import Counter
from typing import NamedTuple

MAX_PROSE = 110  # characters in a line of prose; a wider terminal makes no longer ones
MAX_DIAGNOSIS = 8  # lines; evidence that does not fit is left out
MAX_HEALS = 1000  # rows that a run history holds: perhaps there were more
BOLD, REVERSE, PLAIN = "\033[1m", "\033[1;7m", "\033[0m"  # no hue: the words carry the meaning

#: Columns of the table of entries, where they fit the terminal, and where not.
WIDE = "ip mac dev state confirmed used updated note"
NARROW = "ip mac dev state confirmed note"
HEALS = "at ip dev old new by"
PROBED = "ip mac dev verdict unicast_asked broadcast_asked answers"
#: Lists of an answer: the label of one of their rows, and how it is shown.
ROWS = {
    "healed": ("healed", "{ip} on {dev}: {old} -> {new}"),
    "changed": ("changed", "{ip} on {dev}: {old} -> {new}; interrupted before it was certain"),
    "gone": ("gone", "{ip} on {dev}: {mac} does not answer"),
    "duplicates": ("duplicate", "{ip} on {dev}: answers from {macs}; see arp.diagnose {ip}"),
    "still_wrong": ("wrong", "{ip} on {dev}: {macs} answers, the table holds {mac}"),
    "unverified": ("undecided", "{ip} on {dev}: {macs} answered, the table holds {holds}"),
    "suspects": ("suspect", "{ip} on {dev}: {mac}"),
    "announced": ("announced", "{ip} on {dev}: {mac}"),
    "would_announce": ("announce", "{ip} on {dev}: {mac}"),
    "failed": ("refused", "{ip} on {dev}: {error}"),
}
EMPTY = {"macs": "nobody", "holds": "an unknown MAC"}  # what is said in place of nothing
UNSHOWN = {"multicast": "ff00::/8,224.0.0.0/4", "of lo": "dev=lo"}  # and how to see them
SUSPECT = "suspect: TCP or an application keeps it REACHABLE, not ARP; arp.revalidate decides"
#: Verdicts after which nobody has to do anything, and what is said instead of a command.
NOTHING_TO_DO = {
    "right": "nothing in the table: look for filter, service, route back at both ends",
    "no entry": "nothing: the next packet resolves the address",
    "wrong, now corrected by asking": "nothing here; on the other hosts: arp.revalidate {}",
    "not on this link, next hop judged": "nothing here: look behind that router",
}
#: Other verdicts that can come without a command, and what is said then.
NO_COMMAND = {
    "nobody answers": "look at that host and at its link: nothing in the table helps",
    "silent but vouched for": "is that host alive (console, another host)? Then nothing. "
    "Otherwise: arp.revalidate {}",
    "duplicate address": "find out what each MAC is; take {} away from the wrong one",
    "flux": "nothing while both NICs work; otherwise remove {} from one of them",
    "wrong, and asking did not correct it": "remove that filter (arptables -L, nft list ruleset), "
    "or stop what writes it (ip monitor neigh)",
    "proxy": "ask on the link where the host is, or look at the host itself",
    "owned entry disagrees with the wire": "its owner, named above, must correct it",
    "cannot be asked here": "mend what the sentence names, or ask on another host",
}


class Shown(NamedTuple):
    """An answer as text. ``is_urgent``: somebody has to do something."""

    headline: str
    lines: list
    is_urgent: bool = False


def output(data, **_kwargs):
    """Return the answers of one or several minions as text; Salt calls it."""
    if not isinstance(data, dict):
        return _text(data)
    return "\n".join(_minion(name, answer) for name, answer in data.items())


def _minion(name, answer):
    shown = _shown(answer)
    headline = _text(shown.headline)
    if headline and __opts__.get("color"):
        headline = f"{REVERSE if shown.is_urgent else BOLD}{headline}{PLAIN}"
    return "\n  ".join([f"{_text(name)}: {headline}".rstrip(), *shown.lines])


def _shown(answer):
    """Return an answer as text, whatever it is."""
    if answer == []:
        is_healed = __opts__.get("fun") == "arp_hygiene.healed"
        return Shown("nothing healed in seven days" if is_healed else "no entries", [])
    is_list = isinstance(answer, list)
    named = answer[0] if is_list else answer
    try:
        for key, show in (SHOW_ROWS if is_list else SHOW).items():
            if isinstance(named, dict) and key in named:
                return show(answer)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        pass  # ragged, or not ours: another version or another machine's invention
    if isinstance(answer, dict | list):
        try:
            text = json.dumps(answer, indent=2, default=str, skipkeys=True)
        except RecursionError:
            return Shown("nested too deep: see --out=json", [], is_urgent=True)
        return Shown("", [_text(line) for line in text.splitlines()])
    first, *more = str(answer).splitlines() or [""]
    return Shown(first, [_text(line) for line in more])


# --- one function for each kind of answer


def _diagnosis(answer):
    """Show ``arp.diagnose``: verdict, sentence, what to do, and the evidence that fits."""
    verdict = answer["verdict"]
    to_do = {**NOTHING_TO_DO, **NO_COMMAND}.get(verdict, "see the sentence: no command cures that")
    lines = _prose(answer["sentence"])
    pairs = [("do", answer["cure"] or to_do.format(answer["judged"]))]
    pairs += [("warning", line) for line in answer.get("warnings", ())]
    witnesses = [("witness", f"{ip}: {_cell(macs)}") for ip, macs in answer["witnesses"].items()]
    for evidence in (_before_after(answer), witnesses, _kept_by(answer)):
        if len(lines) + len(pairs) + len(evidence) < MAX_DIAGNOSIS:
            pairs += evidence
    return Shown(verdict.upper(), [*lines, *_labelled(pairs)], verdict not in NOTHING_TO_DO)


def _before_after(answer):
    """Return the entry before and after the probe; once, where it is the same but for its ages."""
    before, after = answer["entry"], answer["entry_after"]
    if not any(answer["asked"].values()):
        return [("entry", _entry(before))]
    seen = [each and (each["mac"], each["state"], _note(each)) for each in (before, after)]
    if seen[0] == seen[1]:
        return [("entry", _entry(after))]
    return [("before", _entry(before)), ("after", _entry(after))]


def _kept_by(answer):
    """Return what keeps the entry REACHABLE beside ARP, unless the sentence says it."""
    _, by, sources = answer["kept_alive_by"].partition("Kept by upper-layer confirmation: ")
    return [("kept by", sources)] if by and by + sources not in answer["sentence"] else []


def _entry(entry):
    if not entry:
        return "none"
    note = f", {_note(entry)}" if _note(entry) else ""
    seen = f"{entry['mac'] or 'no MAC'} {entry['state']}{note}"
    return f"{seen}, confirmed {_age(entry['confirmed_s'])} ago"


def _note(entry):
    """Return what is special about an entry: it is suspect, or has an owner."""
    owner = entry["owner"] if entry["owner"] != entry["state"] else ""
    return ", ".join(filter(None, ["suspect" if entry["suspect"] else "", owner]))


def _healed(rows):
    """Show ``arp_hygiene.healed``. A deleted entry has no new MAC, and need not have been wrong."""
    gone = [row["ip"] for row in rows if not row["new"]]
    many = [re.fullmatch("([0-9]+) entries", ip) for ip in gone]  # one row for all of a large flush
    deleted, healed = sum(int(each[1]) if each else 1 for each in many), len(rows) - len(gone)
    most = "at least " * (len(rows) >= MAX_HEALS)  # of the deletions, which are dropped first
    told = f"{healed} healed, {most}{deleted} deleted" if gone else f"{most}{healed} healed"
    return Shown(f"{told} in seven days", _table(HEALS, rows))


def _entries(rows):
    """Show ``arp.list``. Nobody can act on multicast and on lo: not shown beside other entries."""
    kinds = Counter(_unshown(row) for row in rows)
    chosen = [row for row in rows if not _unshown(row)] if kinds[""] else rows
    chosen = sorted(chosen, key=lambda row: ":" in row["ip"])  # IPv4 first
    states, suspects = Counter(row["state"] for row in chosen), sum(r["suspect"] for r in chosen)
    lines = _entry_table(chosen)
    if kinds.pop("", 0):
        lines += [f"and {kinds[kind]} {kind}: arp.list {UNSHOWN[kind]}" for kind in sorted(kinds)]
    lines += [SUSPECT] * bool(suspects)
    headline = _count(len(chosen), "entry", "entries") + f", {suspects} suspect" * bool(suspects)
    return Shown(f"{headline}: {_counts(states)}", lines)


def _unshown(row):
    """Return of which kind of UNSHOWN an entry is; empty: of none."""
    of_lo = "of lo" * (row["dev"] == "lo" and row["state"] == "NOARP")
    return "multicast" if row["owner"] == "multicast" else of_lo


def _entry_table(rows):
    ages = {"confirmed": "confirmed_s", "used": "used_s", "updated": "updated_s"}
    rows = [
        {**row, "note": _note(row), **{a: _age(row[key]) for a, key in ages.items() if key in row}}
        for row in rows
    ]
    lines, columns = _table(WIDE, rows), shutil.get_terminal_size().columns
    return lines if len(lines[0]) + 2 <= columns else _table(NARROW, rows)


def _compact(answer):
    """Show ``arp.list compact=True``."""
    return _shown([dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]])


def _revalidation(answer):
    """Show ``arp.revalidate``."""
    checked, lengths = answer["checked"], _lengths(answer)
    found = {
        "confirmed": answer["confirmed"],
        **{name: lengths[name] for name in ("healed", "gone")},
        "duplicate" if lengths["duplicates"] == 1 else "duplicates": lengths["duplicates"],
        "still wrong": lengths["still_wrong"],
        "undecided": answer["undecided"] - lengths["still_wrong"],
        "refused": lengths["failed"],
        "without outcome": answer.get("no_outcome", 0),
    }
    headline = f"{checked} checked: {_counts(found)}"
    if not any(found.values()):
        headline = f"NOTHING checked{_why_nothing(answer)}"
    headline = "INTERRUPTED, " * bool(answer.get("interrupted")) + headline
    is_urgent = sum(found.values()) > found["confirmed"] + found["healed"] + found["gone"]
    return Shown(headline, _details(answer), is_urgent)


def _would_check(answer):
    """Show ``arp.revalidate test=True``."""
    suspects = f", {_lengths(answer)['suspects']} suspect" if answer["suspects"] else ""
    lines = [*_details(answer), *[SUSPECT] * bool(answer["suspects"])]
    return Shown(f"{answer['would_check']} would be checked{suspects}{_which(answer)}", lines)


def _which(answer):
    return "" if "entries" in answer else "; rows=True shows which"


def _flush(answer):
    """Show ``arp.flush``."""
    if "would_flush" in answer:
        headline = f"{answer['would_flush']} would be flushed{_kept(answer)}{_which(answer)}"
        return Shown(headline, _details(answer))
    headline = _done(answer, answer["flushed"], "flushed") + _kept(answer)
    if headline == "NOTHING flushed":
        headline += _why_nothing(answer)
    return Shown(headline, _details(answer), bool(_lengths(answer)["failed"]))


def _announcement(answer):
    """Show ``arp.announce``."""
    lengths = _lengths(answer)
    if "would_announce" in answer:
        return Shown(f"{lengths['would_announce']} would be announced", _details(answer))
    headline = _done(answer, lengths["announced"], "announced")
    return Shown(headline, _details(answer), bool(lengths["failed"]))


def _done(answer, count, verb):
    refused = _lengths(answer)["failed"]
    return f"{count or 'NOTHING'} {verb}{f', {refused} refused' if refused else ''}"


def _why_nothing(answer):
    return "" if answer["kept"] else ": no entry is selected"


def _kept(answer):
    return f", {sum(answer['kept'].values())} kept" if answer["kept"] else ""


def _lengths(answer):
    """Return the full length of each list of an answer, which may have been cut."""
    return {name: len(answer.get(name, ())) for name in ROWS} | answer.get("totals", {})


def _details(answer):
    """Return what an answer has beside its counts."""
    pairs = []
    for name, (label, line) in ROWS.items():
        rows, total = answer.get(name, []), _lengths(answer)[name]
        pairs += [(label, line.format(**_cells(row))) for row in rows]
        if total > len(rows):
            pairs.append((label, f"and {total - len(rows)} more: limit=0 shows all"))
    if answer.get("undecided", 0) > _lengths(answer)["still_wrong"]:
        pairs.append(("do", "call it again; if it stays undecided: arp.diagnose ADDRESS"))
    pairs.append(("kept", _counts(answer["kept"])))
    pairs += [("warning", line) for line in answer.get("warnings", ())]
    if not (entries := answer.get("entries")):
        return _labelled(pairs)
    table = _entry_table(entries) if "state" in entries[0] else _table(PROBED, entries)
    return [*_labelled(pairs), *table]


def _run(answer):
    """Show ``arp_hygiene.run``: what it returned, and whether it worked and could tell."""
    rest = {key: answer[key] for key in answer if key not in ("success", "said", "problems")}
    shown = _shown(rest) if rest else Shown("done", [])
    lines = [*(f"problem  {_text(line)}" for line in answer["problems"]), *shown.lines]
    if answer["success"]:
        return Shown(shown.headline, lines, shown.is_urgent or bool(answer["problems"]))
    return Shown(f"FAILED: {answer['said']}", lines, True)


def _stats(answer):
    """Show ``arp.stats``."""
    warnings = [line for counts in answer.values() for line in counts["warnings"]]
    sizes, rows = [], []
    for family, counts in answer.items():
        limit = counts.get("gc_thresh3")
        limited = counts.get("entries_limited", counts.get("entries_all_namespaces"))
        load = f" ({limited} of {limit})" if limit else ""
        sizes.append(f"{family} {_count(counts['entries'], 'entry', 'entries')}{load}")
        for dev, states in counts["devices"].items():
            row = {"family": family, "dev": dev, "entries": sum(states.values())}
            rows.append({**row, "states": _counts(states)})
    headline = f"{'TABLE NEARLY FULL: ' if warnings else ''}{', '.join(sizes)}"
    lines = _labelled(
        pair for line in warnings for pair in (("warning", line), ("do", _larger_table(line)))
    )
    lines.append("in brackets: at most so many entries on the whole host, of gc_thresh3")
    lines += _table("family dev entries states", rows) if rows else []
    return Shown(headline, lines, bool(warnings))


def _larger_table(warning):
    """Return the command that sets the sizes which a warning names; empty where it names none."""
    sizes = re.match(r"(ipv[46]) .*set gc_thresh2 ([0-9]+), gc_thresh3 ([0-9]+)", warning)
    key = f"net.{sizes[1]}.neigh.default.gc_thresh" if sizes else ""
    return f"sysctl -w {key}2={sizes[2]} {key}3={sizes[3]}" if sizes else ""


_NONE = "no schedule and no sentinel: apply arp_hygiene (removed on purpose: docs/upgrading.md)"


def _status(rows):
    """Show ``arp_hygiene.status``: whether all is well, then what is installed and was said."""
    [row] = rows
    problem = row["problem"] or ("" if row["installed"] or row.get("sentinel") else _NONE)
    most = "" if problem else "at least " * (row["healed_7d"] >= MAX_HEALS)
    headline = f"PROBLEM: {problem}" if problem else f"no problem, last run {row['last'] or 'none'}"
    headline += "" if problem else f", {most}{row['healed_7d']} healed in seven days"
    if not problem and row["installed"] and not row["last"]:
        headline = f"NO RUN YET, next {row['next'] or 'unknown'}"
    lines = _labelled((key, _cell(value)) for key, value in row.items() if key != "problem")
    return Shown(headline, lines, bool(problem))


def _selftest(rows):
    """Show ``arp_hygiene.selftest``: whether all passed, then each check."""
    checks = [row["result"] for row in rows if row["check"] != "all"]
    failed, passed = any(row["result"] != "pass" for row in rows), checks.count("pass")
    headline = f"{'FAILED' if failed else 'PASSED'}: {passed} of {len(checks)} checks passed"
    return Shown(headline, _table("result check figures", rows), failed)


def _version(answer):
    """Show ``arp.version``."""
    return Shown(answer["version"], _labelled((key, answer[key]) for key in ("code", "path")))


#: What shows an answer, by a key that only this kind of answer has.
SHOW = {
    "success": _run,
    "verdict": _diagnosis,
    "checked": _revalidation,
    "would_check": _would_check,
    **dict.fromkeys(("flushed", "would_flush"), _flush),
    **dict.fromkeys(("announced", "would_announce"), _announcement),
    "columns": _compact,
    **dict.fromkeys(("ipv4", "ipv6"), _stats),
    "path": _version,
}
#: What shows a list of rows, by a key that only they have.
SHOW_ROWS = {"installed": _status, "state": _entries, "check": _selftest, "by": _healed}


# --- text


def _prose(text):
    """Return text as lines that fit the terminal."""
    width = min(shutil.get_terminal_size().columns - 2, MAX_PROSE)
    return textwrap.wrap(_text(text), width, break_on_hyphens=False)


def _labelled(pairs):
    """Return one line for each label with a text, the texts in one column."""
    pairs = [(label, _text(text)) for label, text in pairs if text]
    width = max((len(_text(label)) for label, _ in pairs), default=0)
    return [f"{_text(label):{width}}  {text}" for label, text in pairs]


def _table(columns, rows):
    """Return a heading and the rows, in aligned columns; ``-`` where there is no value."""
    columns = columns.split()
    cells = [columns, *([_cell(row.get(column, "")) or "-" for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(map(str.ljust, line, widths)).rstrip().removesuffix("  -").rstrip()
        for line in cells
    ]


def _cells(row):
    return {key: _cell(value) or EMPTY.get(key, "") for key, value in row.items()}


def _cell(value):
    """Return a value of an answer as text."""
    if isinstance(value, dict):
        return ", ".join(f"{_text(key)}: {_cell(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return _text(value)


def _text(value):
    """Return a value as one line, control characters escaped."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _counts(counts):
    """Return counts as text, without those of nothing."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _count(number, one, many):
    return f"{number} {one if number == 1 else many}"


def _age(seconds):
    """Return an age in its largest unit, of which there are two at least."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
