"""The passage of a bolus fitted to every voxel's curve: flow, volume, transit time and delay, and how sure they are.

A scanner deconvolves, which asks nothing of the shape of what comes out, and pays for it with noise. Here the forward
model of `phantom.perfusion` is asked instead: which transit times and delays could have made this curve, and how much
flow would each of them need? What is reported is the mean over all of them, each weighed by how likely it makes the
curve, so that a voxel whose curve says little gets a calm answer and not an extreme one.
"""

from dataclasses import dataclass

import numpy as np

from strokelib.phantom import perfusion
from strokelib.phantom.perfusion import KAPPA, smooth_in_plane

NAMES = ("CBF", "CBV", "MTT", "delay")
AT_ONCE = 4096  # voxels; their odds of all transit times and delays fit into a processor's cache
FINE_S = 0.1  # on which the arterial curve is convolved
SAMPLE = 16  # every so manieth voxel tells the noise


@dataclass(frozen=True)
class Model:
    """Which transit times and delays a curve is held against, each as likely as another beforehand."""

    smoothing_px: float = 2.4  # sigma of the in-plane Gaussian, voxels; 0 for none
    shape: float = 2.0  # of the distribution of transit times, see `perfusion.residue`; 1 is the well-mixed exponential
    transit_s: tuple[float, ...] = tuple(np.geomspace(2, 30, 28).round(3).tolist())
    delay_s: tuple[float, ...] = tuple(np.arange(-3, 14.1, 0.5).tolist())

    def __post_init__(self):
        if self.smoothing_px < 0:
            raise ValueError(f"smoothing_px must not be negative, got {self.smoothing_px}")
        if self.shape < 1:
            raise ValueError(f"shape must be 1 or more, got {self.shape}")
        if not self.transit_s or min(self.transit_s) <= 0 or not self.delay_s:
            raise ValueError(f"transit_s must be positive and both lists hold values, got {self}")


def fit(series, mask, artery, frame_s: float, model: Model = Model()) -> dict[str, np.ndarray]:
    """Fit the model to every voxel's curve.

    Parameters
    ----------
    series : (x, y, slice, frame) HU; whatever is constant in time counts for nothing
    mask : (x, y, slice) bool, voxels to fit; nothing outside enters the smoothing
    artery : (frame,) HU over its own baseline
    frame_s : s from one frame to the next
    model : Model

    Returns
    -------
    {"CBF", "CBV", "MTT", "delay"} : (x, y, slice) float32 in mL/100 g/min, mL/100 g, s and s after the arterial curve;
    0 outside the mask. Each is the mean over all transit times and delays, weighed by their likelihoods.

    Raises
    ------
    ValueError : shapes that disagree, too few frames, an empty mask, a flat arterial curve, or values that are not
        finite.

    Source: Fieselmann et al. 2011 (the forward model); a mean over the posterior of a gamma-distributed transit time,
    in the manner of Boutelier et al., IEEE Trans Med Imaging 2012. Our choice: a flat prior over a grid, white noise of
    one size in the scan, a constant added to every curve of which nothing is known, so that contrast which is there
    before the first frame does not bend the baseline.
    """
    series, mask, artery = np.asarray(series), np.asarray(mask), np.asarray(artery, float)
    perfusion.check_series(series, mask, artery, frame_s)
    if not np.isfinite(series[mask]).all():  # one voxel would reach all, through the noise of the scan
        raise ValueError("series holds NaN or infinite values in the mask")
    curves, columns = templates(artery, frame_s, model)
    slices = {k: centered_curves(series, mask, k, model.smoothing_px) for k in np.flatnonzero(mask.any((0, 1)))}
    noise = _noise(slices.values(), curves)
    fitted = {name: np.zeros(mask.shape, np.float32) for name in NAMES}
    for k, measured in slices.items():
        for name, values in _means(measured, curves, columns, noise).items():
            fitted[name][..., k][mask[..., k]] = values
    return fitted


def explain(curve, artery, frame_s: float, model: Model = Model()) -> tuple[np.ndarray, dict[str, float]]:
    """Find the one curve of the model that is most like a measured one.

    Parameters
    ----------
    curve, artery : (frame,) HU
    frame_s : s

    Returns
    -------
    (frame,) HU less its mean over time; and its "CBF", "CBV", "MTT" and "delay", in the units of `fit`.
    """
    curves, columns = templates(artery, frame_s, model)
    measured = np.asarray(curve, np.float32)[:, None]
    flow, gain = _likeness(measured - measured.mean(), curves)
    best = int(gain[:, 0].argmax())
    (transit, delay), cbf = columns[best], float(flow[best, 0])
    return cbf * curves[best], {"CBF": cbf, "CBV": cbf * transit / 60, "MTT": float(transit), "delay": float(delay)}


def templates(artery, frame_s: float, model: Model = Model()) -> tuple[np.ndarray, np.ndarray]:
    """Return the curves of unit flow that the model knows, less their means over time.

    Parameters
    ----------
    artery : (frame,) HU
    frame_s : s

    Returns
    -------
    (curve, frame) float32, HU for 1 mL/100 g/min; (curve, 2), transit time and delay of each in s.
    """
    frames = len(artery)
    times = np.arange(frames) * frame_s
    fine = np.arange(0, times[-1] + frame_s, FINE_S)
    table = perfusion.arterial_response(
        np.interp(fine, times, artery), FINE_S, model.transit_s, model.delay_s, times, model.shape
    )
    columns = np.stack(np.meshgrid(model.transit_s, model.delay_s, indexing="ij"), axis=-1).reshape(-1, 2)
    curves = table.reshape(-1, frames) / np.float32(6000 * KAPPA)
    return curves - curves.mean(1, keepdims=True), columns


def centered_curves(series, mask, k: int, smoothing_px: float) -> np.ndarray:
    """Return the curves of a slice's voxels, smoothed in plane, less their means over time.

    Parameters
    ----------
    series : (x, y, slice, frame) HU
    mask : (x, y, slice) bool, whose voxels smooth each other
    k : the slice
    smoothing_px : sigma, voxels

    Returns
    -------
    (frame, voxel) float32 HU, in the order of the slice's mask
    """
    inside = mask[..., k]
    box = perfusion.box_around(inside)
    planes = np.ascontiguousarray(np.moveaxis(series[(*box, k)], -1, 0), np.float32)
    curves = smooth_in_plane(planes, inside[box], smoothing_px)[:, inside[box]]
    return curves - curves.mean(0)


def _likeness(measured, curves) -> tuple[np.ndarray, np.ndarray]:
    """Return the flow that fits each curve best, (curve, voxel), and by how much it lessens the squared residual."""
    lengths = np.maximum(np.linalg.norm(curves, axis=1), 1e-9).astype(np.float32)[:, None]
    along = np.maximum((curves / lengths) @ measured, 0)  # no flow runs backwards
    return along / lengths, along**2


def _noise(slices, curves) -> float:
    """Return the variance of a frame's noise: the median residual of a sample of voxels at their best fit."""
    residuals = []
    for measured in (each[:, ::SAMPLE] for each in slices):
        residuals.append((measured**2).sum(0) - _likeness(measured, curves)[1].max(0))
    free = max(curves.shape[1] - 4, 1)  # flow, transit time, delay and the constant were fitted
    return max(float(np.median(np.concatenate(residuals))) / free, 1e-6)


def _means(measured, curves, columns, noise: float) -> dict[str, np.ndarray]:
    """Average flow, volume, transit time and delay of each voxel over the curves, by their likelihood."""
    found = {name: np.zeros(measured.shape[1], np.float32) for name in NAMES}
    transit, delay = columns.astype(np.float32).T
    for begin in range(0, measured.shape[1], AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        flow, gain = _likeness(measured[:, part], curves)
        odds = np.exp((gain - gain.max(0)) / np.float32(2 * noise))
        odds /= odds.sum(0)
        found["MTT"][part], found["delay"][part] = transit @ odds, delay @ odds
        odds *= flow
        found["CBF"][part], found["CBV"][part] = odds.sum(0), transit @ odds / 60
    return found
