"""When a scheduled run is due: cron's notation, checked once, translated for three schedulers.

Pillar has one of three kinds: an interval in minutes, cron's five fields, or one of cron's
nicknames. ``formula/pillar.py`` checks it with the parsers here; :func:`calendar` translates it for
systemd. :func:`splay_s` spreads the members of a replica set, always in the same way.

Standard library alone, no Salt: it must work before anything is installed. Every refusal is a
ValueError of one line that names the value and what is allowed.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from ..table import parse

# Kind and value: "every" and minutes, "special" and a nickname, "fields" and five of them.
When = tuple[str, Any]
Fields = tuple[str, ...]

FIELDS = ("minute", "hour", "daymonth", "month", "dayweek")
_BOUNDS = {
    "minute": (0, 59),
    "hour": (0, 23),
    "daymonth": (1, 31),
    "month": (1, 12),
    "dayweek": (0, 7),
}
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = {
    "month": {name: number for number, name in enumerate(_MONTHS, 1)},
    "dayweek": {name: number for number, name in enumerate(_DAYS)},
}
# The nicknames cron knows, with the five fields they stand for. A boot is no moment of a calendar.
SPECIALS: dict[str, Fields] = {
    "@reboot": (),
    "@hourly": ("0", "*", "*", "*", "*"),
    "@daily": ("0", "0", "*", "*", "*"),
    "@midnight": ("0", "0", "*", "*", "*"),
    "@weekly": ("0", "0", "*", "*", "0"),
    "@monthly": ("0", "0", "1", "*", "*"),
    "@yearly": ("0", "0", "1", "1", "*"),
    "@annually": ("0", "0", "1", "1", "*"),
}
# Intervals in minutes that cron can keep evenly: divisors of an hour; whole hours, of a day.
EVEN_MINUTES = [n for n in range(1, 60) if 60 % n == 0]
EVEN_HOURS = [n * 60 for n in range(1, 25) if 24 % n == 0]

OVERDUE_S = 900  # a run of a large table takes minutes
_EVERY = re.compile(r"every (?P<minutes>[0-9]+) min")  # of a job of Salt's own scheduler
_ITEM = re.compile(r"(\*|(?P<low>[a-z0-9]+)(-(?P<high>[a-z0-9]+))?)(/(?P<step>[0-9]+))?")


def _number(field: str, text: str) -> int | None:
    """Return the number a name or digits stand for; None when it is neither or out of bounds."""
    low, high = _BOUNDS[field]
    number = _NAMES.get(field, {}).get(text)
    if number is None and text.isdigit() and len(text) <= 2:
        number = int(text)
    return number if number is not None and low <= number <= high else None


def _item_values(field: str, item: str) -> range | None:
    """Return the numbers one comma-separated item stands for; None when it is not one."""
    match = _ITEM.fullmatch(item)
    if not match:
        return None
    low, high = _BOUNDS[field]
    step = int(match["step"] or 1)
    if match["low"]:
        low = _number(field, match["low"])
        if match["high"]:
            high = _number(field, match["high"])
        elif match["step"]:
            return None  # "5/10": cron daemons disagree on what it means
        else:
            high = low
    if low is None or high is None or low > high or step < 1:
        return None
    return range(low, high + 1, step)


def expand(field: str, text: str) -> list[int]:
    """Return the sorted numbers a cron field stands for, Sunday always as 0.

    Raises ValueError when ``text`` is not what cron allows in that field.
    """
    numbers = set()
    for item in text.split(","):
        values = _item_values(field, item)
        if values is None:
            low, high = _BOUNDS[field]
            names = f", names such as {next(iter(_NAMES[field]))}" if field in _NAMES else ""
            raise ValueError(
                f"{parse.shown(text)} is not a cron {field}: numbers {low} to {high}{names}, "
                "lists 1,2, ranges 1-5, steps */5 or 1-9/2 are allowed"
            )
        numbers.update(values)
    if field == "dayweek":
        numbers = {number % 7 for number in numbers}
    return sorted(numbers)


def parse_field(field: str, value: Any) -> str:
    """Return one of cron's five fields as text, checked; YAML may have made it a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(
            f"{parse.shown(value)} is not a cron {field}: quote it in YAML, such as '*/5'"
        )
    text = value.lower()
    expand(field, text)
    low, high = _BOUNDS[field]
    for step in re.findall("/([0-9]+)", text):
        if int(step) > high - low + 1:
            raise ValueError(
                f"{parse.shown(text)} is not a cron {field}: numbers {low} to {high}, steps up to "
                f"{high - low + 1} are allowed, as cron begins anew then"
            )
    return text


def every_fields(every: int) -> Fields:
    """Return the five cron fields of an interval in minutes."""
    if every in EVEN_MINUTES:
        return ("*" if every == 1 else f"*/{every}", "*", "*", "*", "*")
    if every in EVEN_HOURS:
        hours = every // 60
        return ("0", {1: "*", 24: "0"}.get(hours, f"*/{hours}"), "*", "*", "*")
    even = ", ".join(str(n) for n in EVEN_MINUTES + EVEN_HOURS)
    raise ValueError(
        f"{every} minutes do not divide an hour or a day evenly, and a calendar would make "
        f"uneven steps of them: {even} are allowed, or any number with backend 'salt'"
    )


def parse_special(value: Any) -> str:
    """Return one of cron's nicknames, checked."""
    if not isinstance(value, str) or value not in SPECIALS:
        raise ValueError(
            f"{parse.shown(value)} is not a nickname of cron: {', '.join(SPECIALS)} are allowed"
        )
    return value


def _spell(field: str, numbers: list[int]) -> str:
    """Return sorted numbers in systemd's notation, as short as it goes."""
    low, high = _BOUNDS[field]
    if numbers == list(range(low, high + 1)):
        return "*"
    if len(numbers) > 2:
        step = numbers[1] - numbers[0]
        if step > 1 and numbers == list(range(numbers[0], high + 1, step)):
            return f"{numbers[0]}/{step}"
        if step == 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
            return f"{numbers[0]}..{numbers[-1]}"
    return ",".join(str(number) for number in numbers)


def calendar(fields: Sequence[str]) -> list[str]:
    """Return the systemd calendar expressions that mean the same as five cron fields.

    Usually one. Two where day of month and day of week are both restricted: cron runs when
    *either* fits, a systemd expression only when both do. Cron goes by the star, not by the days:
    ``1-31`` and ``0-6`` are restrictions that fit every day.
    """
    parts = {field: expand(field, text) for field, text in zip(FIELDS, fields, strict=True)}
    minute, hour, day, month = (_spell(field, parts[field]) for field in FIELDS[:4])
    week = parts["dayweek"]
    days = "" if len(week) == 7 else ",".join(_DAYS[n].capitalize() for n in week) + " "
    time = f"{hour}:{minute}:00"
    if _is_either(fields):
        if day == "*" or not days:
            return [f"*-{month}-* {time}"]
        return [f"*-{month}-{day} {time}", f"{days}*-{month}-* {time}"]
    return [f"{days}*-{month}-{day} {time}"]


def _is_either(fields: Sequence[str]) -> bool:
    """Tell whether cron runs when day of month or day of week fits; where one has a star: both."""
    return not fields[2].startswith("*") and not fields[4].startswith("*")


def is_even(kind: str, value: Any) -> bool:
    """Tell whether cron can say it: an interval must divide an hour, or a day in whole hours."""
    return kind != "every" or value in EVEN_MINUTES + EVEN_HOURS


def fields_of(kind: str, value: Any) -> Fields:
    """Return the five fields of an interval, a nickname (not a boot) or five fields."""
    if kind == "every":
        try:
            return every_fields(value)
        except ValueError as bad:
            raise ValueError(f"schedule:every: {bad}") from None
    return SPECIALS[value] if kind == "special" else value


def cron_when(kind: str, value: Any) -> str:
    """Return what stands before the user in a cron line: five fields or a nickname."""
    return value if kind == "special" else " ".join(fields_of(kind, value))


def calendar_when(when: str) -> list[str]:
    """Return the systemd calendar expressions of what :func:`cron_when` returned; none: at boot."""
    fields = SPECIALS[when] if when in SPECIALS else when.split()
    return calendar(fields) if fields else []


def next_due(when: str, wait_s: int, now: datetime.datetime) -> datetime.datetime | None:
    """Return when the next run is due: cron's fields or nickname, and the delay after that.

    None for @reboot, and for an interval that Salt counts from its start. In local time, so an
    hour off around a change of the clocks.
    """
    fields = SPECIALS[when] if when in SPECIALS else when.split()
    if len(fields) != len(FIELDS):
        return None
    minutes, hours, days, months, weekdays = map(expand, FIELDS, fields)
    either = _is_either(fields)
    wait = datetime.timedelta(seconds=wait_s)
    day = (now - wait).date()
    for _ in range(8 * 366):  # a 29th of February is at most eight years away
        fits = [day.day in days, day.isoweekday() % 7 in weekdays]
        if day.month in months and (any(fits) if either else all(fits)):
            for hour in hours:
                for minute in minutes:
                    due = datetime.datetime.combine(day, datetime.time(hour, minute)) + wait
                    if due > now:
                        return due
        day += datetime.timedelta(days=1)
    return None


def due_after(when: str, wait_s: int, last: float) -> float | None:
    """Return when the first run after ``last`` is due, in seconds since 1970; None: nobody knows.

    when, wait_s: as in :func:`next_due`, or "every N min".
    """
    interval = _EVERY.fullmatch(when)
    if interval:
        return last + 60 * int(interval["minutes"]) + wait_s
    moment = next_due(when, wait_s, datetime.datetime.fromtimestamp(last)) if when else None
    return moment.timestamp() if moment else None


def overdue(when: str, wait_s: int, last: float, now: float, booted: float) -> float | None:
    """Return when a run was due of which OVERDUE_S later there is no record; None: none is missing.

    last: when a run was recorded, the job installed or the machine booted, whatever was latest.
    """
    due = due_after(when, wait_s, last)
    if when == "@reboot" and last <= booted:
        due = booted + wait_s
    return due if due and now > due + OVERDUE_S else None


def span_s(splay: int, kind: str, value: Any) -> int:
    """Return the splay, no longer than half an interval: a run must not wait for the next one."""
    return min(splay, value * 30) if kind == "every" else splay


def splay_s(minion_id: str, splay: int) -> int:
    """Return the seconds, 0 to ``splay``, this minion waits before each run: always the same.

    A random wait lets two members of a replica set meet by chance. Members are usually numbered,
    so the numbers in the id walk round the span in steps of irrational size (the golden ratio for
    the first number, other square roots for the next): db1, db2, db3 … lie far apart. The rest of
    the id moves the whole set, so that many sets do not act together either.
    """
    runs = re.findall(r"[0-9]+", minion_id)
    skeleton = re.sub(r"[0-9]+", "#", minion_id)
    position = int.from_bytes(hashlib.sha256(skeleton.encode()).digest()[:6], "big") / 2**48
    strides = (0.6180339887, 0.4142135624, 0.7320508076, 0.6457513111, 0.3166247904)
    for run, stride in zip(runs, strides, strict=False):
        position += int(run[-6:]) * stride
    return int(position % 1 * (splay + 1))
