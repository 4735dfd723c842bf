"""salt-ssh, to a real sshd: functions, state and run work, and what does not says why."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest
import yaml

from lab import cable
from lab.bare import missing
from lab.machines import poll, run
from lab.saltstack import BIN, REPOSITORY

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
    poll("sshd answers", 10, lambda: run("ssh-keyscan", "-p", "2222", "127.0.0.1", check=False))
    yield
    daemon.terminate()
    daemon.wait(10)


@pytest.fixture(scope="module")
def salt_ssh(root, sshd):
    """Return a function that runs salt-ssh; with more of the master's options if need be."""
    cable.lay()
    cable.ip("neigh add 192.0.2.10 lladdr 02:00:00:00:00:0a nud stale dev db0")
    options = {"root_dir": str(root), "file_roots": {"base": [str(REPOSITORY / "salt")]}}
    host = {"host": "127.0.0.1", "port": 2222, "user": "root"}
    host.update(priv=str(root / "key"), thin_dir=str(root / "thin"))
    (root / "roster").write_text(yaml.safe_dump({"db1": host}))

    def call(*words, **more):
        options.update(more)
        (root / "master").write_text(yaml.safe_dump(options))
        done = subprocess.run(
            [f"{BIN}/salt-ssh", "-c", root, "-i", "--out=json", "-l", "quiet", *words],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        return json.loads(done.stdout)["db1"]

    yield call
    cable.cut()


def test_what_is_missing_is_what_salt_ssh_can_bring(salt_ssh):
    words = [f"{sys.base_prefix}/bin/python3", "-c", "import pyroute2"]
    if not subprocess.run(words, capture_output=True, check=False, cwd="/").returncode:
        pytest.skip("pyroute2 is installed for the Python that this one was made from")
    told = str(salt_ssh("db1", "arp.list"))
    assert "master option `thin_extra_mods: pyroute2`, then salt-ssh once with -t" in told


def test_functions_state_and_run_work(salt_ssh):
    (row,) = salt_ssh("-t", "db1", "arp.list", "192.0.2.10", thin_extra_mods="pyroute2")
    assert row["state"] == "STALE"
    (state,) = salt_ssh("db1", "state.single", "arp.clean", "name=clean").values()
    assert state["changes"] == {"192.0.2.10 on db0": {"old": "02:00:00:00:00:0a", "new": None}}
    assert salt_ssh("db1", "arp_hygiene.run")["success"]


def test_a_schedule_that_nobody_would_keep_is_refused(salt_ssh):
    (state,) = salt_ssh("db1", "state.apply", "arp_hygiene").values()
    assert "schedule:backend: 'cron' needs a Salt that stays here" in state["comment"]
