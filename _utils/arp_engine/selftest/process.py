"""The drill as a process of its own: one line of JSON on stdout."""

import json

from .drill import namespace, run
from .namespaces import NotPossible, end_with_parent


def main(parent: int) -> None:
    """Play the drill; ``parent`` is the process that waits for it."""
    end_with_parent(parent)
    outside = namespace()
    try:
        print(json.dumps({"rows": run(), "inside": namespace(), "outside": outside}), flush=True)
    except NotPossible as why:
        print(json.dumps({"not_possible": str(why)}), flush=True)
