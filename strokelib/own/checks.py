"""Do the images of a scan of one's own fit each other, and does it lie outside what the networks saw when trained?

data/own_seen.csv holds what the scans of training had (tools/own_seen.py measures it): for each quantity the least, the
quantiles and the most over scans.
"""

import csv
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from strokelib import registration
from strokelib.modalities import MODALITIES
from strokelib.nifti import CaseError
from strokelib.own.quantities import DELAYS
from strokelib.own.scan import OwnScan
from strokelib.own.series import brain_of, disk
from strokelib.run.runtime import ROOT

TABLE = ROOT / "data" / "own_seen.csv"
COLUMNS = ("quantity", "unit", "scans", "least", "p5", "median", "p95", "most", "source")
SHARES = {"5th percentile": 0.05, "median": 0.5, "95th percentile": 0.95}
# Of ninety scans one or two lie at an end of each quantity; a scan that is as far beyond it as a quarter of the whole
# range is another matter.
BEYOND = 0.25
# How much better (Dice) the brain of the maps may fit that of the CT when it is turned around. Of a scan in order it
# never fits better; headers that lie are found by their front and back, which differ most.
TURNED_BETTER = 0.02
LEAST_ALIKE = 0.9  # Dice of a map with the others; below, it leaves out too much to say which way round it lies
# The most that the median of Tmax may be over that of MTT, in the brain. In the study's 156 synthetic scans it is 1.21
# at most, and turned round 1.3 or more in 149: healthy tissue takes longer to cross than to reach.
MOST_TMAX = 1.3
LEAST_PART, MOST_LEFT = 500, 0.02  # voxels of the brain in a part of a map; their share that is not 0 in an empty one
MOST_CAPPED = 0.01  # of the brain, that may stand at the largest value
MOST_HOLES = 0.005  # of the brain, that a map may lack: without its latest tissue, say, every volume is wrong
LEFT_OUT_MM = 6.0  # what of a CT's brain lies outside of the maps and is as wide as that is more than another outline
# Fluid is darker: on the study's scans 6 to 15 HU in the median of such a place; a core has 27 to 37.
LEFT_OUT_HU = (20.0, 60.0)
APART = 32  # halves are told apart but for such a part of the image on either side of the middle of the brain
ENDS = ("left and right", "front and back", "top and bottom")


@dataclass(frozen=True)
class Seen:
    """What the scans of training had of one quantity."""

    quantity: str
    unit: str
    least: float
    most: float
    source: str  # whose scans they were


def measure(case, preprocessed) -> dict[tuple[str, str], float]:
    """Measure what is compared, of one scan.

    Parameters
    ----------
    case : cases.Case, in file units
    preprocessed : preprocess.Preprocessed of it

    Returns
    -------
    value by (quantity, unit): median, 5th and 95th percentile of each modality over the brain, share of the brain in
    the field of view, slices, spacing, and how well the two sides of the head agree.
    """
    found = {}
    for name, image in case.named.items():
        how = MODALITIES[name]
        values = np.quantile(image[preprocessed.mask].astype(np.float64) / how.divisor, [*SHARES.values()])
        found |= {(f"{share} of {name}", how.unit): float(value) for share, value in zip(SHARES, values, strict=True)}
    x, _, z = (float(side) for side in case.spacing)
    return found | {
        ("brain share", "%"): 100 * float(preprocessed.mask.mean()),
        ("slice count", ""): float(preprocessed.mask.shape[2]),
        ("voxel width", "mm"): x,
        ("slice thickness", "mm"): z,
        ("registration score", ""): float(preprocessed.score),
        ("registration quality", ""): float(preprocessed.quality),
    }


def brain_by_ct(case) -> np.ndarray | None:
    """Mark the brain within the skull of a scan's CT, (x, y, slice) bool; None where it shows none."""
    try:
        return brain_of(case.head, case.spacing)
    except CaseError:
        return None


def fit(brain, mask) -> tuple[str, ...]:
    """Say whether the maps would fit the CT better if they were turned around, whatever the headers say.

    Parameters
    ----------
    brain : (x, y, slice) bool, by the CT, as of `brain_by_ct`, or None
    mask : (x, y, slice) bool, the brain by the maps

    Returns
    -------
    a sentence for the axis that fits best, none where all is in order; or that the CT shows no skull to compare with.
    """
    if brain is None:
        return (
            "the CT shows no brain within a skull: whether the maps lie on it the right way round could not be "
            "checked, and the networks were trained on CTs with skull",
        )
    if not (better := _better_turned(brain, mask, axes=3)):
        return ()
    return (f"the brain of the maps fits that of the CT {better}: is the header of one of them wrong?",)


def mirrored(case) -> tuple[str, ...]:
    """Say which map would fit the other maps better if it were turned around, whatever the headers say.

    Parameters
    ----------
    case : cases.Case

    Returns
    -------
    a sentence for each such map. Top and bottom are too alike to be told apart so.
    """
    shown, said = {name: image != 0 for name, image in case.named.items() if not MODALITIES[name].head}, []
    for name, own in shown.items():
        others = np.logical_or.reduce([other for key, other in shown.items() if key != name])
        if better := _better_turned(others, own, axes=2, least=LEAST_ALIKE):
            said.append(f"{name} fits the other maps {better}: is its header wrong, or was it mirrored?")
    return tuple(said)


def exchanged(case, mask) -> tuple[str, ...]:
    """Say whether MTT and Tmax look exchanged, which their values alone allow: both are times of some seconds.

    Parameters
    ----------
    case : cases.Case
    mask : (x, y, slice) bool, the brain

    Returns
    -------
    a sentence, or none where the median of Tmax is at most MOST_TMAX times that of MTT.
    """
    mtt, tmax = (float(np.median(case.image(name)[mask])) / MODALITIES[name].divisor for name in ("MTT", "Tmax"))
    if tmax <= MOST_TMAX * mtt:
        return ()
    return (
        f"in the brain the median of Tmax is {_number(tmax)} s and that of MTT {_number(mtt)} s; expected is that "
        "tissue takes longer to cross than to reach: are the two exchanged?",
    )


def cut_off(case, mask) -> tuple[str, ...]:
    """Say whether Tmax ends at a cap: what is later is not told apart, and a volume beyond the cap is none.

    Parameters
    ----------
    case : cases.Case
    mask : (x, y, slice) bool, the brain

    Returns
    -------
    a sentence, or none where at most MOST_CAPPED of the brain stands at the largest value, or that is beyond all delays
    that are measured. Our choice.
    """
    tmax = case.image("Tmax")[mask]
    share = np.count_nonzero(tmax == tmax.max()) / tmax.size
    cap = float(tmax.max()) / MODALITIES["Tmax"].divisor
    if share <= MOST_CAPPED or cap > max(DELAYS):
        return ()
    return (
        f"Tmax ends at {_number(cap)} s, which stands in {100 * share:.0f} % of the brain: what is later is cut off, "
        "and volumes at and beyond that are not to be trusted",
    )


def left_out(case, mask) -> tuple[str, ...]:
    """Say where CBF, CBV or MTT is 0 in the brain and the other maps are not, as where a program's fit failed.

    Of Tmax, 0 is a value.

    Parameters
    ----------
    case : cases.Case
    mask : (x, y, slice) bool, the brain

    Returns
    -------
    a sentence for each such map, where it is over MOST_HOLES of the brain.
    """
    maps = {name: image[mask] != 0 for name, image in case.named.items() if not MODALITIES[name].head}
    said, voxel_ml = [], float(np.prod(case.spacing)) / 1000
    for name, there in maps.items():
        others = np.logical_and.reduce([own for other, own in maps.items() if other != name])
        lost = np.count_nonzero(others & ~there)
        if name != "Tmax" and lost > MOST_HOLES * there.size:
            said.append(
                f"{name} is 0 in {lost * voxel_ml:.1f} mL of the brain ({100 * lost / there.size:.1f} %) where the "
                "other maps are not: was tissue left out that could not be fitted? Volumes by it are not to be trusted"
            )
    return tuple(said)


def without_maps(case, brain, mask) -> tuple[str, ...]:
    """Say where all maps are 0 although the CT shows tissue, as where a program could fit nothing and left it out.

    The brain is where the maps are not all 0 (section 2.1.1): a core without any flow that is 0 in all of them is taken
    for none of it, and every volume lacks it without a word. Programs leave out ventricles as well, which hold fluid.

    Parameters
    ----------
    case : cases.Case
    brain, mask : as of `fit`

    Returns
    -------
    a sentence where it is over MOST_HOLES of the brain, in the slices that the maps have; none for a CT without skull.
    """
    if brain is None:  # said by `fit`
        return ()
    lost = brain & ~mask & mask.any((0, 1))
    wide = disk(LEFT_OUT_MM / 2 / float(case.spacing[0]))
    lost = np.stack([ndimage.binary_opening(lost[..., k], wide) for k in range(lost.shape[2])], axis=-1)
    places, count = ndimage.label(lost)
    levels = ndimage.median(case.head, places, range(1, count + 1))
    tissue = 1 + np.flatnonzero((levels >= LEFT_OUT_HU[0]) & (levels <= LEFT_OUT_HU[1]))
    voxels = np.count_nonzero(np.isin(places, tissue))
    if voxels <= MOST_HOLES * np.count_nonzero(mask):
        return ()
    return (
        f"all maps are 0 in {voxels * float(np.prod(case.spacing)) / 1000:.1f} mL where the CT shows tissue: was it "
        "left out because nothing could be fitted? It is taken for none of the brain, and every volume lacks it",
    )


def empty_parts(case) -> tuple[str, ...]:
    """Say which map is 0 in a whole slice of the brain, or in a whole half of it, where other maps are not.

    A single 0 is a value: no delay, no flow. So many were left out by the program that made or wrote the map.

    Parameters
    ----------
    case : cases.Case

    Returns
    -------
    a sentence for each such map.
    """
    named = {name: image for name, image in case.named.items() if not MODALITIES[name].head}
    said = []
    for name, image in named.items():
        brain = np.logical_or.reduce([other != 0 for key, other in named.items() if key != name])
        (x, y), far = (int(np.median(places)) for places in np.nonzero(brain)[:2]), max(brain.shape[:2]) // APART
        parts = {f"slice {k + 1}": np.s_[:, :, k] for k in range(brain.shape[2])}
        lost = [part for part, there in parts.items() if _is_empty(image[there], brain[there])]
        if not lost:
            halves = {
                "one side": np.s_[: x - far], "the other side": np.s_[x + far :],
                "the back half": np.s_[:, : y - far], "the front half": np.s_[:, y + far :],
            }  # fmt: skip
            lost = [part for part, there in halves.items() if _is_empty(image[there], brain[there])]
        if lost:
            said.append(
                f"{name} is 0 in nearly all of the brain of {', '.join(lost)}, where other maps are not: was it left "
                "out when the map was made? Volumes there are not to be trusted"
            )
    return tuple(said)


def _is_empty(image, brain) -> bool:
    """Tell whether an image is 0 nearly everywhere in a brain that has some size."""
    size = np.count_nonzero(brain)
    return size >= LEAST_PART and np.count_nonzero(image[brain]) <= MOST_LEFT * size


def _better_turned(still, turned, axes: int, least: float = 0.0) -> str:
    """Say in which way one mask fits another better turned around, along one of its first axes; "" for none.

    Better is by more than TURNED_BETTER, to a Dice above `least`.
    """
    overlaps = [_dice(still, turned), *(_dice(still, np.flip(turned, axis)) for axis in range(axes))]
    best = int(np.argmax(overlaps))
    if overlaps[best] <= max(overlaps[0] + TURNED_BETTER, least):
        return ""
    return f"better with {ENDS[best - 1]} exchanged (Dice {overlaps[best]:.2f} instead of {overlaps[0]:.2f})"


def _dice(one, other) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@cache
def seen() -> dict[str, Seen]:
    """Read what the scans of training had, by quantity, from data/own_seen.csv."""
    with open(TABLE, newline="", encoding="utf-8") as file:
        return {
            row["quantity"]: Seen(row["quantity"], row["unit"], float(row["least"]), float(row["most"]), row["source"])
            for row in csv.DictReader(file)
        }


def outside_training(scan: OwnScan, preprocessed) -> tuple[str, ...]:
    """Say in which respects a scan lies outside what the networks saw.

    Parameters
    ----------
    scan : OwnScan
    preprocessed : preprocess.Preprocessed of its case

    Returns
    -------
    a sentence for each; none for a scan like those of training. The networks normalize each image over the brain, so
    another level alone does them little harm; another program, protocol or unit behind it may.

    Our choice: outside is what lies beyond the range over all scans of training by more than a quarter of it. For the
    score of registration only less counts. Fewer slices than any of them had are outside: a quarter of the range below
    the least count would be less than none.
    """
    table, said = seen(), []
    for (quantity, unit), value in measure(scan.case, preprocessed).items():
        range_ = table[quantity]
        room = BEYOND * (range_.most - range_.least)
        below = 0 if quantity.endswith("count") else room
        if value < range_.least - below or (value > range_.most + room and not quantity.startswith("registration")):
            said.append(_sentence(quantity, unit, value, range_))
    doubt = registration.doubt(preprocessed.quality)
    return (*said, *([doubt] if doubt else []))


def _sentence(quantity: str, unit: str, value: float, range_: Seen) -> str:
    share, _, name = quantity.partition(" of ")
    between = f"in the training scans it lay between {_number(range_.least)} and {_number(range_.most)}"
    if name:
        return f"{name} in the brain has a {share} of {_number(value)} {unit}; {between}"
    return f"the {quantity} is {_number(value)} {unit}".rstrip() + f"; {between}"


def _number(value: float) -> str:
    """Write a number with two or three digits, never as a power."""
    if abs(value) >= 100 or float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.2g}" if abs(value) >= 0.1 else f"{value:.2f}"
