"""Entries of a run that a proxy answers for: its word is not enough, and takes nobody's entry."""

import contextlib
import socket
import time
from collections.abc import Callable, Collection, Iterable

from ..netlink import codec, route
from ..netlink.constants import TICKS
from ..table import ownership, view
from . import look_back, look_back_run, proxy

FEW = 16  # entries: for so many the host of each is checked
UNCHECKED = "could not be checked for being a proxy"


def among(
    table: view.TableView,
    confirmed: list[codec.Entry],
    asked: Collection[codec.Entry],
    rate: float,
    is_stopped: Callable[[], bool],
) -> tuple[set[codec.Key], dict[codec.Key, str]]:
    """Return the keys of the confirmed entries whose MAC is a proxy's, and of those that may be.

    Of these, why their hosts could not be asked. Where many are asked about, only hosts that may
    well be a proxy are checked: see ``_suspects``. So are those of a run that is stopped: the
    others count as they would in a large one.
    """
    there = proxy.neighbours_of(table.channel, confirmed)
    claims = [proxy.Claim(entry.ifindex, entry.dst, entry.mac) for entry in confirmed]
    if len(asked) > FEW or is_stopped():
        suspects = _suspects(table, claims, [*asked, *there])
        claims = [claim for claim in claims if claim.host in suspects]
    if not claims:
        return set(), {}
    unasked, used = dict[proxy.Host, str](), {entry.key for entry in (*asked, *there)}
    proxies = proxy.find(claims, used, rate, unasked, is_stopped)
    unchecked = {
        claim[:2]: f"{claim.mac.hex(':')} {UNCHECKED} ({unasked[claim.host]})"
        for claim in claims
        if claim.host in unasked
    }
    return {entry.key for entry in confirmed if is_in(proxies, entry, entry.mac)}, unchecked


def _suspects(
    table: view.TableView, claims: list[proxy.Claim], entries: Iterable[codec.Entry]
) -> set[proxy.Host]:
    """Return the hosts whose MAC has several addresses in the table, or is a router's.

    A proxy's mostly has. An IPv6 host has a link-local address beside its own, which does not
    count. Nor is a MAC checked that stands for all of a network (some clouds), but for what an
    owner wrote.
    """
    dsts: dict[proxy.Host, set[bytes]] = {}
    macs: dict[tuple[int, int], set[bytes]] = {}  # by device and family; two are enough to know
    for entry in entries:
        if entry.mac and not entry.dst.startswith(proxy.LINK_LOCAL):
            host = entry.ifindex, codec.family_of(entry.dst), entry.mac
            dsts.setdefault(host, set()).add(entry.dst)
            known = macs.setdefault(host[:2], set())
            if len(known) < 2 and not ownership.owner(entry, table.device(entry.ifindex)):
                known.add(entry.mac)
    found = {host for host, addresses in dsts.items() if len(addresses) > 1}
    found |= _routers_beside_their_own(table, claims)
    return {host for host in found if len(macs.get(host[:2], ())) > 1}


def _routers_beside_their_own(table: view.TableView, claims: list[proxy.Claim]) -> set[proxy.Host]:
    """Return the hosts with a router's MAC that have answered for another address than its own.

    The router's entry need not be among those asked about: it may be excluded, have an owner, or
    be one of the other family.
    """
    keys = routers_by()
    macs = {(key[0], entry.mac) for key, entry in table.read_again(keys).items() if entry}
    return {
        claim.host
        for claim in claims
        if (claim.ifindex, claim.mac) in macs and claim[:2] not in keys
    }


def routers(entries: Iterable[codec.Entry]) -> set[codec.Key]:
    """Return the keys of those entries that are a router of one of this host's routes.

    A proxy is mostly a router, and this its own address: another host that answers for it as well
    is no better holder. The router flag of IPv6 tells nothing: Linux sets it in each answer that a
    router gives as a proxy, too (net/ipv6/ndisc.c: ndisc_recv_ns).
    """
    keys = {entry.key for entry in entries}
    return keys & set[codec.Key]().union(*map(routers_by, {ifindex for ifindex, _dst in keys}))


def routers_by(ifindex: int = 0) -> set[codec.Key]:
    """Return the routers that this host's routes name; by one device, where it is given."""
    found = set[codec.Key]()
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # the device is gone, or this kernel has no IPv6
            found |= route.gateways(family, ifindex)
    return found


def give_to_living(
    table: view.TableView,
    contested: Iterable[tuple[codec.Entry, bytes, tuple[bytes, ...]]],
    proxies: set[proxy.Host],
    rate: float,
) -> dict[codec.Key, tuple[codec.Entry, bytes, float]]:
    """Ask the one living host of an address alone, beside a proxy, which had the entry or answered.

    Its answer gives it the entry, as it would a former holder. contested: an entry as it was, the
    MAC that it holds now, the MACs that answered. Returns key to entry, MAC of who got it anew, and
    when.
    """
    living: dict[codec.Key, tuple[codec.Entry, bytes]] = {}
    for entry, held, macs in contested:
        all_macs = {*macs, entry.mac, held}
        hosts = [mac for mac in macs if not is_in(proxies, entry, mac)]
        if len(hosts) == 1 and any(is_in(proxies, entry, mac) for mac in all_macs):
            living[entry.key] = entry, hosts[0]
    for key in routers(entry for entry, _mac in living.values()):
        del living[key]
    now = time.monotonic()
    changes = [look_back.Change(key, mac, e.mac, now) for key, (e, mac) in living.items()]
    outcomes = look_back_run.look_back(table, changes, rate)
    return {
        key: (entry, mac, time.monotonic() - current.updated / TICKS)
        for key, (entry, mac) in living.items()
        if mac != entry.mac and (current := outcomes[key].current) and current.mac == mac
    }


def is_in(proxies: set[proxy.Host], entry: codec.Entry, mac: bytes) -> bool:
    """Tell whether a MAC is a proxy's on the link of an entry."""
    return proxy.Claim(entry.ifindex, entry.dst, mac).host in proxies
