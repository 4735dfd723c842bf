"""The verdict for every kind of evidence, and which of two true ones wins."""

import pytest
from arp_engine.diagnose import verdict
from arp_engine.diagnose.facts import Evidence, Load, Route

ADDRESS, ROUTER, OTHER = "192.0.2.10", "192.0.2.254", "192.0.2.77"
A, B, C = (f"02:00:00:00:00:0{letter}" for letter in "abc")
LINK = Route("db0", "192.0.2.1")
BEHIND = Route("db0", "192.0.2.1", ROUTER)
FULL = Load(1200, 100, 128, 512, 1024, refused=3)
ROOM = Load(1100, 100, 128, 512, 1024)
STUCK = {"state": "SYN_RECV", "peer": ADDRESS}


def row(mac=A, state="STALE", owner="", suspect=False, confirmed_s=40.0):
    return {
        "ip": ADDRESS,
        "mac": mac,
        "dev": "db0",
        "state": state,
        "confirmed_s": confirmed_s,
        "used_s": 1.0,
        "updated_s": 90.0,
        "suspect": suspect,
        "owner": owner,
    }


def seen(before=None, answers=(), after=None, route=LINK, **more):
    """Return evidence; ``answers``: MACs, or MACs to milliseconds."""
    found = answers if isinstance(answers, dict) else dict.fromkeys(answers, 0.5)
    more.setdefault("asked_s", 0.65)
    return Evidence(ADDRESS, route, before, after, answers=found, **more)


def read(before=None, **more):
    """Return evidence of test=True."""
    return seen(before, after=before, asked=False, asked_s=0.0, **more)


FAILED, INCOMPLETE = row("", "FAILED"), row("", "INCOMPLETE", "INCOMPLETE")
PERMANENT = row(A, "PERMANENT", "PERMANENT")
ZEBRA = row(A, "REACHABLE", "protocol zebra")
SUSPECT = row(A, "REACHABLE", suspect=True, confirmed_s=0.01)
FRESH = row(A, "REACHABLE", confirmed_s=5.0)  # by ARP, lately
REFRESHED = row(A, "REACHABLE", confirmed_s=0.1)  # during our probes

CASES = {
    # the table and the wire agree
    "right": (seen(row(), [A], row(A, "REACHABLE")), verdict.RIGHT),
    "right: kept alive, and rightly": (seen(SUSPECT, [A], SUSPECT), verdict.RIGHT),
    "right: set by hand": (seen(PERMANENT, [A], PERMANENT), verdict.RIGHT),
    "right: a full table does not matter": (seen(row(), [A], row(), load=FULL), verdict.RIGHT),
    "next hop right": (seen(row(), [A], row(), BEHIND), verdict.NEXT_HOP),
    # they did not
    "corrected": (seen(row(), [B], row(B, "REACHABLE")), verdict.CORRECTED),
    "corrected: was suspect": (seen(SUSPECT, [B], row(B)), verdict.CORRECTED),
    "corrected: had failed": (seen(FAILED, [B], row(B)), verdict.CORRECTED),
    "corrected: was being resolved": (seen(INCOMPLETE, [B], row(B)), verdict.CORRECTED),
    "corrected: the next hop": (seen(row(), [B], row(B), BEHIND), verdict.CORRECTED),
    "still wrong": (seen(row(), [B], row()), verdict.STILL_WRONG),
    "still wrong: a third MAC": (seen(row(), [B], row(C)), verdict.STILL_WRONG),
    "still wrong: was right": (seen(row(B), [B], row(C)), verdict.STILL_WRONG),
    "still wrong: being resolved": (seen(None, [B], INCOMPLETE), verdict.STILL_WRONG),
    "still wrong: the next hop": (seen(row(), [B], row(), BEHIND), verdict.STILL_WRONG),
    "owned: by hand": (seen(PERMANENT, [B], PERMANENT), verdict.OWNED),
    "owned: by zebra": (seen(ZEBRA, [B], ZEBRA), verdict.OWNED),
    "owned: taken over meanwhile": (seen(row(), [B], PERMANENT), verdict.OWNED),
    "owned: without a MAC": (seen(FAILED, [B], row("", "FAILED", "managed")), verdict.OWNED),
    "owned: corrected by its owner": (seen(ZEBRA, [B], row(B)), verdict.CORRECTED),
    # there is none
    "no entry": (seen(None, [A]), verdict.NO_ENTRY),
    "no entry: learned meanwhile": (seen(None, [A], row(A)), verdict.NO_ENTRY),
    "no entry: deleted meanwhile": (seen(row(), [B]), verdict.NO_ENTRY),
    "no entry: failed is none": (seen(FAILED, [B], FAILED), verdict.NO_ENTRY),
    "no entry: the next hop": (seen(None, [A], None, BEHIND), verdict.NO_ENTRY),
    "no entry: full with what no limit counts": (seen(None, [A], load=ROOM), verdict.NO_ENTRY),
    "table full": (seen(None, [A], load=FULL), verdict.TABLE_FULL),
    "table full: the next hop": (seen(None, [A], None, BEHIND, load=FULL), verdict.TABLE_FULL),
    "table full: at this moment": (
        seen(None, [A], load=ROOM._replace(refused_lately=3)),
        verdict.TABLE_FULL,
    ),
    "table full: on a kernel that does not count": (
        seen(None, [A], load=FULL._replace(refused=-1)),
        verdict.TABLE_FULL,
    ),
    "table full once": (seen(None, [A], load=ROOM._replace(refused=3)), verdict.NO_ENTRY),
    "table full, or of what no limit counts elsewhere": (
        seen(None, [A], load=FULL._replace(refused=0)),
        verdict.NO_ENTRY,
    ),
    # nobody answers
    "nobody: no entry": (seen(), verdict.SILENT),
    "nobody: no entry, no room": (seen(load=FULL), verdict.SILENT),
    "nobody: stale": (seen(row(), (), row()), verdict.SILENT),
    "nobody: the kernel knows": (seen(FAILED, (), FAILED), verdict.SILENT),
    "nobody: the kernel finds out": (seen(row(), (), INCOMPLETE), verdict.SILENT),
    "nobody: learned by ARP lately": (seen(FRESH, (), FRESH), verdict.SILENT),
    "nobody: by hand": (seen(PERMANENT, (), PERMANENT), verdict.SILENT),
    "nobody: by zebra, suspect": (
        seen(ZEBRA | {"suspect": True}, (), ZEBRA | {"suspect": True}),
        verdict.SILENT,
    ),
    "nobody: suspect until it failed": (seen(SUSPECT, (), FAILED), verdict.SILENT),
    "nobody: the next hop": (seen(row(), (), row(), BEHIND), verdict.SILENT),
    "upper layer: for long": (seen(SUSPECT, (), SUSPECT), verdict.UPPER_LAYER_ONLY),
    "upper layer: during our probes": (seen(FRESH, (), REFRESHED), verdict.UPPER_LAYER_ONLY),
    "upper layer: the next hop": (seen(SUSPECT, (), SUSPECT, BEHIND), verdict.UPPER_LAYER_ONLY),
    # two answer
    "duplicate": (seen(row(), [A, B], row()), verdict.DUPLICATE),
    "duplicate: neither is in the table": (seen(row(C), [A, B], row()), verdict.DUPLICATE),
    "duplicate: no entry, no room": (seen(None, [A, B], load=FULL), verdict.DUPLICATE),
    "duplicate: one set by hand": (seen(PERMANENT, [A, B], PERMANENT), verdict.DUPLICATE),
    "duplicate: the next hop": (seen(row(), [A, B], row(), BEHIND), verdict.DUPLICATE),
    "duplicate: a witness": (
        seen(row(), [A, B], row(), witnesses={OTHER: [A]}),
        verdict.DUPLICATE,
    ),
    "duplicate: a witness is silent": (
        seen(row(), [A, B], row(), witnesses={OTHER: []}),
        verdict.DUPLICATE,
    ),
    "duplicate: a witness has moved away": (
        seen(row(), [A, B], row(), witnesses={OTHER: [C]}),
        verdict.DUPLICATE,
    ),
    "duplicate: one witness of two proves it": (
        seen(row(), [A, B], row(), witnesses={OTHER: [A, B], "192.0.2.78": [B]}),
        verdict.DUPLICATE,
    ),
    "flux": (seen(row(), [A, B], row(), witnesses={OTHER: [A, B]}), verdict.FLUX),
    "flux: of three NICs": (
        seen(row(), [A, B, C], row(), witnesses={OTHER: [A, B, C]}),
        verdict.FLUX,
    ),
    "flux: another witness is silent": (
        seen(row(), [A, B], row(), witnesses={OTHER: [A, B], "192.0.2.78": []}),
        verdict.FLUX,
    ),
    "flux: was wrong before": (
        seen(row(C), [A, B], row(), witnesses={OTHER: [A, B]}),
        verdict.FLUX,
    ),
    # a proxy answers
    "proxy: beside the holder": (seen(row(), [A, B], row(), proxies={B}), verdict.PROXY),
    "proxy: took the entry": (seen(row(), [A, B], row(B), proxies={B}), verdict.PROXY),
    "proxy: had the entry": (seen(row(A), [A, B], row(B), proxies={A}), verdict.CORRECTED),
    "proxy: keeps the entry": (seen(row(A), [A, B], row(A), proxies={A}), verdict.PROXY),
    "proxy: alone, new": (seen(row(), [B], row(B), proxies={B}), verdict.PROXY),
    "proxy: no entry": (seen(None, [B], row(B), proxies={B}), verdict.PROXY),
    "proxy: two of them": (seen(row(), [A, B], row(B), proxies={A, B}), verdict.PROXY),
    "proxy: two hosts, too": (seen(row(), [A, B, C], row(), proxies={C}), verdict.PROXY),
    "proxy: alone, as before": (seen(row(), [A], row(), proxies={A}), verdict.RIGHT),
    "proxy: the router, as before": (
        seen(row(), [A], row(), BEHIND, proxies={A}),
        verdict.NEXT_HOP,
    ),
    # no probe can be sent
    "cannot: no route": (seen(route=Route(why_not="ENETUNREACH")), verdict.CANNOT),
    "cannot: no route, only read": (read(route=Route(why_not="ENETUNREACH")), verdict.CANNOT),
    "cannot: no carrier": (seen(row(), (), row(), cannot_ask="no carrier"), verdict.CANNOT),
    "cannot: no carrier, suspect": (
        seen(SUSPECT, (), SUSPECT, cannot_ask="no carrier"),
        verdict.CANNOT,
    ),
    "cannot: no carrier, no room": (seen(cannot_ask="no carrier", load=FULL), verdict.CANNOT),
    # test=True
    "read: an entry": (read(row()), verdict.NOT_ASKED),
    "read: a suspect": (read(SUSPECT), verdict.NOT_ASKED),
    "read: set by hand": (read(PERMANENT), verdict.NOT_ASKED),
    "read: being resolved": (read(INCOMPLETE), verdict.NOT_ASKED),
    "read: failed": (read(FAILED), verdict.SILENT),
    "read: no entry": (read(), verdict.NOT_ASKED),
    "read: no entry, no room": (read(load=FULL), verdict.TABLE_FULL),
    "read: behind a router": (read(row(), route=BEHIND), verdict.NOT_ASKED),
}
SEEN = pytest.mark.parametrize(("evidence", "name"), CASES.values(), ids=list(CASES))


@SEEN
def test_verdict(evidence, name):
    assert verdict.verdict(evidence).name == name


@SEEN
def test_every_sentence_is_readable(evidence, name):
    found = verdict.verdict(evidence)
    assert found.sentence.endswith((".", "?"))
    assert not set("{}[]'") & set(found.sentence)
    assert "None" not in found.sentence
    assert "  " not in found.sentence
    assert ADDRESS in found.sentence
    assert "\n" not in found.sentence + found.cure


def test_every_verdict_occurs():
    assert {name for _evidence, name in CASES.values()} == set(verdict.VERDICTS)


@pytest.mark.parametrize(
    ("evidence", "cure"),
    [
        (seen(row(), [A], row()), ""),
        (seen(row(), [B], row(B)), ""),
        (seen(SUSPECT, (), SUSPECT), "salt-call --local arp.revalidate 192.0.2.10 dev=db0"),
        (
            seen(SUSPECT, (), SUSPECT, BEHIND),
            "salt-call --local arp.revalidate 192.0.2.254 dev=db0",
        ),
        (
            seen(row(), [B], row(), locktime_left_s=4),
            "salt-call --local arp.flush 192.0.2.10 dev=db0",
        ),
        (seen(row(), [B], row()), ""),
        (seen(row(), [B], row(), arp_filter=True), "look at: nft list ruleset arp"),
        (seen(row(), [A, B], row()), ""),
        (seen(row(), [A, B], row(), proxies={B}, witnesses={OTHER: [A]}), ""),
        (read(row(), route=BEHIND), "salt-call --local arp.diagnose 192.0.2.10 dev=db0"),
        (seen(PERMANENT, [B], PERMANENT), "ip neigh del 192.0.2.10 dev db0"),
        (seen(ZEBRA, [B], ZEBRA), ""),
        (
            seen(None, [B], load=FULL),
            "sysctl -w net.ipv4.neigh.default.gc_thresh2=2048 "
            "net.ipv4.neigh.default.gc_thresh3=4096",
        ),
        (seen(), ""),
    ],
    ids=[
        "right", "corrected", "suspect", "suspect next hop", "locktime", "still wrong", "filter",
        "two MACs, one machine perhaps", "proxy", "not asked", "by hand", "zebra", "full", "silent",
    ],
)  # fmt: skip
def test_the_cure(evidence, cure):
    assert verdict.verdict(evidence).cure == cure


def test_answers_to_our_probes_do_not_say_what_kept_the_entry():
    after = row(B, "REACHABLE", confirmed_s=0.02)
    assert verdict.kept_alive_by(seen(row(), [B], after)) == "nothing: unconfirmed for 40 s"
    fresh = verdict.kept_alive_by(seen(FRESH, [B], after))
    assert fresh == "an answer or an upper-layer confirmation 5.0 s ago"
    silent = seen(row(), (), REFRESHED)
    assert verdict.kept_alive_by(silent).startswith("Upper-layer confirmation keeps it")


def test_the_ipv6_table_has_its_own_sysctls():
    evidence = Evidence("2001:db8::10", LINK, answers={A: 0.5}, load=FULL)
    assert "net.ipv6.neigh.default.gc_thresh3=4096" in verdict.verdict(evidence).cure


def test_full_table_beside_a_silent_host_has_the_command_that_enlarges_it():
    full = FULL._replace(refused_lately=1)
    silent = verdict.verdict(seen(None, (), load=full))
    assert (silent.name, "gc_thresh3=4096" in silent.cure) == (verdict.SILENT, True)
    assert verdict.verdict(seen(row(), [A], row(), load=full)).cure == "", "not its cause"


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (seen(row(), {B: 0.44}, row(B)), "was wrong: the table held 02:00:00:00:00:0a (STALE); "),
        (seen(row(), {B: 0.44}, row(B)), "02:00:00:00:00:0b (0.44 ms) answers"),
        (seen(row(), [A], row(), BEHIND), "192.0.2.10 is not on this link"),
        (seen(row(), (), row(), BEHIND), "192.0.2.254 (next hop of 192.0.2.10) on db0"),
        (seen(row(), [A], row(), sockets=[STUCK]), "1 TCP socket gets no answer"),
        (seen(row(), [A], row(), sockets=[STUCK] * 2), "2 TCP sockets get no answer"),
        (seen(row(), [A], row(), load=FULL._replace(refused_lately=1)), "table is full"),
        (seen(None, [A], load=FULL), "may be full: at most 1100 entries"),
        (seen(row(), [B], row()), "an ARP filter of this host"),
        (seen(row(), [B], row(), locktime_left_s=1), "a moment ago (locktime)"),
        (seen(row(), [A, B], row(), proxies={B}), "for addresses that nobody has (proxy ARP)"),
        (seen(row(), [A], row(), proxies={A}), "for addresses that nobody has, too (proxy ARP)"),
        (seen(row(), (), row(), connected=2), "2 TCP connections wait for no answer"),
        (seen(PERMANENT, (), PERMANENT), "traffic may flow"),
        (
            seen(row(), [A], row(), other_hops={f"{OTHER} on db0": "right"}),
            "192.0.2.77 on db0 (right)",
        ),
        (seen(row(), [A], row(), dev_note="db0 is a port of br0."), "db0 is a port of br0."),
        (seen(row(), [A], row(), own_macs={A: "db1"}), "belongs to this host (db1)"),
        (seen(row(), [A, B], row(), witnesses={OTHER: [A]}), "for 192.0.2.77 only"),
        (seen(row(), [A, B], row()), "no other address of theirs is known"),
        (seen(row(), [A, B], row(), witnesses={OTHER: [A, B]}), "complete copy"),
        (seen(SUSPECT, (), SUSPECT, kernel="3.13.0-24-generic"), "before Linux 4.11"),
        (seen(SUSPECT, [B], row(B), kernel="4.9.0"), "before Linux 4.11"),
        (read(SUSPECT), "MSG_CONFIRM"),
        (seen(ZEBRA, [B], ZEBRA), "(REACHABLE, protocol zebra)"),
        (seen(PERMANENT, [B], PERMANENT), "(PERMANENT)"),
    ],
)
def test_the_sentence_says(evidence, said):
    assert said in verdict.verdict(evidence).sentence


@pytest.mark.parametrize(
    "evidence",
    [
        seen(row(), [A], row(), load=FULL),
        seen(row(), (), row()),
        seen(PERMANENT, (), PERMANENT),
        read(FAILED),
    ],
    ids=["not refused lately", "silent", "static and silent", "failed"],
)
def test_the_sentence_claims_no_more_than_was_seen(evidence):
    sentence = verdict.verdict(evidence).sentence
    assert "full" not in sentence
    assert "down" not in sentence


@pytest.mark.parametrize(
    ("retransmits", "expires_ms", "updated_s", "is_named"),
    [(0, 0, 1.5, True), (3, 1000, 6.0, False), (3, 1000, 7.5, True), (9, 0, 121.0, True)],
)
def test_sockets_from_before_the_heal_are_no_evidence(retransmits, expires_ms, updated_s, is_named):
    socket = {**STUCK, "retransmits": retransmits, "expires_ms": expires_ms}
    entry = {**row(), "updated_s": updated_s}
    sentence = verdict.verdict(seen(entry, [A], entry, sockets=[socket])).sentence
    assert ("1 TCP socket gets no answer" in sentence) == is_named


def test_sockets_are_no_evidence_against_an_entry_that_was_just_corrected():
    assert "TCP" not in verdict.verdict(seen(row(), [B], row(B), sockets=[STUCK])).sentence
    assert "TCP" not in verdict.verdict(seen(None, [B], row(B), sockets=[STUCK])).sentence


def test_kept_alive_by_speaks_of_the_entry_before_the_probes():
    assert "MSG_CONFIRM" in verdict.kept_alive_by(seen(SUSPECT, [B], row(B, "REACHABLE")))
    assert verdict.kept_alive_by(seen(None, [B], row(B))) == ""


@pytest.mark.parametrize("kernel", ["4.11.0", "6.18.44", "", "unknown"])
def test_kernels_since_4_11_are_not_named(kernel):
    sentence = verdict.verdict(seen(SUSPECT, (), SUSPECT, kernel=kernel)).sentence
    assert "4.11" not in sentence
