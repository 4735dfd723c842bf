"""What `make release` has built, each in a fresh environment: it works, and is whole."""

import hashlib
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tarfile

import pytest
from arp_engine import version

from lab.saltstack import BIN, configure

REPO = pathlib.Path(__file__).resolve().parents[2]
DIST = REPO / "dist"
SDIST = DIST / f"saltext_arp_hygiene-{version.VERSION}.tar.gz"
FORMULA = f"arp-hygiene-formula-{version.VERSION}"
PILLAR = json.dumps({"arp_hygiene": {"requirement": {"install": "none"}}})

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (DIST / "SHA256SUMS").exists(), reason="`make release` builds it"),
]


def call(root, *words, bin_=BIN, **options):
    """Return what salt-call, with a configuration of its own, returned."""
    config = configure(root, enable_gpu_grains=False, **options).parent
    words = [bin_ / "salt-call", "--local", "-c", config, "--out=json", *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)["local"]


def unpack(name, place):
    """Unpack a tarball as anybody may; return the one directory in it."""
    with tarfile.open(DIST / name) as archive:
        archive.extractall(place, filter="data")
    [folder] = place.iterdir()
    return folder


def applies(root, served):
    """See that the formula of a file root applies, and is removed."""
    options = {"file_roots": {"base": [str(served)]}}
    synced = call(root, "saltutil.sync_all", **options)
    assert "utils.arp_engine.table.flush" in synced["utils"]
    assert call(root, "arp.version", **options)["version"] == version.VERSION
    for sls in ("arp_hygiene", "arp_hygiene.remove"):
        states = call(root, "state.apply", sls, f"pillar={PILLAR}", **options)
        assert all(state["result"] for state in states.values()), states
        assert pathlib.Path("/etc/cron.d/arp_hygiene").exists() == (sls == "arp_hygiene")


def test_checksums_are_those_of_all_files():
    lines = (DIST / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    told = {name: digest for digest, name in map(str.split, lines)}
    files = {path.name: path for path in DIST.iterdir() if path.name != "SHA256SUMS"}
    assert {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    } == told
    assert len(files) == 3


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_salt_finds_what_pip_installed(kind, tmp_path):
    fresh = REPO / ".venv" / f"release-{kind}"
    told = call(tmp_path, "arp.version", bin_=fresh / "bin")
    assert told["version"] == version.VERSION
    assert told["path"].startswith(str(fresh))
    assert call(tmp_path, "arp.list", bin_=fresh / "bin") == []
    [status] = call(tmp_path, "arp_hygiene.status", bin_=fresh / "bin")
    assert status["version"] == version.VERSION
    [place] = fresh.glob("lib/python*/site-packages")
    [meta] = importlib.metadata.distributions(name="saltext.arp-hygiene", path=[str(place)])
    assert meta.version == version.VERSION
    text = meta.metadata.get_payload()
    links = [part.partition(")")[0] for part in text.split("](")[1:]]
    assert len(links) > 10
    assert all(link.startswith(("https://", "http://", "file://")) for link in links), links


def test_sdist_holds_everything_and_its_tests_run(tmp_path):
    tree = unpack(SDIST.name, tmp_path)
    for name in ("pillar.example", "docs/why.md", "salt/arp_hygiene/init.sls", "Makefile", "tests"):
        assert (tree / name).exists(), name
    assert (tree / "salt/_modules/arp.py").exists(), "links are links"
    words = [
        sys.executable,
        "-m",
        "pytest",
        "tests/unit/test_version.py",
        "tests/unit/test_walls.py",
    ]
    done = subprocess.run(words, cwd=tree, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.usefixtures("cron_daemon")
def test_formula_tarball_is_a_file_root(tmp_path):
    tree = unpack(f"{FORMULA}.tar.gz", tmp_path / "served")
    assert not [path for path in tree.rglob("*") if path.is_symlink()]
    applies(tmp_path / "minion", tree)


@pytest.mark.usefixtures("cron_daemon")
def test_spm_builds_and_installs_the_formula_tarball(tmp_path):
    tree = unpack(f"{FORMULA}.tar.gz", tmp_path / "source")
    (tmp_path / "etc").mkdir()
    own = {
        "root_dir": tmp_path, "formula_path": tmp_path / "salt", "pillar_path": tmp_path / "pillar",
        "spm_build_dir": tmp_path / "build", "spm_cache_dir": tmp_path / "cache",
        "spm_db": tmp_path / "packages.db", "log_file": tmp_path / "log",
    }  # fmt: skip
    text = json.dumps({key: str(value) for key, value in own.items()})
    (tmp_path / "etc" / "spm").write_text(text, encoding="utf-8")
    package = tmp_path / "build" / f"arp_hygiene-{version.VERSION}-1.spm"
    for words in (["build", tree], ["local", "install", package]):
        done = subprocess.run(
            [BIN / "spm", "-c", tmp_path / "etc", "-y", *words],
            capture_output=True, text=True, check=False, env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "pillar" / "arp_hygiene.sls.orig").exists()
    applies(tmp_path / "minion", tmp_path / "salt")
