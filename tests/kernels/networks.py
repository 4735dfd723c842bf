"""Each kind of network below one database host: what we do, tried on each of them.

All devices are in one host, so that one sentinel watches them all. Each has its own worker, its own
subnet and, for every trial, an address of the worker that was not used before. The wrong entries
are written: REACHABLE, which the kernel alone would not correct within a trial.
"""

import contextlib
import json
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import team
from arp_engine.resolve import announce
from table import flush, revalidate

from lab import cable
from lab.cable import DEAD
from lab.machines import Failed, Machine, poll, run
from lab.observe import GREETING, PORT, Service, family
from lab.saltstack import SENTINEL

ALONE_S, SENTINEL_S = 3, 10  # what a client waits for; the kernel alone needs 15 to 45 s
UP_S, START_S = 60, 200  # LACP, duplicate address detection; the engine's import in an emulator
TRIALS = 3  # of each family and direction
RIGHT, WRONG, CONTROL, FORGOTTEN = 2, 3, 4, 5  # the last number of an address of the worker
IN, OUT = range(10, 10 + TRIALS), range(20, 20 + TRIALS)
BRIDGED = ["link add w0 type bridge forward_delay 0 mcast_snooping 0",
           "link set wa master w0 up", "link set wb master w0 up"]  # fmt: skip
ENSLAVED = ["link set {a} master {d}", "link set {b} master {d}"]
VTEP = [
    "address add 172.16.{n}.1/24 dev {a}", "link set {a} up",
    "link add {d}x type vxlan id {n} dstport 4789 local 172.16.{n}.1 remote 172.16.{n}.2 dev {a}",
    "link add {d} type bridge forward_delay 0 mcast_snooping 0", "link set {d}x master {d} up",
]  # fmt: skip
FAR_VTEP = [
    "address add 172.16.{n}.2/24 dev wa", "link set wa up",
    "link add w0 type vxlan id {n} dstport 4789 local 172.16.{n}.2 remote 172.16.{n}.1 dev wa",
]  # fmt: skip


class Kind(NamedTuple):
    """How to build a network: of its wires a and b the host makes ``d``, the worker ``w0``."""

    name: str
    host: list[str]
    worker: list[str]
    vrf: str = ""
    on_lo: bool = False  # the host's address


def _bond(mode, far=BRIDGED):
    return [f"link add {{d}} type bond mode {mode} miimon 100", *ENSLAVED], far


def _vlan(flag):
    return ["link set {a} up", f"link add link {{a}} name {{d}} type vlan id 5 reorder_hdr {flag}"]


FAR_VLAN = ["link set wa up", "link add link wa name w0 type vlan id 5"]
FAR_LACP = ["link add w0 type bond mode 802.3ad miimon 100 lacp_rate fast",
            "link set wa master w0", "link set wb master w0"]  # fmt: skip
PLAIN, FAR = ["link set {a} name {d}"], ["link set wa name w0"]
KINDS = [
    Kind("one card", PLAIN, FAR),
    Kind("bond, active-backup", *_bond("active-backup")),
    Kind("bond, 802.3ad", *_bond("802.3ad lacp_rate fast", FAR_LACP)),
    Kind("bond, balance-alb", *_bond("balance-alb")),
    Kind("VLAN", _vlan("on"), FAR_VLAN),
    Kind("VLAN, reorder_hdr off", _vlan("off"), FAR_VLAN),
    Kind(
        "VLAN on a bond",
        ["link add {d}b type bond mode active-backup miimon 100",
         "link set {a} master {d}b", "link set {b} master {d}b", "link set {d}b up",
         "link add link {d}b name {d} type vlan id 5"],
        ["link add br0 type bridge forward_delay 0 mcast_snooping 0",
         "link set wa master br0 up", "link set wb master br0 up", "link set br0 up",
         "link add link br0 name w0 type vlan id 5"],
    ),
    Kind("VRF", ["link add vrf0 type vrf table 100", "link set vrf0 up", *PLAIN,
                 "link set {d} master vrf0"], FAR, vrf="vrf0"),
    Kind("team, activebackup", ["link add {d} type team"], BRIDGED),
    Kind("macvlan", ["link set {a} up", "link add link {a} name {d} type macvlan"], FAR),
    Kind("ipvlan", ["link set {a} up", "link add link {a} name {d} type ipvlan mode l2"], FAR),
    Kind("VTEP and bridge", VTEP, FAR_VTEP),
    Kind("unnumbered", PLAIN, FAR, on_lo=True),
]  # fmt: skip


class Network:
    """One of them, below a host."""

    def __init__(self, host, number, kind):
        self.host, self.kind, self.dev, self._number = host, kind, f"net{number}", number
        self.worker = Machine(f"worker-{number}")
        words = {"n": number, "d": self.dev, "a": f"a{number}", "b": f"b{number}"}
        veths = [
            f"link add {words[wire]} type veth peer name w{wire} netns {self.worker.name}"
            for wire in "ab"
        ]
        self._build(host, [*veths, *kind.host], words)
        if "team" in kind.name:
            team.set_up(host, self.dev, words["a"], words["b"])
        self._build(self.worker, kind.worker, words)
        self._number_it()
        for machine, devices in ((self.worker, "wa wb"), (host, f"{words['a']} {words['b']}")):
            lines = "".join(f"link set {device} up\n" for device in devices.split())
            go_on = "-force", "-batch", "-"  # where one of them has become the device itself
            run("ip", "-n", machine.name, *go_on, stdin=lines, check=False)
        self.mac = _mac(self.worker, "w0")
        self.know_the_host()

    @staticmethod
    def _build(machine, lines, words):
        cable.ip(*(line.format(**words) for line in lines), namespace=machine.name)

    def _number_it(self):
        for version, length in ((4, 24), (6, 64)):
            ours, nodad = self.address(version, 1), "nodad" if version == 6 else ""
            lines = [f"link set {self.dev} up"]
            if self.kind.on_lo:
                net = self.address(version, 0)
                lines += [f"address add {ours}/{32 if version == 4 else 128} dev lo {nodad}",
                          f"route add {net}/{length} dev {self.dev} src {ours}"]  # fmt: skip
            else:
                lines.append(f"address add {ours}/{length} dev {self.dev} {nodad}")
            cable.ip(*lines, namespace=self.host.name)
            used = (RIGHT, WRONG, CONTROL, *IN, *OUT)
            addresses = [f"{self.address(version, last)}/{length}" for last in used]
            lines = [f"address add {address} dev w0 {nodad}" for address in addresses]
            cable.ip("link set w0 up", *lines, namespace=self.worker.name)

    def address(self, version, last):
        """Return an address of this network: 1 is the host's."""
        number = self._number
        return f"10.{number}.0.{last}" if version == 4 else f"2001:db8:{number}::{last or ''}"

    def know_the_host(self, mac="", state="permanent"):
        """Write the host's entries into the worker's table."""
        lines = _entries("w0", _both(self, 1), mac or _mac(self.host, self.dev), state)
        cable.ip(*lines, namespace=self.worker.name)

    def entries(self, *addresses, state="reachable", mac=DEAD):
        """Return the lines that write entries into the host's table."""
        return _entries(self.dev, addresses, mac, state)

    def cached(self):
        """Return the MACs that the host has for the addresses of this network."""
        return _cached(self.host, self.dev)

    def call(self, version, last, outgoing, timeout_s):
        """Open one connection between the host and an address of the worker: seconds, or None."""
        his, ours = self.address(version, last), self.address(version, 1)
        caller, target = (self.host, his) if outgoing else (self.worker, ours)
        began = time.monotonic()
        with caller.inside():
            client = socket.socket(family(target), socket.SOCK_STREAM)
        with client:
            client.settimeout(timeout_s)
            try:
                if not outgoing:
                    client.bind((his, 0))
                elif self.kind.vrf:
                    name = self.kind.vrf.encode()
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
                client.connect((target, PORT))
                greeted = client.recv(16) == GREETING
            except OSError:
                return None
        return time.monotonic() - began if greeted else None

    def works(self):
        """Tell whether both families connect both ways."""
        return all(
            self.call(version, RIGHT, outgoing, ALONE_S)
            for version in (4, 6)
            for outgoing in (False, True)
        )


def _mac(machine, dev):
    [link] = _shown(machine, "link", dev)
    return link["address"]


def _cached(machine, dev):
    return {row["dst"]: row.get("lladdr", "") for row in _shown(machine, "neigh", dev)}


def _shown(machine, what, dev):
    return json.loads(run("ip", "-n", machine.name, "-j", what, "show", "dev", dev) or "[]")


def _entries(dev, addresses, mac, state):
    return [
        f"neigh replace {address} lladdr {mac} nud {nud} dev {dev}"
        for address in addresses
        for nud in dict.fromkeys(("permanent", state))
    ]


def _both(network, last):
    return [network.address(version, last) for version in (4, 6)]


def networks():
    """Build all, then try each function on all."""
    with contextlib.ExitStack() as scene:
        host = Machine("database")
        scene.callback(host.stop)
        host.sysctl("net/ipv4/tcp_l3mdev_accept", 1)  # one listener for the VRF too
        built = []
        for number, kind in enumerate(KINDS, start=1):
            try:
                built.append(Network(host, number, kind))
                scene.callback(built[-1].worker.stop)
            except (Failed, OSError) as failed:
                yield False, f"{kind.name}: cannot be built: {failed}"
        for machine in (host, *(network.worker for network in built)):
            for every in ("0.0.0.0", "::"):
                scene.enter_context(Service(machine, every))
        if not built:
            return
        pool = scene.enter_context(ThreadPoolExecutor(2 * len(built)))
        for network, problem in zip(built, pool.map(_until_it_works, built), strict=True):
            if problem:
                yield False, f"{network.kind.name}: {problem}"
        built = [network for network in built if network.works()]
        if not built:
            return
        flushed, verdicts = _flush(host, built), _revalidate(host, built)
        announced = _announce(host, built)
        alone = list(pool.map(lambda network: _trial(network, CONTROL, False, ALONE_S), built))
        _watch(host)
        for index, network in enumerate(built):
            tries_in = [one for last in IN for one in _trial(network, last, False, SENTINEL_S)]
            tries_out = [one for last in OUT for one in _trial(network, last, True, SENTINEL_S)]
            well = (
                flushed[index] == 2
                and verdicts[index] == 4
                and announced[index] == 2
                and not any(alone[index])
                and all(tries_in + tries_out)
            )
            yield (
                well,
                f"{network.kind.name}: flush {flushed[index]} of 2; "
                f"revalidate {verdicts[index]} of 4; announce {announced[index]} of 2; "
                f"first connection in {_told(tries_in)}, out {_told(tries_out)}; "
                f"without the sentinel {_told(alone[index])}",
            )


def _until_it_works(network):
    """Return what keeps a network from working, or nothing."""
    try:
        poll("both families connect both ways", UP_S, network.works, every_s=0.5)
    except Failed as failed:
        link = network.host.do(f"ip -o -d link show dev {network.dev}").strip()
        return f"{failed}; {link[:200]}"
    return ""


def _flush(host, built):
    """Return how many stale entries of each network went; those of others must stay."""
    forgotten = [net.entries(*_both(net, FORGOTTEN), state="stale") for net in built]
    cable.ip(*chain.from_iterable(forgotten), namespace=host.name)
    with host.inside():
        flush(ip=[address for network in built for address in _both(network, FORGOTTEN)])
    left = [net.cached() for net in built]
    return [
        sum(not cached.get(address) for address in _both(net, FORGOTTEN))
        for net, cached in zip(built, left, strict=True)
    ]


def _revalidate(host, built):
    """Return how many verdicts of each network are right: confirmed and healed, both families."""
    lines = [net.entries(*_both(net, RIGHT), mac=net.mac) for net in built]
    lines += [net.entries(*_both(net, WRONG)) for net in built]
    cable.ip(*chain.from_iterable(lines), namespace=host.name)
    asked = [address for net in built for last in (RIGHT, WRONG) for address in _both(net, last)]
    with host.inside():
        result = revalidate(ip=asked)
    healed = {(row["dev"], row["ip"], row["new"]) for row in result["healed"]}
    rights = []
    for network in built:
        expected = {(network.dev, address, network.mac) for address in _both(network, WRONG)}
        cached = network.cached()
        kept = [cached.get(address) == network.mac for address in _both(network, RIGHT)]
        rights.append(len(expected & healed) + sum(kept))
    return rights


def _announce(host, built):
    """Return how many wrong entries of each worker an announcement corrected, both families."""
    for network in built:
        network.know_the_host(DEAD, "reachable")
    for on_lo in (False, True):  # which link carries an address of lo, the operator says
        some = [net for net in built if net.kind.on_lo == on_lo]
        named = [ip_network(ours) for net in some for ours in _both(net, 1)]
        with host.inside():
            announce.announce([net.dev for net in some] if on_lo else None, named)
    corrected = []
    for network in built:
        cached = _cached(network.worker, "w0")
        rights = [cached.get(ours) == _mac(host, network.dev) for ours in _both(network, 1)]
        corrected.append(sum(rights))
        network.know_the_host()
    return corrected


def _watch(host):
    """Start one sentinel for all devices; return when it watches."""
    with tempfile.NamedTemporaryFile("w+", prefix="sentinel-") as told:
        host.start(*SENTINEL, "{}", stdout=told, stderr=subprocess.STDOUT)
        poll("the sentinel is running", START_S, lambda: "watching" in Path(told.name).read_text())


def _trial(network, last, outgoing, timeout_s):
    """Make both entries of an address wrong, then connect by it: seconds or None, each family."""
    tries = []
    for version in (4, 6):
        cable.ip(*network.entries(network.address(version, last)), namespace=network.host.name)
        tries.append(network.call(version, last, outgoing, timeout_s))
    return tries


def _told(tries):
    took_ms = sorted(1000 * took for took in tries if took)
    return f"{len(took_ms)} of {len(tries)}" + (f" (worst {took_ms[-1]:.0f} ms)" if took_ms else "")
