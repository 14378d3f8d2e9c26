"""What the raw perfusion series of a scan adds to its maps: maps fitted here, or samples, for `extra_inputs` to add."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from strokelib import bolus
from strokelib.cases import CaseFiles, load_case, load_series
from strokelib.extra_inputs import CURVES, FITTED, SAMPLES_S, SHARP, within_windows
from strokelib.modalities import ISLES
from strokelib.nifti import CaseError
from strokelib.own import series as own_series
from strokelib.own.scan import Curves
from strokelib.phantom.patient import KNOBS
from strokelib.phantom.scan import FRAME_S, make_case
from strokelib.phantom.series import draw_series
from strokelib.preprocess import Preprocessed
from strokelib.run.settings import Cohort
from strokelib.run.variants import OF_SERIES

MODEL, OTHER = bolus.Model(), bolus.Model(shape=1.0)  # the second is wrong for scans of the synthetic cohort
SHARPER = bolus.Model(smoothing_px=MODEL.smoothing_px / 2)  # a network can smooth further, but not take smoothing back
# What curves look like, without any model of them: `shapes`.
COMPONENTS = ("component 1", "component 2", "component 3")
SHAPES = ("time to peak", "first moment", *COMPONENTS)


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
    maps : by the names of FITTED, less smooth of SHARP, and of SHAPES; `nothing` where the series cannot be used
    other : by the names of FITTED, those of a model with another distribution of transit times, or `nothing`, too
    facts : case, patient and problem, "" for none; where there is none, origin, frames, frame_s, artery_hu (how far the
        arterial curve rises), artery_peak_s (when), and artery_width_s (for how long it is above half of that)
    """
    facts = {"case": scan.number, "patient": scan.patient, "problem": ""}
    try:
        series, frame_s, origin = series_of(file, split, cohort)
        fitted = fit_scan(series, frame_s, head, scan)
    except CaseError as error:
        maps = nothing(scan)
        return maps, {name: maps[name] for name in FITTED.values()}, facts | {"problem": str(error)}
    sharper, other = (bolus.fit(series, scan.mask, fitted.curves.artery, frame_s, model) for model in (SHARPER, OTHER))
    artery = fitted.curves.artery
    facts |= {"origin": origin, "frames": series.shape[3], "frame_s": frame_s, "artery_hu": float(artery.max())}
    facts |= {"artery_peak_s": float(artery.argmax() * frame_s)}
    facts |= {"artery_width_s": float((artery > artery.max() / 2).sum() * frame_s)}
    maps = fitted.maps | {SHARP[name]: values for name, values in sharper.items()}
    maps |= shapes(series, scan.mask, artery, frame_s)
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


def shapes(series, mask, artery, frame_s: float, smoothing_px: float = MODEL.smoothing_px) -> dict[str, np.ndarray]:
    """Describe every voxel's curve without a model: when it is highest, where its middle lies, what it looks like.

    Parameters
    ----------
    series, mask, artery, frame_s, smoothing_px : as of `samples`

    Returns
    -------
    {"time to peak": (x, y, slice) float32, s after that of the artery, "first moment": likewise, "component 1": HU,
    ...}, the names of SHAPES; 0 outside of the mask. The components are how much of the three patterns in time a curve
    has that explain most of the curves of the scan (principal components).

    Our choice: a curve counts from the mean of its lowest quarter of frames on, as a series whose contrast is there
    from the start has no baseline. Patterns have no sign of their own: the first is taken as high where the artery is,
    the second where it falls, the third where it is bent upwards, by which a later curve and a wider one differ.
    """
    found = {name: np.zeros(mask.shape, np.float32) for name in SHAPES}
    order = np.flatnonzero(mask.any((0, 1)))
    curves = np.hstack([bolus.centered_curves(series, mask, k, smoothing_px) for k in order])
    artery = np.asarray(artery, np.float32) - np.mean(artery, dtype=np.float32)
    peaks, moments = (of(curves, frame_s) - of(artery[:, None], frame_s) for of in (_peak, _moment))
    patterns = np.linalg.eigh(curves @ curves.T)[1][:, : -len(COMPONENTS) - 1 : -1]
    falling = -np.gradient(artery)
    guides = np.stack([artery, falling, -np.gradient(falling)])
    patterns = patterns * np.where((guides.T * patterns).sum(0) < 0, -1, 1)
    for name, values in zip(SHAPES, (peaks, moments, *(patterns.T.astype(np.float32) @ curves)), strict=True):
        found[name].transpose(2, 0, 1)[mask.transpose(2, 0, 1)] = values  # slice by slice, as the curves are
    return found


def _peak(curves, frame_s: float) -> np.ndarray:
    """Return when curves (frame, voxel), smoothed over three frames, are highest, in s, by a parabola through it."""
    smooth = (curves[:-2] + 2 * curves[1:-1] + curves[2:]) / 4
    place = np.clip(smooth.argmax(0), 1, len(smooth) - 2)
    before, at, after = (np.take_along_axis(smooth, place[None] + step, 0)[0] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    off = np.where(bend < 0, (before - after) / np.where(bend < 0, 2 * bend, 1), 0)
    return frame_s * (place + 1 + np.clip(off, -1, 1))


def _moment(curves, frame_s: float) -> np.ndarray:
    """Return the mean time of curves (frame, voxel), in s, weighed by how far they are above their lowest quarter."""
    low = np.sort(curves, axis=0)[: max(1, len(curves) // 4)].mean(0)
    above = np.maximum(curves - low, 0)
    return frame_s * (np.arange(len(curves)) @ above) / np.maximum(above.sum(0), 1e-6)


def redrawn(cohort: Cohort, split: str, scan: Preprocessed, shape: float) -> tuple[dict, np.ndarray, np.ndarray]:
    """Draw a synthetic scan again with another residue function, and fit its series by MODEL all the same.

    Parameters
    ----------
    cohort, split : as of `series_of`
    scan : preprocess.Preprocessed, whose number, brain and spacing count
    shape : of the transit times in the tissue, see `phantom.perfusion.residue`; the model's own is MODEL.shape

    Returns
    -------
    images (x, y, slice) by name, the perfusion maps as the phantom's scanner makes them of the new series, and those by
    the names of FITTED; lesion and mask, bool

    Patient, stroke and noise are those of the scan. Raises what `fit_scan` does.
    """
    knobs = dataclasses.replace(KNOBS[cohort.difficulty], residue_shape=shape)
    case = make_case(cohort, split, scan.number, knobs, keep_series=True)
    fitted = fit_scan(np.rint(case.series), FRAME_S, np.float32(case.images["CT"]), scan)
    maps = {name: np.float32(case.images[f"CT_{name}"]) for name in ISLES if name != "CT"}
    return maps | fitted.maps, case.images["OT"] > 0, scan.mask & case.brain


def nothing(scan: Preprocessed) -> dict[str, np.ndarray]:
    """Return the maps of a scan whose series says nothing: 0 everywhere, by the names of FITTED, SHARP and SHAPES."""
    return {name: np.zeros(scan.mask.shape, np.float32) for name in (*FITTED.values(), *SHARP.values(), *SHAPES)}
