"""A scan of the whole head, thin slices and fine pixels, made into a slab as ISLES 2018 has them.

The grid is that of ISLES 2018: 256 x 256 pixels around the brain, slices some millimeters thick. A voxel of the slab is
the mean of what lies in it, so that volumes and means are kept and nothing is sharpened or made up.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelib import nifti
from strokelib.isles2024 import Download
from strokelib.modalities import ISLES, MODALITIES
from strokelib.nifti import CaseError
from strokelib.run.runtime import write_whole

VERSION = 1  # raise it with every change that alters slabs
SIDE = 256  # pixels, as in ISLES 2018
PIXEL_MM = 0.9  # ISLES 2018 has 0.8 to 1.0
THICKNESS_MM = 5.0  # at least; whole slices are averaged, so that it is below twice as much
LEAST_BRAIN_MM2 = 1000.0  # of the maps in a slice; those above and below are left out
AIR_HU = -1000.0  # where the CT has no voxel; what scanners write there is darker still
RECORD = "slab.json"  # in the folder of a slab: what it was made from, and what was measured


@dataclass(frozen=True, eq=False)
class Volumes:
    """The images of one scan on one grid, (x, y, slice) each; axes point right, to the front, and up."""

    number: int
    images: dict[str, np.ndarray]  # by modality, in the units of the files
    lesion: np.ndarray  # bool
    spacing: np.ndarray  # (3,) mm
    affine: np.ndarray  # (4, 4), from voxels to mm

    @property
    def brain(self) -> np.ndarray:
        """Where any of the maps is not 0, (x, y, slice) bool."""
        maps = [image for name, image in self.images.items() if not MODALITIES[name].head]
        return np.logical_or.reduce([image != 0 for image in maps])


@dataclass(frozen=True, eq=False)
class Slab:
    """One scan on the slab's grid, (256, 256, slice) each, and the volume of its outline before and after, in mL."""

    images: dict[str, np.ndarray]  # float32, in the units of the files
    lesion: np.ndarray  # bool
    spacing: np.ndarray  # (3,) mm
    affine: np.ndarray  # (4, 4), from voxels to mm, as the files of the scan have it
    file_ml: float
    outside_ml: float  # of it above and below the slab, where there are no maps
    slab_ml: float


def read_volumes(scan: Download) -> Volumes:
    """Read the images of one scan and turn them so that axes point right, to the front, and up.

    Raises
    ------
    CaseError : an unreadable file; a header of the CT that does not say where its axes point; an image on another grid
        than the CT's; an outline with values other than 0 and 1.
    """
    reference, number = scan.files["CT"], scan.number
    first, spacing = nifti.read_image(reference, number)
    if not nifti.directions(reference):
        raise CaseError(
            f"case_{number}: the header of {reference} does not say where its axes point, so left cannot be told from "
            "right; get the file again"
        )
    affine = nifti.load_header(reference).get_best_affine()
    images = {
        name: first if path == reference else _on_grid(path, number, reference, first.shape, affine)
        for name, path in scan.files.items()
    }
    outline = images.pop("OT")
    if not np.isin(outline, (0, 1)).all():
        raise CaseError(
            f"case_{number}: {scan.files['OT']} holds values other than 0 and 1: {np.unique(outline)[:8]}; replace it "
            "by a mask of the infarct"
        )
    turn = nib.io_orientation(affine)
    order = np.argsort(turn[:, 0])  # of the file's axes: the one to the right, to the front, up
    turned = {name: nib.apply_orientation(image, turn) for name, image in images.items()}
    lesion = nib.apply_orientation(outline, turn).astype(bool)
    return Volumes(number, turned, lesion, spacing[order], affine @ nib.orientations.inv_ornt_aff(turn, first.shape))


def _on_grid(path: Path, number: int, reference: Path, shape, affine) -> np.ndarray:
    """Read an image that must lie on the CT's grid voxel by voxel."""
    array, _ = nifti.read_image(path, number, reference)
    if array.shape != shape:
        raise CaseError(
            f"case_{number}: {path} has shape {array.shape}, the CT {shape}: it lies in another space; resample it to "
            "the CT's grid after registration, or go on without this scan"
        )
    if nifti.directions(path) == nifti.directions(reference):  # else `read_image` has compared and turned
        corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(shape) - 1)
        off = nifti.load_header(path).get_best_affine() - affine
        apart = np.linalg.norm(corners @ off[:3, :3].T + off[:3, 3], axis=1).max()
        if apart > np.linalg.norm(affine[:3, :3], axis=0).min():  # the shortest side of a voxel
            raise CaseError(
                f"case_{number}: by its header {path} lies up to {apart:.0f} mm away from the CT: it lies in another "
                "space; resample it to the CT's grid after registration, or go on without this scan"
            )
    return array


def overlaps(count: int, width: float, start: float, new_count: int, new_width: float) -> np.ndarray:
    """Return which share of each new voxel lies in each old one, along one axis.

    Parameters
    ----------
    count, width : of the old voxels, the first of which begins at 0
    start, new_count, new_width : where the first of the new voxels begins, in the unit of `width`, and theirs

    Returns
    -------
    (new_count, count); the rows sum to 1, or less where a new voxel reaches beyond the old ones.
    """
    old, new = np.arange(count) * width, start + np.arange(new_count)[:, None] * new_width
    shared = np.minimum(old + width, new + new_width) - np.maximum(old, new)
    return shared.clip(0) / new_width


def average(image, shares) -> np.ndarray:
    """Return the mean over each new voxel, with 0 where there is no old one; float32.

    Parameters
    ----------
    image : (x, y, slice)
    shares : what `overlaps` returned along each of the three axes
    """
    across, along, up = (np.asarray(share, np.float32) for share in shares)
    used = up.any(axis=0)  # slices above and below need no work
    values = np.asarray(image[..., used], np.float32) @ up[:, used].T
    values = np.tensordot(across, values, axes=(1, 0))  # x, y, slice
    return np.moveaxis(np.tensordot(along, values, axes=(1, 1)), 0, 1)


def make_slab(volumes: Volumes, thickness_mm: float = THICKNESS_MM) -> Slab:
    """Resample one scan to a slab.

    In plane the grid is centered on the brain's bounding box. Slices are those whose maps cover 10 cm² at least; as
    many of them are averaged as make `thickness_mm` or more, and what is left over is divided between top and bottom.
    A map is averaged over its brain alone and is 0 where less than half of a voxel is brain; the outline is where half
    of a voxel or more was outlined.

    Raises
    ------
    CaseError : the maps are 0 almost everywhere, cover less than one slice of the slab, or are not 0 outside the brain.
    ValueError : a thickness of 0 or less.

    Our choice: all of it; ISLES 2018's slabs came so from the scanner.
    """
    if not thickness_mm > 0:
        raise ValueError(f"thickness_mm must be above 0, got {thickness_mm}")
    brain, (dx, dy, dz), name = volumes.brain, volumes.spacing, f"case_{volumes.number}"
    covered = np.flatnonzero(brain.sum(axis=(0, 1)) * dx * dy >= LEAST_BRAIN_MM2)
    together = int(np.ceil(thickness_mm / dz - 1e-6))
    slices = (covered[-1] + 1 - covered[0]) // together if covered.size else 0
    if slices == 0:
        raise CaseError(
            f"{name}: its maps are not 0 over {LEAST_BRAIN_MM2 / 100:g} cm² in {covered.size} slices of {dz:.2f} mm "
            f"only, expected {together} at least for a slab; check these files, or go on without this scan"
        )
    first = int(covered[0] + (covered[-1] + 1 - covered[0] - slices * together) // 2)
    within = slice(first, first + int(slices) * together)
    corner = np.array([*_corner(brain[..., within], dx, dy, name), first * dz])
    spacing, counts = np.array([PIXEL_MM, PIXEL_MM, together * dz]), (SIDE, SIDE, int(slices))
    axes = zip(brain.shape, volumes.spacing, corner, counts, spacing, strict=True)
    shares = [overlaps(*axis) for axis in axes]

    inside = average(brain, shares)
    images = {}
    for modality, image in volumes.images.items():
        if MODALITIES[modality].head:
            images[modality] = average(np.maximum(image, AIR_HU) - AIR_HU, shares) + np.float32(AIR_HU)
        else:
            values = average(image, shares)
            images[modality] = np.divide(values, inside, out=np.zeros_like(values), where=inside >= 0.5)
    lesion = average(volumes.lesion, shares) >= 0.5
    onto = np.diag([*(spacing / volumes.spacing), 1.0])
    onto[:3, 3] = (corner + spacing / 2) / volumes.spacing - 0.5
    before, after = float(np.prod(volumes.spacing)) / 1000, float(np.prod(spacing)) / 1000  # mL of a voxel
    outlined, left = int(volumes.lesion.sum()), int(volumes.lesion[..., within].sum())
    volumes_ml = outlined * before, (outlined - left) * before, int(lesion.sum()) * after
    return Slab(images, lesion, spacing, volumes.affine @ onto, *volumes_ml)


def _corner(brain, dx: float, dy: float, name: str) -> list[float]:
    """Return where the grid begins along x and y, in mm, so that its middle is that of the brain's bounding box."""
    corner = []
    for axis, width, flat in (("x", dx, brain.any((1, 2))), ("y", dy, brain.any((0, 2)))):
        hit = np.flatnonzero(flat)
        low, high = hit[0] * width, (hit[-1] + 1) * width
        if high - low > SIDE * PIXEL_MM:
            raise CaseError(
                f"{name}: its maps are not 0 over {high - low:.0f} mm along {axis}, expected a brain within "
                f"{SIDE * PIXEL_MM:.0f} mm; save them with a background of 0, or go on without this scan"
            )
        corner.append(float(low + high - SIDE * PIXEL_MM) / 2)
    return corner


def write_slab(folder, slab: Slab, record: dict) -> Path:
    """Write a slab as ct.nii.gz, cbf.nii.gz, ..., lesion.nii.gz and its record: the whole folder or nothing.

    Parameters
    ----------
    folder : as TRAINING/case_7; what it held before is replaced
    record : what is written beside the images, as json

    Raises
    ------
    OSError : the disk is full or may not be written to.
    """
    kinds = {name: np.int16 if MODALITIES[name].head else np.float32 for name in ISLES} | {"OT": np.uint8}

    def write(temporary: Path) -> None:
        temporary.mkdir()
        for name, image in (*slab.images.items(), ("OT", slab.lesion)):
            values = np.rint(image) if kinds[name] == np.int16 else image
            file = nib.Nifti1Image(np.asarray(values, kinds[name]), slab.affine)
            file.to_filename(temporary / file_name(name))
        (temporary / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    return write_whole(Path(folder), write)


def file_name(image: str) -> str:
    """Name the file of a modality, or of the outline, "OT"."""
    return "lesion.nii.gz" if image == "OT" else f"{image.lower()}.nii.gz"


def read_record(folder) -> dict:
    """Return what `write_slab` noted of a slab; nothing where there is none, or a damaged one."""
    try:
        record = json.loads((Path(folder) / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
