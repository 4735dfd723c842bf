"""The README shows what the code does now."""

import ast
import os
import pathlib
import re

import pytest
import yaml
from test_delivery import Minion

from lab import cable
from lab.machines import run

ALIVE = "02:00:00:00:00:1a"  # of 192.0.2.11
PAGES = ("README.md", "docs/operating.md")


@pytest.fixture(scope="module")
def readme(repo):
    return (repo / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scene():
    """The scene the README describes: one re-created, one alive, one dead, one set by hand."""

    cable.lay("eth0", "192.0.2.2")
    cable.ip(
        f"link add w1 link w0 address {ALIVE} type macvlan",
        "link set w1 up",
        "address add 192.0.2.10/24 dev w0",
        "address add 192.0.2.11/24 dev w1",
        namespace="worker",
    )
    pathlib.Path("/proc/sys/net/ipv4/neigh/eth0/locktime").write_text("0")
    # An entry is REACHABLE for a quarter of an hour at least, however long Salt takes to start.
    pathlib.Path("/proc/sys/net/ipv4/neigh/eth0/base_reachable_time_ms").write_text("1800000")
    for device in ("w0", "w1"):  # each answers for its own address alone
        set_to_one = f"/proc/sys/net/ipv4/conf/{device}/arp_ignore"
        run("ip", "netns", "exec", "worker", "sh", "-c", f"echo 1 >{set_to_one}")
    yield
    cable.cut("eth0")


def learn():
    """Put the entries into the table as the README describes them.

    As PERMANENT first: one that is there already is young again by a change of its state alone, and
    the kernel may collect an old one where all namespaces hold many.
    """
    cable.ip(
        *(
            f"neigh replace 192.0.2.{last} lladdr {cable.DEAD} nud permanent dev eth0"
            for last in (10, 11, 12)
        ),
        "neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent dev eth0",
        f"neigh replace 192.0.2.10 lladdr {cable.DEAD} nud reachable dev eth0",
        f"neigh replace 192.0.2.11 lladdr {ALIVE} nud reachable dev eth0",
        "neigh replace 192.0.2.12 lladdr 02:00:00:00:00:0c nud stale dev eth0",
    )


def masked(text):
    """Return printed output without what differs between two runs: ages, times, column widths."""
    text = re.sub(r"\d+ (s|min)\b", "0 s", re.sub(r"\d+\.\d+ ms", "0.0 ms", text))
    return re.sub(r" +", " ", text).strip()


@pytest.mark.usefixtures("scene")
@pytest.mark.parametrize("page", PAGES)
def test_the_sessions_are_real(repo, page, tmp_path):
    text = (repo / page).read_text(encoding="utf-8")
    sessions = re.findall(r"```console\n# salt-call --local (.*)\n((?:.*\n)*?)```", text)
    assert sessions
    minion = Minion(tmp_path)
    for words, shown in sessions:
        learn()
        done = minion.run("-m", str(repo), *words.split(), out=None)
        if "\n...\n" in shown:  # an excerpt: its parts are there, in this order
            parts = [re.escape(part) for part in masked(shown).split("...") if part.strip()]
            assert re.search(".*".join(parts), masked(done.stdout), re.DOTALL), done.stdout
        elif os.environ.get("README_UPDATE"):  # write what is true now; look at the diff
            text = text.replace(f"{words}\n{shown}```", f"{words}\n{done.stdout}```")
            (repo / page).write_text(text, encoding="utf-8")
        else:
            assert masked(shown) == masked(done.stdout), done.stdout


def test_the_table_of_functions_is_complete(repo, readme):
    tree = ast.parse((repo / "_modules" / "arp.py").read_text(encoding="utf-8"))
    public = {
        node.name.rstrip("_")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    rows = "".join(line for line in readme.splitlines() if line.startswith("| "))
    assert {name for name in re.findall(r"`arp\.(\w+)`", rows)} == public | {"clean"}


def test_the_yaml_is_yaml(repo, readme):
    blocks = re.findall(r"```yaml\n(.*?)```", readme, re.S)
    parsed = [yaml.safe_load(block) for block in blocks]
    top = yaml.safe_load((repo / "top.example").read_text(encoding="utf-8"))
    assert top in parsed
    assert all(parsed)


def test_the_links_lead_somewhere(repo, readme):
    for target in re.findall(r"\]\(([\w./-]+)\)", readme):
        assert (repo / target).exists(), target
