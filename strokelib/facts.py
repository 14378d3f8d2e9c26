"""The facts of ISLES 2018's 156 scans (data/isles18_cases.csv; no image): which of them a scan is, and its patient."""

import csv
from functools import cache

import numpy as np

from strokelib.run.runtime import ROOT

SCANS = {"TRAINING": 94, "TESTING": 62}
# Image ids of the release of June 2018, which the table does not list; its scans are known by their geometry.
_EARLY_IDS = range(339000, 345000)
_SPLITS = {"train": "TRAINING", "test": "TESTING"}


@cache
def case_table() -> dict[tuple[str, int], dict[str, str]]:
    """Read data/isles18_cases.csv, keyed by (split, CT image id)."""
    with open(ROOT / "data" / "isles18_cases.csv", newline="") as file:
        return {(_SPLITS[row["split"]], int(row["ct_id"])): row for row in csv.DictReader(file)}


@cache
def _by_number() -> dict[tuple[str, int], dict[str, str]]:
    return {(split, int(row["case"])): row for (split, _), row in case_table().items()}


def isles_row(split: str, number: int, ct_id: int | None, slices: int, spacing) -> dict[str, str] | None:
    """Return the row of the table that a scan is, None where it is none of ISLES 2018.

    A scan is known by its CT's image id. Without one, as in copies that were renamed, it is the one of its number if
    slices and spacing agree, too; so is one with an id of the early release.

    Parameters
    ----------
    split : "TRAINING" or "TESTING"
    number : of the case
    ct_id : `CaseFiles.ids.get("CT")`
    slices : how many
    spacing : (3,) in mm
    """
    if ct_id is not None and ct_id not in _EARLY_IDS:
        return case_table().get((split, ct_id))
    row = _by_number().get((split, number))
    if row is None or int(row["slices"]) != slices:
        return None
    told = [float(row["spacing_x_mm"]), float(row["spacing_z_mm"])]
    return row if np.allclose([spacing[0], spacing[2]], told, rtol=1e-3) else None


def is_isles(split: str, number: int, ct_id: int | None, slices: int, spacing) -> bool:
    """Tell whether a scan is one of ISLES 2018; see `isles_row`."""
    return isles_row(split, number, ct_id, slices, spacing) is not None


def patient_of(row: dict[str, str]) -> tuple[str, str]:
    """Return patient and slab of a row of the table, as "Train_01" and "A"."""
    return f"{'Train' if row['split'] == 'train' else 'Test'}_{int(row['patient']):02d}", row["slab"]
