"""A real master and three minions: the databases get the formula, the web server is left alone.

From a real git repository by gitfs with its two roots, and from file_roots: the master reads the
very configurations that README.md and docs/operating.md show.
"""

import contextlib
import pathlib
import shutil
import tempfile

import pytest
import yaml
from formula_minion import changes

from lab.datacentre import Datacentre
from lab.machines import run
from lab.saltstack import ROOMS

CRON, MOTD = "the neighbour table is cleaned by cron", "his own state"
HIS_SLS = """\
his own state:
  test.succeed_with_changes: []
"""


def from_docs(repo, page, key, root):
    """Return the master's options that a page shows, with our places for its places."""
    blocks = (repo / page).read_text(encoding="utf-8").split("```yaml\n")[1:]
    (shown,) = [text for text in (block.split("```")[0] for block in blocks) if key in text]
    for theirs, ours in (
        ("/srv/arp-hygiene", f"{root}/srv"),
        ("https://git.example.com/arp-hygiene.git", f"file://{root}/srv"),
        ("/srv/salt ", f"{root}/his "),
    ):
        shown = shown.replace(theirs, ours)
    return yaml.safe_load(shown)


def by_file_roots(repo, root):
    """Serve a plain directory."""
    shutil.copytree(repo / "salt", root / "srv" / "salt", symlinks=True)
    for name in ROOMS:
        shutil.copytree(repo / name, root / "srv" / name)
    return from_docs(repo, "README.md", "file_roots:", root)


def by_gitfs(repo, root):
    """Serve a real git repository."""
    by_file_roots(repo, root)
    git = ["git", "-C", str(root / "srv"), "-c", "user.name=us", "-c", "user.email=us@example.com"]
    for words in ("init -q -b main", "add .", "commit -q -m all"):
        run(*git, *words.split())
    his = {"file_roots": {"base": [str(root / "his")]}}
    return {**from_docs(repo, "docs/operating.md", "gitfs_remotes:", root), **his}


@contextlib.contextmanager
def fleet(serve, repo, *names):
    """A master whose operator has one state of his own, and minions; yields his top file, too."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="f") as where:
        root = pathlib.Path(where)
        (root / "his").mkdir()
        (root / "his" / "motd.sls").write_text(HIS_SLS)
        with Datacentre(root, names, **serve(repo, root)) as centre:
            yield centre.master, centre.minions, root / "his" / "top.sls"


def test_file_roots_serve_the_formula_and_its_modules(repo, cron_daemon):
    with fleet(by_file_roots, repo, "db1") as (master, _minions, top):
        top.write_text((repo / "top.example").read_text(encoding="utf-8"))
        [told] = master.salt("*", "state.highstate", "test=True").values()
        assert CRON in changes(told)


@pytest.fixture
def by_git(repo, cron_daemon):
    with fleet(by_gitfs, repo, "db1", "db2", "web1") as served:
        yield served


def test_highstate_configures_databases_only(by_git, repo):
    master, minions, top = by_git
    ours = (repo / "top.example").read_text(encoding="utf-8")
    top.write_text(ours)  # what README says where there is no top file yet
    told = master.salt("*", "state.highstate", "test=True")
    assert not any(list(minion.etc("cron.d").iterdir()) for minion in minions.values())
    assert "No Top file or master_tops data matches found" in str(told["web1"])

    lines = ours.split("base:\n")[1]  # and where there is one
    top.write_text(f"base:\n  '*':\n    - motd\n{lines}")
    done = master.salt("*", "state.highstate")
    for name in ("db1", "db2"):
        assert CRON in changes(done[name])
        assert MOTD in changes(done[name])
        assert sorted([*changes(told[name]), MOTD]) == sorted(changes(done[name]))
        assert [path.name for path in minions[name].etc("cron.d").iterdir()] == ["arp_hygiene"]
    again = master.salt("db*", "state.highstate")
    assert [list(changes(answer)) for answer in again.values()] == [[MOTD], [MOTD]]
    assert list(changes(done["web1"])) == [MOTD], "his highstate is his"
    assert list(minions["web1"].etc("cron.d").iterdir()) == []
    assert list(minions["web1"].etc("sysctl.d").iterdir()) == []
    lines = {(minions[name].etc("cron.d") / "arp_hygiene").read_text() for name in ("db1", "db2")}
    assert len({line.split("sleep ")[1].split(";")[0] for line in lines}) == 2, "spread in time"
