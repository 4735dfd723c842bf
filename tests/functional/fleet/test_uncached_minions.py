"""Targets as this version of Salt resolves them, where nothing is cached of a minion."""

from pathlib import Path

import pytest
import salt.cache
import salt.config
import salt.loader
import salt.version
from arp_engine.fleet import arguments

IS_3008 = salt.version.__version_info__[0] >= 3008
ACCEPTED = {"db1": "database", "db2": None, "old": None, "pg1": "database", "web1": "web"}


@pytest.fixture
def opts(repo, tmp_path):
    """A master with five accepted keys; of two of them nothing is cached."""
    found = salt.config.master_config("/nowhere")
    found.update(
        root_dir=str(tmp_path),
        cachedir=str(tmp_path / "cache"),
        sock_dir=str(tmp_path),
        pki_dir=str(tmp_path / "pki"),
        extension_modules=str(tmp_path / "extmods"),
        runner_dirs=[str(repo / "_runners")],
        engines_dirs=[str(repo / "_engines")],
        utils_dirs=[str(repo / "_utils")],
        nodegroups={"databases": "G@role:database or db*"},
        __role="master",
    )
    keys = Path(found["pki_dir"]) / "minions"
    keys.mkdir(parents=True)
    cache = salt.cache.factory(found)
    for name, role in ACCEPTED.items():
        (keys / name).write_text("a key")
        grains = {"role": role}
        if role and IS_3008:
            cache.store("grains", name, grains)
            cache.store("pillar", name, {})
        elif role:
            cache.store(f"minions/{name}", "data", {"grains": grains, "pillar": {}})
    return found


TARGETS = [
    (arguments.DATABASES, "compound", {"db1", "db2", "pg1"}, {"old"}),
    ("G@role:database", "compound", {"db1", "pg1"}, {"db2", "old"}),
    ("G@role:database and db*", "compound", {"db1"}, {"db2"}),
    ("* and not G@role:web", "compound", {"db1", "pg1"}, {"db2", "old"}),
    ("N@databases", "compound", {"db1", "db2", "pg1"}, {"old"}),
    ("role:database", "grain", {"db1", "pg1"}, {"db2", "old"}),
    ("role:data.*", "grain_pcre", {"db1", "pg1"}, {"db2", "old"}),
    ("role:database", "pillar", set(), {"db2", "old"}),
    ("db*", "glob", {"db1", "db2"}, set()),
    ("db1,old", "list", {"db1", "old"}, set()),
]


@pytest.mark.parametrize(
    ("tgt", "tgt_type", "meant", "undecided"), TARGETS, ids=[f"{t[0]} {t[1]}" for t in TARGETS]
)
def test_runner_names_whom_a_target_may_mean(opts, tgt, tgt_type, meant, undecided):
    runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
    master = runners["arp.audit"].__globals__["_Master"]
    master = master.__new__(master)
    master.cache, master._resolved = salt.cache.factory(opts), {}
    assert (master.match(tgt, tgt_type), master.undecided(tgt, tgt_type)) == (meant, undecided)


def listener_for(opts, tgt):
    """Return the engine's listener, which is about to resolve its target."""
    runners = salt.loader.runner(opts, utils=salt.loader.utils(opts))
    engines = salt.loader.engines(opts, {}, runners, salt.loader.utils(opts))
    listener = engines["arp_born.start"].__globals__["_StartListener"]
    listener = listener.__new__(listener)
    listener.options = {"tgt": tgt, "tgt_type": "compound"}
    listener.cache, listener.undecided = salt.cache.factory(opts), set()
    listener.databases, listener.resolved_at = None, float("-inf")
    return listener


def test_engine_says_once_whom_it_does_not_ask(opts, caplog):
    listener = listener_for(opts, "G@role:database and db*")
    for _ in range(3):
        listener.resolved_at = float("-inf")
        assert listener._target() == (["db1"], "list")
    lines = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert lines == [
        "arp_born: not asked: db2: no cached grains: whether the target means it is not known"
    ]


@pytest.mark.skipif(not IS_3008, reason="Salt before 3008 knows no resources")
def test_engine_asks_nobody_without_an_accepted_key(opts):
    """A minion registers resources with grains of its choice; they never answer."""
    from salt.utils.resource_registry import RESOURCE_GRAINS_BANK

    salt.cache.factory(opts).store(RESOURCE_GRAINS_BANK, "ssh:fake1", {"role": "database"})
    assert listener_for(opts, "G@role:database")._target() == (["db1", "pg1"], "list")
