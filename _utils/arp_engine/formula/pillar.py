"""The pillar tree ``arp_hygiene``: laid over the defaults and checked, key by key.

The one place that knows which keys there are and what may stand in them. Standard library alone,
no Salt. A refusal is a ValueError of one line that names every bad value, each part beginning with
the key, such as ``schedule:minute: '5; reboot' is not …``, and nothing of what was refused is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..sentinel import options as sentinel_options
from ..table import parse
from ..table import selectors as table_selectors
from . import bad_values, sentinel_unit
from . import schedule as formula_schedule

NAME = "arp_hygiene"  # of the tree
BACKENDS = ("cron", "salt", "systemd", "none")
INSTALLS = ("pip", "package", "none")
SENTINEL = ("dev", "ip", "exclude", "family", "rate", "burst", "reinject", "as")
VERBS = ("revalidate", "flush")
THRESHOLDS = ("gc_thresh1", "gc_thresh2", "gc_thresh3")  # one number each for the whole host
_ENTRIES = 1 << 20  # half a gigabyte of kernel memory
_BOUNDS = {  # of the sysctl values; those the kernel turns into jiffies must not overflow there
    "mcast_resolicit": (0, 1000),
    "gc_thresh1": (0, _ENTRIES),
    "gc_thresh2": (0, _ENTRIES),
    "gc_thresh3": (128, _ENTRIES),  # fewer, and the host loses neighbours that it needs
    "gc_stale_time": (0, 86400),
    "base_reachable_time_ms": (1, 86_400_000),
    "locktime": (0, 360_000),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]*")
_DEVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,14}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_FILE = re.compile(r"/[A-Za-z0-9_.+/-]+")
_ONE_VERSION = r"(===?|~=|!=|[<>]=?)[0-9][0-9a-z.*+]*"
_VERSION = re.compile(rf"{_ONE_VERSION}(,{_ONE_VERSION})*")
_CARRIED = "the name of a device that a command can carry (letters, digits and _ . @ + -)"

Tree = dict[str, Any]


class Checked(NamedTuple):
    """All values of pillar and defaults, checked."""

    how: str  # one of VERBS
    arguments: Tree  # of that function
    backend: str  # one of BACKENDS
    when: formula_schedule.When
    splay: int  # seconds
    user: str
    salt_call: str | None  # an absolute path
    event: bool
    metrics: str | None  # a directory
    sysctl: dict[str, dict[str, int]]  # key to device or "default" to value
    requirement: Tree
    announce: Tree  # arguments, notify, wait
    sentinel: Tree | None  # as (service, engine, or None), options

    def devices(self) -> dict[str, list[str]]:
        """Return the devices that are named, by section; empty: all."""
        told = {"clean": self.arguments, "announce": self.announce["arguments"]}
        told["sentinel"] = self.sentinel["options"] if self.sentinel else {}
        return {
            section: parse.devices("dev", words["dev"]) if "dev" in words else []
            for section, words in told.items()
        }

    def directories(self) -> list[str]:
        """Return the directories that must exist."""
        return [path for path in (self.metrics, self.requirement["wheels"]) if path]


def check(defaults: Tree, pillar: Any, top: Iterable[Any] = ()) -> Checked:
    """Return all values of pillar and defaults, checked, also those that will not be used.

    top: the keys of the whole pillar, of which one may be ours misspelt.
    """
    bad = bad_values.Refusals()
    for key in map(str, top):
        bad.of(_not_misspelt, key)
    tree, given = _merged(defaults, pillar, bad)
    schedule = tree["schedule"]
    how, arguments = bad.of(_clean, tree["clean"]) or (None, {})
    when = bad.of(_when, schedule, given["schedule"])
    values = {
        "backend": bad.of(parse.one_of, "schedule:backend", schedule["backend"], BACKENDS),
        "splay": bad.of(_splay, schedule["splay"], when),
        "user": bad.of(_shaped, "schedule:user", schedule["user"], _USER, "the name of a user"),
        "salt_call": bad.of(_salt_call, schedule["salt_call"]),
        "event": bad.of(parse.flag, "event", tree["event"]),
        "metrics": bad.of(_path, "metrics", tree["metrics"]),
        "sysctl": bad.of(_sysctl, tree["sysctl"]),
        "requirement": bad.of(_requirement, tree["requirement"]),
        "announce": bad.of(_announce, tree["announce"]),
        "sentinel": bad.of(_sentinel, tree["sentinel"], arguments.get("exclude")),
    }
    bad.tell()
    return Checked(how=how, arguments=arguments, when=when, **values)


class Removal(NamedTuple):
    """What a removal reads of a pillar that is refused: other bad values are nothing to it."""

    requirement: Tree | None = None  # None: refused
    metrics: str | None = None
    unread: str = ""  # a refusal of what may name more to remove


def for_removal(defaults: Tree, pillar: Any, top: Iterable[Any] = ()) -> Removal:
    """Return what a removal reads; the arguments are those of :func:`check`."""
    bad = bad_values.Refusals()
    for key in map(str, top):
        bad.of(_not_misspelt, key)
    given = _known("", pillar, defaults, bad)
    tree = _known("requirement:", given.get("requirement"), defaults["requirement"], bad)
    used = {key: value for key, value in tree.items() if key not in ("version", "wheels")}
    requirement = bad.of(_requirement, {**defaults["requirement"], **used})
    metrics = bad.of(_path, "metrics", given.get("metrics"))
    return Removal(requirement, metrics, bad.line())


def _not_misspelt(key: str) -> None:
    """Refuse a top key that is ours but for case, hyphens and underscores: it would do nothing."""
    plain = key.lower().replace("-", "").replace("_", "")
    if plain == NAME.replace("_", "") and key != NAME:
        raise ValueError(
            f" {parse.shown(key)} is a top key of pillar, which nothing reads: call it {NAME}"
        )


def _merged(defaults: Tree, pillar: Any, bad: bad_values.Refusals) -> tuple[Tree, Tree]:
    """Return the tree of defaults with pillar laid over it, and what pillar itself gives."""
    tree = {
        key: dict(value) if isinstance(value, dict) else value for key, value in defaults.items()
    }
    given = {section: {} for section in defaults}
    for section, content in _known("", pillar, defaults, bad).items():
        if not isinstance(defaults[section], dict):
            tree[section] = defaults[section] if content is None else content
            continue
        keys = _known(f"{section}:", content, defaults[section], bad)
        tree[section].update(keys)
        given[section] = {key: value for key, value in keys.items() if value is not None}
    return tree, given


def _known(where: str, value: Any, allowed: Iterable[str], bad: bad_values.Refusals) -> Tree:
    """Return what a mapping holds under allowed keys; None is an empty one."""
    bad.of(_mapping, where, value, allowed)
    items = value.items() if isinstance(value, dict) else ()
    return {key: each for key, each in items if key in allowed}


def _mapping(where: str, value: Any, allowed: Iterable[str]) -> Tree:
    """Return a mapping whose keys are all allowed; None is an empty one."""
    if value is None:
        return {}
    names = ", ".join(allowed)
    if not isinstance(value, dict):
        raise ValueError(
            f"{where} {parse.shown(value)} is not a mapping; {names} are allowed in it"
        )
    if wrong := [str(key) for key in value if key not in allowed]:
        raise ValueError(f"{where}{bad_values.some(wrong)}: no such key; {names} are allowed")
    return value


def _shaped(key: str, value: Any, pattern: re.Pattern[str], what: str) -> str:
    """Return a string, or raise ValueError where it does not match the pattern."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"{key}: {parse.shown(value)} is not {what}")
    return value


def _path(key: str, value: Any) -> str | None:
    """Return an absolute path, or None."""
    return None if value is None else _shaped(key, value, _FILE, "an absolute path")


def _salt_call(value: Any) -> str | None:
    """Return the path of salt-call, or None. Pillar may name no other program."""
    path = _path("schedule:salt_call", value)
    if path and os.path.basename(path) != "salt-call":
        raise ValueError(f"schedule:salt_call: {parse.shown(value)} is not the path of a salt-call")
    return path


def _splay(value: Any, when: formula_schedule.When | None) -> int:
    """Return the splay in seconds; one longer than the interval would make runs overlap."""
    seconds = parse.whole_number("schedule:splay", value, 0, 3600, "seconds")
    kind, minutes = when or (None, None)
    if kind == "every" and seconds > minutes * 60:
        raise ValueError(
            f"schedule:splay: {seconds} s is longer than the {minutes} min of schedule:every"
        )
    return seconds


def _clean(tree: Tree) -> tuple[str, Tree]:
    """Return the function that each run calls (one of VERBS), and its arguments."""
    bad = bad_values.Refusals()
    verb = bad.of(parse.one_of, "clean:how", tree["how"], VERBS)
    selectors = {key: _stripped(tree[key]) for key in ("ip", "dev", "state", "family", "exclude")}
    for key, value in selectors.items():
        if verb or key != "state":  # which states may be named depends on it
            bad.of(_selected, {key: value}, verb)
    if tree["rate"] is not None:
        bad.of(_in, "clean", parse.rate, tree["rate"])
    bad.tell()
    _selected(selectors, verb)  # together: an address of another family
    if verb == "revalidate":
        selectors["rate"] = tree["rate"]
    return verb, {key: value for key, value in selectors.items() if value is not None}


def _selected(selectors: Tree, verb: str | None) -> None:
    """Check selectors of a run."""
    _in("clean", table_selectors.parse_selectors, **selectors, verb=verb or VERBS[0])
    _carried("clean:dev", selectors.get("dev"))


def _in(section: str, judge: Callable[..., Any], *words: Any, **named: Any) -> None:
    """Call a check; its refusal names the key as pillar does."""
    try:
        judge(*words, **named)
    except ValueError as bad:
        raise ValueError(f"{section}:{bad}") from None


def _announce(tree: Tree) -> Tree:
    """Return what a worker announces: arguments of arp.announce, and how."""
    bad = bad_values.Refusals()
    selectors = {key: _stripped(tree[key]) for key in ("ip", "dev")}
    for key, value in selectors.items():
        bad.of(_announced, {key: value})
    checked = {
        "arguments": {key: value for key, value in selectors.items() if value is not None},
        "notify": bad.of(parse.flag, "announce:notify", tree["notify"]),
        "wait": bad.of(parse.whole_number, "announce:wait", tree["wait"], 0, 3600, "seconds"),
    }
    bad.tell()
    return checked


def _announced(selectors: Tree) -> None:
    """Check selectors of an announcement."""
    _in("announce", table_selectors.parse_own, **selectors)
    _carried("announce:dev", selectors.get("dev"))


def _sentinel(value: Any, excluded: Any) -> Tree | None:
    """Return the sentinel's options, and as what it runs; None: no sentinel.

    excluded: ``clean:exclude``, which the sentinel leaves alone too.
    """
    if value is False:
        return None
    if value is not True and not isinstance(value, dict):
        names = ", ".join(SENTINEL)
        raise ValueError(
            f"sentinel: {parse.shown(value)} is neither true nor false nor a mapping of {names}"
        )
    given = _mapping("sentinel:", {} if value is True else value, SENTINEL)
    options = {key: _stripped(each) for key, each in given.items() if each is not None}
    run_as = options.pop("as", None)
    if run_as is not None:
        parse.one_of("sentinel:as", run_as, sentinel_unit.RUN_AS)
    try:
        sentinel_options.parse(options)
    except ValueError as bad:
        raise ValueError(f"sentinel:{bad}") from None
    if excluded is not None:
        lists = [excluded, options.get("exclude", [])]
        options["exclude"] = [
            word for each in lists for word in (each if isinstance(each, list) else [each])
        ]
    return {"as": run_as, "options": options}


def _carried(key: str, devices: Any) -> None:
    """Check the names of devices that become arguments of a command."""
    for device in [devices] if isinstance(devices, str) else devices or []:
        _shaped(key, device, _DEVICE, _CARRIED)


def _stripped(value: Any) -> Any:
    """Return strings without the white space that YAML's block style leaves around them."""
    if isinstance(value, list):
        return [item.strip() if isinstance(item, str) else item for item in value]
    return value.strip() if isinstance(value, str) else value


def _when(tree: Tree, given: Tree) -> formula_schedule.When:
    """Return which of every, special and the five fields applies; pillar overrides the defaults.

    ``hour: 3`` alone means three o'clock: nobody means every minute of that hour.
    """
    fields = [key for key in formula_schedule.FIELDS if key in given]
    kinds = [key for key in ("every", "special") if key in given] + fields[:1]
    if len(kinds) > 1:
        raise ValueError(f"schedule: {' and '.join(kinds)} exclude each other; give one of them")
    kind = kinds[0] if kinds else "every"
    if kind in formula_schedule.FIELDS:
        kind, value = (
            "fields",
            {
                key: given.get(key, "0" if key == "minute" else "*")
                for key in formula_schedule.FIELDS
            },
        )
    else:
        value = tree[kind]
    try:
        if kind == "fields":
            for key in formula_schedule.FIELDS:
                value[key] = formula_schedule.parse_field(key, value[key])
            return kind, tuple(value.values())
        key = kind
        if kind == "special":
            return kind, formula_schedule.parse_special(value)
    except ValueError as bad:
        raise ValueError(f"schedule:{key}: {bad}") from None
    return kind, parse.whole_number("schedule:every", value, 1, 1440, "minutes")


def _requirement(tree: Tree) -> Tree:
    """Return how pyroute2 is installed."""
    bad = bad_values.Refusals()
    shapes = {
        "version": (_VERSION, "a version such as '>=0.7.2,<0.10'"),
        "package": (_NAME, "a package's name"),
        "metrics_package": (_NAME, "a package's name"),
    }
    checked = {
        "install": bad.of(parse.one_of, "requirement:install", tree["install"], INSTALLS),
        "wheels": bad.of(_path, "requirement:wheels", tree["wheels"]),
        "uninstall": bad.of(parse.flag, "requirement:uninstall", tree["uninstall"]),
    }
    for key, shape in shapes.items():
        checked[key] = bad.of(_shaped, f"requirement:{key}", tree[key], *shape)
    bad.tell()
    return checked


def _sysctl(tree: Tree) -> dict[str, dict[str, int]]:
    """Return ``{key: {device or "default": value}}`` of the settings that are not null."""
    bad = bad_values.Refusals()
    wanted = {key: bad.of(_setting, key, value) for key, value in tree.items() if value is not None}
    bad.tell()
    low = -1
    for key in THRESHOLDS:
        if key in wanted:
            number = wanted[key]["default"]
            if number < low:
                raise ValueError(f"sysctl:{key}: {number} is below the threshold before it ({low})")
            low = number
    return wanted


def _setting(key: str, value: Any) -> dict[str, int]:
    """Return ``{device or "default": value}`` of one setting."""
    if not isinstance(value, dict):
        return {"default": parse.whole_number(f"sysctl:{key}", value, *_BOUNDS[key])}
    if key in THRESHOLDS:
        raise ValueError(
            f"sysctl:{key}: {parse.shown(value)} is not a whole number: devices have none"
        )
    if not value:
        raise ValueError(f"sysctl:{key}: names no device; give a number or leave it out")
    numbers = {}
    for device, number in value.items():
        _shaped(f"sysctl:{key}", device, _DEVICE, _CARRIED)
        numbers[device] = parse.whole_number(f"sysctl:{key}:{device}", number, *_BOUNDS[key])
    return numbers
