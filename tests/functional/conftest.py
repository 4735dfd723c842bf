"""A database host in a network namespace of its own for every test, and Salt's real loaders.

The test process itself is the database: each test begins in a fresh namespace with one Ethernet
device, ``db0``; the other end of the cable, ``w0``, is in the namespace ``worker``.
"""

import contextlib
import ctypes
import os
import pathlib
import shutil

import pytest
import salt.config
from arp_engine.reporting import sentinel_status
from arp_engine.sentinel import handover
from arp_engine.table import capacity
from saltfactories.utils.functional import Loaders
from stage import Crowd, Scene, ip  # noqa: F401
from stalls import (  # noqa: F401
    pytest_configure,
    pytest_runtest_makereport,
    pytest_runtest_protocol,
    pytest_terminal_summary,
    pytest_unconfigure,
)

from lab.cable import BORN, DEAD, HOST, many  # noqa: F401
from lab.saltstack import configure

CLONE_NEWNET = 0x40000000


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    """No table is nearly full: the kernel's limit counts the entries of other tests too."""
    monkeypatch.setattr(capacity, "NEARLY_FULL", 1000)


@pytest.fixture(autouse=True)
def no_look_backs():
    """No sentinel takes up what that of another test has handed over."""
    sentinel_status.remove(handover.beside(sentinel_status.PATH))


@pytest.fixture
def scene():
    """A fresh database host; the namespace pytest's own threads live in comes back after it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", encoding="ascii") as before:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        crowd = Crowd()
        try:
            yield Scene(crowd)
            crowd.count()
        finally:  # also where it could not be laid
            if libc.setns(before.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            crowd.leave()


@pytest.fixture
def wire(scene):
    """The other end of the scene's cable, frame by frame."""
    from wire import Wire

    scene.sysctl("ipv4.neigh.db0.locktime", 0)  # an entry just written shall be as good as an old
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture(scope="session")
def minion_opts(repo, tmp_path_factory):
    """The configuration of a masterless minion that takes its modules from this tree."""
    minion = configure(
        tmp_path_factory.mktemp("minion"),
        module_dirs=[str(repo)],
        file_roots={"base": [str(repo / "salt")]},
        pillar_roots={"base": []},
        grains={"os": "Debian"},
    )
    return salt.config.minion_config(str(minion))


@pytest.fixture(scope="session")
def loaders(minion_opts):
    """Salt's real loaders on this tree, which have loaded the engine."""
    loaders = Loaders(minion_opts.copy())
    assert "arp.list" in loaders.modules
    return loaders


@pytest.fixture
def short_look_back(monkeypatch):
    """A former holder is asked once more and not for ten seconds: most tests are not about it."""
    from arp_engine.resolve import look_back

    monkeypatch.setattr(look_back, "LOOK_BACK_FOR_S", 0.1)
    monkeypatch.setattr(look_back, "MIN_SILENT", 1)


@pytest.fixture
def arp(loaders, scene, short_look_back):
    """The execution module, loaded by Salt, on a fresh database host."""
    loaders.opts["test"] = False
    # Salt keeps one module of a name in a process: another minion's loader has made ours its own.
    loaded_for = loaders.modules["arp_hygiene.status"].__globals__["__opts__"]
    if loaded_for["root_dir"] != loaders.opts["root_dir"]:
        loaders.reload_all()

    class Functions:
        def __getattr__(self, name):
            return loaders.modules[f"arp.{name}"]

    return Functions()


@pytest.fixture
def late_second_answers(arp, monkeypatch):
    """After the first answer a second one is waited for longer: it may be late here."""
    from arp_engine.resolve import ask

    monkeypatch.setattr(ask, "COLLECT_S", 0.5)


@pytest.fixture
def hygiene(arp, loaders):
    """The module, by Salt's real loader; it remembers nothing yet, and no sentinel was here."""
    record = pathlib.Path(loaders.opts["root_dir"], "var/lib/arp_hygiene")
    for path in (record, os.path.dirname(sentinel_status.PATH)):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    class Functions:
        def __getattr__(self, name):
            return loaders.modules[f"arp_hygiene.{name}"]

    Functions.record = record
    Functions.opts = loaders.modules["arp_hygiene.run"].__globals__["__opts__"]  # 3006: a copy
    return Functions()
