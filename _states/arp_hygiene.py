"""The kernel's settings for neighbours, in force now.

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
