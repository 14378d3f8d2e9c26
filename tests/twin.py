"""An exact twin of ISLES 2018 with no patient in it: true names, ids, headers, number types, counts; made-up heads.

Written from the table of facts (data/isles18_cases.csv) by code that shares nothing with the reader, so that what the
reader believes about the data set is held against something else. Sizes in plane are the caller's.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

FACTS = Path(__file__).parents[1] / "data" / "isles18_cases.csv"
SPLITS = {"train": ("TRAINING", "TRAIN", "Train"), "test": ("TESTING", "TEST", "Testing")}  # folder and two words
TYPES = {
    "CT_4DPWI": np.float32, "CT": np.int32, "CT_CBF": np.uint16, "CT_CBV": np.uint16, "CT_MTT": np.float64,
    "CT_Tmax": np.float64, "OT": np.uint8,
}  # fmt: skip
SIDE = 32  # voxels; the smallest that can be aligned with its mirror image
SOME = [1, 2, 3]  # numbers of scans that are enough for many a test
BACKGROUND = -23  # HU of the CT around the head; nothing is darker
LONGEST = 40  # s; both times are cut off there


@dataclass(frozen=True)
class Scan:
    """A row of the table of facts."""

    split: str  # "TRAINING" or "TESTING"
    number: int  # of its folder, case_N
    patient: int
    slab: str
    slices: int
    frames: int  # of the raw series
    spacing: tuple[float, float, float]  # mm
    ids: dict[str, int]  # of its images, by SMIR's names of them

    @property
    def name(self) -> str:
        """What a table calls the patient."""
        return f"{'Train' if self.split == 'TRAINING' else 'Test'}_{self.patient:02d}"


def scans(split=None, numbers=None) -> list[Scan]:
    """List all 156 scans, those of one split, or those of these numbers in it."""
    with open(FACTS, newline="") as file:
        rows = [_scan(row) for row in csv.DictReader(file)]
    return [s for s in rows if split in (None, s.split) and (numbers is None or s.number in numbers)]


def _scan(row) -> Scan:
    ids = {f"CT_{name}": int(row[f"{name.lower()}_id"]) for name in ("CBF", "CBV", "MTT", "Tmax")}
    ids |= {"CT": int(row["ct_id"]), "CT_4DPWI": int(row["ct_id"]) - 1}
    if row["ot_id"]:
        ids["OT"] = int(row["ot_id"])
    across = float(row["spacing_x_mm"])
    return Scan(
        SPLITS[row["split"]][0], int(row["case"]), int(row["patient"]), row["slab"], int(row["slices"]),
        int(row["timepoints"]), (across, across, float(row["spacing_z_mm"])), ids,
    )  # fmt: skip


def write(root, which=None, side=SIDE, series=False) -> Path:
    """Write these scans (all 156) as the challenge's two archives unpack: SMIR names, and a json beside each image.

    `series`: the raw 4-D series as well, by far the largest file of a scan.
    """
    root = Path(root)
    for scan in scans() if which is None else which:
        for modality, array in draw(scan, side, series).items():
            write_image(root / scan.split / f"case_{scan.number}", scan, modality, array)
    for split in {"TRAINING", "TESTING"} & {path.name for path in root.iterdir()}:
        (root / split / "License_ODC_ODBL.txt").write_text("Made-up heads; no patient was ever scanned for them.\n")
    return root


def write_image(folder, scan, modality, array) -> None:
    """Write one image with the header of the challenge's files, and its json."""
    header = nib.Nifti1Header()
    header.set_data_dtype(TYPES[modality])
    header.set_data_shape(array.shape)
    header["pixdim"][:5] = (-1, *scan.spacing, 1)
    header["sform_code"] = 2  # with the identity in it: whoever believes the affine takes every voxel for 1 mm wide
    header["srow_x"], header["srow_y"], header["srow_z"] = np.eye(4)[:3]
    header["scl_slope"] = header["scl_inter"] = np.nan
    header["vox_offset"], header["magic"] = 352, b"n+1"
    name = f"SMIR.Brain.XX.O.{modality}.{scan.ids[modality]}"
    (folder / name).mkdir(parents=True)
    values = np.asarray(array, TYPES[modality]).tobytes(order="F")
    (folder / name / f"{name}.nii").write_bytes(header.binaryblock + bytes(4) + values)
    _, kind, who = next(words for words in SPLITS.values() if words[0] == scan.split)
    description = f"ISLES 2018 - {kind} - {who}_{scan.patient:02d}_{scan.slab} - {modality}"
    (folder / name / f"{name}.json").write_text(json.dumps({"description": description}))


def draw(scan, side=SIDE, series=False) -> dict[str, np.ndarray]:
    """Draw one scan, (x, y, slice) each, by SMIR's names of its images; a testing scan has no outline.

    x runs from left to right and y from the back of the head to its front, as in the challenge's files. The head is
    about as symmetric as one is, longer than wide, narrower in front, and a little turned. Values are in the files'
    units: HU, ten times mL/100 g/min and mL/100 g as whole numbers, seconds; CBV = CBF MTT holds but for noise, as
    heavy as it is in maps of real scans.
    """
    who = np.random.default_rng([scan.patient, scan.split == "TESTING"])  # the same for both slabs
    yaw, across, along = np.deg2rad(who.normal(0, 4)), *who.normal(0, 0.015, 2)
    hemisphere, extent = who.choice([-1, 1]), who.uniform(0.05, 0.1)
    rng = np.random.default_rng([scan.number, scan.split == "TESTING"])

    grid = (np.arange(side) - (side - 1) / 2) / side  # of the field of view
    height = (np.arange(scan.slices) - (scan.slices - 1) / 2) * scan.spacing[2] / 110  # 110 mm: half of a head
    u, v, z = np.meshgrid(grid - across, grid - along, height, indexing="ij")
    x, y = u * np.cos(yaw) + v * np.sin(yaw), v * np.cos(yaw) - u * np.sin(yaw)
    size = np.sqrt(1 - 0.6 * z**2)
    front = y / (0.42 * size)
    radius = np.hypot(x / (0.33 * size * (1 - 0.12 * front.clip(-1, 1))), front)  # 1 at the skin

    def within(distance, edge):  # 1 inside, 0 outside, and between them where the edge runs through a voxel
        return ((edge - distance) * 0.35 * side + 0.5).clip(0, 1)

    brain = within(radius, 0.83)
    ventricles = within(np.hypot((abs(x) - 0.05) / 0.03, (y - 0.06) / 0.09) / 10, 0.1) * brain
    gray = 0.5 + 0.5 * np.cos(60 * abs(x) + 20 * z) * np.cos(45 * y)
    gray = np.maximum(gray, 1 - within(radius, 0.72))
    hu = BACKGROUND + (20 - BACKGROUND) * within(radius, 1)  # skin
    hu += (900 - hu) * within(radius, 0.95)  # skull
    hu += (BACKGROUND - hu) * within(np.hypot(x / 0.07, (front - 0.9) / 0.05), 1)  # air in front
    hu += (10 - hu) * within(radius, 0.86)  # fluid
    hu += (31 + 7 * gray - hu) * brain
    hu += (8 - hu) * ventricles

    distance = np.hypot(np.hypot((x - 0.19 * hemisphere) / 0.8, y + 0.02), 0.05 * z)
    inside = (brain > 0.5) & (ventricles < 0.5)
    core, around = within(distance, extent), within(distance, extent * 1.6)
    flow = (18 + 32 * gray) * (1 - 0.4 * around) * (1 - 0.65 * core) * rng.lognormal(0, 0.15, hu.shape)
    volume = (2.6 + 2.2 * gray) * (1 + 0.1 * around) * (1 - 0.5 * core) * rng.lognormal(0, 0.15, hu.shape)
    transit = 60 * volume / flow * rng.lognormal(0, 0.25, hu.shape)
    delay = (1 + 7 * around + 3 * core + rng.normal(0, 0.6, hu.shape)).clip(0)

    outside = within(radius, 1) == 0
    hu = np.where(outside, BACKGROUND, hu - 3 * core + rng.normal(0, 4, hu.shape))
    images = {
        "CT": np.rint(hu.clip(BACKGROUND, 3071)),
        "CT_CBF": np.where(inside, np.rint(10 * flow), 0),
        "CT_CBV": np.where(inside, np.rint(10 * volume), 0),
        "CT_MTT": np.where(inside, transit.clip(0, LONGEST), 0),
        "CT_Tmax": np.where(inside, delay.clip(0, LONGEST), 0),
    }
    if "OT" in scan.ids:
        images["OT"] = inside & (core > 0.5)
    if series:
        time = np.arange(scan.frames) - 8 - np.where(inside, delay, 0)[..., None]
        bolus = (time.clip(0) / 6) ** 2 * np.exp(2 - time.clip(0) / 3)  # 1 at its height
        images["CT_4DPWI"] = images["CT"][..., None] + 3 * images["CT_CBV"][..., None] / 10 * bolus
    return {modality: np.asarray(array, TYPES[modality]) for modality, array in images.items()}
