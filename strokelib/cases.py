"""The ISLES 2018 layout: find, check, load and save scans; patients; folds.

One reader serves the challenge's own download and the synthetic cohort, which is written in exactly its form.
"""

import csv
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelib.config import ROOT, rng, write_whole

MODALITIES = ("CT", "CBF", "CBV", "MTT", "Tmax")
SPLITS = ("TRAINING", "TESTING")
# What names a modality in a SMIR file name. An early release wrote MR_ for CT_, hence no prefix.
_MARKS = {
    "CT": ".CT.",
    "CBF": "_CBF.",
    "CBV": "_CBV.",
    "MTT": "_MTT.",
    "Tmax": "_Tmax.",
    "OT": ".OT.",
    "4DPWI": "_4DPWI.",
}


class CaseError(ValueError):
    """A scan cannot be used; the message names the case, the file and what to do."""


@dataclass(frozen=True)
class CaseFiles:
    """Where one scan lies. `files` and `ids` (SMIR image numbers) go by modality, "OT" where labelled."""

    number: int
    patient: str
    slab: str
    folder: Path
    files: dict[str, Path]
    ids: dict[str, int]


@dataclass(frozen=True)
class Case:
    """One scan: images (5, x, y, slice) float32 in file units, lesion (x, y, slice) bool or None."""

    images: np.ndarray
    lesion: np.ndarray | None
    spacing: np.ndarray  # (3,) mm
    number: int
    patient: str


def find_cases(root, split) -> list[CaseFiles]:
    """List the scans of one split in numeric order.

    Parameters
    ----------
    root : path of the folder that holds TRAINING/ and TESTING/
    split : "TRAINING" or "TESTING"

    Raises
    ------
    FileNotFoundError : no such folder, or no case_N folder in it.
    CaseError : a scan lacks a modality or holds one twice, or its patient is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    # Released file lists write the folders in lower case, too.
    folder = next((Path(root) / s for s in (split, split.lower()) if (Path(root) / s).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(
            f"no folder {split} in {root}; it should hold case_1, case_2, ... (data/README.md tells how to get "
            "ISLES 2018; the synthetic cohort is made by notebook 01)"
        )
    numbered = {}
    for path in folder.iterdir():
        match = re.fullmatch(r"case_(\d+)", path.name)
        if match and path.is_dir():
            numbered[int(match[1])] = path
    if not numbered:
        raise FileNotFoundError(f"no case_N folder in {folder}")
    return [_case_files(number, numbered[number], split) for number in sorted(numbered)]


def _case_files(number: int, folder: Path, split: str) -> CaseFiles:
    images = sorted(p for p in folder.rglob("*") if p.name.endswith((".nii", ".nii.gz")))
    files, ids = {}, {}
    for key, mark in _MARKS.items():
        found = [p for p in images if mark in p.name]
        if len(found) > 1:
            raise CaseError(
                f"case_{number} has {len(found)} {key} images: {', '.join(p.name for p in found)}; keep one"
            )
        if found:
            files[key] = found[0]
            digits = re.search(r"\.(\d+)\.nii(\.gz)?$", found[0].name)
            if digits:
                ids[key] = int(digits[1])
    needed = (*MODALITIES, "OT") if split == "TRAINING" else MODALITIES
    for key in needed:
        if key not in files:
            raise CaseError(
                f"case_{number} has no {key} image in {folder} (looked for *{_MARKS[key]}*.nii and .nii.gz)"
            )
    patient, slab = _patient(number, folder, split, ids)
    return CaseFiles(number, patient, slab, folder, files, ids)


def _patient(number: int, folder: Path, split: str, ids: dict[str, int]) -> tuple[str, str]:
    """Read patient and slab from the SMIR json beside an image, else from the table of facts by image id."""
    for path in sorted(folder.rglob("*.json")):
        try:
            description = str(json.loads(path.read_text()).get("description", ""))
        except (OSError, ValueError, AttributeError):
            continue  # the images do not depend on it, and the table may know the patient
        match = re.search(r"(Train|Test)(?:ing)?_(\d+)_([A-Z])\b", description)
        if match:
            return f"{match[1]}_{match[2]}", match[3]
    row = case_table().get((split, ids.get("CT")))
    if row is None:
        raise CaseError(
            f"the patient of case_{number} is unknown: no json in {folder} has a description like "
            f"'ISLES 2018 - TRAIN - Train_01_A - CT', and CT image {ids.get('CT')} is not in "
            "data/isles18_cases.csv. Folds need the patient: add such a json beside the CT"
        )
    return f"{'Train' if split == 'TRAINING' else 'Test'}_{int(row['patient']):02d}", row["slab"]


@cache
def case_table() -> dict[tuple[str, int], dict[str, str]]:
    """Read data/isles18_cases.csv, the facts of the real data set, keyed by (split, CT image id)."""
    with open(ROOT / "data" / "isles18_cases.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    split = {"train": "TRAINING", "test": "TESTING"}
    return {(split[row["split"]], int(row["ct_id"])): row for row in rows}


def read_image(path: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Read one 3-D NIfTI volume.

    Returns
    -------
    array (x, y, slice) in the file's own type, spacing (3,) in mm.

    The spacing comes from the header's zooms: in ISLES 2018 the affine is the identity whatever the voxel size.

    Raises
    ------
    CaseError : unreadable, not 3-D, NaN or infinite values, or a spacing that is not positive.
    """
    try:
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel, gzip and zlib each raise their own
        raise CaseError(f"case_{number}: cannot read {path} ({error}); replace the file") from error
    if array.ndim != 3:
        raise CaseError(f"case_{number}: {path} is {array.ndim}-D {array.shape}, expected (x, y, slice)")
    if not np.isfinite(array).all():
        raise CaseError(f"case_{number}: {path} holds NaN or infinite values; replace the file")
    spacing = np.array(image.header.get_zooms()[:3], float)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise CaseError(f"case_{number}: {path} has spacing {spacing} mm, expected positive numbers")
    return array, spacing


def load_case(case_files: CaseFiles) -> Case:
    """Load the five modalities and the lesion of one scan.

    Returns
    -------
    Case : images in file units (CT in HU; CBF and CBV ten times mL/100 g/min and mL/100 g; MTT and Tmax in s).

    Raises
    ------
    CaseError : an unreadable file, shapes or spacings that differ, a label other than 0 and 1.
    """
    number = case_files.number
    first, spacing = read_image(case_files.files["CT"], number)
    images = np.empty((len(MODALITIES), *first.shape), np.float32)
    images[0] = first
    for m, modality in enumerate(MODALITIES[1:], start=1):
        images[m] = _like(first, spacing, case_files.files[modality], number)
    lesion = None
    if "OT" in case_files.files:
        label = _like(first, spacing, case_files.files["OT"], number)
        if not np.isin(label, (0, 1)).all():
            raise CaseError(
                f"case_{number}: {case_files.files['OT']} holds values other than 0 and 1: {np.unique(label)[:8]}"
            )
        lesion = label.astype(bool)
    return Case(images, lesion, spacing, number, case_files.patient)


def _like(first, spacing, path: Path, number: int) -> np.ndarray:
    array, own = read_image(path, number)
    if array.shape != first.shape:
        raise CaseError(f"case_{number}: {path} has shape {array.shape}, the CT {first.shape}; they must agree")
    if not np.allclose(own, spacing, rtol=1e-3):
        raise CaseError(f"case_{number}: {path} has spacing {own} mm, the CT {spacing}; they must agree")
    return array


def save_map(path, array, like, dtype) -> Path:
    """Write an (x, y, slice) array as NIfTI with the geometry of another image, its header quirks included.

    Parameters
    ----------
    path : .nii or .nii.gz
    like : path of the image whose affine, codes and spacing are taken
    dtype : type on disk
    """
    source = nib.load(like)
    if tuple(array.shape) != tuple(source.shape[:3]):
        raise ValueError(f"array of shape {array.shape} cannot take the header of {like}, shape {source.shape}")
    header = source.header.copy()
    header.set_data_dtype(dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    # affine=None keeps the header's own sform, qform and pixdim.
    image = nib.Nifti1Image(np.asarray(array, dtype), None, header)
    return write_whole(Path(path), image.to_filename)


def hidden_truth(root, number: int) -> Path:
    """Name the testing lesion of the synthetic cohort. Only the scoring step of notebook 07 opens it."""
    return Path(root) / ".truth" / "testing_ot" / f"case_{number}.nii.gz"


def assign_folds(patients, n_folds: int, scheme: str = "contiguous", seed: int = 0, slices=None):
    """Give every scan a fold such that no patient is in two.

    Parameters
    ----------
    patients : sequence, the patient of each scan
    n_folds : int
    scheme : "contiguous" (case order, as the authors' code, moved to whole patients) or "balanced" (patients
        shuffled by the seed and dealt out by slice count, so that every fold sees every protocol)
    slices : int sequence, slices of each scan; needed by "balanced"

    Returns
    -------
    int array, one fold a scan.

    Raises
    ------
    ValueError : fewer patients than folds, or an unknown scheme.

    Source: Clèrigues et al. 2019, sec. 4.1 (75 training and 19 validation scans a fold, grouped by patient).
    Our choice: the assignment, where the paper is silent.
    """
    patients = list(patients)
    names = list(dict.fromkeys(patients))
    scans = np.array([patients.count(name) for name in names])
    if len(names) < n_folds:
        raise ValueError(f"{n_folds} folds need as many patients, there are {len(names)}; lower folds.count")
    if scheme == "contiguous":
        fold_of = _deal_in_order(scans, n_folds)
    elif scheme == "balanced":
        if slices is None:
            raise ValueError("the balanced scheme needs the slices of each scan")
        thick = np.array([max(s for s, p in zip(slices, patients, strict=True) if p == name) for name in names])
        order = rng(seed, "folds").permutation(len(names))
        order = order[np.argsort(thick[order], kind="stable")]
        fold_of, load = np.zeros(len(names), int), np.zeros(n_folds, int)
        for start in range(0, len(order), n_folds):
            # One patient of similar slice count to each fold; who has most scans goes where fewest are.
            some = order[start : start + n_folds]
            some = some[np.argsort(-scans[some], kind="stable")]
            fold_of[some] = np.argsort(load, kind="stable")[: len(some)]
            np.add.at(load, fold_of[some], scans[some])
    else:
        raise ValueError(f"scheme must be 'contiguous' or 'balanced', got {scheme!r}")
    lookup = dict(zip(names, fold_of.tolist(), strict=True))
    return np.array([lookup[p] for p in patients])


def _deal_in_order(scans: np.ndarray, n_folds: int) -> np.ndarray:
    """Close a fold once it holds its share of the scans, keeping one patient for every fold to come."""
    fold_of, fold, done = np.zeros(len(scans), int), 0, 0
    for patient, count in enumerate(scans):
        fold_of[patient] = fold
        done += count
        left = len(scans) - patient - 1
        if fold < n_folds - 1 and (done >= (fold + 1) * scans.sum() / n_folds or left == n_folds - 1 - fold):
            fold += 1
    return fold_of


def split_fold(folds, fold: int, patients, inner: bool = False, seed: int = 0, slices=None):
    """Return the scans to train on, to stop early on and to evaluate, as index arrays.

    In the paper the evaluated scans of a fold are also its early-stopping set, which flatters the result a little.
    `inner` holds a fifth of the training patients back for early stopping instead, and leaks nothing.
    """
    folds = np.asarray(folds)
    evaluate, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
    if not len(evaluate):
        raise ValueError(f"fold {fold} is empty; folds are {sorted(set(folds.tolist()))}")
    if not inner:
        return train, evaluate, evaluate
    parts = min(5, len({patients[i] for i in train}))
    inside = assign_folds(
        [patients[i] for i in train], parts, "balanced", seed, [slices[i] for i in train]
    )
    return train[inside != 0], train[inside == 0], evaluate
