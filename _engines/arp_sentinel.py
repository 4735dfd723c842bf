"""Hear of a wrong neighbour entry before anybody waits for it: the sentinel, below a minion.

In the minion's configuration:

.. code-block:: yaml

    engines:
      - arp_sentinel:
          dev: eth0            # what is watched; default: everything
          exclude: 10.0.0.1
          rate: 100            # questions a second, at most
          reinject: true       # a SYN once more after a heal

It asks on the wire and writes nothing: no entry is changed but by the answer. One that the wire
has shown to be wrong is deleted where the kernel believes no answer yet (locktime). None that
belongs to somebody else is asked about. It ends with the minion; beside it, as a service of its
own, it outlives it: docs/sentinel.md.
"""

import logging
import queue
import signal
import sys
import threading

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

WAITING = 100  # events that wait to be sent: more of them are in the log alone

__virtualname__ = "arp_sentinel"


def __virtual__():
    """Load on Linux, where pyroute2 is installed."""
    if not sys.platform.startswith("linux"):
        return False, "arp_sentinel watches the neighbour table of the Linux kernel"
    if not HAS_PYROUTE2:
        return False, "arp_sentinel needs pyroute2"
    return __virtualname__


def start(**options):
    """
    Watch until the minion ends.

    dev, ip, exclude, family
        What is watched, as everywhere in ``arp``; default: everything.
    rate
        Questions a second, at most; default 100.
    reinject
        Whether the SYN that revealed a wrong entry is sent once more; default true.

    CLI Example:

    .. code-block:: bash

        salt-run event.send arp_hygiene/sentinel '{}'  # what it tells: arp_hygiene/sentinel/healed
    """
    privileges.end_with_parent()
    try:
        parsed = sentinel_options.parse(options)
    except ValueError as bad:
        log.error("arp_sentinel: %s", bad)
        signal.pause()  # who ends is started again, and would say it again
        return
    teller = _Teller(__salt__["event.send"])
    sentinel = loop.Sentinel(
        parsed, teller.say, drop_rights=True, status_path=sentinel_status.PATH, way="engine"
    )
    signal.signal(signal.SIGTERM, lambda *_: sentinel.stop())  # Salt's own leaves no last word
    sentinel.run()


class _Teller:
    """Tells by log and event. Events go by a thread: a master that is away must not hold us up."""

    def __init__(self, send):
        self._send = send
        self._events = queue.Queue(WAITING)
        self._thread = None

    def say(self, kind, line, facts):
        """Tell one thing."""
        (log.warning if kind.is_urgent else log.info)("arp_sentinel: %s", line)
        sinks.log(line, failed=kind.is_urgent)
        if not self._thread:
            self._thread = threading.Thread(target=self._forward, daemon=True)
            self._thread.start()
        try:
            self._events.put_nowait((f"{events.SENTINEL_TAG}/{kind.tag}", {"said": line, **facts}))
        except queue.Full:
            log.info("arp_sentinel: no event for this, %s wait", WAITING)

    def _forward(self):
        while True:
            tag, data = self._events.get()
            try:
                self._send(tag, data)
            except Exception as error:  # pylint: disable=broad-except
                log.info("arp_sentinel: no event %s: %s", tag, error)
