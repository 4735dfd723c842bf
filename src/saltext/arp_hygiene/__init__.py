"""Tell Salt's loader where a pip-installed copy keeps what Salt loads."""

from pathlib import Path

ROOMS = ("modules", "states", "runners", "engines", "output")


def dirs():
    """Return the loader directories, as the ``salt.loader`` entry point expects them."""
    here = Path(__file__).resolve().parent
    return {room: [str(here / room)] for room in ROOMS}
