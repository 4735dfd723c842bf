"""What functions return about entries: short rows, bounded lists, one-line errors."""

import errno
from collections.abc import Iterable
from typing import Any

from ..netlink import codec, rtnetlink
from . import refusals
from .view import TableView

Row = dict[str, str]


def entry_row(table: TableView, entry: codec.Entry) -> Row:
    """Return the address, device and MAC of an entry."""
    mac, dev = entry.mac.hex(":"), table.name(entry.ifindex)
    return {"ip": codec.address(entry.dst), "dev": dev, "mac": mac}


def failure_row(refusal: rtnetlink.Refusal, table: TableView) -> Row:
    """Return the address, device and error of an entry that the kernel refused to change."""
    return {
        "ip": codec.address(refusal.entry.dst),
        "dev": table.name(refusal.entry.ifindex),
        "error": refusals.errno_text(refusal),
    }


def refusal_error(verb: str, refusal: rtnetlink.Refusal, table: TableView) -> OSError:
    """Return the exception for a refusal that ends a call: a PermissionError for EPERM."""
    what = f"{codec.address(refusal.entry.dst)} on {table.name(refusal.entry.ifindex)}"
    text = f"cannot {verb} {what}: {refusals.errno_text(refusal)}"
    if refusal.errno == errno.EPERM:
        text += "; this needs CAP_NET_ADMIN, run the minion as root"
    return OSError(refusal.errno, text)


def limit_lists(result: dict[str, Any], lists: Iterable[str], limit: int) -> dict[str, Any]:
    """Cut lists of an answer to ``limit`` rows (0: all); add their full lengths as ``totals``."""
    result["totals"] = {name: len(result[name]) for name in lists}
    for name in lists if limit else ():
        result[name] = result[name][:limit]
    return result
