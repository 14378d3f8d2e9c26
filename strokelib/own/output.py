"""What is left of a segmented scan: maps in its own grid, a page, a row for a registry, DICOM where it came as such.

A folder a scan, which is there whole or not at all.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelib import modalities, nifti, registration
from strokelib.figures import report
from strokelib.modalities import MODALITIES
from strokelib.nifti import CaseError
from strokelib.own import kinds, quantities, registry, segmentation_object, viewer
from strokelib.own.scan import DISCLAIMER, OwnScan
from strokelib.own.segment import Networks, Segmented
from strokelib.run.runtime import exchange, write_whole

TABLE, REGISTRY = "scans.csv", registry.FILE
MAPS = {"probability": np.float32, "uncertainty": np.float32, "core": np.uint8}
PAGES, SEGMENTATION = ("report.png", "report.pdf"), "core.dcm"
VIEWS = ("view_head.nii.gz", "view_core.nii.gz")
FILES = {*(f"{name}.nii.gz" for name in MAPS), *PAGES, *VIEWS, REGISTRY, SEGMENTATION}  # all that `save` leaves
CORRECTED_S = 60  # a file that is so much younger than the row beside it was changed by hand; copying takes less
SPREAD = "SD between networks"


@lru_cache(maxsize=1)  # page, row and table of a scan ask for the same
def measure(found: Segmented) -> tuple[quantities.Quantity, ...]:
    """Measure a segmented scan, as `quantities.measure`."""
    case, done = found.scan.case, found.preprocessed
    line = registration.midline(done.matrix, done.mask.shape)
    return quantities.measure(case.named, done.mask, line, found.core, done.spacing, found.interval_ml)


def decided(found: Segmented, networks: Networks) -> dict[str, str]:
    """Say in words what decided the result besides scan and networks."""
    pair = networks.pair
    core = f"probability > {pair.threshold:g}, at least {pair.min_lesion_voxels} voxels"
    return {"networks": networks.words, "mode": found.mode, "core": core}


def coverage_sentence(found: Segmented) -> str:
    """Say how often the interval held the outlined volume of scans it was not made from."""
    made, seen = found.interval, found.interval.coverage
    level = f"{100 * made.level:.0f} %"
    if seen is None:
        return f"{level} interval; its coverage was not measured."
    return (
        f"{level} interval, made from {made.scans} synthetic scans; it held the outlined volume of {seen.held} of "
        f"{seen.scans} others ({100 * seen.share:.0f} % by patient, 95 % interval {100 * seen.low:.0f} to "
        f"{100 * seen.high:.0f} %)."
    )


def draw(found: Segmented, networks: Networks):
    """Draw the page of a segmented scan; the caller closes the figure."""
    case, done = found.scan.case, found.preprocessed
    shown = report.Page(
        name=found.scan.name,
        images=case.named,
        brain=done.mask,
        core=found.core,
        probability=found.probability,
        spacing=done.spacing,
        quantities=measure(found),
        network="{networks}; mode {mode}; {core}".format(**decided(found, networks)),
        difference=quantities.mirror_difference(case.image("CBF"), done.matrix, done.mask),
        uncertainty=found.uncertainty,
        uncertainty_label=SPREAD,
        coverage=coverage_sentence(found),
        remarks=found.remarks,
        curves=found.scan.curves,
        sides=quantities.sides(found.scan.grid, done.spacing),
    )
    return report.page(shown)


def mirrored(case, prepared) -> dict[str, np.ndarray]:
    """Turn every image of a scan over its line of symmetry, (x, y, slice) by name in file units."""
    return dict(zip(case.modalities, registration.mirror(case.images, prepared.alignment, "cpu"), strict=True))


def listing(folder: Path) -> list[tuple[str, int]]:
    """List the files that `save` has left in a scan's folder, with their sizes in bytes."""
    return [(path.name, path.stat().st_size) for path in sorted(folder.iterdir())]


def row(found: Segmented, networks: Networks) -> dict:
    """Return what a registry takes of a segmented scan."""
    pair = networks.pair
    made_of = found.scan.origin, found.scan.sha256
    how = registry.How(found.mode, pair.threshold, pair.min_lesion_voxels, networks.sha256, *made_of)
    return registry.registry_row(found.scan.name, measure(found), how, found.remarks)


def saved_row(folder) -> dict:
    """Read the row that `save` left in a scan's folder: with a remark on what could not be written, too.

    Parameters
    ----------
    folder : that `save` returned
    """
    row = json.loads((Path(folder) / REGISTRY).read_text(encoding="utf-8"))
    row.pop("definitions")  # which a table does not repeat in each line
    return row


def save(found: Segmented, networks: Networks, folder) -> Path:
    """Write all that is left of a scan into the folder of its name, whole or not at all.

    Parameters
    ----------
    found : of `segment.segment`
    networks : those that found it
    folder : where the scan's own folder, called as the scan, is to lie; one that was written before is replaced

    Returns
    -------
    The scan's folder: probability, uncertainty and core as .nii.gz in the grid of the input, report.png and report.pdf,
    registry.json, and core.dcm (DICOM SEG) where the input was DICOM; one that cannot lie on the CT's files becomes a
    remark on the page and in the row, which costs nothing else. Where the headers state no place, as in ISLES
    2018, viewers take its voxels for 1 mm each way; view_head and view_core have the true spacing, for looking alone.

    Raises
    ------
    FileExistsError : there is a folder of that name which this has not written.
    CaseError : there are the results of another scan of that name.
    OSError : the disk is full or may not be written to.
    """
    place = Path(folder) / found.scan.name
    check_place(place)
    check_same(place, found.scan)
    made = place.with_name(f".{os.getpid()}.part.{place.name}")
    shutil.rmtree(made, ignore_errors=True)
    try:
        made.mkdir(parents=True)
        for name, kind in MAPS.items():
            _write_map(made / f"{name}.nii.gz", getattr(found, name), found, kind)
        if not found.scan.grid.stated:
            case, window = found.scan.case, MODALITIES[modalities.head(found.scan.case.modalities)].window
            viewer.write_volume(made / VIEWS[0], case.head, case.spacing, window)
            viewer.write_volume(made / VIEWS[1], found.core, case.spacing)
        if found.scan.slices:
            remarks = (*found.remarks, *_write_segmentation(made / SEGMENTATION, found, networks))
            found = dataclasses.replace(found, remarks=remarks)
        report.save_report(draw(found, networks), *(made / page for page in PAGES))
        registry.write_registry(made / REGISTRY, [row(found, networks)])
        exchange(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return place


def check_folder(folder, names) -> None:
    """Refuse a folder that cannot take the results of scans of these names, before anything is computed.

    Raises
    ------
    FileExistsError : it holds something else than what `save` and `save_table` write, where these would write.
    ValueError : its table was cut short, or spoilt otherwise.
    OSError : it is a file, or may not be written to.
    """
    folder = Path(folder)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write to {folder} ({error.strerror or error}); name a folder that can be written to",
        ) from error
    table = folder / TABLE
    if table.exists():
        if not (table.is_file() and table.read_bytes().startswith(b"disclaimer,")):
            raise FileExistsError(f"{table} is there and was not written by this; move it away, or name another folder")
        registry.read_table(table)
    for name in names:
        check_place(folder / name)


def check_place(place: Path) -> None:
    """Refuse to replace a folder that holds something else than what `save` wrote.

    Raises
    ------
    FileExistsError : it does.
    """
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    try:
        ours = json.loads((place / REGISTRY).read_text(encoding="utf-8"))["disclaimer"] == DISCLAIMER
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if not ours:
        raise FileExistsError(f"{place} is there and was not written by this; move it away, or name another folder")
    # A corrected mask lies beside what it was made from, or in its place; registry.json is written last.
    if added := [path.name for path in sorted(place.iterdir()) if path.name not in FILES and path.name[0] != "."]:
        raise FileExistsError(
            f"{place} holds what was added to it ({', '.join(added)}) and would be replaced; move that away, or name "
            "another folder"
        )
    made_s = (place / REGISTRY).stat().st_mtime
    if changed := [path.name for path in sorted(place.iterdir()) if _is_younger(path, made_s)]:
        raise FileExistsError(
            f"{place} holds what was changed since it was written ({', '.join(changed)}) and would be replaced; move "
            "that away, or name another folder"
        )


def check_same(place: Path, scan: OwnScan) -> None:
    """Refuse to replace the results of other images under the same name, such as ses-01 of another patient.

    Raises
    ------
    CaseError : the folder holds results that were made of other images.
    """
    try:
        made_of = json.loads((place / REGISTRY).read_text(encoding="utf-8"))["images_sha256"]
    except (OSError, ValueError, KeyError, TypeError):  # none there, or of an earlier version; see `check_place`
        return
    if made_of and made_of != scan.sha256:
        raise CaseError(
            f"{place} holds the results of other images that were called {scan.name}, too; give this scan a name of "
            f"its own (command: {kinds.COMMAND} --name ...), name another folder for the results, or move those away "
            "if its images were exported anew"
        )


def _is_younger(path: Path, made_s: float) -> bool:
    return path.name[0] != "." and path.stat().st_mtime > made_s + CORRECTED_S


def save_table(rows, folder) -> Path:
    """Write the rows of several scans as one table, scans.csv, before those of scans that it had and that are there.

    Parameters
    ----------
    rows : of `saved_row`, one at least; their columns are the table's, also where an earlier version wrote others
    folder : that holds the scans' folders
    """
    rows, path = list(rows), Path(folder) / TABLE
    new = {row["scan"] for row in rows}
    for old in registry.read_table(path) if path.is_file() else ():
        if old["scan"] not in new and (path.parent / old["scan"] / REGISTRY).is_file():
            rows.append({column: old.get(column, "") for column in rows[0]})
    return registry.write_registry(path, rows)


def _write_segmentation(path: Path, found: Segmented, networks: Networks) -> list[str]:
    """Write the core as DICOM SEG, or say why the CT's files, or what is installed, did not allow it."""
    maker = f"strokelib {registry.package_version('strokelib')}".rstrip()
    try:
        segmentation_object.write_segmentation(path, found.scan, found.core, maker, decided(found, networks))
    except OSError:  # of the disk, which takes the rest no better
        raise
    except CaseError as error:
        return [f"{path.name} was not written, because {error}"]
    except Exception as error:  # highdicom and pydicom raise their own for what a file lacks
        return [f"{path.name} was not written, because of the CT's DICOM files ({type(error).__name__}: {error})"]
    return []


def _write_map(path: Path, volume, found: Segmented, kind) -> None:
    """Write a volume in the grid of the input, with the header of its reference image where that was NIfTI.

    Where that header states no place and those of the maps do, the volume lies where the maps lie.
    """
    grid, reference = found.scan.grid, found.scan.reference
    own = grid.back(volume, order=0 if np.asarray(volume).dtype == bool else 1)
    if reference is not None and not (grid.stated and not _lies_at(reference, grid.affine)):
        nifti.save_map(path, own, reference, kind)
        return
    image = nib.Nifti1Image(own.astype(kind), grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(grid.affine, code="scanner")
    image.set_qform(grid.affine, code="scanner")  # who reads only one of the two forms finds the same
    if nifti.apart_mm(image.get_qform(), grid.affine, own.shape) > image.header.get_zooms()[0] / 2:
        image.set_qform(None, code="unknown")  # it has no room for slices that are sheared
    write_whole(path, image.to_filename)


def _lies_at(path: Path, affine) -> bool:
    """Tell whether a file's header gives its image this place."""
    return np.allclose(nifti.load_header(path).get_best_affine(), affine)
