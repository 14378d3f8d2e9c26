"""The one page about a segmented scan: maps, core, penumbra, mirror difference, certainty, curves and numbers.

Every number on it has its unit and its definition beside it; the disclaimer stands at the foot. Lengths are in inches,
on a sheet of A4.
"""

import textwrap
from dataclasses import dataclass
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from strokelib.evaluation.tables import counted
from strokelib.figures import mosaic
from strokelib.figures.mosaic import DIVERGING, Row
from strokelib.figures.style import STYLE, minus
from strokelib.modalities import MODALITIES
from strokelib.own.quantities import LATE, Quantity
from strokelib.own.registry import without_folders
from strokelib.own.scan import DISCLAIMER, Curves
from strokelib.run.runtime import write_whole
from strokelib.vocabulary import BLUE, RED, SKY

WIDTH, HEIGHT = 8.27, 11.69  # of A4
MARGIN, ASIDE = 0.45, 6.15  # where the sheet and its column at the right begin
TOP, BOTTOM = 10.34, 3.3  # of the images
NAMES, BARS, GAP = 0.3, 0.62, 0.2  # room at the left of a row of slices, at its right, between two blocks
LINE, SMALL = 0.138, 7  # height of a line of the table; size of its letters
BAR = "color bar"  # by which these axes are known
BAR_MM = 50  # length of the scale bar
DIFFERENCE = 30  # mL/100 g/min, where the colors of the mirror difference end
ASIDE_LETTERS, ASIDE_LINES, CURVES_LINES = 31, 56, 18  # of the column at the right; as high as the curves
EDGE = withStroke(linewidth=1.5, foreground="black")  # of letters on an image
UNIT_LETTERS = 10  # of a unit beside a color bar
FONTS = (  # for scripts that ours lacks, of Linux, Windows and macOS
    "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
    "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS", "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Page:
    """What stands on the page. Volumes are (x, y, slice) on the networks' grid."""

    name: str  # of the scan
    images: dict[str, np.ndarray]  # by name in file units, as Case.named
    brain: np.ndarray  # bool
    core: np.ndarray  # bool
    probability: np.ndarray
    spacing: np.ndarray  # (3,) in mm
    quantities: tuple[Quantity, ...]
    network: str  # a line: which networks, threshold, mode
    difference: np.ndarray | None = None  # of CBF, mL/100 g/min, as quantities.mirror_difference
    uncertainty: np.ndarray | None = None
    uncertainty_label: str = "SD of passes"
    coverage: str = ""  # a sentence: which coverage of the interval was measured
    remarks: tuple[str, ...] = ()
    curves: Curves | None = None  # of a raw series
    sides: tuple[str, str] = ("", "")  # as quantities.sides
    label: str = DISCLAIMER  # at the foot


def page(shown: Page):
    """Draw the page.

    Parameters
    ----------
    shown : Page

    Returns
    -------
    Figure of A4, upright. The caller saves it (`save_report`) and closes it.

    Raises
    ------
    ValueError : volumes of different shapes, or a brain without a voxel.
    """
    _check(shown)
    with plt.rc_context(STYLE):
        fig = plt.figure(figsize=(WIDTH, HEIGHT))
        chosen = mosaic.choose_slices(shown.core, shown.brain)
        _heading(fig, shown, chosen)
        _slices(fig, shown, chosen)
        _aside(fig, shown)
        _table(fig, shown.quantities)
        _foot(fig, shown.label)
    return fig


def save_report(fig, png=None, pdf=None) -> None:
    """Save a page as PNG, as PDF or as both, the same bytes for the same page, and close it.

    Raises
    ------
    OSError : the disk is full or may not be written to; nothing half-written stays.
    """
    try:
        if png is not None:
            write_whole(png, lambda temporary: fig.savefig(temporary, dpi=150, format="png"))
        if pdf is not None:
            write_whole(pdf, lambda temporary: _write_pdf(temporary, fig))
    finally:
        plt.close(fig)


def _write_pdf(path, fig) -> None:
    # Without a date, so that what did not change has the same bytes.
    facts = {"CreationDate": None, "Title": "strokelib: one page per scan", "Keywords": DISCLAIMER}
    with PdfPages(path, metadata=facts) as pages:
        pages.savefig(fig, dpi=200)


def _check(shown: Page) -> None:
    """Refuse volumes that do not fit."""
    volumes = shown.images | {"core": shown.core, "probability": shown.probability}
    volumes |= {"difference": shown.difference, "uncertainty": shown.uncertainty}
    shape = np.shape(shown.brain)
    odd = [f"{name} {np.shape(volume)}" for name, volume in volumes.items() if volume is not None]
    odd = [text for text in odd if not text.endswith(f" {shape}")]
    if odd or len(shape) != 3 or not np.any(shown.brain):
        what = ", ".join(odd) or "no voxel of the brain"
        raise ValueError(f"{shown.name}: expected volumes (x, y, slice) of the brain's shape {shape}, got {what}")


def _write(fig, x: float, y: float, text: str, size: float = SMALL, **look):
    """Write text at a place in inches."""
    if not text.isascii():
        fonts = _fonts()
        look["fontfamily"], shown = [*fonts], set().union(*fonts.values())
        text = "".join(c if c in "\n" or ord(c) in shown else f"\\u{ord(c):04x}" for c in text)
    # A name or a remark may hold a dollar sign, which is no formula.
    return fig.text(x / WIDTH, y / HEIGHT, text, fontsize=size, parse_math=False, **look)


@cache
def _fonts() -> dict[str, frozenset[int]]:
    """Return the letters by font: our own, and those for other scripts that this machine has.

    A name without letters in any of them is written by their numbers, which tell it from another as boxes would not.
    """
    there = {*font_manager.get_font_names()}
    names = [STYLE["font.family"], *(name for name in FONTS if name in there)]
    return {name: frozenset(font_manager.get_font(font_manager.findfont(name)).get_charmap()) for name in names}


def _place(fig, left: float, bottom: float, width: float, height: float):
    """Make axes at a place in inches."""
    return fig.add_axes((left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT))


def _cut(text: str, most: int) -> str:
    """Keep so many letters of a text at most."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _told(quantity: Quantity) -> str:
    """Write a value with its unit."""
    known = quantity.value is not None and quantity.unit != "ratio"
    return f"{quantity.text} {quantity.unit}" if known else quantity.text


def _heading(fig, shown: Page, chosen) -> None:
    by_name = {quantity.name: quantity for quantity in shown.quantities}

    def told(name):
        return _told(by_name[name])

    _write(fig, MARGIN, 11.3, _cut(shown.name, 60), 12, weight="bold")
    core = f"core {told('core_ml')}"
    if by_name["core_low_ml"].value is not None:
        end = f"to {told('core_high_ml')}" if by_name["core_high_ml"].value is not None else "and more"
        core += f" (90 % interval {told('core_low_ml')} {end})"
    parts = [core, f"Tmax > 6 s {told('tmax_6_ml')}", f"mismatch {told('mismatch_ml')}"]
    parts.append(f"ratio {told('mismatch_ratio')}")
    _write(fig, MARGIN, 11.08, " · ".join(parts), 9)
    _write(fig, MARGIN, 10.9, _cut(shown.network, 135), color="0.25")
    count, (across, _, through) = np.shape(shown.brain)[2], shown.spacing
    slices = counted(count, "slice", "slices")
    text = f"{slices} {through:.3g} mm apart, voxels {across:.3g} mm wide, {len(chosen)} shown"
    sides = "left and right by the header" if any(shown.sides) else "the header does not tell left from right"
    line = "line: core" if np.any(shown.core) else "no core was found"
    _write(fig, MARGIN, 10.74, f"{text}, places from the first slice; {line}; {sides}", color="0.25")


def _rows(shown: Page) -> list[Row]:
    """List the rows of slices."""
    rows = []
    for name, image in shown.images.items():
        kind = MODALITIES[name]
        rows.append(Row(name, kind.unit, image / kind.divisor, kind.window, kind.colors))
    rows.append(Row("core,\npenumbra", "", None))
    if shown.difference is not None:
        limits = (-DIFFERENCE, DIFFERENCE)
        rows.append(Row("CBF less\nmirror", MODALITIES["CBF"].unit, shown.difference, limits, DIVERGING))
    rows.append(Row("probability", "of core", shown.probability, over=True))
    if shown.uncertainty is not None:
        top = max(float(np.nanmax(shown.uncertainty)), 0.01)
        rows.append(Row("uncertainty", shown.uncertainty_label, shown.uncertainty, (0, top), over=True))
    return rows


def _slices(fig, shown: Page, chosen) -> None:
    """Draw the rows of slices, in two blocks side by side where slices are few."""
    rows, box = _rows(shown), mosaic.box(shown.brain, shown.spacing)
    wide, high = (side.stop - side.start for side in box)
    room, best = ASIDE - 0.12 - MARGIN, (0, 0, 0)
    for blocks in (1, 2):
        deep = -(-len(rows) // blocks)
        width = (room - (blocks - 1) * GAP) / blocks - NAMES - BARS
        height = min((TOP - BOTTOM) / deep, width / len(chosen) * high / wide)
        best = max(best, (height, blocks, deep))
    height, blocks, deep = best
    width = height * wide / high * len(chosen)
    ct = mosaic.lay(shown.images["CT"], chosen, box) if "CT" in shown.images else None
    core = mosaic.lay(shown.core, chosen, box)
    late = shown.brain & (shown.images["Tmax"] > LATE) if "Tmax" in shown.images else np.zeros_like(shown.brain)
    late = mosaic.lay(late, chosen, box)
    outline = mosaic.outline(core)
    for place, row in enumerate(rows):
        left = MARGIN + NAMES + place // deep * (NAMES + width + BARS + GAP)
        bottom = TOP - height * (place % deep + 1)
        ax = _place(fig, left, bottom, width, height * 0.97)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        _write(fig, left - 0.06, bottom + height / 2, row.name, rotation=90, ha="right", va="center")
        if row.volume is None:
            mosaic.paint(ax, ct, core, late)
            _legend(fig, left + width + 0.05, bottom + height / 2)
        else:
            drawn = mosaic.draw(ax, row, mosaic.lay(row.volume, chosen, box), ct, outline)
            _bar(fig, drawn, row, (left + width + 0.05, bottom, height))
        if place % deep == 0:
            _number_slices(ax, shown, chosen)
    _mark(fig, shown, (MARGIN + NAMES, TOP - height * deep, width / len(chosen)), wide)


def _bar(fig, drawn, row: Row, place) -> None:
    """Draw a row's color bar with its unit, at (left, bottom) and as high as the row."""
    left, bottom, height = place
    bar = _place(fig, left, bottom + height * 0.1, 0.08, height * 0.77)
    fig.colorbar(drawn, cax=bar, ticks=row.window)
    bar.set_yticklabels([minus(f"{end:.2g}") for end in row.window], fontsize=SMALL)
    bar.tick_params(length=2, pad=1)
    bar.set_label(BAR)
    unit = textwrap.fill(row.unit, UNIT_LETTERS)
    look = {"rotation": 90, "ha": "center", "va": "center", "linespacing": 1}
    _write(fig, left + 0.38, bottom + height / 2, unit, multialignment="center", **look)


def _legend(fig, x: float, y: float) -> None:
    handles = [Patch(color=RED, label="core"), Patch(color=SKY, label=f"Tmax\n> {LATE:g} s")]
    place = (x / WIDTH - 0.008, y / HEIGHT)
    look = {"fontsize": SMALL, "handlelength": 0.7, "handletextpad": 0.3, "borderpad": 0, "labelspacing": 0.2}
    fig.legend(handles=handles, loc="center left", bbox_to_anchor=place, **look)


def _number_slices(ax, shown: Page, chosen) -> None:
    """Write above each slice which it is, and how far it lies from the first; mark the sides of the first one shown."""
    for place, k in enumerate(chosen):
        text, x = f"slice {k + 1}\n{k * shown.spacing[2]:.0f} mm", (place + 0.5) / len(chosen)
        ax.text(x, 1.02, text, transform=ax.transAxes, fontsize=SMALL, ha="center", va="bottom", linespacing=1)
    for text, x, align in zip(shown.sides, (0.03, 0.95), ("left", "right"), strict=True):
        look = {"color": "white", "weight": "bold", "fontsize": SMALL, "transform": ax.transAxes}
        ax.text(x / len(chosen), 0.97, text, ha=align, va="top", path_effects=[EDGE], **look)


def _mark(fig, shown: Page, place, wide: int) -> None:
    """Draw a length below the slices, at (left, bottom), where a slice of so many voxels has the third of `place`."""
    left, bottom, width = place
    length, y = width * BAR_MM / (wide * shown.spacing[0]), bottom - 0.08
    fig.add_artist(_line((left, left + length), y, color="black", linewidth=1.5))
    _write(fig, left + length + 0.05, y, f"{BAR_MM} mm", va="center")


def _line(ends, y: float, **look) -> Line2D:
    """Make a level line between two places in inches."""
    return Line2D([x / WIDTH for x in ends], [y / HEIGHT] * 2, **look)


def _aside(fig, shown: Page) -> None:
    """Draw the curves, where there are any, and write the remarks."""
    top, lines = TOP + 0.1, ASIDE_LINES
    if shown.curves is not None:
        _curves(fig, shown.curves, top)
        top, lines = top - 2.15, lines - CURVES_LINES
    sentences = [shown.coverage] * bool(shown.coverage) + [without_folders(text) for text in shown.remarks]
    if not sentences:
        sentences = ["None."]
    text = [textwrap.wrap(sentence, ASIDE_LETTERS) for sentence in sentences]
    written, left = [], 0
    for part in text:
        if len(written) + len(part) > lines - 2:
            left += 1
        elif not left:
            written += [*part, ""]
    if left:
        written.append(f"… {left} more in the registry file.")
    _write(fig, ASIDE, top, "Remarks", 8, weight="bold", va="top")
    _write(fig, ASIDE, top - 0.2, "\n".join(written), va="top", linespacing=1.25)


def _curves(fig, curves: Curves, top: float) -> None:
    """Draw the arterial and the venous curve."""
    ax = _place(fig, ASIDE + 0.36, top - 1.75, WIDTH - MARGIN - ASIDE - 0.36, 1.5)
    ax.plot(curves.times, curves.artery, color=RED, linewidth=1.2, marker=".", markersize=2.5, label="artery (AIF)")
    ax.plot(curves.times, curves.vein, color=BLUE, linewidth=1.2, marker=".", markersize=2.5, label="vein (VOF)")
    ax.set_xlabel("time (s)", fontsize=SMALL, labelpad=1)
    ax.set_ylabel("over baseline (HU)", fontsize=SMALL, labelpad=1)
    ax.tick_params(labelsize=SMALL, length=2)
    ax.legend(fontsize=SMALL, loc="upper right", borderpad=0, handlelength=1.2)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.25 * (high - low))
    ax.set_title("curves of the raw series", fontsize=8)


def _table(fig, quantities) -> None:
    """Write a line for each quantity: what, how much, in which unit, and what that is."""
    columns = (MARGIN, 2.62, 2.68, 3.12)
    y = BOTTOM - 0.28
    for x, text, align in zip(columns, ("quantity", "value", "unit", "definition"), "lrll", strict=True):
        _write(fig, x, y, text, weight="bold", ha={"l": "left", "r": "right"}[align])
    fig.add_artist(_line((MARGIN, WIDTH - MARGIN), y - 0.04, color="0.5", linewidth=0.6))
    for row, quantity in enumerate(quantities, start=1):
        cells = (quantity.label, quantity.text, quantity.unit, quantity.why or quantity.definition)
        for x, text, align in zip(columns, cells, ("left", "right", "left", "left"), strict=True):
            _write(fig, x, y - 0.03 - row * LINE, text, ha=align)


def _foot(fig, label: str) -> None:
    _write(fig, WIDTH / 2, 0.3, label, 9, weight="bold", ha="center", color=RED)
    if DISCLAIMER not in label:
        _write(fig, WIDTH / 2, 0.14, DISCLAIMER, 9, weight="bold", ha="center", color=RED)
