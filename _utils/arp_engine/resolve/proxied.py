"""Entries of a run that a proxy answers for: its word is not enough, and takes nobody's entry."""

import contextlib
import socket
import time
from collections.abc import Collection, Iterable

from ..netlink import codec, route
from ..netlink.constants import TICKS
from ..table import view
from . import look_back, look_back_run, proxy

FEW = 16  # entries: for so many the host of each is asked, and the others of the table are read


def among(
    table: view.TableView, confirmed: list[codec.Entry], asked: Collection[codec.Entry], rate: float
) -> set[codec.Key]:
    """Return the keys of the confirmed entries whose MAC is a proxy's.

    Where many are asked about, only a MAC that stands for several addresses is asked for others, as
    a proxy's mostly does; and not where one MAC stands for all of a network (some clouds).
    """
    claims = [proxy.Claim(entry.ifindex, entry.dst, entry.mac) for entry in confirmed]
    if len(asked) > FEW:
        hosts = {claim.host for claim in claims}
        claims = [claim for claim in proxy.shared_macs(asked) if claim.host in hosts]
    if not claims:
        return set()
    used = proxy.used_on(table.channel, confirmed, {entry.key for entry in asked})
    proxies = proxy.find(claims, used, rate)
    return {entry.key for entry in confirmed if is_in(proxies, entry, entry.mac)}


def routers(entries: Iterable[codec.Entry]) -> set[codec.Key]:
    """Return the keys of those entries that are a router of one of this host's routes.

    A proxy is mostly a router, and this its own address: another host that answers for it as well
    is no better holder. The router flag of IPv6 tells nothing: Linux sets it in each answer that a
    router gives as a proxy, too (net/ipv6/ndisc.c: ndisc_recv_ns).
    """
    keys = {entry.key for entry in entries}
    return keys & set[codec.Key]().union(*map(routers_by, {ifindex for ifindex, _dst in keys}))


def routers_by(ifindex: int) -> set[codec.Key]:
    """Return the routers that this host's routes by a device name."""
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
