"""A minion that has the product on its own disk, as the formula's tests need it."""

import yaml

from lab.saltstack import Minion

ROOMS = ("_modules", "_states", "_utils")  # and never .venv: it would be walked


class Masterless(Minion):
    """A minion that has the product and its pillar on its own disk."""

    def __init__(self, machine, root, repo, hygiene):
        files, pillar = root / "files", root / "pillar"
        for place in (files, pillar):
            place.mkdir(parents=True)
        for name in ROOMS:
            (files / name).symlink_to(repo / name)
        (pillar / "top.sls").write_text("base: {'*': [hygiene]}")
        self.pillar = lambda tree: (pillar / "hygiene.sls").write_text(
            yaml.safe_dump({"arp_hygiene": tree})
        )
        self.pillar(hygiene)
        super().__init__(
            machine,
            root,
            file_client="local",
            master_type="disable",
            file_roots={"base": [str(files), str(repo / "salt")]},
            pillar_roots={"base": [str(pillar)]},
        )

    def apply(self, function="state.highstate", *arguments):
        """Apply states; return what each changed; fail with those that failed."""
        return changes(self.call(function, *arguments))


def changes(answer):
    """What each state changed; fail with those that failed."""
    assert isinstance(answer, dict), answer
    failed = [state for state in answer.values() if state["result"] is False]
    assert not failed, failed
    return {state["__id__"]: state["changes"] for state in answer.values() if state["changes"]}
