"""What a minion that somebody else has taken over can say to its master. Loaded by Salt, on it."""

OWNED = "/tmp/owned-by-a-minion"
INJECTIONS = [
    "192.0.2.1; touch " + OWNED,
    "$(touch " + OWNED + ")",
    "{{ salt['cmd.run']('touch " + OWNED + "') }}",
    "10.0.1.5\n  - fun: cmd.run\n  - arg: touch " + OWNED,
    "!!python/object/apply:os.system ['touch " + OWNED + "']",
    "../../../etc/passwd",
    "0.0.0.0/0",
]


def _grains(*ips):
    return {
        "hwaddr_interfaces": {"eth0": "02:00:00:00:66:66"},
        "ip4_interfaces": {"eth0": list(ips)},
    }


def send(kind, victim="db1", victims=()):
    """Send one kind of event."""
    me = __opts__["id"]  # noqa: F821
    own = f"salt/minion/{me}/start"
    if kind == "injection":
        for number, text in enumerate(INJECTIONS):
            _fire(own, {"grains": _grains(*INJECTIONS), "fun": "cmd.run", "arg": text})
            _fire(f"salt/minion/{text}/start", {"grains": {text: text}, f"x{number}": text})
    elif kind.endswith("000 addresses"):
        count = int(kind.split(",")[0]) * 1000
        many = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count)]
        _fire(own, {"grains": _grains(*many)})
    elif kind == "others' addresses":
        _fire(own, {"grains": _grains(*victims)})
    elif kind == "other tags":
        for tag in (f"salt/minion/{victim}/start", "arp/born/asked", "salt/minion//start"):
            _fire(tag, {"grains": _grains(*victims), "machines": [victim], "jid": "1"})
    elif kind == "absurd types":
        for grains in (None, 5, [], "x" * 10_000, {"hwaddr_interfaces": 7}, _grains(None, 1, {})):
            _fire(own, {"grains": grains})
    elif kind == "another's id":
        forged = {"id": victim, "grains": _grains(*victims)}
        _fire("x", {}, [{"tag": f"salt/minion/{victim}/start", "data": forged}])
    return True


def _fire(tag, more, events=None):
    load = {"events": events} if events else more
    __salt__["event.fire_master"]("x", tag, preload=load)  # noqa: F821
