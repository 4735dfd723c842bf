"""How a sentinel is started: the text of a systemd service, or of a minion's configuration.

By the rules of the one who will read it; and the formula's plan for it. Standard library alone, no
Salt.

A plan is a dict: ``way`` (``service``, ``engine``, or empty: there shall be none), ``lines`` of its
file, ``former`` (ways that have left a file and are not wanted any more), ``restart`` (a command
that restarts the minion, empty where somebody must do so by hand).

Each file names the code it runs: a new sync is a new file, and that a restart. A service runs one
file of its own, all of the engine as it was when the formula was applied last: what Salt has synced
may be gone any time (``saltutil.clear_cache``). A minion's ``engines`` is one list: where somebody
else has one, an engine is refused.
"""

import hashlib
import io
import json
import os
import pathlib
import shlex
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import job_files

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # the engine, all rooms
BUNDLE = "arp_hygiene_sentinel.pyz"  # in the minion's directory: the code a service runs
SERVICE = "/etc/systemd/system/arp-hygiene-sentinel.service"
ENGINE = "arp_hygiene_sentinel.conf"  # in the minion's minion.d
WAYS = ("service", "engine")

_HEAD = "# Managed by Salt (arp_hygiene): changes are overwritten."
# To open what it needs; it gives up the last one by itself, which takes CAP_SETPCAP.
_RIGHTS = "CAP_NET_RAW CAP_NET_ADMIN CAP_SETPCAP"


class Here(NamedTuple):
    """What is true of this minion."""

    booted: bool  # systemd is process 1
    by_ssh: bool
    python: str  # that runs the minion
    code: str  # see code()
    bundle: str  # where the code is that a service runs
    found: list[str]  # ways that have left a file
    engines: list[str]  # of other people, in the minion's configuration
    restart: list[str]  # words of a command that restarts the minion's service; none: it has none


def found(paths: Mapping[str, str]) -> list[str]:
    """Return in which ways a sentinel is installed here; paths: see formula/plan.py."""
    return [way for way in WAYS if os.path.lexists(paths[f"sentinel_{way}"])]


def nothing() -> dict[str, Any]:
    """Return the plan to have none."""
    return {"way": "", "lines": [], "former": [], "restart": ""}


def plan(wanted: Mapping[str, Any] | None, here: Here) -> dict[str, Any]:
    """Return what to do. wanted: ``as`` and ``options``, checked; None: no sentinel.

    ValueError where this minion cannot have it that way.
    """
    told = {**nothing(), "restart": shlex.join(here.restart)}
    if wanted is None:
        return told
    way = wanted["as"] or ("service" if here.booted else "engine")
    if here.by_ssh:
        raise ValueError("sentinel: not supported over salt-ssh: requires an installed salt-minion")
    if way == "service" and not here.booted:
        raise ValueError("sentinel:as: 'service': systemd is not running here; use engine")
    if way == "engine" and here.engines:
        raise ValueError(
            f"sentinel:as: 'engine': the minion's `engines` is one list, and {here.engines[0]} "
            "is in it already; "
            + ("set `as: service`" if here.booted else "add `arp_sentinel` to that list by hand")
        )
    options = wanted["options"]
    if way == "service":
        lines = service_lines(here.python, options, here.bundle)
    else:
        lines = engine_lines(options)
    # another sync is another file, and another file a restart
    lines = [lines[0], f"# It runs the code {here.code}.", *lines[1:]]
    return {**told, "way": way, "lines": lines, "former": [w for w in here.found if w != way]}


def bundle(package: str = PACKAGE) -> bytes:
    """Return the engine as one file that Python runs: what Salt has synced may be gone tomorrow."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path in sorted(pathlib.Path(package).glob("**/*.py")):
            name = os.path.join("arp_engine", path.relative_to(package))
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
        main = "from arp_engine.sentinel.loop import main\n\nmain()\n"
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)
    return data.getvalue()


def code(data: bytes) -> str:
    """Return a short word for a bundle: other code, another word."""
    return hashlib.sha256(data).hexdigest()[:16]


def service_lines(python: str, options: Mapping[str, Any], script: str) -> list[str]:
    """Return the lines of a systemd service that lives beside the minion, not below it.

    python: the minion's own, which has pyroute2. options: see sentinel/options.py. script: a
    bundle.
    """
    words = [python, script, json.dumps(dict(options), sort_keys=True)]
    return [
        _HEAD,
        "[Unit]",
        "Description=Hear of wrong neighbour (ARP) entries before anybody waits for them",
        "After=network.target",
        "",
        "[Service]",
        "ExecStart=" + " ".join(map(job_files.unit_word, words)),
        "SyslogIdentifier=arp_hygiene",
        "Restart=always",  # whoever ended it; systemctl stop is final all the same
        "RestartSec=10",
        "RuntimeDirectory=arp_hygiene",
        "RuntimeDirectoryPreserve=yes",
        f"CapabilityBoundingSet={_RIGHTS}",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "RestrictAddressFamilies=AF_PACKET AF_NETLINK AF_INET AF_INET6 AF_UNIX",
        "MemoryMax=256M",
        "Nice=-5",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]


def engine_lines(options: Mapping[str, Any]) -> list[str]:
    """Return the lines of a minion's configuration that starts the engine; JSON is YAML too.

    A minion's ``engines`` is one list: the file that is read last has it alone.
    """
    return [_HEAD, "engines:", f"  - arp_sentinel: {json.dumps(dict(options), sort_keys=True)}"]
