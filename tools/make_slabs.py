"""Make slabs of a download of ISLES 2024: python tools/make_slabs.py FOLDER [TARGET] [--thickness 5]

FOLDER is the unpacked archive (data/README.md says which part of it is needed). TARGET, by default data/isles2024, gets
TRAINING/case_N/ct.nii.gz, cbf.nii.gz, ..., lesion.nii.gz for every scan, slabs.csv with a row for each, and refused.csv
with those that cannot be used, and why. What was made already is kept, so that a run that was ended goes on.
"""

import argparse
import csv
import math
import os
import shutil
import sys
import time
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first

from strokelib import isles2024, slabs
from strokelib.nifti import CaseError
from strokelib.run.paths import placed
from strokelib.run.private import is_tracked
from strokelib.run.runtime import write_whole

TARGET = "data/isles2024"  # as configs/isles2024.toml has it
COLUMNS = (
    "case", "name", "slices", "thickness_mm", "averaged", "lesion_file_ml", "lesion_outside_ml", "lesion_slab_ml",
)  # fmt: skip


def origin(scan: isles2024.Download, thickness_mm: float) -> dict:
    """Return all that a slab depends on: the files by name and size, thickness, and version of the resampling."""
    sizes = {path.name: path.stat().st_size for path in scan.files.values()}
    return {"version": slabs.VERSION, "thickness_mm": thickness_mm, "files": sizes}


def make(scan: isles2024.Download, folder: Path, thickness_mm: float) -> tuple[dict, bool]:
    """Make the slab of one scan unless it is there.

    Returns
    -------
    a row of slabs.csv, and whether it was made now.

    Raises
    ------
    CaseError : the scan cannot be used.
    OSError : the slab cannot be written.
    """
    needed = origin(scan, thickness_mm)
    there, names = slabs.read_record(folder), [slabs.file_name(image) for image in scan.files]
    if there.get("origin") == needed and all((folder / name).is_file() for name in names):
        return there["row"], False
    volumes = slabs.read_volumes(scan)
    slab = slabs.make_slab(volumes, thickness_mm)
    row = {
        "case": scan.number, "name": scan.name, "slices": slab.lesion.shape[2],
        "thickness_mm": round(float(slab.spacing[2]), 3),
        "averaged": round(slab.spacing[2] / volumes.spacing[2]),
        "lesion_file_ml": round(slab.file_ml, 2), "lesion_outside_ml": round(slab.outside_ml, 2),
        "lesion_slab_ml": round(slab.slab_ml, 2),
    }  # fmt: skip
    slabs.write_slab(folder, slab, {"origin": needed, "row": row})
    return row, True


def run(source: Path, target: Path, thickness_mm: float) -> int:
    """Make the slabs of all scans, tell of each, and write the two tables.

    Returns
    -------
    how many slabs there are.

    Raises
    ------
    FileNotFoundError : the folder holds no scans.
    OSError : the target cannot be written to.
    """
    scans, problems = isles2024.list_scans(source)
    there = len(scans) + len(problems)
    print(f"{there} scans of ISLES 2024 in {source}; the whole archive has {isles2024.SCANS}", flush=True)
    training, refused, earlier = target / "TRAINING", dict(problems), read_refused(target / "refused.csv")
    for number in sorted(problems):
        print(f"refused: {problems[number]}", flush=True)
    for place, scan in enumerate(scans, start=1):
        began = time.perf_counter()
        try:
            row, new = make(scan, training / f"case_{scan.number}", thickness_mm)
        except CaseError as error:
            refused[scan.number] = str(error)
            shutil.rmtree(training / f"case_{scan.number}", ignore_errors=True)  # of other files, or another thickness
            print(f"{place} of {len(scans)}, refused: {error}", flush=True)
            continue
        told = (
            f"{row['slices']} slices of {row['thickness_mm']} mm, outline {row['lesion_slab_ml']} mL of "
            f"{row['lesion_file_ml']} mL, {row['lesion_outside_ml']} mL beyond the maps"
        )
        took = f"; {time.perf_counter() - began:.1f} s" if new else "; was there"
        print(f"{place} of {len(scans)}, {scan.name}: {told}{took}", flush=True)
    # An archive that is too large for the disk is unpacked part by part: what earlier parts gave stays.
    seen = {scan.number for scan in scans} | {*problems}
    refused |= {number: problem for number, problem in earlier.items() if number not in seen}
    rows = [record["row"] for path in training.glob("case_*") if (record := slabs.read_record(path))]
    rows.sort(key=lambda row: row["case"])
    write_table(target / "slabs.csv", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    write_table(target / "refused.csv", ("case", "problem"), sorted(refused.items()))
    return len(rows)


def read_refused(path: Path) -> dict[int, str]:
    """Read what an earlier run refused; nothing where there was none."""
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {int(row["case"]): row["problem"] for row in csv.DictReader(file)}


def write_table(path: Path, header, rows) -> None:
    """Write a table as csv, whole or not at all."""

    def write(temporary: Path) -> None:
        with open(temporary, "w", newline="", encoding="utf-8", errors="replace") as file:
            csv.writer(file).writerows([header, *rows])

    write_whole(path, write)


def thickness(text: str) -> float:
    """Read a thickness in mm, above 0 and at most 30."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 30:
        raise argparse.ArgumentTypeError(f"a thickness lies above 0 and is at most 30 mm, got {text!r}")
    return value


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/make_slabs.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="the unpacked archive of ISLES 2024")
    parser.add_argument("target", nargs="?", help=f"where the slabs go; by default {TARGET}")
    parser.add_argument(
        "--thickness", type=thickness, default=slabs.THICKNESS_MM, metavar="MM",
        help=f"of a slice, at least, in mm; by default {slabs.THICKNESS_MM:g}",
    )  # fmt: skip
    given = parser.parse_args()
    # As paths of the shell, which knows nothing of the repository's root.
    source = Path(os.path.abspath(os.path.expanduser(given.folder)))
    target = Path(os.path.abspath(os.path.expanduser(given.target))) if given.target else placed(TARGET)
    try:
        if is_tracked(target / "slabs.csv"):
            raise ValueError(f"{target} is no folder that git ignores, and patients' scans go there; name another one")
        count = run(source, target, given.thickness)
    except (ValueError, OSError) as error:
        sys.exit(f"stopped: {error}")
    print(f"{count} slabs in {target}; refused.csv there tells which scans were left out, and why")
    if count:
        print("outlines are infarcts of days 2 to 9, not the core; next: python tools/run.py isles2024")
    return 0 if count else 1


if __name__ == "__main__":
    sys.exit(main())
