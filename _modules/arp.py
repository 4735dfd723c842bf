"""List, revalidate and flush the neighbour table (ARP, NDP) of a minion.

When a machine gets the address of one that no longer exists, a host that still has the old MAC
address in its table sends its replies to a NIC that is gone. :py:func:`arp.revalidate` probes each
address on the wire, which heals such an entry; :py:func:`arp.flush` deletes entries, now.

No function touches: PERMANENT, NOARP, proxy, externally learned, managed and otherwise owned
entries; multicast; devices without ARP; entries that the kernel is resolving (INCOMPLETE, NONE).
None ever writes a MAC address.

:depends: pyroute2 >= 0.7.2
:platform: Linux
"""

import contextlib
import logging
import os
import signal
import sys
import time

import salt.utils.ctx
from salt.exceptions import CommandExecutionError, SaltInvocationError

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
from arp_engine import version as engine_version
from arp_engine.formula import facts
from arp_engine.reporting import run_history, sinks

try:
    from arp_engine.diagnose import evidence
    from arp_engine.resolve import announce as resolve_announce
    from arp_engine.resolve import revalidate as resolve_revalidate
    from arp_engine.resolve import unselected
    from arp_engine.table import answer, listing, parse
    from arp_engine.table import flush as table_flush
    from arp_engine.table import selectors as table_selectors

    HAS_PYROUTE2 = True
except ImportError as missing:
    if (missing.name or "pyroute2").partition(".")[0] != "pyroute2":
        raise
    HAS_PYROUTE2 = False

log = logging.getLogger(__name__)

__virtualname__ = "arp"
PROGRESS_EVERY_S = 5.0  # on the event bus
MAX_RECORDED = 20  # entries of one flush that are recorded each by itself
__func_alias__ = {"list_": "list"}
__outputter__ = dict.fromkeys(
    ("list_", "list_stale", "flush", "revalidate", "stats", "diagnose", "announce", "version"),
    "arp_answer",
)


def __virtual__():
    """Load on Linux, with pyroute2."""
    if not sys.platform.startswith("linux"):
        return False, "arp: requires Linux: neighbour tables are read by netlink"
    if not HAS_PYROUTE2:
        return False, f"arp: {facts.missing('pyroute2', __opts__['root_dir'])}"
    return __virtualname__


def _selectors(called, verb=None, **words):
    return _parsed(called, lambda: table_selectors.parse_selectors(verb=verb or called, **words))


def _parsed(called, parser, *words):
    """Return what a parser makes of an argument; SaltInvocationError names the function called."""
    try:
        return parser(*words)
    except ValueError as error:
        raise SaltInvocationError(f"arp.{called}: {error}") from None


def _run(called, function, *words):
    """Call the engine; a refusal, by us or by the kernel, is an exception of one line."""
    try:
        return function(*words)
    except table_selectors.NotOnThisHost as error:
        raise SaltInvocationError(f"arp.{called}: {error}") from None
    except OSError as error:
        raise CommandExecutionError(f"arp.{called}: {error.strerror or error}") from None


def _with_exit_code(result):
    """Return a result, with exit code 1 where a part of it is missing."""
    if result.get("failed") or result.get("interrupted"):
        __context__["retcode"] = 1
    return result


def _record(called, result, healed):
    """Record heals for arp_hygiene.healed; what keeps us from it is a line of ``warnings``."""
    directory = sinks.history_directory(__opts__["root_dir"])
    problems = sinks.record_heals(directory, time.time(), _healer(called), healed)
    if problems:
        result.setdefault("warnings", []).extend(problems)


def _job():
    """Return what the master sent: the job that this call is; empty where there is none."""
    if hasattr(salt.utils.ctx, "get_request_context"):
        request = salt.utils.ctx.get_request_context()
    else:  # Salt 3006
        request = salt.utils.ctx.RequestContext.current
    return request.get("data") or {}


def _healer(called):
    """Return the function of the master that sent this job, where it says so, or the one called."""
    metadata = _job().get("metadata")
    named = metadata.get(run_history.METADATA) if isinstance(metadata, dict) else None
    return named if named in run_history.MASTER_FUNCTIONS else called


def list_(
    ip=None, dev=None, state=None, family=None, exclude=None, mac=None, compact=False, part=None
):
    """List the neighbour table.

    Touches no entry and sends nothing.

    CLI Example:

    .. code-block:: bash

        salt db1 arp.list family=ipv4
        # db1: 2 entries: 1 STALE, 1 PERMANENT
        #   ip          mac                dev   state      confirmed  used  updated  note
        #   192.0.2.90  02:00:00:00:00:0a  eth0  STALE      61 s       2 s   2 s
        #   192.0.2.91  02:00:00:00:00:0b  eth0  PERMANENT  2 s        2 s   2 s

    ip (str or list, default all)
        Address, or network in CIDR notation.
    dev (str or list, default all)
        Name or alternative name of a network device. Of a port of a bridge, bond or team, of a
        VRF, and of a device without addresses on which VLANs or macvlans have them, the entries of
        the devices that have them are listed (here and in :py:func:`arp.stats`).
    state (str or list, default all)
        Neighbour state: INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, FAILED, NOARP, PERMANENT,
        NONE.
    family (str, default both)
        ``ipv4`` or ``ipv6``.
    exclude (str or list, default none)
        Like ``ip``: entries to leave out.
    mac (str or list, default all)
        MAC address. Finds the entries of a host whose addresses are not known.
    compact (bool, default False)
        Return a dict of ``columns`` (names) and ``rows`` (lists of values, without two of the
        ages): a third of the size, for programs.
    part (str, default all)
        ``K/N``: the Kth of N parts of the table, for one that is larger than the master's
        ``max_event_size`` (some 9,000 entries; compact 14,000).

    A list can also be one string with commas: ``ip=192.0.2.10,192.0.2.11``.

    Returns a list of dicts, all with the same keys: ``ip``; ``mac`` (empty while there is none);
    ``dev``; ``state``; ``confirmed_s``, ``used_s``, ``updated_s`` (float, seconds since the entry
    was last confirmed, last looked up for a packet, last changed in state or MAC); ``suspect``
    (True: REACHABLE for longer than ARP alone would keep it, so an upper layer confirms it, rightly
    or wrongly); ``owner`` (why the entry is never touched, or empty). Sorted by device and address
    up to 1000 rows, otherwise in the kernel's order.

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses.

    ``used_s`` does not advance while an entry is REACHABLE, and does not show idleness then
    (include/net/neighbour.h: neigh_output).
    """
    words = {"ip": ip, "dev": dev, "state": state, "family": family}
    compact = _parsed("list", parse.flag, "compact", compact)
    part = _parsed("list", parse.part, part)
    rows = listing.in_part(_list("list", **words, exclude=exclude, mac=mac), part)
    return listing.compact(rows) if compact else rows


def _list(called, **words):
    return _run(called, listing.list_entries, _selectors(called, "list", **words))


def list_stale(ip=None, dev=None, family=None, exclude=None, mac=None):
    """List the entries in the state STALE.

    Touches no entry and sends nothing.

    CLI Example:

    .. code-block:: bash

        salt db1 arp.list_stale family=ipv4
        # db1: 1 entry: 1 STALE
        #   ip          mac                dev   state  confirmed  used  updated  note
        #   192.0.2.90  02:00:00:00:00:0a  eth0  STALE  61 s       2 s   2 s

    Parameters, return and exceptions as in :py:func:`arp.list`, without ``state``.

    STALE means: not confirmed lately. Most STALE entries are right, and a wrong entry need not be
    STALE: an upper layer can keep it REACHABLE (``suspect`` in :py:func:`arp.list`).
    """
    words = {"ip": ip, "dev": dev, "family": family, "exclude": exclude, "mac": mac}
    return _list("list_stale", state="STALE", **words)


def flush(
    ip=None,
    dev=None,
    state=None,
    family=None,
    exclude=None,
    rows=False,
    test=False,
    mac=None,
    limit=100,
):
    """Delete entries now: without arguments all that are ours to touch, in every state.

    Never touches PERMANENT, NOARP, proxy, externally learned, managed and otherwise owned entries,
    multicast, devices without ARP, entries being resolved (INCOMPLETE, NONE).

    CLI Example:

    .. code-block:: bash

        salt db1 arp.flush 192.0.2.0/24 exclude=192.0.2.1
        # db1: 412 flushed, 2 kept
        #   kept  2 PERMANENT

    ip, dev, family, mac
        As in :py:func:`arp.list`.
    state (str or list, default all of these)
        REACHABLE, STALE, DELAY, PROBE, FAILED.
    exclude (str or list, default none)
        Like ``ip``: entries to leave alone.
    rows (bool, default False)
        Return also ``entries``: what was deleted, in the shape of :py:func:`arp.list`.
    test (bool, default False)
        Return ``would_flush`` instead of ``flushed``; delete nothing.
    limit (int, default 100)
        Rows in ``failed``, at most; 0 for all.

    Returns a dict: ``flushed`` (int), ``kept`` (dict, reason to count, of entries that were
    selected but are not ours to touch), ``entries`` with ``rows``. Only where the kernel refused
    some deletions: ``failed`` (list of ``ip``, ``dev``, ``error``) and ``totals`` (the full length
    of that list), with exit code 1 under ``--retcode-passthrough``. Only where the deletions could
    not be recorded for :py:func:`arp_hygiene.healed`, or the named device or address has no entry
    because another one has it (a bridge, a VLAN, another card, a router): ``warnings`` (list of
    lines). An entry that another process deleted meanwhile counts as success; one that the kernel
    has learned since the call began is left alone, and so is one that has got an owner more than
    two milliseconds before it is deleted (netlink has no deletion with a condition).

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses
    everything (CAP_NET_ADMIN is required).

    The kernel resolves a deleted address anew when the next packet leaves. Where that ARP request
    or its reply is lost, a live connection stalls for a second (``retrans_time_ms``);
    :py:func:`arp.revalidate` does not cause that.
    """
    words = {"ip": ip, "dev": dev, "state": state, "family": family, "exclude": exclude}
    selectors = _selectors("flush", **words, mac=mac)
    rows = _parsed("flush", parse.flag, "rows", rows)
    test = _parsed("flush", parse.flag, "test", test)
    limit = _parsed("flush", parse.limit, limit)
    result = _run("flush", table_flush.flush, selectors, rows, test, limit, MAX_RECORDED)
    if not test:
        _record("flush", result, _deleted(result))
    lines = _run("flush", unselected.explain_flush, selectors, result)
    result.update({"warnings": [*result.get("warnings", ()), *lines]} if lines else {})
    if not rows:
        result.pop("entries", None)
    return _with_exit_code(result)


def _deleted(result):
    """Return what a flush deleted, as heals: a row for each entry, or one for more than a few."""
    if "entries" not in result:
        return [{"ip": f"{result['flushed']} entries", "dev": "", "old": "", "new": ""}]
    return [
        {"ip": row["ip"], "dev": row["dev"], "old": row["mac"], "new": ""}
        for row in result["entries"]
        if row["mac"]
    ]


def revalidate(
    ip=None,
    dev=None,
    state=None,
    family=None,
    exclude=None,
    rate=500,
    test=False,
    mac=None,
    limit=100,
    rows=False,
):
    """Probe each address on the wire, suspects first, and report what changed.

    Never touches, nor probes, what :py:func:`arp.flush` never touches, nor entries without a MAC
    address. Creates no entry, writes no MAC address, clears no flag.

    First the host with the cached MAC is probed by unicast; where it does not answer, all hosts are
    probed by broadcast. A probe changes nothing where no host answers. Where a host with another
    MAC answers, the kernel itself takes that MAC into its table, even for an entry that an upper
    layer keeps confirming. Only an entry for which no host answers is put into the state PROBE:
    the kernel then probes it too, while traffic continues, and sets it to FAILED where no host
    answers.

    A host may be paused or slow. So it is probed by unicast for 0.3 s before all hosts are, unless
    only one entry is selected, and after each change the host with the former MAC is probed again
    for ten seconds, by unicast. If it answers, the kernel gives it its entry back, and the address
    is a duplicate, not healed. The entry is right within milliseconds; the call returns when all
    changes are decided.

    CLI Example:

    .. code-block:: bash

        salt db1 arp.revalidate
        # db1: 97 checked: 95 confirmed, 1 healed, 1 gone
        #   healed  192.0.2.90 on eth0: 02:00:00:00:00:0a -> 02:00:00:00:00:0b
        #   gone    192.0.2.44 on eth0: 02:00:00:00:00:2c does not answer

    ip, dev, family, mac, exclude
        As in :py:func:`arp.flush`.
    state (str or list, default all of these)
        REACHABLE, STALE, DELAY, PROBE.
    rate (float, probes a second, default 500)
        0.01 to 1000000; 0: as fast as a receiver's backlog allows (half of
        ``net.core.netdev_max_backlog`` unanswered at a time). 500 is arp-scan's default, 21 kB/s.
        A live neighbour costs one unicast probe, a dead one eleven probes; of up to 16 live ones
        each host is asked for an address that nobody has, too: two probes.
    test (bool, default False)
        Return ``would_check`` (int) and ``suspects`` (list of ``ip``, ``dev``, ``mac``) instead;
        with ``rows`` also ``entries``, those that would be probed, in the shape of
        :py:func:`arp.list`. Send no probe, since a probe heals.
    limit (int, default 100)
        Rows in each list, at most; 0 for all. ``totals`` has the full lengths.
    rows (bool, default False)
        Return also ``entries``, for each: ``ip``, ``dev``, ``mac``, ``verdict``,
        ``unicast_asked`` and ``broadcast_asked`` (probes sent), ``answers`` (MAC to milliseconds
        after the first probe).

    Returns a dict: ``checked``, ``confirmed`` (the cached MAC is among the answers), ``undecided``
    (no verdict in time) as counts; ``healed`` (list of ``ip``, ``dev``, ``old``, ``new``, ``at``
    (seconds since 1970, when the table changed): a host with another MAC answered, the table holds
    that MAC at the end, and the host with the former one stayed silent); ``gone`` (list of ``ip``,
    ``dev``, ``mac``: no host answered, the entry is FAILED); ``duplicates`` (list of ``ip``,
    ``dev``, ``mac``, ``macs``: several hosts answered, a duplicate address; ``proxy``: the one of
    them that answers for addresses that nobody has. Where it alone answered: ``macs`` has no other,
    and the table now holds it); ``totals`` (full lengths of these lists); ``kept`` (reason to
    count: entries with an owner, and entries that cannot be probed: ``device is down``, ``no
    carrier``, ``no address to ask from``, ``silent, but TCP gets answers``: its host answers no
    ARP, and FAILED would end the connection); ``warnings`` (list of lines; where there is no entry
    of an address that was named, the device that has one, or its router). Only where there are any:
    ``still_wrong`` (list of ``ip``, ``dev``, ``mac``, ``macs``: only these MACs answered, and the
    kernel keeps the cached one, or with ``written_back`` (True) somebody else has written it again
    since; counted as undecided), ``unverified`` (list of ``ip``, ``dev``, ``mac``, ``macs``: these
    MACs answered; ``holds``: the one that somebody else has written since, or empty where the entry
    could not be read again; or with ``unasked``, which says which host could not be probed: one of
    those that answered, but it is not verified that it is right; counted as undecided). Only where
    the kernel refused a part: ``failed`` and the exit code of :py:func:`arp.flush`. Only after
    SIGTERM (``saltutil.term_job``) or Ctrl-C, with that exit code too: ``interrupted`` (True),
    ``no_outcome`` (int, entries not probed or not yet decided) and ``changed`` (list as ``healed``:
    those of them that were probed and have another MAC already, without an owner); the rest is what
    it had done by then.

    A run that the master sent and that probes for more than five seconds fires
    ``arp/revalidate/JID/progress`` every five seconds: ``probed``, ``of``, ``healed`` (ints). Heals
    are on record (``arp_hygiene.healed``) within a second, also if the run is killed; one that is
    written back before the run ends stays on record, and is told as ``still_wrong``.

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses
    everything. Requires CAP_NET_RAW to probe and CAP_NET_ADMIN to set PROBE. Without CAP_NET_RAW a
    warning says so, and all entries are put into PROBE instead.

    The kernel ignores an answer within ``locktime`` (1 s) of an entry's last change
    (net/ipv4/arp.c: arp_process): such an entry is probed again afterwards. While entries are in
    PROBE, ``mcast_resolicit`` of their device is 3 where it was 0: otherwise a live neighbour that
    does not answer unicast probes would become FAILED. A run that is stopped (``warnings`` says so)
    or killed meanwhile leaves the 3 behind, which does no harm.
    """
    words = {"ip": ip, "dev": dev, "state": state, "family": family, "exclude": exclude}
    selectors = _selectors("revalidate", **words, mac=mac)
    rate = _parsed("revalidate", parse.rate, rate)
    test = _parsed("revalidate", parse.flag, "test", test)
    limit = _parsed("revalidate", parse.limit, limit)
    rows = _parsed("revalidate", parse.flag, "rows", rows)
    with _told_to_end() as is_stopped:
        progress = _Progress()
        words = selectors, rate, test, 0, rows, progress.tick, is_stopped
        result = _run("revalidate", resolve_revalidate.revalidate, *words)
    healed = [row for row in result.get("healed", []) if _change(row) not in progress.recorded]
    done = [*healed, *result.get("changed", [])]
    _record("revalidate", result, done)
    return _with_exit_code(answer.limit_lists(result, list(result["totals"]), limit))


@contextlib.contextmanager
def _told_to_end():
    """Yield a function that tells whether Ctrl-C or SIGTERM came (saltutil.term_job sends it).

    A second one is Salt's again, and ends the call without an answer.
    """
    came, before = [], {}

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)

    def note(*_):
        came.append(True)
        restore()

    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, note)
    except ValueError:  # a minion without processes of its own for jobs: not the main thread
        yield lambda: False
        return
    try:
        yield lambda: bool(came)
    finally:
        restore()


def _change(row):
    return row["ip"], row["dev"], row["new"]


class _Progress:
    """Tells how far a run of minutes is: log, terminal, event bus; and puts heals on record."""

    def __init__(self):
        self.recorded, self.told_at = set(), time.monotonic()

    def tick(self, done, total, healed):
        """Called once a second."""
        line = f"arp.revalidate: {done} of {total} probed"
        log.info(line)
        if sys.stderr.isatty():
            print(line, file=sys.stderr)
        if len(healed) > len(self.recorded):
            result, new = {}, healed[len(self.recorded) :]
            _record("revalidate", result, new)
            self.recorded |= set() if result else set(map(_change, new))
        if done < total and time.monotonic() > self.told_at + PROGRESS_EVERY_S:
            self.told_at = time.monotonic()
            jid = _job().get("jid")
            if jid and __opts__.get("__cli") != "salt-call":  # there it would log in to the master
                data = {"jid": jid, "probed": done, "of": total, "healed": len(healed)}
                __salt__["event.fire_master"](data, f"arp/revalidate/{jid}/progress")


def stats(ip=None, dev=None, family=None, exclude=None, mac=None):
    """Count the entries by family, device and state, with the limits of the table.

    Touches no entry and sends nothing.

    CLI Example:

    .. code-block:: bash

        salt db1 arp.stats family=ipv4
        # db1: ipv4 12 entries (14 of 1024)
        #   in brackets: entries that gc_thresh3 limits, in all network namespaces, at most
        #   family  dev   entries  states
        #   ipv4    eth0  12       12 REACHABLE

    Parameters as in :py:func:`arp.list`, without ``state``.

    Returns a dict by family (``ipv4``, ``ipv6``): ``entries`` (int), ``states`` (state to count),
    ``devices`` (device to state to count), ``warnings`` (list; one line from 80 % of
    ``gc_thresh3`` on, with the sizes to set) and, where the kernel has such a table,
    ``gc_thresh1``, ``gc_thresh2``, ``gc_thresh3``, ``entries_all_namespaces`` (int) and
    ``entries_limited`` (int): how many of these ``gc_thresh3`` counts, at most. It does not count
    PERMANENT and extern_learn entries; those of other namespaces cannot be told from the rest.

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses.

    The limits apply to all network namespaces together (net/core/neighbour.c: neigh_alloc): a
    container can be refused an entry though its own table is small.
    """
    words = {"ip": ip, "dev": dev, "family": family, "exclude": exclude, "mac": mac}
    return _run("stats", listing.stats, _selectors("stats", "list", **words))


def diagnose(ip, dev=None, test=False):
    """Diagnose why traffic to one address is lost: one verdict, its evidence, a cure.

    Writes no MAC. The state of an entry whose host has just answered is set anew (DELAY or STALE),
    so that the kernel keeps its MAC while others are asked. A probe can heal an entry, since the
    kernel takes the answer. Never probes an entry that has an owner and that an answer would change
    (externally learned, managed, set by a routing daemon).

    Reads everything first (route, entry and its ages, table, TCP sockets that get no answer), then
    probes the address, then reads the entry again. For an address behind a router, the entry of the
    router is judged; where only packets from some of this host's addresses, or of a VRF, have a
    route there (ip-rule(8)), the entry of their router.

    CLI Example:

    .. code-block:: bash

        salt db1 arp.diagnose 192.0.2.90
        # db1: WRONG, NOW CORRECTED BY ASKING
        #   192.0.2.90 on eth0 was wrong: the table held 02:00:00:00:00:0a (REACHABLE);
        #   02:00:00:00:00:0b (0.21 ms) answers, and it holds that now.
        #   do      nothing here; on the other hosts: arp.revalidate 192.0.2.90
        #   before  02:00:00:00:00:0a REACHABLE, suspect, confirmed 1 s ago
        #   after   02:00:00:00:00:0b REACHABLE, confirmed 0 s ago

    ip (str)
        One address.
    dev (str, default the device of the kernel's route)
        Name of a network device; of a port of a bridge or bond, of a VRF, or of a device that only
        carries VLANs, the device with the entries is taken. Required for a link-local IPv6 address.
    test (bool, default False)
        Only read; send no probe.

    Returns a dict: ``verdict``, one of

    - ``right``: the entry is not the reason;
    - ``wrong, now corrected by asking``;
    - ``wrong, and asking did not correct it``: the kernel does not take the answer;
    - ``duplicate address``: two hosts answer;
    - ``flux``: one host answers with two NICs;
    - ``proxy``: a host answers that also answers for addresses which nobody has (proxy ARP): its
      answer proves nothing;
    - ``nobody answers``: which does not prove that the host is down;
    - ``silent but vouched for``: no host answers, and TCP or an application keeps the entry;
    - ``no entry``: a host answers, and the next packet will learn it: the table is not the reason;
    - ``owned entry disagrees with the wire``: a host with another MAC answers, and the entry has an
      owner;
    - ``not on this link, next hop judged``: and the entry of the next hop is right. Where it is
      not, its own verdict is returned;
    - ``table full``: a host answers, and the kernel has no room for an entry, or may have none;
    - ``cannot be asked here``: no route, own address, device down, no right to send; or
      the host that had the entry before our question could not be asked again;
    - ``not asked``: with ``test``, where reading alone does not decide.

    Where the packets to the address may take several next hops (stuck sockets of several routes, a
    multipath route that spreads by ports, entries of the address on several devices), each is
    judged, and the first that is at fault returned; each that was healed is on record. An entry on
    another device that has an owner and that an answer would change is named, ``not judged``: name
    that device with ``dev``.

    ``sentence`` (the same, with MACs and times), ``cure`` (a command, after its condition where it
    has one; empty where none is harmless under every reading), ``address``, ``judged`` (the address
    whose entry was judged), ``route`` (``dev``, ``source``, ``gateway``, ``why_not``), ``entry``
    and ``entry_after`` (before and after the probe; a row of :py:func:`arp.list`, or None),
    ``kept_alive_by`` (before the probe), ``asked`` (probes sent: ``unicast``, ``broadcast``),
    ``cannot_ask`` (why), ``answers_ms`` (MAC to milliseconds), ``witnesses`` (another address of
    one of two MACs, to the MACs that answer for it), ``proxies`` (MACs that answer for what nobody
    has), ``other_hops`` (other next hops, to their verdicts), ``table`` (``entries`` of all
    namespaces, ``never_collected``, ``gc_thresh1``, ``gc_thresh2``, ``gc_thresh3``, ``refused``
    since boot or -1, ``refused_lately``), ``sockets`` (TCP to the address, in SYN_SENT, SYN_RECV or
    retransmitting; 100 at most, ``totals`` has the count), ``sockets_unknown`` (why they cannot be
    listed), ``kernel`` (its release); only where a heal could not be recorded for
    :py:func:`arp_hygiene.healed`: ``warnings`` (list of lines).

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses.

    Takes 30 ms where an IPv4 entry is right, and 1.1 s where an IPv6 one is (or an IPv4 one with a
    ``locktime`` below a second): a second host may answer for a second after the first, and the
    kernel would take that. Up to 3 s where no host answers, and a second more where the entry
    changed less than ``locktime`` ago (net/ipv4/arp.c: arp_process), or two hosts answer. Where the
    probe changed the entry, the former holder is asked again, alone, for up to ten seconds: a host
    that was only slow, or faster than another one, has its entry back.
    """
    dst = _parsed("diagnose", evidence.parse_address, ip, dev)
    test = _parsed("diagnose", parse.flag, "test", test)
    result, healed = _run("diagnose", evidence.diagnose, dst, dev, test)
    if healed:
        _record("diagnose", result, healed)
    return result


def announce(ip=None, dev=None, test=False, limit=100):
    """Announce this machine's own addresses on the link, three times in 2.2 s.

    Touches no entry of this machine. Refuses any address that is not this machine's own.

    For a new machine: hosts that still hold the MAC address of the machine that had the address
    before take the new one at once, even where an upper layer confirms the old one. IPv4:
    gratuitous ARP, a request and a reply; IPv6: an unsolicited neighbour advertisement with
    Override. Corrects existing entries and creates none, unless a host sets ``arp_accept``.

    CLI Example:

    .. code-block:: bash

        salt worker1 arp.announce dev=eth0
        # worker1: 1 announced
        #   announced  192.0.2.90 on eth0: 02:00:00:00:00:0b

    ip (str or list, default all)
        Own address, or network in CIDR notation that contains one. An address that is kept quiet is
        announced only if it is named; one of ``lo`` then on the link in whose network it is.
    dev (str or list, default all)
        Name or alternative name of a network device. A port of a bridge, bond or team, and a device
        with a virtual MAC of VRRP, announces only if it is named.
    test (bool, default False)
        Return ``would_announce`` instead of ``announced``; send nothing.
    limit (int, default 100)
        Rows in each list, at most; 0 for all. ``totals`` has the full lengths.

    Returns a dict: ``announced`` (list of ``ip``, ``dev``, ``mac``); ``totals`` (full lengths of
    the lists); ``kept`` (reason to count, of own addresses that are not announced: ``device is
    down``, ``no carrier``, ``device does no ARP``, ``scope host``: valid on this machine alone, as
    on the hosts behind a balancer; ``port of a bridge`` (or bond, team), ``virtual MAC of VRRP``;
    what is kept quiet: ``arp_ignore``, ``deprecated address``, ``a /32 beside other addresses``,
    ``ARP filter of this host``, ``ND filter of this host``: nftables drops the answers about it, or
    lets none pass (rules of arptables-legacy and ip6tables-legacy are not read); ``no link carries
    it: name dev``). Only where the named device has no address because another one has it, or where
    arptables-legacy has rules: ``warnings`` (list of lines). Only where sending failed: ``failed``
    (list of ``ip``, ``dev``, ``error``), with exit code 1 under ``--retcode-passthrough``. An IPv6
    address in duplicate address detection is not ours yet.

    Raises SaltInvocationError for a bad argument and for an address that is not this machine's,
    CommandExecutionError without CAP_NET_RAW.

    Other hosts do not receive it in clouds (a VPC of any vendor) and behind ARP suppression (EVPN):
    use :py:func:`arp.revalidate` on those hosts. They ignore it where ``drop_gratuitous_arp`` or
    ``drop_unsolicited_na`` is set, or where a switch inspects ARP. The second and third
    announcement are for a host whose entry changed less than ``locktime`` (1 s) ago
    (net/ipv4/arp.c: arp_process), and for lost frames; an address that this machine has lost by
    then is not announced again.
    """
    networks, devices = _parsed("announce", table_selectors.parse_own, ip, dev)
    test = _parsed("announce", parse.flag, "test", test)
    limit = _parsed("announce", parse.limit, limit)
    words = devices, networks, test, limit
    return _with_exit_code(_run("announce", resolve_announce.announce, *words))


def version():
    """Return which version of these functions this minion has.

    Touches no entry and sends nothing.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp.version
        # db1: 0.1.0
        #   code  723f4af65c697140
        #   path  /var/cache/salt/minion/extmods/utils/arp_engine

    Returns a dict: ``version``; ``code`` (a hash of the engine's files: it differs between two
    checkouts of one version); ``path`` (of the engine: a synced copy wins over one from pip).
    """
    path = os.path.join(engine_version.PLACE, "arp_engine")
    return {"version": engine_version.VERSION, "code": engine_version.code(), "path": path}
