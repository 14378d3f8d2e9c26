"""Intervals for the volume of a core that hold the true one as often as they say, and how often they really do.

Split conformal prediction: on scans that no network was trained on, it is measured how far the true volume lies from
the predicted one, and a new scan's interval reaches as far as all but a small share of these did. Nothing is assumed of
the errors but that a new patient is one more of the same kind. Patients from elsewhere are not.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize, stats

from strokelib.evaluation.summary import finite_pairs
from strokelib.run import runtime

MODES = ("slices", "exact")  # how the networks were passed over a scan: whole slices, or overlapping patches
LEVELS = (0.5, 0.8, 0.9)
SCALES = {  # on which residuals are taken, and the way back
    "volume": (lambda ml: ml, lambda value: value),
    "square root": (np.sqrt, np.square),
    "cube root": (np.cbrt, lambda value: value**3),
}
POWER = 0.8  # with which a departure is to be seen
ROUNDING = 1e-9  # mL; a volume that lies on an end is inside


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the true volume, on scans that had no part in making them.

    `share` is the mean over the patients of the share of a patient's scans that were held: what a scan drawn from a
    new patient can expect. `low` and `high` are its 95 % interval.
    """

    scans: int
    held: int  # scans
    patients: int
    share: float
    low: float
    high: float
    below: int  # scans whose true volume lies under the interval
    above: int
    median_width_ml: float
    cohort: str = ""  # whose scans


@dataclass(frozen=True)
class VolumeInterval:
    """An interval around a predicted volume that holds the true one with a probability of `level`, or more.

    The true volume lies, on `scale`, between `low` under and `high` over the predicted one.
    """

    level: float
    mode: str  # of MODES: the predictions it was made for, and holds for alone
    scale: str  # of SCALES
    low: float  # mostly negative; -inf where there were too few patients
    high: float  # inf where there were too few patients
    scans: int
    patients: int
    coverage: Coverage | None = None  # measured since

    def of(self, volume_ml):
        """Return both ends for a predicted volume.

        Parameters
        ----------
        volume_ml : float of 0 or more, mL, or an array of them

        Returns
        -------
        (low, high), mL, floats or arrays; never below 0, and high infinite where there were too few patients. Networks
        that err to one side give intervals which need not hold the predicted volume.

        Raises
        ------
        ValueError : a volume that is negative or not finite.
        """
        volume = np.asarray(volume_ml, float)
        if not (np.isfinite(volume) & (volume >= 0)).all():
            raise ValueError(f"expected volumes of 0 mL or more, got {volume_ml}")
        there, back = SCALES[self.scale]
        ends = [back(np.maximum(there(volume) + end, 0.0)) for end in (self.low, self.high)]
        return tuple(float(end) if np.ndim(volume_ml) == 0 else end for end in ends)


def fit(predicted_ml, true_ml, patients, level=0.9, mode="exact", scale="square root") -> VolumeInterval:
    """Find how far true volumes lie from predicted ones, on scans that no network was trained on.

    Parameters
    ----------
    predicted_ml, true_ml : float sequences (scan,), mL
    patients : sequence (scan,), whose scan each is
    level : float in (0, 1), the share of scans to be held
    mode : of MODES, how the volumes were predicted
    scale : of SCALES

    Returns
    -------
    VolumeInterval; with fewer than `needed(level)` patients its ends are infinite.

    Raises
    ------
    ValueError : no scan, sequences of different lengths, a volume that is negative or not finite, a level, mode or
        scale that is none.

    What is promised: a scan drawn at random from a new patient, exchangeable with these, is held with a probability of
    `level` or more, and misses to either side with half of the rest at most. It is an average over sets of patients to
    calibrate on, and over small and large cores; see `calibrated`.

    Source: split conformal prediction, Papadopoulos et al. 2002; two sides at half the rest each, Romano et al. 2019.
    Slabs of one head are no exchangeable scans, so a patient has one vote, shared out among the scans, and the new
    patient's own stands at infinity: Dunn, Wasserman and Ramdas 2022, and Lee, Barber and Willett 2023.
    Our choice: residuals of square roots, which do not grow with the volume. That was seen on the crossvalidated
    training scans of the study, not on those that calibrate.
    """
    predicted, true, patients = _checked(predicted_ml, true_ml, patients)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    for word, known, name in ((mode, MODES, "mode"), (scale, SCALES, "scale")):
        if word not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {word!r}")
    there, _ = SCALES[scale]
    residuals, tail = there(true) - there(predicted), (1 - level) / 2
    low, high = -_quantile(-residuals, patients, 1 - tail), _quantile(residuals, patients, 1 - tail)
    return VolumeInterval(level, mode, scale, low, high, len(true), len(set(patients.tolist())))


def _quantile(values, patients, share: float) -> float:
    """Return the least value up to which a share of the votes lies, one of which stands at infinity."""
    names, place = np.unique(patients, return_inverse=True)
    votes = 1 / np.bincount(place)[place]
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(votes[order]) >= share * (len(names) + 1) - ROUNDING
    return float(values[order][reached.argmax()]) if reached.any() else float("inf")


def _checked(predicted_ml, true_ml, patients) -> tuple:
    """Return volumes and patients as arrays, or refuse them."""
    predicted, true = finite_pairs(predicted_ml, true_ml)
    patients = np.asarray(patients)
    if not len(true) or len(true) != len(patients) or len(np.ravel(true_ml)) != len(true):
        raise ValueError(
            f"expected finite volumes of one scan or more, and a patient for each, got {len(true)} finite ones of "
            f"{np.size(true_ml)} and {len(patients)} patients"
        )
    if min(predicted.min(), true.min()) < 0:
        raise ValueError(f"expected volumes of 0 mL or more, got {min(predicted.min(), true.min()):g}")
    return predicted, true, patients


def needed(level: float) -> int:
    """Return how many patients an interval of both sides needs to have ends: 19 for 90 %."""
    return int(np.ceil(2 / (1 - level) - 1 - ROUNDING))


def calibrated(patients: int, level: float) -> tuple[float, float, float]:
    """Say what coverage a calibration on so many patients comes to: its mean, and a 95 % range over such calibrations.

    An interval is made once and keeps the luck of the patients it was made on. For one scan a patient its coverage is
    distributed as Beta(patients + 1 - l, l), where l votes lie outside.

    Returns
    -------
    mean, low, high : NaN where there are fewer patients than `needed`

    Source: Vovk 2012, Conditional validity of inductive conformal predictors.
    """
    tail = int(np.floor((1 - level) / 2 * (patients + 1) + ROUNDING))
    if not tail:
        return (float("nan"),) * 3
    chance = stats.beta(patients + 1 - 2 * tail, 2 * tail)
    return float(chance.mean()), *(float(end) for end in chance.ppf((0.025, 0.975)))


def coverage(interval: VolumeInterval, predicted_ml, true_ml, patients, cohort: str = "") -> Coverage:
    """Measure how often an interval holds the true volume of scans that had no part in making it.

    Parameters
    ----------
    predicted_ml : float sequence (scan,), mL, predicted in the interval's mode
    true_ml, patients : as `fit`
    cohort : whose scans these are, in words

    Raises
    ------
    ValueError : as `fit`.
    """
    predicted, true, patients = _checked(predicted_ml, true_ml, patients)
    return covered(*interval.of(predicted), true, patients, cohort)


def covered(low_ml, high_ml, true_ml, patients, cohort: str = "") -> Coverage:
    """Count how often intervals, one a scan, hold the true volume.

    Parameters
    ----------
    low_ml, high_ml, true_ml : float arrays (scan,), mL
    patients : sequence (scan,)
    cohort : whose scans these are, in words

    Source: Clopper and Pearson 1934, with patients as trials and their shares summed up as successes, which need not
    be a whole number (Korn and Graubard 1998). Shares vary less than what is held or not, so it is rather too wide.
    """
    low, high, true = (np.asarray(values, float) for values in (low_ml, high_ml, true_ml))
    below, above = true < low - ROUNDING, true > high + ROUNDING
    _, place = np.unique(np.asarray(patients), return_inverse=True)
    shares = np.bincount(place, ~(below | above)) / np.bincount(place)
    ends = clopper_pearson(shares.sum(), len(shares))
    counts = (len(true), int((~(below | above)).sum()), len(shares))
    width = float(np.median(high - low))
    return Coverage(*counts, float(shares.mean()), *ends, int(below.sum()), int(above.sum()), width, cohort)


def clopper_pearson(successes: float, trials: int) -> tuple[float, float]:
    """Compute the exact 95 % interval of a probability from successes in so many trials."""
    left = trials - successes
    low = stats.beta.ppf(0.025, successes, left + 1) if successes > 0 else 0.0
    return float(low), float(stats.beta.ppf(0.975, successes + 1, left) if left > 0 else 1.0)


def smallest_shortfall(patients: int, level: float) -> float:
    """Say how far below its level a coverage must lie to be seen, four times in five, on so many patients.

    Seen: with a coverage of `level`, so few held would have a chance of 2.5 % at most. Exact, for one scan a patient.

    Returns
    -------
    float, a difference of shares; NaN where even none held would be no surprise
    """
    counts = np.arange(patients + 1)
    surprising = np.flatnonzero(stats.binom.cdf(counts, patients, level) <= 0.025)
    if not len(surprising):
        return float("nan")
    most = surprising[-1]
    found = optimize.brentq(lambda share: stats.binom.cdf(most, patients, share) - POWER, 0, level)
    return float(level - found)


def left_out(predicted_ml, true_ml, patients, level=0.9, scale="square root") -> tuple[np.ndarray, np.ndarray]:
    """Make the interval of each scan from the scans of all other patients.

    Parameters
    ----------
    as `fit`

    Returns
    -------
    low, high : (scan,) mL. The interval of each patient keeps its promise, so on average their coverage does, too;
        `covered` takes patients as independent, which intervals that share most of their scans are nearly.
    """
    predicted, true, patients = _checked(predicted_ml, true_ml, patients)
    low, high = np.zeros(len(true)), np.full(len(true), np.inf)
    for name in np.unique(patients):
        own = patients == name
        if not own.all():
            made = fit(predicted[~own], true[~own], patients[~own], level, scale=scale)
            low[own], high[own] = made.of(predicted[own])
    return low, high


def load_intervals(path=None) -> dict[str, VolumeInterval]:
    """Read the intervals of the networks that ship, by mode, as `tools/calibrate_volumes.py` wrote them.

    Parameters
    ----------
    path : of the file; networks/volume_interval.json by default

    Raises
    ------
    FileNotFoundError : there is no such file.
    ValueError : the file is damaged.
    """
    path = runtime.ROOT / "networks" / "volume_interval.json" if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no intervals {path}; tools/calibrate_volumes.py writes them")
    try:
        return {name: _read(row) for name, row in json.loads(path.read_text(encoding="utf-8"))["modes"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no intervals of this project ({error}); fetch it again") from error


def load_interval(path=None, mode: str = "exact") -> VolumeInterval:
    """Read the interval of one mode, as `load_intervals` does.

    Raises
    ------
    ValueError : none was made for this mode; see also `load_intervals`.
    """
    held = load_intervals(path)
    if mode not in held:
        raise ValueError(f"there are intervals for {', '.join(held) or 'nothing'}, and none for {mode!r}")
    return held[mode]


def _read(row: dict) -> VolumeInterval:
    measured = row["coverage"] and Coverage(**row["coverage"])
    made = VolumeInterval(**(row | {"coverage": measured}))
    if made.mode not in MODES or made.scale not in SCALES or not made.low <= made.high:
        raise ValueError(f"mode {made.mode!r}, scale {made.scale!r}, from {made.low} to {made.high}")
    return made


def as_rows(intervals) -> dict:
    """Turn intervals into what `load_interval` reads: {"modes": {mode: ...}}, of JSON's types.

    Raises
    ------
    ValueError : an interval without ends, which no file should promise.
    """
    for interval in intervals:
        if not np.isfinite([interval.low, interval.high]).all():
            raise ValueError(
                f"{interval.patients} patients make no interval of {interval.level:.0%} in mode {interval.mode}; it "
                f"takes {needed(interval.level)}"
            )
    return {"modes": {interval.mode: dataclasses.asdict(interval) for interval in intervals}}
