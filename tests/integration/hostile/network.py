"""Lies about a minion's interfaces, and forged returns; instead of Salt's own module."""

import json
import pathlib

import salt.channel.client

LIES, FORGERY = "/tmp/lies", "/tmp/forgery"


def interfaces(**job):
    """Return what the file says; first forge the other file's returns to the same job."""
    if pathlib.Path(FORGERY).exists():
        _forge(job["__pub_jid"], **json.loads(pathlib.Path(FORGERY).read_text(encoding="utf-8")))
    return json.loads(pathlib.Path(LIES).read_text(encoding="utf-8"))


def _forge(jid, victim, content, channel):
    """Return to a job in another minion's name: on the event bus, or as a syndic would."""
    me = __opts__["id"]  # noqa: F821
    forged = {"jid": jid, "id": victim, "return": content, "retcode": 0, "success": True}
    if channel == "event bus":
        events = [{"tag": f"salt/job/{jid}/ret/{victim}", "data": forged}]
        __salt__["event.fire_master"]("x", "x", preload={"events": events})  # noqa: F821
    else:
        result = {"return": content, "retcode": 0, "success": True}
        load = {"jid": jid, "id": me, "fun": "network.interfaces", "return": {victim: result}}
        with salt.channel.client.ReqChannel.factory(__opts__) as request:  # noqa: F821
            request.send({"cmd": "_syndic_return", "id": me, "load": [load]}, tries=1, timeout=10)
