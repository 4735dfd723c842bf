"""The network between the machines, in a namespace of its own.

A cloud's network (VPC, and most overlay fabrics) is not one wire: it forwards no ARP. The fabric
answers each request itself, from its table of addresses and MACs. So when an address moves to a
new machine, the hosts that talked to the old one are not told. Built here from a bridge that
answers for its ports (``proxy_arp``) and forwards no ARP.

The kinds differ only in what happens to ARP:

``answers``   every request is answered
``lossy``     every second request is lost
``mute``      requests that are not broadcast get no answer, and every second broadcast is lost
``random``    the same with random loss: sometimes four broadcasts in a row are lost
``switch``    a plain switch: requests reach everybody, the owner answers

IPv6 has no such answering bridge; here the fabric delivers each multicast solicitation only to the
machine that has the address now. (A unicast one goes to its MAC. Delivering it to the new machine
would be wrong: that answer need not name a MAC, so it would confirm the old one.) Workers have
permanent entries for the databases and so send no ARP requests: in a cloud these would not arrive
either.
"""

import contextlib
import ipaddress
import itertools

from lab.bare import missing
from lab.machines import Failed, Machine, wait_until_taken, wait_until_up

SUBNET = "10.0.1"
SUBNET6 = "2001:db8:1::"

LOSE_EVERY_SECOND, LOSE_HALF = "numgen inc mod 2 == 0 drop", "numgen random mod 2 == 0 drop"
NO_UNICAST = "ether daddr != ff:ff:ff:ff:ff:ff drop"
RULES = {
    "answers": [],
    "lossy": [LOSE_EVERY_SECOND],
    "mute": [NO_UNICAST, LOSE_EVERY_SECOND],
    "random": [NO_UNICAST, LOSE_HALF],
    "switch": [],
}


class Fabric:
    """Build it, add machines, re-create them, close it. ``name`` prefixes its namespaces."""

    def __init__(self, name="", kind="answers"):
        if RULES[kind] and missing("nft"):
            raise Failed(missing("nft"))
        self.kind = kind
        self._name = name
        self._ports = itertools.count(1)
        self._databases = []
        self.machines = {}
        self.core = Machine(f"{name}fabric")
        # A bridge without a fixed MAC takes that of a port, and forgets its table when it changes.
        card = "address 02:00:00:00:ff:01 type bridge forward_delay 0 mcast_snooping 0"
        self.core.do(f"ip link add br0 {card}")
        self.core.do("ip link set br0 up")
        self._nft("add table bridge lab")
        self._nft("add map bridge lab owners { type ipv6_addr : ether_addr ; }")
        self._nft("add chain bridge lab in { type filter hook prerouting priority 0 ; }")
        self._nft("add chain bridge lab through { type filter hook forward priority 0 ; }")
        if kind != "switch":
            self._nft("add rule bridge lab through ether type arp drop")
            self._nft(
                "add rule bridge lab in icmpv6 type nd-neighbor-solicit "
                "ether daddr set ip6 daddr map @owners"
            )

    def _nft(self, rule):
        """Add a rule. Without nft the network works for the story and IPv4."""
        if not missing("nft"):
            self.core.do(f"nft {rule}")

    def database(self, name, number, mac=""):
        """Add a database host. Requests it sends are the ones this fabric may lose."""
        machine = self._plug(name, number, mac or f"02:00:00:00:01:{number:02x}")
        for rule in RULES[self.kind]:
            self._nft(f"add rule bridge lab in iifname {machine.port} arp operation request {rule}")
        self._databases.append(machine)
        return machine

    def worker(self, name, number, mac, published=True):
        """Add a worker; ``published``: the fabric answers for its address with this MAC."""
        machine = self._plug(name, number, mac, published)
        self.introduce(machine)
        return machine

    def introduce(self, machine):
        """Give a worker permanent entries for the databases, so that it sends no ARP requests."""
        for database in self._databases:
            for ip in (database.ip, database.ip6):
                machine.do(f"ip neigh replace {ip} lladdr {database.mac} dev eth0")

    def recreate(self, machine, mac):
        """Re-create a machine: the same name and address, another network card."""
        number = int(machine.ip.rsplit(".", 1)[1])
        self.remove(machine)
        return self.worker(machine.label, number, mac)

    def remove(self, machine):
        """Disconnect a machine, then end it; no other machine is told."""
        self.core.do(f"ip link del {machine.port}")
        with contextlib.suppress(Failed):  # an address that was not published
            self._nft(f"delete element bridge lab owners {{ {_asked(machine.ip6)} }}")
        machine.stop()
        del self.machines[machine.name]
        if machine in self._databases:
            self._databases.remove(machine)

    def divert(self, database, ip, service_port, mac):
        """Divert one service's traffic for ``ip`` to a load balancer that preserves addresses."""
        if missing("nft"):
            raise Failed(missing("nft"))
        self._nft(
            f"add rule bridge lab in iifname {database.port} ip daddr {ip} "
            f"tcp sport {service_port} ether daddr set {mac}"
        )

    def _plug(self, name, number, mac, published=True):
        """Make a machine, its card, its cable and its port, and publish its address."""
        for other in self.machines.values():
            if other.mac == mac:
                raise Failed(f"{mac} is {other.name}'s MAC; {name} needs another")
        machine = Machine(f"{self._name}{name}")
        self.machines[machine.name] = machine
        machine.label, machine.mac = name, mac
        machine.ip, machine.ip6 = f"{SUBNET}.{number}", f"{SUBNET6}{number}"
        machine.port = f"port{next(self._ports)}"
        self.core.do(
            f"ip link add {machine.port} type veth "
            f"peer name eth0 address {mac} netns {machine.name}"
        )
        # No duplicate address detection: it takes a second and would tell the neighbours.
        machine.sysctl("net/ipv6/conf/eth0/accept_dad", 0)
        machine.do(f"ip addr add {machine.ip}/24 dev eth0")
        machine.do(f"ip addr add {machine.ip6}/64 dev eth0 nodad")
        self.core.do(f"ip link set {machine.port} master br0 up")
        machine.do("ip link set eth0 up")
        wait_until_up(machine.port, namespace=self.core.name)
        wait_until_taken(machine.ip6, namespace=machine.name)
        if self.kind != "switch":
            self.core.do(f"ip link set {machine.port} type bridge_slave proxy_arp on")
            self.core.do(f"bridge fdb replace {mac} dev {machine.port} master static")
        if self.kind != "switch" and published:
            self._publish(machine)
        return machine

    def _publish(self, machine):
        """From now on the fabric answers for this machine's addresses with its MAC."""
        self.core.do(f"ip neigh replace {machine.ip} lladdr {machine.mac} dev br0")
        self._nft(f"add element bridge lab owners {{ {_asked(machine.ip6)} : {machine.mac} }}")

    def close(self):
        """Remove everything."""
        for machine in [*self.machines.values(), self.core]:
            machine.stop()
        self.machines.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _asked(ip6):
    """Return the solicited-node multicast group of this address."""
    low = ipaddress.ip_address(ip6).packed[-3:]
    return f"ff02::1:ff{low[0]:02x}:{low[1]:02x}{low[2]:02x}"
