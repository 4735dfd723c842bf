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

        the settings for neighbours are in force:
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
        comment = f"already so: {len(settings)} settings"
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

        the sentinel's code is here:
          arp_hygiene.sentinel_code
    """
    test = __opts__["test"]
    try:
        changes = __salt__["arp_hygiene.sentinel_code"](test=test)
    except CommandExecutionError as error:
        return {"name": name, "result": False, "changes": {}, "comment": str(error)}
    comment = f"{'would be' if test else 'is'} {changes['new']}" if changes else "already so"
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

        a run works here:
          arp_hygiene.works:
            - command: null
            - words: {how: revalidate}
    """
    ret = {"name": name, "result": True, "changes": {}}
    if __opts__["test"]:
        return {**ret, "comment": "would be tried once, in test mode"}
    if command is None:
        done = __salt__["arp_hygiene.run"](**words, test=True)
        if not done["success"]:
            return {**ret, "result": False, "comment": f"a run fails here: {done['said']}"}
    else:
        done = __salt__["cmd.run_all"](
            command, python_shell=False, ignore_retcode=True, output_loglevel="quiet", timeout=300
        )
        if done["retcode"]:
            why = (done["stdout"] or done["stderr"]).strip().splitlines() or ["no word why"]
            return {**ret, "result": False, "comment": f"a run fails here: {why[-1]}"}
    return {**ret, "comment": "tried once, in test mode: it works"}
