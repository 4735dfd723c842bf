"""Entries that somebody else writes while a run asks about them.

The next frame would ask about a right entry, and its answer give it to another host: a slow one
with the MAC before, or a router with proxy ARP. So each is read again before each further frame.
"""

from collections.abc import Callable, Iterable

from ..netlink import codec
from ..table import view
from .question import PendingProbe


def among(
    table: view.TableView,
    probes: Iterable[PendingProbe],
    is_owned: Callable[[codec.Entry], bool],
) -> list[codec.Key]:
    """Return those questions whose entries have an owner, or a MAC that has not answered them."""
    asked = {probe.key: probe for probe in probes}
    return [
        key
        for key, entry in table.read_again(asked).items()
        if entry and (is_owned(entry) or _has_other_mac(entry, asked[key]))
    ]


def _has_other_mac(entry: codec.Entry, probe: PendingProbe) -> bool:
    """Tell whether an entry has neither the MAC that was asked about nor one that has answered."""
    mac = probe.question.mac
    return bool(mac) and entry.mac not in (b"", mac, *probe.answers)
