"""What a stroke registry takes of a segmented scan: one flat row, as JSON for one scan and as CSV for many.

Nothing about the patient is written: neither a header nor a path, only the name that the user chose for the scan.
"""

import csv
import io
import json
import platform
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from strokelib.own.quantities import TABLE, Quantity
from strokelib.own.scan import DISCLAIMER
from strokelib.run.provenance import git
from strokelib.run.runtime import ROOT, write_whole

FILE = "registry.json"  # of one scan, beside its maps
BETWEEN = " | "  # remarks of a row
PACKAGES = ("strokelib", "torch", "numpy", "scipy")
# From a slash that begins a path, or a drive, to the last one of the remark: folders are named after patients.
_FOLDERS = re.compile(r"(?<![\w.])(?:[A-Za-z]:|~|\.{1,2})?[/\\].*[/\\]")


@dataclass(frozen=True)
class How:
    """How a scan was segmented."""

    mode: str  # "slices" or "exact"
    threshold: float  # probability over which a voxel is core
    min_lesion_voxels: int
    sha256: tuple[str, ...]  # of each network's file
    origin: str = ""  # as OwnScan.origin: whose maps they are
    images_sha256: str = ""  # as OwnScan.sha256: of which images


def registry_row(name: str, quantities, how: How, remarks=()) -> dict:
    """Make the row of one scan: plain text and numbers, every unit in the name of its column.

    Parameters
    ----------
    name : of the scan, as the user chose it; nothing else tells whose it is
    quantities : of `quantities.measure`
    how : How
    remarks : sentences; the folders of a path in them are left out

    Returns
    -------
    The disclaimer first, then the scan's name, the quantities in the order of TABLE (None where undefined, `undefined`
    says why), mode, threshold, networks, versions and remarks.

    Raises
    ------
    ValueError : a quantity is missing, there twice or unknown.
    """
    names = [quantity.name for quantity in quantities]
    if sorted(names) != sorted(TABLE):
        raise ValueError(f"a row needs each of {', '.join(TABLE)} once, got {', '.join(names)}; see quantities.measure")
    by_name: dict[str, Quantity] = {quantity.name: quantity for quantity in quantities}
    row = {"disclaimer": DISCLAIMER, "scan": name}
    row |= {column: _rounded(by_name[column].value) for column in TABLE}
    row["undefined"] = "; ".join(f"{column}: {by_name[column].why}" for column in TABLE if by_name[column].why)
    row |= {
        "mode": how.mode,
        "origin": how.origin,
        "images_sha256": how.images_sha256,
        "threshold": how.threshold,
        "min_lesion_voxels": how.min_lesion_voxels,
        "networks": len(how.sha256),
        "networks_sha256": " ".join(how.sha256),
        "python_version": platform.python_version(),
    }
    row |= {f"{package}_version": package_version(package) for package in PACKAGES} | {"commit": _commit()}
    return row | {"remarks": BETWEEN.join(map(without_folders, remarks))}


def write_registry(path, rows):
    """Write rows of `registry_row`: one as .json, with the definition of every quantity, or any number as .csv.

    Returns
    -------
    The path.

    Raises
    ------
    ValueError : another suffix, no row, several in a JSON file, or rows with other columns.
    OSError : the disk is full or may not be written to; nothing half-written stays.
    """
    rows, suffix = list(rows), str(path).rpartition(".")[2].lower()
    if suffix not in ("json", "csv"):
        raise ValueError(f"a registry file ends in .json or .csv, got {path}")
    if not rows or (suffix == "json" and len(rows) > 1):
        raise ValueError(f"{path} takes {'one scan' if suffix == 'json' else 'a scan at least'}, got {len(rows)}")
    if any(list(row) != list(rows[0]) for row in rows):
        raise ValueError(f"{path}: rows have different columns; make each of them by registry_row")
    text = _json(rows[0]) if suffix == "json" else _csv(rows)
    return write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def read_table(path) -> list[dict]:
    """Read the rows that `write_registry` left in a .csv, as text.

    Raises
    ------
    ValueError : bytes that are no UTF-8, no row of names, a row that was cut short.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        whole = [bool(row.get("scan")) and None not in row and None not in row.values() for row in rows]
        if not whole or not all(whole):
            raise ValueError(f"row {whole.index(False) + 2 if whole else 2} is not whole, or names no scan")
    except (ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is no table as this writes it ({error}); mend it, or move it away: a new one is begun then"
        ) from error
    return rows


def _json(row: dict) -> str:
    told = {
        name: {"unit": entry.unit, "definition": entry.definition, "source": entry.source}
        for name, entry in TABLE.items()
    }
    return json.dumps(row | {"definitions": told}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(rows) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def without_folders(text: str) -> str:
    """Leave the folders out of a sentence that names a file, since they may be named after a patient."""
    return _FOLDERS.sub("", text)


def _rounded(value):
    """Return a number to six significant digits; None stays."""
    return None if value is None else float(f"{value:.6g}")


@cache
def _commit() -> str:
    """Return the commit of the code; nothing where it lies in no repository of its own."""
    top, _, commit = (git("rev-parse", "--show-toplevel", "HEAD") or "").partition("\n")
    return commit if top and Path(top).resolve() == ROOT else ""


def package_version(package: str) -> str:
    """Return which version of a package is installed; "" where its metadata is not, as of a copy of the code alone."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
