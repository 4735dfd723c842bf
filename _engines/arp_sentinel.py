"""The sentinel as an engine of a minion: notices wrong neighbour entries when traffic shows them.

In the minion's configuration:

.. code-block:: yaml

    engines:
      - arp_sentinel:
          dev: eth0            # what is watched; default: everything
          exclude: 10.0.0.1
          rate: 1000           # frames a second, at most
          burst: 4000          # frames at once, after a pause
          reinject: true       # send a SYN again after a heal

It probes and writes no entry: the kernel takes the answer. An entry that a probe has shown to be
wrong is deleted where the kernel ignores the answer for now (locktime). An entry with an owner is
never probed. The engine ends with the minion; a service of its own outlives it: docs/sentinel.md.
"""

import logging
import os
import queue
import signal
import sys
import threading
import time

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
try:
    from arp_engine.reporting import events, sentinel_status, sinks
    from arp_engine.sentinel import loop, privileges
    from arp_engine.sentinel import options as sentinel_options

    HAS_PYROUTE2 = True
except ImportError as missing:
    if (missing.name or "pyroute2").partition(".")[0] != "pyroute2":
        raise
    HAS_PYROUTE2 = False

log = logging.getLogger(__name__)

MAX_EVENTS = 100  # that wait to be sent; further ones are in the log only

__virtualname__ = "arp_sentinel"


def __virtual__():
    """Load on Linux, where pyroute2 is installed."""
    if not sys.platform.startswith("linux"):
        return False, "arp_sentinel needs Linux: it watches the kernel's neighbour table"
    if not HAS_PYROUTE2:
        return False, "arp_sentinel needs pyroute2"
    return __virtualname__


def start(**options):
    """
    Watch until the minion ends.

    dev, ip, exclude, family
        What is watched, as everywhere in ``arp``; default: everything. ``dev`` of a card that is a
        port, or only carries VLANs, means the devices that have the entries.
    rate
        Frames a second (ARP requests, neighbour solicitations), at most; default 1000.
    burst
        Frames that may leave at once after a pause; default four seconds' worth.
    reinject
        Whether the SYN that revealed a wrong entry is sent again after the heal; default true.

    CLI Example:

    .. code-block:: bash

        salt-run state.event 'arp_hygiene/sentinel/*' pretty=True  # on the master: what it reports
    """
    privileges.end_with_parent()
    try:
        parsed = sentinel_options.parse(options)
    except ValueError as bad:
        log.error("arp_sentinel: %s", bad)
        _wait(str(bad).removeprefix("sentinel: "))
        return
    teller = _Teller(__salt__["event.send"], sinks.history_directory(__opts__["root_dir"]))
    sentinel = loop.Sentinel(
        parsed, teller.say, drop_rights=True, status_path=sentinel_status.PATH, way="engine"
    )
    signal.signal(signal.SIGTERM, lambda *_: sentinel.stop())  # Salt's handler would not clean up
    sentinel.run()


def _wait(refusal):
    """Keep a refusal in the status file until the minion ends.

    An engine that returns is started again, and would log its refusal again.
    """
    diary = sentinel_status.StatusWriter(sentinel_status.PATH, "engine")
    ends = {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    while True:
        problem = diary.write(failed=refusal, refused=True)
        if problem:
            log.warning("arp_sentinel: %s", problem)
        if signal.sigtimedwait(ends, sentinel_status.WRITE_INTERVAL_S):
            break
    diary.close()


class _Teller:
    """Reports by log and event. A thread sends the events: an absent master must not block us."""

    def __init__(self, send, history):
        self._send, self._history = send, history
        self._events = queue.Queue(MAX_EVENTS)
        self._thread = None

    def say(self, kind, line, facts):
        (log.warning if kind.is_urgent else log.info)("%s", line)
        sinks.log(line, failed=kind.is_urgent)
        self._record_if_switched_off(kind, facts)
        if not self._thread:
            self._thread = threading.Thread(target=self._forward, daemon=True)
            self._thread.start()
        try:
            self._events.put_nowait((f"{events.SENTINEL_TAG}/{kind.tag}", {"said": line, **facts}))
        except queue.Full:
            log.info("arp_sentinel: event dropped: %s events wait for the master", MAX_EVENTS)

    def _record_if_switched_off(self, kind, facts):
        """Record a heal that no status file holds: the formula has removed it, and we still run."""
        is_switched_off = not os.path.isdir(os.path.dirname(sentinel_status.PATH))
        is_one_heal = kind is events.EventKind.HEALED and "ip" in facts
        if is_one_heal and is_switched_off and os.path.isdir(self._history):
            row = {name: facts[name] for name in ("ip", "dev", "old", "new")}
            for problem in sinks.record_heals(self._history, time.time(), "sentinel", [row]):
                log.warning("%s", problem)

    def _forward(self):
        while True:
            tag, data = self._events.get()
            try:
                self._send(tag, data)
            except Exception as error:  # pylint: disable=broad-except
                log.info("arp_sentinel: event %s not sent: %s", tag, error)
