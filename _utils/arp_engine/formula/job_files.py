"""The scheduled run as text: a script, a cron file, a systemd service and timer.

Everything that came from pillar has been checked before it gets here; it is quoted all the same,
by the rules of its reader (shell, cron, systemd). Standard library alone, no Salt.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

FUNCTION = "arp_hygiene.run"
BUSY = 75  # EX_TEMPFAIL: the previous run is still in progress, so this one is skipped
HEAD = "# Written by the Salt formula arp_hygiene; applying arp_hygiene.remove takes it away."

#: That a run is the schedule's own: status judges by such runs whether it is overdue. The script
#: says so in its environment, which a module of an older version ignores; a job of Salt's scheduler
#: has no environment of its own, and says so by an argument.
MARK = "ARP_HYGIENE_SCHEDULED"
MARK_OF_SALT = {"scheduled": True}

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_DUE = re.compile(r"^# due: (?P<when>.+), (?P<wait_s>\d+) s later$", re.MULTILINE)

_SCRIPT = r"""#!/bin/sh
{head}
#
# One scheduled run. Its result goes to syslog or the journal (tag arp_hygiene), if there is any.
# A failure is one line, the reason first: in the same place, and in cron's mail.
# With test=True it tests that it can run, and changes nothing.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH PYTHONWARNINGS=ignore {mark}=1

tell() {{  # $1: the line; $2: the exit code
    [ "$logged$test" ] || logger -t arp_hygiene -p daemon.err -- "$1" 2>/dev/null
    [ "$JOURNAL_STREAM" ] || printf '%s\n' "$1"
    exit "$2"
}}

last() {{  # run a command; print the last line of its output, and its exit code
    {{ "$@" 2>&1; printf '\nexit %s\n' $?; }} | grep -a . | tail -n 2 | cut -b -600
}}

run() {{  # never two at a time: this file is the lock; a test run changes nothing and takes none
    if [ "$test" ]; then last {command} "$@"; else last flock -n -E {busy} "$0" {command}; fi
}}

test=$* logged=
trap 'tell "stopped by a signal before it finished" 143' HUP INT TERM
command -v flock >/dev/null || tell "flock not found: install util-linux" 127
[ -x {salt_call} ] || tell "{shown} not found: apply arp_hygiene again" 127

told=$(run "$@")
case $told in
*"'{function}' is not available"*)  # saltutil.clear_cache has deleted the modules: sync them again
    why=$(last timeout -k 5 60 {sync})
    told=$(run "$@") ;;
esac
code=${{told##*exit }}
line=$(printf %s "${{told%exit *}}")
case "$code $line" in
"0 {{"*) exit 0 ;;
*' {{"local": {{"success": false, "said": "'*)  # the run itself has written to syslog
    logged=yes line=${{line#*'"said": "'}}
    tell "${{line%%'"'*}}" "$code" ;;
0*|130*|137*|143*) tell "no result: stopped by a signal before it finished" 143 ;;
{busy}*) tell "skipped: the previous run is still in progress" {busy} ;;
*"'{function}' is not available"*)
    case $why in
    *"exit 0") why="the master has no _modules/arp_hygiene_run.py: check its file_roots" ;;
    *"exit 124"|*"exit 137") why="no answer from the master within 60 s" ;;
    *) why=$(printf %s "$why" | head -n 1) ;;
    esac
    tell "modules not found, and syncing them failed ($why): \
then run salt '<id>' saltutil.sync_all" "$code" ;;
*) tell "${{line:-exited with code $code and no output}}" "$code" ;;
esac
"""


def command(
    salt_call: str, config_dir: str | None, arguments: dict[str, Any], function: str = FUNCTION
) -> list[str]:
    """Return the command of one run as a list of words, its arguments literal.

    ``--local``: needs no master, so it runs during an outage too. Then there is no master pillar
    either, hence the literal arguments. Values are JSON: salt-call parses them as YAML, which would
    turn an address such as 1:2:3:4:5:6:7:8 into a number. ``--skip-grains``: saves a dozen
    subprocesses for each run, and waits for no name server that an outage has silenced. No log
    file: a full or read-only disk must not stop a run, and a failure is logged once.
    """
    options = ["--local", "--skip-grains", "--retcode-passthrough", "--out=json", "--out-indent=-1"]
    return [*_salt_call(salt_call, config_dir), *options, function] + [
        f"{key}={json.dumps(value)}" for key, value in arguments.items()
    ]


def selection(arguments: dict[str, Any]) -> str:
    """Return the selectors among the arguments of a run, as :func:`command` has them, for a shell.

    Empty where there are none, and where an entry may rightly never be selected: one in a named
    state, of a MAC or of a family.
    """
    if any(arguments.get(key) is not None for key in ("state", "mac", "family")):
        return ""
    named = {key: arguments.get(key) for key in ("ip", "dev", "exclude")}
    return shlex.join(f"{key}={json.dumps(v)}" for key, v in named.items() if v is not None)


def is_marked(text: str) -> bool:
    """Tell whether a script of :func:`script` says that its runs are the schedule's (MARK)."""
    return f" {MARK}=1" in text


def _salt_call(path: str, config_dir: str | None) -> list[str]:
    quiet = ["--log-level=quiet", "--log-file=/dev/null"]
    return [path, *([f"--config-dir={config_dir}"] if config_dir else []), *quiet]


def script(salt_call: str, config_dir: str | None, arguments: dict[str, Any]) -> str:
    """Return the text of the script that cron and systemd run."""
    return _SCRIPT.format(
        head=HEAD,
        mark=MARK,
        function=FUNCTION,
        busy=BUSY,
        command=shlex.join(command(salt_call, config_dir, arguments)),
        # from the master, or from its own disk on a minion without one
        sync=shlex.join([*_salt_call(salt_call, config_dir), "saltutil.sync_all"]),
        salt_call=shlex.quote(salt_call),
        shown=re.sub(r"[^A-Za-z0-9_./-]", "?", salt_call),
    )


def proof(text: str, path: str, user: str, gid: int, capable: bool) -> list[str]:
    """Return the command that runs the script once in test mode, as the job's user would.

    ``text`` of the script: it is not installed before this has succeeded, so that a former job
    stays in force. ``path``: where it will be.

    ``capable``: with the capabilities that the systemd unit gives to a user who is not root.
    """
    run = ["env", "-i", "HOME=/", "/bin/sh", "-c", text, path, "test=True"]
    if user == "root":
        return run
    both = "+net_admin,+net_raw"
    power = [f"--inh-caps={both}", f"--ambient-caps={both}"] if capable else []
    return ["setpriv", f"--reuid={user}", f"--regid={gid}", "--init-groups", *power, *run]


def due_line(when: str, wait_s: int) -> str:
    """Return the comment of an installed file that says when a run is due."""
    return f"# due: {when}, {wait_s} s later"


def due(text: str) -> tuple[str, int] | None:
    """Return the contents of a file's :func:`due_line`: cron's fields, and the delay in seconds."""
    match = _DUE.search(text)
    return (match["when"], int(match["wait_s"])) if match else None


def cron_lines(when: str, user: str, path: str, wait_s: int) -> list[str]:
    """Return the lines of a file for /etc/cron.d."""
    wait = f"sleep {wait_s}; " if wait_s else ""
    run = shlex.join(["/bin/sh", path]).replace(
        "%", r"\%"
    )  # cron turns an unescaped % into a newline
    return [HEAD, due_line(when, wait_s), "SHELL=/bin/sh", f"{when} {user} {wait}{run}"]


def unit_word(word: str) -> str:
    """Quote one word of a systemd command: % and $ mean something there, even inside quotes."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$").replace("%", "%%")
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


def service_lines(verb: str, user: str, path: str, wait_s: int) -> list[str]:
    """Return the lines of the systemd service that runs once and ends.

    systemd never starts a service that is still running. That it failed stands in
    ``systemctl --failed``, what it said in the journal.
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
        lines.append("AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW")
    if wait_s:
        lines.append(f"ExecStartPre=/bin/sleep {wait_s}")
    return [*lines, f"ExecStart=/bin/sh {unit_word(path)}"]


def timer_lines(verb: str, when: str, times: list[str], wait_s: int) -> list[str]:
    """Return the lines of the systemd timer; no times: once after each boot.

    Without AccuracySec systemd moves the moment by up to a minute, and undoes the splay.
    """
    return [
        HEAD,
        due_line(when, wait_s),
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
