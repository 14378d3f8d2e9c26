"""The facts of ISLES 2018's 156 scans (data/isles18_cases.csv; no image): which of them a scan is, and its patient."""

import csv
from functools import cache

import numpy as np

from strokelib.modalities import SOURCES
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
    return row if row and agrees(row, slices, spacing) else None


def agrees(row: dict[str, str], slices: int, spacing) -> bool:
    """Tell whether a scan has the slices and the spacing (3,) in mm of a row of the table."""
    told = [float(row["spacing_x_mm"]), float(row["spacing_z_mm"])]
    return int(row["slices"]) == slices and np.allclose([spacing[0], spacing[2]], told, rtol=1e-3)


def is_isles(split: str, number: int, ct_id: int | None, slices: int, spacing) -> bool:
    """Tell whether a scan is one of ISLES 2018; see `isles_row`."""
    return isles_row(split, number, ct_id, slices, spacing) is not None


def cohort_label(settings, files, cohort, bad: int) -> str:
    """Say whose scans a run uses, as every figure and table made from them must: "ISLES 2018, 20 of 94 training scans".

    They are called ISLES 2018 if each of them is one of it, else by the name of their folder.

    Parameters
    ----------
    settings : Settings
    files : list of cases.CaseFiles by split, the scans that are used
    cohort : frame, a row for each of them: split, case, slices, spacing_x_mm, spacing_z_mm
    bad : how many scans cannot be used and are left out
    """
    ids = {(split, file.number): file.ids for split, found in files.items() for file in found}
    known = settings.data.source == "isles2018"
    for row in cohort.itertuples():
        spacing, ct_id = (row.spacing_x_mm, row.spacing_x_mm, row.spacing_z_mm), ids[row.split, row.case].get("CT")
        known = known and is_isles(row.split, row.case, ct_id, row.slices, spacing)
    told = [settings.source]
    if known:
        told = [SOURCES["isles2018"].label]
        for split, whole in SCANS.items():
            if (there := len(files[split])) < whole:
                told.append(f"{f'{there} of {whole}' if there else 'no'} {split.lower()} scans")
    return ", ".join(told + [f"{bad} bad case{'s' if bad > 1 else ''} left out"] * (bad > 0))


def patient_of(row: dict[str, str]) -> tuple[str, str]:
    """Return patient and slab of a row of the table, as "Train_01" and "A"."""
    return f"{'Train' if row['split'] == 'train' else 'Test'}_{int(row['patient']):02d}", row["slab"]
