"""States that Salt lacks: kernel settings, the sentinel's code, a run's test and end, a refusal.

Salt's own ``sysctl.present`` needs procps and also writes the file, so test mode and real run
report different changes. ``sysctl`` here reads and writes /proc/sys alone.
"""

from salt.exceptions import CommandExecutionError

__virtualname__ = "arp_hygiene"


def __virtual__():
    """Load where the execution module does."""
    if "arp_hygiene.sysctl" not in __salt__:
        return False, "the execution module arp_hygiene is not on this minion"
    return __virtualname__


def sysctl(name, settings):
    """
    Set kernel settings, live.

    name
        A sentence that says so.
    settings
        A list of ``{"name": "net.ipv4.neigh.eth0.mcast_resolicit", "value": 3}``.

    .. code-block:: yaml

        the kernel's neighbour settings are in force:
          arp_hygiene.sysctl:
            - settings:
              - name: net.ipv4.neigh.eth0.mcast_resolicit
                value: 3
    """
    test = __opts__["test"]
    try:
        changes = __salt__["arp_hygiene.sysctl"](settings, test=test)
    except CommandExecutionError as error:
        return {"name": name, "result": False, "changes": {}, "comment": str(error)}
    if not changes:
        comment = f"already set: {len(settings)} settings"
    else:
        comment = f"{'would set' if test else 'set'} {len(changes)} of {len(settings)} settings"
    return {
        "name": name,
        "result": None if test and changes else True,
        "changes": changes,
        "comment": comment,
    }


def refused(name, why=""):
    """
    Fail with one line and change nothing, in test mode too.

    name
        A sentence that is not true.
    why
        The line; without it, name is.

    Salt's own ``test.fail_without_changes`` has another comment in test mode.

    .. code-block:: yaml

        the pillar of arp_hygiene is valid:
          arp_hygiene.refused:
            - why: "pillar arp_hygiene:schedule:backend: 'at' is not one of cron, salt"
    """
    return {"name": name, "result": False, "changes": {}, "comment": why or name}


def sentinel_code(name):
    """
    Install the code that the sentinel's service runs, as it was synced last.

    name
        A sentence that says so.

    .. code-block:: yaml

        the sentinel's code is installed:
          arp_hygiene.sentinel_code
    """
    test = __opts__["test"]
    try:
        changes = __salt__["arp_hygiene.sentinel_code"](test=test)
    except CommandExecutionError as error:
        return {"name": name, "result": False, "changes": {}, "comment": str(error)}
    comment = "already up to date"
    if changes:
        comment = f"{'would install' if test else 'installed'} {changes['new']}"
    result = None if test and changes else True
    return {"name": name, "result": result, "changes": changes, "comment": comment}


def sentinel_recorded(name):
    """
    Record the heals of the sentinel, before its status file is removed.

    name
        A sentence that says so.

    .. code-block:: yaml

        the sentinel's heals are recorded:
          arp_hygiene.sentinel_recorded
    """
    test = __opts__["test"]
    try:
        count = __salt__["arp_hygiene.record_sentinel"](test=test)
    except CommandExecutionError as error:
        return {"name": name, "result": False, "changes": {}, "comment": str(error)}
    return {
        "name": name,
        "result": None if test and count else True,
        "changes": {"recorded": count} if count else {},
        "comment": f"{'would record' if test else 'recorded'} {count} heals",
    }


def run_ended(name, timeout=300):
    """
    Wait until no run is in progress: it would write anew what is about to be removed.

    name
        A sentence that says so.
    timeout
        Seconds; fails where a run is still in progress then.

    .. code-block:: yaml

        no run is in progress:
          arp_hygiene.run_ended: []
    """
    test = __opts__["test"]
    ret = {"name": name, "result": True, "changes": {}, "comment": "no run is in progress"}
    if __salt__["arp_hygiene.in_progress"](timeout=0 if test else timeout):
        if test:
            return {**ret, "comment": "would wait for the run that is in progress"}
        line = f"a run is still in progress after {timeout} s: apply this again when it has ended"
        return {**ret, "result": False, "comment": line}
    return ret


def works(name, command, words):
    """
    Test that the scheduled run works: one run in its own test mode, which changes nothing.

    name
        A sentence that says so.
    command
        The command that is installed, with its user and environment, as a list of words; None
        where the minion itself calls the function.
    words
        The arguments of :py:func:`arp_hygiene.run <arp_hygiene.run>`, for that.

    Fails with the reason, one line, where a run would fail. No changes, ever.

    .. code-block:: yaml

        a test run succeeds:
          arp_hygiene.works:
            - command: null
            - words: {how: revalidate}
    """
    ret = {"name": name, "result": True, "changes": {}}
    if __opts__["test"]:
        return {**ret, "comment": "a test run would be made"}
    if command is None:
        done = __salt__["arp_hygiene.run"](**words, test=True)
        if not done["success"]:
            return {**ret, "result": False, "comment": f"test run failed: {done['said']}"}
    else:
        done = __salt__["cmd.run_all"](
            command, python_shell=False, ignore_retcode=True, output_loglevel="quiet", timeout=300
        )
        if done["retcode"]:
            output = (done["stdout"] or done["stderr"]).strip().splitlines()
            reason = output[-1] if output else f"exited with code {done['retcode']} and no output"
            return {**ret, "result": False, "comment": f"test run failed: {reason}"}
    return {**ret, "comment": "test run succeeded, nothing was changed"}
