"""Each kind of argument: what is accepted, and the line that refuses the rest."""

import ipaddress
import pathlib

import pytest
import yaml
from arp_engine.fleet import arguments, settings
from arp_engine.formula import pillar, schedule
from arp_engine.sentinel import options
from arp_engine.table import parse, selectors

REPO = pathlib.Path(__file__).resolve().parents[3]
DEFAULTS = yaml.safe_load((REPO / "salt/arp_hygiene/defaults.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("parser", "words", "value"),
    [
        (parse.flag, ("test", True), True),
        (parse.one_of, ("how", "flush", ("revalidate", "flush")), "flush"),
        (parse.whole_number, ("batch", 9, 1, 9), 9),
        (parse.whole_number, ("batch", "9", 1, 9), 9),
        (parse.whole_number, ("batch", 9.0, 1, 9), 9),
        (parse.seconds, ("pause", 0, 0, 9), 0.0),
        (parse.seconds, ("pause", "0.5", 0, 9), 0.5),
        (parse.rate, (0,), 0.0),
        (parse.rate, (0.01,), 0.01),
        (parse.rate, ("500",), 500.0),
        (parse.limit, (0,), 0),
        (parse.listed, ("dev", "a, b", "x"), ["a", "b"]),
        (parse.listed, ("dev", ["a,b", "c"], "x"), ["a", "b", "c"]),
        (parse.networks, ("ip", None), []),
        (parse.networks, ("ip", "192.0.2.0/24"), [ipaddress.ip_network("192.0.2.0/24")]),
        (parse.address, ("ip", "2001:db8::1"), ipaddress.ip_address("2001:db8::1")),
        (parse.devices, ("dev", ["eth0", "bücher"]), ["eth0", "bücher"]),
        (parse.device, ("dev", "eth0"), "eth0"),
        (parse.macs, ("mac", "02-00-00-00-00-0A"), [b"\2\0\0\0\0\x0a"]),
        (parse.macs, ("mac", "00:" * 19 + "0a"), [bytes(19) + b"\x0a"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_argument_is_accepted(parser, words, value):
    parsed = parser(*words)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("parser", "words", "line"),
    [
        (parse.flag, ("test", "yes"), "test: 'yes' is neither true nor false"),
        (parse.flag, ("test", 1), "test: 1 is neither true nor false"),
        (parse.one_of, ("truth", "x", ("live", "cached")), "truth: 'x' is not one of live, cached"),
        (parse.one_of, ("truth", ["live"], ("live",)), "truth: ['live'] is not one of live"),
        (parse.whole_number, ("batch", 0, 1, 9), "batch: 0 is not a whole number from 1 to 9"),
        (
            parse.whole_number,
            ("wait", 1.5, 0, 9, "seconds"),
            "wait: 1.5 is not a whole number of seconds from 0 to 9",
        ),
        (parse.whole_number, ("batch", True, 1, 9), "batch: True is not a whole number"),
        (parse.whole_number, ("batch", float("inf"), 0, 9), "batch: inf is not a whole number"),
        (parse.whole_number, ("batch", "٣", 0, 9), "batch: '٣' is not a whole number"),
        (parse.whole_number, ("batch", 10**5000, 0, 9), "batch: a number of more than 40 digits"),
        (parse.seconds, ("pause", "nan", 0, 9), "pause: 'nan' is not a number of seconds from 0"),
        (parse.seconds, ("pause", -1, 0, 9), "pause: -1 is not a number of seconds from 0 to 9"),
        (parse.rate, ("fast",), "rate: 'fast' is not a number of probes a second (0.01 to"),
        (parse.rate, (0.001,), "rate: 0.001 is not a number of probes a second"),
        (parse.rate, (float("nan"),), "rate: nan is not a number of probes a second"),
        (parse.limit, (-1,), "limit: -1 is not a whole number of rows (0 or more; 0: all)"),
        (parse.limit, (float("inf"),), "limit: inf is not a whole number of rows"),
        (parse.listed, ("ip", [], "an address"), "ip: the list is empty; leave ip out, or name an"),
        (parse.listed, ("ip", [7], "an address"), "ip: 7 is not an address; quote it in YAML"),
        (parse.listed, ("ip", "a,,b", "an address"), "ip: 'a,,b' is not an address"),
        (parse.networks, ("ip", "ten"), "ip: 'ten' is not an IPv4 or IPv6 address or a network"),
        (parse.networks, ("ip", "10.0.0.1/8"), "has host bits set; write 10.0.0.0/8"),
        (parse.networks, ("ip", "::ffff:192.0.2.1"), "ip: '::ffff:192.0.2.1': write 192.0.2.1"),
        (parse.networks, ("ip", "fe80::1%eth0"), "write it without %, and use dev"),
        (parse.networks, ("ip", ["192.0.2.1", None]), "ip: None is not an IPv4 or IPv6 address"),
        (parse.address, ("ip", "192.0.2.0/24"), "name one address, not a network or a list"),
        (parse.address, ("ip", "192.0.2.1,192.0.2.2"), "name one address"),
        (parse.address, ("ip", None), "ip: None: name one address"),
        (parse.devices, ("dev", "x" * 128), "(at most 127 bytes, no space, slash or colon)"),
        (parse.devices, ("dev", "../etc/passwd"), "dev: '../etc/passwd' is not the name of a netw"),
        (parse.device, ("dev", ["eth0"]), "dev: ['eth0']: name one device"),
        (parse.macs, ("mac", "02:00:00:00:00"), "mac: '02:00:00:00:00' is not a MAC address"),
        (parse.macs, ("mac", "02:00-00:00:00:0a"), "mac: '02:00-00:00:00:0a' is not a MAC address"),
        (parse.macs, ("mac", "0g:00:00:00:00:0a"), "is not a MAC address (02:00:00:00:00:0a)"),
        (parse.macs, ("mac", ""), "mac: '' is not a MAC address"),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_bad_argument_is_refused_in_one_line(parser, words, line):
    with pytest.raises(ValueError, match=r"^[^\n]{1,250}$") as refused:
        parser(*words)
    assert line in str(refused.value)


@pytest.mark.parametrize(
    "refuse",
    [
        lambda value: parse.one_of("truth", value, ("live",)),
        lambda value: selectors.parse_selectors(state=value),
        lambda value: arguments.parse_all({"tgt": value, "truth": value}, settings.Settings()),
        lambda value: settings.parse_settings({"mode": value}),
        lambda value: options.parse({value: 1}),
        lambda value: pillar.check(DEFAULTS, {"schedule": value}),
        lambda value: schedule.parse_special(value),
    ],
)
def test_long_value_is_refused_in_a_short_line(refuse):
    with pytest.raises(ValueError, match=r"^[^\n]{1,250}$") as refused:
        refuse("x" * 5000)
    assert "xxx..." in str(refused.value)


@pytest.mark.parametrize("several", [False, True])
def test_mac_that_yaml_reads_as_number_is_refused(several):
    number = yaml.safe_load("52:54:00:12:34:56")
    with pytest.raises(ValueError, match=r"^mac: \d+ is not .* with dashes \(52-54-00-12-34-56\)$"):
        parse.macs("mac", [number] if several else number)
    assert parse.macs("mac", yaml.safe_load("52-54-00-12-34-56"))


def test_part_is_one_of_so_many():
    assert parse.part("2/8") == (2, 8)
    assert parse.part(None) == (1, 1)
    for bad in ("0/8", "9/8", "1", 1, "1/0", "a/b", "-1/2"):
        with pytest.raises(ValueError, match="is not K/N"):
            parse.part(bad)
