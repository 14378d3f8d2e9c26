import json
import re
import subprocess
import sys

import nbformat
import pages
import pytest
from bs4 import BeautifulSoup
from project import surroundings

from strokelib.run.runtime import ROOT

TEXT = r"""
# Flow of $\mathrm{CBF}$

In a line $S_{min}$, and `echo $HOME $PATH`, which is none; 5 \$ either.

$$HD = \max\Big\{ \max_a \min_b |a - b| \Big\}, \qquad z = \begin{cases} x & x < 1 \\ 0 & \text{otherwise} \end{cases}$$

\begin{equation} a = b \end{equation}

What is no formula: $\frac{1$.

| $\alpha$ | b |
|---|---|
| 1 | $x > 0$ |
"""


def notebook(text=TEXT, **output):
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("1 + 1")]
    if output:
        data = {name.replace("_", "/"): value for name, value in output.items()}
        cells[1].outputs = [nbformat.v4.new_output("display_data", data=data)]
    return nbformat.v4.new_notebook(cells=cells)


def page(tmp_path, **output) -> BeautifulSoup:
    nbformat.write(notebook(**output), tmp_path / "some.ipynb")
    written = pages.convert(tmp_path / "some.ipynb")
    assert written == tmp_path / "some.html"
    return BeautifulSoup(written.read_text(encoding="utf-8"), "html.parser")


def fetched(found: BeautifulSoup) -> list[str]:
    """List what a browser would ask for when it opens a page."""
    asked = [tag.get("src") or tag.name for tag in found.find_all(["script", "iframe", "object", "embed"])]
    asked += [tag.get("href") for tag in found.find_all("link")]
    asked += [tag["src"] for tag in found.find_all(src=True) if not tag["src"].startswith("data:")]
    # href of an SVG's own parts; of a link, nothing is fetched.
    asked += [tag["xlink:href"] for tag in found.find_all(attrs={"xlink:href": True})]
    for style in found.find_all("style"):
        text = re.sub(r"/\*.*?\*/", "", style.get_text(), flags=re.DOTALL)
        asked += re.findall(r"@import[^;]*", text) + re.findall(r"url\(\s*['\"]?((?!data:|#)[^)]*)", text)
    return asked


def titles(found) -> list[str]:
    return [svg.title.get_text() for svg in found.find_all("svg") if svg.title]


def test_formulas_are_in_the_page_and_code_with_a_dollar_is_left_alone(tmp_path):
    found = page(tmp_path)
    assert found.title.get_text() == "some"
    drawn = titles(found)
    assert drawn[:2] == [r"\mathrm{CBF}", "S_{min}"] and drawn[-2:] == [r"\alpha", "x > 0"] and len(drawn) == 6
    for svg in found.find_all("svg", role="img"):
        assert svg.find_all("path") and "vertical-align" in svg["style"]
    code = [tag.get_text() for tag in found.find_all("code")]
    assert code == ["echo $HOME $PATH", r"\frac{1"]  # the second cannot be drawn, and nothing is lost
    assert "5 $ either" in found.get_text() and "$$" not in found.get_text()


def test_a_formula_of_its_own_stands_in_the_middle_and_one_in_a_line_on_it():
    inline, block = pages.formula("x_i", True), pages.formula("x_i", False)
    assert inline.startswith("<svg ") and block.startswith('<span style="display: block')
    below = [float(re.search(r"vertical-align: (-?[\d.]+)px", pages.formula(tex, True))[1]) for tex in ("x", "x_i")]
    assert below[1] < below[0] <= 0  # an index hangs below the line
    assert re.search(r'viewBox="[^"]+"', inline)


@pytest.mark.parametrize("tex", [r"\Big\{ a \Big\}", r"\big\{ a \big\}"])
def test_big_braces_have_no_backslash(tex):
    assert pages.formula(tex, True).count("<path") == pages.formula(
        tex.replace(r"\{", "(").replace(r"\}", ")"), True
    ).count("<path")


def test_formulas_in_what_a_cell_printed_as_text_are_drawn_too(tmp_path):
    assert titles(page(tmp_path, text_markdown="so $R^2$ is 0.5"))[-1] == "R^2"


def test_a_page_asks_for_nothing(tmp_path):
    assert fetched(page(tmp_path, text_html="<b>4</b>")) == []
    # What this looks for is seen where it is: in the page that nbconvert makes of the same notebook.
    usual, _ = pages.HTMLExporter().from_filename(str(tmp_path / "some.ipynb"))
    assert any("mathjax" in (name or "") for name in fetched(BeautifulSoup(usual, "html.parser")))


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_formula_of_the_notebooks_is_drawn(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    texts += [
        "".join(o["data"]["text/markdown"])
        for c in cells
        for o in c.get("outputs", [])
        if "text/markdown" in o.get("data", {})
    ]
    for text in texts:
        found = BeautifulSoup(pages.render(text), "html.parser")
        assert not [code for code in found.find_all("code") if "\\" in code.get_text()]
        for kept in found.find_all(["code", "title", "pre"]):
            kept.decompose()
        assert "$" not in found.get_text() and "\\" not in found.get_text()


def test_no_notebook_has_what_pages_leave_out():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert "widget-view" not in text and "```mermaid" not in text and "text/latex" not in text, path.name


def test_a_notebook_that_cannot_be_read_is_told_and_the_others_are_converted(tmp_path):
    nbformat.write(notebook(), tmp_path / "good.ipynb")
    (tmp_path / "half.ipynb").write_text('{"cells": [')
    command = [sys.executable, ROOT / "tools" / "pages.py", "half.ipynb", "none.ipynb", "good.ipynb"]
    told = subprocess.run(command, cwd=tmp_path, env=surroundings(ROOT), capture_output=True, text=True)
    assert told.returncode == 1 and "Traceback" not in told.stderr
    assert [line.split(":")[0] for line in told.stderr.splitlines() if line.startswith("no HTML")] == [
        "no HTML of half.ipynb", "no HTML of none.ipynb",
    ]  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"half.ipynb", "good.ipynb", "good.html"}


def test_no_command_makes_pages_in_another_way():
    for path in [ROOT / "Snakefile", ROOT / "Makefile", *sorted((ROOT / "tools").glob("*.py"))]:
        assert not re.search(r"--to['\", ]+html", path.read_text(encoding="utf-8")), path.name
    assert "tools/pages.py" in (ROOT / "Snakefile").read_text(encoding="utf-8")
