"""Why traffic to an address is lost: one verdict, from what was seen. Pure: no kernel, no wire.

The verdicts are a closed set (``VERDICTS``). Which one, where several are true, is decided in this
order, and each comes before the next because it would make the next one misleading:

1. *cannot be asked here*: nothing on the wire was seen, so nothing can be said about the wire.
2. *duplicate address*, *flux*: two MACs answer. Whatever the table holds will change with the next
   question, so what it holds now explains nothing.
3. Somebody answers. What counts is what the table holds after it: another's entry we never touch
   (*owned entry disagrees with the wire*); another MAC than the one that answers (*wrong, and
   asking did not correct it*); that MAC, but not before (*wrong, now corrected by asking*);
   nothing, as there is no room (*table full*) or no reason (*no entry*).
4. Nobody answers, but the entry has been confirmed all the same (*silent but vouched for*): before
   *nobody answers*, as only this one stays broken by itself.
5. The entry is *right*. For an address behind a router it is the router's that was judged, and
   being right it is not the reason: *not on this link, next hop judged*. A wrong one of the router
   has its own verdict, as it is the reason.

Where nobody was to be asked, reading alone rarely decides: *not asked* says so.

**Flux or duplicate?** Two NICs of one machine on one link answer for each of its addresses, those
that only the other one holds included (arp_ignore=0, the kernel's default). Two machines with one
address in common do not: each answers for its own others alone. So other addresses which the table
holds at one of the MACs (witnesses) are asked about. One that a single one of them answers proves
two machines; if several answer, it is one, or a complete copy of one, which nothing on the wire
tells apart. Without a witness it cannot be told, and the worse is assumed, and said.
"""

import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Row = dict[str, Any]

TICK_S = 0.02  # an age in ticks is up to one too small; of them there are 100 a second or more

CANNOT = "cannot be asked here"
DUPLICATE = "duplicate address"
FLUX = "flux"
OWNED = "owned entry disagrees with the wire"
STILL_WRONG = "wrong, and asking did not correct it"
CORRECTED = "wrong, now corrected by asking"
TABLE_FULL = "table full"
NO_ENTRY = "no entry"
VOUCHED = "silent but vouched for"
SILENT = "nobody answers"
RIGHT = "right"
NEXT_HOP = "not on this link, next hop judged"
NOT_ASKED = "not asked"

#: Every verdict there is, and what it means.
VERDICTS = {
    CANNOT: "there is nobody to ask, or no way to ask",
    DUPLICATE: "two machines answer for the address",
    FLUX: "one machine answers with two of its NICs",
    OWNED: "somebody set the entry (by hand, a routing daemon), and another MAC answers",
    STILL_WRONG: "another MAC answers, and the kernel does not take it",
    CORRECTED: "the entry had another MAC or none, and has the one that answers now",
    TABLE_FULL: "it answers, but the kernel has no room for an entry",
    NO_ENTRY: "it answers, and the next packet learns it: the table is not the reason",
    VOUCHED: "nobody answers, and something keeps the entry alive all the same",
    SILENT: "nobody answers, neither us nor the kernel",
    RIGHT: "the MAC in the table is the one that answers: the table is not the reason",
    NEXT_HOP: "the router it is sent to is right in the table: the reason lies behind it",
    NOT_ASKED: "only read (test=True), and that does not decide",
}


class Route(NamedTuple):
    """How the kernel sends to an address. ``gateway`` is empty where it is on the link."""

    dev: str = ""
    source: str = ""
    gateway: str = ""
    why_not: str = ""  # why there is no neighbour to ask


class Load(NamedTuple):
    """How full the table is, all namespaces together; zeros where the kernel has no such table."""

    entries: int = 0
    never_collected: int = 0  # PERMANENT and extern_learn of this namespace: no limit counts them
    gc_thresh1: int = 0
    gc_thresh2: int = 0
    gc_thresh3: int = 0
    refused: int = 0  # entries that found no room since boot; -1: not known (before Linux 4.3)
    refused_lately: int = 0  # since we began to look

    @property
    def is_full(self) -> bool:
        """Tell whether the kernel has no room for one more entry.

        Those of other namespaces that no limit counts are not known, and with them it looks fuller
        than it is. So it has to have refused somebody, too.
        """
        counted = self.entries - self.never_collected
        return bool(self.refused_lately > 0 or (self.refused and 0 < self.gc_thresh3 <= counted))


@dataclass(frozen=True)
class Evidence:
    """What was seen. Entries in the shape of ``arp.list``; MACs in lower case with colons."""

    address: str
    route: Route
    entry: Row | None = None  # of the next hop, before it was asked about
    entry_after: Row | None = None  # and after
    asked: bool = True  # False: only read
    asked_s: float = 0.0  # how long asking took, until the entry was read again
    cannot_ask: str = ""
    unicast_asked: int = 0  # questions sent to the MAC in the table alone
    broadcast_asked: int = 0  # and to everybody
    answers: dict[str, float] = field(default_factory=dict)  # MAC to ms
    witnesses: dict[str, list[str]] = field(default_factory=dict)  # other address to who answers
    own_macs: dict[str, str] = field(default_factory=dict)  # of this machine: MAC to device
    load: Load = field(default_factory=Load)
    sockets: list[Row] = field(default_factory=list)  # TCP, to the address, that get no answer
    sockets_unknown: str = ""  # why they cannot be listed
    kernel: str = ""  # its release

    @property
    def judged(self) -> str:
        """Return the address whose entry is judged: the router's, where there is one."""
        return self.route.gateway or self.address


class Verdict(NamedTuple):
    """What it is, in a sentence, and the command that cures; empty where none of ours does."""

    name: str
    sentence: str
    cure: str = ""


def verdict(seen: Evidence) -> Verdict:
    """Judge; see the head of this file for the order."""
    found = _judge(seen)
    notes = [found.sentence]
    if found.name in (RIGHT, NEXT_HOP, NO_ENTRY) and seen.sockets:
        count = len(seen.sockets)
        sockets = "1 TCP socket gets" if count == 1 else f"{count} TCP sockets get"
        notes.append(f"{sockets} no answer: look for a filter, a route back, or the service.")
    if found.name != TABLE_FULL and seen.load.is_full:
        notes.append("The neighbour table is full: whoever has no entry gets none.")
    notes += [
        f"{mac} is this machine's own, of {seen.own_macs[mac]}: proxy ARP?"
        for mac in seen.answers
        if mac in seen.own_macs
    ]
    return found._replace(sentence=" ".join(notes))


def _judge(seen: Evidence) -> Verdict:
    if seen.route.why_not:
        return Verdict(CANNOT, f"{seen.address} cannot be asked about: {seen.route.why_not}.")
    if not seen.asked:
        return _read_only(seen)
    if seen.cannot_ask:
        held = f"; {_holds(seen.entry)}, right or not" if seen.entry else ""
        return Verdict(CANNOT, f"{_who(seen)} cannot be asked about: {seen.cannot_ask}{held}.")
    if len(seen.answers) > 1:
        return _several(seen)
    return _answered(seen) if seen.answers else _silent(seen)


def _read_only(seen: Evidence) -> Verdict:
    """Judge without a question having been asked."""
    entry, who = seen.entry, _who(seen)
    if not entry:
        if seen.load.is_full:
            return _table_full(seen, f"{who} has no entry")
        return Verdict(NO_ENTRY, f"{who} has no entry; nobody was asked.")
    if entry["state"] == "FAILED":
        return Verdict(SILENT, f"nobody answers for {who}: the kernel has asked in vain.")
    doubt = f" {_vouched(seen)}" if entry["suspect"] else ""
    sentence = f"{who}: {_holds(entry)}; nobody was asked whether that is right.{doubt}"
    return Verdict(NOT_ASKED, sentence, _command("diagnose", seen))


def _several(seen: Evidence) -> Verdict:
    """Judge two MACs that answer: two machines, or two NICs of one."""
    who, macs = _who(seen), _answers(seen)
    alone, together = _witnesses(seen)
    held = f"{_holds(seen.entry, 'The table held')} before, {_holds(seen.entry_after, 'now')}"
    if together and not alone:
        return Verdict(
            FLUX,
            f"one machine answers for {who} with {len(seen.answers)} NICs (ARP flux): {macs}; "
            f"they answer for {together[0]} too. A complete copy of a machine would look the same. "
            f"{held}: traffic may change NICs with every question.",
            "there: sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
        )
    told = "no other address of theirs is known here that would tell two machines from two NICs"
    if alone:
        address, mac = alone[0]
        told = f"for {address} only {mac} answers, so they are two machines"
    return Verdict(
        DUPLICATE,
        f"{len(seen.answers)} MACs answer for {who}: {macs}; {told}. {held}.",
        f"on all of them but one: ip address del {seen.judged} dev DEVICE",
    )


def _witnesses(seen: Evidence) -> tuple[list[tuple[str, str]], list[str]]:
    """Return witnesses whom one of several MACs answers alone, with it; and those whom more do."""
    alone, together = [], []
    for address, macs in sorted(seen.witnesses.items()):
        ours = [mac for mac in macs if mac in seen.answers]
        if len(ours) == 1:
            alone.append((address, ours[0]))
        elif ours:
            together.append(address)
    return alone, together


def _answered(seen: Evidence) -> Verdict:
    """Judge one MAC that answers."""
    [mac] = seen.answers
    who, before, after = _who(seen), seen.entry, seen.entry_after
    answers = _answers(seen)
    if after and after["mac"] == mac:
        return _learned(seen, mac)
    if after and is_owned(after):
        by_hand = f"ip neigh del {seen.judged} dev {seen.route.dev}"
        return Verdict(
            OWNED,
            f"{answers} answers for {who}, but {_holds(after)}; whoever set it must correct it.",
            by_hand if after["owner"] == "PERMANENT" else "",
        )
    if after and after["state"] == "FAILED":  # as good as none, though IPv6 takes no answer into it
        what = (
            f"{who} has no MAC in the table (FAILED); {answers} answers, the next packet learns it."
        )
        return Verdict(NO_ENTRY, what)
    if after:
        return Verdict(
            STILL_WRONG,
            f"{answers} answers for {who}, and yet {_holds(after)}: it changed a moment ago "
            "(locktime), somebody writes it, or the answer may not override (IPv6).",
            _command("flush", seen),
        )
    if seen.load.is_full:
        return _table_full(seen, f"{answers} answers for {who}, which has no entry")
    gone = f" any more ({_holds(before, 'it was')})" if before else ""
    return Verdict(
        NO_ENTRY, f"{who} has no entry{gone}; {answers} answers, the next packet learns it."
    )


def _learned(seen: Evidence, mac: str) -> Verdict:
    """Judge an entry that holds the MAC that answers: since when."""
    who, before, answers = _who(seen), seen.entry, _answers(seen)
    if not before:
        return Verdict(NO_ENTRY, f"{who} had no entry; {answers} answers, and now it has one.")
    if before["mac"] != mac:
        why = f" {_vouched(seen)}" if before["suspect"] else ""
        held = _holds(before, "the table held")
        sentence = f"{who} was wrong: {held}; {answers} answers, and it holds that now.{why}"
        return Verdict(CORRECTED, sentence)
    if seen.route.gateway:
        sentence = (
            f"{seen.address} is not on this link; its next hop {seen.judged} on {seen.route.dev} "
            f"is right: {answers} answers, and the table holds it. Look behind that router."
        )
        return Verdict(NEXT_HOP, sentence)
    return Verdict(RIGHT, f"{who} is right: {answers} answers, and the table holds it.")


def _silent(seen: Evidence) -> Verdict:
    """Judge that nobody answers."""
    who, now = _who(seen), seen.entry_after
    if now and not is_owned(now) and is_vouched_for(seen):
        return Verdict(
            VOUCHED,
            f"nobody answers for {who}, and yet {_holds(now)}. {_vouched(seen)} It may live and be "
            "told not to answer (arp_ignore); otherwise its traffic is lost until the entry goes.",
            _command("revalidate", seen),
        )
    return Verdict(
        SILENT,
        f"nobody answers for {who}; {_holds(now)}. It is down, on another link, or what it says "
        "does not arrive here.",
    )


def is_vouched_for(seen: Evidence) -> bool:
    """Tell whether the entry was confirmed by something else than an answer that we saw.

    Either for longer than ARP alone would have kept it, or while we asked and nobody answered.
    """
    before, after = seen.entry, seen.entry_after
    if not before or not after or after["state"] != "REACHABLE":
        return False
    while_we_asked = after["confirmed_s"] + TICK_S < seen.asked_s
    return before["suspect"] or after["suspect"] or while_we_asked


def kept_alive_by(seen: Evidence) -> str:
    """Return what keeps the entry as it is."""
    entry = seen.entry_after or seen.entry
    if not entry or not entry["mac"]:
        return ""
    if is_owned(entry):
        return f"its owner ({entry['owner']})"
    if entry["suspect"] or is_vouched_for(seen):
        return _vouched(seen)
    if entry["state"] == "REACHABLE":
        return f"an answer or a hint {entry['confirmed_s']:.1f} s ago"
    return f"nothing: unconfirmed for {entry['confirmed_s']:.0f} s"


def _vouched(seen: Evidence) -> str:
    """Return what may keep an entry alive that ARP would not."""
    old = "; on this kernel any living neighbour does (before Linux 4.11)"
    return (
        "Something else than its answers vouches for it: an application (MSG_CONFIRM), or TCP that "
        f"arrives from the address by another way{old if _release(seen.kernel) < (4, 11) else ''}."
    )


def _release(kernel: str) -> tuple[int, ...]:
    """Return the first two numbers of a kernel's release; of none a new one's."""
    return tuple(int(number) for number in re.findall(r"\d+", kernel)[:2]) or (99, 0)


def _table_full(seen: Evidence, what: str) -> Verdict:
    load, family = seen.load, "ipv6" if ":" in seen.judged else "ipv4"
    key = f"net.{family}.neigh.default.gc_thresh"
    return Verdict(
        TABLE_FULL,
        f"{what}, and there is no room for one: {load.entries} entries in all namespaces, "
        f"gc_thresh3 is {load.gc_thresh3}.",
        f"sysctl -w {key}2={load.gc_thresh3 * 2} {key}3={load.gc_thresh3 * 4}",
    )


def is_owned(entry: Row) -> bool:
    """Tell whether somebody set an entry; one that the kernel resolves is merely left alone."""
    return entry["owner"] not in ("", "INCOMPLETE", "NONE")


def _who(seen: Evidence) -> str:
    behind = f" (next hop of {seen.address})" if seen.route.gateway else ""
    return f"{seen.judged}{behind} on {seen.route.dev}"


def _answers(seen: Evidence) -> str:
    return ", ".join(f"{mac} ({ms:.2f} ms)" for mac, ms in sorted(seen.answers.items()))


def _holds(entry: Row | None, begin: str = "the table holds") -> str:
    """Return what the table holds, as part of a sentence."""
    if not entry:
        return f"{begin} no entry"
    owner = f", {entry['owner']}" if entry["owner"] not in ("", entry["state"]) else ""
    return f"{begin} {entry['mac'] or 'no MAC'} ({entry['state']}{owner})"


def _command(verb: str, seen: Evidence) -> str:
    address = seen.address if verb == "diagnose" else seen.judged
    return f"salt-call arp.{verb} {address} dev={seen.route.dev}"
