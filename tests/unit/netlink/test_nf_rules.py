"""What rules of nftables do with a packet that is known in part."""

import pytest
from arp_engine.netlink import nf_rules
from arp_engine.netlink.nf_rules import (
    NETWORK,
    NF_ACCEPT,
    NF_DROP,
    NFT_GOTO,
    NFT_JUMP,
    NFT_RETURN,
    Chain,
    Condition,
    Filter,
    Load,
    Packet,
    Rule,
)

OWN, OTHER = bytes([192, 0, 2, 9]), bytes([192, 0, 2, 10])
ARP, OUT = nf_rules.NFPROTO_ARP, 1
SENDER = Load(NETWORK, nf_rules.ARP_SENDER, 4)
PEER = Load(NETWORK, nf_rules.ARP_TARGET, 4)


def is_value(load, first, last=None, **more):
    return Condition((load,), ((first, last or first),), **more)


ON_OWN, ON_OTHER, ON_PEER = (is_value(*of) for of in ((SENDER, OWN), (SENDER, OTHER), (PEER, OWN)))


def keeps_quiet(*rules, policy=NF_ACCEPT, family=ARP, hook=OUT, **others):
    chains = {(ARP, b"t", name.encode()): Chain(some) for name, some in others.items()}
    chains[family, b"t", b"base"] = Chain(rules, hook, policy)
    return Filter(chains).keeps_quiet(OWN, 3, "eth0")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (ON_OWN, True),
        (ON_OTHER, False),
        (ON_PEER, None),
        (is_value(SENDER, OWN, is_inverted=True), False),
        (is_value(PEER, OWN, is_inverted=True), None),
        (is_value(SENDER, bytes([192, 0, 2, 8]), mask=bytes([255, 255, 255, 252])), True),
        (is_value(SENDER, bytes([192, 0, 2, 8]), OTHER), True),
        (is_value(Load(NETWORK, 14, 3), OWN[:3]), True),
        (is_value(Load(NETWORK, 8, 10), bytes(6) + OWN), None),  # with a MAC that is not known
        (is_value(Load(NETWORK, 8, 10), bytes(6) + OTHER), False),
        (is_value(SENDER, b"", bytes(64)), True),  # the rest of a map
        (Condition((PEER, SENDER._replace(at=4)), ((OTHER + OWN, OTHER + OWN),)), None),
        (Condition((PEER, SENDER._replace(at=4)), ((OWN + OTHER, OWN + OTHER),)), False),
    ],
    ids=str,
)
def test_condition_on_a_packet_that_is_known_in_part(condition, expected):
    packet = Packet().put(NETWORK, nf_rules.ARP_SENDER, OWN, is_address=True)
    assert condition.holds(packet) is expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], False),
        ([Rule(NF_DROP)], True),
        ([Rule(NF_DROP, is_uncertain=True)], False),
        ([Rule(NF_DROP, conditions=(ON_OWN,), is_uncertain=True)], True),
        ([Rule(NF_DROP, conditions=(ON_PEER,))], False),
        ([Rule(NF_ACCEPT, conditions=(ON_OWN,)), Rule(NF_DROP)], False),
        ([Rule(NF_ACCEPT, conditions=(ON_OTHER,)), Rule(NF_DROP)], True),
        ([Rule(NF_ACCEPT, is_uncertain=True), Rule(NF_DROP)], False),
        ([Rule(nf_rules.CHANGE, conditions=(ON_OWN,)), Rule(NF_ACCEPT)], True),
        ([Rule(nf_rules.CHANGE), Rule(NF_DROP)], True),
        ([Rule(NFT_RETURN), Rule(NF_DROP)], False),
    ],
    ids=str,
)
def test_address_is_quiet_where_nothing_lets_it_pass(rules, expected):
    assert keeps_quiet(*rules) is expected


@pytest.mark.parametrize("verdict", [NFT_JUMP, NFT_GOTO])
@pytest.mark.parametrize(
    ("rules", "after_jump", "after_goto"),
    [
        ((Rule(NF_ACCEPT),), False, False),
        ((Rule(NF_DROP),), True, True),
        ((Rule(NFT_RETURN), Rule(NF_ACCEPT)), True, False),
        ((), True, False),
        ((Rule(NF_ACCEPT, conditions=(ON_OTHER,)),), True, False),
    ],
    ids=str,
)
def test_jump_comes_back_and_goto_ends_with_the_policy(verdict, rules, after_jump, after_goto):
    found = keeps_quiet(Rule(verdict, b"other"), Rule(NF_DROP), other=rules)
    assert found is (after_jump if verdict == NFT_JUMP else after_goto)


def test_drop_behind_a_jump_on_the_address_is_about_it():
    jump = Rule(NFT_JUMP, b"other", (ON_OWN,))
    assert keeps_quiet(jump, other=(Rule(NF_DROP, is_uncertain=True),))


def test_chains_that_jump_to_each_other_end():
    """The kernel has no such chains; a garbled answer may."""
    jumps = (Rule(NFT_JUMP, b"a"), Rule(NFT_JUMP, b"b")) * 20
    assert not keeps_quiet(*jumps, a=jumps, b=jumps)


@pytest.mark.parametrize(
    ("family", "hook", "expected"),
    [(ARP, OUT, True), (ARP, 0, True), (ARP, 2, False), (10, 3, False), (1, 3, False)],
    ids=["out", "in", "forward", "ip6", "inet"],
)
def test_arp_shows_in_its_own_two_hooks(family, hook, expected):
    assert keeps_quiet(Rule(NF_DROP), family=family, hook=hook) is expected
