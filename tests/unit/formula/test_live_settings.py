"""Where a setting of ours still stands, on kernels and hosts that no test machine is."""

import pytest
from arp_engine.formula import live_settings

FILE = "# Written by the Salt formula arp_hygiene\n# a = 1\n{} = {}\n"


def kept(tmp_path, values, name, value, more=""):
    """Return where a setting in our file stands, in a /proc/sys with these values."""
    for each, number in values.items():
        path = tmp_path / "sys" / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")
    (tmp_path / "ours").write_text(FILE.format(name, value) + more)
    found = live_settings.kept(str(tmp_path / "ours"), str(tmp_path / "sys"))
    assert found[name].value == str(value)
    return found[name].stands


@pytest.mark.parametrize("of_eth1", [3, 0])
def test_default_stands_on_the_devices_that_have_its_value(tmp_path, of_eth1):
    key = "net/ipv4/neigh/{}/mcast_resolicit".format
    numbers = {"default": 3, "lo": 3, "eth0.7": 3, "eth1": of_eth1, "eth2": 3}
    values = {key(scope): number for scope, number in numbers.items()}
    name = "net.ipv4.neigh.{}.mcast_resolicit".format
    own = f"{name('eth2')} = 3\n"  # a line of its own: not of the default's
    others = [name("eth1")] if of_eth1 else []
    assert kept(tmp_path, values, name("default"), 3, own) == [
        name("default"), name("eth0/7"), *others,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "wanted", "read", "stands"),
    [
        ("locktime", 7, 6, True),  # HZ 250
        ("locktime", 7, 5, False),
        ("base_reachable_time_ms", 30_001, 30_010, True),  # HZ 100
        ("base_reachable_time_ms", 30_001, 30_012, False),
        ("gc_stale_time", 60, 59, False),  # whole seconds are whole ticks
        ("mcast_resolicit", 3, 2, False),
    ],
)
def test_value_within_a_tick_stands(tmp_path, key, wanted, read, stands):
    values = {f"net/ipv6/neigh/eth0/{key}": read}
    name = f"net.ipv6.neigh.eth0.{key}"
    assert kept(tmp_path, values, name, wanted) == ([name] if stands else [])


def test_setting_of_a_device_that_is_gone_stands_nowhere(tmp_path):
    assert kept(tmp_path, {}, "net.ipv4.neigh.eth0.locktime", 7) == []
    assert kept(tmp_path, {}, "vm.x", "much") == []
    assert live_settings.kept(str(tmp_path / "none")) == {}


def test_change_within_a_tick_is_told_and_a_value_that_the_kernel_rounds_is_none(
    tmp_path, monkeypatch
):
    """Where the kernel's tick is 1 ms, 99 is 99; at HZ 250, 7 is 6 before the write and after."""
    name = "net.ipv4.neigh.eth0.locktime"
    setting, file = [{"name": name, "value": 99}], tmp_path / "locktime"
    monkeypatch.setattr(live_settings, "_path", lambda _name: str(file))
    file.write_text("100\n")
    assert live_settings.put(setting, test=False) == {name: {"old": 100, "new": 99}}
    assert file.read_text() == "99\n"
    assert live_settings.put(setting, test=False) == {}

    def shows_a_tick_less(path, new):
        file.write_text(f"{new - 1}\n")
        return new - 1

    file.write_text("6\n")
    monkeypatch.setattr(live_settings, "_write", shows_a_tick_less)
    assert live_settings.put([{"name": name, "value": 7}], test=False) == {}
