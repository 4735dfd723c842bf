"""See, revalidate and flush the neighbour (ARP, NDP) table of a minion.

A machine that gets the address of a dead one cannot be reached while an old host still holds the
dead one's MAC address: replies leave for a NIC that no longer exists. ``arp.revalidate`` asks on
the wire who has each address, which heals the entry; ``arp.flush`` deletes, now.

Never touched, by any function: PERMANENT, NOARP, proxy, externally learned, managed and otherwise
owned entries, multicast, devices without ARP, and what the kernel is resolving at this moment.

:depends: pyroute2 >= 0.7.2
:platform: Linux
"""

import logging
import sys

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
from arp_engine.formula import facts

try:
    from arp_engine.diagnose import evidence
    from arp_engine.resolve import announce as resolve_announce
    from arp_engine.resolve import revalidate as resolve_revalidate
    from arp_engine.table import flush as table_flush
    from arp_engine.table import listing, parse
    from arp_engine.table import selectors as table_selectors

    HAS_PYROUTE2 = True
except ImportError as missing:
    if (missing.name or "pyroute2").partition(".")[0] != "pyroute2":
        raise
    HAS_PYROUTE2 = False

log = logging.getLogger(__name__)

__virtualname__ = "arp"
__func_alias__ = {"list_": "list"}
__outputter__ = {"list_": "table", "list_stale": "table"}


def __virtual__():
    """Load on Linux, with pyroute2."""
    if not sys.platform.startswith("linux"):
        return False, "arp: neighbour tables are read by netlink, which only Linux has"
    if not HAS_PYROUTE2:
        return False, f"arp: {facts.missing('pyroute2', __opts__['root_dir'])}"
    return __virtualname__


def _select(called, verb=None, **words):
    """Return Selectors; what the operator wrote wrong is one line that names what he called."""
    return _checked(called, lambda: table_selectors.parse_selectors(verb=verb or called, **words))


def _call(verb, function, *words):
    """Call the engine; what the operator or the kernel objects to is one line."""
    try:
        return function(*words)
    except table_selectors.Unknown as error:
        raise SaltInvocationError(f"arp.{verb}: {error}") from None
    except OSError as error:
        raise CommandExecutionError(f"arp.{verb}: {error.strerror or error}") from None


def _checked(verb, parser, *words):
    """Return one parsed argument."""
    try:
        return parser(*words)
    except ValueError as error:
        raise SaltInvocationError(f"arp.{verb}: {error}") from None


def _told(result):
    """Return a result; where the kernel refused a part of it, with an exit code that says so."""
    if result.get("failed"):
        __context__["retcode"] = 1
    return result


def list_(ip=None, dev=None, state=None, family=None, exclude=None, mac=None):
    """List the neighbour table. Touches nothing and sends nothing.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp.list dev=eth0 state=REACHABLE
        # db1:
        # ----------
        #     ----------------------------------------------------------------------- ...
        #     | Confirmed S | Dev  |     Ip     |        Mac        | Owner |   State   | ...
        #     ----------------------------------------------------------------------- ...
        #     |     0.03    | eth0 | 192.0.2.90 | 02:00:00:00:00:0a |       | REACHABLE | ...

    ip
        Address, network in CIDR notation, or several of them. Default: all.
    dev
        Name or alternative name of a network device, or several. Default: all.
    state
        Neighbour state, or several: INCOMPLETE, REACHABLE, STALE, DELAY, PROBE, FAILED, NOARP,
        PERMANENT, NONE. Default: all.
    family
        ``ipv4`` or ``ipv6``. Default: both.
    exclude
        Like ``ip``: what is left out. Default: nothing.
    mac
        Hardware address, or several. Default: all. The dead one is often all one knows.

    Several are a list, or one word with commas: ``ip=192.0.2.10,192.0.2.11``.

    Returns a list of dicts with the same keys: ``ip``; ``mac`` (empty while there is none);
    ``dev``; ``state``; ``confirmed_s``, ``used_s``, ``updated_s`` (seconds since somebody vouched
    for the entry, since it was last looked up for a packet, since its state or MAC last changed);
    ``suspect`` (True: REACHABLE for longer than ARP alone would keep it, so something else
    vouches for it, rightly or wrongly); ``owner`` (why it is never touched, or empty). Sorted by
    device and address up to 1000 rows; more are in the kernel's order.

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses.

    ``used_s`` does not advance while an entry is REACHABLE and says nothing about idleness then
    (Linux, net/core/neighbour.c).
    """
    words = {"ip": ip, "dev": dev, "state": state, "family": family}
    return _listed("list", **words, exclude=exclude, mac=mac)


def _listed(called, **words):
    return _call(called, listing.list_entries, _select(called, "list", **words))


def list_stale(ip=None, dev=None, family=None, exclude=None, mac=None):
    """List what the kernel calls STALE. Touches nothing and sends nothing.

    STALE means: not confirmed lately. A wrong entry need not be among them (it can be kept
    REACHABLE for ever: see ``suspect`` in :py:func:`arp.list`), and most of these are right.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp.list_stale family=ipv4

    Parameters, shape and exceptions as in :py:func:`arp.list`, without ``state``.
    """
    words = {"ip": ip, "dev": dev, "family": family, "exclude": exclude, "mac": mac}
    return _listed("list_stale", state="STALE", **words)


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
    """Delete entries now: without arguments every one that is ours to touch, whatever its state.

    The kernel asks again when the next packet leaves. Where ARP answers get lost, a live
    connection can stall a second: :py:func:`arp.revalidate` does not do that.

    Never touches PERMANENT, NOARP, proxy, externally learned, managed and other owned entries,
    multicast, devices without ARP, entries being resolved (INCOMPLETE, NONE).

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp.flush
        # db1:
        #     ----------
        #     flushed:
        #         412
        #     kept:
        #         ----------
        #         PERMANENT:
        #             2
        salt 'db*' arp.flush 192.0.2.0/24 exclude=192.0.2.1 test=True

    ip
        Address, network in CIDR notation, or several of them. Default: all.
    dev
        Name or alternative name of a network device, or several. Default: all.
    state
        REACHABLE, STALE, DELAY, PROBE, FAILED, or a list. Default: all of these.
    family
        ``ipv4`` or ``ipv6``. Default: both.
    exclude
        Like ``ip``: what is left alone. Default: nothing.
    rows
        True: return also ``entries``, what was deleted, in the shape of :py:func:`arp.list`.
        Default: False.
    test
        True: return ``would_flush`` instead of ``flushed``; touch nothing. Default: False.
    mac
        Hardware address, or several: only the entries that hold it. Default: all.
    limit
        Rows in ``failed``, at most; 0 for all. Default: 100.

    Returns a dict: ``flushed`` (count), ``kept`` (reason to count, of what was meant but is not
    ours), ``entries`` with ``rows``; and, only where the kernel refused a part, ``failed`` (list
    of ``ip``, ``dev``, ``error``) and ``totals`` (how long that list really is), with exit code 1
    under ``--retcode-passthrough``. What another
    process removed meanwhile, or what the kernel learned anew since the call began, is success.

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses
    everything (CAP_NET_ADMIN is needed).
    """
    words = {"ip": ip, "dev": dev, "state": state, "family": family, "exclude": exclude}
    selectors = _select("flush", **words, mac=mac)
    rows = _checked("flush", parse.flag, "rows", rows)
    test = _checked("flush", parse.flag, "test", test)
    limit = _checked("flush", parse.limit, limit)
    return _told(_call("flush", table_flush.flush, selectors, rows, test, limit))


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
    """Ask on the wire who has each address, suspects first, and say what came of it.

    The host at the MAC we hold is asked alone; where it does not answer, everybody is. Asking
    changes nothing where nobody answers. Where another answers, the kernel takes the answer into
    its table by itself, even for an entry that something keeps vouching for. Only what answers
    nothing at all is then put into PROBE: the kernel asks too, while traffic keeps flowing, and
    gives the entry up (FAILED; the next packet asks by broadcast) if nobody answers it either.
    Never creates an entry, never writes a MAC that is not there already, never loses a flag.

    Never touches, nor asks about, what :py:func:`arp.flush` never touches, nor entries without a
    MAC.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp.revalidate
        # db1:
        #     ----------
        #     checked:
        #         97
        #     confirmed:
        #         95
        #     gone:
        #         |_
        #           ----------
        #           dev:
        #               eth0
        #           ip:
        #               192.0.2.44
        #           mac:
        #               02:00:00:00:00:2c
        #     healed:
        #         |_
        #           ----------
        #           dev:
        #               eth0
        #           ip:
        #               192.0.2.90
        #           new:
        #               02:00:00:00:00:0b
        #           old:
        #               02:00:00:00:00:0a
        #     ...

    ip, dev, family, exclude
        As in :py:func:`arp.flush`.
    state
        REACHABLE, STALE, DELAY, PROBE, or several. Default: all of these.
    rate
        Questions a second, 0.01 to 1000000; 0 is as fast as a receiving backlog can bear.
        Default: 500, which is arp-scan's: 42 bytes each, 21 kB/s; a living neighbour costs one
        that only it hears, a dead one eleven.
    test
        True: return ``would_check`` (count) and ``suspects`` (list of ``ip``, ``dev``, ``mac``)
        instead; touch nothing and ask nobody: asking heals. Default: False.
    mac
        Hardware address, or several: only the entries that hold it. Default: all.
    limit
        Rows in one list, at most; 0 for all. Default: 100. ``totals`` says how many there are.
    rows
        True: return also ``entries``, for each: ``ip``, ``dev``, ``mac``, ``verdict``,
        ``unicast_asked`` and ``broadcast_asked`` (questions sent), ``answers`` (MAC to the
        milliseconds after the first question). Default: False.

    Returns a dict: ``checked``, ``confirmed`` (the MAC we hold is among the answers),
    ``undecided`` (no verdict in time) as counts; ``healed`` (list of ``ip``, ``dev``, ``old``,
    ``new``: another answered, and the table holds it now); ``gone`` (list of ``ip``, ``dev``,
    ``mac``: nobody answered, FAILED); ``duplicates`` (list of ``ip``, ``dev``, ``mac``, ``macs``:
    several answered, and no table can be right); ``totals`` (how long these lists really are);
    ``kept`` (reason to count: what is somebody's, and what cannot be asked about: ``device is
    down``, ``no carrier``, ``no address to ask from``, ``no link-local address``); ``warnings``
    (list of lines); and, only where the kernel refused a part, ``failed`` as in
    :py:func:`arp.flush`.

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses
    everything. Needs CAP_NET_RAW to ask and CAP_NET_ADMIN to make the kernel prove. Without the
    first it says so, and the kernel is made to prove everything.

    An answer within ``locktime`` (1 s) of an entry's last change is dropped by the kernel
    (net/ipv4/arp.c): it is waited out, and asked for again. For what is silent ``mcast_resolicit``
    is 3 until the verdict, where it was 0: else a living neighbour fails where nobody answers
    unicast requests. Who is killed meanwhile leaves the 3 behind, which does no harm.
    """
    words = {"ip": ip, "dev": dev, "state": state, "family": family, "exclude": exclude}
    selectors = _select("revalidate", **words, mac=mac)
    rate = _checked("revalidate", parse.rate, rate)
    test = _checked("revalidate", parse.flag, "test", test)
    limit = _checked("revalidate", parse.limit, limit)
    rows = _checked("revalidate", parse.flag, "rows", rows)
    words = selectors, rate, test, limit, rows, _progress("revalidate")
    return _told(_call("revalidate", resolve_revalidate.revalidate, *words))


def _progress(verb):
    """Return what tells how far a run of minutes is: to a terminal, and to the log."""

    def tick(done, total):
        line = f"arp.{verb}: {done} of {total} asked"
        log.info(line)
        if sys.stderr.isatty():
            print(line, file=sys.stderr)

    return tick


def stats(ip=None, dev=None, family=None, exclude=None, mac=None):
    """Count entries by family, device and state, against the table's limits. Touches nothing.

    CLI Example:

    .. code-block:: bash

        salt 'db*' arp.stats family=ipv4
        # db1:
        #     ----------
        #     ipv4:
        #         ----------
        #         devices:
        #             ----------
        #             eth0:
        #                 ----------
        #                 REACHABLE:
        #                     12
        #         entries:
        #             12
        #         entries_all_namespaces:
        #             14
        #         gc_thresh1:
        #             128
        #         ...

    Parameters as in :py:func:`arp.list`, without ``state``.

    Returns a dict by family (``ipv4``, ``ipv6``): ``entries``, ``states`` (state to count),
    ``devices`` (device to state to count) and, where the kernel has such a table, ``gc_thresh1``,
    ``gc_thresh2``, ``gc_thresh3`` and ``entries_all_namespaces``: the limits hold for all network
    namespaces together, so a container can be refused an entry though its own table is small. Each
    family has also ``warnings``: a list, with one line from 80 % of ``gc_thresh3`` on, which says
    how full the table is and which sizes to set. Every key of the dict itself is a family.

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses.
    """
    words = {"ip": ip, "dev": dev, "family": family, "exclude": exclude, "mac": mac}
    selectors = _select("stats", "list", **words)
    return _call("stats", listing.stats, selectors)


def diagnose(ip, dev=None, test=False):
    """Say why traffic to one address is lost: one verdict, what it rests on, and what cures it.

    Reads everything first (route, entry and its ages, table, TCP sockets that get no answer), then
    asks who has the address (ARP request, neighbour solicitation), then reads the entry again.
    Asking heals: the kernel takes the answer. Where the address is behind a router it is the
    router's entry that is judged.

    Touches no entry itself. Never asks about an entry that an answer would change and that is not
    ours (externally learned, managed, set by a routing daemon).

    CLI Example:

    .. code-block:: bash

        salt db1 arp.diagnose 192.0.2.90
        # db1:
        #     ----------
        #     ...
        #     cure:
        #     ...
        #     sentence:
        #         192.0.2.90 on eth0 was wrong: the table held 02:00:00:00:00:0a (REACHABLE);
        #         02:00:00:00:00:0b (0.21 ms) answers, and it holds that now.
        #     ...
        #     verdict:
        #         wrong, now corrected by asking

    ip
        One address.
    dev
        Name of the network device to go by. Default: the one that the kernel's route names. A
        link-local IPv6 address needs it.
    test
        True: only read, ask nobody. Default: False.

    Returns a dict: ``verdict``, one of

    - ``right``: the table is not the reason;
    - ``wrong, now corrected by asking``;
    - ``wrong, and asking did not correct it``: the kernel does not take the answer;
    - ``duplicate address``: two machines answer;
    - ``flux``: one machine answers with two NICs;
    - ``nobody answers``;
    - ``silent but vouched for``: nobody answers, and something keeps the entry alive;
    - ``no entry``: it answers, and the next packet learns it: the table is not the reason;
    - ``owned entry disagrees with the wire``: somebody set it, and another MAC answers;
    - ``not on this link, next hop judged``: and the next hop is right. Where it is not, its own
      verdict is returned;
    - ``table full``: it answers, and the kernel has no room for it;
    - ``cannot be asked here``: no route, own address, device down, no right to send;
    - ``not asked``: with ``test``, where reading does not decide.

    ``sentence`` (the same, with MACs and times), ``cure`` (a command, or empty), ``address``,
    ``judged`` (the address whose entry was judged), ``route`` (``dev``, ``source``, ``gateway``,
    ``why_not``), ``entry`` and ``entry_after`` (before and after asking; shape of
    :py:func:`arp.list`, or None), ``kept_alive_by``, ``asked`` (frames sent: ``unicast``,
    ``broadcast``), ``cannot_ask`` (why), ``answers_ms`` (MAC to milliseconds), ``witnesses``
    (other address of one of two MACs to who answers for it), ``table`` (``entries`` of all
    namespaces, ``never_collected``, ``gc_thresh1``, ``gc_thresh2``, ``gc_thresh3``, ``refused``
    since boot or -1, ``refused_lately``), ``sockets`` (TCP to the address, in SYN_SENT, SYN_RECV or
    retransmitting; 100 at most, ``totals`` has the count), ``sockets_unknown`` (why they cannot
    be listed), ``kernel`` (its release).

    Raises SaltInvocationError for a bad argument, CommandExecutionError where the kernel refuses.

    Takes 25 ms where somebody answers, up to 3 s where nobody does, and a second more where the
    entry changed less than ``locktime`` ago.
    """
    dst = _checked("diagnose", evidence.parse_address, ip, dev)
    test = _checked("diagnose", parse.flag, "test", test)
    return _call("diagnose", evidence.diagnose, dst, dev, test)


def announce(ip=None, dev=None, test=False, limit=100):
    """Tell everybody on the link where this machine's own addresses are, three times in 2.2 s.

    For the newcomer: whoever holds the MAC of the machine that had the address before takes this
    one's at once, even where something vouches for the old one. IPv4: gratuitous ARP, a request
    and a reply; IPv6: an unsolicited neighbour advertisement with Override. Corrects what others
    hold and makes no new entries, unless they ask for that (``arp_accept``).

    Own addresses only: any other is refused. Touches no entry of this machine's own.

    Does not arrive where nobody hears anybody else's ARP: in clouds (a VPC of any vendor) and
    behind ARP suppression (EVPN); there ask from the other side (:py:func:`arp.revalidate`). Is
    not believed where ``drop_gratuitous_arp`` or ``drop_unsolicited_na`` is set, or by a switch
    that inspects ARP.

    CLI Example:

    .. code-block:: bash

        salt worker1 arp.announce dev=eth0
        # worker1:
        #     ----------
        #     announced:
        #         |_
        #           ----------
        #           dev:
        #               eth0
        #           ip:
        #               192.0.2.90
        #           mac:
        #               02:00:00:00:00:0b
        #     kept:
        #         ----------
        #     totals:
        #         ----------
        #         announced:
        #             1
        salt worker1 arp.announce 192.0.2.90,2001:db8::90 test=True

    ip
        Own address, a network in CIDR notation that holds one, or several of them. Default: all.
    dev
        Name or alternative name of a network device, or several. Default: all.
    test
        True: return ``would_announce`` instead of ``announced``; send nothing. Default: False.
    limit
        Rows in one list, at most; 0 for all. Default: 100. ``totals`` says how many there are.

    Returns a dict: ``announced`` (list of ``ip``, ``dev``, ``mac``); ``totals`` (how long the
    lists really are); ``kept`` (reason to count, of own addresses that nobody would hear of:
    ``device is down``, ``no carrier``, ``device does no ARP``, ``scope host``: for this machine
    alone, as a balancer's hosts hold their address); and, only where it could not be sent,
    ``failed`` (list of ``ip``, ``dev``, ``error``), with exit code 1 under
    ``--retcode-passthrough``. An IPv6 address that is still being tried (DAD) is not ours yet.

    Raises SaltInvocationError for a bad argument and for an address that is not this machine's,
    CommandExecutionError without CAP_NET_RAW.

    The second and third time are for who changed an entry less than ``locktime`` (1 s) ago, and
    for frames that get lost. What is ours no longer by then is not announced again.
    """
    networks, devices = _checked("announce", table_selectors.parse_own, ip, dev)
    test = _checked("announce", parse.flag, "test", test)
    limit = _checked("announce", parse.limit, limit)
    return _told(_call("announce", resolve_announce.announce, devices, networks, test, limit))
