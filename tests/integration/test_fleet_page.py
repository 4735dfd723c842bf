"""The page of a heal, opened in a real browser as wide as a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest
from arp_engine.fleet import html_report

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
    unreachable: [...inner.querySelectorAll(".scroll, pre")]
      .filter((box) => box.tabIndex < 0).length,
    marks: [...inner.querySelectorAll("td.mark")].map((mark) => mark.className),
    scripts: inner.scripts.length,
    outside: inner.querySelectorAll("[src], link, [href]").length,
  }});
}};
</script>"""


def answer(count):
    """Return a heal of so many wrong entries on databases with long names; the last resists."""
    rows = [
        {
            "minion": f"db{n % 100}.a-rather-long-name.example", "ip": f"2001:db8:aaaa:bbbb::{n:x}",
            "dev": "eth0", "mac": "02:00:00:00:00:0a", "state": "REACHABLE", "suspect": True,
            "owner": "", "unchanged_s": 5400.0, "mac_true": "02:00:00:00:00:0b",
            "machine": "worker-7.example", "truth": "live", "truth_age_s": 0,
        }
        for n in range(count)
    ]  # fmt: skip
    healed = [{**row, "old": row["mac"], "new": row["mac_true"]} for row in rows[:-1]]
    still = [{**row, "why": "still wrong after asking"} for row in rows[-1:]]
    silent = [{"minion": "db31", "why": "no answer: it is down, or not connected"}] if rows else []
    return {
        "wrong": rows, "healed": healed, "still_wrong": still, "silent": silent,
        "counts": {"databases": 100}, "summary": [f"{count} wrong."], "jid": "20270115080000000000",
        "retcode": 6 if rows else 0, "command": "salt-run arp.audit",
    }  # fmt: skip


def seen(tmp_path, count):
    """Return what a browser makes of the page."""
    if not BROWSER:
        pytest.skip(f"no browser: {', '.join(BROWSERS)}")
    page = html.escape(html_report.page(answer(count), 1.8e9))
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


@pytest.mark.parametrize("count", [0, 3, 300, 5000])
def test_page_fits_a_phone_and_shows_the_worst(tmp_path, count):
    page = seen(tmp_path, count)
    assert page["width"] <= PHONE
    assert page["smallest"] >= 12
    assert (page["scripts"], page["outside"]) == (0, 0)
    assert page["unreachable"] == 0, "whatever scrolls is reached by keyboard"
    assert page["marks"].count("mark still") == (1 if count else 0)
    texts = ["All entries are right."]
    if count:
        texts = [
            f"1 still wrong, {count - 1:,} healed. Not every minion answered.",
            "unchanged since 2027-01-15 06:30:00 UTC, 2 h",
            "still wrong after asking",
            "db31 no answer",
            "salt-run arp.audit",
        ]
    if count == 5000:
        texts.append("and 4,900 more")
    for text in texts:
        assert text in page["shown"]
