"""A setting of all devices: those that are there, and those that come. The engine, without Salt.

Only the first network namespace has ``default``, which the tests of the formula cannot change.
"""

from pathlib import Path

from arp_engine.formula import facts, kernel_settings
from stage import ip

KEY, VALUE = "mcast_resolicit", 3
BASE = Path("/proc/sys/net")


def value(family, device):
    """Return what is in force for a device."""
    return int((BASE / family / "neigh" / device / KEY).read_text(encoding="ascii"))


def settings_of_all_devices():
    """A device that has an address no longer follows ``default``; a later one does."""
    ip("link", "add", "old0", "type", "dummy")
    ip("link", "set", "old0", "up")
    ip("address", "add", "192.0.2.1/24", "dev", "old0")
    ip("address", "add", "2001:db8::1/64", "dev", "old0", "nodad")
    planned = kernel_settings.plan({KEY: {"default": VALUE}}, facts.settings([KEY]), {})
    for setting in planned["settings"]:
        path = BASE.parent / setting["name"].translate(str.maketrans("./", "/."))
        path.write_text(str(setting["value"]), encoding="ascii")
    ip("link", "add", "new0", "type", "dummy")
    for family in ("ipv4", "ipv6"):
        found = [value(family, device) for device in ("old0", "new0", "default")]
        yield (
            found == [VALUE] * 3,
            f"settings: {family} {KEY} {VALUE}: {found[0]} on a device that was there, "
            f"{found[1]} on one that came, default {found[2]}",
        )
