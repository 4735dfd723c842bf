"""Why traffic to an address is lost: one verdict from the evidence. Pure: no kernel, no wire.

The verdicts are a closed set (``VERDICTS``). Where several are true, the first in this order wins,
because it would make the next ones misleading:

1. *cannot be asked here*: no probe was sent, so nothing is known about the wire. Or the entry has
   moved to the MAC that answers, and its former holder could not be asked again.
2. *proxy*: a host answers that also answers for addresses which nobody has. Its answer proves
   nothing, and takes no entry from another host. *duplicate address*, *flux*: two MACs answer. The
   entry changes with every probe, so what it holds now explains nothing.
3. One MAC answers. The entry afterwards decides: it has an owner and another MAC (*owned entry
   disagrees with the wire*); no owner and another MAC (*wrong, and asking did not correct it*);
   the MAC that answers, but not before (*wrong, now corrected by asking*); there is none, for lack
   of room (*table full*) or of traffic (*no entry*).
4. Nobody answers, but upper-layer confirmation keeps the entry REACHABLE: before *nobody answers*,
   as only this one stays broken by itself.
5. The entry is *right*. For an address behind a router the router's entry was judged; if that is
   right, the cause lies elsewhere: *not on this link, next hop judged*. If it is wrong, it is the
   cause and has its own verdict.

With ``test=True`` no probe is sent, and the table alone rarely decides: *not asked*.

**Flux or duplicate?** Two NICs of one machine on one link answer for each of its addresses, those
that only the other one holds included (arp_ignore=0, the kernel's default). Two machines with one
address in common do not: each answers for its own others alone. So other addresses which the table
holds at one of the MACs (witnesses) are probed. A witness for which only one of them answers proves
two machines; if several answer, it is one machine, or a complete copy of one, which nothing on the
wire tells apart. Without a witness two machines are assumed, and the sentence says so. One of two
may be a router that answers for a host behind it, by a route to that one address (proxy_arp): for
what nobody has it does not answer, so nothing on the wire tells it from a machine.
"""

from typing import NamedTuple

from . import upper_layer
from .facts import Evidence, Row, is_owned

CANNOT = "cannot be asked here"
DUPLICATE = "duplicate address"
FLUX = "flux"
PROXY = "proxy"
OWNED = "owned entry disagrees with the wire"
STILL_WRONG = "wrong, and asking did not correct it"
CORRECTED = "wrong, now corrected by asking"
TABLE_FULL = "table full"
NO_ENTRY = "no entry"
UPPER_LAYER_ONLY = "silent but vouched for"
SILENT = "nobody answers"
RIGHT = "right"
NEXT_HOP = "not on this link, next hop judged"
NOT_ASKED = "not asked"

#: Every verdict there is, and what it means.
VERDICTS = {
    CANNOT: "there is no neighbour to probe, or no probe can be sent to it or to the former holder",
    DUPLICATE: "two machines answer for the address",
    FLUX: "one machine answers with two of its NICs",
    PROXY: "a host answers that answers for every address (proxy ARP): its answer proves nothing",
    OWNED: "the entry has an owner (an operator, a routing daemon), and another MAC answers",
    STILL_WRONG: "another MAC answers, and the kernel ignores it",
    CORRECTED: "the entry had another MAC or none, and has the one that answers now",
    TABLE_FULL: "it answers, but the kernel has no room for an entry",
    NO_ENTRY: "it answers, and the next packet learns it: the table is not the cause",
    UPPER_LAYER_ONLY: "nobody answers, and TCP or an application keeps the entry",
    SILENT: "no host answers, neither us nor the kernel; it need not be down",
    RIGHT: "the cached MAC is the one that answers: the table is not the cause",
    NEXT_HOP: "the entry of the router is right: the cause lies behind it",
    NOT_ASKED: "only read (test=True), which does not decide",
}
QUIET_NICS = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"
HEALTHY = {RIGHT, NEXT_HOP, NO_ENTRY, NOT_ASKED}  # the table is not the cause, as far as is known


class Verdict(NamedTuple):
    """The name, a sentence, and the command that cures.

    The command is empty where none is harmless under every reading of the evidence: the person who
    copies it does not weigh the sentence. Where it depends on one fact, that stands before it.
    """

    name: str
    sentence: str
    cure: str = ""


def verdict(seen: Evidence) -> Verdict:
    """Judge the evidence, in the order of the head of this file."""
    found = _judge(seen)
    if found.name == CORRECTED and seen.unproved:
        found = _unproved(seen)
    notes = [found.sentence]
    if found.name in (RIGHT, NEXT_HOP) and (stuck := len(seen.stuck_since)):
        sockets = "1 TCP socket gets" if stuck == 1 else f"{stuck} TCP sockets get"
        notes.append(f"{sockets} no answer: look for a filter, a route back, or the service.")
    if found.name != TABLE_FULL and seen.load.is_full:
        notes.append("The neighbour table is full: no new neighbour can be learned.")
        if found.name in (SILENT, CORRECTED):  # the others have a cause with an act of its own
            found = found._replace(cure=found.cure or _larger_table(seen))
    if "proxy ARP" not in found.sentence:
        notes += [
            f"{mac} answers for addresses that nobody has, too (proxy ARP): it proves no host."
            for mac in sorted(seen.proxies)
        ]
    if seen.other_hops:
        hops = ", ".join(f"{hop} ({name})" for hop, name in sorted(seen.other_hops.items()))
        notes.append(f"Its packets may take other next hops: {hops}; this is about {seen.hop}.")
    if seen.note:
        notes.append(seen.note)
    notes += [
        f"{mac} belongs to this host ({seen.own_macs[mac]}): proxy ARP?"
        for mac in seen.answers
        if mac in seen.own_macs
    ]
    return found._replace(sentence=" ".join(notes))


def _judge(seen: Evidence) -> Verdict:
    if seen.route.why_not:
        return Verdict(CANNOT, f"cannot probe {seen.address}: {seen.route.why_not}.")
    if not seen.asked:
        return _read_only(seen)
    if seen.cannot_ask:
        held = f"; {_holds(seen.entry)} (not verified)" if seen.entry else ""
        return Verdict(CANNOT, f"cannot probe {_who(seen)}: {seen.cannot_ask}{held}.")
    if seen.answering_port:
        return Verdict(
            CANNOT,
            f"cannot probe {_who(seen)}: the host with that MAC is behind port "
            f"{seen.answering_port} of this host's own bridge, which answers for it "
            f"(neigh_suppress): our broadcasts do not leave; {_holds(seen.entry)} (not verified).",
        )
    if seen.proxies and (found := _beside_proxy(seen)):
        return found
    if len(seen.answers) > 1:
        return _several(seen)
    return _answered(seen) if seen.answers else _silent(seen)


def _unproved(seen: Evidence) -> Verdict:
    """Judge an entry that has moved to a MAC that answers, and that is not known to be right."""
    return Verdict(
        CANNOT,
        f"{_answers(seen)} answers for {_who(seen)}, and {_holds(seen.entry_after)}; "
        f"{_holds(seen.entry, 'it held')} before, and {seen.unproved}: not known which is right.",
        _command("diagnose", seen),
    )


def _read_only(seen: Evidence) -> Verdict:
    """Judge the table alone."""
    entry, who, ask = seen.entry, _who(seen), _command("diagnose", seen)
    if not entry:
        if seen.load.may_be_full:
            return _table_full(seen, f"{who} has no entry")
        return Verdict(NOT_ASKED, f"{who} has no entry; no probe was sent.", ask)
    if entry["state"] == "FAILED":
        sentence = f"no host has answered the kernel for {who} (FAILED); no probe of ours was sent."
        return Verdict(SILENT, sentence, ask)
    suspicion = f" {upper_layer.confirmation(seen)}" if entry["suspect"] else ""
    sentence = f"{who}: {_holds(entry)}; no probe was sent to verify it.{suspicion}"
    return Verdict(NOT_ASKED, sentence, ask)


def _beside_proxy(seen: Evidence) -> Verdict | None:
    """Judge answers of which a proxy gave some; None where the table had and has the proxy's.

    That may be all there is: behind some fabrics every address answers from one MAC. Where the
    table has another MAC, that host may only be silent now, and no command may give its entry away.
    """
    who, before, after = _who(seen), seen.entry, seen.entry_after
    hosts = sorted(mac for mac in seen.answers if mac not in seen.proxies)
    proxies = ", ".join(sorted(seen.proxies & seen.answers.keys()))
    for_all = f"{proxies} answers for it, and for addresses that nobody has (proxy ARP)"
    held = f"{_holds(before, 'The table held')} before, {_holds(after, 'now')}"
    if not hosts:
        is_as_before = before and after and before["mac"] == after["mac"]
        if is_as_before and after["mac"] in seen.proxies:
            return None
        return Verdict(PROXY, f"only a proxy answers for {who}: {for_all}. {held}.")
    if before and after and before["mac"] in seen.proxies and after["mac"] in hosts:
        return Verdict(
            CORRECTED,
            f"{who} was wrong: the table held {before['mac']}, a proxy; {after['mac']} answers "
            f"itself, and the table holds that now. {for_all}.",
        )
    return Verdict(
        PROXY,
        f"{', '.join(hosts)} answers for {who}; {for_all}: the answer of a proxy proves nothing. "
        f"{held}.",
    )


def _several(seen: Evidence) -> Verdict:
    """Judge several MACs that answer: two machines, or two NICs of one."""
    who, macs = _who(seen), _answers(seen)
    alone, together = _witnesses(seen)
    held = f"{_holds(seen.entry, 'The table held')} before, {_holds(seen.entry_after, 'now')}"
    if together and not alone:
        # an address of lo or dummy0 would be answered for by no NIC at all
        cure = f"on that machine, if one of these NICs has {seen.judged}: {QUIET_NICS}"
        return Verdict(
            FLUX,
            f"one machine answers for {who} with {len(seen.answers)} NICs (ARP flux): {macs}; "
            f"they answer for {together[0]} too. A complete copy of a machine would look the same. "
            f"{held}: traffic may change NICs with every probe.",
            "" if ":" in seen.judged else cure,
        )
    reason = "two machines or two NICs of one: no other address of theirs is known here to tell"
    if alone:
        address, mac = alone[0]
        key = "proxy_ndp" if ":" in seen.judged else "proxy_arp"
        reason = (
            f"for {address} only {mac} answers, so they are two machines; one may be a router "
            f"that answers for a host behind it ({key})"
        )
    # no command: two NICs of one machine may be meant so, and a router has no address to delete
    return Verdict(
        DUPLICATE, f"{len(seen.answers)} MACs answer for {who}: {macs}; {reason}. {held}."
    )


def _witnesses(seen: Evidence) -> tuple[list[tuple[str, str]], list[str]]:
    """Return witnesses that one MAC alone answers for, with that MAC; and those of several."""
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
        # set on purpose, it may be what keeps the other machine from taking the address
        by_hand = f"unless it is meant so: ip neigh del {seen.judged} dev {seen.route.dev}"
        return Verdict(
            OWNED,
            f"{answers} answers for {who}, but {_holds(after)}; only its owner can correct it.",
            by_hand if after["owner"] == "PERMANENT" else "",
        )
    is_waited_for = bool(seen.sockets)  # each of their packets makes the kernel ask again
    if after and after["state"] == "FAILED" and ":" in seen.judged and not is_waited_for:
        # no MAC; an IPv6 answer does not complete it, an IPv4 one does
        return Verdict(
            NO_ENTRY,
            f"{who} has no cached MAC (FAILED); {answers} answers, the next packet learns it.",
        )
    if after:
        return _still_wrong(seen, after)
    if seen.load.may_be_full:
        return _table_full(seen, f"{answers} answers for {who}, which has no entry")
    if seen.arp_filter and is_waited_for:
        return _still_wrong(seen, after)
    gone = f" any more ({_holds(before, 'it was')})" if before else ""
    unless = ", unless the ARP filter of this host drops the answer" if seen.arp_filter else ""
    return Verdict(
        NO_ENTRY, f"{who} has no entry{gone}; {answers} answers, the next packet learns it{unless}."
    )


def _still_wrong(seen: Evidence, after: Row | None) -> Verdict:
    """Judge an entry into which the kernel did not take the answer: why, and what helps.

    Where a filter drops the answer the kernel would learn nothing after a flush either.
    """
    cure, alive = _command("flush", seen), ""
    if seen.is_written_back:
        why = (
            "the kernel took the answer, and the entry has its former MAC again, though no host "
            "with that one answers: another process or a frame of another host wrote it meanwhile"
        )
        cure = "look at: ip monitor neigh"
    elif ":" in seen.judged and not (after and after["mac"]):
        why = "a filter of this host drops the answer, or that host has only just begun to answer"
        cure = "look at: nft list ruleset"
    elif ":" in seen.judged and seen.has_override:
        why = "a filter of this host drops the answer, or another process writes it"
        cure = "look at: nft list ruleset"
    elif ":" in seen.judged:
        why = "the answer has no Override flag (an ND proxy), or another process writes it"
        if seen.connected:  # a flush may give the entry to that proxy: do they still receive?
            cure = f"look at lastrcv: ss -tni dst '[{seen.address}]'"
            alive = _alive(seen, "the host with the cached MAC")
    elif seen.locktime_left_s:
        why = "it changed a moment ago (locktime)"
    elif seen.arp_filter:
        why = "the ARP filter of this host drops the answer, or another process writes it"
        cure = "look at: nft list ruleset arp"
    else:
        why = (
            "an ARP filter of this host (arptables, nftables) drops the answer, or another process "
            "writes it"
        )
        # the kernel would not learn it after a flush either
        cure = "look at: arptables-legacy -L" if seen.arp_filter_unread else ""
    sentence = f"{_answers(seen)} answers for {_who(seen)}, and yet {_holds(after)}: {why}."
    return Verdict(STILL_WRONG, sentence + alive, cure)


def _learned(seen: Evidence, mac: str) -> Verdict:
    """Judge an entry that holds the MAC that answers: since when."""
    who, before, answers = _who(seen), seen.entry, _answers(seen)
    if not before:
        return Verdict(NO_ENTRY, f"{who} had no entry; {answers} answers, and now it has one.")
    if before["mac"] != mac:
        why = f" {upper_layer.confirmation(seen)}" if before["suspect"] else ""
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
    """Judge an address that nobody answers for."""
    who, now = _who(seen), seen.entry_after
    alive = _alive(seen)
    if now and not is_owned(now) and upper_layer.is_confirmed(seen):
        return Verdict(
            UPPER_LAYER_ONLY,
            f"no host answers for {who}, and yet {_holds(now)}. {upper_layer.confirmation(seen)} "
            "Either that host is dead, and traffic to it is lost; or it is alive and ignores ARP "
            f"(arp_ignore).{alive}",
        )
    probes = seen.unicast_asked + seen.broadcast_asked
    static = cure = ""
    if now and is_owned(now) and now["mac"]:
        static = " The kernel uses that MAC without asking: traffic may flow."
        if now["owner"] == "PERMANENT":
            static = f" Somebody set it.{static}"
            cure = (
                f"if {now['mac']} is a dead machine's, delete or correct it where it was set: "
                f"ip neigh del {seen.judged} dev {seen.route.dev}"
            )
    return Verdict(
        SILENT,
        f"no host answers for {who} ({probes} probes); {_holds(now)}.{static}{alive} Silence alone "
        "does not tell a dead host from one that answers no ARP (arp_ignore, a filter there or on "
        "this host, another link).",
        cure,
    )


def _alive(seen: Evidence, who: str = "it") -> str:
    """Return a sentence about connections that get acknowledgements, or ""."""
    if not seen.connected:
        return ""
    noun = "connection to it was" if seen.connected == 1 else "connections to it were"
    return (
        f" {seen.connected} TCP {noun} acknowledged in the last seconds: {who} may well be alive."
    )


def _table_full(seen: Evidence, what: str) -> Verdict:
    load = seen.load
    full = "is full" if load.is_full else "may be full"
    most = "" if load.is_full else "at most "
    return Verdict(
        TABLE_FULL,
        f"{what}, and the table {full}: {most}{load.counted} entries of all namespaces count, "
        f"gc_thresh3 is {load.gc_thresh3}.",
        _larger_table(seen),
    )


def _larger_table(seen: Evidence) -> str:
    key = f"net.{'ipv6' if ':' in seen.judged else 'ipv4'}.neigh.default.gc_thresh"
    return f"sysctl -w {key}2={seen.load.gc_thresh3 * 2} {key}3={seen.load.gc_thresh3 * 4}"


def _who(seen: Evidence) -> str:
    behind = f" (next hop of {seen.address})" if seen.route.gateway else ""
    return f"{seen.judged}{behind} on {seen.route.dev}"


def _answers(seen: Evidence) -> str:
    return ", ".join(f"{mac} ({ms:.2f} ms)" for mac, ms in sorted(seen.answers.items()))


def _holds(entry: Row | None, begin: str = "the table holds") -> str:
    """Return a part of a sentence: what the table holds."""
    if not entry:
        return f"{begin} no entry"
    owner = f", {entry['owner']}" if entry["owner"] not in ("", entry["state"]) else ""
    return f"{begin} {entry['mac'] or 'no MAC'} ({entry['state']}{owner})"


def _command(verb: str, seen: Evidence) -> str:
    """Return a command for this host; it needs no master, which may be out of reach too."""
    address = seen.address if verb == "diagnose" else seen.judged
    return f"salt-call --local arp.{verb} {address} dev={seen.route.dev}"
