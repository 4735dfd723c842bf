"""The drill as a process of its own: one line of JSON on stdout."""

import json
import sys
from collections import Counter
from typing import Any

from .drill import namespace, run
from .namespaces import NotPossible, end_with_parent


def main(parent: int) -> None:
    """Play the drill; ``parent`` is the process that waits for it."""
    end_with_parent(parent)
    outside = namespace()
    opened: list[str] = []

    def note(event: str, _args: Any) -> None:
        if event == "socket.__new__":  # it belongs to the namespace of the thread that opens it
            opened.append(namespace())

    sys.addaudithook(note)
    try:
        told = {"rows": run(), "inside": namespace(), "outside": outside}
        print(json.dumps({**told, "sockets": Counter(opened)}), flush=True)
    except NotPossible as why:
        print(json.dumps({"not_possible": str(why)}), flush=True)
