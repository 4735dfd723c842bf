"""A database host in a network namespace of its own for every test, and Salt's real loaders.

The test process itself is the database: each test begins in a fresh namespace with one Ethernet
device, ``db0``; the other end of the cable, ``w0``, is in the namespace ``worker``.
"""

import contextlib
import ctypes
import pathlib
import re
import shutil
import socket
import threading
import time

import pytest
import salt.config
from saltfactories.utils.functional import Loaders

from lab import cable
from lab.cable import BORN, DEAD, HOST, many  # noqa: F401
from lab.machines import run
from lab.saltstack import configure

CLONE_NEWNET = 0x40000000


def ip(*words, stdin=None, check=True):
    """Run iproute2; return what it prints."""
    return run("ip", *words, stdin=stdin, check=check)


class Scene:
    """What a test can stage, and the whole table as text."""

    def __init__(self):
        ip("netns", "del", "worker", check=False)
        cable.lay()

    @staticmethod
    def worker(address):
        """Give the worker, a living host with the MAC BORN, an address."""
        length, extra = ("64", ["nodad"]) if ":" in address else ("24", [])
        ip("-n", "worker", "address", "add", f"{address}/{length}", "dev", "w0", *extra)

    @staticmethod
    def add(address, state="stale", mac=DEAD, dev="db0", *extra):
        """Write one entry: as PERMANENT first, see ``cable.fill``."""
        ip("neigh", "replace", address, "lladdr", mac or DEAD, "nud", "permanent", "dev", dev)
        lladdr = ["lladdr", mac] if mac else []
        ip("neigh", "replace", address, *lladdr, "nud", state, "dev", dev, *extra)

    @staticmethod
    def fill(count, state="stale", family=4, first=0):
        """Write many entries; return their addresses."""
        return cable.fill(count, family, (f"nud {state}",), first=first)

    @staticmethod
    def table(*states):
        """Return the unicast rows of the table as sorted text lines: ``ip dev mac state``."""
        rows = []
        for line in ip("neigh", "show", "nud", *(states or ["all"])).splitlines():
            words = line.split()
            if not words[0].startswith("ff0"):
                dev = words[words.index("dev") + 1]
                mac = words[words.index("lladdr") + 1] if "lladdr" in words else "-"
                flags = [w for w in words if w in ("router", "extern_learn", "managed", "zebra")]
                rows.append(" ".join([words[0], dev, mac, *flags, words[-1]]))
        return sorted(rows)

    @staticmethod
    def sysctl(name, value, namespace=None):
        """Set one key below net, here or there. Without procps: not every host has it."""
        path = f"/proc/sys/net/{name.replace('.', '/')}"
        if namespace:
            ip("netns", "exec", namespace, "sh", "-c", f"echo {value} >{path}")
            return
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))

    @staticmethod
    @contextlib.contextmanager
    def confirming(*addresses):
        """Let an application vouch for addresses (MSG_CONFIRM) until the block ends."""
        done = threading.Event()

        def send():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                while not done.wait(0.02):
                    for address in addresses:
                        sender.sendto(b"x", socket.MSG_CONFIRM, (address, 9))

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            done.set()
            sender.join()

    @staticmethod
    def until(holds, seconds=10):
        """Wait until something holds, and no longer than that."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    def quick(self, dev="db0"):
        """Shorten the device's timers: a verdict in three tenths of a second and not in three."""
        for family in ("ipv4", "ipv6"):
            self.sysctl(f"{family}.neigh.{dev}.retrans_time_ms", 100)
        self.sysctl(f"ipv4.neigh.{dev}.locktime", 0)


def entries_everywhere():
    """Return how many neighbours all namespaces of this machine hold."""
    return sum(map(int, re.findall(r"entries (\d+)", ip("-s", "ntable"))))


@pytest.fixture
def scene():
    """A fresh database host; the namespace pytest's own threads live in comes back after it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", encoding="ascii") as before:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        # The kernel's limits hold for all namespaces together, and it takes down the namespace of
        # the test before this one when it has time.
        with contextlib.suppress(AssertionError):
            Scene.until(lambda: entries_everywhere() < 300)
        yield Scene()
        libc.setns(before.fileno(), CLONE_NEWNET)


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
        file_roots={"base": [str(repo), str(repo / "salt")]},
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
def arp(loaders, scene):
    """The execution module, loaded by Salt, on a fresh database host."""
    loaders.opts["test"] = False

    class Functions:
        def __getattr__(self, name):
            return loaders.modules[f"arp.{name}"]

    return Functions()


@pytest.fixture
def hygiene(arp, loaders):
    """The module, by Salt's real loader; what it remembered is gone afterwards."""
    record = pathlib.Path(loaders.opts["root_dir"], "var/lib/arp_hygiene")

    class Functions:
        def __getattr__(self, name):
            return loaders.modules[f"arp_hygiene.{name}"]

    Functions.record = record
    yield Functions()
    shutil.rmtree(record, ignore_errors=True)
