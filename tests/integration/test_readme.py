"""The README shows what the code does now."""

import ast
import os
import re

import pytest
import yaml
from test_delivery import Minion

from lab import cable


@pytest.fixture(scope="module")
def readme(repo):
    return (repo / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scene():
    """The scene the README describes: one re-created, one alive, one dead, one set by hand."""

    cable.lay("eth0", "192.0.2.2")
    for address in ("192.0.2.10", "192.0.2.11"):
        cable.ip(f"address add {address}/24 dev w0", namespace="worker")
    cable.ip(
        "neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 nud permanent dev eth0",
        f"neigh add 192.0.2.10 lladdr {cable.DEAD} nud reachable dev eth0",
        f"neigh add 192.0.2.11 lladdr {cable.BORN} nud reachable dev eth0",
        "neigh add 192.0.2.12 lladdr 02:00:00:00:00:0c nud stale dev eth0",
    )
    yield
    cable.cut("eth0")


def masked(text):
    """Return printed output without what differs between two runs: ages, and column widths."""
    text = re.sub(r"\| +\d+\.\d+ +(?=\|)", "| 0.0 ", text)
    return re.sub(r"-{4,}", "----", re.sub(r" +", " ", text)).strip()


@pytest.mark.usefixtures("scene")
def test_the_sessions_are_real(repo, readme, tmp_path):
    sessions = re.findall(r"```console\n# salt-call --local (.*)\n((?:.*\n)*?)```", readme)
    assert [words.split()[0] for words, _shown in sessions] == [
        "arp.list",
        "arp.revalidate",
        "arp.flush",
    ]
    minion = Minion(tmp_path)
    for words, shown in sessions:
        if words.startswith("arp.flush"):  # what is FAILED by now the kernel may have collected
            cable.ip("neigh replace 192.0.2.12 lladdr 02:00:00:00:00:0c nud stale dev eth0")
        done = minion.run("-m", str(repo), *words.split(), out=None)
        if os.environ.get("README_UPDATE"):  # write what is true now; look at the diff
            readme = readme.replace(f"{words}\n{shown}```", f"{words}\n{done.stdout}```")
            (repo / "README.md").write_text(readme, encoding="utf-8")
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
