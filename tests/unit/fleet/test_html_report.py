"""The page, from the whole answer: what it shows, in which order, in which colours."""

import itertools
import re

import pytest
from arp_engine.fleet import html_report, html_style

NOW = 1.8e9


def wrong(minion, ip, **more):
    return {
        "minion": minion, "ip": ip, "dev": "eth0", "mac": "02:00:00:00:00:0a", "state": "STALE",
        "suspect": False, "owner": "", "unchanged_s": 60, "mac_true": "02:00:00:00:00:0b",
        "machine": "worker", "truth": "live", "truth_age_s": 0, **more,
    }  # fmt: skip


def twice(ip, **more):
    row = {"ip": ip, "machines": ["w1", "w2"], "macs": [], "count": 2, "held": 1, "truth": "live"}
    return {**row, **more}


acknowledged = {
    "minion": "db1", "ip": "10.0.1.9", "mac": "", "finding": "wrong", "why": "VIP", "until": "",
}  # fmt: skip


def answer(rows, **more):
    counts = {"databases": len({row["minion"] for row in rows}) + 2}
    return {"wrong": rows, "counts": counts, "retcode": 2, "summary": ["headline"], **more}


def section(page, title):
    """Return one section of the page, without markup."""
    text = re.split(f"<h2>{title}</h2>", page)[1].split("<h2>")[0]
    return re.sub(r"<[^>]+>", " ", text)


def test_5000_wrong_entries_on_100_databases_are_grouped_and_counted():
    rows = [wrong(f"db{n % 100}", f"10.{n // 100}.0.1") for n in range(5000)]
    page = html_report.page(answer(rows), NOW)
    assert "5,000 wrong" in page
    assert "100 of 102" in section(page, "By address")
    assert "and 10 more addresses, 60 more databases" in section(page, "Addresses and databases")
    assert "and 4,900 more" in section(page, "Wrong")
    assert len(page) < 400_000


def test_the_one_entry_that_is_still_wrong_is_always_in_the_matrix():
    rows = [wrong(f"db{n % 100}", f"10.{n // 100}.0.1") for n in range(5000)]
    healed = [{**row, "old": row["mac"], "new": row["mac_true"]} for row in rows[:-1]]
    still = [{**rows[-1], "why": "still wrong after asking"}]
    page = html_report.page(answer(rows, healed=healed, still_wrong=still), NOW)
    matrix = section(page, "Addresses and databases").split()
    assert matrix[1] == "db99", "the worst column first"
    assert "10.49.0.1" in matrix
    assert page.count('class="mark still"') == 1
    order = [page.index(f"<h2>{name}") for name in ("Still wrong", "By address", "Wrong<")]
    assert order == sorted(order), "the result before the history"


SECTIONS = ("By address", "Addresses and databases", "Wrong")


def databases_in(page, title):
    return set(re.findall(r"\b(?:db|pg)\d+\b", section(page, title)))


@pytest.mark.parametrize(("title", "count"), zip(SECTIONS, (40, 40, 100), strict=True))
def test_100_databases_with_50_wrong_addresses_each_have_their_share_of_each_section(title, count):
    """No two of them have an address in common."""
    rows = [wrong(f"db{n}", f"10.0.{n}.{m}") for n in range(100) for m in range(50)]
    page = html_report.page(answer(rows), NOW)
    assert len(databases_in(page, title)) == count
    assert len(re.findall(r"10[.]0[.]\d+[.]\d+", section(page, title))) == count


@pytest.mark.parametrize("title", SECTIONS)
def test_database_with_300_wrong_addresses_hides_none_of_nine_others(title):
    rows = [wrong("db1", f"10.0.{n >> 8}.{n & 255}") for n in range(300)]
    rows += [wrong(f"db{n}", f"10.9.0.{n}") for n in range(2, 11)]
    page = html_report.page(answer(rows), NOW)
    assert databases_in(page, title) == {f"db{n}" for n in range(1, 11)}
    assert {f"10.9.0.{n}" for n in range(2, 11)} <= set(section(page, title).split())


@pytest.mark.parametrize("title", SECTIONS)
def test_large_role_hides_no_small_one_and_no_address_of_all(title):
    rows = [wrong(f"db{n}", f"10.0.{n}.{m}") for n in range(100) for m in range(50)]
    rows += [wrong(f"db{n}", "10.8.0.1") for n in range(100)]
    rows += [wrong(f"pg{n}", f"10.9.0.{n}") for n in range(3)]
    page = html_report.page(answer(rows), NOW)
    assert {"pg0", "pg1", "pg2"} <= databases_in(page, title)
    if title == "By address":
        assert section(page, title).index("10.8.0.1") < section(page, title).index("10.0.")


def test_what_is_wrong_is_shown_before_what_was_healed():
    rows = [wrong("db1", f"10.0.{n >> 8}.{n & 255}") for n in range(300)]
    resisting = [wrong(f"db{n}", f"10.9.0.{n}") for n in range(2, 5)]
    healed = [{**row, "old": row["mac"], "new": row["mac_true"]} for row in rows]
    page = html_report.page(answer(rows + resisting, healed=healed), NOW)
    for title in SECTIONS:
        first = re.search(r"10[.]\d+[.]\d+[.]\d+", section(page, title))[0]
        assert first == "10.9.0.2", title


def test_address_on_two_devices_is_two_entries_and_the_worst_is_shown():
    rows = [wrong("db1", "10.0.1.9"), wrong("db1", "10.0.1.9", dev="eth1")]
    healed = [{**rows[1], "old": "02:00:00:00:00:0a", "new": "02:00:00:00:00:0b"}]
    page = html_report.page(answer(rows, healed=healed), NOW)
    assert "1 wrong, 1 healed." in page
    assert page.count('class="mark wrong"') == 1
    assert page.count('class="mark healed"') == 0
    assert section(page, "Wrong").count("healed") == 1


def test_names_are_in_natural_order():
    rows = [wrong(name, ip) for name in ("db10", "db2") for ip in ("10.0.1.90", "10.0.1.9")]
    shown = re.findall(
        r"db\d+|10[.]0[.]1[.]\d+", section(html_report.page(answer(rows), NOW), "Wrong")
    )
    assert shown == ["db2", "10.0.1.9", "db2", "10.0.1.90", "db10", "10.0.1.9", "db10", "10.0.1.90"]


def test_roles_are_compared_where_there_are_several():
    rows = [wrong(f"db{n}", "10.0.1.90") for n in range(3)]
    assert "By role" not in html_report.page(answer(rows), NOW)
    page = html_report.page(answer([*rows, wrong("pg1", "10.0.1.90")]), NOW)
    assert section(page, "By role").split() == [
        "role",
        "databases",
        "wrong",
        "db#",
        "3",
        "3",
        "pg#",
        "1",
        "1",
    ]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"retcode": 0}, "All entries are right."),
        (
            {"retcode": 4, "silent": [{"minion": "db1", "why": "down"}]},
            "Not every minion answered.",
        ),
        ({"retcode": 130}, "Interrupted."),
        ({"retcode": 8}, "Not all is proven: entries rest on cached grains alone."),
        ({"retcode": 2, "twice": [twice("10.0.1.9")]}, "1 cached address claimed twice."),
        (
            {"retcode": 4, "conflicts": [{"minion": "db1", "why": "two"}]},
            "Two different returns under one name.",
        ),
        (
            {"retcode": 4, "counts": {"entries": 3, "strangers": 2, "not_compared": 1}},
            "Nothing could be compared.",
        ),
        (
            {
                "retcode": 14,
                "wrong": [wrong("db1", "10.0.1.9")],
                "not_reached": [{"minion": "db2", "why": "down"}],
            },
            "1 wrong. Not every minion answered. "
            "Not all is proven: entries rest on cached grains alone.",
        ),
        ({"retcode": 1}, "The run ended with an error."),
        ({"retcode": 0, "acknowledged": [acknowledged]}, "All entries are right or acknowledged."),
        (
            {"retcode": 0, "counts": {"entries": 200, "strangers": 198, "not_compared": 1}},
            "All entries that were compared are right. 199 of 200 entries could not be compared.",
        ),
    ],
    ids=[
        "clean", "silent", "interrupted", "cached grains", "twice", "conflict", "nothing compared",
        "several", "error", "acknowledged", "strangers",
    ],
)  # fmt: skip
def test_verdict_is_the_first_line(given, line):
    page = html_report.page({"summary": ["x"], **given}, NOW)
    assert re.search(r'class="verdict [a-z]+">([^<]*)<', page)[1] == line


@pytest.mark.parametrize(
    ("outcome", "colour"),
    [({}, "unproven"), ({"right_meanwhile": True}, "good"), ({"retcode": 8}, "bad")],
    ids=["audit", "settled by a heal", "cached grains"],
)
def test_page_is_green_only_while_nothing_is_unproven(outcome, colour):
    row = {**wrong("db1", "10.0.1.9", truth=""), "why": "w has this MAC"}
    given = {"retcode": 0, "unproven": [row], **outcome}
    if "right_meanwhile" in given:
        given["right_meanwhile"] = [row]
    page = html_report.page(given, NOW)
    assert re.search(r'class="verdict ([a-z]+)">', page)[1] == colour


def test_next_command_can_be_copied():
    page = html_report.page(answer([wrong("db1", "10.0.1.9")], command="salt-run arp.heal"), NOW)
    assert "salt-run arp.heal</pre>" in page


def contrast(one, other):
    """Return the contrast of two colours as WCAG 2 has it."""

    def luminance(colour):
        colour = "".join(2 * digit for digit in colour) if len(colour) == 3 else colour
        parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        red, green, blue = (
            p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(scheme):
    blocks = re.findall(r":root \{(.*?)\}", html_style.STYLE, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): #(\w+)", blocks[scheme]))
    on_page = itertools.product(("fg", "dim", "bad", "good", "gone"), ("bg", "box"))
    marks = itertools.product(("mark",), ("bad", "good", "gone", "up"))
    for text, ground in [*on_page, *marks]:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
