"""What can be seen of an address: read everything, then ask, then read again, then judge.

In this order because asking heals: afterwards nothing shows what was wrong.

An entry that somebody owns is not ours to change, and asking can: the kernel takes the answer. So
it is asked about only in the states in which the kernel takes none (PERMANENT, NOARP).
"""

import errno
import os
import re
import struct
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pyroute2.netlink.rtnl import RTM_GETLINK, RTM_GETNEIGHTBL

from ..netlink import codec, route, rtnetlink, sock_diag, table_dump
from ..netlink.constants import IFF_UP, IFLA_ADDRESS, IFLA_IFNAME, NOARP, PERMANENT, TICKS
from ..resolve.ask import ProbeResult, Question, ask
from ..table import answer, ownership, parse, view
from ..table.listing import Listing
from ..table.selectors import DEFAULT_LIMIT, parse_selectors
from .verdict import Evidence, Load, Route, Row, is_owned, kept_alive_by, verdict

WITNESSES = 3  # other addresses of each MAC that are asked about, where two MACs answer
SETTLE_S = 0.1  # the kernel may take an answer a moment after we have heard it
NAP_S = 0.002
LOCKTIME_S = 2.0  # it is waited for no longer, though an administrator may set more

TAKES_NONE = PERMANENT | NOARP  # states in which the kernel takes no answer

_NDTA_STATS, _TABLE_FULLS = 7, 10 * 8  # struct ndt_stats: the eleventh of its counters
_SPARES = (5, 0)  # kernels before it count PERMANENT and extern_learn entries like all others


def diagnose(dst: bytes, dev: str | None = None, test: bool = False) -> dict[str, Any]:
    """Return the verdict on a packed address, and the evidence. test: only read.

    NotOnThisHost where there is no such device, OSError where the kernel refuses.
    """
    with rtnetlink.Channel() as channel:
        return told(_Look(channel, dst, dev).evidence(test))


def parse_address(ip: Any, dev: Any = None) -> bytes:
    """Return one packed address; ValueError names what is wrong with it, or with the device."""
    parsed = parse.address("ip", ip)
    if dev is not None:
        parse.device("dev", dev)
    if parsed.version == 6 and parsed.is_link_local and dev is None:
        raise ValueError(f"ip: {parsed} is a link-local address: name its device with dev")
    return parsed.packed


def told(seen: Evidence) -> dict[str, Any]:
    """Return verdict and evidence as a person reads them and a program uses them."""
    name, sentence, cure = verdict(seen)
    result = {
        "verdict": name,
        "sentence": sentence,
        "cure": cure,
        "address": seen.address,
        "judged": "" if seen.route.why_not else seen.judged,
        "route": seen.route._asdict(),
        "entry": seen.entry,
        "entry_after": seen.entry_after,
        "kept_alive_by": kept_alive_by(seen),
        "asked": {"unicast": seen.unicast_asked, "broadcast": seen.broadcast_asked},
        "cannot_ask": seen.cannot_ask,
        "answers_ms": dict(seen.answers),
        "witnesses": dict(seen.witnesses),
        "table": seen.load._asdict(),
        "sockets": list(seen.sockets),
        "sockets_unknown": seen.sockets_unknown,
        "kernel": seen.kernel,
    }
    return answer.limit_lists(result, ["sockets"], DEFAULT_LIMIT)


class _Look:
    """One look at one address."""

    def __init__(self, channel: rtnetlink.Channel, dst: bytes, dev: str | None) -> None:
        self._channel, self._dst = channel, dst
        selectors = parse_selectors(dev=dev, verb="list")
        self._table = view.TableView(channel, selectors)
        oif = channel.ifindex(*selectors.dev) if selectors.dev else 0
        self._way = route.lookup(channel, dst, oif)
        device = self._table.device(oif) if oif else None
        if self._way.why_not and device and not device.flags & IFF_UP:
            self._way = self._way._replace(why_not=f"{device.name} is down")
        self._key = self._way.ifindex, self._way.gateway or dst  # of the entry that is judged
        self._family = codec.family_of(self._key[1])

    def evidence(self, test: bool) -> Evidence:
        """Read everything, then ask, then read again."""
        sockets, unknown = _sockets(self._dst)
        seen = Evidence(
            codec.address(self._dst),
            self._route(),
            asked=not test,
            sockets=sockets,
            sockets_unknown=unknown,
            kernel=os.uname().release,
        )
        refused = _refused(self._family)
        if self._way.why_not:
            return replace(seen, load=self._load()._replace(refused=refused))
        load, before = self._load(), self._entry()
        seen = replace(seen, entry=before and self._row(before))
        if not test:
            seen = self._asked(seen, before)
        now = _refused(self._family)
        return replace(seen, load=load._replace(refused=now, refused_lately=now - refused))

    # --- reading

    def _route(self) -> Route:
        way, text = self._way, codec.address
        return Route(
            self._table.name(way.ifindex) if way.ifindex else "",
            text(way.source) if way.source else "",
            text(way.gateway) if way.gateway else "",
            way.why_not,
        )

    def _entry(self) -> codec.Entry | None:
        """Return the entry as it is now."""
        for entries, refusals in self._channel.get_entries([self._key]):
            if entries:
                return entries[0]
            if all(refusal.errno != errno.EOPNOTSUPP for refusal in refusals):
                return None
        # a kernel before 5.0 answers no such question
        return next((entry for entry in self._neighbours() if entry.key == self._key), None)

    def _neighbours(self) -> list[codec.Entry]:
        """Return the entries of the next hop's device and family."""
        entries = table_dump.entries(*self._channel.neighbours(self._family, self._key[0]))
        return [entry for entry in entries if entry.ifindex == self._key[0]]

    def _row(self, entry: codec.Entry) -> Row:
        """Return an entry in the shape of ``arp.list``."""
        listing = Listing(self._table)
        listing.add(self._owner(entry), table_dump.Single(entry))
        return listing.rows()[0]

    def _owner(self, entry: codec.Entry) -> str:
        return ownership.owner(entry, self._table.device(entry.ifindex))

    def _load(self) -> Load:
        """Return how full the table is."""
        limits = rtnetlink.limits([self._family]).get(self._family)
        if not limits:
            return Load()
        spared = 0
        if _release() >= _SPARES:
            for block in table_dump.read(
                self._channel.neighbours(self._family), ownership.is_exempt_from_gc
            ):
                if block.group is None:
                    spared += sum(map(ownership.is_exempt_from_gc, block.entries()))
                elif block.group:
                    spared += len(block)
        return Load(limits.entries_all_namespaces, spared, *limits[:3])

    # --- asking

    def _asked(self, seen: Evidence, before: codec.Entry | None) -> Evidence:
        """Ask, read again; return what is known by then."""
        if before and seen.entry and is_owned(seen.entry) and not before.state & TAKES_NONE:
            why = f"its entry is somebody's ({seen.entry['owner']}), and an answer would change it"
            return replace(seen, cannot_ask=why, entry_after=seen.entry)
        began, held = time.monotonic(), before.mac if before else b""
        heard = self._hear(held)
        answers = {mac: ms for one in reversed(heard) for mac, ms in one.answers.items()}
        after = self._settled(answers)
        if self._is_locked(after, answers):
            heard += self._hear(held)
            after = self._settled(answers)
        return replace(
            seen,
            asked_s=time.monotonic() - began,
            unicast_asked=sum(one.unicast_asked for one in heard),
            broadcast_asked=sum(one.broadcast_asked for one in heard),
            cannot_ask="" if answers else heard[-1].why,
            answers={mac.hex(":"): round(ms, 3) for mac, ms in answers.items()},
            entry_after=after and self._row(after),
            witnesses=self._witnesses(answers) if len(answers) > 1 else {},
            own_macs=_own_macs(self._channel) if answers else {},
        )

    def _hear(self, held: bytes) -> list[ProbeResult]:
        """Ask everybody: twice, as the second of two owners may be slow or unheard.

        Where nobody answers, the second question goes first to the MAC that the table holds.
        """
        heard = [ask([Question(*self._key)])[self._key]]
        if not heard[0].why and (heard[0].answers or held):
            alone = b"" if heard[0].answers else held
            heard.append(ask([Question(*self._key, alone)])[self._key])
        return heard

    def _settled(self, answers: Mapping[bytes, float]) -> codec.Entry | None:
        """Return the entry when it holds a MAC that answered, or has had the time to."""
        deadline = time.monotonic() + (SETTLE_S if answers else 0)
        while True:
            entry = self._entry()
            if not entry or entry.mac in answers or time.monotonic() > deadline:
                return entry
            time.sleep(NAP_S)

    def _is_locked(self, after: codec.Entry | None, answers: Mapping[bytes, float]) -> bool:
        """Tell whether the kernel may have dropped the answer; wait until it would take one."""
        if not after or not answers or after.mac in answers or self._owner(after):
            return False
        left_s = ownership.locktime_left_s(after, self._table.timers(self._family, self._key[0]))
        if not left_s:
            return False
        time.sleep(min(left_s, LOCKTIME_S) + 1 / TICKS)
        return True

    def _witnesses(self, answers: Mapping[bytes, float]) -> dict[str, list[str]]:
        """Return other addresses that the table holds at the MACs, and who answers for them.

        They are asked about twice, as the address itself: the second of two may be slow.
        """
        at: dict[bytes, list[codec.Key]] = {mac: [] for mac in answers}
        for entry in self._neighbours():
            if entry.mac in at and entry.key != self._key and not self._owner(entry):
                at[entry.mac].append(entry.key)
        questions = [Question(*key) for found in at.values() for key in found[:WITNESSES]]
        heard: dict[str, list[str]] = {}
        for (_ifindex, dst), one in [*ask(questions).items(), *ask(questions).items()]:
            macs = heard.setdefault(codec.address(dst), [])
            macs += [text for mac in one.answers if (text := mac.hex(":")) not in macs]
        return heard


def _release() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


def _sockets(peer: bytes) -> tuple[list[Row], str]:
    """Return the TCP sockets to an address that get no answer; or why that is not known."""
    try:
        with sock_diag.Sockets() as sockets:
            return [found.row() for found in sockets.unanswered(peer)], ""
    except OSError as error:
        return [], error.strerror or str(error)


def _refused(family: int) -> int:
    """Return how many entries of a family found no room since boot; -1: the kernel does not say."""
    with rtnetlink.Channel() as channel:  # closed when the table has told: devices come after it
        for chunk in channel.dump(RTM_GETNEIGHTBL, bytes([family, 0, 0, 0])):
            size = codec.U32.unpack_from(chunk)[0]
            for name, start, end in codec.attributes(chunk, 20, size):
                if name == _NDTA_STATS and end - start >= _TABLE_FULLS + 8:
                    return int(struct.unpack_from("=Q", chunk, start + _TABLE_FULLS)[0])
            break
    return -1  # before 4.3, or ipv6.disable=1


def _own_macs(channel: rtnetlink.Channel) -> dict[str, str]:
    """Return the MACs of this machine, each with a device that has it."""
    found = {}
    for chunk in channel.dump(RTM_GETLINK, bytes(codec.IFINFOMSG.size)):
        for _kind, message in codec.messages(chunk):
            values = codec.values(message, codec.HEADER.size + codec.IFINFOMSG.size)
            name = values[IFLA_IFNAME].rstrip(b"\0").decode(errors="backslashreplace")
            found[values.get(IFLA_ADDRESS, b"").hex(":")] = name
    return found
