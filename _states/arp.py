"""Keep the neighbour (ARP, NDP) table clean by state.

.. code-block:: yaml

    the neighbour table is clean:
      arp.clean:
        - dev: eth0
        - exclude: 192.0.2.1

:depends: pyroute2 >= 0.7.2
:platform: Linux
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

MAX_CHANGES = 1000  # in one return; a master's event bus is no place for 100,000
MAX_EXAMPLES = 3  # in a comment
NOT_SELECTED = ": no entry is selected"  # a typo in a selector must not read as clean


def __virtual__():
    """Load where the execution module arp loads; otherwise give its reason."""
    if "arp.flush" in __salt__:
        return "arp"
    why = __salt__.value().missing_fun_string("arp.flush")  # the module's own reason
    return False, f"arp.clean requires the execution module arp: {why}"


def clean(
    name,
    how="revalidate",
    ip=None,
    dev=None,
    nud=None,
    family=None,
    exclude=None,
    rate=None,
    mac=None,
):
    """Probe the selected entries and heal wrong ones (revalidate), or delete them (flush).

    Never touches what :py:func:`arp.flush <arp.flush>` never touches. In test mode touches no entry
    and sends no probe: with ``flush`` the result is None where entries would be deleted; with
    ``revalidate`` it is True without changes, as only a probe could tell, and the comment names the
    suspects.

    .. code-block:: yaml

        no wrong neighbour on the database network:
          arp.clean:
            - how: revalidate
            - ip: 192.0.2.0/24
            - rate: 100

    name (str)
        Any sentence.
    how (str, default revalidate)
        ``revalidate`` or ``flush``.
    ip, dev, family, exclude, mac
        As in :py:func:`arp.flush <arp.flush>`. Quote IPv6 and MAC addresses: YAML reads some of
        them as numbers.
    nud (str or list, default all)
        Neighbour state: the ``state`` of :py:func:`arp.flush <arp.flush>`, or ``all``. Required
        with ``how: flush``: Salt reserves the word ``state`` in an SLS and drops it, and a flush
        would then delete the entries of all states.
    rate (float, probes a second, default 500)
        With ``revalidate`` only.

    Returns changes as ``IP on DEVICE`` to ``old`` and ``new`` MAC, 1000 at most; ``new`` is None
    for an entry that is gone or deleted, ``old`` is empty for one without a MAC. The result is
    False where an entry is still wrong, or the kernel refused; the comment says which.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        if how not in ("revalidate", "flush"):
            raise SaltInvocationError(f"arp.clean: how: {how!r} is not one of revalidate, flush")
        words = {"ip": ip, "dev": dev, "family": family, "exclude": exclude, "mac": mac}
        words["state"] = None if nud == "all" else nud
        words["limit"] = MAX_CHANGES
        if how == "flush":
            if nud is None:
                raise SaltInvocationError(_NUD_REQUIRED)
            if rate is not None:
                raise SaltInvocationError("arp.clean: rate: allowed with `how: revalidate` only")
            words["rows"] = True
        elif rate is not None:
            words["rate"] = rate
        answer = __salt__[f"arp.{how}"](test=__opts__["test"], **words)
    except (CommandExecutionError, SaltInvocationError) as error:
        return {**ret, "result": False, "comment": str(error)}
    if answer.get("interrupted"):  # arp.revalidate caught SIGTERM: end all states, as Salt does
        raise SystemExit(0)
    report = _flushed if how == "flush" else _revalidated
    return report(ret, answer, __opts__["test"])


_NUD_REQUIRED = (
    "arp.clean: nud: required with `how: flush`: name the neighbour states, or `all`; `state` is a "
    "reserved SLS keyword and is ignored, so without `nud` the entries of all states would be "
    "deleted"
)


def mod_watch(name, sfun=None, **words):
    """Clean once more because a watched state has changed, or a listened-to one.

    Parameters as in :py:func:`arp.clean <salt.states.arp.clean>`; Salt sets ``sfun``.
    """
    return clean(name, **words)


def _flushed(ret, answer, test):
    """Report what a flush deleted, or would delete."""
    rows = [{**row, "old": row["mac"], "new": None} for row in answer["entries"]]
    ret["changes"] = _changes(rows, len(rows))
    if not rows and not answer.get("failed"):
        nothing = f"Already clean: nothing to delete{_kept(answer)}"
        if not answer["kept"]:
            nothing = f"Nothing to delete{NOT_SELECTED}"
        notes = "".join(f" {line}." for line in answer.get("warnings", []))
        return {**ret, "comment": f"{nothing}.{notes}"}
    verb = "would be deleted" if test else "deleted"
    ret["comment"] = f"{_entries(len(rows))} {verb}{_kept(answer)}: {_examples(rows, len(rows))}."
    return _ended(ret, answer, test)


_SUSPECT = "; {} suspect, which need not be wrong (REACHABLE for longer than ARP would keep it): {}"


def _revalidated(ret, answer, test):
    """Report what a revalidation found, or what one would probe."""
    notes = "".join(f" {line}." for line in answer["warnings"])
    if test:
        suspects, total = answer["suspects"], answer["totals"]["suspects"]
        would_not = _kept(answer) or ("" if answer["would_check"] else NOT_SELECTED)
        ret["comment"] = (
            f"{_entries(answer['would_check'])} would be checked{would_not}"
            f"{_SUSPECT.format(total, _examples(suspects, total)) if total else ''}.{notes}"
        )
        return ret
    rows = answer["healed"] + [{**row, "old": row["mac"], "new": None} for row in answer["gone"]]
    ret["changes"] = _changes(rows, answer["totals"]["healed"] + answer["totals"]["gone"])
    duplicates = answer.get("duplicates", [])
    if duplicates:
        examples = _examples(duplicates, answer["totals"]["duplicates"])
        notes += (
            " Duplicate address, two hosts answer, or one that answers for every address (proxy "
            f"ARP), a flush cannot fix it: {examples}."
        )
    if not answer["checked"] and not answer.get("failed"):
        return {**ret, "comment": f"Nothing checked{_kept(answer) or NOT_SELECTED}.{notes}"}
    ret["comment"] = (
        f"{_entries(answer['checked'])} checked: {answer['confirmed']} confirmed, "
        f"{answer['totals']['healed']} healed, {answer['totals']['gone']} gone, "
        f"{answer['undecided']} undecided{_kept(answer)}.{notes}"
    )
    ended = _ended(ret, answer, test)
    return {**ended, "result": False} if answer.get("still_wrong") else ended


def _ended(ret, answer, test):
    """Set the result, and name what the kernel refused."""
    failed = answer.get("failed", [])
    if failed:
        first = failed[0]
        ret["comment"] += (
            f" The kernel refused {answer['totals']['failed']}: {first['ip']} on {first['dev']}: "
            f"{first['error']}{_more(answer['totals']['failed'] - 1)}."
        )
    ret["result"] = False if failed else None if test else True
    return ret


def _changes(rows, total):
    """Return changes by address and device, at most MAX_CHANGES of them."""
    changes = {
        f"{row['ip']} on {row['dev']}": {"old": row["old"], "new": row["new"]}
        for row in rows[:MAX_CHANGES]
    }
    if total > len(changes):
        changes["..."] = f"and {total - len(changes)} more"
    return changes


def _entries(count):
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _kept(answer):
    """Return as text how many entries were kept, and why."""
    kept = answer["kept"]
    return f", {sum(kept.values())} kept ({', '.join(kept)})" if kept else ""


def _examples(rows, total):
    """Return a few rows as text, and how many more there are."""
    text = ", ".join(f"{row['ip']} on {row['dev']}" for row in rows[:MAX_EXAMPLES])
    return text + _more(total - min(len(rows), MAX_EXAMPLES))


def _more(count):
    return f" and {count} more" if count > 0 else ""
