"""Which machine has which address, and what is known of an address that none has. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from . import inventory
from .inventory import HostInventory, Network


class Binding(NamedTuple):
    """An address as one machine has it."""

    machine: str
    dev: str
    mac: str
    host: HostInventory


class Scope(NamedTuple):
    """Which addresses the operator declared to be the fleet's, and which are left out."""

    networks: Sequence[Network] = ()  # every address in them is the fleet's
    exclude: Sequence[Network] = ()


EVERYWHERE = Scope()


class Bindings:
    """Which machine has which address: built once, looked up for each entry."""

    def __init__(
        self,
        hosts: Mapping[str, HostInventory],
        accepted: Collection[str],
        former: Mapping[str, HostInventory] | None = None,
        scope: Scope = EVERYWHERE,
    ) -> None:
        """Index machines by address; ``former``: those whose key is no longer accepted."""
        self.hosts = {name: host for name, host in hosts.items() if name in accepted}
        #: As long as there is one, no address is known to be free: cached grains may be outdated.
        self.unheard = [
            name for name in accepted if name not in self.hosts or not self.hosts[name].live
        ]
        self._scope = scope
        self.by_ip = _by_ip(self.hosts)
        self._unbound: dict[str, list[str]] = defaultdict(list)  # ip to machines
        for name, host in self.hosts.items():
            for ip, _ in host.unbound:
                self._unbound[ip].append(name)
        self._outdated = {ip for host in self.hosts.values() for ip in host.outdated}
        self._former = _by_ip(former or {})
        self._live_macs = {
            mac: name for name, host in self.hosts.items() if host.live for mac in host.macs
        }
        self._parsed: dict[str, str] = {}  # an address as it was sent, to how the kernel writes it

    def comparable(self, sent: Any) -> str:
        """Return an address as the kernel writes it, or "" if it cannot be compared."""
        if not isinstance(sent, str):
            return ""
        if sent not in self._parsed:
            ip = inventory.parse_address(sent)
            excluded = ip and inventory.is_inside(ip, self._scope.exclude)
            self._parsed[sent] = "" if excluded else ip
        return self._parsed[sent]

    def claimants(self, ip: str, mac: str) -> set[str]:
        """Return the machines that have answered that they have an address, or a MAC."""
        names = {binding.machine for binding in self.by_ip.get(ip, ())}
        names |= {self._live_macs[mac]} if mac in self._live_macs else set()
        return {name for name in names if self.hosts[name].source == "live"}

    def unbound(self, ip: str) -> list[HostInventory]:
        """Return the machines that have an address on a device without ARP."""
        return [self.hosts[name] for name in self._unbound.get(ip, ())]

    def former(self, ip: str, mac: str) -> Binding | None:
        """Return the machine whose key is no longer accepted and whose MAC and address this was.

        By its cached grains: these are memory, and nobody can be asked. Where the MAC lives under
        another id it is None.
        """
        if mac in self._live_macs:
            return None
        return next((each for each in self._former.get(ip, ()) if each.mac == mac), None)

    def why_gone(self, ip: str, mac: str) -> str:
        """Return how it is known that no machine has an address any more, or ""."""
        if (
            not self.unheard
            and ip not in self._unbound
            and ip not in self._outdated
            and mac not in self._live_macs
            and inventory.is_inside(ip, self._scope.networks)
        ):
            if any(host.source == "file" for host in self.hosts.values()):
                return "the network is all the fleet's, and the truth file does not have it"
            return "the network is all the fleet's, every machine answered, and none has it"
        return ""

    def why_unproven(self, ip: str, mac: str) -> tuple[str, str]:
        """Return a machine that may have an address it does not list, and why; or two ""."""
        if ip in self._unbound:
            machine = self._unbound[ip][0]
            return machine, f"{machine} has it on a device without ARP: any host may answer for it"
        if mac in self._live_macs:
            machine = self._live_macs[mac]
            return machine, f"{machine} has this MAC, and not the address on a card that is up"
        return "", ""


def _by_ip(hosts: Mapping[str, HostInventory]) -> dict[str, list[Binding]]:
    bindings: dict[str, list[Binding]] = {}
    for machine, host in hosts.items():
        for ip, dev, mac in host.addresses:
            bindings.setdefault(ip, []).append(Binding(machine, dev, mac, host))
    for ip, several in bindings.items():
        if len(several) > 1 and any(binding.host.live for binding in several):
            bindings[ip] = [binding for binding in several if binding.host.live]
    return bindings
