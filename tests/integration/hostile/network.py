"""Lies about a minion's interfaces; instead of Salt's own module."""

LIES = "/tmp/lies"


def interfaces():
    """Return what the file says, or what nobody can believe."""
    import json
    import pathlib

    return json.loads(pathlib.Path(LIES).read_text(encoding="utf-8"))
