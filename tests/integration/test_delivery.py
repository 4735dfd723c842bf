"""Three ways to get it, from the same files; and what a minion says that lacks something."""

import json
import os
import shutil
import subprocess

import pytest
from arp_engine import version

from lab import cable
from lab.saltstack import BIN, configure

ADDRESSES = {"192.0.2.10", "2001:db8::10"}
PYROUTE2 = "pyroute2 is missing in Salt's own Python: salt-call pip.install 'pyroute2<0.10'"


class Minion:
    """A masterless minion in its own directory, run as a person would: by salt-call."""

    def __init__(self, root, **config):
        self.root = root
        self.environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
        configure(root, **{"log_level": "quiet", "enable_gpu_grains": False, **config})

    def run(self, *words, out="--out=json"):
        """Run salt-call; return the finished process."""
        return subprocess.run(
            [f"{BIN}/salt-call", "--local", "-c", str(self.root), *([out] if out else []), *words],
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=self.root,
        )

    def call(self, *words):
        """Run salt-call; return what the function returned."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["local"]


@pytest.fixture
def entries():
    """Two, on a cable in the private network."""
    cable.lay()
    write_entries()
    yield
    cable.cut()


def write_entries():
    """Write them; a change of state makes one that is there young again.

    Where all namespaces of this machine hold more than 512 neighbours together (gc_thresh2) the
    kernel collects those that are older than five seconds.
    """
    for address in ADDRESSES:
        cable.ip(
            f"neigh replace {address} lladdr {cable.DEAD} nud permanent dev db0",
            f"neigh replace {address} lladdr {cable.DEAD} nud stale dev db0",
        )


def works(minion, *how):
    """Check that all of it is there: module, state, and the engine below them."""
    write_entries()
    rows = minion.call(*how, "arp.list_stale")
    assert {row["ip"] for row in rows} == ADDRESSES
    write_entries()
    [ret] = minion.call(
        *how, "state.single", "arp.clean", "name=clean", "how=flush", "nud=all"
    ).values()
    assert ret["result"] is True
    assert set(ret["changes"]) == {f"{address} on db0" for address in ADDRESSES}
    assert minion.call(*how, "arp.list_stale") == []
    told = minion.call(*how, "arp.version")
    assert (told["version"], told["code"]) == (version.VERSION, version.code())
    assert version.code(os.path.dirname(told["path"])) == told["code"]


@pytest.mark.usefixtures("entries")
def test_synced_from_file_roots(repo, tmp_path):
    minion = Minion(tmp_path, file_roots={"base": [str(repo / "salt")]})
    synced = minion.call("saltutil.sync_all")
    assert "modules.arp" in synced["modules"]
    assert "states.arp" in synced["states"]
    assert "utils.arp_engine.table.flush" in synced["utils"]
    assert "output.arp_answer" in synced["output"]
    works(minion)


@pytest.mark.usefixtures("entries")
def test_synced_where_symlinks_are_not_followed(source, tmp_path):
    roots = {"base": [str(source), str(source / "salt")]}
    minion = Minion(tmp_path, file_roots=roots, fileserver_followsymlinks=False)
    minion.call("saltutil.sync_all")
    works(minion)
    assert minion.call("state.show_sls", "arp_hygiene")


@pytest.mark.usefixtures("entries")
def test_answer_is_shown_by_the_synced_outputter_and_nested_without(repo, tmp_path):
    minion = Minion(tmp_path, file_roots={"base": [str(repo / "salt")]}, log_level="warning")
    minion.call("saltutil.sync_all")
    done = minion.run("arp.flush", "test=True", "192.0.2.10", out=None)
    assert done.stdout == "local: 1 would be flushed; rows=True shows which\n"
    shutil.rmtree(tmp_path / "var/cache/salt/minion/extmods/output")
    done = minion.run("arp.flush", "test=True", "192.0.2.10", out=None)
    assert done.returncode == 0
    assert "    would_flush:\n        1\n" in done.stdout
    assert "Invalid outputter arp_answer specified, fall back to nested" in done.stderr
    assert minion.call("arp.flush", "test=True", "192.0.2.10")["would_flush"] == 1


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize("how", ["site", "editable"])
def test_answer_is_shown_by_the_installed_outputter(request, how, tmp_path):
    minion = Minion(tmp_path)
    minion.environment["PYTHONPATH"] = str(request.getfixturevalue(how))
    done = minion.run("arp.flush", "test=True", "192.0.2.10", out=None)
    assert done.stdout == "local: 1 would be flushed; rows=True shows which\n"


@pytest.mark.usefixtures("entries")
def test_from_the_tree_by_module_dirs(repo, tmp_path):
    minion = Minion(tmp_path)
    works(minion, "-m", str(repo))


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize("how", ["site", "editable"])
def test_installed_by_pip_as_a_salt_extension(request, how, tmp_path):
    minion = Minion(tmp_path)
    minion.environment["PYTHONPATH"] = str(request.getfixturevalue(how))
    works(minion)


@pytest.mark.usefixtures("entries")
def test_synced_copy_that_vanishes_leaves_the_installed_one(repo, site, tmp_path):
    minion = Minion(tmp_path, file_roots={"base": [str(repo / "salt")]})
    minion.environment["PYTHONPATH"] = str(site)
    minion.call("saltutil.sync_all")
    shutil.rmtree(tmp_path / "var/cache/salt/minion/extmods")
    works(minion)


def test_only_the_modules_synced_is_one_line_that_says_so(repo, tmp_path):
    minion = Minion(tmp_path, file_roots={"base": [str(repo / "salt")]})
    minion.call("saltutil.sync_modules")
    done = minion.run("arp.list")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "arp_engine is missing: run saltutil.sync_all" in said
    assert "Traceback" not in said


@pytest.mark.usefixtures("entries")
def test_synced_and_installed_at_once_the_synced_one_runs(repo, site, tmp_path):
    """All of it: one file of the installed engine under a synced surface would be a mixture."""
    broken = tmp_path / "site"
    shutil.copytree(site, broken)
    for path in (broken / "saltext" / "arp_hygiene" / "utils" / "arp_engine").glob("**/*.py"):
        path.write_text("raise RuntimeError('the installed one')\n", encoding="utf-8")
    minion = Minion(tmp_path, file_roots={"base": [str(repo / "salt")]})
    minion.environment["PYTHONPATH"] = str(broken)
    minion.call("saltutil.sync_all")
    works(minion)


def test_without_pyroute2_module_and_state_say_so(repo, tmp_path):
    fake = tmp_path / "fake"
    (fake / "pyroute2").mkdir(parents=True)
    (fake / "pyroute2" / "__init__.py").write_text("raise ImportError('not here')\n", "utf-8")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "clean.sls").write_text("clean table:\n  arp.clean\n", encoding="utf-8")
    minion = Minion(
        tmp_path,
        module_dirs=[str(repo)],
        states_dirs=[str(repo / "_states")],
        file_roots={"base": [str(tmp_path / "tree")]},
    )
    minion.environment["PYTHONPATH"] = str(fake)
    done = minion.run("arp.list")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert PYROUTE2 in said
    assert "Traceback" not in said
    done = minion.run("state.apply", "clean")
    assert done.returncode != 0
    assert PYROUTE2 in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["arp.flush", "10:20"], "ip: 620 is not an IPv4 or IPv6 address"),
        (["arp.flush", "dev=no"], "dev: False is not the name of a network device"),
        (["arp.flush", "192.0.2.1/24"], "has host bits set"),
        (["arp.revalidate", "rate=fast"], "rate: 'fast' is not a number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_words_on_the_command_line(repo, tmp_path, words, line):
    minion = Minion(tmp_path)
    done = minion.run("-m", str(repo), *words)
    assert done.returncode != 0
    assert line in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
