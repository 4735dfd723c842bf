"""The page of an audit, opened in a real browser as wide as a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest
from arp_engine.fleet import compare, html_report, summary
from arp_engine.fleet import heal as fleet_heal

pytestmark = pytest.mark.long

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
PHONE = 390  # pixels wide
MEASURE = """<iframe id="page" width="{width}" height="800" srcdoc="{page}"></iframe>
<script>
document.getElementById("page").onload = (event) => {{
  const inner = event.target.contentDocument, root = inner.documentElement;
  const size = (node) => parseFloat(getComputedStyle(node).fontSize);
  document.title = JSON.stringify({{
    width: root.scrollWidth,
    shown: inner.body.innerText,
    smallest: Math.min(...[...inner.querySelectorAll("li, td, th, p")].map(size)),
    marks: [...inner.querySelectorAll("td.mark")].map((mark) => mark.className),
    scripts: inner.scripts.length,
    outside: inner.querySelectorAll("[src], link, [href]").length,
  }});
}};
</script>"""


def answer():
    """What a heal came to: thirty databases, long names, one that holds on to what is wrong."""
    rows = [
        {
            "minion": f"db{number}.a-rather-long-name.example", "ip": ip, "dev": "eth0",
            "mac": "02:00:00:00:00:0a", "state": "REACHABLE", "suspect": True, "owner": "",
            "unchanged_s": 5400.0, "mac_true": "02:00:00:00:00:0b", "machine": "worker-7.example",
            "truth": "cached", "truth_age_s": 7200,
        }
        for number in range(30)
        for ip in ("192.0.2.90", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:90")
    ]  # fmt: skip
    fleet = compare.Bindings({}, set())
    verdict = compare.Comparison(rows, [], [], dict.fromkeys(("entries", "strangers"), 60), {})
    silent = {"db31": "no answer: it is down, or not connected"}
    told = summary.answer(verdict, fleet, {}, silent, {}, 0)
    heal = fleet_heal.Heal(verdict, 10_000)
    for row in rows:
        ret = {"healed": [{**row, "old": row["mac"], "new": row["mac_true"]}], "entries": []}
        if row["minion"].startswith("db7."):
            ret = {"healed": [], "entries": []}
        heal.begin([row["minion"]], "eth0", [row["ip"]])
        heal.note_answer(row["minion"], "eth0", [row["ip"]], {"ret": ret})
    left = [row for row in rows if row["minion"].startswith("db7.")]
    heal.note_tables(left, {row["minion"] for row in rows})
    return {**told, **heal.answer(silent, 0), "jid": "20270115080000000000"}


@pytest.fixture
def seen(tmp_path):
    """What a browser makes of the page."""
    if not BROWSER:
        pytest.skip(f"no browser: {', '.join(BROWSERS)}")
    page = html.escape(html_report.page(answer(), 1.8e9))
    outer = tmp_path / "outer.html"
    outer.write_text(MEASURE.format(width=PHONE, page=page), encoding="utf-8")
    words = [
        "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
        "--virtual-time-budget=5000", "--dump-dom", f"file://{outer}",
    ]  # fmt: skip
    done = subprocess.run(
        [BROWSER, *words], capture_output=True, text=True, timeout=120, check=True
    )
    return json.loads(html.unescape(re.search("<title>(.*?)</title>", done.stdout, re.S)[1]))


def test_page_fits_a_phone(seen):
    assert seen["width"] <= PHONE
    assert seen["smallest"] >= 12


def test_page_shows_findings_ages_and_outcomes(seen):
    assert seen["marks"].count("mark healed") == 58
    assert seen["marks"].count("mark still") == 2
    for text in (
        "db7.a-rather-long-name.example",
        "2001:db8:aaaa:bbbb:cccc:dddd:eeee:90",
        "unchanged since 2027-01-15 06:30:00 UTC, 2 h",
        "from cached grains, 2 h old",
        "still wrong after asking",
        "db31 no answer",
    ):
        assert text in seen["shown"]


def test_page_loads_nothing(seen):
    assert (seen["scripts"], seen["outside"]) == (0, 0)
