"""Compare the databases' neighbour tables with the fleet's own interfaces, and heal the wrong ones.

A Salt master knows which machine has which address. ``arp.audit`` compares every table with that
and names each entry that disagrees, before a client is affected; ``arp.heal`` has exactly those
entries asked about, by ``arp.revalidate``. Neither writes into a table.

Only minions whose key is accepted count. A machine that does not answer is named, and is not gone.

``salt-run saltutil.sync_all`` brings the files to the master; ``salt '*' saltutil.sync_all`` does
not.
"""

import logging
import signal
import sys
import time

import salt.cache
import salt.client
import salt.key
import salt.utils.minions
import salt.utils.yaml
import salt.version
from salt.exceptions import SaltException

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
from arp_engine.fleet import (
    arguments,
    directory,
    grains_cache,
    heal_run,
    settings,
    summary,
    targets,
)
from arp_engine.fleet import status as fleet_status
from arp_engine.fleet.audit import Audit
from arp_engine.fleet.returns import Returns
from arp_engine.reporting import run_history

log = logging.getLogger(__name__)

__virtualname__ = "arp"

ERROR = 1  # exit code
MAX_EVENTS = 10_000  # read at a time
IS_3008 = salt.version.__version_info__[0] >= 3008  # grains are in a bank of their own
SIGNALS = {signal.SIGINT, signal.SIGTERM}  # with which a person ends a run


def __virtual__():
    """Load on every master."""
    return __virtualname__


def audit(
    tgt=arguments.DATABASES,
    tgt_type="compound",
    truth="live",
    machines="*",
    machines_type="glob",
    networks=None,
    exclude=None,
    report=None,
    limit=100,
    timeout=None,
    batch=200,
    fabric=None,
    sample=None,
    record=False,
):
    """Compare the tables of databases with the interfaces that the fleet really has.

    Asks minions through Salt, sends no ARP request, changes no table.

    CLI Example:

    .. code-block:: bash

        salt-run arp.audit
        # 812 entries of 2 databases: 1 wrong, 0 of machines that are gone, 0 cached addresses
        # claimed twice.
        # Compared with 60 machines: 60 answered, 0 from cached grains.
        #
        # wrong:
        #   minion  ip         dev   mac                mac_true           machine  unchanged  ...
        #   db1     10.0.1.90  eth0  02:00:00:00:00:0a  02:00:00:00:00:0b  worker9  2 min      ...
        #
        # jid 20261124073022123456
        salt-run arp.audit 'db*' glob truth=cached --out=json

    tgt, tgt_type
        Whose tables. Default: minions with the role ``database`` (or ``roles``) in grains or
        pillar, and ids ``db*``; compound.
    truth
        ``live``: every machine is asked for its interfaces, ``batch`` at a time; of one that does
        not answer the cached grains count, with their age. ``cached``: cached grains; then only the
        machines that an entry disagrees with are asked; blind to what changed since the grains
        were cached. ``file:NAME``: a file below ``arp_fleet: directory`` with the columns address,
        mac, machine, age_s. Default: live.
    machines, machines_type
        The machines whose interfaces count, for sites that use the same addresses. Default: all.
    networks
        Networks, all of whose addresses are the fleet's: an address that no machine has there is
        gone, once every machine has answered (``truth=live``). Default: none.
    exclude
        Networks that are not compared. Default: none.
    fabric
        MACs with which the network itself answers for every address (Azure, PVLAN, local proxy
        ARP). Those that answer for addresses that nobody has, too, and Azure's, are recognised:
        each database asks about two addresses on each device. Default: none.
    sample
        With ``truth=cached``: which part of the machines is asked all the same, to tell how far
        the cached grains are right: ``5%``. Default: none.
    record
        True: remember the run below ``arp_fleet: directory`` and write the metrics there. For the
        run that a schedule makes; others are compared with what it has seen. Default: False.
    report
        Name of a self-contained HTML page (``NAME.html``) to write below ``arp_fleet: directory``
        of the master's configuration. It replaces no other file. Default: none.
    limit
        Rows in one list, at most; 0 for all. ``totals`` has their real number. Default: 100.
    timeout
        Seconds to wait for an answer. Default: the master's own.
    batch
        Machines asked for their interfaces at once. Default: 200.

    Returns a dict: ``wrong`` (list of ``minion``, ``ip``, ``dev``, ``mac``, ``state``, ``suspect``,
    ``owner``, ``unchanged_s``: the cached entry; ``mac_true``, ``machine``, ``truth`` (live, cached
    or file), ``truth_age_s``); ``twice`` (``ip``, ``machines``, ``macs``, ``count``, ``held``: how
    many databases cache it); ``gone`` (the entry, and ``why`` that is known); ``unproven`` (as
    ``wrong``, and ``why``: nobody confirmed what the entry disagrees with); ``fabric`` (``mac``,
    ``machines``, ``addresses``, ``databases``); ``acknowledged`` (``minion``, ``ip``, ``mac``,
    ``finding``, ``why``, ``until``); ``expired`` (acknowledgements: ``about``, ``why``, ``until``,
    ``findings``: how many); ``silent`` (``minion``, ``why``); ``conflicts`` (``minion``, ``why``:
    its return may be forged); ``counts``; ``totals``; ``databases`` (names); ``summary``
    (lines); ``stopped`` (why the master could send no more jobs during the audit, also that of a
    heal, or ""); ``command`` (what to type next); ``history`` (the recorded ``runs``, and
    ``changes``; then ``wrong``, ``gone``, ``unproven`` have ``first_seen``, in seconds since 1970);
    ``jid``; ``jobs`` (jids of the jobs sent); ``retcode``.

    The exit code is a sum: 2 wrong entries (also gone ones, and cached addresses that two machines
    claim), 4 not every minion answered, or the master could not send a job (``summary`` says so), 8
    an entry agrees or disagrees with cached grains alone. 0: none of these; ``unproven`` may still
    list entries of which nobody said what is right. 1: an error. 130: interrupted, with what is
    known until then.
    """
    return _run("audit", locals(), _audit)


def heal(
    tgt=arguments.DATABASES,
    tgt_type="compound",
    truth="live",
    machines="*",
    machines_type="glob",
    networks=None,
    exclude=None,
    report=None,
    limit=100,
    timeout=None,
    batch=200,
    share="1/3",
    pause=1,
    budget=10000,
    rate=500,
    test=False,
    fabric=None,
    sample=None,
    record=False,
):
    """Audit, then revalidate the entries that disagree, on the databases that have them.

    Runs ``arp.revalidate`` in waves. Writes no MAC; never touches an entry that has an ``owner``.

    CLI Example:

    .. code-block:: bash

        salt-run arp.heal test=True
        salt-run arp.heal networks=10.0.0.0/16 report=arp.html

    tgt, tgt_type, truth, machines, machines_type, networks, exclude, fabric, sample, record,
    report, limit, timeout
        As in :py:func:`arp.audit`.
    batch
        Minions in one wave, at most, and as in :py:func:`arp.audit`. Default: 200.
    share
        The share of one role that may be in one wave; one member always may. The ids of a role's
        members differ in numbers only: db1, db2, db12. Default: 1/3.
    pause
        Seconds between two waves. Default: 1.
    budget
        ARP requests (and neighbour solicitations), at most, in the whole run, including the
        kernel's own. An entry counts 58, the most it can take, until its database has answered;
        a host that answers takes 2. At least that many. Default: 10000.
    rate
        Requests a second on one database, of all its jobs together; 0: as fast as is safe, each.
        Default: 500.
    test
        True: return ``would_ask`` (rows) and ``would_waves`` (their number); send no ARP request.
        Default: False.

    Returns what :py:func:`arp.audit` returns, from before the heal, and: ``healed`` (``minion``,
    ``ip``, ``dev``, ``old``, ``new``); ``given_up`` (rows: no host answered, FAILED;
    and ``why``, where its machine is up);
    ``right_meanwhile`` (rows, and ``why``);
    ``still_wrong`` (rows, and ``why``); ``not_reached`` (``minion``, ``why``); ``asked`` (entries),
    ``requests``, ``waves``, ``interrupted``.

    The exit code is a sum: 2 an entry is still wrong (or claimed twice, or given up though its
    machine is up), 4 not every minion was reached, 8 an entry agrees or disagrees with cached
    grains alone. 130: interrupted, with what is known until then. 1: an error.
    """
    return _run("heal", locals(), _heal)


def status(tgt=arguments.DATABASES, tgt_type="compound", timeout=None, batch=200):
    """Show one line for each database, the worst first. Touches no table, sends no ARP request.

    CLI Example:

    .. code-block:: bash

        salt-run arp.status
        # 3 databases: 1 with a problem, 12 healed in seven days.
        #
        # status:
        #   minion  problem              last                  healed_7d  sentinel  table ≤  ...
        #   db2     the last run failed  2026-11-24T07:30:04Z  0          running   812 of   ...
        #   db1                          2026-11-24T07:30:02Z  12         running   790 of   ...

    tgt, tgt_type, timeout, batch
        As in :py:func:`arp.audit`.

    Returns a dict: ``status`` (list of ``minion``; ``problem``: the last run failed, the sentinel
    is not running, no run is installed, the table is nearly full; ``last`` (UTC), ``healed_7d``,
    ``sentinel``, ``table`` (entries of gc_thresh3: at most so many count, on the
    whole host), ``version``, ``code``, ``said``); ``silent``
    (``minion``, ``why``); ``conflicts`` (``minion``, ``why``: its return may be forged);
    ``summary`` (lines; names each version that is not this master's); ``jid``; ``jobs``;
    ``retcode``.

    The exit code is a sum: 2 a database has a problem, 4 not every minion answered, or one is in
    ``conflicts``. 1: an error.
    """
    return _run("status", locals(), _status)


def _status(master, asked, options):
    return fleet_status.run(master, asked, options), None


def _audit(master, asked, options):
    audit = Audit(master, asked, options)
    return audit.answer(), audit


def _heal(master, asked, options):
    audit = Audit(master, asked, options)
    return heal_run.heal(audit, options), audit


def _run(name, given, function):
    """Run a function of this runner, set the exit code; an error is one line."""
    master, is_interrupted = None, False
    try:
        allowed = settings.parse_settings(__opts__.get("arp_fleet"))
        options = arguments.parse_all(given, allowed)
        directory.read_inputs(options, allowed, salt.utils.yaml.safe_load)
        with salt.client.get_local_client(mopts=__opts__) as client:
            master = _Master(client)
            timeout_s = options["timeout"] or __opts__["timeout"]
            asked = Returns(master, timeout_s, __opts__["gather_job_timeout"])
            began = time.time()
            answer, audit = function(master, asked, options)
            answer |= {"jobs": asked.job_ids, "jid": globals().get("__jid__", "")}
            if audit:
                answer["command"] = arguments.command(name, given, answer)
                is_recorded = options.get("record")
                directory.remember(name, answer, is_recorded, allowed, began, audit.settled)
            directory.write_page(answer, options["report"], allowed.mode)
            answer = summary.cut(answer, options.get("limit", 0))
    except (ValueError, SaltException, OSError) as error:
        answer = {"error": f"arp.{name}: {error}", "retcode": ERROR}
    except _Master.interruptions:
        answer = {"error": f"arp.{name}: interrupted", "retcode": summary.INTERRUPTED}
    finally:
        is_interrupted = master is not None and master.end()
    if is_interrupted:
        answer["retcode"] = summary.INTERRUPTED
    __context__["retcode"] = answer["retcode"]
    return {**answer, "outputter": "arp_fleet"}


class _Master:
    """A master as ``fleet/audit.py`` and ``fleet/returns.py`` want it.

    Ctrl-C amid a job that is sent or an event would end Salt's event loop, and our answer. So the
    signals are held until ``end``, and looked for wherever is waited.
    """

    failures = (SaltException,)
    interruptions = KeyboardInterrupt, SystemExit  # the second: from Salt's handler, if it runs

    def __init__(self, client):
        if not __opts__["job_cache"] or __opts__.get("ext_job_cache"):
            raise ValueError(
                "requires the master's job cache, which proves who answered: "
                "set job_cache: true and no ext_job_cache in the master's configuration"
            )
        self.client = client
        self.cache = salt.cache.factory(__opts__)
        self._resolved = {}  # each takes a millisecond a minion
        self._blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def pause(self, seconds):
        if signal.sigtimedwait(SIGNALS, seconds):
            raise KeyboardInterrupt

    def end(self):
        """Let signals come again; return whether one came since the last wait."""
        came = False
        while signal.sigtimedwait(SIGNALS, 0):
            came = True
        signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked_before)
        return came

    def accepted(self):
        return set(salt.key.get_key(__opts__).list_keys()["minions"])

    def match(self, tgt, tgt_type):
        if self._is_left_to_minions(tgt_type):
            return None
        return set(self._resolve(tgt, tgt_type).meant)

    def undecided(self, tgt, tgt_type):
        if self._is_left_to_minions(tgt_type):
            return {}
        return dict(self._resolve(tgt, tgt_type).undecided)

    def named(self, tgt, tgt_type):
        return targets.named(tgt, tgt_type, self._nodegroup)

    @staticmethod
    def _nodegroup(name):
        return salt.utils.minions.nodegroup_comp(name, __opts__["nodegroups"])

    def _is_left_to_minions(self, tgt_type):
        """Tell whether there are no cached grains: then every minion would match."""
        return not __opts__["minion_data_cache"] and tgt_type not in ("glob", "list", "pcre")

    def _resolve(self, tgt, tgt_type):
        key = str(tgt), tgt_type
        if key not in self._resolved:
            matcher = salt.utils.minions.CkMinions(__opts__)
            self._resolved[key] = targets.resolve(
                tgt,
                tgt_type,
                lambda *target: matcher.check_minions(*target)["minions"],
                lambda kind: grains_cache.uncached(self.cache, self.accepted(), IS_3008, kind),
                self._nodegroup,
            )
        return self._resolved[key]

    def cached_minions(self):
        return grains_cache.minion_ids(self.cache)

    def cached_hosts(self, names):
        hosts, now = {}, time.time()
        for name in names:
            host, why = grains_cache.host(self.cache, name, now)
            if host:
                hosts[name] = host
            elif why:
                log.warning("arp: cached grains of %s: %s", name, why)
        return hosts

    def publish(self, tgt, tgt_type, fun, arg, kwarg):
        timeout_s = __opts__["timeout"]
        by = "heal" if fun == "arp.revalidate" else "audit"
        metadata = {run_history.METADATA: by}  # a minion's arp_hygiene.healed says who healed
        return self.client.run_job(
            tgt, fun, arg, tgt_type, "", timeout_s, "", kwarg=kwarg, listen=True, metadata=metadata
        )

    def events(self, wait_s):
        self.pause(0)
        event = self.client.event.get_event(
            wait=wait_s, tag="salt/job/", match_type="startswith", full=True, auto_reconnect=True
        )
        count = 0
        while event:
            parts, data = event["tag"].split("/"), event["data"]
            if len(parts) > 4 and parts[3] == "ret" and isinstance(data, dict) and "return" in data:
                yield parts[2], "/".join(parts[4:]), data["return"]
            count += 1
            if count == MAX_EVENTS:  # a flood of them must not hold up the deadlines
                return
            event = self.client.event.get_event(
                tag="salt/job/", match_type="startswith", full=True, no_block=True
            )

    def cached(self, jid):
        return {name: told["ret"] for name, told in self.client.get_cache_returns(jid).items()}

    def progress(self, **numbers):
        """Report how far the run is: on the event bus, and on a terminal."""
        event = globals().get("__jid_event__")
        if event is not None:
            # not event.fire_event: that prints, amid the JSON
            event.event.fire_event(numbers, f"{globals()['__tag__']}/progress")
        if sys.stderr.isatty():
            print(", ".join(f"{key} {value}" for key, value in numbers.items()), file=sys.stderr)
