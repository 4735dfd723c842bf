"""Tell Salt's loader where a pip-installed copy keeps its modules and states."""

from pathlib import Path


def dirs():
    """Return the loader directories, as the ``salt.loader`` entry point expects them."""
    here = Path(__file__).resolve().parent
    return {"modules": [str(here / "modules")], "states": [str(here / "states")]}
