"""A masterless minion in this process that applies the formula: fixtures and what they return."""

import contextlib
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest
import salt.client
import salt.version
from salt._logging.impl import shutdown_temp_handler

from lab.saltstack import configure, file_roots

REPO = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent
CRON = pathlib.Path("/etc/cron.d/arp_hygiene")
WORKS = "a test run succeeds"  # the state that tries a run once
SYSCTL = pathlib.Path("/etc/sysctl.d/60-arp-hygiene.conf")
UNITS = [pathlib.Path(f"/etc/systemd/system/arp-hygiene.{kind}") for kind in ("service", "timer")]
KEEPS_NOTHING = salt.version.__version_info__[0] >= 3008  # before, a run sees former runs' pillar
NO_PIP = {"install": "none"}  # the environment of the tests has it; one test lets pip say so


def ids_here():
    """How many users this world knows: a user namespace made without newuidmap knows one."""
    rows = pathlib.Path("/proc/self/uid_map").read_text().splitlines()
    return sum(int(row.split()[2]) for row in rows)


needs_another_user = pytest.mark.skipif(
    ids_here() == 1,
    reason="there is one user here, no file can be another's (newuidmap is missing)",
)


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    """A masterless minion whose file roots are this tree, as the README says."""
    root = tmp_path_factory.mktemp("m")
    options = {"file_roots": file_roots(root / "files"), "enable_fqdns_grains": False}
    # The kernel's limit counts the entries of other tests too: what comes first in the file roots
    # is what the minion gets.
    path = "_utils/arp_engine/table/capacity.py"
    (root / "files" / path).parent.mkdir(parents=True)
    (root / "files" / path).write_text((REPO / path).read_text() + "\nNEARLY_FULL = 1000\n")
    config = configure(root / "etc", root_dir=str(root), **options)
    shutdown_temp_handler()  # else Salt repeats every refusal on stderr when the tests are over
    sync(salt.client.Caller(str(config)))
    return salt.client.Caller(str(config))


def sync(caller):
    """Sync the modules if they are not there, and see that they are."""
    run = pathlib.Path(caller.opts["extension_modules"], "modules", "arp_hygiene_run.py")
    if not run.exists():
        caller.cmd("saltutil.sync_all")
        assert run.exists(), "the minion's file roots have no modules"


class Applied:
    """What a state run told: whether it succeeded, what changed, and the text of a refusal."""

    def __init__(self, answer):
        self.answer = answer
        self.refused = "\n".join(answer) if isinstance(answer, list) else ""
        self.states = {} if self.refused else {s["__id__"]: s for s in answer.values()}
        self.changed = {name: s["changes"] for name, s in self.states.items() if s["changes"]}
        self.failed = {n: s["comment"] for n, s in self.states.items() if s["result"] is False}
        self.pending = [name for name, s in self.states.items() if s["result"] is None]


@pytest.fixture
def apply(caller, cron_daemon):
    """Apply an SLS with a pillar tree; afterwards nothing of the formula is left."""
    sync(caller)  # a test before this one may have taken them
    # A minion runs each job in a process of its own. In one process Salt 3006 and 3007 show a run
    # the pillar of the run before, once a state has reloaded the modules.
    caller = salt.client.Caller(caller.opts["conf_file"])

    def fresh():
        return caller if KEEPS_NOTHING else salt.client.Caller(caller.opts["conf_file"])

    def run(tree=None, sls="arp_hygiene", **kwargs):
        pillar = {"arp_hygiene": tree}
        return Applied(fresh().cmd("state.apply", sls, pillar=pillar, **kwargs))

    run.caller, run.fresh = caller, fresh
    root = pathlib.Path(caller.opts["root_dir"])
    run.script = root / "etc" / "arp_hygiene.sh"
    run.record = root / "var" / "lib" / "arp_hygiene"
    yield run
    for path in (CRON, SYSCTL, *UNITS, run.script):
        path.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(run.record)


def everything():
    """Every file the formula could touch, byte for byte."""
    places = ("/etc/cron.d", "/etc/sysctl.d", "/etc/systemd", "/etc/crontab", "/var/spool/cron")
    paths = [p for place in places for p in (pathlib.Path(place), *pathlib.Path(place).rglob("*"))]
    return {str(p): p.is_file() and (p.stat().st_mode, p.read_bytes()) for p in paths}


@pytest.fixture
def veth():
    """A real device, so that there is something to set."""
    subprocess.run("ip link add v.1 type veth peer name v2", shell=True, check=True)
    yield "v.1"
    subprocess.run("ip link del v.1", shell=True, check=True)


class Syslog:
    """What a syslog daemon gets: a datagram for each line."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))

    def lines(self):
        """Return what came since the last call, without priority, time and host."""
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                lines.append(self._socket.recv(65536).decode().rstrip("\0\n"))
        return [line[line.index("arp_hygiene: ") :] for line in lines]

    @staticmethod
    def fill():
        """Send until there is room for no more, as where its reader is stopped."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
            sender.connect("/dev/log")
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.send(b"<29>arp_hygiene: full")

    def close(self):
        self._socket.close()


@pytest.fixture
def syslog(tmp_path):
    """A real socket at /dev/log, in a /dev of this world alone."""
    dev = tmp_path / "dev"
    dev.mkdir()
    with mounted("-t", "tmpfs", "tmpfs", dev):
        for name in ("null", "zero", "full", "random", "urandom", "tty"):
            (dev / name).touch()
            subprocess.run(["mount", "--bind", f"/dev/{name}", dev / name], check=True)
        (dev / "fd").symlink_to("/proc/self/fd")
        (dev / "shm").mkdir(mode=0o1777)
        listening = Syslog(dev / "log")
        with mounted("--rbind", dev, "/dev"):
            yield listening
        listening.close()


@pytest.fixture
def systemd():
    """systemd looks as if it had booted this world: that is how it tells, by this directory."""
    pathlib.Path("/run/systemd/system").mkdir(parents=True, exist_ok=True)
    yield
    shutil.rmtree("/run/systemd")


@contextlib.contextmanager
def mounted(*words):
    """Mount something until the block ends, whoever still has a file of it open."""
    subprocess.run(["mount", *map(str, words)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", words[-1]], check=True)
