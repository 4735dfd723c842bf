"""A minion whose user is not root: what works, and what is said where it does not."""

import json
import os
import subprocess

import pytest

from lab import cable
from lab.saltstack import BIN, configure

ADMIN, RAW = "+net_admin", "+net_raw"
ROW = {"ip": "192.0.2.10", "dev": "db0"}


@pytest.fixture
def call(repo, tmp_path_factory):
    """Return a function that runs salt-call as nobody, with these capabilities."""
    words = ["setpriv", "--reuid=nobody", "--regid=65534", "--clear-groups"]
    if subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no second user here: map more ids to this one (/etc/subuid and newuidmap)")
    root = tmp_path_factory.mktemp("nobody")
    configure(root, module_dirs=[str(repo)], user="nobody", enable_fqdns_grains=False)
    for path in [*reversed(root.relative_to("/tmp").parents)][1:]:
        os.chmod("/tmp" / path, 0o755)
    (root / "var/lib/arp_hygiene").mkdir(parents=True)  # as the formula makes it
    command = [f"{BIN}/salt-call", "--local", "-c", root, "-l", "quiet", "--out=json"]
    subprocess.run(["chown", "-R", "nobody", root], check=True)
    cable.lay()
    cable.ip("neigh add 192.0.2.10 lladdr 02:00:00:00:00:0a nud stale dev db0")

    def salt_call(capabilities, *function):
        # whose home this checkout lies in is nothing that this is about: it may be read
        both = ",".join(["-all", "+dac_read_search", *capabilities])
        done = subprocess.run(
            [*words, f"--inh-caps={both}", f"--ambient-caps={both}", *command, *function],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "HOME": str(root)},
        )
        assert "Traceback" not in done.stderr
        return json.loads(done.stdout)["local"] if done.stdout else done.stderr

    yield salt_call
    cable.cut()


def test_without_capabilities_it_reads_and_says_what_it_lacks(call):
    (row,) = call([], "arp.list", "192.0.2.10")
    assert row["state"] == "STALE"
    assert call([], "arp.stats", "192.0.2.10")["ipv4"]["entries"] == 1
    assert call([], "arp.revalidate", "192.0.2.10", "test=True")["would_check"] == 1
    assert "no CAP_NET_RAW" in call([], "arp.diagnose", "192.0.2.10")["sentence"]
    assert "EPERM: Operation not permitted; this needs CAP_NET_ADMIN" in call([], "arp.flush")
    assert "no CAP_NET_RAW" in call([], "arp.announce", "192.0.2.1")
    done = call([], "arp_hygiene.run")
    assert not done["success"]
    assert "needs CAP_NET_ADMIN" in done["said"]
    done = call([], "arp_hygiene.run", "test=True")
    assert done["said"].endswith(" has no CAP_NET_ADMIN and no CAP_NET_RAW here")


def test_to_prove_alone_is_not_enough_to_be_installed(call):
    done = call([ADMIN], "arp_hygiene.run", "test=True")
    assert done["said"].endswith(" has no CAP_NET_RAW here")
    assert call([ADMIN], "arp_hygiene.run", "test=True", "how=flush")["success"]
    (warning,) = call([ADMIN], "arp.revalidate")["warnings"]
    assert warning.startswith("no CAP_NET_RAW: no probe was sent")


def test_with_both_it_does_what_root_does(call):
    assert call([ADMIN, RAW], "arp_hygiene.run", "test=True")["success"]
    (gone,) = call([ADMIN, RAW], "arp_hygiene.run")["gone"]
    assert ROW.items() <= gone.items()
    # what is FAILED the kernel may have collected
    cable.ip("neigh replace 192.0.2.10 lladdr 02:00:00:00:00:0a nud stale dev db0")
    assert call([ADMIN, RAW], "arp.flush", "192.0.2.10")["flushed"] == 1
