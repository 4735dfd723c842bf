"""Arguments of the runner and of the engine for new machines, parsed. Standard library alone.

The runner's functions run as root for everybody that external_auth lets in. So an argument is
judged as if somebody had typed it who may call this one function and nothing else: a file lies in
the directory that the master's configuration names, a target tells nothing of pillar, a number has
a bound.

Every refusal is a ValueError of one line that names the value and what is allowed.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from ..packets import probe_schedule
from ..table import parse
from . import html_report
from .settings import DATABASES, DEFAULTS, Settings

#: Target types of Salt that have a function of the same name in Salt's ``match`` module.
MATCHERS = (
    "glob", "pcre", "list", "grain", "grain_pcre", "pillar", "pillar_pcre", "compound",
)  # fmt: skip
MAX_TARGET = 10_000  # characters
MAX_IDS = 100_000
MAX_NETWORKS = 1_000
MAX_MACS = 1_000
MAX_FILES = 1_000  # in the directory, before a page may have a new name
LEAST_BUDGET = probe_schedule.MAX_FRAMES_PER_ENTRY  # less allows to ask about no entry
_BY_PILLAR = re.compile(r"[IJ].?@", re.DOTALL)  # Salt allows a delimiter: I|@role|db
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def share(value: Any) -> float:
    """Return a share of a role, written as 0.25 or 1/4."""
    up, _, down = str(value).partition("/")
    try:
        found = float(up) / float(down or 1)
        if not 0 < found <= 1:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"share: {parse.shown(value)} is not more than 0 and at most 1 (1/3)"
        ) from None
    return found


def sample(value: Any) -> float:
    """Return which part of the machines is asked, from a percentage such as 5%; 0 for none."""
    if value is None:
        return 0.0
    percent = re.fullmatch(r"([0-9]{1,3}(\.[0-9]{1,3})?)%?", str(value))
    if not percent or float(percent[1]) > 100:
        raise ValueError(f"sample: {parse.shown(value)} is not a percentage from 0% to 100%")
    return float(percent[1]) / 100


def fabric(value: Any) -> list[str]:
    """Return MACs with which the network itself answers, not too many: see networks."""
    found = [] if value is None else [mac.hex(":") for mac in parse.macs("fabric", value)]
    if len(found) > MAX_MACS:
        raise ValueError(f"fabric: {len(found)} MAC addresses; at most {MAX_MACS}")
    return found


def truth(value: Any, settings: Settings) -> tuple[str, str]:
    """Return ``live``, ``cached`` or ``file``, and the path of the file."""
    if isinstance(value, str) and value.startswith("file:"):
        return "file", file_in(settings.directory, "truth", value.removeprefix("file:"))
    if value not in ("live", "cached"):
        raise ValueError(f"truth: {parse.shown(value)} is not one of live, cached, file:NAME")
    return value, ""


def target(key: str, value: Any) -> str | list[str]:
    """Return a target: text, or a list of minion ids."""
    ids = value if isinstance(value, list) else [value]
    if not value or not all(isinstance(each, str) for each in ids):
        raise ValueError(f"{key}: {parse.shown(value)} is not a target")
    if len(ids) > MAX_IDS or any(len(each) > MAX_TARGET for each in ids):
        raise ValueError(f"{key}: more than {MAX_IDS} ids, or {MAX_TARGET} characters")
    return value


def check_pillar(key: str, tgt: str | list[str], tgt_type: str, settings: Settings) -> None:
    """Refuse a target by pillar: its matches would tell what is in the pillar of each minion."""
    by_pillar = tgt_type.startswith("pillar") or (
        tgt_type == "compound" and isinstance(tgt, str) and _BY_PILLAR.search(tgt)
    )
    if by_pillar and tgt != DATABASES and tgt not in settings.targets:
        raise ValueError(
            f"{key}: {parse.shown(tgt)} is a target by pillar, and not one of `arp_fleet: targets` "
            "in the master's configuration"
        )


def check_record(given: Mapping[str, Any], settings: Settings) -> None:
    """Refuse to record a run that compares something else than the configured one.

    Who may audit could otherwise put "0 wrong" into the metrics by looking at nothing.
    """
    if not settings.directory:
        raise ValueError("record: set `arp_fleet: directory` in the master's configuration")
    recorded = dict(settings.record)
    for key, default in DEFAULTS.items():
        if given[key] != recorded.get(key, default):
            raise ValueError(
                f"record: {key} differs from `arp_fleet: record` in the master's configuration"
            )


def file_in(directory: str, key: str, value: str) -> str:
    """Return the path of a file in the directory of the master's configuration."""
    if not directory:
        raise ValueError(f"{key}: set `arp_fleet: directory` in the master's configuration")
    name = os.path.basename(value)
    if not _NAME.fullmatch(name) or value not in (name, os.path.join(directory, name)):
        raise ValueError(f"{key}: {parse.shown(value)} is not the name of a file in {directory}")
    return os.path.join(directory, name)


def page(value: Any, settings: Settings, is_recorded: bool = False) -> str:
    """Return the path of the page to write, or "" for none.

    A narrower audit must not put "0 wrong" on the page that the recorded runs keep up to date.
    """
    if value is None:
        return ""
    if not isinstance(value, str) or not value.endswith(".html"):
        raise ValueError(
            f"report: {parse.shown(value)} is not the name of a file that ends in .html"
        )
    path = file_in(settings.directory, "report", value)
    if os.path.basename(path) == dict(settings.record).get("report") and not is_recorded:
        raise ValueError(f"report: {value!r} is the page of the recorded runs (record=True)")
    if not os.path.isdir(settings.directory):
        raise ValueError(f"report: the directory {settings.directory} does not exist")
    if not html_report.may_replace(path):
        raise ValueError(f"report: {path} exists and is not a page of arp.audit or arp.heal")
    files = os.listdir(settings.directory)
    if os.path.basename(path) not in files and len(files) >= MAX_FILES:
        raise ValueError(
            f"report: {settings.directory} has {len(files)} files; at most {MAX_FILES}"
        )
    return path


def networks(key: str, value: Any) -> list[parse.Network]:
    """Return networks, not too many: each address is looked up in all of them."""
    found = parse.networks(key, value)
    if len(found) > MAX_NETWORKS:
        raise ValueError(f"{key}: {len(found)} networks; at most {MAX_NETWORKS}")
    return found


#: Argument of arp.audit or arp.heal to its parser.
_PARSERS: dict[str, Callable[[Any], Any]] = {
    "tgt": lambda value: target("tgt", value),
    "tgt_type": lambda value: parse.one_of("tgt_type", value, MATCHERS),
    "machines": lambda value: target("machines", value),
    "machines_type": lambda value: parse.one_of("machines_type", value, MATCHERS),
    "networks": lambda value: networks("networks", value),
    "exclude": lambda value: networks("exclude", value),
    "fabric": lambda value: fabric(value),
    "sample": lambda value: sample(value),
    "limit": parse.limit,
    "timeout": lambda value: value and parse.whole_number("timeout", value, 1, 3600, "seconds"),
    "batch": lambda value: parse.whole_number("batch", value, 1, 2_000, "minions"),
    "share": share,
    "pause": lambda value: parse.seconds("pause", value, 0, 3600),
    "budget": lambda value: parse.whole_number("budget", value, LEAST_BUDGET, 10**9, "probes"),
    "rate": parse.rate,
    "test": lambda value: parse.flag("test", value),
    "record": lambda value: parse.flag("record", value),
}


def parse_all(arguments: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the arguments of a runner function, parsed."""
    options = {key: _PARSERS[key](value) for key, value in arguments.items() if key in _PARSERS}
    options["report"] = page(arguments.get("report"), settings, options.get("record", False))
    options["truth"], options["truth_path"] = truth(arguments.get("truth", "live"), settings)
    if options.get("record"):
        check_record(arguments, settings)
    options["memory_days"] = settings.memory_days
    # the surface reads these files
    options |= {"truth_file": None, "truth_age_s": None, "acknowledged": []}
    for key in {"tgt", "machines"} & set(options):
        if isinstance(options[key], list):
            options[f"{key}_type"] = "list"
        check_pillar(key, options[key], options[f"{key}_type"], settings)
    return options


def command(name: str, given: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
    """Return what to type next, or "": a heal after an audit, an audit after a heal."""
    found = any(answer.get(key) for key in ("wrong", "gone", "unproven"))
    following = {"audit": "arp.heal", "heal": "arp.audit"}.get(name, "")
    if not found or not following:
        return ""
    words = ["salt-run", following]
    for key in DEFAULTS:
        value = given[key]
        if isinstance(given.get(key.removesuffix("_type")), list) and key.endswith("_type"):
            value = "list"
        if value is not None and value != DEFAULTS.get(key):
            words.append(f"{key}={','.join(map(str, value)) if isinstance(value, list) else value}")
    return shlex.join(words)
