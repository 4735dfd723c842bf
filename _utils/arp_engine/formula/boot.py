"""The formula's part for workers: a new machine announces its addresses on a plain network.

The kernel announces address changes by itself (``arp_notify``, ``ndisc_notify``), and one
``arp.announce`` runs after each boot, for what the kernel does not announce: an address that is
added to an interface that is already up. Checked pillar and plain facts in, a plan out, which
``arp_hygiene.announce`` applies. Standard library alone, no Salt.

A plan is a dict: ``cron`` and ``service`` (lines of a file, or none), ``settings`` (``name``,
``value``), ``sysctl`` (lines of the file that keeps them); a line each: ``skipped``, ``dropped``
(settings that pillar no longer wants) and ``left`` (all that a removal leaves in force); ``former``
(installed parts that are no longer wanted), ``idle`` (True: there is nothing to do), ``refused``
(one line: another minion of this host has this part; or empty).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from . import job_files, kernel_settings
from .live_settings import Kept

FUNCTION = "arp.announce"
PATHS = {
    "cron": "/etc/cron.d/arp_hygiene_announce",
    "service": "/etc/systemd/system/arp-hygiene-announce.service",
    "sysctl": "/etc/sysctl.d/61-arp-hygiene-announce.conf",
}
#: ``all`` holds for every device, those to come included (include/linux/inetdevice.h,
#: IN_DEV_ARP_NOTIFY; net/ipv6/addrconf.c, addrconf_dad_completed).
SETTINGS = ("net.ipv4.conf.all.arp_notify", "net.ipv6.conf.all.ndisc_notify")
CRON_LIMIT = 998  # the length of a command that cron keeps; it cuts off the rest without a message
# Only the first line, the reason: Salt appends the function's usage.
_TELL = (
    '{ out=$(printf %s "$out" | grep -a -m 1 .); printf "%s\\n" "$out"; '
    'logger -t arp_hygiene -p daemon.err -- "$out" 2>/dev/null; }'
)

Plan = dict[str, Any]


def installed(paths: Mapping[str, str]) -> list[str]:
    """Return the parts whose file is on this machine; paths: see formula/plan.py."""
    return [part for part in PATHS if os.path.lexists(paths[f"announce_{part}"])]


def empty(kept: dict[str, Kept]) -> Plan:
    """Return a plan that does nothing. kept: the settings in our present file of them, by name."""
    names = "cron", "service", "settings", "sysctl", "skipped", "dropped", "former"
    left = kernel_settings.still_in_force(kept, [])
    return {"idle": True, "refused": "", "left": left, **{name: [] for name in names}}


def plan(
    announce: Plan,
    backend: str,
    command: list[str],
    why_unwritable: dict[str, str],
    installed_parts: list[str],
    missing_devices: list[str],
    kept: dict[str, Kept],
) -> Plan:
    """Return what to do. command: one announcement. why_unwritable: setting to reason."""
    result = empty(kept)
    if backend == "cron":
        result["cron"] = _cron_lines(command, announce["wait"])
    elif backend == "systemd":
        result["service"] = _service_lines(command)
    elif backend == "salt":
        result["skipped"].append(
            "skipped: announcement after boot: Salt's scheduler does not support @reboot; "
            "use schedule:backend cron or systemd"
        )
    if backend in ("cron", "systemd"):
        result["skipped"] += [
            f"announce:dev: no device {name!r} here: announcements fail until there is one"
            for name in missing_devices
        ]
    names = SETTINGS if announce["notify"] else ()
    result["settings"] = [
        {"name": name, "value": 1} for name in names if why_unwritable.get(name) == ""
    ]
    result["skipped"] += [
        f"skipped: {name}: {why_unwritable[name]}" for name in names if why_unwritable.get(name)
    ]
    lines = [f"{each['name']} = {each['value']}" for each in result["settings"]]
    result["sysctl"] = [job_files.HEAD, *lines] if lines else []
    result["dropped"] = kernel_settings.still_in_force(kept, result["settings"])
    result["former"] = [part for part in installed_parts if not result[part]]
    result["idle"] = not any(each for name, each in result.items() if name not in ("idle", "left"))
    return result


def _cron_lines(command: list[str], wait_s: int) -> list[str]:
    """Return the lines of a file for /etc/cron.d.

    A success prints nothing; a failure goes to syslog and to cron's mail: either may be absent.
    """
    run = f"out=$({shlex.join(command)} 2>&1) || {_TELL}"
    line = f"sleep {wait_s}; {run}".replace("%", r"\%")  # cron ends a line at a bare %
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
