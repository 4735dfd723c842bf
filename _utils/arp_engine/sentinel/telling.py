"""What the sentinel tells of an address, in one line each; MACs as text."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from ..netlink import codec
from ..reporting.events import EventKind
from ..reporting.throttle import Teller
from . import devices, neighbour_cache
from .memory import FLAPS, FLAPS_S
from .neighbour_cache import mac_of

#: The reason of a doubt (decide.Evidence) in words: how the wrong entry was noticed.
NOTICED = {
    "syn": "noticed by a SYN from the new MAC",
    "no answer": "noticed by a SYN of ours without answer",
    "repeated syn": "noticed by a SYN that left twice without answer",
    "retransmits": "noticed by retransmissions",
    "upper-layer confirmation": "upper-layer confirmation kept it wrong",
    "alternates": "its MAC kept changing",
}


class News:
    """Words each thing that happens to an address, and hands it to the teller."""

    def __init__(
        self,
        teller: Teller,
        watched: devices.WatchedDevices,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._teller, self._devices, self._clock = teller, watched, clock

    def changed(
        self, change: neighbour_cache.Change, reason: str = "", is_healed: bool = False
    ) -> None:
        """The table has another MAC; is_healed: by the answer to a probe of ours."""
        old, new = mac_of(change.old), mac_of(change.new)
        facts: dict[str, Any] = {"old": old, "new": new, **({"why": reason} if reason else {})}
        noticed = f" ({NOTICED[reason]})" if reason else ""
        text = f"{old.hex(':')} -> {new.hex(':')}{noticed}"
        self._tell(EventKind.HEALED if is_healed else EventKind.CHANGED, change.key, text, **facts)

    def deleted(self, key: codec.Key, mac: bytes, answers: Iterable[bytes], reason: str) -> None:
        """We have deleted an entry whose MAC is wrong; another one answers."""
        text = f"{mac.hex(':')} -> {_all(answers)}, by deleting the wrong entry ({NOTICED[reason]})"
        self._tell(
            EventKind.HEALED, key, text, old=mac, new=next(iter(answers)), why=reason, deleted=True
        )

    def alias(self, key: codec.Key, cached: bytes, seen: bytes) -> None:
        """The host with the cached MAC answers; SYNs come from another MAC as well."""
        text = (
            f"the cached MAC {cached.hex(':')} is right, it answers; SYNs also come from "
            f"{seen.hex(':')} (a load balancer, VRRP, a bond): nothing to do"
        )
        self._tell(EventKind.ALIAS, key, text, held=cached, seen=seen)

    def owned(self, key: codec.Key, cached: bytes, seen: bytes, owner: str) -> None:
        text = (
            f"a SYN came from {seen.hex(':')}, but the entry has {cached.hex(':')} and is never "
            f"touched ({owner}); if it is wrong, replies are lost until its owner corrects it: "
            f"run arp.diagnose {codec.address(key[1])}"
        )
        self._tell(EventKind.OWNED, key, text, held=cached, seen=seen)

    def duplicate(self, key: codec.Key, answers: Iterable[bytes]) -> None:
        text = f"{_all(sorted(answers))} answer: shut one of the hosts down"
        self._tell(EventKind.DUPLICATE, key, text, answers=list(answers))

    def disagreement(self, key: codec.Key, cached: bytes, answers: Iterable[bytes]) -> None:
        text = (
            f"still wrong: {_all(answers)} answers, but the kernel keeps {cached.hex(':')} "
            "(another process writes it, or an IPv6 answer without Override flag); traffic to it "
            f"may be lost: run arp.diagnose {codec.address(key[1])}"
        )
        self._tell(EventKind.DISAGREEMENT, key, text, held=cached, answers=list(answers))

    def unaskable(self, key: codec.Key, why: str) -> None:
        self._tell(EventKind.UNASKABLE, key, f"cannot probe: {why}", why=why)

    def alternates(self, key: codec.Key) -> None:
        text = (
            f"MAC changed {FLAPS} times in {FLAPS_S:g} s: two hosts claim the address, or it moves "
            "to and fro (VRRP, a bond)"
        )
        self._tell(EventKind.ALTERNATES, key, text)

    def _tell(self, kind: EventKind, key: codec.Key, text: str, **facts: Any) -> None:
        ip, dev = codec.address(key[1]), self._devices.name(key[0])
        told = {name: _as_text(value) for name, value in facts.items()}
        self._teller.tell(kind, f"{ip} on {dev}: {text}", self._clock(), ip=ip, dev=dev, **told)


def _all(macs: Iterable[bytes]) -> str:
    return " and ".join(mac.hex(":") for mac in macs)


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    return value.hex(":") if isinstance(value, bytes) else value
