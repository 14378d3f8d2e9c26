"""A head to prepare, like a scan from file."""

import dataclasses

import numpy as np
from scipy import ndimage

from strokelib.cases import Case

OTHER = ("CT", "CBF", "Tmax")


def make_case(seed=0, slices=2, side=96, number=7, labelled=True):
    """Draw an off-center, slightly turned head with its four maps, like a scan from file."""
    rng = np.random.default_rng(seed)
    i, j = np.meshgrid(np.arange(side) - 45.0, np.arange(side) - 50.0, indexing="ij")
    x, y = i * 0.998 + j * 0.06, j * 0.998 - i * 0.06
    radius = np.hypot(x / 26, y / 33)[:, :, None] * (1 + 0.03 * np.arange(slices))
    images = np.empty((5, side, side, slices), np.float32)
    grain = ndimage.gaussian_filter(rng.normal(size=images.shape), (0, 2, 2, 0)) * 8
    pattern = 6 * np.cos(abs(x) / 4) * np.cos(y / 5) - 0.1 * abs(x)  # alike on both sides, as in a brain
    images[0] = np.where(radius < 1, 35 + pattern[:, :, None] + grain[0], 900)
    images[0][radius > 1.15] = -23
    for m, level in enumerate((300, 40, 6, 2), start=1):
        images[m] = np.where(radius < 0.95, level * np.exp(0.5 * grain[m]), 0)
    lesion = np.hypot(x - 12, y + 5)[:, :, None] < np.full(slices, 6) if labelled else None
    return Case(images, lesion, np.array([0.9, 0.9, 5.0]), number, f"Train_{number:02d}")


def change(case, modality, function):
    images = case.images.copy()
    m = case.modalities.index(modality)
    images[m] = function(images[m])
    return dataclasses.replace(case, images=images)


def fewer(case, names=OTHER):
    """Return a scan that came with these modalities alone, in this order."""
    return dataclasses.replace(case, images=np.stack([case.image(name) for name in names]), modalities=names)
