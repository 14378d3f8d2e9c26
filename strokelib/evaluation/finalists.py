"""The challenge's other finalists in our reading: what each costs, its row of Table 2, differences from our rows."""

from dataclasses import dataclass

import pandas as pd

from strokelib.evaluation import stats
from strokelib.evaluation.beyond import input_count
from strokelib.evaluation.remarks import multiplications
from strokelib.evaluation.summary import paper_table
from strokelib.network import count_parameters, layer_table, make_network
from strokelib.run.checks import require_columns
from strokelib.run.variants import Variant
from strokelib.submission import leaderboard_row, table2
from strokelib.vocabulary import METRICS, NAMES

HIGHER = {"dsc": 1, "ppv": 1, "sensitivity": 1, "hd_mm": -1}  # metrics that are compared, and the sign of better


@dataclass(frozen=True)
class Entry:
    """A finalist of ISLES 2018, and what of it is read into a row here."""

    words: str
    user: str  # in Table 2
    reference: str  # the paper's number of what they published


ENTRIES = {  # by the name of the change
    "song": Entry("Song: raw series, several scales", "songt1", "20"),
    "liu": Entry("Liu: classes weighted", "pengl1", "21"),
    "chen": Entry("Chen: an encoder a modality", "cheny11", "36"),
    "hu": Entry("Hu: difficult voxels, two networks", "xiaoh3", "22"),
}
OWN = "clera2"  # the paper's own entry, all three improvements and five networks together


def words(name: str) -> str:
    """Name an entry, or one of our rows by what it is called in Table 1; a change that is neither by its own name."""
    if name in ENTRIES:
        return ENTRIES[name].words
    return NAMES.get(name.partition("_at_")[0], name)


def cost(row: Variant, modalities) -> dict:
    """Count what a row's networks hold, and what one of them multiplies.

    Parameters
    ----------
    row : Variant
    modalities : names, of a scan as it is preprocessed

    Returns
    -------
    dict : inputs, parameters (of all its networks) and multiplications (of one pass of a patch; normalization,
        activation and convolutions of one voxel that only fuse features are left out)
    """
    inputs = input_count(row, modalities)
    network = make_network(row.network, inputs)
    layers = layer_table(network, row.patch_size)
    parameters = row.networks * count_parameters(network)["total"]
    return {"inputs": inputs, "parameters": parameters, "multiplications": multiplications(layers)}


def as_table2(scores, names) -> pd.DataFrame:
    """Make Table 2 of our rows, each below the published row that it is a reading of, where there is one.

    Parameters
    ----------
    scores : a row per (variant, case), with what `submission.leaderboard_row` asks for
    names : sequence of variants in scores

    Returns
    -------
    frame of submission.table2, and variant: what a row is, or is a reading of. The paper's own entry stands above RT +
    SM, which has two of its three improvements. Our rows have no rank: they were scored on other scans.
    """
    require_columns(scores, "variant", "dsc", "ppv", "sensitivity", "hd_mm", "volume_ml", "truth_volume_ml")
    published, tables = paper_table("table2"), []
    for name in names:
        row = name.partition("_at_")[0]
        user = ENTRIES[name].user if name in ENTRIES else OWN if row == "rt_sm" else None
        own = leaderboard_row(scores[scores["variant"] == name], words(name))
        tables.append(table2(published[published["user"] == user], own).assign(variant=name))
    return pd.concat(tables, ignore_index=True)


def compare(scores, pairs, generator) -> pd.DataFrame:
    """Test the differences of entries from our rows by patient, and say what each comes to.

    Parameters
    ----------
    scores : a row per (variant, case) : variant, case, patient and the metrics of HIGHER
    pairs : sequence of (entry, row)
    generator : numpy.random.Generator

    Returns
    -------
    frame of stats.paired_tests, a row per (pair, metric), Holm's correction over the pairs of a metric; and verdict,
    "better", "worse" or "inconclusive".
    """
    require_columns(scores, "variant", "case", "patient", *HIGHER)
    tables = []
    for metric, sign in HIGHER.items():
        found = stats.paired_tests(scores, metric, pairs, "patient", generator)
        words = ("better", "worse")[::sign]
        found["verdict"] = [stats.side_in_words(row, *words) for row in found.itertuples()]
        tables.append(found)
    return pd.concat(tables, ignore_index=True)


def told(row) -> str:
    """Write a row of `compare` in a line: the difference, its interval, what could have been found, the verdict."""
    known = METRICS[row.metric]
    low, high = (f"{known.scale * value:+.1f}" for value in (row.low, row.high))
    verdict = row.verdict if row.verdict != "inconclusive" else "**inconclusive**"
    return (
        f"{known.name} {known.scale * row.mean_difference:+.1f} {known.step} ({low} to {high}; detectable "
        f"{known.scale * row.detectable:.1f}): {verdict}"
    )
