"""How the sentinel is started: the text of a systemd service, or of a minion's configuration.

Quoted by the rules of its reader; and the formula's plan for it. Standard library alone, no Salt.

A plan is a dict: ``run_as`` (``service``, ``engine``, or empty: no sentinel), ``user`` (to make for
the service; empty: root), ``lines`` of its file, ``former`` (installed kinds that are no longer
wanted), ``restart`` (a command that restarts the minion; empty where the operator must restart it).

Each file names the code it runs: another code changes the file, and that restarts the sentinel. A
service runs one file that holds the engine as of the last time the formula was applied, because
``saltutil.clear_cache`` deletes what Salt has synced. A minion's option ``engines`` is one list:
where it already has an entry, an engine is refused.
"""

import io
import json
import os
import shlex
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import version
from . import job_files

BUNDLE = "arp_hygiene_sentinel.pyz"  # in the minion's directory: the code a service runs
SERVICE = "/etc/systemd/system/arp-hygiene-sentinel.service"
ENGINE = "arp_hygiene_sentinel.conf"  # in the minion's minion.d
RUN_AS = ("service", "engine")

_RUNS = "# It runs the code "
_HEAD = "# Managed by Salt (arp_hygiene): changes are overwritten."
_RIGHTS = "CAP_NET_RAW CAP_NET_ADMIN"
USER = "arp-hygiene"  # of the service, where that user can read the code
#: What the service may do; docs/operating.md says why, line by line.
HARDENING = (
    f"CapabilityBoundingSet={_RIGHTS}",
    "NoNewPrivileges=yes",
    "RestrictAddressFamilies=AF_PACKET AF_NETLINK AF_INET AF_INET6 AF_UNIX",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "SystemCallArchitectures=native",
    "MemoryDenyWriteExecute=yes",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "ProtectProc=invisible",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "PrivateMounts=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "UMask=0077",
)


class MinionFacts(NamedTuple):
    """Facts about this minion."""

    booted: bool  # systemd is process 1
    by_ssh: bool
    python: str  # that runs the minion
    code: str  # see version.py
    bundle: str  # path of the code that a service runs
    code_is_public: bool  # any user can read that code, Python and its libraries
    installed: list[str]  # kinds of sentinel, see RUN_AS
    engines: list[str]  # other entries of the minion's option
    restart: list[str]  # command that restarts the minion's service; empty: it has none


def installed(paths: Mapping[str, str]) -> list[str]:
    """Return the kinds of sentinel installed here; paths: see formula/plan.py."""
    return [run_as for run_as in RUN_AS if os.path.lexists(paths[f"sentinel_{run_as}"])]


def empty() -> dict[str, Any]:
    """Return the plan without a sentinel."""
    return {"run_as": "", "user": "", "lines": [], "former": [], "restart": ""}


def plan(wanted: Mapping[str, Any] | None, minion: MinionFacts) -> dict[str, Any]:
    """Return what to do. wanted: ``as`` and ``options``, checked; None: no sentinel.

    ValueError where this minion cannot run it so.
    """
    result = {**empty(), "restart": shlex.join(minion.restart)}
    if wanted is None:
        return result
    run_as = wanted["as"] or ("service" if minion.booted else "engine")
    if minion.by_ssh:
        raise ValueError("sentinel: not supported over salt-ssh: requires an installed salt-minion")
    if run_as == "service" and not minion.booted:
        raise ValueError("sentinel:as: 'service': systemd is not running here; use engine")
    if run_as == "engine" and minion.engines:
        raise ValueError(
            f"sentinel:as: 'engine': the minion's `engines` is one list, and {minion.engines[0]} "
            "is in it already; "
            + ("set `as: service`" if minion.booted else "add `arp_sentinel` to that list by hand")
        )
    options = wanted["options"]
    if run_as == "service":
        lines = service_lines(minion.python, options, minion.bundle, minion.code_is_public)
    else:
        lines = engine_lines(options)
    # so that other code changes the file, and a changed file restarts the sentinel
    lines = [lines[0], f"{_RUNS}{minion.code}.", *lines[1:]]
    return {
        **result,
        "run_as": run_as,
        "user": USER if run_as == "service" and minion.code_is_public else "",
        "lines": lines,
        "former": [w for w in minion.installed if w != run_as],
    }


def bundle() -> bytes:
    """Return the engine as one file that Python can run without what Salt has synced."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in version.files().items():
            archive.writestr(zipfile.ZipInfo(name), text)
        main = "from arp_engine.sentinel.process import main\n\nmain()\n"
        archive.writestr(zipfile.ZipInfo("__main__.py"), main)
    return data.getvalue()


def named_code(text: str) -> str:
    """Return the code that an installed file names; empty where it names none."""
    lines = [line for line in text.splitlines() if line.startswith(_RUNS)]
    return lines[0].removeprefix(_RUNS).rstrip(".") if lines else ""


def service_lines(
    python: str, options: Mapping[str, Any], script: str, code_is_public: bool = True
) -> list[str]:
    """Return the lines of a systemd service, independent of the minion's own.

    python: the minion's own, which has pyroute2. options: see sentinel/options.py. script: a
    bundle. code_is_public: as in MinionFacts; else it runs as root, with the same two capabilities.
    """
    words = [python, script, json.dumps(dict(options), sort_keys=True)]
    return [
        _HEAD,
        "[Unit]",
        "Description=Heal wrong neighbour (ARP) entries when traffic shows them",
        "After=network.target",
        "",
        "[Service]",
        "ExecStart=" + " ".join(map(job_files.unit_word, words)),
        "SyslogIdentifier=arp_hygiene",
        "Restart=always",  # however it ended; systemctl stop still stops it
        "RestartSec=10",
        "RuntimeDirectory=arp_hygiene",
        "RuntimeDirectoryPreserve=yes",
        *([f"User={USER}", f"AmbientCapabilities={_RIGHTS}"] if code_is_public else []),
        *HARDENING,
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
