"""Copies of notebooks as HTML that need no network: python tools/pages.py NOTEBOOK ...

Each is written beside its notebook. nbconvert's own pages fetch the program that typesets formulas from the internet
whenever they are opened, so that without it TeX is all one sees. Here formulas are drawn when the page is made, alike
for every browser and its fonts, and no page asks for anything.
"""

import functools
import html
import logging
import re
import sys
from pathlib import Path

import ahead  # this copy of the project first
import ziamath
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from ziamath.tex import tex2mml

from strokelib.run.runtime import write_whole

SIZE_PX = 16  # of letters; those around them have 14, and a font of formulas runs small
# Without what the page would fetch: MathJax, Mermaid, require.js. No notebook has a diagram or keeps a widget.
TEMPLATE = """\
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
"""
ziamath.config.svg2 = False  # letters as outlines of their own, without names that two formulas of a page would share
ziamath.config.precision = 2  # digits of a pixel


@functools.cache
def formula(tex: str, inline: bool) -> str:
    """Draw a formula as SVG, with its TeX as the title; one that cannot be drawn stays TeX.

    Parameters
    ----------
    tex : without dollars
    inline : in a line of text, not in one of its own
    """
    tex = " ".join(tex.split())
    try:
        # Big braces keep their backslash on the way to MathML.
        mathml = tex2mml(tex, inline).replace(r">\{<", ">{<").replace(r">\}<", ">}<")
        drawn = ziamath.Math(mathml, SIZE_PX, title=tex)
        picture = drawn.svg()
    except Exception:  # of many kinds; one formula must not take the page
        return f"<code>{html.escape(tex)}</code>"
    below = drawn.getyofst() - drawn.margin  # px from the line on which letters stand to the end of the picture
    picture = re.sub(r' xmlns(:xlink)?="[^"]*"', "", picture)  # which a page needs not, and headings do not take
    picture = picture.replace("<svg ", f'<svg role="img" style="max-width: none; vertical-align: {below:.2f}px" ', 1)
    if inline:
        return picture
    return f'<span style="display: block; overflow-x: auto; text-align: center">{picture}</span>'


class Renderer(IPythonRenderer):
    """Markdown as nbconvert renders it, but for formulas."""

    def inline_math(self, body: str) -> str:
        return formula(body, True)

    def block_math(self, body: str) -> str:
        return formula(body, False)

    def latex_environment(self, name: str, body: str) -> str:
        return formula(rf"\begin{{{name}}}{body}\end{{{name}}}", False)


def render(source: str) -> str:
    """Turn the text of a cell, or of an output, from Markdown into HTML."""
    return MarkdownWithMath(renderer=Renderer(escape=False)).render(source)


class Page(HTMLExporter):
    """A page as nbconvert makes it, with formulas in it and nothing to fetch."""

    def __init__(self):
        super().__init__(raw_template=TEMPLATE)

    def default_filters(self):
        yield from super().default_filters()
        yield "markdown2html", render


def convert(notebook) -> Path:
    """Write the HTML copy of a notebook beside it, whole or not at all.

    Raises
    ------
    OSError, ValueError : the notebook cannot be read, or the page not be written.
    """
    page, _ = Page().from_filename(str(notebook))
    return write_whole(Path(notebook).with_suffix(".html"), lambda path: path.write_text(page, encoding="utf-8"))


def main() -> int:
    ahead.explain(__doc__)
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python tools/pages.py NOTEBOOK ...")
    logging.getLogger("traitlets").setLevel(logging.ERROR)  # not a line for every figure
    failed = 0
    for notebook in sys.argv[1:]:
        try:
            convert(notebook)
        except (OSError, ValueError) as error:  # of reading, of JSON, of the notebook's format
            print(f"no HTML of {notebook}: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
