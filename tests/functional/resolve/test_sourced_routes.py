"""Routes of the packets of one source address: what a run says of addresses behind them."""

import pytest
from arp_engine.netlink import codec, route, rtnetlink
from arp_engine.resolve import sourced_routes
from conftest import ip
from wire import packed

PAIR = pytest.mark.parametrize(
    ("far", "own", "router"),
    [
        ("203.0.113.9", "192.0.2.1", "192.0.2.254"),
        ("2001:db8:113::9", "2001:db8::1", "2001:db8::254"),
    ],
    ids=["v4", "v6"],
)


def rule(router, *selector):
    """Give some packets a default route of their own."""
    family = "-6" if ":" in router else "-4"
    ip(family, "route", "add", "default", "via", router, "table", "21")
    ip(family, "rule", "add", *selector, "table", "21")


@PAIR
@pytest.mark.parametrize("function", ["revalidate", "flush"])
def test_address_behind_the_router_of_one_source_names_that_router(
    arp, scene, function, far, own, router
):
    rule(router, "from", own)
    [line] = getattr(arp, function)(far)["warnings"]
    assert line == f"{far} is behind the router {router} on db0: name {router} instead"


@PAIR
def test_address_without_a_route_says_what_was_looked_up(arp, scene, far, own, router):
    rule(router, "fwmark", "7")
    assert arp.revalidate(far)["warnings"] == [f"{far} has no entry: {sourced_routes.NO_ROUTE}"]


@PAIR
def test_route_that_says_unreachable_hides_no_route_by_source(scene, far, own, router):
    ip("-6" if ":" in far else "-4", "route", "add", "unreachable", "default")
    with rtnetlink.Channel() as channel:
        [refused] = sourced_routes.ways(channel, packed(far))
        assert refused.why_not == "its route says unreachable (EHOSTUNREACH)"
        rule(router, "from", own)
        [way] = sourced_routes.ways(channel, packed(far))
    assert (codec.address(way.gateway), codec.address(way.source)) == (router, own)


@pytest.mark.parametrize("dst", ["192.0.2.1", "192.0.2.255", "192.0.2.10", "2001:db8::1"])
def test_route_of_all_packets_is_looked_up_once(scene, monkeypatch, dst):
    rule("192.0.2.254", "from", "192.0.2.1")
    asked, lookup = [], route.lookup

    def counted(*words):
        asked.append(words)
        return lookup(*words)

    monkeypatch.setattr(route, "lookup", counted)
    with rtnetlink.Channel() as channel:
        assert len(sourced_routes.ways(channel, packed(dst))) == 1
    assert len(asked) == 1


@pytest.mark.parametrize("version", [4, 6])
def test_rules_of_the_kernel_alone_are_none(scene, version):
    family = codec.family_of(bytes({4: 4, 6: 16}[version]))
    assert not route.has_rules(family)
    ip(f"-{version}", "rule", "add", "fwmark", "7", "table", "21")
    assert route.has_rules(family)
