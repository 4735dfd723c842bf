"""Collect the evidence on one address: read everything, then probe, then read again, then judge.

In this order because a probe heals: afterwards nothing shows what was wrong. And it can harm: so
the host with the cached MAC is asked alone first, and if the kernel takes the answer of another one
to a broadcast, it is asked again, alone, which gives it its entry back (diagnose/holder.py).

An entry with an owner is not ours to change, and a probe can change it: the kernel takes the
answer. So it is probed only in states in which the kernel ignores answers (PERMANENT, NOARP).
"""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..netlink import codec, links, nf_tables, route, rtnetlink, table_dump
from ..netlink.constants import IFF_UP, TICKS
from ..resolve import locktime, overtaken, under_way
from ..resolve.ask import ask
from ..resolve.question import OVERTAKEN, ProbeResult, Question
from ..table import answer, parse, view
from ..table.listing import Listing
from ..table.selectors import DEFAULT_LIMIT, parse_selectors
from . import holder, readings, ways
from .facts import IGNORES_ANSWERS, Evidence, Route, Row, is_owned
from .upper_layer import kept_alive_by
from .verdict import CORRECTED, HEALTHY, verdict

MAX_WITNESSES = 3  # other addresses of each MAC that are probed, where two MACs answer
SETTLE_S = 0.1  # the kernel may take an answer a moment after we have read it
POLL_S = 0.002
MAX_LOCKTIME_WAIT_S = 2.0  # an administrator may set a longer locktime


def diagnose(
    dst: bytes, dev: str | None = None, test: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the verdict on a packed address and the evidence; and what asking has healed.

    test: only read. Where its packets may take several next hops, or devices, the verdict is on the
    first that is at fault; others may have been healed, too.
    NotOnThisHost where there is no such device, OSError where the kernel refuses.
    """
    with under_way.told(), rtnetlink.Channel() as channel:
        named = _ifindex(channel, dev)
        # without dev: the entry of a port's bridge, or of a VRF's device, is selected, too
        table = view.TableView(channel, parse_selectors(verb="list"))
        by, note = ways.device(table, dst, named) if named else (0, "")
        sockets = readings.Sockets(dst)
        found = ways.find(channel, dst, by, sockets.ways, sockets.mark)
        found = found if named else ways.beside(table, dst, found)
        table_words = table, dst, sockets, by
        all_seen = [_Diagnosis(*table_words, way).evidence(test) for way in found.judged]
        is_at_fault = [verdict(each).name not in HEALTHY for each in all_seen]
        at = is_at_fault.index(True) if any(is_at_fault) else 0
        seen = all_seen[at]
        hops = {each.hop: verdict(each).name for each in all_seen if each is not seen}
        hops.update((_hop(table, key), "not judged") for key in found.others)
        notes = [note] if note else []
        if found.judged[at] in found.sourced and seen.route.source:
            notes.append(
                f"Without a source address or VRF {found.why_sourced}: this is about packets from "
                f"{seen.route.source}."
            )
        healed = [row for each in all_seen if (row := _healed(each))]
        return as_dict(replace(seen, other_hops=hops, note=" ".join(notes))), healed


def _ifindex(channel: rtnetlink.Channel, dev: str | None) -> int:
    """Return a named device's; 0 where none is named, NotOnThisHost where there is no such one."""
    selected = view.TableView(channel, parse_selectors(dev=dev, verb="list")).selectors.dev
    return channel.ifindex(*selected) if selected else 0


def _healed(seen: Evidence) -> dict[str, Any] | None:
    """Return an entry whose wrong MAC our question has replaced, as arp.revalidate does."""
    before, after = seen.entry, seen.entry_after
    if not before or not after or not before["mac"] or verdict(seen).name != CORRECTED:
        return None
    return {"ip": before["ip"], "dev": before["dev"], "old": before["mac"], "new": after["mac"]}


def _hop(table: view.TableView, key: codec.Key) -> str:
    return f"{codec.address(key[1])} on {table.name(key[0])}"


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
    load = seen.load._asdict()
    del load["is_collecting"]
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
        "proxies": sorted(seen.proxies),
        "other_hops": dict(seen.other_hops),
        "table": load,
        "sockets": list(seen.sockets),
        "sockets_unknown": seen.sockets_unknown,
        "kernel": seen.kernel,
    }
    return answer.limit_lists(result, ["sockets"], DEFAULT_LIMIT)


class _Diagnosis:
    """One diagnosis of one address."""

    def __init__(
        self,
        table: view.TableView,
        dst: bytes,
        sockets: readings.Sockets,
        oif: int,
        way: route.Route,
    ) -> None:
        self._channel, self._table, self._dst, self._sockets = table.channel, table, dst, sockets
        self._route = way
        device = table.device(oif) if oif else None
        if way.why_not and device and not device.flags & IFF_UP:
            self._route = way._replace(why_not=f"{device.name} is down")
        self._key = way.neighbour(dst)  # of the entry that is judged
        self._family = codec.family_of(self._key[1])
        self._holder = holder.Holder(table, self._key)

    def evidence(self, test: bool) -> Evidence:
        """Read everything, then probe, then read again."""
        seen = Evidence(
            codec.address(self._dst),
            self._route_row(),
            asked=not test,
            sockets=[each.row() for each in self._sockets.unanswered],
            sockets_unknown=self._sockets.why_unknown,
            connected=ways.connections(
                self._channel,
                self._key,
                self._dst,
                self._sockets.acknowledged,
                self._sockets.mark,
            ),
            kernel=os.uname().release,
        )
        refused, load = readings.refused(self._family), readings.load(self._channel, self._family)
        if self._route.why_not:
            return replace(seen, load=load._replace(refused=refused))
        before = self._holder.entry()
        seen = replace(seen, entry=before and self._row(before))
        if not test:
            seen = self._probe(seen, before)
        now = readings.refused(self._family)
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

    def _row(self, entry: codec.Entry) -> Row:
        """Return an entry as a row of ``arp.list``."""
        listing = Listing(self._table)
        listing.add(self._holder.owner(entry), table_dump.Single(entry))
        return listing.rows()[0]

    # --- probing

    def _probe(
        self, seen: Evidence, before: codec.Entry | None, may_repeat: bool = True
    ) -> Evidence:
        """Probe, read again, and add both to the evidence; once more if the entry was another."""
        if before and seen.entry and is_owned(seen.entry) and not before.state & IGNORES_ANSWERS:
            why = f"its entry has an owner ({seen.entry['owner']}), and an answer would change it"
            return replace(seen, cannot_ask=why, entry_after=seen.entry)
        began, cached_mac = time.monotonic(), before.mac if before else b""
        results = self._probe_alone_then_all(cached_mac)
        asked_at = time.monotonic()
        if results[-1].why == OVERTAKEN and may_repeat:
            now = self._holder.entry()
            return self._probe(replace(seen, entry=now and self._row(now)), now, may_repeat=False)
        answers = _fastest(results)
        after = self._settled(answers)
        if self._waited_for_locktime(after, answers) and not self._is_protected_now():
            results += self._probe_alone_then_all(cached_mac)
            asked_at = time.monotonic()
            answers = _fastest(results)
            after = self._settled(answers)
        is_taken = bool(after) and after.mac in answers
        after, proxies, unproved = self._holder.keep(before, after, answers, began, asked_at)
        seen = replace(
            seen,
            asked_s=time.monotonic() - began,
            unicast_asked=sum(result.unicast_asked for result in results),
            broadcast_asked=sum(result.broadcast_asked for result in results),
            cannot_ask="" if answers else results[-1].why,
            unproved=unproved,
            answers={mac.hex(":"): round(ms, 3) for mac, ms in answers.items()},
            proxies={mac.hex(":") for mac in proxies},
            entry_after=after and self._row(after),
            own_macs=readings.own_macs(self._channel) if answers else {},
        )
        is_heard_alone = any(one.answers and not one.broadcast_asked for one in results)
        if not is_heard_alone and set(answers) <= {cached_mac}:
            port = links.answering_port(self._channel, self._key[0], cached_mac)
            seen = replace(seen, answering_port=port)
        if len(answers) > 1 and not proxies:
            seen = replace(seen, witnesses=self._witnesses(answers))
        if answers and (not after or after.mac not in answers):
            seen = replace(
                seen,
                locktime_left_s=self._holder.locktime_left_s(after),
                is_written_back=is_taken and bool(after) and after.mac == cached_mac != b"",
                has_override=any(result.overriding for result in results),
                arp_filter=nf_tables.arp_filter().drops,
                arp_filter_unread=nf_tables.has_legacy_arp_filter(),
            )
        return seen

    def _probe_alone_then_all(self, cached_mac: bytes) -> list[ProbeResult]:
        """Ask the host with the cached MAC alone, then everybody, twice.

        Twice because of two hosts the second may be slow, or its answer lost. A host that answers
        keeps its IPv4 entry meanwhile, by ``locktime``.
        """
        results = [self._ask_until_overtaken([Question(*self._key, cached_mac)])[self._key]]
        if cached_mac in results[0].answers and len(self._key[1]) == 4:
            locktime.begin(self._table, self._key, cached_mac, is_asked_next=True)
        while not results[-1].why and sum(bool(r.broadcast_asked) for r in results) < 2:
            if not (results[-1].answers or cached_mac) or self._is_protected_now():
                break
            results.append(self._ask_until_overtaken([Question(*self._key)])[self._key])
        return results

    def _ask_until_overtaken(self, questions: list[Question]) -> dict[codec.Key, ProbeResult]:
        """Ask; not about an entry that gets an owner meanwhile, or another MAC, any further."""
        owned = self._is_protected
        return ask(questions, overtaken=lambda some: overtaken.among(self._table, some, owned))

    def _is_protected_now(self) -> bool:
        """Tell whether the entry has got an owner, and one more answer would change it."""
        entry = self._holder.entry()
        return bool(entry) and self._is_protected(entry)

    def _is_protected(self, entry: codec.Entry) -> bool:
        return bool(self._holder.owner(entry)) and not entry.state & IGNORES_ANSWERS

    def _settled(self, answers: Mapping[bytes, float]) -> codec.Entry | None:
        """Wait for the entry to hold a MAC that answered, at most SETTLE_S; return the entry."""
        deadline = time.monotonic() + (SETTLE_S if answers else 0)
        while True:
            entry = self._holder.entry()
            if not entry or entry.mac in answers or time.monotonic() > deadline:
                return entry
            time.sleep(POLL_S)

    def _waited_for_locktime(
        self, after: codec.Entry | None, answers: Mapping[bytes, float]
    ) -> bool:
        """Tell whether locktime made the kernel ignore the answer; if so, wait until it is over."""
        if not after or not answers or after.mac in answers or self._holder.owner(after):
            return False
        left_s = self._holder.locktime_left_s(after)
        if not left_s:
            return False
        time.sleep(min(left_s, MAX_LOCKTIME_WAIT_S) + 1 / TICKS)
        return True

    def _witnesses(self, answers: Mapping[bytes, float]) -> dict[str, list[str]]:
        """Return other addresses that the table holds at the MACs, and the MACs that answer.

        Each is probed twice, as the address itself: of two hosts the second may be slow. And its
        holder has its entry back.
        """
        at: dict[bytes, list[codec.Entry]] = {mac: [] for mac in answers}
        for entry in self._holder.neighbours():
            if entry.mac in at and entry.key != self._key and not self._holder.owner(entry):
                at[entry.mac].append(entry)
        before = {entry.key: entry for found in at.values() for entry in found[:MAX_WITNESSES]}
        questions = [Question(*key) for key in before]
        answered: dict[str, list[str]] = {}
        asked = self._ask_until_overtaken
        for (_ifindex, dst), result in [*asked(questions).items(), *asked(questions).items()]:
            macs = answered.setdefault(codec.address(dst), [])
            macs += [text for mac in result.answers if (text := mac.hex(":")) not in macs]
        holder.give_back(self._table, before.values(), time.monotonic())
        return answered


def _fastest(results: list[ProbeResult]) -> dict[bytes, float]:
    """Return MAC to the milliseconds of its fastest answer."""
    answers: dict[bytes, float] = {}
    for result in results:
        for mac, ms in result.answers.items():
            answers[mac] = min(ms, answers.get(mac, ms))
    return answers
