"""Have the databases revalidate a machine's addresses when it starts. Runs on the master.

An engine, not a reactor: a reactor drops events when its queue is full. This one reads every start
event, merges them (one job in a window), and keeps each machine until there is a job for it.

    engines:
      - arp_born:
          networks: [10.0.0.0/8, 'fd00::/8']

An event of a minion can cause a question on the wire, about addresses inside ``networks``, and
nothing else: the only function called is ``arp.revalidate``, with addresses that were parsed and
formatted again. The addresses are those in the minion's cached grains, which arrive over a channel
that proves the sender; only without cached grains, those of the event (``start_event_grains``).

With several masters one acts: the one that Salt's own ``reactor.is_leader`` names, or, without a
reactor system, the one whose configuration says ``leader: true`` (the default).
"""

import logging
import time

import salt.cache
import salt.client
import salt.key
import salt.runner
import salt.utils.event
import salt.utils.jid
import salt.utils.minions
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
from arp_engine.fleet import arguments, grains_cache, new_minions, targets
from arp_engine.reporting import run_history
from arp_engine.table import naming, parse

log = logging.getLogger(__name__)

IS_3008 = salt.version.__version_info__[0] >= 3008  # grains are in a bank of their own
LEADER_CHECK_S = 10.0  # between two calls of reactor.is_leader
TARGET_S = 60.0  # for how long a target is resolved
MAX_EVENTS = 1000  # read at a time
BLOCKED_S = 10.0  # without reading an event: from here on some may be lost
FULL_S = 0.2  # between two looks whether the databases can take another job
MAX_NAMED = 5  # machines or databases in one line
GAUGE_S = 10.0  # between two events that tell how many machines wait
TAG = "arp/born"  # our events: asked, answered, conflicts, silent, refused, waiting


def __virtual__():
    """Load on a master only."""
    if __opts__.get("__role") != "master":
        return False, "arp_born: start events arrive at a master"
    return True


def start(
    tgt=arguments.DATABASES,
    tgt_type="compound",
    networks=None,
    window=1.0,
    again=10.0,
    most=500,
    rate=500,
    leader=True,
    catch_up=120,
):
    """Listen for start events until the master ends.

    tgt, tgt_type
        The databases. Default: as in ``arp.audit``.
    networks
        The networks whose addresses are asked about. Default: all.
    window
        Seconds from the first start to the job that it is part of, 0.1 to 60. Default: 1.
    again
        Seconds until one machine can be asked about again, 0 to 3600; it stays pending meanwhile.
        Default: 10.
    most
        Addresses in one job, 1 to 5000; the rest is in the next one. Default: 500.
    rate
        Questions a second on each database, for each job; most databases run at most eight jobs at
        once, so up to eight times that. Default: 500.
    leader
        False: this master only listens. Default: True.
    catch_up
        Machines that started within so many seconds before this engine are asked about too.
        Default: 120.
    """
    given = locals()
    try:
        options = _parsed(given)
    except ValueError as error:
        log.error("arp_born is idle: %s", error)
        options = {"leader": False}
    if options["leader"]:
        _StartListener(options).run()
    while True:  # an engine that ends is started again
        time.sleep(3600)


def _parsed(given):
    return {
        "tgt": arguments.target("tgt", given["tgt"]),
        "tgt_type": parse.one_of("tgt_type", given["tgt_type"], arguments.MATCHERS),
        "networks": parse.networks("networks", given["networks"]),
        "window": parse.seconds("window", given["window"], 0.1, 60),
        "again": parse.seconds("again", given["again"], 0, 3600),
        "most": parse.whole_number("most", given["most"], 1, 5000),
        "rate": parse.rate(given["rate"]),
        "leader": parse.flag("leader", given["leader"]),
        "catch_up": parse.whole_number("catch_up", given["catch_up"], 0, 86400, "seconds"),
    }


class _StartListener:
    def __init__(self, options):
        self.options = options
        self.queue = new_minions.StartQueue(
            options["window"], options["again"], options["most"], options["networks"]
        )
        self.bus = salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=True)
        self.client = salt.client.get_local_client(mopts=__opts__)
        self.cache = salt.cache.factory(__opts__)
        self.jobs, self.unsure = new_minions.SentJobs(), new_minions.UnsureJobs()
        self.databases, self.resolved_at = None, float("-inf")
        self.undecided = {}  # minions that the target may mean, and why that is not known
        self.gauged, self.gauged_at = 0, float("-inf")
        self.is_unmatched = False  # the last job was sent to nobody
        self.is_leader, self.leader_checked_at = True, float("-inf")

    def run(self):
        """Read events, send jobs. An error in one event does not stop the next."""
        with self.bus:
            self._catch_up(self.options["catch_up"])
            while True:
                wait_s = FULL_S if self.jobs.is_full() else self.queue.wait_s(time.monotonic())
                wait_s = 1.0 if wait_s is None else min(1.0, wait_s or 0.01)
                event = self.bus.get_event(wait=wait_s, full=True, auto_reconnect=True)
                read_at = time.monotonic()
                try:
                    count = 0
                    while event:
                        self._on_event(event["tag"], event["data"])
                        count += 1
                        if count == MAX_EVENTS:  # a flood of them must not hold up the jobs
                            break
                        event = self.bus.get_event(full=True, no_block=True)
                    self._ask()
                    self._make_up_for(time.monotonic() - read_at)
                except Exception:
                    log.exception("arp_born: an event failed; continuing")

    def _make_up_for(self, unheard_s):
        """Queue the machines that may have started while no event was read.

        A busy master can hold up a job for long, and Salt drops a listener that is some thousand
        events behind.
        """
        if unheard_s > BLOCKED_S:
            self._catch_up(unheard_s + BLOCKED_S)

    def _on_event(self, tag, data):
        if tag.startswith("salt/minion/") and tag.endswith("/start"):
            self.queue.on_start_event(tag, data, time.monotonic())
        elif tag.startswith("salt/job/") and "/ret/" in tag:
            self.jobs.on_return_event(tag, data)

    def _ask(self):
        now = time.monotonic()
        if not self.is_leader:
            self._check_leader(now)
        for answer in self.jobs.take_answers(now, self._cached_returns):
            self._fire("answered", answer)
        for jid, minions in self.jobs.take_conflicts().items():
            named = naming.examples(minions, MAX_NAMED)
            log.warning("arp_born: job %s: two different returns: one is forged: %s", jid, named)
            self._fire("conflicts", {"jid": jid, "minions": minions})
        for jid, minions in self.jobs.take_silent(now).items():
            log.warning(
                "arp_born: job %s: no answer from %s", jid, naming.examples(minions, MAX_NAMED)
            )
            self._fire("silent", {"jid": jid, "minions": minions})
        self._look_up_unsure(now)
        self._gauge(now)
        if self.queue.wait_s(now) != 0 or self.jobs.is_full():
            return
        job = None
        try:
            accepted = self._accepted()
            job = self.queue.take(now, accepted, self._cached_addresses)
            self._report_refused()
            is_ours = job and job.addresses and self._check_leader(now)
        except Exception:
            self._put_back(job)
            raise
        if is_ours:
            self._send(job)

    def _send(self, job):
        """Send a job; where the master does not say that it was sent, keep it to be looked up.

        Where no database was sent it, its machines wait for one.
        """
        jid = salt.utils.jid.gen_jid(__opts__)
        try:
            tgt, tgt_type = self._target()
        except Exception:
            self._put_back(job)
            raise
        if not tgt:
            self._keep(job)
            return
        kwarg = {"ip": job.addresses, "rate": self.options["rate"]}
        metadata = {run_history.METADATA: "arp_born"}  # the databases' arp_hygiene.healed says so
        try:
            sent = self.client.run_job(
                tgt, "arp.revalidate", (), tgt_type, jid=jid, kwarg=kwarg, metadata=metadata
            )
        except SaltException as error:
            wait_s = self.unsure.add(jid, job, time.monotonic())
            machines = naming.examples(job.machines, MAX_NAMED)
            log.warning(
                "arp_born: cannot send the job for %s; retrying in %g s: %s",
                machines,
                wait_s,
                error,
            )
            return
        if not sent.get("jid"):  # Salt sends no job, and gives it no id, if it means no minion
            self._keep(job)
            return
        self.unsure.sent()
        self.is_unmatched = False
        self._note_sent(job, sent["jid"], sent.get("minions", ()))

    def _keep(self, job):
        """Keep the machines of a job that no database was sent, and try again later and later.

        A target is mistyped, or after a restart of the master no grains of databases are cached.
        """
        self.resolved_at = float("-inf")
        wait_s = self._put_back(job)
        if not self.is_unmatched:
            log.warning(
                "arp_born: no database matches tgt=%r (%s): machines that have started wait "
                "(%d); retrying in %g s, then later and later, up to %g s",
                self.options["tgt"],
                self.options["tgt_type"],
                len(self.queue),
                wait_s,
                new_minions.MAX_RETRY_S,
            )
        self.is_unmatched = True

    def _put_back(self, job):
        """Keep a job's machines, and have no job for a while; return for how many seconds.

        job: None where an error came before there was one.
        """
        now = time.monotonic()
        if job:
            self.queue.put_back(job, now)
        wait_s = self.unsure.back_off()
        self.queue.postpone(now + wait_s)
        return wait_s

    def _note_sent(self, job, jid, minions):
        if _has_job_cache():
            self.jobs.add(jid, minions, time.monotonic())
        log.info("arp_born: asked about %s", naming.examples(job.machines, MAX_NAMED))
        event = {"machines": job.machines, "addresses": job.addresses, "jid": jid}
        self._fire("asked", event)

    def _look_up_unsure(self, now):
        """Send again what the master has not sent."""
        due = self.unsure.take_due(now)
        try:
            while due:
                jid, job = due[0]
                load = self.client.returns_for_job(jid) if _has_job_cache() else None
                del due[0]
                if load:
                    self._note_sent(job, jid, load.get("Minions", ()))
                else:
                    self.queue.put_back(job, now)
        finally:
            self.unsure.put_back(due, now)  # after an error: those not looked up

    def _target(self):
        """Return the databases as a list: to match grains costs a millisecond a minion and job."""
        tgt, tgt_type = self.options["tgt"], self.options["tgt_type"]
        if not __opts__["minion_data_cache"]:
            return tgt, tgt_type  # without cached grains every minion would match
        now = time.monotonic()
        if now > self.resolved_at + TARGET_S:
            self.databases = self._resolved(tgt, tgt_type)
            self.resolved_at = now
        return self.databases, "list"

    def _resolved(self, tgt, tgt_type):
        """Return the databases; a line names those of which that is newly not known."""
        matcher = salt.utils.minions.CkMinions(__opts__)
        accepted = self._accepted()
        meant, undecided = targets.resolve(
            tgt,
            tgt_type,
            lambda *target: matcher.check_minions(*target)["minions"],
            self._uncached,
            lambda name: salt.utils.minions.nodegroup_comp(name, __opts__["nodegroups"]),
        )
        for line in targets.lines(dict(undecided.items() - self.undecided.items())):
            log.warning("arp_born: not asked: %s", line)
        self.undecided = undecided
        return sorted(meant & accepted)  # Salt 3008 also finds resources, which have no key

    @staticmethod
    def _accepted():
        return set(salt.key.get_key(__opts__).list_keys()["minions"])

    def _uncached(self, kind):
        return grains_cache.uncached(self.cache, self._accepted(), IS_3008, kind)

    def _gauge(self, now):
        """Tell how many machines wait, while any does, and once that none does any more."""
        waiting = len(self.queue) + len(self.unsure)
        if (waiting or self.gauged) and now > self.gauged_at + GAUGE_S:
            self.gauged, self.gauged_at = waiting, now
            self._fire("waiting", {"machines": waiting})

    def _cached_returns(self, jid):
        returns = self.client.get_cache_returns(jid)
        return {minion: returned["ret"] for minion, returned in returns.items()}

    def _cached_addresses(self, machine):
        """Return the addresses in a machine's cached grains."""
        host, why = grains_cache.host(self.cache, machine, time.time())
        if why:
            self.queue.refuse(machine, f"cached grains: {why}")
        return [ip for ip, _, _ in host.addresses] if host else []

    def _catch_up(self, seconds):
        """Queue the machines whose grains were cached within so many seconds: they have started."""
        since = time.time() - seconds
        for name in self._accepted():
            if grains_cache.updated_at(self.cache, name) > since:
                self.queue.add(name, [], time.monotonic())

    def _check_leader(self, now):
        """Return whether this master acts, as Salt's reactor system has it."""
        if now > self.leader_checked_at + LEADER_CHECK_S:
            self.leader_checked_at = now
            configured = __opts__.get("reactor") or any(
                "reactor" in engine for engine in __opts__.get("engines") or ()
            )
            if configured:
                with salt.runner.RunnerClient(__opts__) as runner:
                    leads = runner.cmd("reactor.is_leader", print_event=False) is not False
                if leads and not self.is_leader:
                    self._catch_up(2 * LEADER_CHECK_S)  # starts that no master may have acted on
                self.is_leader = leads
        return self.is_leader

    def _report_refused(self):
        refused = self.queue.take_refused()
        for machine, why in refused.items():
            log.warning("arp_born: %s: %s", machine, why)
        if refused:
            self._fire("refused", refused)

    def _fire(self, what, data):
        self.bus.fire_event(data, f"{TAG}/{what}")


def _has_job_cache():
    """Tell whether the job cache proves who answered; without one no answer is reported."""
    return __opts__["job_cache"] and not __opts__.get("ext_job_cache")
