"""What is compared: the rows of Table 1, the changes of one thing each, and the networks that each of them uses."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from strokelib.run.checks import Section, SettingsError, nearest, require


@dataclass(frozen=True)
class Variant(Section):
    """One row of Table 1."""

    networks: Annotated[int, "[1, 2]"]  # 2 for a cascade
    loss: Annotated[str, ("gdl_cross_entropy", "cross_entropy")]
    monitor: Annotated[str, ("l1_error", "dice")]
    patch_size: int  # a multiple of 16
    mirrored: bool  # the mirror images of the modalities, too
    uncertainty_filtering: bool  # stochastic passes at prediction
    network: str = "network"  # the module of strokelib whose class `Network` it is

    def __post_init__(self):
        super().__post_init__()
        fits = self.patch_size >= 16 and self.patch_size % 16 == 0
        require(fits, f"variant.patch_size must be a multiple of 16, got {self.patch_size}")


# Table 1 of the paper, row by row; the columns are read off sections 3 and 4.1.
VARIANTS = {
    "baseline": Variant(2, "cross_entropy", "dice", 48, mirrored=False, uncertainty_filtering=False),
    "rt": Variant(1, "gdl_cross_entropy", "l1_error", 64, mirrored=False, uncertainty_filtering=False),
    "rt_sm": Variant(1, "gdl_cross_entropy", "l1_error", 64, mirrored=True, uncertainty_filtering=False),
    "rt_sm_uf": Variant(1, "gdl_cross_entropy", "l1_error", 64, mirrored=True, uncertainty_filtering=True),
}
# rt_sm_uf differs from rt_sm at prediction only, so it uses the same trained networks.
WEIGHTS = {"baseline": "baseline", "rt": "rt", "rt_sm": "rt_sm", "rt_sm_uf": "rt_sm"}


@dataclass(frozen=True)
class Change:
    """One departure from a row of Table 1, in one thing alone."""

    variant: str  # the row
    key: str  # "patch_size" of the variant, "seed", or a key of the settings such as "training.gdl_weights"
    value: int | float | bool | str


# What notebook 09 looks at: patch sides of the paper's section 3.1, the baseline's of 4.1, what else is said to matter
# in training, and the overlap and dropout of prediction (section 5).
CHANGES = {f"patch_{side}": Change("rt_sm", "patch_size", side) for side in (16, 32, 48, 80, 96)}
CHANGES |= {
    "baseline_64": Change("baseline", "patch_size", 64),
    "gdl_squared": Change("rt_sm", "training.gdl_weights", "squared"),
    "no_offset": Change("rt_sm", "sampling.lesion_offset", False),
    "no_balance": Change("rt_sm", "sampling.balanced", False),
    "no_elastic": Change("rt_sm", "sampling.elastic_alpha", 0.0),
}
CHANGES |= {f"step_{step}": Change("rt_sm", "prediction.step", step) for step in (4, 8, 16, 32, 48)}
CHANGES |= {f"passes_{n}": Change("rt_sm_uf", "prediction.passes", n) for n in (2, 5, 10)}
CHANGES |= {f"rate_{n}": Change("rt_sm_uf", "prediction.dropout", n / 100) for n in (5, 20, 40)}

SEEDED = ("rt", "rt_sm")  # what is trained with other seeds: the step whose gain depends on the training most


def changes(settings) -> dict[str, Change]:
    """Return all changes by name: those of notebook 09, and another seed such as rt_seed2019 for each setting."""
    seeds = {f"{row}_seed{n}": Change(row, "seed", n) for row in SEEDED for n in settings.sensitivity.seeds}
    return CHANGES | seeds


def weights(name: str, settings) -> str:
    """Name the variant or change whose trained networks a variant or change predicts with; often its own."""
    change = changes(settings).get(name)
    if change and change.key.startswith("prediction."):
        return WEIGHTS[change.variant]
    return WEIGHTS.get(name, name)


def method(name: str, settings) -> tuple:
    """Look up how a row of Table 1, or one of its changes, is trained and predicted.

    Returns
    -------
    Variant, and the settings, one of which differs from those given where the name is that of a change.

    Raises
    ------
    SettingsError : an unknown name.
    """
    if name in VARIANTS:
        return VARIANTS[name], settings
    known = changes(settings)
    if name not in known:
        names = [*VARIANTS, *known]
        raise SettingsError(f"unknown variant {name!r}; choose one of {', '.join(names)}{nearest(name, names)}")
    change = known[name]
    row = VARIANTS[change.variant]
    section, _, key = change.key.rpartition(".")
    if section:
        value = dataclasses.replace(getattr(settings, section), **{key: change.value})
        return row, dataclasses.replace(settings, **{section: value})
    if key == "seed":
        return row, dataclasses.replace(settings, seed=change.value)
    return dataclasses.replace(row, **{key: change.value}), settings
