"""The formula's part for newcomers: they tell a plain network where their addresses are.

The kernel announces address changes by itself (``arp_notify``, ``ndisc_notify``), and one
``arp.announce`` follows each boot, for what the kernel does not announce: an address that is added
to an interface that is up already. Checked pillar and plain facts in, a plan out; what
``arp_hygiene.announce`` writes down. Standard library alone, no Salt.

A plan is a dict: ``cron`` and ``service`` (lines of a file, or none), ``settings`` (``name``,
``value``), ``sysctl`` (lines of a file that keeps them), ``skipped`` (a line each), ``former``
(parts that have left a file and are not wanted any more), ``idle`` (there is nothing to do).
"""

from __future__ import annotations

import os
import shlex
from typing import Any

from . import job_files

FUNCTION = "arp.announce"
PATHS = {
    "cron": "/etc/cron.d/arp_hygiene_announce",
    "service": "/etc/systemd/system/arp-hygiene-announce.service",
    "sysctl": "/etc/sysctl.d/61-arp-hygiene-announce.conf",
}
#: ``all`` holds for every device, those to come included (include/linux/inetdevice.h,
#: IN_DEV_ARP_NOTIFY; net/ipv6/addrconf.c, addrconf_dad_completed).
SETTINGS = ("net.ipv4.conf.all.arp_notify", "net.ipv6.conf.all.ndisc_notify")
CRON_LIMIT = 998  # what cron keeps of a command, less the end; it cuts the rest off in silence
# The first line is the reason; the usage of the function, which Salt adds to it, is not wanted.
_TELL = (
    '{ out=$(printf %s "$out" | grep -a -m 1 .); printf "%s\\n" "$out"; '
    'logger -t arp_hygiene -p daemon.err -- "$out" 2>/dev/null; }'
)

Plan = dict[str, Any]


def there() -> list[str]:
    """Return which parts have left a file on this machine."""
    return [part for part, path in PATHS.items() if os.path.lexists(path)]


def nothing() -> Plan:
    """Return the plan to do nothing."""
    names = "cron", "service", "settings", "sysctl", "skipped", "former"
    return {"idle": True, **{name: [] for name in names}}


def plan(
    announce: Plan, backend: str, command: list[str], here: dict[str, str], found: list[str]
) -> Plan:
    """Return what to do. command: one announcement. here: setting to why it cannot be written."""
    told = nothing()
    if backend == "cron":
        told["cron"] = _cron_lines(command, announce["wait"])
    elif backend == "systemd":
        told["service"] = _service_lines(command)
    elif backend == "salt":
        told["skipped"].append(
            "skipped: announcement after boot: Salt's scheduler does not support @reboot; "
            "use schedule:backend cron or systemd"
        )
    names = SETTINGS if announce["notify"] else ()
    told["settings"] = [{"name": name, "value": 1} for name in names if here.get(name) == ""]
    told["skipped"] += [f"skipped: {name}: {here[name]}" for name in names if here.get(name)]
    lines = [f"{each['name']} = {each['value']}" for each in told["settings"]]
    told["sysctl"] = [job_files.HEAD, *lines] if lines else []
    told["former"] = [part for part in found if not told[part]]
    told["idle"] = not any(each for name, each in told.items() if name != "idle")
    return told


def _cron_lines(command: list[str], wait_s: int) -> list[str]:
    """Return the lines of a file for /etc/cron.d.

    A success says nothing, a failure goes to syslog and to cron's mail: there may be one of them.
    """
    run = f"out=$({shlex.join(command)} 2>&1) || {_TELL}"
    line = f"sleep {wait_s}; {run}".replace("%", r"\%")  # cron makes a new line of a bare one
    if len(line) > CRON_LIMIT:
        raise ValueError(
            f"announce: the command takes {len(line)} characters, cron's limit is {CRON_LIMIT}: "
            "name networks instead of addresses, or use schedule:backend systemd"
        )
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return [job_files.HEAD, "SHELL=/bin/sh", path, f"@reboot root {line}"]


def _service_lines(command: list[str]) -> list[str]:
    """Return the lines of a systemd service that runs once, when the network is there."""
    return [
        job_files.HEAD,
        "[Unit]",
        "Description=Announce this machine's own addresses to its neighbours",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=oneshot",
        "SyslogIdentifier=arp_hygiene",
        "ExecStart=" + " ".join(map(job_files.unit_word, command)),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
