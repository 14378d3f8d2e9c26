"""Means over scans when the patients are drawn anew: the bootstrap for patients who have several scans."""

import numpy as np

RESAMPLES = 10_000
# Fewer patients than this show how a notebook works and are no evidence: percentile intervals of so few are too short,
# so that where there is no difference they leave 0 out in 12 % of runs at 7 patients and still in 7 % at 20.
ENOUGH = 25
ENOUGH_UPDATES = 750  # of a network: an eighth of the study's most, from which on no rise of DSC is told there


def caution(patients: int, updates: int | None = None) -> str:
    """Say that a run shows how a question is asked and is no evidence, and for want of what; "" where it may be some.

    Parameters
    ----------
    patients : that the intervals rest on
    updates : of a network, where one is judged

    Our choice: ENOUGH patients and ENOUGH_UPDATES.
    """
    few = [f"{patients} patients"] if patients < ENOUGH else []
    few += [f"{updates} updates"] if updates is not None and updates < ENOUGH_UPDATES else []
    return f"{' and '.join(few)} show how the question is asked; they are **no evidence**." if few else ""


def patient_means(values, patients, generator, resamples=RESAMPLES) -> np.ndarray:
    """Draw as many patients as there are, with replacement and each with all scans, and average over the scans drawn.

    Parameters
    ----------
    values : float array, (scan, column), finite; the columns of a scan are drawn together
    patients : sequence, the patient of each scan
    generator : numpy.random.Generator
    resamples : int

    Returns
    -------
    float array, (resample, column)

    Raises
    ------
    ValueError : no scan, a value that is not finite, or another number of patients than of scans.

    Our choice: patients are drawn and not scans, for two slabs of one head are no two witnesses; the mean is over scans
    nevertheless, as in Table 1, so a patient with two slabs weighs twice.
    """
    values = np.asarray(values, float)
    if values.ndim != 2 or not len(values) or len(values) != len(patients):
        raise ValueError(
            f"expected values (scan, column) of one scan or more and a patient for each, got {values.shape} and "
            f"{len(patients)} patients"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{(~np.isfinite(values)).sum()} values are not finite; leave them out or say what they count")
    drawn, place = draw(patients, generator, resamples)
    sums = np.zeros((drawn.shape[1], values.shape[1]))
    np.add.at(sums, place, values)
    return (drawn @ sums) / (drawn @ np.bincount(place))[:, None]


def draw(patients, generator, resamples=RESAMPLES) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many patients as there are, with replacement.

    Parameters
    ----------
    patients : sequence, the patient of each scan

    Returns
    -------
    how often each patient is drawn, int (resample, patient), and the place of each scan's patient in it, int (scan,):
    drawn[:, place] weighs the scans.
    """
    names, place = np.unique(np.asarray(patients), return_inverse=True)
    return generator.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples), place


def interval(means) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % percentile interval of resampled means, (resample, ...), column by column."""
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    return low, high


def p_of_draws(draws) -> float:
    """Return a two-sided p of bootstrap draws, never 0; NaN without any."""
    if not len(draws):
        return float("nan")
    return float(min(1.0, 2 * (1 + min((draws <= 0).sum(), (draws >= 0).sum())) / (1 + len(draws))))


def by_case(frame, metric):
    """Average the rows of each scan, such as those of several networks.

    Parameters
    ----------
    frame : columns case, patient and the metric

    Returns
    -------
    Series of the metric, indexed by patient and case, sorted. Two splits may number their cases alike; patients tell
    them apart.
    """
    return frame.groupby(["patient", "case"])[metric].mean()
