"""When a run is due: cron's notation, checked and told to systemd; and the splay."""

import datetime
import subprocess

import pytest
from arp_engine.formula import schedule

from lab.bare import missing

needs_systemd = pytest.mark.skipif(
    bool(missing("systemd-analyze")), reason=missing("systemd-analyze")
)


@pytest.mark.parametrize(
    ("field", "value", "numbers"),
    [
        ("minute", "*/15", [0, 15, 30, 45]),
        ("minute", "*/60", [0]),
        ("minute", 7, [7]),
        ("minute", "1-9/4,30", [1, 5, 9, 30]),
        ("hour", "8-10", [8, 9, 10]),
        ("month", "jan,DEC", [1, 12]),
        ("dayweek", "sat-7", [0, 6]),
        ("dayweek", "mon-fri", [1, 2, 3, 4, 5]),
    ],
)
def test_field_expands_as_cron_reads_it(field, value, numbers):
    assert schedule.expand(field, schedule.parse_field(field, value)) == numbers


def test_installed_schedule_with_a_refused_step_is_still_read():
    now = datetime.datetime(2026, 2, 27, 10, 1)
    assert str(schedule.next_due("*/90 * * * *", 0, now)) == "2026-02-27 11:00:00"


@pytest.mark.parametrize(
    "value", ["60", "-1", "5/10", "9-1", "*/0", "*/61", "", "1,", "*;", "a", "random"]
)
def test_invalid_field_is_refused(value):
    with pytest.raises(ValueError, match="is not a cron minute: numbers 0 to 59"):
        schedule.parse_field("minute", value)


@needs_systemd
@pytest.mark.parametrize(
    ("fields", "calendars"),
    [
        ("*/5 * * * *", ["*-*-* *:0/5:00"]),
        ("0 3 * * *", ["*-*-* 3:0:00"]),
        ("0,30 8-18 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 8..18:0,30:00"]),
        ("7 */6 1,15 1-6 *", ["*-1..6-1,15 0/6:7:00"]),
        # either day fits in cron, both must in systemd: hence two
        ("0 0 13 * 5", ["*-*-13 0:0:00", "Fri *-*-* 0:0:00"]),
        # either fits on every day where one of them names all days
        ("0 3 1 * 0-6", ["*-*-* 3:0:00"]),
        ("0 3 1 6 mon-sat,7", ["*-6-* 3:0:00"]),
        ("0 3 1-31 * 5", ["*-*-* 3:0:00"]),
        ("0 3 1 * */1", ["*-*-1 3:0:00"]),  # both, as one begins with a star
    ],
)
def test_calendar_of_cron_fields(fields, calendars):
    assert schedule.calendar_when(fields) == calendars
    for expression in calendars:
        subprocess.run(["systemd-analyze", "calendar", expression], check=True, capture_output=True)


@needs_systemd
def test_systemd_reads_the_times_that_cron_means():
    """Its own iteration of '1-9/4 past every third hour on the 31st' is what cron would do."""
    (expression,) = schedule.calendar_when("1-9/4 */12 31 * *")
    told = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=4", "--base-time=2026-01-01", expression],
        check=True, capture_output=True, text=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip
    for moment in ("2026-01-31 00:01:00", "00:05:00", "00:09:00", "2026-01-31 12:01:00"):
        assert moment in told


@pytest.mark.parametrize("special", sorted(schedule.SPECIALS))
def test_every_nickname_but_reboot_has_a_calendar(special):
    calendars = schedule.calendar_when(special)
    assert bool(calendars) == (special != "@reboot")


@pytest.mark.parametrize(
    ("every", "fields"),
    [
        (1, "* * * * *"),
        (5, "*/5 * * * *"),
        (60, "0 * * * *"),
        (180, "0 */3 * * *"),
        (1440, "0 0 * * *"),
    ],
)
def test_interval_as_cron_fields(every, fields):
    assert schedule.cron_when("every", every) == fields


@pytest.mark.parametrize("every", [7, 45, 90, 300])
def test_uneven_interval_is_refused_and_the_even_ones_named(every):
    assert not schedule.is_even("every", every)
    with pytest.raises(ValueError, match=f"every: {every} minutes do not divide .* 5, 6, 10"):
        schedule.cron_when("every", every)


@pytest.mark.parametrize(
    "pattern", ["db{}", "db{}.rs0.example.com", "mongo-rs1-{}", "rs{}-db1", "db-0{}"]
)
def test_splay_spreads_the_members_of_a_replica_set(pattern):
    """Three and five neighbours in number are never nearer than a tenth of the span."""
    waits = [schedule.splay_s(pattern.format(n), 600) for n in range(1, 10)]
    assert all(0 <= wait <= 600 for wait in waits)
    for size in (3, 5):
        for first in range(len(waits) - size + 1):
            ring = sorted(waits[first : first + size])
            gaps = [b - a for a, b in zip(ring, [*ring[1:], ring[0] + 601], strict=True)]
            assert min(gaps) > 600 / (2 * size)


def test_splay_is_constant_and_differs_between_sets():
    assert schedule.splay_s("db1", 60) == schedule.splay_s("db1", 60)
    assert len({schedule.splay_s(f"{name}1", 3600) for name in "abcdefgh"}) == 8
    assert schedule.splay_s("db1", 0) == 0


def test_splay_is_at_most_half_an_interval():
    """Else a run would still wait when the next is due."""
    assert schedule.span_s(60, "every", 1) == 30
    assert schedule.span_s(60, "every", 5) == 60
    assert schedule.span_s(600, "special", "@hourly") == 600


@pytest.mark.parametrize(
    ("when", "wait_s", "due"),
    [
        ("*/5 * * * *", 0, "2026-02-27 10:05:00"),
        ("*/5 * * * *", 46, "2026-02-27 10:00:46"),  # 10:00 plus the wait is still to come
        ("0 3 * * *", 10, "2026-02-28 03:00:10"),
        ("@hourly", 0, "2026-02-27 11:00:00"),
        ("0 0 29 2 *", 0, "2028-02-29 00:00:00"),
        ("0 0 1 * sun", 0, "2026-03-01 00:00:00"),  # either: a Sunday, and the first
        ("0 12 1-7 * sat", 0, "2026-02-28 12:00:00"),
        ("0 3 1 * 0-6", 0, "2026-02-28 03:00:00"),  # either, so every day
        ("0 0 */10 * mon", 0, "2026-05-11 00:00:00"),  # both, as one begins with a star
        ("0 0 31 2 *", 0, None),
        ("@reboot", 0, None),
        ("every 7 min", 0, None),
    ],
)
def test_next_due_time(when, wait_s, due):
    now = datetime.datetime(2026, 2, 27, 10, 0, 30)
    found = schedule.next_due(when, wait_s, now)
    assert (str(found) if found else None) == due


NOON = datetime.datetime(2026, 3, 1, 12, 0, 0).timestamp()


@pytest.mark.parametrize(
    ("when", "wait_s", "after_s", "is_overdue"),
    [
        ("*/5 * * * *", 60, 60 + 900, False),
        ("*/5 * * * *", 60, 60 + 901, True),
        ("0 3 * * *", 0, 14 * 3600, False),
        ("0 3 * * *", 0, 16 * 3600, True),
        ("every 7 min", 60, 420 + 60 + 900, False),
        ("every 7 min", 60, 420 + 60 + 901, True),
        ("", 0, 30 * 86400, False),
    ],
)
def test_run_without_record_is_overdue(when, wait_s, after_s, is_overdue):
    due = schedule.overdue(when, wait_s, NOON, NOON + after_s, booted=NOON - 86400)
    assert (due is not None) is is_overdue


@pytest.mark.parametrize(
    ("last_s", "after_s", "is_overdue"),
    [(0, 60 + 900, False), (0, 60 + 901, True), (5, 30 * 86400, False)],
    ids=["still due", "never ran", "ran or was installed since"],
)
def test_run_after_boot_is_overdue(last_s, after_s, is_overdue):
    due = schedule.overdue("@reboot", 60, NOON + last_s, NOON + after_s, booted=NOON)
    assert due == (NOON + 60 if is_overdue else None)
