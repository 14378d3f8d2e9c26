"""What a scan of one's own is once it has been read: on a grid that the networks know, with the way back to its own.

Whatever came in, five maps as NIfTI, a raw series or DICOM, becomes an `OwnScan`; what follows does not ask which.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from strokelib.cases import Case

ORIGINS = ("maps", "series")
DISCLAIMER = "Trained on synthetic scans; research only, not for clinical use"


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of the networks' grid lie in the reference image of the input, and how big that one is.

    `shape` and `affine` (4, 4; voxel to mm) are those of the reference image; where its header does not state a place,
    the affine is a guess and `stated` is False: left and right are unknown. `onto` (4, 4) takes a voxel (x, y, slice)
    of the reference image to one of the networks' grid; `inner` is that grid's shape.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    onto: np.ndarray
    inner: tuple[int, int, int]
    stated: bool = True

    @property
    def through(self) -> int:
        """The axis of the reference image along its slices."""
        return int(np.abs(self.onto[2, :3]).argmax())

    def back(self, volume, order: int = 1) -> np.ndarray:
        """Bring a volume from the networks' grid to that of the reference image.

        Parameters
        ----------
        volume : (x, y, slice) of shape `inner`
        order : 0 for a mask (nearest neighbor, its type is kept), 1 for other values (linear, float32)

        Returns
        -------
        (x, y, slice) of `shape`; 0 outside the networks' grid. Where the two grids differ by flips and exchanged axes
        alone, values are moved and not changed.

        Raises
        ------
        ValueError : another shape, or another order.
        """
        volume = np.asarray(volume)
        if volume.shape != tuple(self.inner) or order not in (0, 1):
            raise ValueError(
                f"expected a volume of shape {tuple(self.inner)} and order 0 or 1, got {volume.shape} and {order}"
            )
        kind = volume.dtype if order == 0 else np.float32
        values = volume.astype(np.uint8 if volume.dtype == bool else kind, copy=False)
        # The rim reaches to the ends of its voxels, which are wider than those of the reference image where slices
        # were averaged.
        moved = self._moved(values, order, "nearest")
        return np.where(self._moved(np.ones(volume.shape, np.uint8), 0, "grid-constant"), moved, 0).astype(kind)

    def _moved(self, values, order: int, mode: str) -> np.ndarray:
        matrix, offset = self.onto[:3, :3], self.onto[:3, 3]
        return ndimage.affine_transform(values, matrix, offset, tuple(self.shape), order=order, mode=mode)


@dataclass(frozen=True, eq=False)
class Curves:
    """The arterial and venous curves that were found in a raw series: HU over baseline, (frame,) each, at `times` (s).

    Places are voxels (x, y, slice) of the networks' grid.
    """

    times: np.ndarray
    artery: np.ndarray
    vein: np.ndarray
    artery_place: tuple[int, int, int]
    vein_place: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class OwnScan:
    """A scan of one's own, ready to be preprocessed."""

    name: str  # of its folder; on every page and in every file name
    case: Case  # on the networks' grid, in ISLES 2018's units; no lesion; its remarks are in `remarks`, too
    grid: Grid
    reference: Path | None  # NIfTI file with the reference image's header; None where the input was DICOM
    origin: str  # of ORIGINS: maps that came with the scan, or made here from its raw series
    curves: Curves | None = None  # of a raw series
    remarks: tuple[str, ...] = ()  # plain sentences: what was mended, what looks wrong, what lies outside the training
    slices: tuple[Path, ...] = ()  # DICOM files of the reference image in the order of its slices
    sha256: str = ""  # of the values of all images as they came: tells two scans of one name apart
