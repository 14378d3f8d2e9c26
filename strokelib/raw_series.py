"""What the raw perfusion series of a scan adds to its maps: maps fitted here, as further modalities of the scan.

Whoever reads a scan with them needs nothing new: they stand among its modalities and have mirror images as all do.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelib import bolus, registration
from strokelib.cases import CaseFiles, load_series
from strokelib.nifti import CaseError
from strokelib.own import series as own_series
from strokelib.own.scan import Curves
from strokelib.phantom.series import draw_series
from strokelib.preprocess import Preprocessed
from strokelib.run.settings import Cohort

FITTED = {name: f"fitted {name}" for name in bolus.NAMES}  # the names of `bolus.fit`, and theirs as modalities
MODEL, OTHER = bolus.Model(), bolus.Model(shape=1.0)  # the second is wrong for scans of the synthetic cohort


@dataclass(frozen=True, eq=False)
class Fitted:
    """The maps of one scan by the names of FITTED, (x, y, slice) float32, and the curves they were fitted with."""

    maps: dict[str, np.ndarray]
    curves: Curves


def fit_scan(series, frame_s: float, head, scan: Preprocessed, model: bolus.Model = MODEL) -> Fitted:
    """Find the artery in a raw series and fit the passage of its bolus to every voxel of the brain.

    Parameters
    ----------
    series : (x, y, slice, frame) HU, on the grid of the scan
    frame_s : s from one frame to the next
    head : (x, y, slice) HU, the CT without contrast
    scan : preprocess.Preprocessed, whose brain mask and spacing count
    model : bolus.Model

    Raises
    ------
    CaseError : too few frames, a time between them that no perfusion scan has, no brain, or no artery: nothing can be
        told from this series.

    Nothing of the maps that came with the scan is read but where its brain is.
    """
    brain = own_series.brain_of(head, scan.spacing)
    own_series.check_times(series.shape[3], frame_s)
    curves = own_series.find_curves(series, head, brain, scan.spacing, frame_s)
    try:
        found = bolus.fit(series, scan.mask, curves.artery, frame_s, model)
    except ValueError as error:
        raise CaseError(f"case_{scan.number}: nothing can be fitted to its raw series ({error})") from error
    return Fitted({FITTED[name]: values for name, values in found.items()}, curves)


def series_of(file: CaseFiles, split: str, cohort: Cohort | None) -> tuple[np.ndarray, float, str]:
    """Load the raw series of a scan, or draw it again where the synthetic cohort did not write it.

    Parameters
    ----------
    file : cases.CaseFiles
    split : "TRAINING" or "TESTING"
    cohort : settings of the synthetic cohort that the scan is of; None for scans of anybody else

    Returns
    -------
    (x, y, slice, frame) float32 HU; s from one frame to the next; "file" or "drawn again"

    Raises
    ------
    CaseError : no series came with the scan; see also `cases.load_series`.
    """
    if "4DPWI" in file.files:
        return *load_series(file), "file"
    if cohort is None:
        raise CaseError(f"case_{file.number}: no raw series (4DPWI) lies in {file.folder.name}; download it, too")
    return *draw_series(cohort, split, file.number), "drawn again"


def read(file: CaseFiles, head, scan: Preprocessed, split: str, cohort: Cohort | None) -> tuple[dict, dict, dict]:
    """Fit the raw series of a scan twice: by the model, and by one with another distribution of transit times.

    Parameters
    ----------
    file, split, cohort : as of `series_of`
    head : (x, y, slice) HU
    scan : preprocess.Preprocessed

    Returns
    -------
    maps : by the names of FITTED; `nothing` where the series cannot be used
    other : those of the other model, likewise; {} where the series cannot be used
    facts : case, patient and problem, "" for none; where there is none, origin, frames, frame_s and artery_hu (how far
        the arterial curve rises)
    """
    facts = {"case": scan.number, "patient": scan.patient, "problem": ""}
    try:
        series, frame_s, origin = series_of(file, split, cohort)
        fitted = fit_scan(series, frame_s, head, scan)
    except CaseError as error:
        return nothing(scan), {}, facts | {"problem": str(error)}
    other = bolus.fit(series, scan.mask, fitted.curves.artery, frame_s, OTHER)
    rise = float(fitted.curves.artery.max())
    facts |= {"origin": origin, "frames": series.shape[3], "frame_s": frame_s, "artery_hu": rise}
    return fitted.maps, {FITTED[name]: values for name, values in other.items()}, facts


def with_maps(scan: Preprocessed, maps: dict[str, np.ndarray]) -> Preprocessed:
    """Add maps to the modalities of a scan, and their mirror images to its mirrored ones, normalized as the others.

    Parameters
    ----------
    scan : preprocess.Preprocessed
    maps : (x, y, slice) each by name, on the scan's grid, 0 outside its brain. A map that is the same everywhere, such
        as those of `nothing`, stays 0, which is the mean of every other scan's.

    Raises
    ------
    ValueError : a name that is among the modalities, or another size.

    The mirror image is made by the alignment of the scan's own CT, as for its other modalities. Our choice: normalized
    over the brain of the scan and over the mirrored brain, as `preprocess.preprocess_case` does.
    """
    if there := {*maps} & {*scan.modalities}:
        raise ValueError(f"case_{scan.number} has {', '.join(sorted(there))} already; give other names")
    if wrong := {name: image.shape for name, image in maps.items() if image.shape != scan.mask.shape}:
        raise ValueError(f"case_{scan.number}: maps must be {scan.mask.shape} as its brain mask, got {wrong}")
    both = np.stack([scan.mask.astype(np.float32), *maps.values()])
    flipped = registration.mirror(both, _alignment(scan), "cpu")
    behind = flipped[0] > 0.5
    added = [_normalized(image, scan.mask) for image in maps.values()]
    added_mirrored = [_normalized(image, behind) for image in flipped[1:]]
    images = np.stack([*scan.provided, *added, *scan.mirrored, *added_mirrored])
    return dataclasses.replace(scan, images=images, modalities=(*scan.modalities, *maps))


def opposite(scan: Preprocessed) -> np.ndarray:
    """Mark where the other hemisphere lies opposite of a scan's lesion, (x, y, slice) bool, without the lesion itself.

    It is the lesion's mirror image, by the alignment of the scan's own CT.
    """
    flipped = registration.mirror(scan.lesion[None].astype(np.float32), _alignment(scan), "cpu")[0] > 0.5
    return flipped & ~scan.lesion


def _alignment(scan: Preprocessed) -> registration.Alignment:
    return registration.Alignment(scan.matrix, scan.score, scan.flip_score, "rigid", scan.quality)


def nothing(scan: Preprocessed) -> dict[str, np.ndarray]:
    """Return the maps of a scan whose series says nothing: 0 everywhere, by the names of FITTED."""
    return {name: np.zeros(scan.mask.shape, np.float32) for name in FITTED.values()}


def _normalized(image, inside) -> np.ndarray:
    """Bring a map to mean 0 and standard deviation 1 inside a mask, 0 outside."""
    values, normalized = image[inside].astype(np.float64), np.zeros(image.shape, np.float32)
    if values.size and values.min() < values.max():
        normalized[inside] = (values - values.mean()) / values.std()
    return normalized


def load_maps(path) -> dict[str, np.ndarray]:
    """Read the maps of a scan that `run.results.Run.save_series` wrote.

    Raises
    ------
    FileNotFoundError : there is no such file.
    CaseError : the file is damaged, or holds other maps than those of FITTED.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no maps of a raw series at {path}; notebook 23 writes them")
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            maps = {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # numpy, zipfile, zlib and struct each raise their own
        raise CaseError(f"{path} is damaged ({error}); delete it and run notebook 23") from error
    if {*maps} != {*FITTED.values()}:
        raise CaseError(f"{path} holds {', '.join(sorted(maps))}, expected {', '.join(FITTED.values())}; delete it")
    return maps
