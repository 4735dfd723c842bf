"""What the sentinel tells of an address, in one line each; MACs as text."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from ..netlink import codec
from ..reporting.events import EventKind
from ..reporting.throttle import Teller
from . import devices, former_holders, neighbour_cache
from .memory import FLAPS, FLAPS_S
from .neighbour_cache import mac_of

#: The reason of a doubt (doubt.Evidence) in words: how the wrong entry was noticed.
NOTICED = {
    "syn": "noticed by a SYN from the new MAC",
    "no answer": "noticed by a SYN of ours without answer",
    "repeated syn": "noticed by a SYN that left twice without answer",
    "half open": "noticed by a SYN/ACK of ours without answer",
    "retransmits": "noticed by retransmissions",
    "upper-layer confirmation": "upper-layer confirmation kept it wrong",
    "alternates": "its MAC kept changing",
    "written back": "it had been written back",
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
        self._absent: list[str] | None = None  # devices, as told last
        self._is_unwatched_told = False

    def watching(self) -> list[str]:
        """Tell what is watched, where that is news; return the selected devices that are absent."""
        absent = self._devices.absent()
        if absent != self._absent:
            self._absent = absent
            self._teller.tell(EventKind.WATCHING, self._devices.watched(), self._clock())
        return absent

    def changed(self, change: neighbour_cache.Change, reason: str = "") -> None:
        """The table has another MAC, and not by a probe of ours."""
        self._moved(EventKind.CHANGED, change.key, mac_of(change.old), mac_of(change.new), reason)

    def healed(self, key: codec.Key, heal: former_holders.Heal) -> None:
        """The table has another MAC by a probe of ours, and the former holder stays silent."""
        at = int(time.time() - (self._clock() - heal.at))  # ten seconds ago, mostly
        if not heal.is_deleted:
            self._moved(EventKind.HEALED, key, heal.old, heal.new, heal.reason, at=at)
            return
        by = f"by deleting the wrong entry ({NOTICED[heal.reason]})"
        text = f"{heal.old.hex(':')} -> {heal.new.hex(':')}, {by}"
        facts = {"old": heal.old, "new": heal.new, "why": heal.reason, "deleted": True, "at": at}
        self._tell(EventKind.HEALED, key, text, **facts)

    def moved(self, key: codec.Key, heal: former_holders.Heal) -> None:
        """The same, but the entry has changed before the former holder was silent for long."""
        self._moved(EventKind.CHANGED, key, heal.old, heal.new, heal.reason)

    def undecided(
        self, key: codec.Key, heal: former_holders.Heal, is_handed_over: bool = False
    ) -> None:
        """The same, but the sentinel ends: a former holder that still lives stays cut off.

        is_handed_over: unless one that starts soon asks it on.
        """
        macs = (heal.new, heal.old) if heal.is_written else (heal.old, heal.new)
        within = f"within {former_holders.MAX_HANDOVER_S:g} s"
        unless = f"unless it starts again {within} and finds out, " if is_handed_over else ""
        text = (
            ", undecided: the sentinel ended before it knew whether that is right: "
            f"{unless}run arp.diagnose {codec.address(key[1])}"
        )
        self._moved(EventKind.CHANGED, key, *macs, heal.reason, text, undecided=True)

    def _moved(
        self,
        kind: EventKind,
        key: codec.Key,
        old: bytes,
        new: bytes,
        reason: str,
        more: str = "",
        **facts: int,
    ) -> None:
        noticed = f" ({NOTICED[reason]})" if reason else ""
        why = {"why": reason} if reason else {}
        text = f"{old.hex(':')} -> {new.hex(':')}{noticed}{more}"
        self._tell(kind, key, text, old=old, new=new, **why, **facts)

    def alias(self, key: codec.Key, cached: bytes, seen: bytes) -> None:
        """The host with the cached MAC answers; SYNs come from another MAC as well."""
        text = (
            f"the cached MAC {cached.hex(':')} is right, it answers; SYNs also come from "
            f"{seen.hex(':')} (a load balancer, VRRP, a bond, a second NIC): nothing to do"
        )
        self._tell(EventKind.ALIAS, key, text, held=cached, seen=seen)

    def owned(self, key: codec.Key, cached: bytes, seen: bytes, owner: str) -> None:
        text = (
            f"a SYN came from {seen.hex(':')}, but the entry has {cached.hex(':')} and is never "
            f"touched ({owner}); if it is wrong, replies are lost until its owner corrects it: "
            f"run arp.diagnose {codec.address(key[1])}"
        )
        self._tell(EventKind.OWNED, key, text, held=cached, seen=seen)

    def owned_unwatched(self, watched: int) -> None:
        """Tell, once, that there are more protected entries than those whose SYNs are examined."""
        if not self._is_unwatched_told:
            self._is_unwatched_told = True
            line = (
                f"more than {watched} entries are protected: of the others a SYN from another MAC "
                "is not told; healing is as before"
            )
            self._teller.tell(EventKind.LOST, line, self._clock())

    def duplicate(self, key: codec.Key, answers: Iterable[bytes], proxy: bytes = b"") -> None:
        """Several hosts answer; proxy: the one of them that answers for addresses nobody has."""
        text, facts = f"{_all(sorted(answers))} answer: ", {"answers": list(answers)}
        if proxy:
            text += f"{proxy.hex(':')} is a proxy, it answers for addresses that nobody has"
            facts["proxy"] = proxy
        else:
            ip = codec.address(key[1])
            text += f"two hosts have it, or one with two NICs: run arp.diagnose {ip}"
        self._tell(EventKind.DUPLICATE, key, text, **facts)

    def proxied(self, key: codec.Key, heal: former_holders.Heal) -> None:
        """A proxy has the entry of a host that is silent: nobody knows whether that is right."""
        new, old = heal.new.hex(":"), heal.old.hex(":")
        text = (
            f"{old} -> {new}, but {new} is a proxy, it answers for addresses that nobody has; "
            f"{old} is silent, and packets to the address go to the proxy: run arp.diagnose "
            f"{codec.address(key[1])}"
        )
        self._tell(EventKind.DUPLICATE, key, text, answers=[heal.new], proxy=heal.new)

    def disagreement(self, key: codec.Key, cached: bytes, answers: Iterable[bytes]) -> None:
        text = (
            f"still wrong: {_all(answers)} answers, but the kernel keeps {cached.hex(':')} "
            "(another process writes it, or an IPv6 answer without Override flag); traffic to it "
            f"may be lost: run arp.diagnose {codec.address(key[1])}"
        )
        self._tell(EventKind.DISAGREEMENT, key, text, held=cached, answers=list(answers))

    def written_anew(self, key: codec.Key, heal: former_holders.Heal, present: bytes) -> None:
        """The entry has a MAC that nobody asked for; it came by way of no MAC at all."""
        text = (
            f"{heal.old.hex(':')} -> {present.hex(':')}, though {heal.new.hex(':')} has answered: "
            "the entry was deleted or FAILED meanwhile (another host has answered the kernel, or "
            f"another process wrote it): run arp.diagnose {codec.address(key[1])}"
        )
        facts = {"old": heal.old, "new": present, "answers": [heal.new]}
        self._tell(EventKind.CHANGED, key, text, **facts)

    def not_learnt(self, key: codec.Key, heal: former_holders.Heal) -> None:
        """The wrong entry was deleted, and no right one has come."""
        text = (
            f"not healed: {heal.new.hex(':')} has answered and the wrong entry, {heal.old.hex(':')}"
            ", is deleted, but the kernel has learnt no other MAC (that host is gone again, or a "
            "filter of this host drops its answers); traffic to it is lost: run arp.diagnose "
            f"{codec.address(key[1])}"
        )
        self._tell(EventKind.DISAGREEMENT, key, text, held=b"", answers=[heal.new])

    def written_back(self, key: codec.Key, heal: former_holders.Heal) -> None:
        """The entry had the right MAC, or none, and has the wrong one again."""
        taken = " and the kernel took it" if heal.is_learnt else ""
        text = (
            f"not healed: {heal.new.hex(':')} has answered{taken}, but the entry "
            f"has {heal.old.hex(':')} again, though no host with that MAC answers (another process "
            "or a frame of another host wrote it); traffic to it may be lost: run arp.diagnose "
            f"{codec.address(key[1])}"
        )
        self._tell(EventKind.DISAGREEMENT, key, text, held=heal.old, answers=[heal.new])

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
