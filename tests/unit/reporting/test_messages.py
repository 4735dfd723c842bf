"""What is worth telling, and how it is said in one line."""

import pytest
from arp_engine.reporting import messages

OLD, NEW = "02:00:00:00:00:0a", "02:00:00:00:00:0b"


def healed(last):
    return {"ip": f"192.0.2.{last}", "dev": "eth0", "old": OLD, "new": NEW}


def gone(last):
    return {"ip": f"192.0.2.{last}", "dev": "eth0", "mac": OLD}


def line(answer, warnings=()):
    return messages.summary(messages.by_kind(answer), list(warnings))


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {
            "checked": 97,
            "confirmed": 97,
            "undecided": 0,
            "healed": [],
            "gone": [],
            "kept": {"x": 2},
        },
        {"flushed": 0, "kept": {}},
    ],
    ids=["empty", "revalidate", "flush"],
)
def test_answer_without_result_has_an_empty_summary(answer):
    assert messages.by_kind(answer) == {}
    assert line(answer) == ""


def test_heal_names_both_macs():
    answer = {"checked": 9, "healed": [healed(90)], "gone": []}
    assert line(answer) == f"1 healed: 192.0.2.90 on eth0: {OLD} -> {NEW}"


def test_most_urgent_kind_comes_first():
    answer = {
        "gone": [gone(7)],
        "undecided": 2,
        "healed": [healed(8)],
        "duplicates": [{"ip": "192.0.2.9", "dev": "eth0", "macs": [OLD, NEW]}],
        "failed": [{"ip": "192.0.2.6", "dev": "eth0", "error": "EPERM"}],
    }
    assert line(answer).split("; ") == [
        "1 refused, 1 duplicate, 1 healed, 2 undecided, 1 gone: refused 192.0.2.6 on eth0: EPERM",
        f"duplicate 192.0.2.9 on eth0: {OLD} and {NEW} answer",
        f"healed 192.0.2.8 on eth0: {OLD} -> {NEW}",
        "gone 192.0.2.7 on eth0: no host answers, entry FAILED",
    ]
    assert list(messages.by_kind(answer)) == ["refused", "duplicate", "healed", "undecided", "gone"]


def test_entry_that_stays_wrong_is_told_as_that_and_not_as_undecided():
    row = {"ip": "192.0.2.9", "dev": "eth0", "mac": OLD, "macs": [NEW]}
    told = f"192.0.2.9 on eth0: {NEW} answers, but the kernel keeps {OLD}"
    assert line({"undecided": 1, "still_wrong": [row]}) == f"1 disagreement: {told}"
    both = line({"undecided": 3, "still_wrong": [row]})
    assert both == f"1 disagreement, 2 undecided: disagreement {told}"
    written = line({"undecided": 1, "still_wrong": [{**row, "written_back": True}]})
    assert written.endswith(f"{NEW} answers, but somebody else has written {OLD} again")


def test_undecided_entry_is_named_where_it_is_known():
    row = {"ip": "192.0.2.9", "dev": "eth0", "mac": OLD, "macs": [NEW]}
    third = {**row, "holds": "02:00:00:00:00:0c"}
    told = f"192.0.2.9 on eth0: {NEW} answered, and then somebody else has written {third['holds']}"
    assert line({"undecided": 1, "unverified": [third]}) == f"1 undecided: {told}"
    assert line({"undecided": 3, "unverified": [third]}) == f"3 undecided: {told}; and 2 more"
    unasked = {**row, "holds": NEW, "unasked": f"the host with {OLD} could not be asked again (x)"}
    told = f"{NEW} answered, but {unasked['unasked']}"
    assert line({"undecided": 1, "unverified": [unasked]}).endswith(told)
    unread = line({"undecided": 1, "unverified": [{**row, "holds": ""}]})
    assert unread.endswith(f"{NEW} answered, and then the entry could not be read again")
    unheard = line({"undecided": 1, "unverified": [{**third, "macs": []}]})
    assert unheard.endswith("192.0.2.9 on eth0: somebody else has written 02:00:00:00:00:0c")


def test_proxy_that_answers_alone_is_not_told_as_two_hosts():
    answer = {"duplicates": [{"ip": "192.0.2.9", "dev": "eth0", "macs": [NEW], "proxy": NEW}]}
    assert line(answer).endswith(
        f"192.0.2.9 on eth0: only {NEW} answers, and it does for every address (proxy ARP)"
    )


def test_many_rows_are_counted_and_a_few_named():
    answer = {"healed": [healed(n) for n in range(200)], "gone": [gone(n) for n in range(50)]}
    said = line(answer, ["ipv4 table full"])
    assert len(said.encode()) <= messages.LINE_BYTES
    assert said.startswith("200 healed, 50 gone: healed 192.0.2.0 on eth0")
    named = said.count("->") + said.count("no host answers")
    assert said.endswith(f"; and {250 - named} more; ipv4 table full")
    assert len(messages.by_kind(answer)["healed"]["rows"]) == messages.MAX_ROWS


def test_limited_answer_still_counts_all():
    answer = {"healed": [healed(1)], "totals": {"healed": 5000}}
    assert messages.by_kind(answer)["healed"]["count"] == 5000
    assert line(answer).startswith("5000 healed: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\t c\0", "a b c"),
        ('say "x\\y"', "say 'x/y'"),
        ("ü" * 400, "ü" * 248 + " ..."),
        ("x" * 500, "x" * 500),
    ],
    ids=["lines", "quotes", "long", "fits"],
)
def test_one_line_removes_line_breaks_and_quotes(text, said):
    assert messages.one_line(text) == said
    assert len(said.encode()) <= messages.LINE_BYTES
