"""The scheduled run as text: a command line, a cron file, a systemd service and timer.

Everything that came from pillar has been checked before it gets here; it is quoted all the same,
by the rules of the one who will read it (shell, cron, systemd). Standard library alone, no Salt.
"""

import json
import re
import shlex

BUSY = 75  # EX_TEMPFAIL: the former run has not finished, so this one is left out
CRON_LIMIT = 998  # what cron keeps of a command, less the end; it cuts the rest off in silence

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
HEAD = "# Written by the Salt formula arp_hygiene; applying arp_hygiene.remove takes it away."


def words(salt_call, config_dir, function, arguments):
    """Return the command of one run, word by word, its arguments literal.

    ``--local``: no master is asked, so it runs during an outage too; but then there is no master
    pillar either, hence literal arguments. Values are JSON, so that YAML, by which salt-call
    reads them, cannot make a number of an address such as 1:2:3:4:5:6:7:8. ``--skip-grains``: no
    dozen of subprocesses each time, and no name server that does not answer during an outage.
    """
    options = ["--local", "--skip-grains", "--retcode-passthrough", "--out=json", "--out-indent=-1"]
    if config_dir:
        options.append(f"--config-dir={config_dir}")
    return [salt_call, *options, function] + [
        f"{key}={json.dumps(value)}" for key, value in arguments.items()
    ]


def cron_lines(when, user, command, lock, wait_s):
    """Return the lines of a file for /etc/cron.d.

    A success says nothing. A failure is printed, which cron mails, and goes to syslog: many hosts
    have no mail, some have no syslog. The lock keeps a slow run from being overtaken by the next.
    """
    run = shlex.join(["flock", "-n", "-E", str(BUSY), lock, *command])
    wait = f"sleep {wait_s}; " if wait_s else ""
    failed = (
        '{ out="exit $?: $out"; printf "%s\\n" "$out"; logger -t arp_hygiene -p cron.err "$out"; }'
    )
    line = f"{wait}out=$({run} 2>&1) || {failed}"
    line = line.replace("%", r"\%")  # cron makes a new line of a bare one
    if len(line) > CRON_LIMIT:
        raise ValueError(
            f"clean: the command takes {len(line)} characters, cron keeps {CRON_LIMIT}: "
            "name networks instead of addresses, or take backend 'systemd' or 'salt'"
        )
    return [
        HEAD,
        "# Success is silent. A failure goes to syslog (tag arp_hygiene) and to cron's mail;",
        f"# exit {BUSY} is a run left out because the former one had not finished.",
        "SHELL=/bin/sh",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        f"{when} {user} {line}",
    ]


def _unit_word(word):
    """Quote one word of a systemd command: % and $ mean something there, even inside quotes."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%")
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def service_lines(verb, user, command, wait_s):
    """Return the lines of the systemd service that runs once and ends.

    systemd never starts a service that is still running: no lock. What it says, and that it
    failed, stands in the journal and in ``systemctl --failed``.
    """
    lines = [
        HEAD,
        "[Unit]",
        f"Description={verb.capitalize()} the neighbour (ARP) table",
        "",
        "[Service]",
        "Type=oneshot",
        f"User={user}",
        "SyslogIdentifier=arp_hygiene",
    ]
    if user != "root":
        lines.append("AmbientCapabilities=CAP_NET_ADMIN")
    if wait_s:
        lines.append(f"ExecStartPre=/bin/sleep {wait_s}")
    return [*lines, "ExecStart=" + " ".join(_unit_word(word) for word in command)]


def timer_lines(verb, times):
    """Return the lines of the systemd timer; no times: once after each boot.

    Without AccuracySec systemd moves the moment by up to a minute, and undoes the splay.
    """
    return [
        HEAD,
        "[Unit]",
        f"Description=When to {verb} the neighbour (ARP) table",
        "",
        "[Timer]",
        *[f"OnCalendar={time}" for time in times],
        *([] if times else ["OnBootSec=0"]),
        "AccuracySec=1s",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
