"""In which units the perfusion maps of a scan are stored, told from the values, and how they come to ISLES 2018's.

Copies of a data set differ: times in tenths of a second or in milliseconds, flow and volume with or without the factor
10. A network does not mind, since every map is normalized over its own brain; a rule in seconds, such as Tmax > 6 s,
and every figure with units do.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Unit:
    """How a map may be stored: value in the file * factor is in the unit of ISLES 2018's files."""

    factor: float
    words: str


_TIMES = (
    Unit(1, "s"),
    Unit(0.1, "tenths of a second"),
    Unit(0.01, "hundredths of a second"),
    Unit(0.001, "milliseconds"),
    Unit(60, "minutes"),
)
_TENFOLD = (Unit(1, "as in ISLES 2018"), Unit(10, "without the factor 10 of ISLES 2018"))
UNITS = {"CBF": _TENFOLD, "CBV": _TENFOLD, "MTT": _TIMES, "Tmax": _TIMES}
# Between these lies the median over a brain, in the unit of ISLES 2018's files: 7 to 100 mL/100 g/min, 0.9 to
# 12 mL/100 g, 1.5 to 28 s. Means over its brains are 25 to 30, 3.5 to 4.3 and 7.5 to 9; the 201 scans of the demo and
# the phantom have medians of 11 to 45, 1.4 to 7.1 and 3.2 to 10. The bounds are more than a factor 10 apart, so that
# a power of ten too much or too little always fits one of the units.
MEDIANS = {"CBF": (70, 1000), "CBV": (9, 120), "MTT": (1.5, 28)}
# The median of Tmax by that of MTT: 0.5 by the means of ISLES 2018, 0.43 to 1.21 in our scans; programs that take the
# delay out have healthy tissue near 0. Only in the unit of ISLES 2018, or in that of MTT, it may be below the second.
TMAX_BY_MTT, LEAST_ELSEWHERE = (0.03, 2.4), 0.1
# No time to the maximum is longer than the scan: 28 to 64 frames of 1 s in ISLES 2018, whose maps end at 40 s. Its
# largest values (all but a thousandth) are 7.5 to 20 s in our scans; a stroke has late tissue. Failed fits and a cap
# may say anything, so the upper bound leaves out a hundredth, and what stands at the map's largest value; not so where
# MTT is in another unit, as a small lesion may be less. Both are times of one program: in the unit of MTT nothing need
# be late.
TOPS_S = (1.5, 75)
TOP, REACHED = 0.99, 0.999  # quantiles, held against the upper bound and against the lower one
USUAL_MTT_S = 7.0  # where a scan has no MTT
MOST_APART = 4  # 60 CBV / CBF by MTT, either way: 1.1 to 1.3 in our scans, 1.05 by the means of ISLES 2018


def find(images) -> dict[str, Unit | None]:
    """Tell the unit of each perfusion map; None where no unit fits.

    Parameters
    ----------
    images : dict of arrays (x, y, slice) by modality, as the files hold them; what is not in `UNITS` is passed over.

    The medians are taken where all maps are positive, so that a wrong background of one of them has no say. A map is
    taken to be as in ISLES 2018 wherever that is possible; another unit needs values that are impossible in it.
    """
    known = [name for name in UNITS if name in images]
    if not known or not (brain := _brain(images, known)).any():
        return {}
    found, mtt, own = {}, USUAL_MTT_S, None
    for name in known:  # MTT comes before Tmax
        values = np.asarray(images[name][brain], np.float64)
        middle = np.median(values)
        fitting = [unit for unit in UNITS[name] if _fits(name, unit, middle, tops(values), (mtt, own))]
        center = np.sqrt(np.prod(MEDIANS.get(name, (LEAST_ELSEWHERE * mtt, TMAX_BY_MTT[1] * mtt))))
        # As in ISLES 2018 where that is possible, else what comes nearest to the middle of the bounds.
        fitting.sort(key=lambda unit: (unit.factor != 1, abs(np.log(middle * unit.factor / center))))
        found[name] = fitting[0] if fitting else None
        if name == "MTT" and fitting:
            mtt, own = middle * fitting[0].factor, fitting[0]
    return found


def _brain(images, names) -> np.ndarray:
    return np.logical_and.reduce([images[name] > 0 for name in names])


def tops(values) -> tuple[float, float]:
    """Return how far the values of a map reach: without its outliers, and with them."""
    below = values[values < values.max()]  # a cap, or what is written where no fit was found
    return float(np.quantile(below if below.size else values, TOP)), float(np.quantile(values, REACHED))


def _fits(name: str, unit: Unit, middle: float, reach: tuple[float, float], by: tuple[float, Unit | None]) -> bool:
    """Tell whether a median and the largest values of a map, as `tops` has them, are possible in a unit.

    `by` are the median of MTT in s, and its unit, None where there is no MTT.
    """
    if name != "Tmax":
        return MEDIANS[name][0] <= unit.factor * middle <= MEDIANS[name][1]
    mtt, own = by
    least = TMAX_BY_MTT[0] if unit in (own, _TIMES[0]) else LEAST_ELSEWHERE
    usual, largest = (unit.factor * value for value in reach)
    possible = (usual if own in (None, unit) else largest) <= TOPS_S[1] and (unit == own or largest >= TOPS_S[0])
    return possible and least * mtt <= unit.factor * middle <= TMAX_BY_MTT[1] * mtt


def convert(image, unit: Unit | None) -> np.ndarray:
    """Bring a map to the unit of ISLES 2018, as float64; one in that unit, or in none that is known, stays as it is."""
    return image if unit is None or unit.factor == 1 else np.asarray(image, np.float64) * unit.factor


def remarks(images, found) -> list[str]:
    """Say which maps were converted, which have no known unit, and whether CBF, CBV and MTT fit each other.

    Parameters
    ----------
    images : dict of arrays by modality, in the unit of ISLES 2018 where `found` knows one
    found : what `find` returned

    Source of the relation: the central volume theorem, MTT = CBV / CBF. Real maps keep it on average, not voxel by
    voxel (against an open program's the MTT of RAPID correlates with .3), hence medians and a generous factor.
    """
    said = [
        f"{name} is stored {'' if unit in _TENFOLD else 'in '}{unit.words}: multiplied by {unit.factor:g} when read"
        for name, unit in found.items()
        if unit and unit.factor != 1
    ]
    said += [
        f"{name} is in no unit that is known here, so what figures say of it is wrong; a network does not mind"
        for name, unit in found.items()
        if unit is None
    ]
    brain = _brain(images, found)
    if found.get("Tmax"):
        beyond = 100 * np.count_nonzero(images["Tmax"][brain] > TOPS_S[1]) / np.count_nonzero(brain)
        if beyond:
            said.append(f"Tmax is over {TOPS_S[1]} s in {beyond:.2g} % of the brain, as where a fit failed")
        if (largest := tops(images["Tmax"][brain])[1]) < TOPS_S[0]:
            said.append(f"Tmax reaches {largest:.2g} s only: no tissue is late, or it is stored in another unit")
    if {"CBF", "CBV", "MTT"} <= {*found}:
        cbf, cbv, mtt = (float(np.median(images[name][brain])) for name in ("CBF", "CBV", "MTT"))
        if not 1 / MOST_APART < 60 * cbv / cbf / mtt < MOST_APART:
            said.append(
                f"60 CBV / CBF is {60 * cbv / cbf:.3g} s and MTT {mtt:.3g} s (medians): one of the three is in another "
                "unit, or another map"
            )
    return said
