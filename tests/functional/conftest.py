"""A database host in a network namespace of its own for every test, and Salt's real loaders.

The test process itself is the database: each test begins in a fresh namespace with one Ethernet
device, ``db0``; the other end of the cable, ``w0``, is in the namespace ``worker``.
"""

import contextlib
import ctypes
import re
import socket
import subprocess
import threading
import time

import pytest
import salt.config
from saltfactories.utils.functional import Loaders

CLONE_NEWNET = 0x40000000
HOST = "02:00:00:00:00:01"  # the database's own
DEAD = "02:00:00:00:00:0a"  # a NIC that no longer exists
BORN = "02:00:00:00:00:0b"  # the one that has its address now


def ip(*words, stdin=None, check=True):
    """Run iproute2; return what it prints."""
    done = subprocess.run(["ip", *words], input=stdin, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise AssertionError(f"ip {' '.join(words)}: {done.stderr}")
    return done.stdout


class Scene:
    """What a test can stage, and the whole table as text."""

    def __init__(self):
        ip("netns", "del", "worker", check=False)
        ip("netns", "add", "worker")
        ip("link", "add", "db0", "type", "veth", "peer", "name", "w0", "netns", "worker")
        for words in (
            "link set lo up",
            f"link set db0 addrgenmode none address {HOST}",
            "link set db0 up",
            "address add 192.0.2.1/24 dev db0",
            "address add 2001:db8::1/64 dev db0 nodad",
            "address add fe80::1/64 dev db0 nodad",  # solicitations need a link-local source
            "-n worker link set w0 addrgenmode none",
            f"-n worker link set w0 address {BORN}",
            "-n worker link set w0 up",
            "-n worker address add fe80::2/64 dev w0 nodad",
            # or the worker could not answer while somebody else fills the kernel's table
            *(
                f"-n worker neigh add {address} lladdr {HOST} nud permanent dev w0"
                for address in ("192.0.2.1", "2001:db8::1", "fe80::1")
            ),
        ):
            ip(*words.split())

    @staticmethod
    def worker(address):
        """Give the worker, a living host with the MAC BORN, an address."""
        length, extra = ("64", ["nodad"]) if ":" in address else ("24", [])
        ip("-n", "worker", "address", "add", f"{address}/{length}", "dev", "w0", *extra)

    @staticmethod
    def add(address, state="stale", mac=DEAD, dev="db0", *extra):
        """Write one entry: as PERMANENT first, see ``fill``."""
        ip("neigh", "replace", address, "lladdr", mac or DEAD, "nud", "permanent", "dev", dev)
        lladdr = ["lladdr", mac] if mac else []
        ip("neigh", "replace", address, *lladdr, "nud", state, "dev", dev, *extra)

    @staticmethod
    def fill(count, state="stale", family=4, first=0):
        """Write many entries: as PERMANENT, which no limit counts, and then as what they shall be.

        gc_thresh3 is 1024 for all namespaces together, the host's included, and cannot be changed
        from a child: stay below it with everything but PERMANENT, or the host learns no neighbour.
        """
        names = [many(number, family) for number in range(first, first + count)]
        for nud in ("permanent", state) if state != "permanent" else ("permanent",):
            lines = [f"neigh replace {name} lladdr {DEAD} nud {nud} dev db0" for name in names]
            ip("-batch", "-", stdin="\n".join(lines))
        return names

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
    def sysctl(name, value):
        """Set one key below net."""
        with open(f"/proc/sys/net/{name.replace('.', '/')}", "w", encoding="ascii") as file:
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


def many(number, family=4):
    """Return the address of one of many."""
    if family == 4:
        return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return f"2001:db8:1::{number + 1:x}"


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
    root = tmp_path_factory.mktemp("minion")
    opts = salt.config.DEFAULT_MINION_OPTS.copy()
    opts.update(
        root_dir=str(root),
        cachedir=str(root / "cache"),
        extension_modules=str(root / "extmods"),
        conf_file=str(root / "minion"),
        file_client="local",
        id="db1",
        module_dirs=[str(repo / "_modules")],
        states_dirs=[str(repo / "_states")],
        utils_dirs=[str(repo / "_utils")],
        file_roots={"base": [str(repo), str(repo / "salt")]},
        pillar_roots={"base": []},
        grains={"os": "Debian"},
    )
    return opts


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
