"""Whose scan it is: folds go by patient, so every training scan needs one."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

from strokelib.facts import case_table, isles_row, patient_of
from strokelib.layouts import Scan, Split, read_scan, split_of
from strokelib.nifti import CaseError, read_header

FILE = "patients.csv"


def patients_of(root, split: Split, scans: list[Scan]) -> dict[int, tuple[str, str] | CaseError]:
    """Tell patient and slab of scans.

    Asked are, in this order: the json beside the images, as the challenge's download has it; the table of facts, by the
    image id in the CT's name; the table by number of case, if all scans of the split that nothing else tells have the
    slices and the spacing of their numbers there; and patients.csv in the folder. A testing scan that none of them
    knows counts as a patient of its own, since nothing is learned from it. (Our choice.)

    Parameters
    ----------
    root : the folder of the data, where patients.csv may lie
    split : of `layouts.find_split`
    scans : those asked for

    Returns
    -------
    by case, (patient, slab); or the error that says why it is unknown and what to do.
    """
    told = {scan.number: _by_description(scan) or _by_id(split.name, scan) for scan in scans}
    if all(told.values()):
        return told
    # Whether numbers can be believed must not depend on which scans are asked for.
    others = [number for number in split.places if number not in told]
    unknown = [scan for scan in scans if not told[scan.number]]
    unknown += [scan for scan in _readable(split, others) if not (_by_description(scan) or _by_id(split.name, scan))]
    by_number, reason = _by_number(split.name, unknown)
    written = {} if by_number else _by_file(root, split)
    for scan in scans:
        number = scan.number
        told[number] = told[number] or by_number.get(number) or written.get(number)
        if not told[number] and split.name == "TESTING":
            told[number] = (f"Test_case_{number}", "A")
        elif not told[number]:
            told[number] = CaseError(_why_unknown(root, scan, reason, written))
    return told


def _by_description(scan: Scan) -> tuple[str, str] | None:
    """Read patient and slab from the SMIR json beside an image."""
    for path in scan.descriptions:
        try:
            description = str(json.loads(path.read_text()).get("description", ""))
        except (OSError, ValueError, AttributeError, RecursionError):
            continue  # the images do not depend on it, and the table may know the patient
        match = re.search(r"(Train|Test)(?:ing)?_(\d+)_([A-Z])\b", description)
        if match:
            return f"{match[1]}_{match[2]}", match[3]
    return None


def _by_id(split: str, scan: Scan) -> tuple[str, str] | None:
    row = case_table().get((split, scan.ids.get("CT")))
    return row and patient_of(row)


def _readable(split: Split, numbers) -> list[Scan]:
    found = []
    for number in numbers:
        try:
            found.append(read_scan(split, number))
        except CaseError:
            continue  # told where it is asked for
    return found


def _by_number(split: str, scans: list[Scan]) -> tuple[dict[int, tuple[str, str]], str]:
    """Return the patients by number where all scans agree with the table, else none and why."""
    found = {}
    for scan in scans:
        try:
            shape, spacing = read_header(scan.files["CT"], scan.number)
        except CaseError:
            continue
        row = isles_row(split, scan.number, scan.ids.get("CT"), shape[2], spacing)
        if row is None:
            there = f"{shape[2]} slices of {' × '.join(f'{side:.4g}' for side in spacing)} mm"
            return {}, f"case_{scan.number}, {there}, is not that scan of ISLES 2018, so numbers tell no patient"
        found[scan.number] = patient_of(row)
    return found, ""


def patients_file(root, split: Split) -> Path | None:
    """Return where the user's own list of patients lies: in the folder of the data, or beside that of the cases."""
    return next((place / FILE for place in (Path(root), split.folder.parent) if (place / FILE).is_file()), None)


def _by_file(root, split: Split) -> dict[int, tuple[str, str]]:
    """Read patients.csv as a spreadsheet may save it: columns case, patient and perhaps slab and split.

    Without a column split its lines are training scans.

    Raises
    ------
    CaseError : what is wrong with it, by line.
    """
    path = patients_file(root, split)
    if path is None:
        return {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise CaseError(f"cannot read {path} ({error}); save it as CSV in UTF-8") from error
    separator = next((mark for mark in ",;\t" if lines and mark in lines[0]), ",")
    header, *rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)] or [[]]
    columns = [name.lower() for name in header]
    if not {"case", "patient"} <= {*columns}:
        raise CaseError(f"{path} has columns {', '.join(header)}, expected case, patient and perhaps slab; add them")
    told, seen = {}, Counter()
    for line, row in enumerate(rows, start=2):
        cells = dict(zip(columns, row, strict=False))
        if not any(row) or split_of(cells.get("split", "TRAINING")) not in (split.name, None):
            continue
        case, patient = re.fullmatch(r"(?:.*[^0-9])?0*([0-9]+)", cells.get("case", "")), cells.get("patient")
        if not case or not patient or int(case[1]) in told or not split_of(cells.get("split", "TRAINING")):
            raise CaseError(f"{path}, line {line}: {', '.join(row)}, expected a case once, and its patient; correct it")
        # Slabs of a patient in the order of the lines, where nothing else is said.
        told[int(case[1])] = patient, cells.get("slab") or chr(ord("A") + seen[patient] % 26)
        seen[patient] += 1
    return told


def _why_unknown(root, scan: Scan, reason: str, written: dict) -> str:
    number = scan.ids.get("CT")
    known = f"CT image {number} is not in data/isles18_cases.csv" if number else "the name of its CT has no image id"
    listed = f"{FILE} does not list it" if written else f"there is no {FILE}"
    return (
        f"the patient of case_{scan.number} is unknown: no json in {scan.folder} has a description like 'ISLES 2018 - "
        f"TRAIN - Train_01_A - CT', {known}, {reason or 'its number tells nothing'}, and {listed}. Folds need the "
        f"patient: add such a json beside the CT, or write {Path(root) / FILE}, with a first line 'case,patient' and a "
        f"line such as '{scan.number},P01' for every training scan"
    )
