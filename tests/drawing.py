"""What the tests of figures share: a small head, and what is asked of every figure."""

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

LABEL = "synthetic cohort"
SIDE, SLICES, K = 48, 3, 1


@pytest.fixture(autouse=True)
def closed():
    """Close what a test has opened, and only that."""
    before = plt.get_fignums()
    yield
    for number in set(plt.get_fignums()) - set(before):
        plt.close(number)
    assert plt.get_fignums() == before


def head():
    """Build the modalities of a scan, by name in file units, and a lesion off the middle, in front and on one side."""
    x, y, _ = np.indices((SIDE, SIDE, SLICES))
    inside = (x - 22) ** 2 / 14**2 + (y - 25) ** 2 / 19**2 < 1
    ct = np.where(inside, 35.0, -23.0)
    values = {"CBF": 300.0, "CBV": 40.0, "MTT": 6.0, "Tmax": 3.0}
    lesion = (x - 14) ** 2 + (y - 34) ** 2 < 16
    images = {"CT": ct} | {name: value * inside for name, value in values.items()}
    return {name: image.astype(np.float32) for name, image in images.items()}, lesion


IMAGES, LESION = head()
CT = IMAGES["CT"]
FLIPPED = {name: image[::-1] for name, image in IMAGES.items()}


def is_text(artist) -> bool:
    return isinstance(artist, mpl.text.Text) and artist.get_visible() and artist.get_text() != ""


def texts(fig) -> str:
    """Join every text on a figure."""
    return "\n".join(text.get_text() for text in fig.findobj(is_text))


def picture(ax, index=0) -> np.ndarray:
    return np.asarray(ax.images[index].get_array())


def png(fig, dpi=60) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, dpi=dpi)
    return buffer.getvalue()


def public(module) -> set[str]:
    """Name the functions that a module of figures offers."""
    return {
        name
        for name, thing in vars(module).items()
        if callable(thing)
        and getattr(thing, "__module__", "") == module.__name__
        and not name.startswith("_")
        and not isinstance(thing, type)
    }


def check(draw, n_axes: int, units) -> None:
    """Hold a figure to its axes with those of color bars, its units and label; nothing is cut off or too small."""
    settings = dict(mpl.rcParams)
    fig = draw()
    assert isinstance(fig, Figure)
    assert len(fig.axes) == n_axes
    assert fig.get_size_inches()[0] <= 10
    assert dict(mpl.rcParams) == settings
    seen = texts(fig)
    for text in (LABEL, *units):
        assert text in seen
    fig.draw_without_rendering()
    assert min(text.get_fontsize() for text in fig.findobj(is_text)) >= 7
    drawn, (width, height) = fig.get_tightbbox(), fig.get_size_inches()  # inches
    assert drawn.x0 > -0.02 and drawn.y0 > -0.02
    assert drawn.x1 < width + 0.02 and drawn.y1 < height + 0.02


def check_column(draw, frame, column: str) -> None:
    """Hold a figure to naming a column that its frame lacks, before it has opened anything."""
    before = plt.get_fignums()
    with pytest.raises(ValueError, match=f"lacks the columns {column}; it has "):
        draw(frame.drop(columns=column))
    assert plt.get_fignums() == before
