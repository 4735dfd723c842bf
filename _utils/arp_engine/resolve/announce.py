"""Announce this machine's own addresses to every host on the link.

This is what a new machine can do on a plain network: an entry takes an announcement at once, even
one that upper-layer confirmation keeps REACHABLE. It does not arrive where broadcasts are
suppressed (clouds, EVPN with ARP suppression), and hosts that drop gratuitous ARP ignore it.

Announced is what this machine would answer for, on devices that speak (resolve/announce_rules.py).
The second one follows after ``locktime`` (1 s): an entry that has just changed ignores the first.
"""

import ipaddress
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from ..netlink import codec, nf_tables, rtnetlink
from ..packets import frames, packet_socket
from ..table import answer, selectors
from . import announce_rules, interface_facts, interfaces, rate_limit, unselected

REPEATS = 3
INTERVAL_S = 1.1
PACKETS = {socket.AF_INET: 2, socket.AF_INET6: 1}  # of one announcement
UNREAD = (
    "arptables-legacy has rules here, which are not read: an address that they keep quiet is "
    "announced; look at: arptables-legacy -L"
)
RATE_PPS = 1000  # as many as a receiver's backlog holds

#: Indexes of devices, and networks; None: all.
Selection = tuple[Collection[int] | None, Collection[selectors.Network] | None]


class OwnAddress(NamedTuple):
    """One of our own addresses, its device, and why it is not announced (empty: it is)."""

    ip: bytes
    device: interface_facts.Interface
    why_not: str

    def row(self) -> dict[str, str]:
        """Return it as the operator knows it."""
        ip = str(ipaddress.ip_address(self.ip))
        return {"ip": ip, "dev": self.device.name, "mac": self.device.mac.hex(":")}

    def packet(self, number: int) -> tuple[bytes, bytes]:
        """Return ``(destination MAC, packet)`` of one of the packets of an announcement."""
        device = self.device
        if len(self.ip) == 16:
            packet = frames.advertisement(device.mac, self.ip, device.forwards)
            return frames.multicast_mac(frames.ALL_NODES), packet
        # some hosts accept the one, some the other (RFC 5227, 3)
        operation = (frames.ARPOP_REQUEST, frames.ARPOP_REPLY)[number]
        packet = frames.arp_announcement(operation, device.hardware, device.mac, self.ip)
        return device.broadcast, packet


def announce(
    dev: Collection[str] | None = None,
    ip: Collection[selectors.Network] | None = None,
    test: bool = False,
    limit: int = selectors.DEFAULT_LIMIT,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Announce this machine's own addresses, REPEATS times; return rows of those announced.

    dev: device names, None: all. ip: networks that select addresses, None: all;
    selectors.NotOnThisHost where one holds no address of ours. test: return what would be
    announced.
    """
    with Announcer(sleep) as announcer:
        ifindexes = None if dev is None else announcer.find(dev)
        selected = announcer.own_addresses(ifindexes, ip)
        _refuse_foreign(selected, dev, ip)
        rows = [own.row() for own in selected if not own.why_not]
        kept = dict(sorted(Counter(own.why_not for own in selected if own.why_not).items()))
        where = [] if selected or dev is None else announcer.where_addresses_are(dev)
        is_filter_unread = any(len(own.ip) == 4 and not own.why_not for own in selected) and (
            nf_tables.has_legacy_arp_filter()
        )
        warnings = {"warnings": where + [UNREAD] * is_filter_unread}
        warnings = warnings if warnings["warnings"] else {}
        if test:
            would = {"would_announce": rows, "kept": kept, **warnings}
            return answer.limit_lists(would, ["would_announce"], limit)
        failed: dict[tuple[str, str], str] = {}
        for repeat in range(REPEATS if rows else 0):
            if repeat:
                sleep(INTERVAL_S)
                selected = announcer.own_addresses(ifindexes, ip)  # some may be ours no longer
            for own in selected:
                error = own.why_not or announcer.send(own)
                if error:
                    failed[own.row()["ip"], own.device.name] = error
    announced = [row for row in rows if (row["ip"], row["dev"]) not in failed]
    failures = [
        {"ip": row["ip"], "dev": row["dev"], "error": failed[row["ip"], row["dev"]]}
        for row in rows
        if row not in announced
    ]
    result = {"announced": announced, "kept": kept, **warnings}
    lists = {"announced": announced, **({"failed": failures} if failures else {})}
    return answer.limit_lists({**result, **lists}, list(lists), limit)


class Announcer:
    """The sockets of one announcement."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep):
        self._interfaces = interfaces.Interfaces()
        self._ports: dict[int, packet_socket.ProbeSocket] = {}
        self._bucket, self._sleep = rate_limit.TokenBucket(RATE_PPS), sleep
        self._selection: Selection = None, None
        self._now: dict[tuple[bytes, int], OwnAddress] = {}  # by address and device

    def __enter__(self) -> "Announcer":
        """Return it."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the sockets."""
        self._interfaces.close()
        for port in self._ports.values():
            port.close()

    def find(self, dev: Collection[str]) -> set[int]:
        """Return the indexes of named devices; selectors.NotOnThisHost where there is none."""
        found = {name: self._interfaces.ifindex(name) for name in sorted(dev)}
        for name in (name for name, ifindex in found.items() if not ifindex):
            known = ", ".join(sorted(self._interfaces.names()))
            raise selectors.NotOnThisHost(f"dev: no device {name!r} here; there are {known}")
        return set(found.values())

    @staticmethod
    def where_addresses_are(dev: Collection[str]) -> list[str]:
        """Return a line for each named device whose addresses are another one's."""
        with rtnetlink.Channel() as channel:
            return list(unselected.devices(channel, dev, "addresses"))

    def own_addresses(
        self, ifindexes: Collection[int] | None, ip: Collection[selectors.Network] | None
    ) -> list[OwnAddress]:
        """Return our own addresses that are selected, as they are now."""
        self._selection = ifindexes, ip
        return self._read(since=time.monotonic())

    def _read(self, since: float | None = None) -> list[OwnAddress]:
        """Read the selected addresses; devices that were read before ``since`` are read again."""
        found, (ifindexes, ip) = list[OwnAddress](), self._selection
        indexes = [ifindex for _name, ifindex in sorted(self._interfaces.names().items())]
        devices = [d for i in indexes if (d := self._interfaces.get(i, since))]
        rules = announce_rules.Rules(devices, ifindexes, ip)
        for device in devices:
            for address in device.addresses:
                if ip is None or any(ipaddress.ip_address(address.ip) in net for net in ip):
                    for speaker, why in rules.speakers(device, address):
                        found.append(OwnAddress(address.ip, speaker, why))
        self._now = {(own.ip, own.device.ifindex): own for own in found}
        return found

    def send(self, own: OwnAddress) -> str:
        """Announce one address once; return why it could not be, or an empty string."""
        family = codec.family_of(own.ip)
        try:
            if family not in self._ports:
                self._ports[family] = packet_socket.ProbeSocket(family)
            for number in range(PACKETS[family]):
                while (pause_s := self._bucket.due(time.monotonic()) - time.monotonic()) > 0:
                    self._sleep(pause_s)
                self._bucket.spend(1, time.monotonic())
                if self._interfaces.follow():  # our MAC may have changed, or an address moved away
                    self._read()
                now = self._now.get((own.ip, own.device.ifindex))
                if not now or now.why_not:
                    return now.why_not if now else "no longer an address of this device"
                self._ports[family].send(now.device.name, *now.packet(number))
        except OSError as error:
            why = packet_socket.reason(error)
            if isinstance(error, PermissionError):
                row = own.row()
                what = f"cannot announce {row['ip']} on {row['dev']}: {why}"
                raise PermissionError(error.errno, f"{what}; run the minion as root") from None
            return why
        return ""


def _refuse_foreign(
    selected: list[OwnAddress],
    dev: Collection[str] | None,
    ip: Collection[selectors.Network] | None,
) -> None:
    """Raise selectors.NotOnThisHost for a network in which we have no address."""
    where = f" on {', '.join(sorted(dev))}" if dev else ""
    for network in ip or ():
        if not any(ipaddress.ip_address(own.ip) in network for own in selected):
            is_address = network.prefixlen == network.max_prefixlen
            text = f"{network.network_address} is" if is_address else f"{network} holds"
            raise selectors.NotOnThisHost(
                f"ip: {text} no address of this machine{where}; only own addresses are announced"
            )
