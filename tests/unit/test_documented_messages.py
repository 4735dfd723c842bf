"""Each line that docs/operating.md explains is in the code, as it stands there."""

import re


def test_each_explained_line_is_in_the_code(repo):
    page = (repo / "docs" / "operating.md").read_text(encoding="utf-8")
    table = page.split("| line | meaning |")[1].split("\n\n")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    fragments = {
        fragment.strip(" `")
        for cell in cells
        for quoted in cell.removeprefix("| ").split("`, `")
        for fragment in quoted.split("…")
    }
    paths = [
        path for room in ("_utils", "_modules", "_states") for path in repo.glob(f"{room}/**/*.py")
    ]
    code = "".join(path.read_text(encoding="utf-8") for path in paths)
    code = re.sub(r'"\s*(\+ |\+= )?\(?\s*f?"', "", code)  # one text in several literals
    missing = {text for text in fragments if len(text) > 10 and text not in code}
    assert len(fragments) > 20
    assert not missing
