"""Compare the databases' neighbour tables with the fleet's own interfaces, and heal what is wrong.

A Salt master knows which machine has which address. ``arp.audit`` holds every table against that
and names each entry that disagrees, before anybody complains; ``arp.heal`` has exactly those
entries asked about, by ``arp.revalidate``. Neither writes into a table.

Only minions whose key is accepted count. A machine that gives no answer is named, and is not gone.

The files get to the master by ``salt-run saltutil.sync_all``; ``salt '*' saltutil.sync_all`` does
not do that.
"""

import logging
import signal
import sys
import time

import salt.cache
import salt.client
import salt.key
import salt.utils.minions
from salt.exceptions import SaltException

try:
    import arp_engine
except ImportError:  # installed by pip, not synced
    from saltext.arp_hygiene.utils import arp_engine

arp_engine.reload_if_changed()
from arp_engine.fleet import arguments, compare, html_report, inventory, summary
from arp_engine.fleet import heal as fleet_heal
from arp_engine.reporting import files
from arp_engine.table import parse

log = logging.getLogger(__name__)

__virtualname__ = "arp"

DATABASES = "G@role:database or G@roles:database or I@role:database or I@roles:database or db*"
MOST_IPS = 500  # addresses in one job
INTERRUPTED = 130  # the exit code of what Ctrl-C ended
INTERRUPTIONS = KeyboardInterrupt, SystemExit  # Salt makes the second of SIGINT and SIGTERM
ERROR = 1


def __virtual__():
    """Load on every master."""
    return __virtualname__


def audit(
    tgt=DATABASES,
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
):
    """Compare the tables of databases with the interfaces that the fleet really has.

    Asks minions by Salt, and nobody by ARP. Touches no table, on no machine.

    CLI Example:

    .. code-block:: bash

        salt-run arp.audit
        # 812 entries of 2 databases: 1 wrong, 0 of machines that are gone, 0 held addresses claimed
        # twice.
        # Compared with 60 machines: 60 answered, 0 by what the master remembers of them.
        #
        # wrong:
        #   minion  ip         dev   mac                mac_true           machine  state      ...
        #   db1     10.0.1.90  eth0  02:00:00:00:00:0a  02:00:00:00:00:0b  worker9  REACHABLE  ...
        #
        # jid 20261124073022123456
        salt-run arp.audit 'db*' glob truth=cached --out=json

    tgt, tgt_type
        Whose tables. Default: minions with the role ``database`` (or ``roles``) in grains or
        pillar, and ids ``db*``; compound.
    truth
        ``live``: every machine is asked for its interfaces, ``batch`` at a time; where one does not
        answer, what the master remembers of it (its grains) counts, with its age. ``cached``: what
        the master remembers; then only the machines behind rows that disagree are asked.
        Default: live.
    machines, machines_type
        Whose interfaces count, for sites that use the same addresses. Default: all.
    networks
        Networks, all of whose addresses are the fleet's: what nobody has there is gone, once every
        machine has answered (``truth=live``). Default: none.
    exclude
        Networks that are left out. Default: none.
    report
        Absolute path of a page (HTML, nothing from elsewhere) to write. Default: none.
    limit
        Rows in one list, at most; 0 for all. Default: 100. ``totals`` says how many there are.
    timeout
        Seconds to wait for an answer. Default: the master's own.
    batch
        Machines asked for their interfaces at once. Default: 200.

    Returns a dict: ``wrong`` (list of ``minion``, ``ip``, ``dev``, ``mac``, ``state``, ``suspect``,
    ``owner``, ``unchanged_s``: the entry as it is held; ``mac_true``, ``machine``, ``truth`` (live
    or cached), ``truth_age_s``); ``twice`` (``ip``, ``machines``, ``macs``, ``count``, ``held``: on
    how many databases); ``gone`` (the entry, and ``why`` it is known); ``silent`` (``minion``,
    ``why``); ``counts``; ``totals``; ``summary`` (lines); ``jid``; ``jobs`` (jids of the jobs
    sent); ``retcode``.

    The exit code is a sum: 2 wrong entries (gone ones, and addresses held that two machines claim,
    too), 4 not everybody could be asked. 0: clean, and everybody was asked. 1: an error.
    """
    words = {**locals()}
    return _answer("audit", lambda: _audit(_parsed(words)))


def heal(
    tgt=DATABASES,
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
):
    """Audit, then have exactly the entries that disagree asked about, on exactly those databases.

    Runs ``arp.revalidate`` in waves. Writes no MAC; never touches an entry that has an ``owner``.

    CLI Example:

    .. code-block:: bash

        salt-run arp.heal test=True
        salt-run arp.heal networks=10.0.0.0/16 report=/srv/reports/arp.html

    tgt, tgt_type, truth, machines, machines_type, networks, exclude, report, limit, timeout
        As in :py:func:`arp.audit`.
    batch
        Minions in one wave, at most, and as in :py:func:`arp.audit`. Default: 200.
    share
        Of one role, how much may be in one wave (one member always may). The members of a role have
        ids that differ in numbers only: db1, db2, db12. Default: 1/3.
    pause
        Seconds between two waves. Default: 1.
    budget
        ARP requests (and neighbour solicitations), at most, in the whole run, the kernel's own
        included. An entry counts 39, the most it can take, until its database says what it took;
        a living one takes 2. Default: 10000.
    rate
        Requests a second on one database. Default: 500.
    test
        True: return ``would_ask`` (rows) and ``would_waves``; ask nobody by ARP. Default: False.

    Returns what :py:func:`arp.audit` returns, as it was before, and: ``healed`` (``minion``,
    ``ip``, ``dev``, ``old``, ``new``); ``given_up`` (rows: nobody answered, FAILED);
    ``still_wrong`` (rows, and ``why``); ``not_reached`` (``minion``, ``why``); ``asked`` (entries),
    ``requests``, ``waves``, ``interrupted``.

    The exit code is a sum: 2 something is still wrong, 4 not everybody was reached. 130:
    interrupted, with what is known until then. 1: an error.
    """
    words = {**locals()}
    return _answer("heal", lambda: _heal(_parsed(words)))


def _parsed(words):
    """Return what was written, checked, before anybody is asked."""
    words = dict(words)
    for key, parsed in {
        "tgt": lambda value: arguments.text("tgt", value, "a target"),
        "machines": lambda value: arguments.text("machines", value, "a target"),
        "tgt_type": lambda value: parse.one_of("tgt_type", value, arguments.MATCHERS),
        "machines_type": lambda value: parse.one_of("machines_type", value, arguments.MATCHERS),
        "truth": lambda value: parse.one_of("truth", value, ("live", "cached")),
        "networks": lambda value: parse.networks("networks", value),
        "exclude": lambda value: parse.networks("exclude", value),
        "report": arguments.page,
        "limit": parse.limit,
        "timeout": lambda value: (
            value and parse.whole_number("timeout", value, 1, 86400, "seconds")
        ),
        "batch": lambda value: parse.whole_number("batch", value, 1, 100_000, "minions"),
        "share": arguments.share,
        "pause": lambda value: parse.seconds("pause", value, 0, 3600),
        "budget": lambda value: parse.whole_number("budget", value, 1, 10**9, "questions"),
        "rate": parse.rate,
        "test": lambda value: parse.flag("test", value),
    }.items():
        if key in words:
            words[key] = parsed(words[key])
    for key in ("tgt", "machines"):
        if isinstance(words[key], list):
            words[f"{key}_type"] = "list"
    return words


def _answer(verb, run):
    """Return an answer with its exit code; an error is one line, and exit code 1."""
    try:
        answer = run()
    except (ValueError, SaltException, OSError) as error:
        answer = {"error": f"arp.{verb}: {error}", "retcode": ERROR}
    __context__["retcode"] = answer["retcode"]
    return {**answer, "outputter": "arp_fleet"}


def _audit(words):
    with salt.client.get_local_client(mopts=__opts__) as client:
        seen = _Look(_Ask(client, words["timeout"]), words)
        return _finished(seen.answer(words["limit"]), words)


def _heal(words):
    with salt.client.get_local_client(mopts=__opts__) as client:
        ask = _Ask(client, words["timeout"])
        seen = _Look(ask, words)
        answer = {**seen.answer(words["limit"]), "test": words["test"]}
        chosen = fleet_heal.Heal(seen.verdict, words["budget"])
        waves = list(chosen.waves(seen.tables, words["share"], words["batch"]))
        if words["test"] or seen.interrupted:
            answer |= {"would_ask": chosen.rows, "would_waves": len(waves), "waves": waves}
            answer["summary"].append(f"{len(chosen.rows)} to ask about, in {len(waves)} waves.")
            return _finished(answer, words)
        code, ended = _in_waves(ask, seen, chosen, waves, words)
        done = chosen.told(seen.silent, words["limit"])
        done["totals"] = {**answer["totals"], **done["totals"]}
        done["summary"] = answer["summary"] + done["summary"] + ended
        done["retcode"] = code if code == INTERRUPTED else done["retcode"] or code
        return _finished({**answer, **done, "interrupted": code == INTERRUPTED}, words)


def _in_waves(ask, seen, chosen, waves, words):
    """Have every wave asked about; return exit code and line of what ended that too soon."""
    try:
        for number, wave in enumerate(waves, 1):
            while _wave(ask, seen, chosen, wave, words["rate"]):
                pass  # the budget may allow what it did not before the first answers
            chosen.waves_done = number
            _progress({"wave": number, "of": len(waves), **chosen.counts()})
            if number < len(waves):
                time.sleep(words["pause"])
    except INTERRUPTIONS:
        return INTERRUPTED, []
    except SaltException as error:  # the master's own; what was done is told all the same
        return ERROR, [f"Ended before its time: {error}"]
    return 0, []


def _wave(ask, seen, chosen, wave, rate):
    """Have one wave asked about, then look again; return whether there was anything to ask."""
    sent = []
    for (dev, ips), minions in chosen.jobs(wave, MOST_IPS).items():
        words = {"ip": list(ips), "dev": dev, "rate": rate, "limit": 0, "rows": True}
        chosen.begun(minions, dev, ips)
        sent.append((minions, dev, ips, ask.publish(minions, "list", "arp.revalidate", words)))
    for minions, dev, ips, job in sent:
        answers = ask.gather(job)
        for minion in minions:
            chosen.answered(minion, dev, ips, answers.get(minion), summary.failure)
    ips = sorted({ip for _, _, ips, _ in sent for ip in ips})
    if ips:
        tables, _ = ask.ask(wave, "list", "arp.list", {"ip": ips})
        good = {name: told["ret"] for name, told in tables.items() if not summary.failure(told)}
        chosen.looked_again(compare.compare(good, seen.fleet).wrong, good)
    return bool(ips)


class _Ask:
    """Questions to minions, by Salt."""

    def __init__(self, client, timeout):
        self.client, self.jids = client, []
        self.timeout = timeout or __opts__["timeout"]

    def publish(self, tgt, tgt_type, fun, kwarg=None, arg=()):
        """Send a job; return it."""
        job = self.client.run_job(
            tgt, fun, arg, tgt_type, "", self.timeout, "", kwarg=kwarg, listen=True
        )
        if job:
            self.jids.append(job["jid"])
        return job and {**job, "tgt": tgt, "tgt_type": tgt_type}

    def gather(self, job):
        """Return what each minion answered."""
        answers = {}
        if job:
            words = {key: job[key] for key in ("jid", "minions", "tgt", "tgt_type")}
            for some in self.client.get_iter_returns(**words, timeout=self.timeout):
                for name, told in some.items():
                    if isinstance(told, dict) and "ret" in told:
                        answers[name] = told
        return answers

    def ask(self, tgt, tgt_type, fun, kwarg=None, arg=()):
        """Send a job and wait; return what each answered, and who was meant to."""
        job = self.publish(tgt, tgt_type, fun, kwarg, arg)
        return self.gather(job), set(job["minions"]) if job else set()


class _Look:
    """One look at the fleet: its tables, its interfaces, and what follows."""

    def __init__(self, ask, words):
        self._ask, self._words = ask, words
        self.silent = {}  # minion to why
        self.interrupted = False
        accepted = set(salt.key.get_key(__opts__).list_keys()["minions"])
        matcher = salt.utils.minions.CkMinions(__opts__)
        meant = matcher.check_minions(words["machines"], words["machines_type"])["minions"]
        self._accepted = accepted & set(meant)
        self.tables = self._tables(accepted)
        self.facts, self._former = self._remembered(accepted)
        if words["truth"] == "live":
            self._ask_machines(sorted(self._accepted))
        for name in self._accepted - set(self.facts):
            self.silent.setdefault(name, "nothing is known of its interfaces")
        self._compare()
        if words["truth"] == "cached":
            self._ask_machines(sorted(summary.behind(self.verdict, self.fleet)))
            self._compare()

    def _tables(self, accepted):
        """Return the rows of each database that answered; note why the others did not."""
        tgt, tgt_type = self._words["tgt"], self._words["tgt_type"]
        answers, meant = self._ask.ask(tgt, tgt_type, "arp.list")
        tables = {}
        for name, told in answers.items():
            why = summary.failure(told) if name in accepted else "its key is not accepted here"
            if why:
                self.silent[name] = why
            else:
                tables[name] = told["ret"]
        missing = sorted(meant - set(answers))
        if missing:
            self.silent.update(self._why_silent(missing, tgt, tgt_type))
        _progress({"tables": len(tables), "silent": len(self.silent)})
        return tables

    def _why_silent(self, missing, tgt, tgt_type):
        """Return why, of those who were meant: they are asked whether they are, and are there."""
        answers, _ = self._ask.ask(missing, "list", f"match.{tgt_type}", arg=(tgt,))
        for name in missing:
            if name not in answers:
                yield name, "no answer: it is down, or not connected"
            elif answers[name]["ret"] is not False:
                yield name, f"it is up, and gave no table within {self._ask.timeout} s"

    @staticmethod
    def _all_remembered(memory, names):
        found = ((name, memory.facts(name)) for name in names)
        return {name: told for name, told in found if told}

    def _remembered(self, accepted):
        """Return what is remembered of machines, and of those whose key is no longer accepted."""
        memory = _Memory()
        former = memory.ids() - accepted
        return self._all_remembered(memory, self._accepted), self._all_remembered(memory, former)

    def _ask_machines(self, names):
        """Ask machines for their interfaces, some at a time; an end before that is no loss."""
        batch = self._words["batch"]
        for first in range(0, len(names), batch):
            some, answers = names[first : first + batch], {}
            try:
                if not self.interrupted:
                    answers, _ = self._ask.ask(some, "list", "network.interfaces")
                    _progress({"interfaces": first + len(some), "of": len(names)})
            except INTERRUPTIONS:
                self.interrupted = True
            for name in some:
                self._note(name, answers.get(name))

    def _note(self, name, told):
        why = summary.failure(told) if told else "no answer for its interfaces"
        try:
            if not why:
                self.facts[name] = inventory.from_interfaces(told["ret"])
                return
        except ValueError as error:
            why = str(error)
            self.facts.pop(name, None)
        if name in self.facts:
            why += f"; what is remembered of it is {self.facts[name].age_s} s old"
        self.silent.setdefault(name, why)

    def _compare(self):
        scope = compare.Scope(self._words["networks"], self._words["exclude"])
        self.fleet = compare.Fleet(self.facts, self._accepted, self._former, scope)
        self.verdict = compare.compare(self.tables, self.fleet)
        self.silent.update(self.verdict.malformed)

    def answer(self, limit):
        """Return it as plain data."""
        told = summary.told(self.verdict, self.fleet, self.tables, self.silent, limit)
        if self.interrupted:
            told["retcode"] = INTERRUPTED
            told["summary"].append("Interrupted: not everybody was asked.")
        return {**told, "jid": globals().get("__jid__", ""), "jobs": self._ask.jids}


class _Memory:
    """What the master remembers of minions: their grains, in whichever way this Salt keeps them."""

    def __init__(self):
        self._cache = salt.cache.factory(__opts__)

    def ids(self):
        """Return everybody it remembers."""
        return set(self._cache.list("grains") or ()) | set(self._cache.list("minions") or ())

    def facts(self, name):
        """Return the claims of one, and how old they are; None where nothing is remembered."""
        for bank, key in (("grains", name), (f"minions/{name}", "data")):  # 3008; before
            try:
                data = self._cache.fetch(bank, key)
                if data:
                    updated = self._cache.updated(bank, key)
                    age_s = None if updated is None else max(0, int(time.time() - updated))
                    grains = data if bank == "grains" else data.get("grains")
                    return inventory.from_grains(grains, age_s=age_s)
            except (ValueError, AttributeError, SaltException) as error:  # or its file is torn
                log.warning("arp: what is remembered of %s: %s", name, error)
        return None


def _progress(data):
    """Tell how far a run is: on the event bus, and to people who look on."""
    event = globals().get("__jid_event__")
    if event is not None:
        # Ctrl-C amid an event would break Salt's bus, and our answer: held back for a moment
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            # not event.fire_event: that prints, amid the JSON
            event.event.fire_event(data, f"{globals()['__tag__']}/progress")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if sys.stderr.isatty():
        print(", ".join(f"{key} {value}" for key, value in data.items()), file=sys.stderr)


def _finished(answer, words):
    """Write the page, if one is wanted: all of it or nothing. The answer is kept either way."""
    if words["report"]:
        answer["report"] = words["report"]
        try:
            page = html_report.page(answer, time.time()).encode()
            files.write_atomically(words["report"], page, 0o640)
        except OSError as error:
            answer["summary"].append(f"The page could not be written: {error}")
            answer["retcode"] = answer["retcode"] or ERROR
    return answer
