import dataclasses
import functools
import os
import re

import numpy as np
import pytest
from drawing import IMAGES, LABEL, LESION, closed, is_text, texts  # noqa: F401
from matplotlib import pyplot as plt

from strokelib.figures import report
from strokelib.figures.report import Page
from strokelib.own.quantities import TABLE, measure
from strokelib.own.scan import DISCLAIMER, Curves

BRAIN = IMAGES["CBF"] > 0
SPACING = np.array([4.0, 4.0, 5.0])
LINE = np.broadcast_to(np.arange(48)[:, None] - 22.5, (48, 48))
TIMES = np.arange(0, 40, 2.0)
ARTERY, VEIN = 200 * np.exp(-((TIMES - 12) ** 2) / 20), 300 * np.exp(-((TIMES - 18) ** 2) / 30)
CURVES = Curves(TIMES, ARTERY, VEIN, (1, 2, 0), (3, 4, 0))
LONG = "The head moved by 3.1 mm between two frames, so that what the maps show there is not to be trusted at all."


def shown(core=LESION, interval=(3.0, 9.0), **changed):
    tmax = np.where(LESION, 12, IMAGES["Tmax"]).astype(np.float32)
    images = IMAGES | {"Tmax": tmax}
    found = measure(images, BRAIN, LINE, core, SPACING, interval)
    page = Page(
        name="scan 7",
        images=images,
        brain=BRAIN,
        core=core,
        probability=np.where(core, 0.8, 0.01).astype(np.float32),
        spacing=SPACING,
        quantities=found,
        network="5 networks, slices; threshold 0.3",
        difference=np.where(BRAIN, -7, np.nan).astype(np.float32),
        uncertainty=np.where(core, 0.2, 0).astype(np.float32),
        sides=("R", "L"),
    )
    return dataclasses.replace(page, **changed)


def many(count=22, **changed):
    """Show a scan of many slices."""
    page = shown(**changed)
    turn = {name: getattr(page, name) for name in ("brain", "core", "probability", "difference", "uncertainty")}
    wide = {name: np.repeat(value[..., :1], count, axis=2) for name, value in turn.items()}
    images = {name: np.repeat(image[..., :1], count, axis=2) for name, image in page.images.items()}
    return dataclasses.replace(page, images=images, **wide)


def one(page, k=1):
    """Show a scan of one slice."""
    names = ("brain", "core", "probability", "difference", "uncertainty")
    cut = {name: getattr(page, name)[..., :k] for name in names}
    return dataclasses.replace(page, images={name: image[..., :k] for name, image in page.images.items()}, **cut)


PAGES = {
    "plain": shown,
    "no core": lambda: shown(0 * LESION),
    "no interval": lambda: shown(interval=None),
    "no upper end": lambda: shown(interval=(3.0, np.inf)),
    "one slice": lambda: one(shown()),
    "two slices": lambda: one(shown(), 2),
    "22 slices": many,
    "curves and long remarks": lambda: many(curves=CURVES, remarks=(LONG,) * 30, coverage="88 % of 62 scans."),
    "long names": lambda: shown(name="a_b" * 90, network="n " * 200),
    "without the optional": lambda: shown(difference=None, uncertainty=None, sides=("", "")),
    "dollars": lambda: shown(name="scan_$a$", remarks=("cost $5 and $6_",)),
}


@functools.cache
def drawn(name):
    """Draw one of these pages, once for all tests that only look at it; with its texts and where each lies."""
    page = PAGES[name]()
    fig = report.page(page)
    fig.draw_without_rendering()
    renderer = fig.canvas.get_renderer()
    return page, fig, [(text.get_text(), text.get_window_extent(renderer)) for text in seen_texts(fig)]


def seen_texts(fig):
    """List the texts that are drawn: not the numbers of an axis beyond its ends."""
    beyond = set()
    for ax in fig.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
            beyond |= {id(label) for tick in ticks for label in (tick.label1, tick.label2)}
    return [text for text in fig.findobj(is_text) if id(text) not in beyond]


every_page = pytest.mark.parametrize("name", PAGES)


def rows_of_the_table(fig):
    """Group the texts below the head of the table by their height on the page."""
    head = next(text for text in fig.texts if text.get_text() == "quantity")
    rows = {}
    for text in fig.texts:
        x, y = text.get_position()
        if 0.03 < y < head.get_position()[1] - 1e-6 and text.get_text() != DISCLAIMER and y > 0.04:
            rows.setdefault(round(y, 5), {})[x] = text.get_text()
    return [tuple(row[x] for x in sorted(row)) for _, row in sorted(rows.items(), reverse=True)]


def explained(text, page) -> bool:
    """Tell whether every number of a text that stands outside table and axes has its unit and its meaning beside it."""
    given = {page.network, page.name, page.label, DISCLAIMER, "Tmax\n> 6 s", f"{report.BAR_MM} mm"}
    cells = {cell for q in page.quantities for cell in (q.label, q.text, q.unit, q.definition, q.why)}
    remarks = " ".join((page.coverage, *page.remarks))
    if text in given | cells or text.endswith("…"):
        return True
    if "\n" in text and re.sub(r"\s+", " ", text).split(" ")[0] in remarks:  # remarks, wrapped
        return True
    if re.fullmatch(r"slice \d+\n\d+ mm", text):
        return True
    if text.startswith("core "):
        by_name = {q.name: f"{q.text} {q.unit}" for q in page.quantities}
        told = ["90 % interval", "Tmax > 6 s ", f"ratio {by_name['mismatch_ratio'].split()[0]}"]
        names = ("core_ml", "core_low_ml", "core_high_ml", "tmax_6_ml", "mismatch_ml")
        left = functools.reduce(lambda rest, part: rest.replace(part, ""), told + [by_name[n] for n in names], text)
        return not re.search(r"\d", left)
    if "apart" in text:
        return not re.search(r"\d(?![\d.]* (slices?|mm|shown))", re.sub(r"[\d.]+(?= (slices?|mm|shown))", "", text))
    return text in {"mL/100\ng/min", "mL/100 g"}


def unexplained(fig, page) -> list[str]:
    """List numbers on the page that are held to no unit and no definition."""
    on_axes = {id(text) for ax in fig.axes for axis in (ax.xaxis, ax.yaxis) for text in axis.get_ticklabels()}
    found = [text.get_text() for text in fig.findobj(is_text) if id(text) not in on_axes]
    found = [text for text in found if re.search(r"\d", text) and not explained(text, page)]
    for ax in fig.axes:  # an axis with numbers names their unit, on itself or beside its bar
        bar = ax.get_label() == report.BAR
        for axis, name in ((ax.xaxis, ax.get_xlabel()), (ax.yaxis, ax.get_ylabel())):
            numbers = [text.get_text() for text in axis.get_ticklabels() if re.search(r"\d", text.get_text())]
            if numbers and not bar and not re.search(r"\((s|HU)\)", name):
                found += numbers
    units = [text.get_text() for text in fig.texts if text.get_rotation() == 90]
    bars = sum(ax.get_label() == report.BAR for ax in fig.axes)
    known = [row.unit for row in report._rows(page) if row.volume is not None]
    beside = [text for text in units if text.replace("\n", " ") in known]
    return found if bars == len(beside) == len(known) else [*found, "a color bar without its unit"]


@every_page
def test_every_number_has_its_unit_and_its_definition(name):
    page, fig, _ = drawn(name)
    assert unexplained(fig, page) == []
    expected = [(q.label, q.text, q.unit, q.why or q.definition) for q in page.quantities]
    assert rows_of_the_table(fig) == expected and len(expected) == len(TABLE)
    assert all(unit in ("mL", "ratio") and len(definition) > 15 for _, _, unit, definition in expected)


def test_a_number_without_meaning_is_seen():
    page = shown()
    fig = report.page(page)
    fig.text(0.5, 0.5, "12.3")
    fig.axes[0].text(0, 0, "score 7")
    assert set(unexplained(fig, page)) == {"12.3", "score 7"}
    next(text for text in fig.texts if text.get_text() == "HU").remove()
    assert "a color bar without its unit" in unexplained(fig, page)


@every_page
def test_nothing_is_cut_off_or_small(name):
    fig = drawn(name)[1]
    assert tuple(fig.get_size_inches()) == (report.WIDTH, report.HEIGHT)
    assert min(text.get_fontsize() for text in fig.findobj(is_text)) >= 7
    for text, box in drawn(name)[2]:
        assert box.x0 >= 0.1 * fig.dpi and box.x1 <= (report.WIDTH - 0.1) * fig.dpi, text
        assert box.y0 >= 0.1 * fig.dpi and box.y1 <= (report.HEIGHT - 0.1) * fig.dpi, text


@every_page
def test_texts_do_not_lie_on_each_other(name):
    boxes = drawn(name)[2]
    for place, (first, box) in enumerate(boxes):
        for second, other in boxes[place + 1 :]:
            across = min(box.x1, other.x1) - max(box.x0, other.x0)
            down = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert across < 1.5 or down < 1.5, f"{first!r} on {second!r}"


def test_the_disclaimer_is_on_the_page_whatever_the_label():
    seen = texts(report.page(shown(label=LABEL)))
    assert DISCLAIMER in seen and LABEL in seen
    foot = [text for text in drawn("plain")[1].texts if text.get_text() == DISCLAIMER]
    assert len(foot) == 1 and foot[0].get_fontsize() >= 9


def test_what_is_not_known_is_said():
    assert "the header does not tell left from right" in texts(drawn("without the optional")[1])
    seen = texts(drawn("no core")[1])
    assert "no core was found" in seen and "left and right by the header" in seen
    assert "ratio undefined" in seen and "undefined, as the volume of the core is 0 mL" in seen
    told = {name: next(t.get_text() for t in drawn(name)[1].texts if "mismatch" in t.get_text()) for name in PAGES}
    assert "(90 % interval 3.0 mL to 9.0 mL)" in told["plain"] and "interval" not in told["no interval"]
    assert "(90 % interval 3.0 mL and more)" in told["no upper end"]
    assert "None." in texts(drawn("plain")[1])


def test_sides_stand_at_the_sides_of_the_first_slice():
    fig = drawn("plain")[1]
    right, left = (next(t for t in fig.axes[0].texts if t.get_text() == side) for side in "RL")
    assert right.get_position()[0] < left.get_position()[0] < 1 / 3


def test_slices_are_numbered_from_one_with_their_place_in_mm():
    fig = drawn("22 slices")[1]
    titles = [text.get_text() for text in fig.axes[0].texts if text.get_text().startswith("slice")]
    assert len(titles) == 8 and titles[0] == "slice 1\n0 mm" and titles[-1] == "slice 22\n105 mm"


def test_the_scale_bar_is_as_long_as_it_says():
    fig = drawn("plain")[1]
    bar = next(line for line in fig.findobj(plt.Line2D) if line.get_linewidth() == 1.5 and line.axes is None)
    length = np.ptp(bar.get_xdata()) * report.WIDTH  # inches
    ax = fig.axes[0]
    voxel = ax.get_position().width * report.WIDTH / ax.images[0].get_array().shape[1]
    assert length == pytest.approx(report.BAR_MM / SPACING[0] * voxel)


def test_heads_are_not_squeezed():
    for name in ("plain", "22 slices", "one slice"):
        ax = drawn(name)[1].axes[0]
        rows, columns = ax.images[0].get_array().shape
        width, height = ax.get_position().width * report.WIDTH, ax.get_position().height * report.HEIGHT
        assert height / width == pytest.approx(rows / columns, rel=0.04)


def test_remarks_that_find_no_room_are_counted_and_folders_are_left_out():
    seen = texts(drawn("curves and long remarks")[1])
    written = seen.replace("\n", " ").count("The head moved by")
    assert 3 < written < 30 and f"… {30 - written} more in the registry file." in seen
    seen = texts(report.page(shown(remarks=("/data/Miller/CT.nii is turned",))))
    assert "CT.nii is turned" in seen and "Miller" not in seen


def test_curves_are_drawn_over_their_times():
    ax = drawn("curves and long remarks")[1].axes[-1]
    assert [line.get_label() for line in ax.lines] == ["artery (AIF)", "vein (VOF)"]
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), TIMES)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), CURVES.vein)
    assert ax.get_xlabel() == "time (s)" and "(HU)" in ax.get_ylabel()


def test_drawing_changes_neither_arrays_nor_settings():
    page = shown()
    before = {name: image.copy() for name, image in page.images.items()}
    kept, settings = page.probability.copy(), dict(plt.rcParams)
    report.page(page)
    assert all(np.array_equal(before[name], image) for name, image in page.images.items())
    assert np.array_equal(page.probability, kept) and dict(plt.rcParams) == settings


def test_volumes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"scan 7: expected volumes .* got probability \(47, 48, 3\)"):
        report.page(shown(probability=np.zeros((47, 48, 3))))
    with pytest.raises(ValueError, match="no voxel of the brain"):
        report.page(shown(brain=np.zeros_like(BRAIN)))


def test_files_of_one_page_have_the_same_bytes_and_the_figure_is_closed(tmp_path):
    for name in ("a", "b"):
        fig = report.page(shown(curves=CURVES))
        report.save_report(fig, tmp_path / f"{name}.png", tmp_path / f"{name}.pdf")
        assert not plt.fignum_exists(fig.number)
    for kind, mark in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
        assert first == second and first.startswith(mark)
    content = (tmp_path / "a.pdf").read_bytes()
    assert b"CreationDate" not in content and DISCLAIMER.encode() in content  # in the facts about the file, too
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) == 1


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    fig = report.page(shown())
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"a\.png.*make room"):
        report.save_report(fig, tmp_path / "a.png", tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir()) and not plt.fignum_exists(fig.number)


def test_a_name_in_another_script_is_readable(monkeypatch):
    """In a font that has its letters, or by their numbers: boxes would be alike for all such names."""
    monkeypatch.setattr(report, "FONTS", ())
    report._fonts.cache_clear()
    try:
        page = report.page(shown(name="患者 Ünal 7 µ"))
        assert "\\u60a3\\u8005 Ünal 7 µ" in texts(page)
        assert page.texts[0].get_fontfamily()[0] == "DejaVu Sans"
    finally:
        report._fonts.cache_clear()
