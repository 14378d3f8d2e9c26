"""What may lie beyond the paper: candidates by gain, cost and interval, and which of them to go on with."""

import pandas as pd

from strokelib.evaluation import information, stats
from strokelib.evaluation.remarks import multiplications, passes_cost
from strokelib.evaluation.summary import with_volume_error
from strokelib.extra_inputs import given
from strokelib.modalities import inputs
from strokelib.network import layer_table, make_network
from strokelib.run.checks import require_columns
from strokelib.run.runtime import rng
from strokelib.run.variants import TRIED
from strokelib.vocabulary import METRICS

MARGIN = 0.01  # of DSC, named before any run: what a candidate must add on average to be gone on with
GOAL = 0.08  # of DSC, over rt_sm_uf: what all of them together were hoped to add
MOST_COST = 3  # times the prediction of rt_sm: what a row may cost that is no vote
SURVIVORS = 4  # are gone on with, at most
METRICS_TOLD = ("dsc", "hd_mm", "volume_error_ml")
WORDS = {  # of candidates, as figures and tables name them
    "averaged": "averaged weights",
    "gdl_squared": "GDL 1/v² in the loss",
    "loss_dice_cross_entropy": "Dice + cross-entropy",
    "patch_96": "patches of 96 voxels",
    "adamw_3e-3": "AdamW, constant rate",
    "one_cycle": "AdamW, one cycle of rates",
    "turned": "patches turned in prediction",
    "flips": "patches turned in training",
    "flips_twice": "patches turned in training and prediction",
    "group_norm": "group normalization",
    "difference": "difference from the other side",
    "neighbors": "neighboring slices",
    "surroundings": "means of what is around",
    "fitted": "maps fitted to the raw series",
    "sharp": "sharper fitted maps for those provided",
    "scan_statistics": "normalization by the scan itself",
    "boundary": "boundary loss beside the others",
    "deep_supervision": "supervised at three depths",
    "two_streams": "a second, coarser stream",
    "windowed": "fixed windows before the z-scores",
    "curves": "samples of the raw series",
    "curves_pointwise": "samples of the raw series, read voxel by voxel",
    "again_1": "no change but the next seed",
    "again_2": "no change but the seed after it",
}
VOTE, VOTE_AGAIN = "vote", "vote_again"  # the mean of the maps of all; of the reference's and what is trained again
VOTES = {VOTE: "all of them voting", VOTE_AGAIN: "trainings of the reference voting"}


def named(name: str) -> str:
    """Name a candidate, a row or a vote in words; one without words of its own by what it changes."""
    if name not in TRIED or name in WORDS:
        return (WORDS | VOTES).get(name, name)
    return f"{TRIED[name].key} = {TRIED[name].value}"


def input_count(variant, modalities) -> int:
    """Count the inputs of a variant's network, of scans that came with these modalities; see `extra_inputs`."""
    return len(inputs(given(variant.extra, modalities), variant.mirrored))


def prediction_cost(variant, prediction, modalities) -> float:
    """Count the multiplications of a variant's prediction, for each voxel of the brain.

    Parameters
    ----------
    variant, prediction : as `variants.method` returns them: Variant, and of the settings the part `prediction`
    modalities : of the scans, as they came

    Normalization, activation and the cutting of patches are left out, so that a measured time may differ; the second
    network of a cascade counts as if it looked everywhere, and what a scan is measured on for its own normalization as
    if it were all of its patches.
    """
    network = make_network(variant.network, input_count(variant, modalities))
    layers = layer_table(network, variant.patch_size)
    count = multiplications(layers) / prediction.step**2
    if variant.uncertainty_filtering:
        count *= passes_cost(layers, prediction.passes, prediction.dropout_level)
    looks = (2 if prediction.flips else 1) + variant.scan_statistics
    return count * looks * variant.networks


def gains(scores, references: dict[str, str], seed: int) -> pd.DataFrame:
    """Hold each candidate against its reference, scan by scan, with patients as the unit.

    Parameters
    ----------
    scores : a row per (variant, case): variant, case, patient, dsc, hd_mm, volume_ml, truth_volume_ml
    references : {candidate: what it is held against}
    seed : of the bootstrap; each candidate has draws of its own, in the order given

    Returns
    -------
    frame, a row per (metric, candidate), of METRICS_TOLD : as `stats.paired_tests`. Holm's correction is over the
    candidates of a metric.
    """
    scores = with_volume_error(scores)
    return pd.concat(
        stats.paired_tests(scores, metric, list(references.items()), "patient", rng(seed, "beyond", metric))
        for metric in METRICS_TOLD
    )


def beside(tests, lent) -> pd.DataFrame:
    """Put beside each difference what it is where all rows take the pairs of the reference.

    Parameters
    ----------
    tests, lent : frames of `gains`, with pairs of each row's own and with those of the reference

    Returns
    -------
    tests with mean_difference_lent, low_lent and high_lent.
    """
    columns = ["metric", "new", "old"]
    values = lent[[*columns, "mean_difference", "low", "high"]]
    return tests.merge(values, on=columns, suffixes=("", "_lent"), validate="one_to_one")


def lent_in_words(row) -> str:
    """Write the difference with the reference's pairs and its interval, of a row of `beside`: "+0.3 (-0.6 to +1.3)"."""
    scale = METRICS[row.metric].scale
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(
        *(scale * value for value in (row.mean_difference_lent, row.low_lent, row.high_lent))
    )


def agrees(side: int, low: float, high: float) -> bool:
    """Tell whether another interval lies wholly on a side of 0, as `stats.side` names it; an undefined one does not."""
    return low > 0 if side > 0 else high < 0


def is_told(row) -> bool:
    """Tell whether a difference is told from 0, of a row of `beside`, with pairs of its own and with the reference's.

    Our choice: with few scans the chosen pair jumps, and moves a mean by points. So what is told is told with the
    reference's pairs, too, whose interval lies on the same side of 0.
    """
    side = stats.side(row)
    return bool(side) and agrees(side, row.low_lent, row.high_lent)


def verdict(row) -> str:
    """Say of a row of `beside` what became of a gain in DSC: as `information.verdict`, or that it hangs on the pair."""
    if stats.side(row) and not is_told(row):
        return "hangs on the choice of pair"
    return information.verdict(row, MARGIN)


def survivors(tests, costs: dict[str, float]) -> list[str]:
    """Choose the candidates to go on with, the largest gain first.

    Parameters
    ----------
    tests : frame of `gains`
    costs : {candidate: prediction, times that of its reference}; what is not in it is no candidate

    Returns
    -------
    at most SURVIVORS of those that gain MARGIN of DSC on average, do not lengthen HD beyond chance (by its interval and
    p, uncorrected), and cost at most MOST_COST.

    Our choice: by the mean and not by its p, as two folds cannot show a point; what is chosen here is chance in part,
    and is judged anew on other scans.
    """
    require_columns(tests, "metric", "new", "mean_difference", "low", "high", "p")
    longer = {row.new for row in tests[tests["metric"] == "hd_mm"].itertuples() if stats.side(row, "p") > 0}
    dsc = tests[tests["metric"] == "dsc"].set_index("new")["mean_difference"].sort_values(ascending=False)
    kept = [
        name for name, gain in dsc.items()
        if name in costs and gain >= MARGIN and name not in longer and costs[name] <= MOST_COST
    ]  # fmt: skip
    return kept[:SURVIVORS]
