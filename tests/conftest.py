"""Every test runs in the private world, and no test outside it."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPO / "_utils"), str(REPO)]  # the engine, as Salt's loader would put it


def pytest_configure():
    if os.environ.get("ARP_LAB_PRIVATE") != "1":
        pytest.exit(
            "tests change neighbour tables: run `make test`, or "
            "`python3 lab/private.py .venv/3008/bin/python -m pytest ...`",
            returncode=4,
        )
    # Salt formats each of its debug records for pytest: a fifth of the time of a state run.
    logging.disable(logging.INFO)


@pytest.fixture(scope="session")
def repo():
    """The repository: what a minion gets as file_roots."""
    return REPO


@pytest.fixture(scope="session")
def source(repo, tmp_path_factory):
    """A copy of the repository, in which pip may leave what it likes."""
    source = tmp_path_factory.mktemp("source") / "tree"
    not_ours = shutil.ignore_patterns(".venv", ".git", "build", "dist", "__pycache__")
    shutil.copytree(repo, source, ignore=not_ours)
    return source


def pip_install(source, *words):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--ignore-installed", *words],
        cwd=source, check=True,
    )  # fmt: skip


@pytest.fixture(scope="session")
def site(source, tmp_path_factory):
    """A directory for PYTHONPATH with what `pip install .` installs."""
    target = tmp_path_factory.mktemp("site")
    pip_install(source, "--target", target, ".")
    return target


@pytest.fixture(scope="session")
def editable(source, tmp_path_factory):
    """A directory for PYTHONPATH with what `pip install -e .` installs: hooks, and no code."""
    prefix = tmp_path_factory.mktemp("editable")
    pip_install(source, "--prefix", prefix, "-e", ".")
    [packages] = prefix.glob("**/site-packages")
    (prefix / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({str(packages)!r})\n")
    return prefix


@pytest.fixture(scope="module")
def cron_daemon(tmp_path_factory):
    """A cron daemon is installed, whatever the host has: a stand-in that nobody starts."""
    place = tmp_path_factory.mktemp("sbin")
    (place / "cron").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (place / "cron").chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(place), prepend=os.pathsep)
        yield


def pytest_unconfigure():
    """Salt keeps log records for a log server and replays them when pytest has closed stderr."""
    logging.raiseExceptions = False
