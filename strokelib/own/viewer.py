"""Slices to leaf through in JupyterLab, and volumes that other viewers draw with their true sides.

A viewer lives in a notebook only as long as its kernel does: what is saved of it is an empty frame, or megabytes. So a
notebook shows a figure first, which stays, and calls `show` in a cell of its own, tagged `interactive`: in JupyterLab
or VS Code that opens the viewer; where nobody looks on, as with papermill and nbconvert, it is one sentence, and the
saved notebook holds no part of a viewer.
"""

import io
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelib.figures import viewer as drawing
from strokelib.modalities import MODALITIES
from strokelib.run.notebook import live
from strokelib.run.runtime import write_whole

NOBODY = "The viewer opens here where the notebook is run in JupyterLab (`make lab`) or VS Code."
WITHOUT = "The viewer needs ipywidgets, which `make lab` installs; pip install ipywidgets does, too."
DPI = 80  # of a picture; a hundred kilobytes go to the browser when a slice is moved


def show(images, core=None, probability=None, spacing=(1.0, 1.0, 1.0), label: str = ""):
    """Return a viewer of slices where somebody looks on, else a sentence that says where it opens: end a cell with it.

    Parameters
    ----------
    images : dict of (x, y, slice) by modality, in file units, of one shape
    core : bool of that shape, outlined
    probability : of that shape, 0 to 1, laid over the image from 0.05 on
    spacing : (3,) mm
    label : what stands at the foot

    Returns
    -------
    a box of ipywidgets: which image, which slice, how much of the probability, whether the core is outlined. It begins
    with the slice that holds most of the core, or the middle one. Each move of a slider draws one PNG here and sends
    it; nothing is fetched from elsewhere and nothing is stored. Without ipywidgets, a sentence that says so.

    Raises
    ------
    ValueError : an unknown modality, none at all, volumes of several shapes, or a spacing that is none; in a batch run,
        too.

    Our choice: the front end is known by what it tells the kernel (`notebook.live`). A parameter of the notebook would
    have to be set by whoever runs it, and a tag alone is not heeded by papermill.
    """
    from IPython.display import Markdown

    shown = _layers(images, core, probability, spacing, label)
    if not live():
        return Markdown(NOBODY)
    try:
        return _widgets(shown)
    except ImportError as error:
        return Markdown(f"{error}")


def _layers(images, core, probability, spacing, label: str) -> drawing.Layers:
    """Check what is to be shown."""
    unknown = [name for name in images if name not in MODALITIES]
    if unknown or not images:
        found = f"unknown images {', '.join(map(str, unknown))}" if unknown else "no images"
        raise ValueError(f"{found}; expected some of {', '.join(MODALITIES)}")
    volumes = {**images, "core": core, "probability": probability}
    shapes = {name: np.shape(volume) for name, volume in volumes.items() if volume is not None}
    if len(set(shapes.values())) > 1 or len(next(iter(shapes.values()))) != 3:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"expected volumes of one shape (x, y, slice), got {told}")
    head = images[next((name for name in images if MODALITIES[name].head), next(iter(images)))]
    inside = (head != head[0, 0, 0]).any(axis=2)
    core = None if core is None else np.asarray(core, bool)
    return drawing.Layers(dict(images), core, probability, _sides(spacing, "the viewer"), inside, label)


def _sides(spacing, what: str) -> tuple[float, float, float]:
    """Return the three sides of a voxel in mm, or refuse them."""
    sides = np.asarray(spacing, float).ravel()
    if sides.shape != (3,) or not np.isfinite(sides).all() or sides.min() <= 0:
        raise ValueError(f"{what}: expected a spacing of three lengths in mm, got {spacing}")
    return tuple(map(float, sides))


def _first(shown: drawing.Layers) -> int:
    """Return the slice with most of the core, or the middle one where there is none."""
    slices = next(iter(shown.images.values())).shape[2]
    sizes = np.zeros(slices) if shown.core is None else shown.core.sum(axis=(0, 1))
    return int(sizes.argmax()) if sizes.any() else slices // 2


def _png(shown: drawing.Layers, modality: str, k: int, opacity: float = 0.5, outlined: bool = True) -> bytes:
    """Draw one view as PNG."""
    import matplotlib.pyplot as plt

    figure, buffer = drawing.layers(shown, modality, k, opacity, outlined), io.BytesIO()
    figure.savefig(buffer, dpi=DPI)
    plt.close(figure)  # or the notebook would show it once more
    return buffer.getvalue()


def _widgets(shown: drawing.Layers):
    """Put the view of the chosen slice below what chooses it."""
    try:
        import ipywidgets
    except ImportError as error:
        raise ImportError(WITHOUT) from error
    slices = next(iter(shown.images.values())).shape[2]
    names, first = [*shown.images], _first(shown)
    image = ipywidgets.Dropdown(options=names, value=names[0], description="image")
    place = ipywidgets.IntSlider(first + 1, 1, slices, description="slice", disabled=slices == 1)
    opacity = ipywidgets.FloatSlider(0.5, min=0, max=1, step=0.1, description="probability", readout_format=".1f")
    outlined = ipywidgets.Checkbox(True, description="core outlined")
    own_size = {"width": "max-content", "min_width": "max-content"}  # or the browser would stretch it to the cell
    picture = ipywidgets.Image(value=_png(shown, names[0], first), format="png", layout=own_size)

    def draw(_):
        picture.value = _png(shown, image.value, place.value - 1, opacity.value, outlined.value)

    for control in (image, place, opacity, outlined):
        control.observe(draw, names="value")
    overlays = [(opacity, shown.probability), (outlined, shown.core)]
    used = [image, place, *(control for control, volume in overlays if volume is not None)]
    return ipywidgets.VBox([ipywidgets.HBox(used, layout={"flex_flow": "row wrap"}), picture])


def write_volume(path, array, spacing, window=None) -> Path:
    """Write a volume as NIfTI for viewers: the true sides of its voxels stand in its affine, too.

    Parameters
    ----------
    path : .nii or .nii.gz; in JupyterLab a double-click opens it (jupyterlab-niivue)
    array : (x, y, slice); bool becomes uint8, anything else float32
    spacing : (3,) mm
    window : (lowest, highest) value that viewers show at first

    ISLES 2018 writes the identity as affine whatever the spacing is, and viewers go by the affine: they draw a slab of
    two slices, 12 mm apart, as one of 1 mm. Axes point as that identity says, x to the right and y to the front.

    Raises
    ------
    ValueError : another ending, no volume, a spacing that is none, or NaN and infinite values; nothing is written.
    """
    path, array = Path(path), np.asarray(array)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"{path.name} must end in .nii or .nii.gz")
    sides = _sides(spacing, path.name)
    if array.ndim != 3 or 0 in array.shape or not np.isfinite(array).all():
        raise ValueError(f"{path.name}: expected finite values (x, y, slice), got shape {array.shape}, {array.dtype}")
    image = nib.Nifti1Image(array.astype(np.uint8 if array.dtype == bool else np.float32), np.diag([*sides, 1.0]))
    image.header.set_xyzt_units("mm")
    image.set_qform(image.affine, code="scanner")  # who reads only one of the two forms finds the same
    image.set_sform(image.affine, code="scanner")
    if window is not None:
        image.header["cal_min"], image.header["cal_max"] = window
    return write_whole(path, image.to_filename)
