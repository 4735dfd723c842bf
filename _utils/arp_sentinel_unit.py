"""How a sentinel is started: the text of a systemd service, or of a minion's configuration.

By the rules of the one who will read it. Standard library alone, no Salt.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "arp_sentinel_loop.py")
SERVICE = "/etc/systemd/system/arp-hygiene-sentinel.service"
ENGINE = "arp_hygiene_sentinel.conf"  # in the minion's minion.d

_HEAD = "# Managed by Salt (arp_hygiene): changes are overwritten."
# To open what it needs; it gives up all but CAP_NET_RAW by itself, which takes CAP_SETPCAP.
_RIGHTS = "CAP_NET_RAW CAP_NET_ADMIN CAP_SETPCAP"


def service_lines(python: str, options: Mapping[str, Any], script: str = SCRIPT) -> list[str]:
    """Return the lines of a systemd service that lives beside the minion, not below it.

    python: the minion's own, which has pyroute2. options: see arp_options.
    """
    words = [python, script, json.dumps(dict(options), sort_keys=True)]
    return [
        _HEAD,
        "[Unit]",
        "Description=Hear of wrong neighbour (ARP) entries before anybody waits for them",
        "After=network.target",
        "",
        "[Service]",
        "ExecStart=" + " ".join(map(_word, words)),
        "SyslogIdentifier=arp_hygiene",
        "Restart=on-failure",
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


def _word(word: str) -> str:
    """Quote one word of a systemd command: % and $ mean something there, even inside quotes."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%")
    return f'"{text}"'
