"""What images hold about the lesion before any network is trained: one by one, and under the same voxel-wise method."""

import dataclasses

import pandas as pd
from scipy import stats as distributions

from strokelib import voxelwise
from strokelib.evaluation import ladder, stats
from strokelib.evaluation.agreement import auc
from strokelib.evaluation.summary import patient_interval
from strokelib.extra_inputs import FITTED, PROVIDED
from strokelib.modalities import ISLES
from strokelib.raw_series import SHAPES
from strokelib.run.runtime import rng

# In which direction a lesion lies: -1 where its values are the lower ones.
TOWARDS = {"CT": -1, "CBF": -1, "CBV": -1, "MTT": 1, "Tmax": 1, "delay": 1, "peak": 1, "moment": 1}
INPUTS = {  # what a voxel-wise method is given, and how that is named
    "provided": ("maps as provided", ISLES),
    "fitted": ("fitted maps in their place", ("CT", *FITTED.values())),
    "both": ("provided and fitted maps", (*ISLES, *FITTED.values())),
    "shapes": ("provided maps and shapes of curves", (*ISLES, *SHAPES)),
}
METHODS = {"logistic": "logistic_sm", "trees": "trees_sm"}  # by how they are named: those of `ladder`, with mirrors
VARIANTS = tuple(f"{method}_{kind}" for method in METHODS for kind in INPUTS)
STEPS = tuple((f"{method}_{new}", f"{method}_provided") for method in METHODS for new in ("fitted", "both", "shapes"))
BESIDE = {PROVIDED[name]: fitted for name, fitted in FITTED.items()}  # what came with the scan, and what is fitted


def aucs(images: dict, lesion, mask) -> dict[str, float]:
    """Tell how well each image alone puts lesion before brain, one voxel at a time.

    Parameters
    ----------
    images : (x, y, slice) each by the name of a modality, a fitted one as in FITTED or SHARP, or of SHAPES
    lesion, mask : bool (x, y, slice)

    Returns
    -------
    {name: area under the ROC curve}, in the direction that is known beforehand (TOWARDS), so that it may be below 0.5;
    NaN where the scan has no lesion inside its mask. An image without a known direction is left out.
    """
    inside, ways = lesion[mask], {name: TOWARDS.get(name.rpartition(" ")[2]) for name in images}
    return {name: auc(way * images[name][mask], inside) for name, way in ways.items() if way is not None}


def compare_aucs(frame, seed: int) -> pd.DataFrame:
    """Hold the fitted maps' areas against those of the provided maps that say the same (BESIDE), by patient.

    Parameters
    ----------
    frame : a row a scan, columns patient and the names of the maps
    seed : of the bootstrap

    Returns
    -------
    frame, a row a pair : map, fitted, scans, patients, provided_auc, fitted_auc, gain, low and high of the gain (95 %,
    patients drawn with all their scans), p (t-test over patients) and p_holm (corrected over the pairs).
    """
    rows = []
    for name, other in BESIDE.items():
        there = frame[[name, other, "patient"]].dropna()
        gains = there[other] - there[name]
        low, high = patient_interval(gains, there["patient"], rng(seed, "information", name))
        row = {"map": name, "fitted": other, "scans": len(there), "patients": there["patient"].nunique()}
        rows.append(row | {
            "provided_auc": there[name].mean(), "fitted_auc": there[other].mean(), "gain": gains.mean(), "low": low,
            "high": high, "p": distributions.ttest_1samp(gains.groupby(there["patient"]).mean(), 0).pvalue,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(p_holm=stats.holm(table["p"]))


def given(brains, kind: str) -> list[voxelwise.Voxels]:
    """Return the scans as a method sees them that is given some of their images; nothing is copied.

    Parameters
    ----------
    brains : sequence of voxelwise.Voxels with all images
    kind : in INPUTS
    """
    return [dataclasses.replace(voxels, images=INPUTS[kind][1]) for voxels in brains]


def judge(variant: str, brains, scans, fold_of, grid, seed: int) -> pd.DataFrame:
    """Teach a method on a kind of images, and judge it as the ladder does.

    Parameters
    ----------
    variant : in VARIANTS
    brains : sequence of voxelwise.Voxels with all images
    scans : sequence of preprocess.Preprocessed, in the same order
    fold_of : dict, case to fold
    grid : settings.Postprocess
    seed : of the voxels that are drawn; every variant learns from the same

    Returns
    -------
    frame of `ladder.judge`
    """
    method, _, kind = variant.rpartition("_")
    maps = ladder.teach(METHODS[method], given(brains, kind), fold_of, seed)[1]
    pairs = [(scan, maps[scan.number]) for scan in scans]
    return ladder.judge(pairs, fold_of, grid.thresholds, grid.min_lesion_voxels)


def named(variant: str) -> str:
    """Name one of VARIANTS as figures and tables do."""
    method, _, kind = variant.rpartition("_")
    return f"{method}: {INPUTS[kind][0]}"


def verdict(row, margin: float) -> str:
    """Say what became of a gain in DSC: "helps", "harms", "adds less than the margin" or "inconclusive".

    Parameters
    ----------
    row : of stats.paired_tests, as fractions
    margin : below which a gain is not worth its cost
    """
    side = stats.side(row)
    if side > 0:
        return "helps" if row.mean_difference >= margin else "helps, by less than the margin"
    if side < 0:
        return "harms"
    return "adds less than the margin" if max(map(abs, stats.ends(row))) < margin else "inconclusive"
