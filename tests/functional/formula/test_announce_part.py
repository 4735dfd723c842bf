"""The formula's part for newcomers: what it installs, what that does, and its removal."""

import contextlib
import pathlib
import re
import socket
import subprocess

import pytest
from formula import (  # noqa: F401
    CRON,
    NO_PIP,
    apply,
    caller,
    everything,
    syslog,
    systemd,
    veth,
)

from lab.bare import missing

CRON_FILE = pathlib.Path("/etc/cron.d/arp_hygiene_announce")
UNIT = pathlib.Path("/etc/systemd/system/arp-hygiene-announce.service")
KEPT = pathlib.Path("/etc/sysctl.d/61-arp-hygiene-announce.conf")
LIVE = [pathlib.Path(f"/proc/sys/net/{key}") for key in (
    "ipv4/conf/all/arp_notify", "ipv6/conf/all/ndisc_notify",
)]  # fmt: skip
SLS = "arp_hygiene.announce"
WHERE = {"ip": ["192.0.2.9", "2001:db8::/64"], "dev": "v.1", "wait": 0}


@pytest.fixture(autouse=True)
def clean():
    """Afterwards nothing of this part is left."""
    yield
    for path in (CRON_FILE, UNIT, KEPT):
        path.unlink(missing_ok=True)
    for path in LIVE:
        path.write_text("0")


def live():
    return [path.read_text().strip() for path in LIVE]


def tree(backend="cron", **announce):
    return {"requirement": NO_PIP, "schedule": {"backend": backend}, "announce": announce}


def test_announcement_is_applied_once_and_removed(apply):
    before = everything()
    told = apply(tree(), SLS, test=True)
    assert (everything(), live()) == (before, ["0", "0"])
    done = apply(tree(), SLS)
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed) == sorted([
        "addresses are announced after each boot",
        "the kernel announces address changes",
        "the kernel announces address changes after a reboot too",
    ])  # fmt: skip
    assert live() == ["1", "1"]
    assert KEPT.read_text().splitlines()[1:] == [
        "net.ipv4.conf.all.arp_notify = 1",
        "net.ipv6.conf.all.ndisc_notify = 1",
    ]
    line = CRON_FILE.read_text().splitlines()[-1]
    assert line.startswith("@reboot root sleep 30; out=$(")
    assert not CRON.exists(), "a worker's table is not cleaned"
    assert not apply(tree(), SLS).changed
    done = apply(sls="arp_hygiene.remove", tree={"requirement": NO_PIP})
    assert not done.failed
    assert everything() == before
    assert live() == ["1", "1"]
    assert set(STAY) <= set(done.states)


STAY = [
    "still in force until the next boot: net.ipv4.conf.all.arp_notify = 1",
    "still in force until the next boot: net.ipv6.conf.all.ndisc_notify = 1",
]


def test_invalid_pillar_hides_no_setting_that_stays_in_force(apply):
    apply(tree(), SLS)
    done = apply(tree("often"), "arp_hygiene.remove")
    assert not done.failed
    assert set(STAY) <= set(done.states)


def test_database_part_leaves_the_announcement_alone(apply):
    apply(tree(), SLS)
    done = apply(tree())
    assert not done.failed
    assert CRON_FILE.exists()
    assert KEPT.exists()


def run_line():
    """Run what cron would, as cron would."""
    line = CRON_FILE.read_text().splitlines()[-1].removeprefix("@reboot root ").replace(r"\%", "%")
    return subprocess.run(
        ["env", "-i", "/bin/sh", "-c", line], capture_output=True, text=True, check=False
    )


@contextlib.contextmanager
def listener(device, protocol=0x0806):
    """Hear ARP, or another protocol, at the other end of the cable."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(protocol)) as ear:
        ear.bind((device, protocol))
        ear.settimeout(5)
        yield ear


def test_cron_line_announces(apply, veth):
    for words in ("link set v.1 up", "link set v2 up", "address add 192.0.2.9/24 dev v.1"):
        subprocess.run(["ip", *words.split()], check=True)
    subprocess.run(["ip", "address", "add", "2001:db8::9/64", "dev", "v.1", "nodad"], check=True)
    assert not apply(tree(**WHERE), SLS).failed
    with listener("v2") as ear:
        done = run_line()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        heard = [ear.recv(64) for _ in range(6)]
    own = socket.inet_aton("192.0.2.9")
    assert [(packet[14:18], packet[24:28]) for packet in heard] == [(own, own)] * 6


def test_failed_announcement_is_logged_and_mailed(apply, syslog):
    done = apply(tree(**WHERE), SLS)
    assert not done.failed
    line = "announce:dev: no device 'v.1' here: announcements fail until there is one"
    assert done.states[line]["comment"] == line
    done = run_line()
    line = "Passed invalid arguments: arp.announce: dev: no device 'v.1' here; there are lo."
    assert (done.stdout, done.stderr) == (f"{line}\n", "")
    assert syslog.lines() == [f"arp_hygiene: {line}"]


def test_kernel_announces_new_mac_but_no_added_address(apply, veth):
    """What arp_notify does, and what it does not: the file says so."""
    for words in ("link set v.1 up", "link set v2 up"):
        subprocess.run(["ip", *words.split()], check=True)
    assert not apply(tree(), SLS).failed
    born = bytes.fromhex("02000000000b")
    with listener("v2") as arp, listener("v2", 0x86DD) as ipv6:
        for words in (
            "address add 192.0.2.9/24 dev v.1",
            "address add 2001:db8::9/64 dev v.1 nodad",
            "link set v.1 address 02:00:00:00:00:0b",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        packet = arp.recv(64)
        own = socket.inet_pton(socket.AF_INET6, "2001:db8::9")
        said = iter(lambda: ipv6.recv(128), b"")
        told = next(p for p in said if (p[40], p[48:64], p[66:72]) == (136, own, born))
    assert packet[8:18] == born + socket.inet_aton("192.0.2.9")
    assert told


@pytest.mark.parametrize(
    ("announce", "line"),
    [
        ({"ip": "db1"}, "announce:ip: 'db1' is not an IPv4 or IPv6 address"),
        ({"dev": "a b"}, "announce:dev: 'a b' is not the name of a network device"),
        ({"dev": "é"}, "announce:dev: 'é' is not the name of a device that a command can carry"),
        ({"notify": "yes"}, "announce:notify: 'yes' is neither true nor false"),
        ({"wait": -1}, "announce:wait: -1 is not a whole number of seconds from 0 to 3600"),
        ({"times": 3}, "announce:'times': no such key; ip, dev, notify, wait are allowed"),
        ({"ip": [f"192.0.2.{n}" for n in range(100)]}, "announce: the command takes [0-9]+ "),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_pillar_is_one_line_and_changes_nothing(apply, announce, line):
    before = everything()
    done = apply(tree(**announce), SLS)
    assert len(done.failed) == len(done.states) == 1
    [state] = done.states.values()
    assert re.match(f"pillar arp_hygiene:{line}", state["comment"])
    assert everything() == before


def test_new_backend_removes_the_former_file(apply):
    apply(tree(), SLS)
    done = apply(tree("none", notify=False), SLS)
    assert not done.failed
    assert set(STAY) <= set(done.states)
    assert not CRON_FILE.exists()
    assert not KEPT.exists()
    assert list(apply(tree("none", notify=False), SLS).states) == [
        "arp_hygiene has nothing to do here"
    ]
    told = apply(tree("salt"), SLS).states
    assert any(name.startswith("skipped: announcement after boot: Salt's") for name in told)


@pytest.mark.skipif(bool(missing("systemd-analyze")), reason=missing("systemd-analyze"))
def test_systemd_verifies_the_unit(apply, systemd):
    pillar = {"arp_hygiene": tree("systemd", **WHERE)}
    words = "the systemd service of the announcement is installed", SLS
    done = apply.caller.cmd("state.sls_id", *words, pillar=pillar)
    assert all(state["result"] for state in done.values()), done
    done = subprocess.run(
        ["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert 'arp.announce "ip=[\\"192.0.2.9\\", \\"2001:db8::/64\\"]"' in UNIT.read_text()
