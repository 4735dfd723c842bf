"""Run the scenes on the kernel that we are on: `make kernels` calls it, in an emulator.

Plain Python: there Python is ten to twenty times slower, and Salt's import takes minutes.
"""

import os
import re
import sys
import traceback
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(REPOSITORY / place) for place in ("_utils", "tests/functional", "tests/kernels", ".")
]

from lab.kernels import FAILED, MARK, OK, OVER, UP  # noqa: E402
from lab.machines import refuse_outside  # noqa: E402


def say(word, text=""):
    """Print one line for the other side, in one piece."""
    sys.stdout.write(f"{MARK}{word} {text}\n")
    sys.stdout.flush()


def main(*names):
    """Play all, or those that are named, whatever fails."""
    refuse_outside()
    Path("/proc/sys/kernel/printk").write_text("1", encoding="ascii")  # our lines stay whole
    debian = re.search(r"Debian (\S+)", os.uname().version)
    say(UP, f"{debian.group(1) if debian else os.uname().release} is up")
    import clocks  # it takes long: after the first word
    import first
    import networks
    import settings
    import table

    scenes = [
        table.flushed, table.protected, table.revalidated, settings.settings_of_all_devices,
        first.first_connections, first.a_bad_fabric, networks.networks, clocks.clocks,
    ]  # fmt: skip
    for scene in [scene for scene in scenes if not names or scene.__name__ in names]:
        try:
            for well, text in scene():
                say(OK if well else FAILED, text)
        except Exception as error:
            traceback.print_exc()
            say(FAILED, f"{scene.__name__}: {type(error).__name__}: {error}")
    say(OVER)


main(*sys.argv[1:])
