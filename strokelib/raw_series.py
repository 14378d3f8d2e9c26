"""What the raw perfusion series of a scan adds to its maps: maps fitted here, or samples, for `extra_inputs` to add."""

from dataclasses import dataclass

import numpy as np

from strokelib import bolus
from strokelib.cases import CaseFiles, load_case, load_series
from strokelib.extra_inputs import CURVES, FITTED, SAMPLES_S, SHARP, within_windows
from strokelib.nifti import CaseError
from strokelib.own import series as own_series
from strokelib.own.scan import Curves
from strokelib.phantom.series import draw_series
from strokelib.preprocess import Preprocessed
from strokelib.run.settings import Cohort
from strokelib.run.variants import OF_SERIES

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
    curves = _curves_of(series, frame_s, head, scan)
    try:
        found = bolus.fit(series, scan.mask, curves.artery, frame_s, model)
    except ValueError as error:
        raise CaseError(f"case_{scan.number}: nothing can be fitted to its raw series ({error})") from error
    return Fitted({FITTED[name]: values for name, values in found.items()}, curves)


def _curves_of(series, frame_s: float, head, scan: Preprocessed) -> Curves:
    brain = own_series.brain_of(head, scan.spacing)
    own_series.check_times(series.shape[3], frame_s)
    return own_series.find_curves(series, head, brain, scan.spacing, frame_s)


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


def beside(extra: str, file: CaseFiles, scan: Preprocessed, split: str, cohort: Cohort | None) -> dict | None:
    """Make of a scan's own files what a variant takes of them, for `extra_inputs.extended`.

    Parameters
    ----------
    extra : one of variants.EXTRA
    file, split, cohort : as of `series_of`
    scan : preprocess.Preprocessed

    Returns
    -------
    images (x, y, slice) by name, 0 everywhere where they are of a series that cannot be used; None for what is made of
    the preprocessed scan alone
    """
    if extra == "windowed":
        return within_windows(load_case(file))
    if extra in OF_SERIES:
        return read(file, load_case(file).head, scan, split, cohort)[0]
    return _samples_of(file, scan, split, cohort) if extra == "curves" else None


def _samples_of(file: CaseFiles, scan: Preprocessed, split: str, cohort: Cohort | None) -> dict[str, np.ndarray]:
    head = load_case(file).head
    try:
        series, frame_s, _ = series_of(file, split, cohort)
        curves = _curves_of(series, frame_s, head, scan)
    except CaseError:
        return {name: np.zeros(scan.mask.shape, np.float32) for name in CURVES}
    return samples(series, scan.mask, curves.artery, frame_s)


def samples(series, mask, artery, frame_s: float, smoothing_px: float = SHARPER.smoothing_px) -> dict[str, np.ndarray]:
    """Sample every voxel's curve at fixed times before and after the arterial peak.

    Parameters
    ----------
    series : (x, y, slice, frame) HU
    mask : (x, y, slice) bool
    artery : (frame,) HU
    frame_s : s from one frame to the next
    smoothing_px : sigma of the in-plane Gaussian, voxels

    Returns
    -------
    {"curve at -6 s": (x, y, slice) float32 HU, ...}, the names of CURVES, less the mean over the samples of a voxel, as
    a series whose contrast is there from the start has no baseline; 0 outside of the mask. Before the first frame and
    after the last a curve stays as it is there.
    """
    last = series.shape[3] - 1
    place = np.clip((np.argmax(artery) * frame_s + np.array(SAMPLES_S)) / frame_s, 0, last)
    before = np.minimum(place.astype(int), last - 1)
    share = (place - before).astype(np.float32)[:, None]
    found = np.zeros((len(CURVES), *mask.shape), np.float32)
    for k in np.flatnonzero(mask.any((0, 1))):
        curves = bolus.centered_curves(series, mask, k, smoothing_px)
        sampled = curves[before] * (1 - share) + curves[before + 1] * share
        found[..., k][:, mask[..., k]] = sampled - sampled.mean(0)
    return dict(zip(CURVES, found, strict=True))


def nothing(scan: Preprocessed) -> dict[str, np.ndarray]:
    """Return the maps of a scan whose series says nothing: 0 everywhere, by the names of FITTED and SHARP."""
    return {name: np.zeros(scan.mask.shape, np.float32) for name in (*FITTED.values(), *SHARP.values())}
