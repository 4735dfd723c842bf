"""The formula renders and applies for real: files, crontab fragment, sysctl, and their removal.

Real loaders and state runs in this process, no daemon; everything is written in the private world.
"""

import fcntl
import pathlib
import subprocess

import pytest
import salt.client
import salt.config
import yaml
from salt._logging.impl import shutdown_temp_handler

REPO = pathlib.Path(__file__).resolve().parents[2]
CRON = pathlib.Path("/etc/cron.d/arp_hygiene")
SYSCTL = pathlib.Path("/etc/sysctl.d/60-arp-hygiene.conf")
UNITS = [pathlib.Path(f"/etc/systemd/system/arp-hygiene.{kind}") for kind in ("service", "timer")]
NO_PIP = {"install": "none"}  # the environment of the tests has it; one test lets pip say so


@pytest.fixture(scope="module")
def caller(tmp_path_factory):
    """A masterless minion whose file roots are this tree, as the README says."""
    root = tmp_path_factory.mktemp("m")
    files = root / "files"
    files.mkdir()
    for name in ("_modules", "_states", "_utils"):  # not .venv: it would be walked
        (files / name).symlink_to(REPO / name)
    config = root / "etc" / "minion"
    config.parent.mkdir()
    config.write_text(
        yaml.safe_dump(
            {
                "id": "db1",
                "root_dir": str(root),
                "file_client": "local",
                "file_roots": {"base": [str(files), str(REPO / "salt")]},
                "enable_fqdns_grains": False,
            }
        )
    )
    shutdown_temp_handler()  # else Salt repeats every refusal on stderr when the tests are over
    salt.client.Caller(str(config)).cmd("saltutil.sync_all")
    return salt.client.Caller(str(config))


class Applied:
    """What a state run told: whether it succeeded, what changed, and the text of a refusal."""

    def __init__(self, answer):
        self.answer = answer
        self.refused = "\n".join(answer) if isinstance(answer, list) else ""
        self.states = {} if self.refused else {s["__id__"]: s for s in answer.values()}
        self.changed = {name: s["changes"] for name, s in self.states.items() if s["changes"]}
        self.failed = {name: s for name, s in self.states.items() if s["result"] is False}
        self.pending = [name for name, s in self.states.items() if s["result"] is None]


@pytest.fixture
def apply(caller):
    """Apply an SLS with a pillar tree; afterwards nothing of the formula is left."""

    def run(tree=None, sls="arp_hygiene", **kwargs):
        pillar = {"arp_hygiene": tree}
        return Applied(caller.cmd("state.apply", sls, pillar=pillar, **kwargs))

    yield run
    for path in (CRON, SYSCTL, *UNITS):
        path.unlink(missing_ok=True)


def everything():
    """Every file the formula could touch, byte for byte."""
    places = ("/etc/cron.d", "/etc/sysctl.d", "/etc/systemd", "/etc/crontab", "/var/spool/cron")
    paths = [p for place in places for p in (pathlib.Path(place), *pathlib.Path(place).rglob("*"))]
    return {str(p): p.is_file() and (p.stat().st_mode, p.read_bytes()) for p in paths}


def test_the_defaults_are_applied_once(apply):
    told = apply({"requirement": NO_PIP}, test=True)
    assert not CRON.exists(), "a dry run writes nothing"
    done = apply({"requirement": NO_PIP})
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    assert "the neighbour table is cleaned by cron" in done.changed
    assert CRON.stat().st_mode & 0o777 == 0o644
    line = CRON.read_text().splitlines()[-1]
    assert line.startswith("*/5 * * * * root sleep ")
    assert " arp.revalidate rate=100 2>&1)" in line
    again = apply({"requirement": NO_PIP})
    assert not again.changed
    assert not again.failed


@pytest.mark.parametrize("tree", [None, {}, {"schedule": None, "clean": {}}], ids=str)
def test_an_empty_pillar_means_the_defaults(apply, tree):
    """A bare ``arp_hygiene:`` reads as None. And pip finds pyroute2 where it is already."""
    done = apply(tree)
    assert not done.failed
    assert "already installed" in done.states["pyroute2 is installed"]["comment"]
    assert " arp.revalidate rate=100 2>&1)" in CRON.read_text()


def test_pillar_example_is_valid_and_holds_the_defaults(apply):
    example = yaml.safe_load((REPO / "pillar.example").read_text())["arp_hygiene"]
    defaults = yaml.safe_load((REPO / "salt/arp_hygiene/defaults.yaml").read_text())
    assert example == defaults, "a key is missing in one of the two, or a value differs"
    done = apply(example)
    assert not done.failed
    assert CRON.exists()


@pytest.mark.parametrize(
    ("schedule", "start"),
    [
        ({"every": 15}, "*/15 * * * * root "),
        ({"every": 120, "user": "nobody"}, "0 */2 * * * nobody "),
        ({"hour": "3", "dayweek": "1-5"}, "0 3 * * 1-5 root "),
        ({"minute": 7, "daymonth": "1,15", "month": "jan-jun"}, "7 * 1,15 jan-jun * root "),
        ({"special": "@hourly"}, "@hourly root "),
    ],
)
def test_pillar_says_when_and_who(apply, schedule, start):
    done = apply({"requirement": NO_PIP, "schedule": {"splay": 0, **schedule}})
    assert not done.failed
    assert CRON.read_text().splitlines()[-1].startswith(start + "out=$(flock -n ")


def test_pillar_says_what(apply):
    clean = {
        "how": "flush",
        "ip": ["10.0.1.0/24", "2001:db8::/64"],
        "dev": "eth0",
        "state": ["STALE", "FAILED"],
        "exclude": "10.0.1.1",
    }
    assert not apply({"requirement": NO_PIP, "clean": clean}).failed
    assert (
        """ arp.flush 'ip=["10.0.1.0/24", "2001:db8::/64"]' 'dev="eth0"' """
        """'state=["STALE", "FAILED"]' 'exclude="10.0.1.1"' 2>&1)"""
    ) in CRON.read_text()


BAD = [
    (["cron"], " ['cron'] is not a mapping; schedule, clean, sysctl, requirement are allowed"),
    ({"shedule": {}}, "'shedule': no such key; schedule, clean"),
    ({"schedule": {"minutes": 5}}, "schedule:'minutes': no such key; backend, every, minute"),
    ({"schedule": 5}, "schedule: 5 is not a mapping"),
    ({"schedule": {"backend": "at"}}, "schedule:backend: 'at' is none of cron, salt"),
    ({"schedule": {"backend": None}}, "schedule:backend: None is none of cron"),
    ({"schedule": {"minute": "5\n* * * * * root reboot"}}, "schedule:minute: '5\\n* * * * *"),
    ({"schedule": {"minute": "5\n"}}, "schedule:minute: '5\\n' is not a cron minute"),
    ({"schedule": {"hour": "3; reboot"}}, "schedule:hour: '3; reboot' is not a cron hour"),
    ({"schedule": {"daymonth": "1%"}}, "schedule:daymonth: '1%' is not a cron daymonth"),
    ({"schedule": {"month": "$(id)"}}, "schedule:month: '$(id)' is not a cron month"),
    ({"schedule": {"dayweek": "`id`"}}, "schedule:dayweek: '`id`' is not a cron dayweek"),
    ({"schedule": {"minute": True}}, "schedule:minute: True is not a cron minute: quote it"),
    ({"schedule": {"hour": 620}}, "schedule:hour: '620' is not a cron hour"),
    ({"schedule": {"special": "@often"}}, "schedule:special: '@often' is not a nickname"),
    ({"schedule": {"every": "5"}}, "schedule:every: '5' is not an interval"),
    ({"schedule": {"every": 7}}, "schedule:every: 7 minutes do not divide"),
    ({"schedule": {"every": 5, "hour": "3"}}, "schedule: every and hour exclude each other"),
    ({"schedule": {"splay": -1}}, "schedule:splay: -1 is not a whole number from 0 to 3600"),
    ({"schedule": {"user": "root reboot #"}}, "schedule:user: 'root reboot #' is not"),
    ({"schedule": {"user": "root\n"}}, "schedule:user: 'root\\n' is not"),
    ({"schedule": {"salt_call": "salt-call"}}, "schedule:salt_call: 'salt-call' is not an abs"),
    ({"schedule": {"salt_call": "/bin/sh;x"}}, "schedule:salt_call: '/bin/sh;x' is not an abs"),
    ({"schedule": {"salt_call": "/nowhere"}}, "schedule:salt_call: '/nowhere' is not a program"),
    ({"schedule": {"backend": "salt", "user": "ops"}}, "schedule:user: 'ops': with backend 'salt'"),
    ({"schedule": {"backend": "salt", "special": "@reboot"}}, "schedule:special: Salt's scheduler"),
    ({"schedule": {"backend": "systemd"}}, "schedule:backend: 'systemd' does not run here"),
    ({"clean": {"how": "delete"}}, "clean:how: 'delete' is none of revalidate, flush"),
    ({"clean": {"ip": "10.0.0.1/24"}}, "clean:ip: '10.0.0.1/24' has host bits set"),
    ({"clean": {"exclude": [10]}}, "clean:exclude: 10 is not an IPv4 or IPv6 address"),
    ({"clean": {"ip": []}}, "clean:ip: the list is empty"),
    ({"clean": {"dev": "no/device"}}, "clean:dev: 'no/device' is not the name of a network device"),
    ({"clean": {"dev": ["eth0", "a;id"]}}, "clean:dev: 'a;id' is not the name of a device that a"),
    ({"clean": {"state": "PERMANENT"}}, "clean:state: PERMANENT is never touched"),
    ({"clean": {"family": "inet"}}, "clean:family: 'inet' is none of ipv4, ipv6"),
    ({"clean": {"rate": "fast"}}, "clean:rate: 'fast' is not a number"),
    ({"sysctl": {"gc_thresh4": 1}}, "sysctl:'gc_thresh4': no such key; mcast_resolicit"),
    ({"sysctl": {"locktime": "0; id"}}, "sysctl:locktime: '0; id' is not a whole number"),
    ({"sysctl": {"mcast_resolicit": {"../x": 3}}}, "sysctl:mcast_resolicit: '../x' is not the na"),
    ({"sysctl": {"mcast_resolicit": {"eth0": -3}}}, "sysctl:mcast_resolicit:eth0: -3 is not a w"),
    ({"sysctl": {"gc_thresh1": 9, "gc_thresh2": 8}}, "sysctl:gc_thresh2: 8 is below the threshold"),
    ({"sysctl": {"gc_thresh1": {"eth0": 9}}}, "sysctl:gc_thresh1: {'eth0': 9} is not a whole"),
    ({"requirement": {"install": "curl"}}, "requirement:install: 'curl' is none of pip, package"),
    ({"requirement": {"version": "==1 evil"}}, "requirement:version: '==1 evil' is not a version"),
    ({"requirement": {"package": "--x"}}, "requirement:package: '--x' is not a package's name"),
    ({"requirement": {"wheels": "wheels"}}, "requirement:wheels: 'wheels' is not an absolute path"),
    ({"requirement": {"uninstall": "no"}}, "requirement:uninstall: 'no' is neither true nor false"),
]


@pytest.mark.parametrize(("tree", "told"), BAD, ids=[told[:40] for _tree, told in BAD])
def test_bad_pillar_changes_nothing_and_is_named(apply, tree, told):
    before = everything()
    done = apply(tree, sls="arp_hygiene")
    assert not done.refused
    (state,) = done.states.values()
    assert state["result"] is False
    assert state["comment"].startswith("pillar arp_hygiene:" + told)
    assert "\n" not in state["comment"]
    assert everything() == before


def test_bad_pillar_stops_a_whole_highstate_before_its_first_state(caller, apply, tmp_path):
    """The refusal comes first, whatever the order in which the top file names things."""
    witness = tmp_path / "witness"
    (pathlib.Path(caller.opts["root_dir"]) / "files" / "other.sls").write_text(
        f"{witness}:\n  file.touch: []\n"
    )
    tree = {"clean": {"rate": -1}, "requirement": NO_PIP}
    done = Applied(caller.cmd("state.apply", "other,arp_hygiene", pillar={"arp_hygiene": tree}))
    assert "clean:rate: -1" in done.states["the pillar of arp_hygiene is right"]["comment"]
    assert not witness.exists()


def test_none_takes_the_former_schedule_away(apply):
    apply({"requirement": NO_PIP})
    done = apply({"requirement": NO_PIP, "schedule": {"backend": "none"}})
    assert sorted(done.changed) == [
        "cron no longer cleans the neighbour table",
        "the cron job's lock is gone",
    ]
    assert not CRON.exists()
    assert not apply({"requirement": NO_PIP, "schedule": {"backend": "none"}}).changed


def test_remove_leaves_everything_as_it_was(apply, veth):
    """Byte for byte, with crontabs and settings of others beside ours."""
    pathlib.Path("/etc/cron.d/theirs").write_text("# theirs\n0 0 * * * root true\n")
    pathlib.Path("/var/spool/cron/crontabs/root").write_text("@daily true # no newline at the end")
    before = everything()
    apply({"requirement": NO_PIP})
    assert len(everything()) == len(before) + 2, "a cron file and sysctl settings"
    told = apply({"requirement": NO_PIP}, sls="arp_hygiene.remove", test=True)
    done = apply({"requirement": NO_PIP}, sls="arp_hygiene.remove")
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    assert everything() == before
    assert not apply({"requirement": NO_PIP}, sls="arp_hygiene.remove").changed


@pytest.fixture
def veth():
    """A real device, so that there is something to set."""
    subprocess.run("ip link add v.1 type veth peer name v2", shell=True, check=True)
    yield "v.1"
    subprocess.run("ip link del v.1", shell=True, check=True)


def live(device, key, family="ipv4"):
    return int(pathlib.Path(f"/proc/sys/net/{family}/neigh/{device}/{key}").read_text())


def test_kernel_settings_are_in_force_and_kept(apply, veth):
    tree = {"requirement": NO_PIP, "sysctl": {"locktime": {veth: 0}, "gc_thresh1": 4}}
    told = apply(tree, test=True)
    assert live(veth, "mcast_resolicit") == 0
    done = apply(tree)
    assert not done.failed
    assert sorted(told.pending) == sorted(done.changed)
    for device in (veth, "v2"):  # no `default` in a network namespace: its devices are named
        assert live(device, "mcast_resolicit") == 3
        assert live(device, "mcast_resolicit", "ipv6") == 3
    assert (live(veth, "locktime"), live("v2", "locktime")) == (0, 100)
    assert "net.ipv4.neigh.v/1.locktime = 0\n" in SYSCTL.read_text()
    skipped = [name for name in done.states if name.startswith("skipped: ")]
    assert (
        "skipped: net.ipv4.neigh.default.gc_thresh1: this network namespace has no such key"
        in skipped
    )
    assert not apply(tree).changed


def test_a_setting_that_drifted_is_set_again(apply, veth):
    apply({"requirement": NO_PIP})
    pathlib.Path("/proc/sys/net/ipv4/neigh/v2/mcast_resolicit").write_text("0")
    done = apply({"requirement": NO_PIP})
    assert done.changed == {
        "the settings for neighbours are in force": {
            "net.ipv4.neigh.v2.mcast_resolicit": {"old": 0, "new": 3}
        }
    }
    assert live("v2", "mcast_resolicit") == 3


def test_settings_that_are_off_are_not_kept(apply, veth):
    apply({"requirement": NO_PIP})
    assert SYSCTL.exists()
    apply({"requirement": NO_PIP, "sysctl": {"mcast_resolicit": None}})
    assert not SYSCTL.exists()


def test_a_device_that_is_not_there_is_skipped_with_a_word(apply):
    done = apply({"requirement": NO_PIP, "sysctl": {"mcast_resolicit": {"eth9": 3}}})
    assert not done.failed
    assert (
        "skipped: net.ipv4.neigh.eth9.mcast_resolicit: this network namespace has no such key"
        in done.states
    )


def installed_command():
    """What cron hands to the shell: all after five fields and the user, % no longer escaped."""
    return CRON.read_text().splitlines()[-1].split(" ", 6)[-1].replace(r"\%", "%")


def fire():
    """Run the installed line as cron would: /bin/sh, cron's own small environment."""
    environment = {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
    words = ["/bin/sh", "-c", installed_command()]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    return done.stdout


def test_a_run_that_succeeds_says_nothing(apply, veth):
    apply({"requirement": NO_PIP, "schedule": {"splay": 0}, "clean": {"dev": veth}})
    assert fire() == ""


def test_a_run_that_fails_says_why(apply):
    """eth9 is a good name, and there is no such device when the run is due."""
    apply({"requirement": NO_PIP, "schedule": {"splay": 0}, "clean": {"dev": "eth9"}})
    told = fire()
    assert told.startswith("exit 1: ")
    assert "dev: no device 'eth9' here" in told


def test_a_slow_run_is_not_overtaken(apply, caller):
    """While one run holds the lock, the next leaves itself out, and says so."""
    apply({"requirement": NO_PIP, "schedule": {"splay": 0}})
    lock = pathlib.Path(caller.opts["cachedir"], "arp_hygiene.lock")
    assert lock.stat().st_mode & 0o777 == 0o600, "nobody else can hold it"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert fire() == "exit 75: \n"
    assert fire() == ""
