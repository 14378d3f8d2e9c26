"""A small twin of ISLES 2024 with no patient in it: its folders, names, headers and units; made-up heads.

Heads are those of `twin`, on a coarse grid, so that they are made in no time. Names come in both styles: those of the
archive and those of its description.
"""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import twin

SPACING = (3.6, 3.6, 2.0)
SHAPE = (64, 64, 20)
STYLES = ("archive", "description")
NAMES = {"CT": "ncct", "CT_CBF": "cbf", "CT_CBV": "cbv", "CT_MTT": "mtt", "CT_Tmax": "tmax", "OT": "lesion-msk"}


@dataclass(frozen=True)
class Head:
    """The images of one scan by our names, (x, y, slice); x to the right, y to the front, slices up."""

    images: dict[str, np.ndarray]
    affine: np.ndarray


def head(number: int, slices: int = SHAPE[2]) -> Head:
    """Draw one scan: CT with air, CBF and CBV without a factor, maps in the middle three quarters of the slices."""
    scan = twin.Scan("TRAINING", number, number, "A", slices, 1, SPACING, {"OT": 0})
    drawn = twin.draw(scan, SHAPE[0])
    inside = np.zeros(slices, bool)
    inside[slices // 8 : slices - slices // 8] = True
    images = {"CT": np.where(drawn["CT"] == twin.BACKGROUND, -1000, drawn["CT"]).astype(np.int16)}
    for name, factor in (("CBF", 10), ("CBV", 10), ("MTT", 1), ("Tmax", 1)):
        images[name] = (drawn[f"CT_{name}"] * inside / factor).astype(np.float32)
    images["OT"] = drawn["OT"].astype(np.uint8)
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-110.0 + number, -95.0, 12.0)
    return Head(images, affine)


def folders(style: str, number: int) -> tuple[str, str, str]:
    """Return the words of a scan's folders: for raw images, for the scan, and before the number of a visit."""
    if style == "archive":
        return "raw_data", f"sub-stroke{number:04d}", "ses-0"
    return "rawdata", f"sub-strokecase{number:04d}", "ses-000"


def path_of(root, style: str, number: int, image: str) -> Path:
    """Name the file of an image as the archive, or as its description, does."""
    raw, name, visit = folders(style, number)
    stem, visit = f"{name}_{visit}", {"OT": 2}.get(image, 1)
    session = f"{stem.split('_')[1]}{visit}"
    train, end = Path(root) / "train", NAMES[image if image in ("CT", "OT") else f"CT_{image}"]
    if image == "CT":
        return train / raw / name / session / f"{name}_{session}_{end}.nii.gz"
    if image == "OT":
        space = "" if style == "archive" else "space-ncct_"
        return train / "derivatives" / name / session / f"{name}_{session}_{space}{end}.nii.gz"
    return train / "derivatives" / name / session / "perfusion-maps" / f"{name}_{session}_space-ncct_{end}.nii.gz"


def save(path, array, affine, axes: str = "LPS") -> Path:
    """Write an image with its axes in another order; where its voxels lie stays the same."""
    image = nib.Nifti1Image(array, affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.as_reoriented(turn).to_filename(path)
    return path


def write(root, numbers=(1, 2, 4), style: str = "archive") -> Path:
    """Write scans with all that the archive has beside what a slab is made of; return the folder."""
    for number in numbers:
        drawn = head(number)
        for name, array in drawn.images.items():
            save(path_of(root, style, number, name), array, drawn.affine)
        beside(root, style, number, drawn)
    phenotype = Path(root) / "train" / "phenotype" / folders(style, number)[1]
    phenotype.mkdir(parents=True)
    (phenotype / "demographic_baseline.csv").write_text("age,sex\n")
    return Path(root)


def beside(root, style: str, number: int, drawn: Head) -> None:
    """Write files that are no part of a slab, some of them called almost alike."""
    ct, cbf = (path_of(root, style, number, name) for name in ("CT", "CBF"))
    for like, old, new in (
        (ct, "_ncct", "_cta"), (ct, "_ncct", "_ctp"), (cbf, "_cbf", "_cta"), (cbf, "_cbf", "_lvo-msk"),
        (cbf, "_cbf", "_cow-msk"), (cbf, "space-ncct_", ""), (cbf, "space-ncct_cbf", "lesion-msk"),
    ):  # fmt: skip
        save(like.with_name(like.name.replace(old, new)), drawn.images["CT"][:8, :8, :3], drawn.affine)
