"""What an operator writes: selectors, options, pillar. Each target takes any bytes.

A bad value is refused by a ValueError of one line; a good one gives a plan in which every line is
one line, and every command consists of the words that were meant.
"""

import contextlib
import datetime
import re
import shlex
import subprocess
from pathlib import Path

import yaml
from arp_engine.fleet import arguments, settings
from arp_engine.formula import job_files, pillar, schedule, sentinel_unit
from arp_engine.formula import plan as formula_plan
from arp_engine.sentinel import options
from arp_engine.table import parse, selectors
from fuzz_values import Maker

MAX_LINE = 1000  # characters of a refusal: it goes into a log and onto a screen
REPO = Path(__file__).resolve().parents[2]
DEFAULTS = yaml.safe_load((REPO / "salt/arp_hygiene/defaults.yaml").read_text(encoding="utf-8"))
WORDS = [
    "192.0.2.10", "192.0.2.0/24", "2001:db8::10", "2001:db8::/64", "::ffff:192.0.2.1",
    "fe80::1%eth0", "0.0.0.0/0", "::/0", "192.0.2.10/24", "10", "eth0", "eth0.7", "lo", "ipv4",
    "STALE", "reachable", "PERMANENT", "failed", "02:00:00:00:00:0a", "52-54-00-12-34-56", "1/2",
    "0/0", "100", "0.01", "5%", "db*", "G@role:database", "I@role:x", "compound", "glob", "list",
    "page.html", "../x.html", "file:truth.csv", "live", "cached", "cron", "salt", "systemd", "none",
    "pip", "package", "revalidate", "flush", "root", "postgres", "/usr/bin/salt-call", "*",
    "*/5", "1-5", "@daily", "@reboot", "mon", "service", "engine", "default", ">=0.7.2,<0.10",
    *DEFAULTS, *(key for each in DEFAULTS.values() if isinstance(each, dict) for key in each),
]  # fmt: skip
FACTS = formula_plan.Facts(
    minion_id="db1", config_dir="/etc/salt", root_dir="/", os_family="Debian", booted=True, gid=0,
    salt_call="/usr/bin/salt-call", cron_here=True, is_cron_of_busybox=False,
    missing_devices={"clean": [], "announce": [], "sentinel": []},
    missing_directories=[], why_requirement_unmet="", croniter_here=True, found={}, textfile="",
    pillar_textfile="", kept={"sysctl": {}, "announce": {}}, sysctl={},
    thresholds={}, announce=[], conf={},
    sentinel=sentinel_unit.MinionFacts(
        booted=True, by_ssh=False, python="/opt/salt/bin/python3", code="c0de",
        bundle="/etc/salt/arp_hygiene_sentinel.pyz", code_is_public=True, installed=[],
        engines=[],
        restart=["/usr/bin/salt-call", "--local", "service.restart", "salt-minion"],
    ),
    foreign={},
)  # fmt: skip


@contextlib.contextmanager
def refusals():
    """Take a refusal for an answer: one line that a person can read."""
    try:
        yield
    except ValueError as bad:
        line = str(bad)
        assert 0 < len(line) <= MAX_LINE, f"a refusal of {len(line)} characters"
        assert line.splitlines() == [line], f"a refusal of several lines: {line!r}"
        assert "\x1b" not in line


def selected(data):
    """Selectors and options, as they come from a command line, a state or a job."""
    make = Maker(data, WORDS)
    given = make.filled(
        ip=lambda: make.listed(make.text), dev=make.text, state=make.text, family=make.text,
        exclude=make.text, mac=make.text,
    )  # fmt: skip
    with refusals():
        found = selectors.parse_selectors(**given, verb=make.pick(["flush", "list", "revalidate"]))
        assert set(found.families) <= {2, 10}
    for read in (
        parse.rate, parse.part, parse.limit, lambda each: parse.address("ip", each),
        lambda each: parse.device("dev", each), lambda each: parse.seconds("pause", each, 0, 9),
        lambda each: parse.whole_number("batch", each, 1, 9), options.parse,
        lambda each: selectors.parse_own(each, each),
    ):  # fmt: skip
        with refusals():
            read(make.value(3))
    with refusals():
        options.parse(make.filled(
            dev=make.text, ip=make.text, exclude=make.text, family=make.text, rate=make.byte,
            burst=make.byte, reinject=lambda: True,
        ))  # fmt: skip


def fleet_words(data):
    """The arguments of a runner's function, of whoever may call it; the master's settings."""
    make = Maker(data, WORDS)
    with refusals():
        master = settings.parse_settings(make.value(3))
        assert master.mode <= 0o777
    master = settings.Settings(directory="/nonexistent")
    given = {
        "tgt": "db*", "tgt_type": "glob", "machines": "*", "machines_type": "glob",
        **make.filled(**dict.fromkeys(arguments._PARSERS, make.text)),
        **make.filled(report=make.text, truth=make.text),
    }  # fmt: skip
    with refusals():
        parsed = arguments.parse_all(given, master)
        assert parsed["report"] == "", "a page in a directory that does not exist"
        assert parsed["truth_path"] in ("", f"/nonexistent/{Path(parsed['truth_path']).name}")
        assert isinstance(shlex.split(arguments.command("audit", {**arguments.DEFAULTS, **given},
                                                        {"wrong": [1]})), list)  # fmt: skip


def formula(data):
    """The pillar tree, and the plan that is made of it."""
    make = Maker(data, WORDS)
    tree = {}
    for section, content in DEFAULTS.items():
        how = make.byte() % 8
        if how < 4 and isinstance(content, dict):
            tree[section] = {
                key: make.pick([value, value, None]) if make.byte() % 3 else make.value(3)
                for key, value in content.items()
            }
        elif how == 4:
            tree[section] = make.value(2)
    if make.byte() % 16 == 15:
        tree[make.key()] = make.value(2)
    if make.byte() % 2 and isinstance(tree.get("schedule"), dict):
        for key in ("every", "special"):
            tree["schedule"].pop(key, None)
        for key in schedule.FIELDS:
            tree["schedule"][key] = make.pick(["0", "*", "*/5", "1-3,7", 3, make.text()])
    with refusals():
        checked = pillar.check(DEFAULTS, tree)
        here = FACTS._replace(booted=bool(make.byte() % 2), minion_id=make.text() or "db1")
        check_plan(formula_plan.plan(checked, here), checked)


def check_plan(plan, checked):
    """Every line is one line; the script runs the words that were meant."""
    job = plan["job"]
    texts = [
        plan["sysctl"]["lines"],
        *(job.get(key) or [] for key in ("lines", "service", "timer")),
    ]
    for lines in texts:
        assert all(isinstance(line, str) and line.splitlines() in ([line], []) for line in lines)
    if "script" in job:
        words = job_files.command(checked.salt_call or FACTS.salt_call, None, job["arguments"])
        joined = shlex.join(words)
        assert shlex.split(joined) == words
        assert joined in job["script"]
        assert not re.search(r"[\0\r]", job["script"])
    if job.get("lines"):
        found = job_files.due("\n".join(job["lines"]))
        assert found[1] >= 0
        now = datetime.datetime(2026, 11, 29, 3, 0)
        due = schedule.next_due(*found, now)
        assert due is None or due > now


def is_shell(text):
    """Tell whether a shell can read a script; a test does so for the scripts of the corpus."""
    return not subprocess.run(["sh", "-n"], input=text, text=True, check=False).returncode


SEEDS = {"selected": [], "fleet_words": [], "formula": []}
TARGETS = {"selected": selected, "fleet_words": fleet_words, "formula": formula}
