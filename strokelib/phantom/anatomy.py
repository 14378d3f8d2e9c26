"""Random heads: pose and brain tissue on a scanner grid.

The starting point is one group-average template (ICBM152 2009a symmetric, see
data/anatomy_NOTICE.txt). Smooth random fields bend it, roughen its tissue borders and its flow,
most of them nearly alike on both sides of the mid-sagittal plane, as they are in people.

Coordinates: template millimeters (MNI), x to one side, y to the front, z up, 0 at the anterior
commissure. Scanner grids are (x, y, slice) arrays of 256 x 256 voxels a slice.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage
from scipy.sparse import csr_array

from strokelib.phantom.fields import read_fields, trilinear
from strokelib.run import runtime

SIDE = 256
TEMPLATE_ORIGIN, TEMPLATE_STEP, COARSE_STEP = np.array([-98.0, -134.0, -72.0]), 2.0, 4.0  # mm
CENTER_Y = -18.0  # mm, the middle of the brain from front to back
HALF_LENGTH = 97.0  # mm, half of the template brain's length, with the bone in front and behind it


@dataclass(frozen=True)
class Head:
    """What one patient's head looks like and how it lies in the scanner."""

    yaw_deg: float  # turn in the axial plane; the mirror registration must find it
    pitch_deg: float
    roll_deg: float
    shift_mm: tuple[float, float]
    scale: tuple[float, float, float]
    atrophy: float  # 0 to 1
    ventricles: float  # in-plane magnification at their center


@dataclass(frozen=True)
class Slab:
    """The scanner grid of one scan."""

    px_mm: float
    slices: int
    dz_mm: float
    center_z: float  # mm in the template

    @property
    def spacing(self) -> tuple[float, float, float]:
        return self.px_mm, self.px_mm, self.dz_mm

    @property
    def voxel_ml(self) -> float:
        return self.px_mm**2 * self.dz_mm / 1000


@dataclass(frozen=True, eq=False)
class Anatomy:
    """Tissue on the part of the grid that holds the brain; arrays are (x, y, slice) float32."""

    box: tuple[slice, slice]  # where the arrays lie in a 256 x 256 slice
    slab: Slab
    x: np.ndarray  # template mm of every voxel
    y: np.ndarray
    z: np.ndarray
    gray: np.ndarray  # fractions of a voxel; the three add up to `brain`
    white: np.ndarray
    csf: np.ndarray
    brain: np.ndarray  # bool, inside of the skull
    depth: np.ndarray  # mm from the edge of the brain, in plane
    fields: dict[str, np.ndarray]  # unit-variance random fields by name
    on_coarse_grid: csr_array  # reads volumes of `coarse_grid` at every voxel


@cache
def load_template() -> np.ndarray:
    """Read gray, white and intracranial fractions, (99, 117, 95, 3) float32 at 2 mm."""
    with np.load(runtime.ROOT / "data" / "anatomy.npz", allow_pickle=False) as file:
        half = np.stack([file[name] for name in ("gray", "white", "intracranial")], -1)
    template = np.concatenate([half[:0:-1], half]).astype(np.float32) / 31
    template.setflags(write=False)
    return template


@cache
def coarse_grid():
    """Return the template at 4 mm: intracranial bool (50, 59, 48); its voxels' x, y, z in mm."""
    brain = load_template()[::2, ::2, ::2, 2] > 0.5
    axes = [o + COARSE_STEP * np.arange(n) for o, n in zip(TEMPLATE_ORIGIN, brain.shape, strict=True)]
    return brain, np.meshgrid(*axes, indexing="ij")


def draw_head(rng, field_of_view_mm: float) -> Head:
    """Draw a patient's pose, size and atrophy such that the brain fits the field of view."""
    yaw = float(np.clip(rng.normal(0, 4.5), -12, 12))
    pitch, roll = rng.normal(6, 6), rng.normal(0, 2.2)
    shift = rng.normal(0, 4.5, 2)
    scale = 1 + rng.normal(0, 0.04, 3)
    atrophy = rng.beta(2, 2.5)
    room = field_of_view_mm / 2 - np.abs(shift).max()
    scale[:2] *= min(1.0, room / (HALF_LENGTH * scale[1]))
    ventricles = 0.05 + 0.4 * atrophy * rng.uniform(0.6, 1.2)
    return Head(yaw, pitch, roll, tuple(shift.tolist()), tuple(scale.tolist()), atrophy, ventricles)


def rotation(head: Head):
    """Return the (3, 3) matrix from scanner to head directions: yaw, then pitch, then roll."""
    a, b, c = np.deg2rad([head.yaw_deg, head.pitch_deg, head.roll_deg])
    yaw = [[np.cos(a), np.sin(a), 0], [-np.sin(a), np.cos(a), 0], [0, 0, 1]]
    pitch = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    roll = [[np.cos(c), 0, np.sin(c)], [0, 1, 0], [-np.sin(c), 0, np.cos(c)]]
    return np.array(roll) @ np.array(pitch) @ np.array(yaw)


def midline(head: Head, slab: Slab):
    """Return where the mid-sagittal plane cuts every slice, before the head's own small asymmetry.

    Returns
    -------
    (slices, 3) : unit normal (n_x, n_y) and offset, so that n_x i + n_y j = offset for voxel
        indices i, j.
    """
    normal = rotation(head)[0]
    z = (np.arange(slab.slices) - (slab.slices - 1) / 2) * slab.dz_mm
    center = (SIDE - 1) / 2 + np.array(head.shift_mm) / slab.px_mm
    length = np.hypot(normal[0], normal[1])
    offset = (normal[:2] @ center - normal[2] * z / slab.px_mm) / length
    return np.column_stack([np.tile(normal[:2] / length, (slab.slices, 1)), offset])


def _head_coordinates(head: Head, slab: Slab, i, j):
    """Return template mm (x, y, z) of voxels i, j in all slices, before any bending."""
    center = (SIDE - 1) / 2
    across = ((i - center) * slab.px_mm - head.shift_mm[0])[:, None, None]
    along = ((j - center) * slab.px_mm - head.shift_mm[1])[None, :, None]
    up = ((np.arange(slab.slices) - (slab.slices - 1) / 2) * slab.dz_mm)[None, None, :]
    turn = rotation(head)
    offset = (0.0, CENTER_Y, slab.center_z)
    return [
        ((turn[a, 0] * across + turn[a, 1] * along + turn[a, 2] * up) / head.scale[a] + offset[a]).astype(np.float32)
        for a in range(3)
    ]


def _brain_box(head: Head, slab: Slab, stride: int = 4):
    """Return a generous rectangle around the brain, from a coarse look at the unbent template."""
    coarse = np.arange(0, SIDE, stride)
    points = _head_coordinates(head, slab, coarse, coarse)
    template = load_template()
    inside, index = True, []
    for point, origin, size in zip(points, TEMPLATE_ORIGIN, template.shape[:3], strict=True):
        nearest = np.rint((point - origin) / TEMPLATE_STEP).astype(int)
        inside = inside & (nearest >= 0) & (nearest < size)
        index.append(np.clip(nearest, 0, size - 1))
    brain = inside & (template[(*index, 2)] > 0.5)
    rows, columns = bounding_box(brain.any(2))
    margin = stride + int(np.ceil(9.0 / slab.px_mm))  # for the bending
    return tuple(
        slice(max(stride * side.start - margin, 0), min(stride * side.stop + margin, SIDE)) for side in (rows, columns)
    )


def bounding_box(mask, margin: int = 0):
    """Return the slices of the rectangle around an (x, y) mask, `margin` voxels wider."""
    hits = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return tuple(
        slice(max(int(h[0]) - margin, 0), min(int(h[-1]) + 1 + margin, n))
        for h, n in zip(hits, mask.shape, strict=True)
    )


def build_anatomy(key, head: Head, slab: Slab, symmetry: float) -> Anatomy:
    """Build one patient's brain on the grid of one scan.

    Parameters
    ----------
    key : seeds and names of the patient, for `runtime.rng`; both slabs of a patient cut the same
        brain
    head, slab : pose and grid
    symmetry : share of mirror-symmetric variance in the tissue fields
    """
    wide = _brain_box(head, slab)
    voxels = [np.arange(SIDE)[side] for side in wide]
    x, y, z = _bend(key, *_head_coordinates(head, slab, *voxels), symmetry)
    # Ventricles: magnify in plane about the middle of the brain.
    nearness = np.exp(-((x / 24) ** 2) - ((y - CENTER_Y) / 42) ** 2 - ((z - 14) / 26) ** 2)
    shrink = 1 - np.float32(head.ventricles) * nearness
    narrow = [x * shrink, (y - CENTER_Y) * shrink + np.float32(CENTER_Y), z]
    template = load_template()
    reader = trilinear(TEMPLATE_ORIGIN, TEMPLATE_STEP, template.shape[:3], narrow)
    tissue = (reader @ template.reshape(-1, 3)).reshape(*x.shape, 3)

    tight = bounding_box((tissue[..., 2] > 0.5).any(2), margin=3)
    x, y, z = x[tight], y[tight], z[tight]
    gray, white, inside = np.moveaxis(tissue[tight], -1, 0)
    brain = inside > 0.5
    specs = {
        "gray": (7, symmetry), "csf": (6, symmetry), "sulci": (11, symmetry), "texture": (9, symmetry),
        "vessels": (8, 0.6), "leukoaraiosis": (9, 0.7), "delay": (18, 0.6),
        "region 1": (26, 1), "region 2": (26, 1), "region delay": (30, 1), "hardening": (22, 1),
    }  # fmt: skip
    fields = read_fields(key, specs, 2.0, (x, y, z))
    depth = np.stack([ndimage.distance_transform_edt(brain[..., k]) for k in range(slab.slices)], -1)
    depth = (depth * slab.px_mm).astype(np.float32)
    gray, white, csf = _individual_tissue(gray, white, inside, fields, head.atrophy, depth, (x, y, z))
    coarse = coarse_grid()[0].shape
    on_coarse_grid = trilinear(TEMPLATE_ORIGIN, COARSE_STEP, coarse, [n[tight] for n in narrow])
    box = tuple(slice(int(v[t][0]), int(v[t][-1]) + 1) for v, t in zip(voxels, tight, strict=True))
    return Anatomy(
        box,
        slab,
        x,
        y,
        z,
        gray * brain,
        white * brain,
        csf * brain,
        brain,
        depth,
        fields,
        on_coarse_grid,
    )


def _bend(key, x, y, z, symmetry: float):
    """Displace the coordinates smoothly: 2.5 mm over 32 mm, 0.9 mm over 14 mm.

    Nine tenths of the variance are alike on both sides of the mid-sagittal plane. Heights stay put
    near the vertex, where slices graze the skull and a shift would tear the outline.
    """
    specs = {
        "bend x": (32, 1), "bend x one-sided": (32, 0), "bend y": (32, 0.9), "bend z": (32, 0.9),
        "bend x fine": (14, symmetry), "bend y fine": (14, symmetry),
    }  # fmt: skip
    d = read_fields(key, specs, 4.0, (x, y, z))
    outward = np.clip(x / 8, -1, 1)  # a mirror-symmetric shift moves the two sides apart
    return (
        x + outward * (2.4 * d["bend x"] + 0.9 * d["bend x fine"]) + 0.8 * d["bend x one-sided"],
        y + 2.5 * d["bend y"] + 0.9 * d["bend y fine"],
        z + 2.5 * d["bend z"] * np.clip((75 - z) / 35, 0, 1),
    )


def _individual_tissue(gray, white, inside, fields, atrophy: float, depth, points):
    """Sharpen the blurred template to one brain's tissue, then open sulci and fissures."""
    x, y, z = points
    csf = np.clip(inside - gray - white, 1e-3, 1)
    log_parts = [
        2.2 * np.log(np.clip(gray, 1e-3, 1)) + 0.55 * fields["gray"],
        2.2 * np.log(np.clip(white, 1e-3, 1)) - 0.55 * fields["gray"],
        2.2 * np.log(csf) + 0.5 * fields["csf"],
    ]
    gray, white, csf = (np.exp(part) for part in log_parts)
    total = gray + white + csf
    shell = np.exp(-((depth / (9 + 6 * atrophy)) ** 2))
    sulci = np.clip((0.25 + atrophy) * np.exp(-((fields["sulci"] / 0.17) ** 2)) * shell, 0, 0.95)
    rim = np.clip((0.25 + 0.9 * atrophy) * np.exp(-((depth / (1 + 3 * atrophy)) ** 2)), 0, 0.97)
    fissure = 0.85 * np.exp(-((x / (0.8 + 1.6 * atrophy)) ** 2)) * ((np.abs(y - CENTER_Y) > 45) | (z > 32))
    opened = np.maximum(np.maximum(sulci, rim), fissure)
    solid = (1 - opened) / total
    return gray * solid, white * solid, csf * solid + opened
