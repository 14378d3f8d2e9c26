"""NIfTI files of any size, spacing and orientation, each with the place in space that its header states, if it does.

Looser than `strokelib.nifti`, which reads the challenge's files: NaN may fill a map's background, a series may have an
axis of length one, and the affine counts.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelib.nifti import CaseError, apart_mm, first_bytes, raw_header

SPACING_MM = (0.1, 30.0)  # outside lie meters, micrometers and damaged headers
MOST_BYTES = 2**33  # of one file, unpacked; a series of 64 frames of 512 x 512 x 40 voxels of 8 bytes has 5 GB
TIME_UNITS = 0x38  # the bits of xyzt_units that name one
AGREE = (0.02, 0.02, 0.1)  # by how much a voxel's sides may differ between affine and pixdim: a tilt shears the last
SHEARED = 0.01  # cosine between two axes of an image over which they are not at right angles: half a degree
NO_TIME_UNIT = (
    "its header gives 1 between frames and no unit of time, as programs write that do not know it: taken for 1 s; if "
    "that is wrong, so are all times and volumes (seconds_per_frame)"
)
TO_NETWORKS = ("L", "A", "S")  # where the axes of the networks' grid point


@dataclass(frozen=True, eq=False)
class Volume:
    """An image as its file holds it, or a series of DICOM.

    `label` names it in errors: by its path, or as `CBV (series "...")` where it is DICOM. `values` are (x, y, slice),
    or (x, y, slice, frame) of a series. `affine` (4, 4) takes a voxel to mm, to the right, the front and up; None where
    the header does not say. `frame_s` is the time from one frame to the next in seconds, None where there is one image
    alone, or the header does not say. `remarks` say where the header is in doubt.
    """

    label: str
    values: np.ndarray
    spacing: np.ndarray  # (3,) mm; of sheared slices the distance from one to the next
    affine: np.ndarray | None = None
    frame_s: float | None = None
    remarks: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y and slice."""
        return tuple(self.values.shape[:3])

    @property
    def axes(self) -> str:
        """Where the axes point, such as "LAS" (left, anterior, superior); "" where the header does not say."""
        return "" if self.affine is None else "".join(nib.aff2axcodes(self.affine))

    @property
    def place(self) -> np.ndarray:
        """The affine, or for a header that does not say, the one of axes that point as those of the networks' grid.

        Our choice: an image that does not say is taken to lie as those of ISLES 2018 do, whose affines are the identity
        whatever the voxel: across, to the front, up. Whether its first axis points to the left or to the right of the
        patient remains unknown; the cores that the networks saw lie on both sides alike.
        """
        return np.diag([-self.spacing[0], *self.spacing[1:], 1.0]) if self.affine is None else self.affine


def read_volume(path) -> Volume:
    """Read a NIfTI file with one 3-D image, or with a series of them along a fourth axis.

    Parameters
    ----------
    path : .nii or .nii.gz; axes of length one after the third are dropped

    Returns
    -------
    Volume : values in the file's own type, its slope and intercept applied. NaN may be among them.

    Raises
    ------
    CaseError : a file that is too large; no NIfTI file, damaged or cut short; a picture (2-D, or colors); more than
        four axes; infinite values; a spacing outside of 0.1 to 30 mm; an affine that contradicts it.

    Our choice: the spacing is pixdim's, but for slices that the affine shears, as a tilted gantry does: they lie nearer
    to each other than their axis is long, and volumes go by that. An affine counts where its voxels are as large as
    pixdim says; the identity beside another spacing, as in ISLES 2018, says nothing. Where sform and qform both count
    and put a corner of the image more than a voxel's shortest side apart, the sform is taken and a remark says so;
    another says where the qform is taken because the sform is of voxels of another size.
    """
    path = Path(path)
    try:
        return _decode(path)
    except MemoryError as error:
        raise CaseError(
            f"{path} does not fit into this machine's memory; average its thin slices, crop it to the head, or use a "
            "larger machine"
        ) from error
    except CaseError:
        raise
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        raise CaseError(f"cannot use {path} ({error}); replace the file, or correct its header") from error


def _decode(path: Path) -> Volume:
    content = _content(path)
    kind, raw = raw_header(content)
    spacing, sides = raw["pixdim"][1:4].astype(float), _sides(raw.get_data_shape())
    if not ((spacing >= SPACING_MM[0]) & (spacing <= SPACING_MM[1])).all():
        raise ValueError(f"its spacing is {in_words(spacing)} mm, expected {SPACING_MM[0]:g} to {SPACING_MM[1]:g}")
    stored = raw.get_data_dtype()
    if stored.kind not in "iuf":
        what = "colors, a picture of a map and no map" if stored.names else f"{stored}"
        raise ValueError(f"it holds {what}; expected one real number a voxel")
    if (size := raw.get_data_offset() + math.prod(sides) * stored.itemsize) > len(content):
        raise OSError(f"its header promises {size} bytes, it holds {len(content)}")
    values = np.asanyarray(kind.from_bytes(content).dataobj).reshape(sides)
    if np.isinf(values).any():
        raise ValueError("it holds infinite values")
    frame_s = _frame_s(raw) if len(sides) == 4 else None
    affine, remarks = _affine(raw, spacing, sides)
    if affine is not None:
        spacing, sheared = _across(affine, spacing)
        remarks = (*remarks, *sheared)
    if frame_s == 1 and not int(raw["xyzt_units"]) & TIME_UNITS:
        remarks = (*remarks, NO_TIME_UNIT)
    return Volume(str(path), values, spacing, affine, frame_s, remarks)


def _content(path: Path) -> bytes:
    """Read a file to its end, where gzip keeps the checksum."""
    content = first_bytes(path, MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise CaseError(
            f"{path} holds more than {MOST_BYTES / 2**30:g} GB; average its thin slices, or crop it to the head"
        )
    return content


def _sides(shape) -> tuple[int, ...]:
    """Return the sides without those of length one after the third: a series may come as (x, y, slice, 1, frame)."""
    sides = [int(side) for side in shape]
    kept = [*sides[:3], *(side for side in sides[3:] if side > 1)]
    if len(kept) < 3 or min(kept) < 1 or min(kept[:2]) < 2:
        raise ValueError(f"it is {len(sides)}-D {sides}, a picture; expected a volume (x, y, slice)")
    if len(kept) > 4:
        raise ValueError(f"it is {len(sides)}-D {sides}; expected (x, y, slice), or (x, y, slice, frame) of a series")
    return tuple(kept)


def _frame_s(raw) -> float | None:
    """Return the seconds between frames by the unit that the header gives; without one they are taken for seconds.

    The fourth axis is time by the standard; a series in the fifth may have its step there, or in the fourth: then the
    other's is 1, as programs fill it in.
    """
    factor = {16: 1e-3, 24: 1e-6}.get(int(raw["xyzt_units"]) & TIME_UNITS, 1.0)
    axes = sorted(range(4, raw["dim"][0] + 1), key=lambda axis: (raw["pixdim"][axis] == 1, raw["dim"][axis] < 2))
    steps = [float(raw["pixdim"][axis]) * factor for axis in axes]
    return next((step for step in steps if math.isfinite(step) and step > 0), None)


def _affine(raw, spacing, sides) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the place that a header states, its sform, its qform, or None, and a remark where these disagree.

    Parameters
    ----------
    raw, spacing, sides : the header, the (3,) sides of a voxel in mm by its pixdim, the voxels along each axis

    Raises
    ------
    ValueError : there is one, and its voxels are of another size than the spacing.
    """
    stated = {}
    if raw["sform_code"] > 0:
        stated["sform"] = raw.get_sform()
    if raw["qform_code"] > 0:
        stated["qform"] = raw.get_qform()
    stated = {
        name: affine
        for name, affine in stated.items()
        if np.isfinite(affine).all() and np.linalg.matrix_rank(affine) == 4
    }
    usable = {
        name: affine
        for name, affine in stated.items()
        if (np.abs(np.linalg.norm(affine[:3, :3], axis=0) / spacing - 1) <= AGREE).all()
        and np.isfinite(nib.io_orientation(affine)).all()
    }
    if "sform" not in usable and "qform" in usable and raw["sform_code"] > 0:
        return usable["qform"], _passed_over(raw.get_sform(), spacing)
    if usable:
        return next(iter(usable.values())), _disagreement(usable, sides)
    told = [affine for affine in stated.values() if not _says_nothing(affine)]
    if told:
        lengths = np.linalg.norm(told[0][:3, :3], axis=0)
        raise ValueError(
            f"by its affine the sides of a voxel are {in_words(lengths)} mm, by pixdim {in_words(spacing)} mm"
        )
    return None, ()


def _says_nothing(affine) -> bool:
    """Tell whether an affine is the identity, which programs write that know no place."""
    return np.allclose(affine[:3, :3], np.eye(3))


def _passed_over(sform, spacing) -> tuple[str, ...]:
    """Say that an sform does not count, and what follows if it, and not pixdim, is right."""
    if _says_nothing(sform):
        return ()
    lengths = in_words(np.linalg.norm(sform[:3, :3], axis=0))
    return (
        f"its sform, of voxels of {lengths} mm, does not fit its pixdim, {in_words(spacing)} mm: the qform was taken; "
        "if the sform is right, every volume is wrong",
    )


def _across(affine, spacing) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the spacing with the distance between slices that are sheared, and a remark on that."""
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    cosines = np.abs(columns.T @ columns / np.outer(lengths, lengths))[[1, 0, 0], [2, 2, 1]]  # of the other two axes
    if cosines.max() < SHEARED:
        return spacing, ()
    # The axis whose other two are at right angles, as those of a slice are; of several the longest.
    axis = int(np.where(cosines < cosines.min() + SHEARED, lengths, 0).argmax())
    apart = abs(np.linalg.det(columns)) / np.delete(lengths, axis).prod()
    made = spacing.copy()
    made[axis] = apart
    tilt = np.rad2deg(np.arccos(apart / lengths[axis]))
    return made, (
        f"its header shears the slices by {tilt:.0f} degrees, as a tilted gantry does: they lie {apart:.3g} mm apart, "
        f"which all volumes go by, and {lengths[axis]:.3g} mm along their axis",
    )


def _disagreement(usable: dict[str, np.ndarray], sides) -> tuple[str, ...]:
    """Say where sform and qform put the image elsewhere: programs that take the other one show another scan."""
    axes = ["".join(nib.aff2axcodes(affine)) for affine in usable.values()]
    if len({*axes}) < 2:
        if len(usable) < 2:
            return ()
        sform, qform = usable.values()
        moved = apart_mm(sform, qform, sides)
        if moved <= np.linalg.norm(sform[:3, :3], axis=0).min():
            return ()
        return (f"sform and qform put it up to {moved:.0f} mm apart: the sform was taken; where it lies is uncertain",)
    sides = {re.sub("[^LR]", "-", way) for way in axes}  # such as "L--"
    what = "which side is left" if len(sides) > 1 else "where the axes point"
    return (f"sform says {axes[0]}, qform {axes[1]}: the sform was taken; {what} is uncertain",)


def in_words(sides) -> str:
    """Write the sides of a voxel or of an image, such as "0.9 x 0.9 x 5"."""
    return " x ".join(f"{side:.4g}" for side in sides)


def turn_to_networks(volume: Volume) -> np.ndarray:
    """Return how an image is turned to the axes of the networks' grid, for `nibabel.apply_orientation`.

    Axes are exchanged and flipped, nothing else: an oblique image, such as one with a tilted gantry, keeps its slices.
    """
    return nib.orientations.ornt_transform(nib.io_orientation(volume.place), nib.orientations.axcodes2ornt(TO_NETWORKS))


def from_networks(volume: Volume) -> np.ndarray:
    """Return the (4, 4) matrix that takes a voxel of an image so turned to one of the image as it is."""
    return nib.orientations.inv_ornt_aff(turn_to_networks(volume), volume.shape)
