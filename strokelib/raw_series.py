"""What the raw perfusion series of a scan adds to its maps: maps fitted here, which `extra_inputs` adds to the scan."""

from dataclasses import dataclass

import numpy as np

from strokelib import bolus, registration
from strokelib.cases import CaseFiles, load_series
from strokelib.extra_inputs import FITTED, SHARP, alignment_of
from strokelib.nifti import CaseError
from strokelib.own import series as own_series
from strokelib.own.scan import Curves
from strokelib.phantom.series import draw_series
from strokelib.preprocess import Preprocessed
from strokelib.run.settings import Cohort

MODEL, OTHER = bolus.Model(), bolus.Model(shape=1.0)  # the second is wrong for scans of the synthetic cohort
SHARPER = bolus.Model(smoothing_px=MODEL.smoothing_px / 2)  # a network can smooth further, but not take smoothing back


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
    """Fit the raw series of a scan: by the model, with half of its smoothing, and by other transit times.

    Parameters
    ----------
    file, split, cohort : as of `series_of`
    head : (x, y, slice) HU
    scan : preprocess.Preprocessed

    Returns
    -------
    maps : by the names of FITTED and, less smooth, of SHARP; `nothing` where the series cannot be used
    other : by the names of FITTED, those of a model with another distribution of transit times, or `nothing`, too
    facts : case, patient and problem, "" for none; where there is none, origin, frames, frame_s and artery_hu (how far
        the arterial curve rises)
    """
    facts = {"case": scan.number, "patient": scan.patient, "problem": ""}
    try:
        series, frame_s, origin = series_of(file, split, cohort)
        fitted = fit_scan(series, frame_s, head, scan)
    except CaseError as error:
        maps = nothing(scan)
        return maps, {name: maps[name] for name in FITTED.values()}, facts | {"problem": str(error)}
    sharper, other = (bolus.fit(series, scan.mask, fitted.curves.artery, frame_s, model) for model in (SHARPER, OTHER))
    rise = float(fitted.curves.artery.max())
    facts |= {"origin": origin, "frames": series.shape[3], "frame_s": frame_s, "artery_hu": rise}
    maps = fitted.maps | {SHARP[name]: values for name, values in sharper.items()}
    return maps, {FITTED[name]: values for name, values in other.items()}, facts


def opposite(scan: Preprocessed) -> np.ndarray:
    """Mark where the other hemisphere lies opposite of a scan's lesion, (x, y, slice) bool, without the lesion itself.

    It is the lesion's mirror image, by the alignment of the scan's own CT.
    """
    flipped = registration.mirror(scan.lesion[None].astype(np.float32), alignment_of(scan), "cpu")[0] > 0.5
    return flipped & ~scan.lesion


def nothing(scan: Preprocessed) -> dict[str, np.ndarray]:
    """Return the maps of a scan whose series says nothing: 0 everywhere, by the names of FITTED and SHARP."""
    return {name: np.zeros(scan.mask.shape, np.float32) for name in (*FITTED.values(), *SHARP.values())}
