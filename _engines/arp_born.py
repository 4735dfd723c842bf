"""Have the databases ask about a machine's addresses when it starts. Runs on the master.

An engine, not a reactor: a reactor drops events when its queue is full. This one reads every start
event, merges them (one job in a window), and remembers each machine until there was a job for it.

    engines:
      - arp_born:
          networks: [10.0.0.0/8, 'fd00::/8']

What a minion says can cause a question on the wire, about addresses inside ``networks``, and
nothing else: the only function called is ``arp.revalidate``, with addresses that were parsed and
written anew. Which addresses: those that the master itself remembers of that minion (its grains,
sent over a channel that proves who speaks); only where it remembers none, those of the event
(``start_event_grains``).

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
from salt.exceptions import SaltException

try:
    import arp_engine
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_engine

arp_engine.reload_if_changed()
from arp_engine.fleet import arguments, inventory, new_minions
from arp_engine.table import parse

log = logging.getLogger(__name__)

DATABASES = "G@role:database or G@roles:database or I@role:database or I@roles:database or db*"
LEADER_S = 10.0  # how long an answer to "who leads" is believed
RETRY_S = 5.0  # after a job that could not be sent
TAG = "arp/born"  # what we tell on the event bus: asked, answered, silent, refused


def __virtual__():
    """Load on a master only."""
    if __opts__.get("__role") != "master":
        return False, "arp_born: start events arrive at a master"
    return True


def start(
    tgt=DATABASES,
    tgt_type="compound",
    networks=None,
    window=1.0,
    again=10.0,
    most=500,
    rate=500,
    leader=True,
    catch_up=120,
):
    """Listen until the master ends.

    tgt, tgt_type
        Who is asked. Default: as in ``arp.audit``.
    networks
        Where addresses must lie to be asked about. Default: anywhere.
    window
        Seconds from the first start to the job that it is part of, 0.1 to 60. Default: 1.
    again
        Seconds until one machine can be asked about again, 0 to 3600; it is not forgotten
        meanwhile. Default: 10.
    most
        Addresses in one job, 1 to 5000; the rest is in the next one. Default: 500.
    rate
        Questions a second on each database. Default: 500.
    leader
        False: this master only listens. Default: True.
    catch_up
        Machines that started within so many seconds before this engine are asked about too.
        Default: 120.
    """
    words = {**locals()}
    try:
        rules = _parsed(words)
    except ValueError as error:
        log.error("arp_born does nothing: %s", error)
        rules = {"leader": False}
    if rules["leader"]:
        _Born(rules).run()
    while True:  # an engine that ends is started again
        time.sleep(3600)


def _parsed(words):
    return {
        "tgt": arguments.text("tgt", words["tgt"], "a target"),
        "tgt_type": parse.one_of("tgt_type", words["tgt_type"], arguments.MATCHERS),
        "networks": parse.networks("networks", words["networks"]),
        "window": parse.seconds("window", words["window"], 0.1, 60),
        "again": parse.seconds("again", words["again"], 0, 3600),
        "most": parse.whole_number("most", words["most"], 1, 5000),
        "rate": parse.rate(words["rate"]),
        "leader": parse.flag("leader", words["leader"]),
        "catch_up": parse.whole_number("catch_up", words["catch_up"], 0, 86400, "seconds"),
    }


class _Born:
    def __init__(self, rules):
        self.rules = rules
        self.newcomers = new_minions.Newcomers(
            rules["window"], rules["again"], rules["most"], rules["networks"]
        )
        self.bus = salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=True)
        self.client = salt.client.get_local_client(mopts=__opts__)
        self.cache = salt.cache.factory(__opts__)
        self.jobs = new_minions.Jobs()
        self.led, self.led_at = True, float("-inf")

    def run(self):
        """Read events, send jobs. Whatever one of them does, the next is read."""
        with self.bus:
            self._catch_up(self.rules["catch_up"])
            while True:
                wait_s = self.newcomers.wait_s(time.monotonic())
                event = self.bus.get_event(
                    wait=1.0 if wait_s is None else min(1.0, wait_s or 0.01),
                    full=True,
                    auto_reconnect=True,
                )
                try:
                    if event:
                        self._heard(event["tag"], event["data"])
                    self._ask()
                except Exception:
                    log.exception("arp_born: goes on")

    def _heard(self, tag, data):
        if tag.startswith("salt/minion/") and tag.endswith("/start"):
            self.newcomers.started(tag, data, time.monotonic())
        elif tag.startswith("salt/job/") and "/ret/" in tag:
            told = self.jobs.answered(tag, data)
            if told:
                self._tell("answered", told)

    def _ask(self):
        now = time.monotonic()
        if not self.led:
            self._leads(now)
        for jid, minions in self.jobs.silent(now).items():
            log.warning("arp_born: job %s: no answer from %s", jid, _few(minions))
            self._tell("silent", {"jid": jid, "minions": minions})
        if self.newcomers.wait_s(now) != 0:
            return
        accepted = set(salt.key.get_key(__opts__).list_keys()["minions"])
        job = self.newcomers.take(now, accepted, self._known)
        self._tell_refused()
        if job and job.addresses and self._leads(now):
            self._send(job)

    def _send(self, job):
        words = {"ip": job.addresses, "rate": self.rules["rate"]}
        try:
            sent = self.client.run_job(
                self.rules["tgt"], "arp.revalidate", (), self.rules["tgt_type"], kwarg=words
            )
        except SaltException as error:
            log.warning("arp_born: the job for %s waits: %s", _few(job.machines), error)
            self.newcomers.put_back(job, time.monotonic() + RETRY_S)
            return
        told = {"machines": job.machines, "addresses": job.addresses, "jid": sent.get("jid", "")}
        self.jobs.sent(told["jid"], sent.get("minions", ()), time.monotonic())
        log.info("arp_born: asked about %s", _few(job.machines))
        self._tell("asked", told)

    def _known(self, machine):
        """Return the addresses that the master itself remembers of a machine."""
        for bank, key in (("grains", machine), (f"minions/{machine}", "data")):  # 3008; before
            grains = None
            try:
                data = self.cache.fetch(bank, key)
                grains = data.get("grains") if bank != "grains" and isinstance(data, dict) else data
                return [ip for ip, _, _ in inventory.from_grains(grains).addresses]
            except SaltException as error:  # a torn file of the master's own
                self.newcomers.refuse(machine, f"what is remembered of it: {error}")
            except ValueError as error:
                if grains:
                    self.newcomers.refuse(machine, str(error))
        return []

    def _catch_up(self, seconds):
        """Note who started while nobody listened: the master's memory of him is young."""
        since = time.time() - seconds
        for name in salt.key.get_key(__opts__).list_keys()["minions"]:
            for bank, key in (("grains", name), (f"minions/{name}", "data")):
                if (self.cache.updated(bank, key) or 0) > since:
                    self.newcomers.note(name, [], time.monotonic())
                    break

    def _leads(self, now):
        """Tell whether this master acts, as Salt's reactor system has it."""
        if now > self.led_at + LEADER_S:
            self.led_at = now
            configured = __opts__.get("reactor") or any(
                "reactor" in engine for engine in __opts__.get("engines") or ()
            )
            if configured:
                with salt.runner.RunnerClient(__opts__) as runner:
                    led = runner.cmd("reactor.is_leader", print_event=False) is not False
                if led and not self.led:
                    self._catch_up(2 * LEADER_S)  # what nobody may have acted on
                self.led = led
        return self.led

    def _tell_refused(self):
        told = self.newcomers.complaints()
        for machine, why in told.items():
            log.warning("arp_born: %s: %s", machine, why)
        if told:
            self._tell("refused", told)

    def _tell(self, what, data):
        self.bus.fire_event(data, f"{TAG}/{what}")


def _few(names):
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
