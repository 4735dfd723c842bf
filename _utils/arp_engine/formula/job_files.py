"""The scheduled run as text: a script, a cron file, a systemd service and timer.

Everything that came from pillar has been checked before it gets here; it is quoted all the same,
by the rules of the one who will read it (shell, cron, systemd). Standard library alone, no Salt.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

FUNCTION = "arp_hygiene.run"
BUSY = 75  # EX_TEMPFAIL: the former run has not finished, so this one is left out
PROOF_S = 240  # who proves waits for it: cron may begin first; the state's own limit is 300 s
HEAD = "# Written by the Salt formula arp_hygiene; applying arp_hygiene.remove takes it away."

_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_DUE = re.compile(r"^# due: (?P<when>.+), (?P<wait_s>\d+) s later$", re.MULTILINE)

_SCRIPT = r"""#!/bin/sh
{head}
#
# One run. What it found goes to syslog or the journal (tag arp_hygiene); nothing found, nothing
# said. A failure is one line, the reason first: to the same place, and to cron's mail.
# With test=True it proves that it could run, and changes nothing.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH PYTHONWARNINGS=ignore

tell() {{  # $1: the line; $2: the exit code
    [ "$logged$test" ] || logger -t arp_hygiene -p daemon.err -- "$1" 2>/dev/null
    [ "$JOURNAL_STREAM" ] || printf '%s\n' "$1"
    exit "$2"
}}

last() {{  # run a command; print the last line it says, and its exit code
    {{ "$@" 2>&1; printf '\nexit %s\n' $?; }} | grep -a . | tail -n 2 | cut -b -600
}}

run() {{  # never two at a time: the lock is this file; who proves waits for it
    last flock $lock -E {busy} "$0" {command} "$@"
}}

test=$* logged= lock=-n
[ -z "$test" ] || lock="-w {proof_s}"
trap 'tell "stopped by a signal before it finished" 143' HUP INT TERM
[ -x {salt_call} ] || tell "{shown} not found: apply arp_hygiene again" 127

told=$(run "$@")
case $told in
*"'{function}' is not available"*)  # saltutil.clear_cache takes the modules away: get them again
    why=$(last timeout -k 5 60 {sync})
    told=$(run "$@") ;;
esac
code=${{told##*exit }}
line=$(printf %s "${{told%exit *}}")
case "$code $line" in
"0 {{"*) exit 0 ;;
*' {{"local": {{"success": false, "said": "'*)  # the run itself has told syslog
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


def words(
    salt_call: str, config_dir: str | None, arguments: dict[str, Any], function: str = FUNCTION
) -> list[str]:
    """Return the command of one run, word by word, its arguments literal.

    ``--local``: no master is asked, so it runs during an outage too; but then there is no master
    pillar either, hence literal arguments. Values are JSON, so that YAML, by which salt-call
    reads them, cannot make a number of an address such as 1:2:3:4:5:6:7:8. ``--skip-grains``: no
    dozen of subprocesses each time, and no name server that does not answer during an outage. No
    log file: a full or read-only disk must not stop it, and a failure is told once.
    """
    options = ["--local", "--skip-grains", "--retcode-passthrough", "--out=json", "--out-indent=-1"]
    return [*_salt_call(salt_call, config_dir), *options, function] + [
        f"{key}={json.dumps(value)}" for key, value in arguments.items()
    ]


def _salt_call(path: str, config_dir: str | None) -> list[str]:
    quiet = ["--log-level=quiet", "--log-file=/dev/null"]
    return [path, *([f"--config-dir={config_dir}"] if config_dir else []), *quiet]


def script(salt_call: str, config_dir: str | None, arguments: dict[str, Any]) -> str:
    """Return the text of the script that cron and systemd run."""
    return _SCRIPT.format(
        head=HEAD,
        function=FUNCTION,
        busy=BUSY,
        proof_s=PROOF_S,
        command=shlex.join(words(salt_call, config_dir, arguments)),
        # asks the master, or, on a minion that has none, its own disk
        sync=shlex.join([*_salt_call(salt_call, config_dir), "saltutil.sync_all"]),
        salt_call=shlex.quote(salt_call),
        shown=re.sub(r"[^A-Za-z0-9_./-]", "?", salt_call),
    )


def proof(path: str, user: str, gid: int, capable: bool) -> list[str]:
    """Return the command that runs the script once in test mode, as the job's user would.

    ``capable``: with the capabilities that the systemd unit gives to a user who is not root.
    """
    run = ["env", "-i", "HOME=/", "/bin/sh", path, "test=True"]
    if user == "root":
        return run
    both = "+net_admin,+net_raw"
    power = [f"--inh-caps={both}", f"--ambient-caps={both}"] if capable else []
    return ["setpriv", f"--reuid={user}", f"--regid={gid}", "--init-groups", *power, *run]


def due_line(when: str, wait_s: int) -> str:
    """Return the comment that says in an installed file when a run is due."""
    return f"# due: {when}, {wait_s} s later"


def due(text: str) -> tuple[str, int] | None:
    """Return what :func:`due_line` said in a file: cron's words, and the seconds after that."""
    match = _DUE.search(text)
    return (match["when"], int(match["wait_s"])) if match else None


def cron_lines(when: str, user: str, path: str, wait_s: int) -> list[str]:
    """Return the lines of a file for /etc/cron.d."""
    wait = f"sleep {wait_s}; " if wait_s else ""
    run = shlex.join(["/bin/sh", path]).replace("%", r"\%")  # cron makes a new line of a bare one
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
