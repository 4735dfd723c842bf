"""A minion that has the product on its own disk, as the formula's tests need it."""

from lab.saltstack import Minion, file_roots, pillar_roots


class Masterless(Minion):
    """A minion that has the product and its pillar on its own disk."""

    def __init__(self, machine, root, hygiene):
        self.pillar = lambda tree: pillar_roots(root / "pillar", {"arp_hygiene": tree})
        super().__init__(
            machine,
            root,
            file_client="local",
            master_type="disable",
            file_roots=file_roots(root / "files"),
            pillar_roots=self.pillar(hygiene),
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
