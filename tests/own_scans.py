"""One phantom scan, and its files as somebody else's scanner and programs would have written them."""

import dataclasses
from functools import cache

import nibabel as nib
import numpy as np

from strokelib.modalities import ISLES
from strokelib.phantom.patient import KNOBS
from strokelib.phantom.scan import draw_scan, plan_cohort
from strokelib.run.settings import load_settings

SPACING = (0.9, 0.9, 5.0)
TILT = np.deg2rad(15)


@cache
def phantom():
    """Draw a scan of four slices of 5 mm with its series; nobody may change it."""
    plan = plan_cohort(load_settings("tests/tiny.toml").cohort)[0]
    plan = dataclasses.replace(plan, slices=4, px_mm=SPACING[0], dz_mm=SPACING[2], field_of_view_mm=230.0)
    return draw_scan(plan, 7, KNOBS["real"], True)


@cache
def images():
    """Return the images of the scan by modality, (256, 256, 4), the air of the CT as a scanner has it."""
    case = phantom()
    found = {name: case.images["CT" if name == "CT" else f"CT_{name}"] for name in ISLES}
    ct = found["CT"].astype(np.int16)
    return found | {"CT": np.where(ct == ct.min(), -1000, ct).astype(np.int16)}


def place(spacing=SPACING, origin=(115.0, -110.0, 20.0)):
    """Return the affine of an image whose axes point to the left, the front and up."""
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = origin
    return affine


def tilted():
    """Return the affine of a scan with a tilted gantry."""
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(TILT), -np.sin(TILT)], [np.sin(TILT), np.cos(TILT)]]
    return turn @ place()


def turned(image, affine, axes):
    """Return an image and its affine with its axes pointing elsewhere, such as to "RPI"."""
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    return (
        nib.orientations.apply_orientation(image, turn),
        affine @ nib.orientations.inv_ornt_aff(turn, image.shape[:3]),
    )


def finer(image, affine, factors):
    """Return an image with each voxel split into equal ones, (x, y, slice) factors of them."""
    for axis, factor in enumerate(factors):
        image = np.repeat(image, factor, axis)
    scale = np.diag([*(1 / np.array(factors)), 1.0])
    scale[:3, 3] = (1 / np.array(factors) - 1) / 2
    return image, affine @ scale


def coarser(image, affine, factors):
    """Return an image of the means of blocks of voxels."""
    x, y, z = (side // factor for side, factor in zip(image.shape, factors, strict=True))
    blocks = image.astype(np.float32).reshape(x, factors[0], y, factors[1], z, factors[2])
    scale = np.diag([*factors, 1.0])
    scale[:3, 3] = (np.array(factors) - 1) / 2
    return blocks.mean((1, 3, 5)), affine @ scale


def part(image, affine, begin, end):
    """Return the voxels from one corner to another, and where they lie."""
    moved = np.eye(4)
    moved[:3, 3] = begin
    return image[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))], affine @ moved


def save(path, image, affine=None, spacing=SPACING, frame_s=None, units=0):
    """Write a NIfTI file; without an affine, as in ISLES 2018: the identity beside the true spacing."""
    header = nib.Nifti1Header()
    header.set_data_dtype(image.dtype)
    written = nib.Nifti1Image(image, np.eye(4) if affine is None else affine, header)
    if affine is None:
        written.header.set_sform(np.eye(4), 2)
        written.header["pixdim"][1:4] = spacing
    if frame_s is not None:
        written.header["pixdim"][4] = frame_s
        written.header["xyzt_units"] = 2 + units  # mm, and 8 for s, 16 for ms, 24 for us
    path.parent.mkdir(parents=True, exist_ok=True)
    written.to_filename(path)
    return path


def write(folder, change=None, affine=None, suffix=".nii"):
    """Write CT and maps as ct, cbf, ...; `change(name, image, affine)` returns another image, affine, and file name."""
    affine = place() if affine is None else affine
    for name, image in images().items():
        image, own, file = (image, affine, name.lower()) if change is None else change(name, image, affine)
        save(folder / f"{file}{suffix}", image, own)
    return folder


def with_vessels(frames=None):
    """Return the series with an artery and a vein drawn into it, HU (x, y, slice, frame), and their places."""
    case = phantom()
    series = case.series.astype(np.float32).copy()
    artery, vein = (132, 150, 1), (128, 62, 2)
    later = np.interp(np.arange(len(case.aif)) - 6.0, np.arange(len(case.aif)), case.aif)
    for (x, y, k), curve in ((artery, case.aif), (vein, 1.3 * later)):
        series[x - 1 : x + 2, y - 1 : y + 2, k] = 40 + curve
    return series[..., :frames], artery, vein


def wide(image, side=512, fill=0):
    """Return an image of (x, y, slice) in the middle of a wider field, and by how many voxels it moved."""
    x, y = ((side - n) // 2 for n in image.shape[:2])
    widened = np.full((side, side, image.shape[2]), fill, image.dtype)
    widened[x : x + image.shape[0], y : y + image.shape[1]] = image
    return widened, (x, y)


def on_headrest(ct, behind_mm=40.0, thick_mm=30.0, across_mm=300.0, side=512):
    """Return a CT in a wide field, with a slab of 40 HU behind the head, in the air."""
    widened, _ = wide(ct, side, fill=ct.min())
    behind = np.flatnonzero((widened > 0).any((0, 2)))[0] - round(behind_mm / SPACING[1])
    half = round(across_mm / SPACING[0] / 2)
    widened[side // 2 - half : side // 2 + half, behind - round(thick_mm / SPACING[1]) : behind] = 40
    return widened
