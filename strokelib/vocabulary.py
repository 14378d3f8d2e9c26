"""Names, labels, units, scales and colors of variants and metrics, once: for figures, tables and text."""

import itertools
from dataclasses import dataclass

from strokelib.run.variants import CHANGES, VARIANTS

# Seaborn's palette "colorblind".
BLUE, ORANGE, GREEN, RED = "#0173b2", "#de8f05", "#029e73", "#d55e00"
PURPLE, BROWN, PINK, GRAY, SKY = "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#56b4e9"


@dataclass(frozen=True)
class Method:
    """How a variant, or what stands beside the variants, is named and drawn."""

    name: str  # in headings and tables
    short: str  # in a claim, where two of them stand in one line
    color: str


METHODS = {
    "conventional": Method("rCBF < 30 % and Tmax > 6 s", "rule", GRAY),
    "conventional_tuned": Method("The same rule, tuned on the other folds", "tuned rule", BROWN),
    "baseline": Method("Baseline", "baseline", BLUE),
    "rt": Method("Single + RT", "RT", ORANGE),
    "rt_sm": Method("Single + RT + SM", "RT + SM", GREEN),
    "rt_sm_uf": Method("Single + RT + SM + UF", "RT + SM + UF", PURPLE),
}


def in_code(names) -> dict[str, Method]:
    """Call variants by their names in code; from the fourth on their colors come again."""
    return {name: Method(name, name, color) for name, color in zip(names, itertools.cycle((PINK, SKY, RED)))}


# A variant that is not there yet goes by its name in code, so that a new one needs no other row than its own.
METHODS |= in_code([name for name in VARIANTS if name not in METHODS])
NAMES = {variant: method.name for variant, method in METHODS.items()}
COLORS = {variant: method.color for variant, method in METHODS.items()}


@dataclass(frozen=True)
class Metric:
    """How a column of numbers about scans is named, and in what unit it is told."""

    name: str
    unit: str  # of a value, in tables
    step: str  # of a difference between two values, in words
    scale: int  # the number in the file times this is in that unit
    compared: bool  # whether variants are compared by it, in tests and figures

    @property
    def axis(self) -> str:
        """Label an axis of the numbers in the file."""
        return self.name if self.unit == "%" else f"{self.name} ({self.unit})"

    @property
    def column(self) -> str:
        """Head a column of a table, or label an axis, of numbers in the metric's unit."""
        return f"{self.name} ({self.unit})"

    @property
    def difference(self) -> str:
        """Label an axis of differences in the metric's unit."""
        return f"difference in {self.name} ({self.step})"


METRICS = {  # in the order of tables and figures
    "dsc": Metric("DSC", "%", "points", 100, compared=True),
    "ppv": Metric("PPV", "%", "points", 100, compared=True),
    "sensitivity": Metric("sensitivity", "%", "points", 100, compared=True),
    "hd_mm": Metric("HD", "mm", "mm", 1, compared=True),
    "hd_voxels": Metric("HD", "voxels", "voxels", 1, compared=False),
    "hd95_mm": Metric("HD95", "mm", "mm", 1, compared=False),
    "nsd": Metric("NSD at 2 mm", "%", "points", 100, compared=False),
    "lesion_f1": Metric("lesion F1", "%", "points", 100, compared=False),
    "lesion_count_difference": Metric("|Δ count|", "lesions", "lesions", 1, compared=False),
    "volume_error_ml": Metric("|ΔV|", "mL", "mL", 1, compared=False),
}
COMPARED = tuple(name for name, metric in METRICS.items() if metric.compared)
OPTIMIZED = ("dsc", "hd_mm")  # what ranked the challenge, and by which the paper chooses threshold and size

GROUPS = {"volume_group": "true lesion volume (mL)", "slice_group": "slices a scan"}
MONITORS = {"l1_error": "L1 loss + error rate", "dice": "probabilistic Dice loss"}  # Variant.monitor
# What makes the baseline RT, by the field of Variant: what RT has, and what the baseline has in its place.
PARTS = {
    "networks": ("one network", "cascade"),
    "loss": ("GDL + cross-entropy", "cross-entropy"),
    "patch_size": ("side 64", "side 48"),
    "monitor": ("stopping on L1 + error rate", "stopping on probabilistic Dice"),
}
STOPPING = {"validation_loss": "validation loss", "monitored": MONITORS["l1_error"]}  # what notebook 09 holds apart
# What a mask has right, too much and missed: as in the paper's Fig. 4, and told apart by every kind of eye.
OUTCOMES = {
    "paper": {"true positive": "#00bf33", "false positive": "#e61a1a", "false negative": "#2659ff"},
    "colorblind": {"true positive": "#ffe14d", "false positive": "#c83200", "false negative": "#2f6bff"},
}
VERDICTS = {"holds": GREEN, "opposite": RED, "smaller": BLUE, "inconclusive": GRAY}  # of stats.claims_table
LOSSES = {  # Variant.loss, from the least done about imbalance to the most
    "cross_entropy": "cross-entropy",
    "weighted_cross_entropy": "cross-entropy, classes weighted",
    "focal": "focal",
    "dice_cross_entropy": "Dice + cross-entropy",
    "gdl": "GDL 1/v",
    "gdl_squared": "GDL 1/v²",
    "gdl_cross_entropy": "GDL + cross-entropy",
}
# What notebook 09 changes, by the key that Change names: a heading, and the change in words.
CHANGED = {
    "patch_size": ("patch side", "{} voxels"),
    "training.gdl_weights": ("training", "Dice weights 1/v²"),
    "training.averaging": ("training", "averaged weights"),
    "sampling.lesion_offset": ("training", "no offset of lesion patches"),
    "sampling.balanced": ("training", "no balance of patches"),
    "sampling.elastic_alpha": ("training", "no elastic copies"),
    "prediction.step": ("voxels between patches", "{} voxels"),
    "prediction.passes": ("stochastic passes", "{} passes"),
    "prediction.dropout": ("dropout at prediction", "{:.0%}"),
}


def changed(name: str) -> tuple[str, str]:
    """Say in words what a change of notebook 09 is: a heading, which names what it departs from, and the change.

    Parameters
    ----------
    name : in variants.CHANGES
    """
    change = CHANGES[name]
    heading, words = CHANGED.get(change.key, (change.key, "{}"))
    return f"{heading}, {METHODS[change.variant].short}", words.format(change.value).replace("%", " %")
