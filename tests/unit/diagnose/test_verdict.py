"""The verdict for every kind of evidence, and which of two true ones wins."""

from dataclasses import replace

import pytest
from arp_engine.diagnose import upper_layer, verdict
from arp_engine.diagnose.facts import Evidence
from diagnose_cases import (
    BEHIND,
    CASES,
    FAILED,
    FRESH,
    FULL,
    FULL_NOW,
    LINK,
    OTHER,
    PERMANENT,
    REFRESHED,
    STUCK,
    SUSPECT,
    V6,
    ZEBRA,
    A,
    B,
    read,
    row,
    seen,
)  # fmt: skip

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
    assert evidence.address in found.sentence
    assert "\n" not in found.sentence + found.cure


def test_every_verdict_occurs():
    assert {name for _evidence, name in CASES.values()} == set(verdict.VERDICTS)


@pytest.mark.parametrize(
    ("evidence", "cure"),
    [
        (seen(row(), [A], row()), ""),
        (seen(row(), [B], row(B)), ""),
        (seen(SUSPECT, (), SUSPECT), ""),
        (seen(SUSPECT, (), SUSPECT, connected=2), ""),
        (
            seen(row(), [B], row(), locktime_left_s=4),
            "salt-call --local arp.flush 192.0.2.10 dev=db0",
        ),
        (seen(row(), [B], row()), ""),
        (seen(row(), [B], row(), arp_filter=True), "look at: nft list ruleset arp"),
        (seen(FAILED, [B], FAILED, arp_filter=True), "look at: nft list ruleset arp"),
        (
            replace(seen(row(), [B], row(), has_override=True), address=V6),
            "look at: nft list ruleset",
        ),
        (
            replace(seen(row(), [B], row()), address=V6),
            "salt-call --local arp.flush 2001:db8::10 dev=db0",
        ),
        (
            replace(seen(row(), [B], row(), connected=2), address=V6),
            "look at lastrcv: ss -tni dst '[2001:db8::10]'",
        ),
        (seen(row(), [A, B], row()), ""),
        (seen(row(), [A, B], row(), witnesses={OTHER: [A]}), ""),
        (
            seen(row(), [A, B], row(), witnesses={OTHER: [A, B]}),
            "on that machine, if one of these NICs has 192.0.2.10: sysctl -w "
            "net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2",
        ),
        (seen(row(), [A, B], row(), proxies={B}, witnesses={OTHER: [A]}), ""),
        (replace(seen(row(), [B], row(), proxies={B}), address=V6), ""),
        (seen(row(), [B], row(), proxies={B}, locktime_left_s=4), ""),
        (seen(PERMANENT, [B], PERMANENT, proxies={B}), ""),
        (read(row(), route=BEHIND), "salt-call --local arp.diagnose 192.0.2.10 dev=db0"),
        (
            seen(PERMANENT, [B], PERMANENT),
            "unless it is meant so: ip neigh del 192.0.2.10 dev db0",
        ),
        (seen(ZEBRA, [B], ZEBRA), ""),
        (
            seen(PERMANENT, (), PERMANENT),
            "if 02:00:00:00:00:0a is a dead machine's, delete or correct it where it was set: "
            "ip neigh del 192.0.2.10 dev db0",
        ),
        (seen(ZEBRA, (), ZEBRA), ""),
        (
            seen(None, [B], load=FULL),
            "sysctl -w net.ipv4.neigh.default.gc_thresh2=2048 "
            "net.ipv4.neigh.default.gc_thresh3=4096",
        ),
        (seen(), ""),
    ],
    ids=[
        "right", "corrected", "suspect", "suspect, connected", "locktime", "still wrong", "filter",
        "filter, failed", "IPv6 filter", "ND proxy", "ND proxy, and TCP works",
        "two MACs, one machine perhaps", "two machines, or a router", "flux", "proxy",
        "ND proxy for all", "proxy and locktime", "proxy and set by hand", "not asked", "by hand",
        "zebra", "by hand, and silent", "zebra, and silent", "full", "silent",
    ],
)  # fmt: skip
def test_the_cure(evidence, cure):
    assert verdict.verdict(evidence).cure == cure


def test_answers_to_our_probes_do_not_say_what_kept_the_entry():
    after = row(B, "REACHABLE", confirmed_s=0.02)
    assert upper_layer.kept_alive_by(seen(row(), [B], after)) == "nothing: unconfirmed for 40 s"
    fresh = upper_layer.kept_alive_by(seen(FRESH, [B], after))
    assert fresh == "an answer or an upper-layer confirmation 5.0 s ago"
    silent = seen(row(), (), REFRESHED)
    assert upper_layer.kept_alive_by(silent).startswith("Kept by upper-layer confirmation")


def test_the_ipv6_table_has_its_own_sysctls():
    evidence = Evidence("2001:db8::10", LINK, answers={A: 0.5}, load=FULL)
    assert "net.ipv6.neigh.default.gc_thresh3=4096" in verdict.verdict(evidence).cure


def test_full_table_beside_a_silent_host_has_the_command_that_enlarges_it():
    silent = verdict.verdict(seen(None, (), load=FULL_NOW))
    assert (silent.name, "gc_thresh3=4096" in silent.cure) == (verdict.SILENT, True)
    assert verdict.verdict(seen(row(), [A], row(), load=FULL_NOW)).cure == "", "not its cause"


@pytest.mark.parametrize(
    "evidence",
    [
        seen(row(), [A, B], row()),
        seen(SUSPECT, (), SUSPECT),
        seen(row(), [B], row()),
        seen(ZEBRA, [B], ZEBRA),
        seen(row(), [B], row(B), proxies={B}),
        seen(row(), cannot_ask="no carrier"),
    ],
    ids=["duplicate", "silent but confirmed", "still wrong", "owned", "proxy", "cannot be asked"],
)
def test_full_table_leaves_other_verdicts_their_act(evidence):
    found = verdict.verdict(replace(evidence, load=FULL_NOW))
    assert "The neighbour table is full" in found.sentence
    assert found.cure == ""


@pytest.mark.parametrize(("address", "key"), [("192.0.2.10", "proxy_arp"), (V6, "proxy_ndp")])
def test_one_of_two_machines_may_be_a_router(address, key):
    two = replace(seen(row(), [A, B], row(), witnesses={OTHER: [A]}), address=address)
    found = verdict.verdict(two)
    assert (found.name, found.cure) == (verdict.DUPLICATE, "")
    assert f"one may be a router that answers for a host behind it ({key})" in found.sentence


def test_flux_over_ipv6_has_no_ipv4_command():
    address, other = "2001:db8::10", "2001:db8::20"
    flux = Evidence(address, LINK, answers={A: 0.5, B: 0.5}, witnesses={other: [A, B]})
    assert (verdict.verdict(flux).name, verdict.verdict(flux).cure) == (verdict.FLUX, "")


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (seen(row(), {B: 0.44}, row(B)), "was wrong: the table held 02:00:00:00:00:0a (STALE); "),
        (seen(row(), {B: 0.44}, row(B)), "02:00:00:00:00:0b (0.44 ms) answers"),
        (seen(row(), [A], row(), BEHIND), "192.0.2.10 is not on this link"),
        (seen(row(), (), row(), BEHIND), "192.0.2.254 (next hop of 192.0.2.10) on db0"),
        (seen(row(), [A], row(), sockets=[STUCK]), "1 TCP socket gets no answer"),
        (seen(row(), [A], row(), sockets=[STUCK] * 2), "2 TCP sockets get no answer"),
        (seen(row(), [A], row(), load=FULL_NOW), "table is full"),
        (seen(None, [A], load=FULL), "may be full: at most 1100 entries"),
        (seen(row(), [B], row()), "an ARP filter of this host"),
        (seen(row(), [B], row(), locktime_left_s=1), "a moment ago (locktime)"),
        (seen(row(), [A, B], row(), proxies={B}), "for addresses that nobody has (proxy ARP)"),
        (seen(row(), [A], row(), proxies={A}), "for addresses that nobody has, too (proxy ARP)"),
        (seen(row(), (), row(), connected=2), "2 TCP connections to it were acknowledged in the"),
        (
            replace(seen(row(), [B], row(), connected=1), address=V6),
            "1 TCP connection to it was acknowledged in the last seconds: the host with the ",
        ),
        (
            seen(row(), [B], row(), proxies={B}),
            "The table held 02:00:00:00:00:0a (STALE) before, now 02:00:00:00:00:0a (STALE)",
        ),
        (seen(PERMANENT, (), PERMANENT), "traffic may flow"),
        (seen(PERMANENT, (), PERMANENT), "Somebody set it."),
        (CASES["still wrong: written back"][0], "wrote it meanwhile"),
        (
            seen(row(), [A], row(), other_hops={f"{OTHER} on db0": "right"}),
            "192.0.2.77 on db0 (right)",
        ),
        (seen(row(), [A], row(), note="db0 is a port of br0."), "db0 is a port of br0."),
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
    assert "MSG_CONFIRM" in upper_layer.kept_alive_by(seen(SUSPECT, [B], row(B, "REACHABLE")))
    assert upper_layer.kept_alive_by(seen(None, [B], row(B))) == ""


@pytest.mark.parametrize("kernel", ["4.11.0", "6.18.44", "", "unknown"])
def test_kernels_since_4_11_are_not_named(kernel):
    sentence = verdict.verdict(seen(SUSPECT, (), SUSPECT, kernel=kernel)).sentence
    assert "4.11" not in sentence
