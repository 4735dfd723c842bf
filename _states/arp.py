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

LIMIT = 1000  # rows of changes in one return; a master's event bus is no place for 100,000
EXAMPLES = 3


def __virtual__():
    """Load where the execution module does; name the reason where it does not."""
    if "arp.flush" in __salt__:
        return "arp"
    why = __salt__.value().missing_fun_string("arp.flush")  # what the module itself says
    return False, f"arp.clean needs the execution module arp: {why}"


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
    """Make every entry that the selectors name proven (revalidate) or gone (flush).

    Never touches what :py:func:`arp.flush <arp.flush>` never touches. In test mode it touches
    nothing and asks nobody. As asking is the only way to know, the result is then None only where
    a flush would delete something: a suspect entry is a question and no change, the comment names
    it.

    .. code-block:: yaml

        no wrong neighbour on the database network:
          arp.clean:
            - how: revalidate
            - ip: 192.0.2.0/24
            - rate: 100

    name
        Any sentence.
    how
        ``revalidate`` or ``flush``. Default: ``revalidate``.
    ip, dev, family, exclude, mac
        As in :py:func:`arp.flush <arp.flush>`. Quote addresses: YAML makes numbers of some.
        Default: all.
    nud
        Neighbour state, or a list, or ``all``: what ``state`` is to
        :py:func:`arp.flush <arp.flush>`. Salt keeps the word ``state`` of every declaration to
        itself, and what stands there is never seen: so with ``how: flush``, where that would
        delete more than was meant, this word must be there. Default: all.
    rate
        With ``revalidate``: questions a second. Default: 500.

    Changes map ``IP on DEVICE`` to ``old`` and ``new`` MAC; ``new`` is None for what is gone or
    was deleted. An empty ``old`` stands for an entry without a MAC.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": ""}
    try:
        if how not in ("revalidate", "flush"):
            raise SaltInvocationError(f"arp.clean: how: {how!r} is not one of revalidate, flush")
        words = {"ip": ip, "dev": dev, "state": nud, "family": family, "exclude": exclude}
        words["mac"] = mac
        if nud == "all":
            words["state"] = None
        if how == "flush":
            if nud is None:
                raise SaltInvocationError(_NO_NUD)
            if rate is not None:
                raise SaltInvocationError("arp.clean: rate: only revalidate is paced")
            words["rows"] = True
        elif rate is not None:
            words["rate"] = rate
        words["limit"] = LIMIT
        answer = __salt__[f"arp.{how}"](test=__opts__["test"], **words)
    except (CommandExecutionError, SaltInvocationError) as error:
        return {**ret, "result": False, "comment": str(error)}
    report = _flushed if how == "flush" else _revalidated
    return report(ret, answer, __opts__["test"])


_NO_NUD = (
    "arp.clean: nud: with `how: flush` name the neighbour states, or `nud: all`; the word `state` "
    "is eaten by Salt, and everything would be deleted"
)


def mod_watch(
    name,
    how="revalidate",
    ip=None,
    dev=None,
    nud=None,
    family=None,
    exclude=None,
    rate=None,
    mac=None,
    sfun=None,
):
    """Clean once more because something that is watched has changed, or is listened to.

    Parameters as in :py:func:`arp.clean <salt.states.arp.clean>`; ``sfun`` is Salt's.
    """
    return clean(name, how, ip, dev, nud, family, exclude, rate, mac)


def _flushed(ret, answer, test):
    """Report a flush, or the plan of one: the same rows, another tense."""
    rows = [{**row, "old": row["mac"], "new": None} for row in answer["entries"]]
    ret["changes"] = _changes(rows, len(rows))
    if not rows and not answer.get("failed"):
        return {**ret, "comment": f"Already clean: nothing to delete{_kept(answer)}."}
    verb = "would be deleted" if test else "deleted"
    ret["comment"] = f"{_entries(len(rows))} {verb}{_kept(answer)}: {_examples(rows, len(rows))}."
    return _ended(ret, answer, test)


def _revalidated(ret, answer, test):
    """Report a revalidation, or what one would ask about."""
    notes = "".join(f" {line}." for line in answer["warnings"])
    if test:
        suspects, total = answer["suspects"], answer["totals"]["suspects"]
        ret["comment"] = (
            f"{_entries(answer['would_check'])} would be checked, {total} of them suspect"
            f"{_kept(answer)}"
            f"{': ' + _examples(suspects, total) if total else ''}.{notes}"
        )
        return ret
    rows = answer["healed"] + [{**row, "old": row["mac"], "new": None} for row in answer["gone"]]
    ret["changes"] = _changes(rows, answer["totals"]["healed"] + answer["totals"]["gone"])
    twice = answer.get("duplicates", [])
    if twice:
        examples = _examples(twice, answer["totals"]["duplicates"])
        notes += f" Claimed twice, which no table can heal: {examples}."
    if not answer["checked"] and not answer.get("failed"):
        return {**ret, "comment": f"Already clean: nothing to check{_kept(answer)}."}
    ret["comment"] = (
        f"{_entries(answer['checked'])} checked: {answer['confirmed']} confirmed, "
        f"{answer['totals']['healed']} healed, {answer['totals']['gone']} gone, "
        f"{answer['undecided']} undecided{_kept(answer)}.{notes}"
    )
    return _ended(ret, answer, test)


def _ended(ret, answer, test):
    """Set the result; a partial failure tells both halves."""
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
    """Return changes by address and device, at most LIMIT of them."""
    changes = {
        f"{row['ip']} on {row['dev']}": {"old": row["old"], "new": row["new"]}
        for row in rows[:LIMIT]
    }
    if total > len(changes):
        changes["..."] = f"and {total - len(changes)} more"
    return changes


def _entries(count):
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _kept(answer):
    """Return what was left alone, and why."""
    kept = answer["kept"]
    return f", {sum(kept.values())} kept ({', '.join(kept)})" if kept else ""


def _examples(rows, total):
    """Return a few rows as text, and how many more there are."""
    text = ", ".join(f"{row['ip']} on {row['dev']}" for row in rows[:EXAMPLES])
    return text + _more(total - min(len(rows), EXAMPLES))


def _more(count):
    return f" and {count} more" if count > 0 else ""
