"""Bad input and refusing kernels: one line, nothing changed, exit code not 0."""

import ctypes
import re

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError

BAD = [
    ({"ip": "db7"}, "ip: 'db7' is not an IPv4 or IPv6 address"),
    ({"ip": "192.0.2.300"}, "'192.0.2.300'"),
    ({"ip": "192.0.2.1/24"}, "ip: '192.0.2.1/24' has host bits set; write 192.0.2.0/24"),
    ({"ip": "2001:db8::1/64"}, "write 2001:db8::/64"),
    ({"ip": "192.0.2.0/33"}, "'192.0.2.0/33'"),
    ({"ip": "fe80::1%db0"}, "ip: 'fe80::1%db0' names a device"),
    ({"ip": 52540012}, "ip: 52540012 is not .*quote it in YAML"),
    ({"ip": "02:00:00:00:00:0a"}, "'02:00:00:00:00:0a' is not an IPv4 or IPv6 address"),
    ({"ip": []}, "ip: the list is empty"),
    ({"ip": ""}, "ip: '' is not"),
    ({"ip": True}, "ip: True is not .*quote it"),
    ({"ip": {"a": 1}}, "ip: {'a': 1} is not"),
    ({"ip": ["192.0.2.1", None]}, "ip: None is not"),
    ({"ip": "192.0.2.1", "family": "ipv6"}, "ip: 192.0.2.1/32 is not an ipv6 address"),
    ({"exclude": "nowhere"}, "exclude: 'nowhere' is not"),
    ({"exclude": []}, "exclude: the list is empty"),
    ({"exclude": "::ffff:192.0.2.1"}, "exclude: '::ffff:192.0.2.1': write 192.0.2.1"),
    ({"ip": "192.0.2.1\u2028"}, "is not an IPv4 or IPv6 address"),
    ({"dev": "eth7"}, "dev: no device 'eth7' here; there are db0, lo"),
    ({"dev": False}, "dev: False is not the name of a network device; quote it"),
    ({"dev": "a b"}, "dev: 'a b' is not the name of a network device"),
    ({"dev": "../etc/passwd"}, "dev: '../etc/passwd' is not"),
    ({"dev": "x" * 128}, "at most 127 bytes"),
    ({"dev": []}, "dev: the list is empty"),
    ({"state": "OLD"}, "state: 'OLD' is not one of REACHABLE, STALE, DELAY, PROBE"),
    ({"state": "PERMANENT"}, "state: PERMANENT is never touched by"),
    ({"state": ["STALE", "NOARP"]}, "state: NOARP is never touched by"),
    ({"state": "incomplete"}, "state: INCOMPLETE is never touched by .* resolving it"),
    ({"state": []}, "state: the list is empty"),
    ({"state": True}, "state: True is not"),
    ({"family": "inet"}, "family: 'inet' is not one of ipv4, ipv6"),
    ({"family": 4}, "family: 4 is not one of"),
    ({"test": "yes"}, "test: 'yes' is neither true nor false"),
]
RATES = [-1, "fast", True, float("nan"), float("inf"), None, [100], 10**400, 1e-5, 1e16]


@pytest.mark.parametrize(("words", "line"), BAD, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("verb", ["flush", "revalidate"])
def test_bad_input_raises_one_line_and_changes_nothing(arp, scene, verb, words, line):
    scene.add("192.0.2.10")
    before = scene.table()
    with pytest.raises(SaltInvocationError) as raised:
        getattr(arp, verb)(**words)
    text = str(raised.value)
    assert text.startswith(f"arp.{verb}: ")
    assert re.search(line, text) or line in text
    assert "\n" not in text
    assert scene.table() == before


@pytest.mark.parametrize("name", ["list", "list_stale", "stats"])
def test_an_error_names_the_function(arp, scene, name):
    with pytest.raises(SaltInvocationError, match=rf"^arp\.{name}: ip: 'x' is not"):
        getattr(arp, name)(ip="x")


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_a_bad_rate_is_refused(arp, scene, rate):
    scene.add("192.0.2.10")
    before = scene.table()
    with pytest.raises(SaltInvocationError, match=r"rate: .* is not a number of probes a second"):
        arp.revalidate(rate=rate)
    assert scene.table() == before


def test_revalidate_refuses_state_failed(arp, scene):
    with pytest.raises(SaltInvocationError, match="FAILED is never touched by revalidate"):
        arp.revalidate(state="FAILED")


@pytest.mark.parametrize("verb", ["list", "flush", "revalidate", "stats"])
def test_an_unknown_keyword_is_a_type_error(arp, scene, verb):
    with pytest.raises(TypeError):
        getattr(arp, verb)(addresses="192.0.2.1")


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@pytest.fixture
def without_cap_net_admin():
    """Put CAP_NET_ADMIN (12) out of effect for this thread."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(0x20080522, 0), (_Data * 2)()
    libc.capget(ctypes.byref(header), data)
    data[0].effective &= ~(1 << 12)
    assert libc.capset(ctypes.byref(header), data) == 0
    yield
    data[0].effective |= 1 << 12
    assert libc.capset(ctypes.byref(header), data) == 0


@pytest.mark.parametrize("verb", ["flush", "revalidate"])
def test_without_cap_net_admin_the_error_names_the_capability(arp, scene, verb, request):
    scene.add("192.0.2.10")
    before = scene.table()
    request.getfixturevalue("without_cap_net_admin")
    word = {"flush": "delete", "revalidate": "revalidate"}[verb]
    with pytest.raises(CommandExecutionError) as raised:
        getattr(arp, verb)()
    assert str(raised.value) == (
        f"arp.{verb}: cannot {word} 192.0.2.10 on db0: EPERM: Operation not permitted; "
        "this needs CAP_NET_ADMIN, run the minion as root"
    )
    assert scene.table() == before


def test_reading_needs_no_cap_net_admin(arp, scene, without_cap_net_admin):
    assert isinstance(arp.list(), list)
    assert "would_flush" in arp.flush(test=True)


def test_a_dump_without_an_answer_times_out(arp, scene, monkeypatch):
    from arp_engine.netlink import codec, rtnetlink

    monkeypatch.setattr(rtnetlink, "KERNEL_TIMEOUT_S", 0.2)
    monkeypatch.setattr(codec, "dump_request", lambda *_: codec.HEADER.pack(16, 1, 1, 0, 0))
    with pytest.raises(CommandExecutionError) as raised:
        arp.list()
    assert str(raised.value) == "arp.list: no netlink answer from the kernel for 0.2 s"
