"""Indicator-dilution physics of CT perfusion: from flow to enhancement curves, and back to maps.

A bolus of contrast reaches a voxel through an artery. With AIF(t) the arterial enhancement (HU) and
R(t) the fraction of contrast still in the voxel t seconds after it came in, the voxel enhances by

    c(t) = CBF / (6000 kappa) * integral of AIF(s - delay) R(t - s) ds        (the forward model)

CBF in mL/100 g/min (6000 makes it mL/g/s), kappa in mL/g for the hematocrit of large and small
vessels and the density of tissue. The mean transit time is MTT = integral of R, and the blood
volume CBV = CBF MTT / 60. Scanners go the other way: deconvolve k(t) = CBF R(t - delay) from c and
AIF, and read CBF = max k and Tmax = argmax k.

Source: Fieselmann et al. 2011, Int J Biomed Imaging 467563 (equations, kappa); Wu et al. 2003, Magn
Reson Med 50:164 (block-circulant singular value decomposition, which a delay does not disturb).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gammaincc

HEMATOCRIT_LARGE, HEMATOCRIT_SMALL, DENSITY = 0.45, 0.25, 1.04  # the last in g/mL
KAPPA = (1 - HEMATOCRIT_LARGE) / (1 - HEMATOCRIT_SMALL) / DENSITY  # 0.705 mL/g
MIN_FRAMES = 10
RESIDUE_S, RESIDUE_STEP_S = 20.0, 0.5  # k(t) is looked at from 0 to 20 s, every half second
LIMITS = {"CBF": 200.0, "CBV": 20.0, "MTT": 25.0, "Tmax": RESIDUE_S}  # scanners clip, too
MIN_CBF = 0.8  # mL/100 g/min; below it there is no transit time worth a number
ARRIVAL_FRACTION = 0.1  # of the arterial peak
# The table behind `tissue_curves`.
TABLE_MTT_S = np.geomspace(1.5, 38.0, 56)
TABLE_DELAY_S = np.arange(-1.0, 18.01, 0.2)


def gamma_variate(time, arrival, peak, a, b):
    """Return the classical bolus: 0 before `arrival`, `peak` high at arrival + a b seconds."""
    u = np.clip(np.asarray(time, float) - arrival, 0, None)
    return peak * (u / (a * b)) ** a * np.exp(a - u / b)


def arterial_input(time, arrival, peak, width=1.0, recirculation_s=17.0):
    """Return an arterial curve: first pass, recirculation, slow rise of contrast in the blood.

    Parameters
    ----------
    time : (n,) s
    arrival : s, when contrast first comes
    peak : HU, height of the first pass
    width : factor of the bolus width; 1 gives a full width at half maximum of 11 s (more at low
        cardiac output)
    recirculation_s : s, from arrival to the second pass

    Source: the shape is fitted to the arterial curves of the 156 scans of ISLES 2018 (time to peak
    15 s, full width 11.5-12 s, tail a fifth of the peak).
    """
    time = np.asarray(time, float)
    first = gamma_variate(time, arrival, peak, 3.0, 2.7 * width)
    second = gamma_variate(time, arrival + recirculation_s, 0.12 * peak, 3.0, 5.4 * width)
    pool = 0.08 * peak * (1 - np.exp(-np.clip(time - arrival - 8.0, 0, None) / 10.0))
    return first + second + pool


def residue(time, mtt, shape=2.0):
    """Return R(t): the fraction of contrast whose transit takes longer than `time`.

    Transit times follow a gamma distribution with mean `mtt` (s); shape 1 is the well-mixed
    exponential, larger shapes approach plug flow. `time` and `mtt` broadcast.
    """
    return gammaincc(shape, shape * np.clip(time, 0, None) / mtt)


def arterial_response(aif, aif_step, mtt, delay, times, shape=2.0):
    """Convolve the arterial curve with the residue function: (AIF * R)(t - delay).

    Parameters
    ----------
    aif : (n,) HU on a fine grid that starts at 0 s
    aif_step : s
    mtt : (m,) s
    delay : (d,) s
    times : (t,) s, the scan's frames
    shape : of the transit times, see `residue`

    Returns
    -------
    (m, d, t) float32, HU s. Before contrast comes it is 0.
    """
    n = len(aif)
    fine = np.arange(n) * aif_step
    remaining = residue(fine[None], np.asarray(mtt, float)[:, None], shape)
    convolved = np.fft.irfft(np.fft.rfft(remaining, 2 * n) * np.fft.rfft(aif, 2 * n), 2 * n)[:, :n]
    convolved = aif_step * (convolved - 0.5 * (aif + aif[0] * remaining))  # trapezoids: half of both ends
    position = (np.asarray(times)[None] - np.asarray(delay)[:, None]) / aif_step
    inside = np.clip(position, 0, n - 1)
    left = np.minimum(inside.astype(int), n - 2)
    share = inside - left
    value = convolved[:, left] * (1 - share) + convolved[:, left + 1] * share
    return np.where(position < 0, 0, value).astype(np.float32)


def tissue_curves(cbf, mtt, delay, aif, aif_step, times, shape=2.0):
    """Apply the forward model to many voxels.

    Parameters
    ----------
    cbf : array, mL/100 g/min
    mtt, delay : arrays of the same shape, s; clipped to 1.5-38 s and -1 to 18 s
    aif : (n,) HU on a fine grid that starts at 0 s
    aif_step : s
    times : (t,) s
    shape : of the transit times, see `residue`

    Returns
    -------
    (t, ...) float32, HU, with the shape of the voxels behind the frames.

    Curves come from a table of 56 transit times by 96 delays (nearest entry), scaled so that the
    blood volume CBF MTT / 60 is kept exactly.
    """
    table = arterial_response(aif, aif_step, TABLE_MTT_S, TABLE_DELAY_S, times, shape)
    table = np.ascontiguousarray(table.reshape(-1, len(times)).T)
    return _read_table(table, cbf, mtt, delay)


def _read_table(table, cbf, mtt, delay):
    """Pick each voxel's column of the (time, MTT x delay) table and scale it to HU."""
    n_mtt, n_delay = len(TABLE_MTT_S), len(TABLE_DELAY_S)
    step = np.log(TABLE_MTT_S[1] / TABLE_MTT_S[0])
    row = np.clip(np.rint(np.log(mtt / TABLE_MTT_S[0]) / step), 0, n_mtt - 1).astype(np.intp)
    column = np.clip(np.rint((delay - TABLE_DELAY_S[0]) / 0.2), 0, n_delay - 1).astype(np.intp)
    amplitude = np.asarray(cbf * mtt / TABLE_MTT_S[row] / (6000 * KAPPA), np.float32)
    return np.take(table, row * n_delay + column, axis=1) * amplitude


@lru_cache(maxsize=64)
def _gaussian_band(size: int, sigma: float):
    """Return the (size, size) matrix that blurs a line with a Gaussian cut at 2.5 sigma."""
    offset = np.arange(size)[:, None] - np.arange(size)[None]
    reach = int(2.5 * sigma + 0.5)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    band = np.exp(-0.5 * (offset / sigma) ** 2) / window.sum()
    band = np.where(np.abs(offset) <= reach, band, 0).astype(np.float32)
    band.setflags(write=False)  # shared by all callers
    return band


def smooth_in_plane(planes, mask, sigma):
    """Blur (time, x, y) planes by `sigma` voxels inside an (x, y) mask; nothing outside enters."""
    planes = np.where(mask, planes, np.float32(0))
    if sigma == 0:
        return planes
    rows, columns = _gaussian_band(mask.shape[0], sigma), _gaussian_band(mask.shape[1], sigma)
    weight = rows @ mask.astype(np.float32) @ columns
    return (rows @ planes @ columns) / np.maximum(weight, 0.05)


def _frame_filter(frames: int):
    """Return the (time, time) matrix of the temporal filter [1 2 1] / 4, edges repeated."""
    weights = 0.5 * np.eye(frames) + 0.25 * np.eye(frames, k=1) + 0.25 * np.eye(frames, k=-1)
    weights[0, 0] = weights[-1, -1] = 0.75
    return weights


def bolus_arrival(aif) -> int:
    """Return the frame in which the arterial curve rises above a tenth of its peak for good."""
    peak = int(np.argmax(aif))
    rise = aif[: peak + 1] - np.min(aif[: peak + 1])
    low = np.flatnonzero(rise <= ARRIVAL_FRACTION * rise[peak])
    return int(low[-1]) + 1 if len(low) else 0


def deconvolution_matrix(aif, dt, truncation=0.08):
    """Return the matrix that turns enhancement curves into k(t) = CBF R(t - delay) / (6000 kappa).

    Deconvolution is linear, so a whole scan is one matrix product. Padding to twice the frames
    makes the convolution circular, and then the singular vectors are Fourier waves and the singular
    values the arterial spectrum |A|: keep the frequencies with |A| > truncation max |A|, divide,
    transform back, interpolate by zero padding.

    Parameters
    ----------
    aif : (t,) HU, baseline removed
    dt : s between frames
    truncation : share of the largest singular value below which they are dropped

    Returns
    -------
    (samples, t) float32; row i is at `i * step` seconds, step = dt / ceil(dt / 0.5 s), from 0 to 20
    s.

    Source: Wu et al. 2003, Magn Reson Med 50:164. Our choice: truncation 0.08 (0.1-0.2 in the
    literature), which suits series smoothed like ours.
    """
    frames = len(aif)
    spectrum = np.fft.rfft(aif, 2 * frames)
    keep = np.abs(spectrum) > truncation * np.abs(spectrum).max()
    inverse = np.where(keep, 1 / np.where(keep, spectrum, 1), 0) / dt
    waves = np.fft.rfft(np.eye(frames), 2 * frames, axis=1) * inverse
    finer = int(np.ceil(dt / RESIDUE_STEP_S))
    if finer > 1:
        waves[:, -1] *= 0.5  # the Nyquist wave splits over two frequencies of the finer grid
    padded = np.zeros((frames, frames * finer + 1), complex)
    padded[:, : frames + 1] = waves
    k = np.fft.irfft(padded, 2 * frames * finer, axis=1) * finer
    samples = min(int(RESIDUE_S / dt * finer) + 1, k.shape[1])
    return k[:, :samples].T.astype(np.float32)


@dataclass(frozen=True)
class Deconvolution:
    """How maps are computed from a series."""

    baseline_frames: int | None = None  # before contrast; None takes all but the last before the arterial curve rises
    truncation: float = 0.08  # share of the largest singular value below which they are dropped, in (0, 1)
    smoothing_px: float = 2.4  # sigma of the in-plane Gaussian, voxels; 0 for none
    mtt_mix: float = 0.3  # share of the first-moment transit time in the MTT map, 0 to 1
    first_pass_s: float = 40.0  # from arterial arrival; over it blood volume and moments are integrated

    def __post_init__(self):
        if not 0 < self.truncation < 1:
            raise ValueError(f"truncation must be in (0, 1), got {self.truncation}")
        if self.smoothing_px < 0:
            raise ValueError(f"smoothing_px must not be negative, got {self.smoothing_px}")
        if not 0 <= self.mtt_mix <= 1:
            raise ValueError(f"mtt_mix must be 0 to 1, got {self.mtt_mix}")


def maps_from_series(series, mask, aif, dt, how: Deconvolution = Deconvolution()):
    """Compute perfusion maps from a CT perfusion series by block-circulant SVD.

    Parameters
    ----------
    series : (x, y, slice, time) HU; a baseline that is constant in time may be in it or not
    mask : (x, y, slice) bool, voxels to map; nothing outside enters the smoothing
    aif : (time,) HU of an artery, absolute or enhancement: its own baseline is subtracted
    dt : s between frames
    how : Deconvolution

    Series and aif are filtered [1 2 1] / 4 in time.

    Returns
    -------
    {"CBF", "CBV", "MTT", "Tmax"} : (x, y, slice) float32 in mL/100 g/min, mL/100 g, s, s; 0 outside
    the mask.

        CBF  = 6000 kappa max k        Tmax = argmax k        CBV = 100 kappa (sum of c) / (sum of
        AIF) MTT  = (1 - mix) 60 CBV / CBF + mix (center of c - center of AIF), 0 where CBF < 0.8

    Raises
    ------
    ValueError : shapes that disagree, too few frames, an empty mask, a flat aif, NaN, or a
        number of baseline frames that the series does not have.

    Source: Fieselmann et al. 2011 (equations), Wu et al. 2003 (deconvolution). Our choice:
    `mtt_mix`, because vendor MTT maps are not CBV / CBF either.
    """
    series, mask, aif = np.asarray(series), np.asarray(mask), np.asarray(aif, float)
    check_series(series, mask, aif, dt)
    frames = len(aif)
    filtered = _frame_filter(frames)
    aif = filtered @ aif
    arrival = bolus_arrival(aif)
    baseline = max(arrival - 1, 1) if how.baseline_frames is None else int(how.baseline_frames)
    if not 1 <= baseline < frames:
        raise ValueError(f"baseline_frames must be 1 to {frames - 1}, got {how.baseline_frames}")
    aif = np.clip(aif - aif[:baseline].mean(), 0, None)
    first_pass = slice(baseline, min(frames, arrival + round(how.first_pass_s / dt)))
    if aif[first_pass].sum() <= 0:
        raise ValueError("aif does not rise over its baseline in the first pass; give the curve of an artery in HU")
    # Filter and baseline subtraction in one matrix: curve = prepare @ measured.
    prepare = (filtered - filtered[:baseline].mean(0)).astype(np.float32)
    inverse = deconvolution_matrix(aif, dt, how.truncation)
    step = dt / np.ceil(dt / RESIDUE_STEP_S)

    maps = {name: np.zeros(mask.shape, np.float32) for name in LIMITS}
    for k in np.flatnonzero(mask.any((0, 1))):
        box = box_around(mask[..., k])
        inside = mask[..., k][box]
        planes = np.ascontiguousarray(np.moveaxis(series[(*box, k)], -1, 0), np.float32)
        if not np.isfinite(planes[:, inside]).all():
            raise ValueError(f"series holds NaN or infinite values inside the mask in slice {k}; repair or mask them")
        curves = prepare @ smooth_in_plane(planes, inside, how.smoothing_px)[:, inside]
        values = _voxel_maps(curves, inverse, step, aif, first_pass, dt, how.mtt_mix)
        for name, limit in LIMITS.items():
            maps[name][..., k][box][inside] = np.clip(values[name], 0, limit)
    return maps


def _voxel_maps(curves, inverse, step, aif, first_pass, dt, mtt_mix):
    """Read the four quantities off (time, voxel) enhancement curves."""
    k = inverse @ curves
    best = k.argmax(0)
    cbf = np.clip(6000 * KAPPA * np.take_along_axis(k, best[None], 0)[0], 0, None)
    passing = curves[first_pass]
    cbv = np.clip(100 * KAPPA * passing.sum(0) / aif[first_pass].sum(), 0, None)
    seconds = (np.arange(first_pass.start, first_pass.stop) * dt).astype(np.float32)
    weight = np.clip(passing, 0, None)
    center = (seconds @ weight) / np.maximum(weight.sum(0), 1e-3)
    center -= (seconds @ aif[first_pass]) / aif[first_pass].sum()
    transit = np.clip(60 * cbv / np.maximum(cbf, 0.5), 0, LIMITS["MTT"])
    mtt = (1 - mtt_mix) * transit + mtt_mix * np.clip(center, 0, LIMITS["MTT"])
    return {"CBF": cbf, "CBV": cbv, "MTT": np.where(cbf < MIN_CBF, 0, mtt), "Tmax": best * step}


def box_around(mask):
    """Return the slices of the smallest rectangle around an (x, y) mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def check_series(series, mask, aif, dt):
    """Refuse a series, a mask and an arterial curve that do not belong together or hold nothing to go on.

    Raises
    ------
    ValueError : see `maps_from_series`.
    """
    if series.ndim != 4:
        raise ValueError(f"series must be (x, y, slice, time), got shape {series.shape}")
    if mask.shape != series.shape[:3] or mask.dtype != bool:
        raise ValueError(
            f"mask must be bool of shape {series.shape[:3]} like the series, got {mask.dtype} {mask.shape}"
        )
    if aif.shape != series.shape[3:]:
        raise ValueError(f"aif must have one value for each of {series.shape[3]} frames, got shape {aif.shape}")
    if series.shape[3] < MIN_FRAMES:
        raise ValueError(f"series has {series.shape[3]} frames, at least {MIN_FRAMES} are needed")
    if not mask.any():
        raise ValueError("mask is empty; mark the brain voxels to map")
    if not np.isfinite(aif).all():
        raise ValueError("aif holds NaN or infinite values")
    if np.ptp(aif) <= 1e-6 * max(1.0, np.abs(aif).max()):
        raise ValueError(f"aif is flat at {aif[0]:g}; give the enhancement curve of an artery in HU")
    if not dt > 0:
        raise ValueError(f"dt must be positive seconds, got {dt}")
