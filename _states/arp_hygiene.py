"""What the formula needs and Salt has not: settings in force now, code kept safe, a job that works.

Salt's own ``sysctl.present`` needs procps, writes the file as well, and so tells another story in
test mode than when it acts. This one reads and writes /proc/sys, through ``arp_hygiene.sysctl``.
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
    The kernel has these values.

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


def sentinel_code(name):
    """
    The code that the sentinel's service runs is here, as it was synced last.

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


def works(name, command, words):
    """
    The scheduled run works here: tried once, in its own test mode, which changes nothing.

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
