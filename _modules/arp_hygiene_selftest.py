"""The drill: does it work on this very host? Part of Salt's module ``arp_hygiene``."""

import sys

from salt.exceptions import CommandExecutionError

try:
    from arp_engine import reload_if_changed
except ImportError:
    try:  # installed by pip, not synced
        from saltext.arp_hygiene.utils.arp_engine import reload_if_changed
    except ImportError:
        raise ImportError(
            "arp_engine is missing: run saltutil.sync_all; for salt-ssh see docs/operating.md"
        ) from None

reload_if_changed()
from arp_engine.selftest import namespaces, start

__virtualname__ = "arp_hygiene"
__outputter__ = {"selftest": "arp_answer"}


def __virtual__():
    """Load on Linux."""
    if not sys.platform.startswith("linux"):
        return False, "arp_hygiene manages the neighbour table of the Linux kernel"
    return __virtualname__


def selftest():
    """Play the outage and its cure on this host, away from its network; return what passed.

    Two private network namespaces, a database and a worker, are joined by a veth pair. There the
    installed code, run by its own Python on this host's kernel, lists, heals and flushes. The
    host's own table, addresses and traffic are not touched: each socket of the drill is shown to be
    in another namespace, and each entry that was set by hand to be as before.
    Takes about three seconds. Nothing is left behind, also when it is killed.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp_hygiene.selftest

    Returns a list of dicts: ``check``, ``figures``, ``result`` (``pass`` or ``FAIL``); the last one
    is ``all``, with kernel, Python and duration. A failure has exit code 1 under
    ``--retcode-passthrough``.

    Raises CommandExecutionError, in one line, where the kernel or the rights allow no drill: it
    needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW, network namespaces and veth.
    """
    try:
        rows = start.play()
    except (namespaces.NotPossible, OSError) as why:
        raise CommandExecutionError(f"arp_hygiene.selftest: not possible here: {why}") from None
    if rows[-1]["result"] != "pass":
        __context__["retcode"] = 1
    return rows
