"""What an operator types on the database, as commands: ``ip``, ``arp`` and ``salt-call``."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.machines import poll
from lab.saltstack import BIN, REPOSITORY, configure
from lab.saltstack import SENTINEL as SENTINEL_WORDS

SALT_CALL, SALT_MINION = str(BIN / "salt-call"), str(BIN / "salt-minion")


EVERY_S = 5  # how often the schedule below runs; a real one runs each minute or hour
NOTHING, STALE, ALL = "nothing", "ip neigh flush nud stale", "ip neigh flush all"
ONE_BY_ONE, PROBE = "arp -d, one by one", "ip neigh change nud probe"
FLUSH, REVALIDATE, SCHEDULE = "arp.flush", "arp.revalidate", "arp.revalidate by schedule"
SENTINEL, FLEET = "the sentinel", "the sentinel, 50 at once"
BY_ITSELF = (NOTHING, SCHEDULE, SENTINEL, FLEET)  # no command is typed
_LOOP = "arp -n | awk '/ether/ {print $1}' | xargs -r -n1 arp -d"
# Each entry with its cached MAC; a PERMANENT one would lose that state.
_PROBES = """ip neigh show | awk '/lladdr/ && !/PERMANENT|NOARP/ \
    {print "neigh change", $1, "lladdr", $5, "dev", $3, "nud probe"}' | ip -force -batch -"""


def available():
    """Return the cures this host can play; one of them needs net-tools."""
    old = [ONE_BY_ONE] if shutil.which("arp") else []
    return [NOTHING, STALE, ALL, *old, FLUSH, PROBE, REVALIDATE, SCHEDULE, SENTINEL]


def apply(machine, cure):
    """Run the operator's command; return when it has ended."""
    if cure in (STALE, ALL):
        machine.do(cure)
    elif cure == ONE_BY_ONE:
        machine.do("sh", "-c", _LOOP)
    elif cure == PROBE:
        machine.do("sh", "-c", _PROBES)
    elif cure in (FLUSH, REVALIDATE):
        salt(machine, cure)


def configuration(**settings):
    """Return the directory of a minion configuration with all its files in one place."""
    root = Path(f"/tmp/salt-{os.getpid()}")
    own = {"module_dirs": [str(REPOSITORY)], "log_file": str(root / "log")}
    return str(configure(root, id="db", **own, **settings).parent)


def schedule(machine):
    """Start a real minion that revalidates on schedule; return when the first run has begun."""
    job = {"function": "arp.revalidate", "seconds": EVERY_S, "run_on_start": True}
    root = configuration(
        master_type="disable", schedule={"arp": job}, log_level_logfile="info", mine_enabled=False
    )
    machine.start(SALT_MINION, "-c", root, "--log-level=quiet", stderr=subprocess.DEVNULL)
    log = Path(root, "log")
    began = "Running scheduled job: arp"
    poll("the schedule runs", 40, lambda: log.exists() and began in log.read_text(), every_s=0.2)


def sentinel(machine, within_s=40):
    """Start the sentinel on the machine, as a process; return when it watches."""
    with tempfile.NamedTemporaryFile("r", prefix="sentinel-") as told:
        words = *SENTINEL_WORDS, '{"dev": "eth0"}'
        with open(told.name, "w", encoding="utf-8") as out:
            machine.start(*words, stdout=out, stderr=subprocess.STDOUT)
        poll("the sentinel is running", within_s, lambda: "watching" in Path(told.name).read_text())


def prepare(machine, cure):
    """Start what must run before the outage."""
    if cure == SCHEDULE:
        schedule(machine)
    elif cure == SENTINEL:
        sentinel(machine)


def salt_words(function, *arguments, out=("--out=json",)):
    """Return the real command behind ``salt-call FUNCTION``: the module is this tree's own."""
    where = ["--local", "-c", configuration()]
    return [SALT_CALL, *where, "--log-level=critical", *out, function, *arguments]


def salt(machine, function, *arguments):
    """Call a Salt function on a machine and return what it returned."""
    printed = machine.do(*salt_words(function, *arguments), env={**os.environ, "COLUMNS": "120"})
    return json.loads(printed)["local"]


def salt_text(machine, function, *arguments):
    """Call a Salt function; return the text that a person would see."""
    return machine.do(*salt_words(function, *arguments, out=()))


def as_text(answer):
    """Format a returned value as indented JSON."""
    return json.dumps(answer, indent=2)
