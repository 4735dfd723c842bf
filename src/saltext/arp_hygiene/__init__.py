"""Tell Salt's loader where a pip-installed copy keeps what Salt loads."""

import importlib

ROOMS = ("modules", "states", "runners", "engines", "output")


def dirs():
    """Return the loader directories, as the ``salt.loader`` entry point expects them.

    An editable install keeps each room elsewhere than this file: the import system knows where.
    """
    return {room: list(importlib.import_module(f"{__name__}.{room}").__path__) for room in ROOMS}
