"""Telling everybody on the link where this machine's own addresses are.

What a newcomer can do on a plain network: even an entry that something vouches for believes an
announcement at once. It does not arrive where nobody hears anybody else (clouds, EVPN with ARP
suppression), and who drops gratuitous ARP does not believe it.

The second one follows after ``locktime`` (1 s): an entry that has just changed drops the first.
"""

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from ..netlink import codec
from ..packets import frames, packet_socket
from ..table import selectors, snapshot
from . import interfaces, rate_limit

TIMES = 3
APART_S = 1.1
RATE = 1000  # frames a second: a receiver's backlog holds as many


class Own(NamedTuple):
    """One of our own addresses, where it is, and why it is not announced, if so."""

    ip: bytes
    device: interfaces.Interface
    why: str

    def row(self) -> dict[str, str]:
        """Return it as the operator knows it."""
        ip = str(ipaddress.ip_address(self.ip))
        return {"ip": ip, "dev": self.device.name, "mac": self.device.mac.hex(":")}

    def packets(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield ``(link-layer address, packet)``: what tells everybody."""
        device = self.device
        if len(self.ip) == 16:
            said = frames.advertisement(device.mac, self.ip, device.forwards)
            yield frames.multicast_mac(frames.ALL_NODES), said
            return
        # some believe the one, some the other (RFC 5227, 3)
        for operation in (frames.ARPOP_REQUEST, frames.ARPOP_REPLY):
            said = frames.arp_announcement(operation, device.hardware, device.mac, self.ip)
            yield device.broadcast, said


def announce(
    dev: Collection[str] | None = None,
    ip: Collection[selectors.Network] | None = None,
    test: bool = False,
    limit: int = selectors.LIMIT,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Announce this machine's own addresses, TIMES times; return rows of what was announced.

    dev: names of devices, None for all. ip: networks in which addresses are meant, None for all;
    select.Unknown where one holds no address of ours. test: return what would be announced.
    """
    with Speaker(sleep) as speaker:
        named = None if dev is None else speaker.find(dev)
        meant = speaker.own(named, ip)
        _refuse_others(meant, dev, ip)
        rows = [own.row() for own in meant if not own.why]
        kept = dict(sorted(Counter(own.why for own in meant if own.why).items()))
        if test:
            would = {"would_announce": rows, "kept": kept}
            return snapshot.bounded(would, ["would_announce"], limit)
        failed: dict[tuple[str, str], str] = {}
        for number in range(TIMES if rows else 0):
            if number:
                sleep(APART_S)
                meant = speaker.own(named, ip)  # what is ours no longer is not announced again
            for own in meant:
                error = own.why or speaker.tell(own)
                if error:
                    failed[own.row()["ip"], own.device.name] = error
    told = [row for row in rows if (row["ip"], row["dev"]) not in failed]
    lost = [
        {"ip": row["ip"], "dev": row["dev"], "error": failed[row["ip"], row["dev"]]}
        for row in rows
        if row not in told
    ]
    result = {"announced": told, "kept": kept, **({"failed": lost} if lost else {})}
    return snapshot.bounded(result, [name for name in result if name != "kept"], limit)


class Speaker:
    """What one announcement has open."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep):
        self._devices = interfaces.Interfaces()
        self._ports: dict[int, packet_socket.Port] = {}
        self._bucket, self._sleep = rate_limit.TokenBucket(RATE), sleep

    def __enter__(self) -> "Speaker":
        """Return it."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close what is open."""
        self._devices.close()
        for port in self._ports.values():
            port.close()

    def find(self, dev: Collection[str]) -> set[int]:
        """Return the indexes of the devices that are named; select.Unknown where there is none."""
        found = {name: self._devices.ifindex(name) for name in sorted(dev)}
        for name in (name for name, ifindex in found.items() if not ifindex):
            known = ", ".join(sorted(self._devices.names()))
            raise selectors.Unknown(f"dev: no device {name!r} here; there are {known}")
        return set(found.values())

    def own(
        self, named: Collection[int] | None, ip: Collection[selectors.Network] | None
    ) -> list[Own]:
        """Return our own addresses that are meant, as they are now."""
        found, now = [], time.monotonic()
        for _name, ifindex in sorted(self._devices.names().items()):
            meant = named is None or ifindex in named
            device = self._devices.get(ifindex, since=now) if meant else None
            for address in device.addresses if device else ():
                if ip is None or any(ipaddress.ip_address(address.ip) in net for net in ip):
                    found.append(Own(address.ip, device, _unsaid(device, address)))
        return found

    def tell(self, own: Own) -> str:
        """Announce one address once; return why it could not be."""
        family = codec.family_of(own.ip)
        try:
            if family not in self._ports:
                self._ports[family] = packet_socket.Port(family)
            for mac, said in own.packets():
                while (pause := self._bucket.due(time.monotonic()) - time.monotonic()) > 0:
                    self._sleep(pause)
                self._bucket.spend(1, time.monotonic())
                self._ports[family].send(own.device.name, mac, said)
        except OSError as error:
            why = packet_socket.reason(error)
            if isinstance(error, PermissionError):
                row = own.row()
                what = f"cannot announce {row['ip']} on {row['dev']}: {why}"
                raise PermissionError(error.errno, f"{what}; run the minion as root") from None
            return why
        return ""


def _unsaid(device: interfaces.Interface, address: interfaces.Address) -> str:
    """Return why an address of ours is not announced, or an empty string."""
    why = interfaces.why_unusable(device, codec.family_of(address.ip))
    if not why and address.scope > interfaces.RT_SCOPE_LINK:
        # somebody wants it known to this machine alone, as a balancer's hosts hold its address
        return "scope host"
    return why


def _refuse_others(
    meant: list[Own], dev: Collection[str] | None, ip: Collection[selectors.Network] | None
) -> None:
    """Raise select.Unknown for a network in which we have no address."""
    where = f" on {', '.join(sorted(dev))}" if dev else ""
    for network in ip or ():
        if not any(ipaddress.ip_address(own.ip) in network for own in meant):
            single = network.prefixlen == network.max_prefixlen
            text = f"{network.network_address} is" if single else f"{network} holds"
            raise selectors.Unknown(
                f"ip: {text} no address of this machine{where}; others' are not ours"
            )
