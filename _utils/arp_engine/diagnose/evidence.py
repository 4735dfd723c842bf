"""Collect the evidence on one address: read everything, then probe, then read again, then judge.

In this order because a probe heals: afterwards nothing shows what was wrong.

An entry with an owner is not ours to change, and a probe can change it: the kernel takes the
answer. So it is probed only in states in which the kernel ignores answers (PERMANENT, NOARP).
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

MAX_WITNESSES = 3  # other addresses of each MAC that are probed, where two MACs answer
SETTLE_S = 0.1  # the kernel may take an answer a moment after we have read it
POLL_S = 0.002
MAX_LOCKTIME_WAIT_S = 2.0  # an administrator may set a longer locktime

IGNORES_ANSWERS = PERMANENT | NOARP  # states in which the kernel takes no answer

_NDTA_STATS, _TABLE_FULLS = 7, 10 * 8  # struct ndt_stats: the eleventh of its counters
_UNCOUNTED_SINCE = (5, 0)  # before, PERMANENT and extern_learn entries counted like all others


def diagnose(dst: bytes, dev: str | None = None, test: bool = False) -> dict[str, Any]:
    """Return the verdict on a packed address, and the evidence. test: only read.

    NotOnThisHost where there is no such device, OSError where the kernel refuses.
    """
    with rtnetlink.Channel() as channel:
        return as_dict(_Diagnosis(channel, dst, dev).evidence(test))


def parse_address(ip: Any, dev: Any = None) -> bytes:
    """Return one packed address; ValueError names what is wrong with it, or with the device."""
    parsed = parse.address("ip", ip)
    if dev is not None:
        parse.device("dev", dev)
    if parsed.version == 6 and parsed.is_link_local and dev is None:
        raise ValueError(f"ip: {parsed} is a link-local address: name its device with dev")
    return parsed.packed


def as_dict(seen: Evidence) -> dict[str, Any]:
    """Return verdict and evidence as ``arp.diagnose`` does."""
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


class _Diagnosis:
    """One diagnosis of one address."""

    def __init__(self, channel: rtnetlink.Channel, dst: bytes, dev: str | None) -> None:
        self._channel, self._dst = channel, dst
        selectors = parse_selectors(dev=dev, verb="list")
        self._table = view.TableView(channel, selectors)
        oif = channel.ifindex(*selectors.dev) if selectors.dev else 0
        self._route = route.lookup(channel, dst, oif)
        device = self._table.device(oif) if oif else None
        if self._route.why_not and device and not device.flags & IFF_UP:
            self._route = self._route._replace(why_not=f"{device.name} is down")
        self._key = self._route.ifindex, self._route.gateway or dst  # of the entry that is judged
        self._family = codec.family_of(self._key[1])

    def evidence(self, test: bool) -> Evidence:
        """Read everything, then probe, then read again."""
        sockets, unknown = _sockets(self._dst)
        seen = Evidence(
            codec.address(self._dst),
            self._route_row(),
            asked=not test,
            sockets=sockets,
            sockets_unknown=unknown,
            kernel=os.uname().release,
        )
        refused = _refused(self._family)
        if self._route.why_not:
            return replace(seen, load=self._load()._replace(refused=refused))
        load, before = self._load(), self._entry()
        seen = replace(seen, entry=before and self._row(before))
        if not test:
            seen = self._probe(seen, before)
        now = _refused(self._family)
        return replace(seen, load=load._replace(refused=now, refused_lately=now - refused))

    # --- reading

    def _route_row(self) -> Route:
        found, text = self._route, codec.address
        return Route(
            self._table.name(found.ifindex) if found.ifindex else "",
            text(found.source) if found.source else "",
            text(found.gateway) if found.gateway else "",
            found.why_not,
        )

    def _entry(self) -> codec.Entry | None:
        """Return the entry as it is now; None: there is none."""
        for entries, refusals in self._channel.get_entries([self._key]):
            if entries:
                return entries[0]
            if all(refusal.errno != errno.EOPNOTSUPP for refusal in refusals):
                return None
        # kernels before 5.0 return no single entry
        return next((entry for entry in self._neighbours() if entry.key == self._key), None)

    def _neighbours(self) -> list[codec.Entry]:
        """Return the entries of the next hop's device and family."""
        entries = table_dump.entries(*self._channel.neighbours(self._family, self._key[0]))
        return [entry for entry in entries if entry.ifindex == self._key[0]]

    def _row(self, entry: codec.Entry) -> Row:
        """Return an entry as a row of ``arp.list``."""
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
        uncounted = 0
        if _release() >= _UNCOUNTED_SINCE:
            for block in table_dump.read(
                self._channel.neighbours(self._family), ownership.is_exempt_from_gc
            ):
                if block.group is None:
                    uncounted += sum(map(ownership.is_exempt_from_gc, block.entries()))
                elif block.group:
                    uncounted += len(block)
        return Load(limits.entries_all_namespaces, uncounted, *limits[:3])

    # --- probing

    def _probe(self, seen: Evidence, before: codec.Entry | None) -> Evidence:
        """Probe, read again, and add both to the evidence."""
        if before and seen.entry and is_owned(seen.entry) and not before.state & IGNORES_ANSWERS:
            why = f"its entry has an owner ({seen.entry['owner']}), and an answer would change it"
            return replace(seen, cannot_ask=why, entry_after=seen.entry)
        began, cached_mac = time.monotonic(), before.mac if before else b""
        results = self._probe_twice(cached_mac)
        answers = {mac: ms for result in reversed(results) for mac, ms in result.answers.items()}
        after = self._settled(answers)
        if self._waited_for_locktime(after, answers):
            results += self._probe_twice(cached_mac)
            after = self._settled(answers)
        return replace(
            seen,
            asked_s=time.monotonic() - began,
            unicast_asked=sum(result.unicast_asked for result in results),
            broadcast_asked=sum(result.broadcast_asked for result in results),
            cannot_ask="" if answers else results[-1].why,
            answers={mac.hex(":"): round(ms, 3) for mac, ms in answers.items()},
            entry_after=after and self._row(after),
            witnesses=self._witnesses(answers) if len(answers) > 1 else {},
            own_macs=_own_macs(self._channel) if answers else {},
        )

    def _probe_twice(self, cached_mac: bytes) -> list[ProbeResult]:
        """Probe by broadcast, twice: of two hosts the second may be slow, or its answer lost.

        Where nobody answers, the second question begins with a unicast probe to the cached MAC.
        """
        first = ask([Question(*self._key)])[self._key]
        if first.why or not (first.answers or cached_mac):
            return [first]
        mac = b"" if first.answers else cached_mac
        return [first, ask([Question(*self._key, mac)])[self._key]]

    def _settled(self, answers: Mapping[bytes, float]) -> codec.Entry | None:
        """Wait for the entry to hold a MAC that answered, at most SETTLE_S; return the entry."""
        deadline = time.monotonic() + (SETTLE_S if answers else 0)
        while True:
            entry = self._entry()
            if not entry or entry.mac in answers or time.monotonic() > deadline:
                return entry
            time.sleep(POLL_S)

    def _waited_for_locktime(
        self, after: codec.Entry | None, answers: Mapping[bytes, float]
    ) -> bool:
        """Tell whether locktime made the kernel ignore the answer; if so, wait until it is over."""
        if not after or not answers or after.mac in answers or self._owner(after):
            return False
        left_s = ownership.locktime_left_s(after, self._table.timers(self._family, self._key[0]))
        if not left_s:
            return False
        time.sleep(min(left_s, MAX_LOCKTIME_WAIT_S) + 1 / TICKS)
        return True

    def _witnesses(self, answers: Mapping[bytes, float]) -> dict[str, list[str]]:
        """Return other addresses that the table holds at the MACs, and the MACs that answer.

        Each is probed twice, as the address itself: of two hosts the second may be slow.
        """
        at: dict[bytes, list[codec.Key]] = {mac: [] for mac in answers}
        for entry in self._neighbours():
            if entry.mac in at and entry.key != self._key and not self._owner(entry):
                at[entry.mac].append(entry.key)
        questions = [Question(*key) for found in at.values() for key in found[:MAX_WITNESSES]]
        answered: dict[str, list[str]] = {}
        for (_ifindex, dst), result in [*ask(questions).items(), *ask(questions).items()]:
            macs = answered.setdefault(codec.address(dst), [])
            macs += [text for mac in result.answers if (text := mac.hex(":")) not in macs]
        return answered


def _release() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])


def _sockets(peer: bytes) -> tuple[list[Row], str]:
    """Return the TCP sockets to an address without an answer; or why they are not known."""
    try:
        with sock_diag.Sockets() as sockets:
            return [found.row() for found in sockets.unanswered(peer)], ""
    except OSError as error:
        return [], error.strerror or str(error)


def _refused(family: int) -> int:
    """Return how many entries of a family found no room since boot; -1: not known."""
    with rtnetlink.Channel() as channel:  # closed after the table: devices follow it
        for chunk in channel.dump(RTM_GETNEIGHTBL, bytes([family, 0, 0, 0])):
            size = codec.U32.unpack_from(chunk)[0]
            for name, start, end in codec.attributes(chunk, 20, size):
                if name == _NDTA_STATS and end - start >= _TABLE_FULLS + 8:
                    return int(struct.unpack_from("=Q", chunk, start + _TABLE_FULLS)[0])
            break
    return -1  # before 4.3, or ipv6.disable=1


def _own_macs(channel: rtnetlink.Channel) -> dict[str, str]:
    """Return the MACs of this host, each with a device that has it."""
    found = {}
    for chunk in channel.dump(RTM_GETLINK, bytes(codec.IFINFOMSG.size)):
        for _kind, message in codec.messages(chunk):
            values = codec.values(message, codec.HEADER.size + codec.IFINFOMSG.size)
            name = values[IFLA_IFNAME].rstrip(b"\0").decode(errors="backslashreplace")
            found[values.get(IFLA_ADDRESS, b"").hex(":")] = name
    return found
