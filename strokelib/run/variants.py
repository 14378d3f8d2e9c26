"""What is compared: the rows of Table 1, the changes of one thing each, and the networks that each of them uses."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from strokelib.run.checks import Section, SettingsError, nearest, require

# What others did about imbalance (notebook 18).
IMBALANCE = ("cross_entropy", "weighted_cross_entropy", "focal", "gdl", "gdl_squared", "dice_cross_entropy")
KINDS_OF_LOSS = ("gdl_cross_entropy", *IMBALANCE, "boundary")  # the first is the paper's own
OF_SERIES = ("fitted", "sharp")  # made of the raw series by notebook 23
OF_FILES = ("windowed", "curves")  # made anew of a scan as it came, or of its series, which may be drawn again
EXTRA = ("", "difference", "neighbors", "surroundings", *OF_SERIES, *OF_FILES)  # the first: nothing


@dataclass(frozen=True)
class Variant(Section):
    """One row of Table 1."""

    networks: Annotated[int, "[1, 2]"]  # 2 for a cascade
    loss: Annotated[str, KINDS_OF_LOSS]
    monitor: Annotated[str, ("l1_error", "dice")]
    patch_size: int  # a multiple of 16
    mirrored: bool  # the mirror images of the modalities, too
    uncertainty_filtering: bool  # stochastic passes at prediction
    network: str = "network"  # the module of strokelib whose class `Network` it is
    extra: Annotated[str, EXTRA] = ""  # what it is given beside the modalities, or for them; see `extra_inputs`
    scan_statistics: bool = False  # batch normalization by what is measured on the scan itself, at prediction

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


AT_PREDICTION = ("uncertainty_filtering", "scan_statistics")  # of Variant: what trains no networks of its own


@dataclass(frozen=True)
class Change:
    """One departure from a row of Table 1, or from another change, in one thing alone."""

    variant: str  # what it departs from
    key: str  # "patch_size" or another of the variant, "seed", "again", or a key of the settings: "training.dropout"
    value: int | float | bool | str


# What notebook 09 looks at: patch sides of the paper's section 3.1, what else is said to matter in training, and the
# overlap and dropout of prediction (section 5).
CHANGES = {f"patch_{side}": Change("rt_sm", "patch_size", side) for side in (16, 32, 48, 80, 96)}
CHANGES |= {
    "gdl_squared": Change("rt_sm", "training.gdl_weights", "squared"),
    "averaged": Change("rt_sm", "training.averaging", 0.99),
    "no_offset": Change("rt_sm", "sampling.lesion_offset", False),
    "no_balance": Change("rt_sm", "sampling.balanced", False),
    "no_elastic": Change("rt_sm", "sampling.elastic_alpha", 0.0),
}
CHANGES |= {f"step_{step}": Change("rt_sm", "prediction.step", step) for step in (4, 8, 16, 32, 48)}
CHANGES |= {f"passes_{n}": Change("rt_sm_uf", "prediction.passes", n) for n in (2, 5, 10)}
CHANGES |= {f"rate_{n}": Change("rt_sm_uf", "prediction.dropout", n / 100) for n in (5, 20, 40)}

# Notebook 12 takes RT apart: from the baseline one factor at a time, and from RT one factor back. The fourth factor,
# what is monitored, is read from the same trainings: see `apart`.
APART = {
    "baseline_single": Change("baseline", "networks", 1),
    "baseline_gdl": Change("baseline", "loss", "gdl_cross_entropy"),
    "baseline_side64": Change("baseline", "patch_size", 64),
    "rt_cascade": Change("rt", "networks", 2),
    "rt_cross_entropy": Change("rt", "loss", "cross_entropy"),
    "rt_side48": Change("rt", "patch_size", 48),
}
INNER = {"rt_sm_inner": Change("rt_sm", "folds.inner_split", True)}  # early stopping on scans that are not evaluated
# Notebook 17: folds that leak, and those by patient that are dealt out as evenly; further.leakage_updates each.
LEAKAGE = {
    "rt_sm_balanced": Change("rt_sm", "folds.scheme", "balanced"),
    "rt_sm_by_scan": Change("rt_sm", "folds.scheme", "by_scan"),
    "rt_sm_by_slice": Change("rt_sm", "folds.scheme", "by_slice"),
}
# Notebook 18: what the finalists and the literature did about imbalance, each with balanced sampling and without.
LOSSES = {f"loss_{name}": Change("rt_sm", "loss", name) for name in IMBALANCE}
LOSSES |= {f"{name}_unbalanced": Change(name, "sampling.balanced", False) for name in LOSSES}
# Notebook 19: what the paper remarks on in passing. Its decoder has half the convolutions of its encoder: once with
# all, once with none but those that lead up. Batches see as many patches in all, in more updates or fewer (`method`).
# Each optimizer takes three rates a decade apart; Adadelta's middle one is the paper's.
OPTIMIZERS = {name: Change("rt_sm", "training.optimizer", name) for name in ("adamw", "sgd")}
REMARKS = {
    "decoder_whole": Change("rt_sm", "network", "whole_decoder"),
    "decoder_bare": Change("rt_sm", "network", "bare_decoder"),
    "batch_16": Change("rt_sm", "training.batch_size", 16),
    "batch_256": Change("rt_sm", "training.batch_size", 256),
    "no_dropout": Change("rt_sm", "training.dropout", 0.0),
    "dropout_everywhere": Change("rt_sm_uf", "prediction.dropout_level", 1),
    "dropout_deepest": Change("rt_sm_uf", "prediction.dropout_level", 5),
    "adadelta_1e-1": Change("rt_sm", "training.learning_rate", 0.1),
    "adadelta_1e1": Change("rt_sm", "training.learning_rate", 10.0),
}
REMARKS |= {f"adamw_1e-{n}": Change("adamw", "training.learning_rate", 10.0**-n) for n in (4, 3, 2)}
REMARKS |= {f"sgd_1e-{n}": Change("sgd", "training.learning_rate", 10.0**-n) for n in (3, 2, 1)}
# Notebook 24: what may lie beyond the paper, one thing each; others that it looks at are among the changes above. What
# is trained again, with the next seed or the one after it, changes nothing, and shows what chance alone brings.
BEYOND = {
    **{f"again_{n}": Change("rt_sm", "again", n) for n in (1, 2)},
    "adamw_3e-3": Change("adamw", "training.learning_rate", 3e-3),
    "one_cycle": Change("adamw_3e-3", "training.schedule", "one_cycle"),
    "turned": Change("rt_sm", "prediction.flips", True),
    "flips": Change("rt_sm", "sampling.flips", True),
    "flips_twice": Change("flips", "prediction.flips", True),
    "group_norm": Change("rt_sm", "network", "group_norm"),
    "scan_statistics": Change("rt_sm", "scan_statistics", True),
    "boundary": Change("rt_sm", "loss", "boundary"),
    "deep_supervision": Change("rt_sm", "network", "deep_supervision"),
    "two_streams": Change("rt_sm", "network", "two_streams"),
}
BEYOND |= {name: Change("rt_sm", "extra", name) for name in EXTRA[1:]}
BEYOND |= {"curves_pointwise": Change("curves", "network", "pointwise")}  # which reads a curve before it looks around
# Notebook 26: the challenge's other finalists, as far as the paper tells of them. It tells of no mirrored modalities
# there, so all depart from RT; of two losses (section 1), an encoder a modality, and the raw series (section 5).
FINALISTS = {
    "liu": Change("rt", "loss", "weighted_cross_entropy"),
    "rt_focal": Change("rt", "loss", "focal"),
    "hu": Change("rt_focal", "networks", 2),
    "chen": Change("rt", "network", "one_encoder_each"),
    "liu_scales": Change("liu", "network", "multi_scale"),
    "song": Change("liu_scales", "extra", "fitted"),
}
TRIED = CHANGES | LOSSES | OPTIMIZERS | REMARKS | BEYOND  # one thing changed, held against the row it departs from
TRIED |= FINALISTS
# Notebooks that no run makes unless asked to, and the target of tools/run.py that asks.
ASKED = {"09_sensitivity": "sensitivity", "11_seeds": "seeds", "12_rt_apart": "rt_apart"}
ASKED |= {"15_uncertainty": "uncertainty", "17_leakage": "leakage"}
ASKED |= {"18_imbalance": "imbalance", "19_remarks": "remarks"}
ASKED |= {"21_cohorts": "cohorts", "22_symmetry": "symmetry"}  # and with them notebook 20, once a cohort
ASKED |= {"23_raw_series": "raw_series", "24_beyond": "beyond", "25_learning_curve": "learning_curve"}
ASKED |= {"26_finalists": "finalists", "27_chain": "chain"}
CURVE = ("rt", "rt_sm")  # whose networks are kept on the way; a cascade's second begins where its first ends
LINKED_TO = "rt_sm"  # what the chain of notebook 27 starts from: UF multiplies the cost of a prediction
SIDE = 64  # voxels, of the patches that training.batch_size and prediction.step are meant for


def apart(settings) -> dict[str, Change]:
    """Return the cells of notebook 12 by name: both ends at the budget of single changes, the factors between them.

    A name that ends in the other monitor, such as rt_cascade_by_dice, is what the same training would have kept by it.
    """
    ends = {at(row, settings.sensitivity.updates): row for row in ("baseline", "rt")}
    cells = {name: Change(row, "training.max_updates", settings.sensitivity.updates) for name, row in ends.items()}
    cells |= APART
    monitors = {name: VARIANTS[change.variant].monitor for name, change in cells.items()}
    other = {"l1_error": "dice", "dice": "l1_error"}
    return cells | {f"{name}_by_{other[own]}": Change(name, "monitor", other[own]) for name, own in monitors.items()}


def at(row: str, updates: int) -> str:
    """Name what a row of Table 1 comes to with so many updates, such as rt_sm_at_750."""
    return f"{row}_at_{updates}"


def curve(settings) -> dict[str, Change]:
    """Return the budget curve by name: single networks as they were on the way, for each of training.snapshots."""
    key = "training.max_updates"
    return {at(row, n): Change(row, key, n) for row in CURVE for n in settings.training.snapshots}


def seeded(settings) -> dict[str, Change]:
    """Return the rows of Table 1 with other seeds by name, such as rt_seed2019, for each of sensitivity.seeds."""
    return {f"{row}_seed{n}": Change(row, "seed", n) for n in settings.sensitivity.seeds for row in VARIANTS}


def leakage(settings) -> dict[str, Change]:
    """Return the four ways to make folds of notebook 17 by name, the first that of the settings."""
    updates = settings.further.leakage_updates
    return {at("rt_sm", updates): Change("rt_sm", "training.max_updates", updates)} | LEAKAGE


def links(names) -> dict[str, Change]:
    """Put changes one upon the other: RT + SM with the first, with the first and the second, and so on.

    Parameters
    ----------
    names : of TRIED; each departs from rt_sm, by itself or over others

    Returns
    -------
    {"beyond_1": Change, ..., "beyond": Change}, the last with all of them. Between two of these rows stand the single
    steps that lead from one to the other, such as beyond_1_training_optimizer, which nobody trains.

    Raises
    ------
    SettingsError : a change of another row, one that sets what is set already to another value, or that adds nothing.

    What acts at prediction comes first within a row, so that one that is trained, too, has networks of its own.
    """
    made, before, held = {}, LINKED_TO, {}
    for place, name in enumerate(names, start=1):
        row, steps, of = "beyond" if place == len(names) else f"beyond_{place}", [], name
        while of in TRIED:
            steps, of = [TRIED[of], *steps], TRIED[of].variant
        require(of == LINKED_TO, f"further.chain starts from {LINKED_TO}, and {name} is a change of {of}; leave it out")
        for step in steps:
            there = held.get(step.key, step.value)
            twice = f"further.chain sets {step.key} twice, to {there!r} and, by {name}, to {step.value!r}; keep one"
            require(there == step.value, twice)
            require(step.key != "again", f"further.chain: {name} changes nothing but the seed; leave it out")
        steps = sorted((step for step in steps if step.key not in held), key=lambda step: not _at_prediction(step))
        require(bool(steps), f"further.chain: {name} adds nothing to what stands before it; leave it out")
        for step in steps:
            own = row if step is steps[-1] else f"{row}_{step.key.replace('.', '_')}"
            made[own] = Change(before, step.key, step.value)
            before, held[step.key] = own, step.value
    return made


def chain_rows(settings) -> list[str]:
    """Name the rows of notebook 27 after RT + SM, the first change first; "beyond" is the last."""
    count = len(settings.further.chain)
    return [f"beyond_{place}" for place in range(1, count)] + ["beyond"] * (count > 0)


def chain(settings) -> dict[str, Change]:
    """Return what notebook 27 alone predicts, by name: its rows, and RT + SM + UF after as many updates as they have.

    Raises
    ------
    SettingsError : see `links`; a first change that trains nothing, where it would have another budget than the next.
    """
    filtered, updates, names = {}, settings.sensitivity.updates, settings.further.chain
    if updates in settings.training.snapshots:
        message = f"further.chain starts with {names[:1]}, which trains nothing: its row would be one of "
        message += f"{settings.training.max_updates} updates, and the next one of {updates}; name it later"
        require(not names or not all(map(_at_prediction, links(names[:1]).values())), message)
        filtered = {at("rt_sm_uf", updates): Change(at("rt_sm", updates), "uncertainty_filtering", True)}
    return filtered | links(names)


def changes(settings) -> dict[str, Change]:
    """Return all changes by name: of notebooks 09 to 12, 17 to 19, 24, 26 and 27."""
    known = INNER | curve(settings) | apart(settings) | seeded(settings)
    return known | leakage(settings) | TRIED | _at_budget(settings) | chain(settings)


def _at_budget(settings) -> dict[str, Change]:
    """Let candidates of notebook 24 that train nothing depart from a row with as many updates as the others take."""
    return {
        name: dataclasses.replace(change, variant=at_budget(change.variant, settings))
        for name, change in BEYOND.items()
        if _at_prediction(change) and change.variant in VARIANTS
    }


def main_rows(settings) -> list[str]:
    """Return what the main workflow predicts: the rows of Table 1, and what notebook 10 holds them against."""
    return [*VARIANTS, *curve(settings), *(INNER if settings.sensitivity.inner else ())]


def weights(name: str, settings) -> str:
    """Name the variant or change whose trained networks a variant or change predicts with; often its own."""
    change = changes(settings).get(name)
    if change is None:
        return WEIGHTS.get(name, name)
    if change.key == "seed":
        return f"{WEIGHTS.get(change.variant, change.variant)}_seed{change.value}"
    same = change.key == "monitor" or _at_prediction(change)
    return weights(change.variant, settings) if same or _on_the_way(change, settings) else name


def kept_as(name: str, settings) -> str:
    """Say what is added to the name of a network's file, as `training` keeps it: ".at750", ".dice", both or nothing."""
    change = changes(settings).get(name)
    if change is None:
        return ""
    before = kept_as(change.variant, settings)
    if change.key == "monitor":
        return f"{before}.{change.value}"
    on_the_way = _on_the_way(change, settings) and change.value != settings.training.max_updates
    return f"{before}.at{change.value}" if on_the_way else before


def _at_prediction(change: Change) -> bool:
    return change.key in AT_PREDICTION or change.key.startswith("prediction.")


def _on_the_way(change: Change, settings) -> bool:
    """Tell whether a training passes by what a change of its budget would come to, and keeps it."""
    passed = (*settings.training.snapshots, settings.training.max_updates)
    return change.key == "training.max_updates" and change.variant in CURVE and change.value in passed


CASCADE = "it is a cascade, and each set trains one network"


def unfit_for_sets(name: str) -> str:
    """Say what keeps a row of Table 1, or one of TRIED, from the sets of notebook 25; "" for nothing."""
    while name in TRIED:
        if TRIED[name].key == "extra" and TRIED[name].value in (*OF_SERIES, *OF_FILES):
            return "what it is given is made of a scan's own files, and sets keep preprocessed scans alone"
        if (TRIED[name].key, TRIED[name].value) == ("networks", 2):
            return CASCADE
        name = TRIED[name].variant
    return "" if VARIANTS[name].networks == 1 else CASCADE


def reference(name: str, settings) -> str:
    """Name what a change of notebook 09, 18, 19, 24 or 26 is held against: its row of Table 1 after as many updates."""
    row = name
    while row in TRIED:
        row = TRIED[row].variant
    used = weights(name, settings)
    return at_budget(row, settings) if used == name or used in TRIED or name in BEYOND else row


def at_budget(row: str, settings) -> str:
    """Name what a row of Table 1, of one network, comes to with the budget of single changes; itself if it has that."""
    updates = settings.sensitivity.updates
    return at(row, updates) if updates in settings.training.snapshots else row


def compared(notebook: str, settings) -> tuple[list[str], int]:
    """Return whose maps a notebook that is made when asked for reads, and in how many of the first folds.

    Raises
    ------
    KeyError : the notebook is none of ASKED.
    """
    asked, few, every = settings.further, settings.sensitivity.folds, settings.folds.count
    tried = {"09": settings.sensitivity.changes, "18": asked.losses, "19": asked.remarks, "24": asked.candidates}
    with_references = {
        number: [*names, *(reference(name, settings) for name in names)] for number, names in tried.items()
    }
    names, folds = {
        "09": ([*VARIANTS, *with_references["09"]], few),
        "11": ([*VARIANTS, *seeded(settings)], every),
        "12": ([*apart(settings)], settings.sensitivity.apart_folds),
        "15": (["rt_sm"], every),
        "17": ([*leakage(settings)], every),
        "18": ([*with_references["18"], "no_balance"], few),
        "19": (with_references["19"], few),
        "24": (with_references["24"], few),
        "26": ([*asked.finalists, *(reference(row, settings) for row in CURVE)], few),
        "27": ([*(at_budget(row, settings) for row in ("rt_sm_uf", "rt_sm")), *chain_rows(settings)], every),
        **dict.fromkeys(("21", "22", "23", "25"), ([], 0)),  # of cohorts of their own, and of series
    }[notebook[:2]]
    return [*dict.fromkeys(names)], folds


def method(name: str, settings) -> tuple:
    """Look up how a row of Table 1, or one of its changes, is trained and predicted.

    Returns
    -------
    Variant, and the settings, some of which differ from those given where the name is that of a change.

    What is trained for a change takes sensitivity.updates, or further.leakage_updates. Its patches have a step of
    prediction in proportion to their side, and so many a batch that their voxels stay as many: sides differ in side
    alone. Another batch size takes as many patches in all, and is validated after as many; its updates differ. Changes
    of a change keep what that one takes.

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
    row, made = method(change.variant, settings)
    section, _, key = change.key.rpartition(".")
    if key == "max_updates":
        made = _with(made, section, max_updates=change.value, snapshots=())
    elif section:
        made = _with(made, section, **{key: change.value})
    elif key == "seed":
        made = dataclasses.replace(made, seed=change.value)
    elif key == "again":
        made = dataclasses.replace(made, seed=made.seed + change.value)
    else:
        row = dataclasses.replace(row, **{key: change.value})
    first = weights(change.variant, settings) in VARIANTS  # another has the budget already
    if weights(name, settings) == name and key != "seed" and first:
        own = name in leakage(settings)
        budget = settings.further.leakage_updates if own else settings.sensitivity.updates
        made = _with(made, "training", max_updates=budget, snapshots=())
    if key == "batch_size":
        held, share = made.training, settings.training.batch_size / change.value
        counted = ("validate_every", "stopping_batches", "statistics_batches")  # of as many patches; 0 stays what it is
        scaled = {key: max(1, round(count * share)) if (count := getattr(held, key)) else 0 for key in counted}
        made = _with(made, "training", max_updates=max(2, round(held.max_updates * share)), **scaled)
    if row.patch_size != SIDE and key != "seed" and (change.variant in VARIANTS or key == "patch_size"):
        batch = max(2, round(made.training.batch_size * (SIDE / row.patch_size) ** 2))
        made = _with(made, "training", batch_size=batch)
        made = _with(made, "prediction", step=max(1, round(made.prediction.step * row.patch_size / SIDE)))
    return row, made


def at_changes_budget(name: str, settings) -> tuple:
    """Do as `method`, but for a row of Table 1 with the budget of single changes, sensitivity.updates, too."""
    row, how = method(name, settings)
    if weights(name, settings) in VARIANTS:
        how = _with(how, "training", max_updates=settings.sensitivity.updates, snapshots=())
    return row, how


def _with(settings, section: str, **values):
    return dataclasses.replace(settings, **{section: dataclasses.replace(getattr(settings, section), **values)})
