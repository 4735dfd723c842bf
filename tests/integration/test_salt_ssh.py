"""salt-ssh to a real sshd: what each release line of Salt needs; what cannot work says why."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest
import salt.version
import yaml

from lab import cable
from lab.bare import missing
from lab.machines import poll, run
from lab.saltstack import BIN, REPOSITORY

PACKED = salt.version.__version_info__[0] >= 3008  # extensions and states, as they are
ENGINE_IS_MISSING = (
    "arp_engine is missing: run saltutil.sync_all; for salt-ssh see docs/operating.md"
)

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(missing("sshd")), reason=missing("sshd")),
]

SSHD = """\
ListenAddress 127.0.0.1
Port 2222
HostKey {root}/host
AuthorizedKeysFile {root}/key.pub
SetEnv PATH={python}/bin:/usr/sbin:/usr/bin:/sbin:/bin
Subsystem sftp internal-sftp
StrictModes no
UsePAM no
PidFile none
"""


@pytest.fixture(scope="module")
def root():
    """A directory, which is root's home too: nobody's own shell settings shall matter."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="s") as where:
        users = pathlib.Path(where, "passwd")
        lines = pathlib.Path("/etc/passwd").read_text().splitlines()
        others = [line for line in lines if not line.startswith("root:")]
        users.write_text("\n".join([f"root:x:0:0::{where}:/bin/sh", *others, ""]))
        users.chmod(0o644)
        subprocess.run(["mount", "--bind", users, "/etc/passwd"], check=True)
        yield pathlib.Path(where)
        subprocess.run(["umount", "/etc/passwd"], check=True)


@pytest.fixture(scope="module")
def sshd(root):
    """A daemon on 127.0.0.1, in our own network."""
    for key in ("host", "key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", root / key]
        subprocess.run(words, check=True)
    # not the environment of the tests, but the Python that it was made from: pyroute2 is not there
    (root / "sshd").write_text(SSHD.format(root=root, python=sys.base_prefix))
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    daemon = subprocess.Popen(
        [shutil.which("sshd"), "-D", "-e", "-f", root / "sshd"], stderr=subprocess.DEVNULL
    )
    poll("sshd answers", 30, lambda: run("ssh-keyscan", "-p", "2222", "127.0.0.1", check=False))
    yield
    daemon.terminate()
    daemon.wait(30)


class Master:
    """Who calls salt-ssh: a master's configuration, and what its own Python can import."""

    def __init__(self, root):
        self.root = root
        self.options = {"root_dir": str(root), "file_roots": {"base": [str(REPOSITORY / "salt")]}}
        self.importable = None
        host = {"host": "127.0.0.1", "port": 2222, "user": "root"}
        host.update(priv=str(root / "key"), thin_dir=str(root / "thin"))
        (root / "roster").write_text(yaml.safe_dump({"db1": host}))

    def run(self, program, *words):
        """Run a program of the master; return what it printed."""
        (self.root / "master").write_text(yaml.safe_dump(self.options))
        done = subprocess.run(
            [f"{BIN}/{program}", "-c", self.root, "--out=json", "-l", "quiet", *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
            env={
                **os.environ,
                "PYTHONWARNINGS": "ignore",
                **({"PYTHONPATH": str(self.importable)} if self.importable else {}),
            },
        )
        return json.loads(done.stdout)

    def ssh(self, *words):
        """Run salt-ssh; return what the host answered."""
        return self.run("salt-ssh", "-i", *words)["db1"]

    def pack(self, mods, importable):
        """Set what salt-ssh brings along, and let it bring that."""
        self.options["thin_extra_mods"], self.importable = mods, importable
        return self.ssh("-t", "db1", "arp.list", "192.0.2.10")


@pytest.fixture(scope="module")
def network(sshd):
    cable.lay()
    yield
    cable.cut()


@pytest.fixture
def master(root, network):
    """A master that has synced nothing, and a host without Salt."""
    for place in ("thin", "var"):
        shutil.rmtree(root / place, ignore_errors=True)
    return Master(root)


def works(master):
    """Check that a function, a state and the scheduled run work, and the formula's refusal."""
    for nud in ("permanent", "stale"):  # written now: the kernel may forget an old one
        cable.ip(f"neigh replace 192.0.2.10 lladdr {cable.DEAD} nud {nud} dev db0")
    (row,) = master.ssh("db1", "arp.list", "192.0.2.10")
    assert row["state"] == "STALE"
    words = ("state.single", "arp.clean", "name=clean", "how=flush", "nud=all")
    (state,) = master.ssh("db1", *words).values()
    assert state["changes"] == {"192.0.2.10 on db0": {"old": cable.DEAD, "new": None}}
    assert master.ssh("db1", "arp_hygiene.run")["success"]
    (state,) = master.ssh("db1", "state.apply", "arp_hygiene").values()
    assert "schedule:backend: 'cron': not supported over salt-ssh" in state["comment"]


def refused(answer, line):
    """Check that the answer is this line, and no traceback."""
    said = str(answer)
    assert line in said
    assert "Traceback" not in said
    assert "No module named" not in said


def test_without_the_engine_one_line_says_what_to_set(master):
    refused(master.ssh("db1", "arp.list"), ENGINE_IS_MISSING)
    refused(master.ssh("db1", "arp_hygiene.run"), ENGINE_IS_MISSING)


def test_without_pyroute2_one_line_says_what_to_set(master):
    words = [f"{sys.base_prefix}/bin/python3", "-c", "import pyroute2"]
    if not subprocess.run(words, capture_output=True, check=False, cwd="/").returncode:
        pytest.skip("pyroute2 is installed for the Python that this one was made from")
    told = master.pack("arp_engine", REPOSITORY / "_utils")
    refused(told, "add pyroute2 to master option `thin_extra_mods`, then salt-ssh once with -t")


def test_functions_and_states_work_with_the_engine_packed(master):
    """3006 and 3007 look for a state on the master first: there it must have been synced."""
    packed = master.pack("pyroute2,arp_engine", REPOSITORY / "_utils")
    assert isinstance(packed, list), packed
    if not PACKED:
        answer = master.ssh("db1", "state.single", "arp.clean", "name=clean")
        refused(answer, "Specified state 'arp.clean' was not found")
        master.run("salt-run", "saltutil.sync_all")
    works(master)


def test_functions_and_states_work_with_the_extension_installed_on_a_3008_master(master, site):
    """3008 packs extensions; before, it is said what to set."""
    answer = master.pack("pyroute2", site)
    if PACKED:
        assert isinstance(answer, list), answer
        works(master)
    else:
        refused(answer, ENGINE_IS_MISSING)
