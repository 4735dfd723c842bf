"""pyroute2 gets into the minion's own Python in the same highstate that then uses it: air gap.

The minion's Python is a virtual environment that sees everything of ours but pyroute2; the wheel
is packed from the files that ours has installed, so no index is needed to make it either.
"""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest
import yaml
from formula_minion import changes

from lab.saltstack import BIN, configure, file_roots, pillar_roots

USE = """\
the neighbour table is clean in this very run:
  arp.clean:
    - require:
      - pip: pyroute2 is installed
"""


def bare_python(root):
    """Return a Python like ours, without pyroute2 and with a salt-call of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root)], check=True)
    (theirs,) = root.glob("lib/python3*/site-packages")
    (ours,) = BIN.parent.glob("lib/python3*/site-packages")
    for entry in ours.iterdir():
        if not entry.name.startswith("pyroute2"):
            (theirs / entry.name).symlink_to(entry)
    python = root / "bin" / "python"
    script = (BIN / "salt-call").read_text().split("\n", 1)[1]
    (root / "bin" / "salt-call").write_text(f"#!{python}\n{script}")
    (root / "bin" / "salt-call").chmod(0o755)
    return root / "bin" / "salt-call"


def wheel_of_ours(directory):
    """Pack the pyroute2 we run with into a wheel."""
    directory.mkdir()
    ours = importlib.metadata.distribution("pyroute2")
    files = [file for file in ours.files if file.parts[0] != ".." and file.suffix != ".pyc"]
    name = directory / f"pyroute2-{ours.version}-py3-none-any.whl"
    with zipfile.ZipFile(name, "w") as wheel:
        for file in files:
            if file.name not in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
                wheel.write(file.locate(), str(file))
        rows = "".join(f"{file},,\n" for file in wheel.namelist())
        wheel.writestr(f"pyroute2-{ours.version}.dist-info/RECORD", rows)


@pytest.fixture
def minion(tmp_path, cron_daemon):
    """Return salt-call of a minion without pyroute2; its pillar names a directory of wheels."""
    wheel_of_ours(tmp_path / "wheels")
    files = tmp_path / "files"
    roots = file_roots(files)
    (files / "use.sls").write_text(USE)
    (files / "top.sls").write_text("base: {'*': [arp_hygiene, use]}")
    requirement = {"wheels": str(tmp_path / "wheels"), "uninstall": True}
    own = pillar_roots(tmp_path / "pillar", {"arp_hygiene": {"requirement": requirement}})
    configure(tmp_path, file_roots=roots, pillar_roots=own)
    command = [str(bare_python(tmp_path / "py")), "-c", str(tmp_path), "--local", "--out=yaml"]
    # Whatever index or directory this machine's pip knows of: not here.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}

    def call(*words):
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, check=False, env=clean
        )
        return yaml.safe_load(done.stdout)["local"] if done.stdout else done.stderr

    yield call
    pathlib.Path("/etc/cron.d/arp_hygiene").unlink(missing_ok=True)


def test_wheel_is_installed_and_used_in_one_state_run(minion):
    assert "is not available" in minion("arp.list")
    done = minion("state.highstate")
    assert "pyroute2" in str(changes(done)["pyroute2 is installed"])
    (used,) = [state for state in done.values() if state["__sls__"] == "use"]
    assert used["result"] is True, used
    assert isinstance(minion("arp.list"), list)
    assert changes(minion("state.highstate")) == {}
    assert "pyroute2" in str(changes(minion("state.apply", "arp_hygiene.remove")))
    assert "pyroute2 is missing" in minion("arp.list")
