"""What each notebook reads, writes and depends on: the one declaration, which run, workflow and headers are held to.

A path is relative to results/<settings>. Words in braces stand for what differs from run to run and file to file:
{variant} and {fold} of a crossvalidation, {world} of another cohort, {split} (TRAINING or TESTING) and {case} of a
scan.
"""

import dataclasses
import re
from dataclasses import dataclass

from strokelib.run.digest import module_digest
from strokelib.run.variants import (
    CHANGES,
    VARIANTS,
    kept_as,
    method,
    weights,
)
from strokelib.run.worlds import worlds

FOLD = "{variant}/fold{fold}"
SCAN = "preprocessed/{split}/case_{case}.npz"
SERIES = "series/{split}/case_{case}.npz"  # maps fitted to a raw series
MAP, SPREAD = f"{FOLD}/case_{{case}}.nii.gz", f"{FOLD}/case_{{case}}_spread.nii.gz"
# Networks kept beside the final ones, as `variants.kept_as` says: network.at750, network.dice, network2.l1_error ...
KEPT = (f"{FOLD}/network.{{kept}}.safetensors", f"{FOLD}/network2.{{kept}}.safetensors")
ALWAYS = ("threads", "compute.portable", "data.source")
# Settings that no number depends on, but for last bits: processes, notebooks or patches at a time.
NO_NUMBER = ("cohort.jobs", "compute.folds_at_once", "prediction.batch_size")


@dataclass(frozen=True)
class Stage:
    """One notebook."""

    depends: tuple[str, ...]  # settings, by section or section.key; "variant", "world" (its own), "variants", "changes"
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    may_read: tuple[str, ...] = ()  # in some runs
    may_write: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()  # of another run, as it is published in figures/<name>/


def _figures(*names: str) -> tuple[str, ...]:
    return tuple(f"figures/{name}" for name in names)


STAGES = {
    "00_overview": Stage(
        depends=("variants",),
        reads=("cohort.csv", *_figures("table1.csv", "tests_of_significance.csv", "table2.csv", "fig4.png")),
        kept=("table1.csv", "tests_of_significance.csv", "seeds.csv", "table2.csv", "vote.csv", "claims.png"),
    ),
    "01_data_exploration": Stage(
        depends=("seed", "cohort", "folds"),
        writes=(
            *("cohort.csv", "bad_cases.csv", "calibration.csv"),
            *_figures("forward_model.png", "cohort.png", "modalities.png"),
        ),
        may_write=_figures("curves.png", "vendor_maps.png", "own_maps.png"),
    ),
    "02_preprocessing": Stage(
        depends=("data.skip_bad_cases", "preprocess"),
        reads=("cohort.csv",),
        writes=(
            *("remarks.csv", "registration.csv", SCAN),
            *_figures("registration.png", "registration_errors.png", "fig1.png"),
        ),
    ),
    "03_sampling": Stage(
        depends=("seed", "folds", "sampling", "variants"),
        reads=("cohort.csv", "registration.csv", SCAN),
        writes=("sampling.csv", *_figures("centers.png", "patches.png", "class_fractions.png", "elastic.png")),
    ),
    "04_model": Stage(
        depends=("seed", "training.dropout", "training.batch_norm_momentum", "prediction.dropout", "variants"),
        writes=("layers.csv", *_figures("fig2.png")),
    ),
    "05_crossvalidation": Stage(
        depends=("seed", "folds", "sampling", "training", "compute", "prediction", "variant"),
        reads=("registration.csv", SCAN),
        may_read=(f"{FOLD}/network.safetensors", f"{FOLD}/network2.safetensors", *KEPT, SERIES),
        writes=(f"{FOLD}/predictions.csv", MAP, f"{FOLD}/history.png", f"{FOLD}/probability.png"),
        may_write=(
            *(f"{FOLD}/{name}" for name in ("network.safetensors", "network2.safetensors", "history.csv")),
            *(*KEPT, SPREAD, *_figures("fig3.png")),
        ),
    ),
    "06_ablations": Stage(
        depends=(
            *("seed", "folds", "sampling.patches_per_case", "training.max_updates", "training.batch_size"),
            *("postprocess", "claims", "drawing", "variants"),
        ),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
        writes=(
            *("grid.csv", "choice.csv", "rule.csv", "metrics.csv", "metrics_nested.csv", "tests.csv"),
            *_figures("pairs.csv", "table1.csv", "tests_of_significance.csv"),
            *_figures("pair.png", "grid.png", "metrics.png", "fig4.png", "differences.png", "claims.png"),
        ),
    ),
    "07_leaderboard_submission": Stage(
        depends=("seed", "folds.count", "compute", "prediction", "variants"),
        reads=("registration.csv", SCAN, f"{FOLD}/network.safetensors", "choice.csv", "metrics.csv"),
        writes=_figures("table2.csv", "leaderboard.png"),
        may_write=(  # where there are testing scans, these have image ids, and their truth is known
            *("test_maps/case_{case}.nii.gz", "submission/submission.zip"),
            *("test_metrics.csv", "test_metrics_single.csv", *_figures("test_map.png", "vote.csv")),
        ),
    ),
    "08_errors_and_uncertainty": Stage(
        depends=("folds.count", "drawing", "variants"),
        reads=(
            *("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP, SPREAD),
            *("choice.csv", "metrics.csv", "figures/table1.csv"),
        ),
        writes=(
            *("groups.csv", "agreement.csv", "reliability.csv", "error_detection.csv"),
            *_figures("volumes.png", "by_volume.png", "by_slices.png", "bland_altman.png", "worst.png"),
            *_figures("uncertainty.png", "reliability.png"),
        ),
    ),
    "09_sensitivity": Stage(
        depends=("seed", "folds", "sampling", "prediction", "postprocess", "sensitivity", "variants", "changes"),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
        may_read=(f"{FOLD}/history.csv",),
        writes=(
            *("sensitivity_tests.csv", *_figures("sensitivity.csv", "stopping.csv")),
            *_figures("patch_side.png", "sensitivity.png", "prediction.png", "stopping.png"),
        ),
    ),
    "10_trust": Stage(
        depends=(
            *("seed", "folds.count", "training.max_updates", "training.snapshots", "postprocess"),
            *("sensitivity.updates", "sensitivity.inner", "variants"),
        ),
        reads=(
            *("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
            *("grid.csv", "metrics.csv", "metrics_nested.csv", *_figures("table2.csv")),
        ),
        may_read=(f"{FOLD}/history.csv", "test_metrics_single.csv"),
        writes=(
            *("trust_metrics.csv", *_figures("ranking.csv", "ranking_agreement.csv", "optimism.csv", "trained.csv")),
            *_figures("budget.csv", "ranking.png", "ranking_agreement.png", "optimism.png", "budget.png"),
        ),
        may_write=_figures("budget_steps.csv", "budget_at_half.csv", "outlook.csv"),
        kept=("behind/predictions.csv",),
    ),
    "11_seeds": Stage(
        depends=("seed", "folds", "postprocess", "sensitivity.seeds", "claims", "variants"),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP, "metrics_nested.csv"),
        writes=(
            *("seeds_metrics.csv", *_figures("seeds.csv", "seeds_averaged.csv", "seeds_claims.csv")),
            *_figures("seeds.png", "seeds_claims.png"),
        ),
    ),
    "12_rt_apart": Stage(
        depends=(
            *("seed", "folds.count", "training.batch_size", "prediction.step", "postprocess"),
            *("sensitivity.updates", "sensitivity.apart_folds", "variants"),
        ),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
        writes=("apart_metrics.csv", *_figures("rt_apart.csv", "rt_apart_monitors.csv", "rt_apart.png")),
    ),
    "13_ladder": Stage(
        depends=(
            *("seed", "cohort", "folds.count", "folds.inner_split", "training.max_updates", "postprocess", "drawing"),
        ),
        reads=(
            *("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
            *("choice.csv", "metrics_nested.csv"),
        ),
        writes=(
            *("ladder_metrics.csv", *_figures("ladder.csv", "ladder_steps.csv", "ladder_coefficients.csv")),
            *_figures("ladder_importances.csv", "ladder.png", "ladder_steps.png", "ladder_coefficients.png"),
            *_figures("ladder_importances.png", "ladder_features.png", "ladder_scan.png"),
        ),
    ),
    "14_published_numbers": Stage(
        depends=("seed",),
        reads=("metrics_nested.csv", *_figures("table2.csv")),
        may_read=("test_metrics.csv", "test_metrics_single.csv"),
        writes=(
            *_figures("published.csv", "published_pairs.csv", "published_places.csv", "published_folds.csv"),
            *_figures("published.png", "least_difference.png", "undefined.png", "first_places.png"),
        ),
        kept=(
            *("table2.csv", "behind/metrics_nested.csv"),
            *("behind/test_metrics.csv", "behind/test_metrics_single.csv"),
        ),
    ),
    "15_uncertainty": Stage(
        depends=("seed", "folds.count", "compute", "prediction", "variants"),
        reads=("registration.csv", SCAN, f"{FOLD}/network.safetensors", "choice.csv"),
        may_read=(f"{FOLD}/history.csv",),
        writes=(
            *("uncertainty_scans.csv", "uncertainty_detection.csv", "uncertainty_curves.csv"),
            *_figures("detection.csv", "selective.csv", "coverage.csv", "measures.png", "vote_reliability.png"),
            *_figures("errors_by_measure.png", "selective.png", "volume_intervals.png", "coverage.png"),
        ),
    ),
    "16_segment_a_scan": Stage(
        depends=(),
        reads=("registration.csv",),
        may_write=_figures("own_modalities.png", "own_mirrored.png", "own_core.png", "own_page.png"),
    ),
    "17_leakage": Stage(
        depends=("seed", "folds", "postprocess", "further.leakage_updates", "variants"),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
        writes=("leakage_metrics.csv", *_figures("leakage.csv", "leakage_patients.csv", "leakage.png")),
    ),
    "18_imbalance": Stage(
        depends=(
            *("seed", "folds.count", "sampling.balanced", "training.max_updates", "postprocess", "sensitivity"),
            *("further.losses", "variants"),
        ),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
        writes=(
            *("imbalance_metrics.csv", *_figures("imbalance.csv", "imbalance_interaction.csv")),
            *_figures("imbalance_volumes.csv", "imbalance_calibration.csv", "imbalance_decisions.csv"),
            *_figures("imbalance.png", "imbalance_volumes.png", "imbalance_reliability.png", "imbalance_decisions.png"),
        ),
    ),
    "19_remarks": Stage(
        depends=(
            *("seed", "folds.count", "training", "prediction", "postprocess", "sensitivity"),
            *("further.remarks", "variants"),
        ),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
        may_read=("metrics_nested.csv", "grid.csv", "choice.csv"),
        writes=(
            *("remarks_metrics.csv", *_figures("remarks.csv", "remarks_tests.csv", "remarks_volumes.csv")),
            *_figures("remarks.png", "remarks_rates.png", "remarks_steps.png"),
        ),
        kept=(
            *("benchmarks.csv", "machine.json", "behind/metrics_nested.csv", "behind/grid.csv", "behind/choice.csv"),
        ),
    ),
    "20_another_cohort": Stage(
        depends=(
            *("seed", "cohort.training_patients", "cohort.max_slices", "cohort.difficulty", "folds", "sampling"),
            *("training", "compute", "prediction", "postprocess", "sensitivity.updates", "sensitivity.folds"),
            *("further.training_seeds", "variants", "world"),
        ),
        writes=("worlds/{world}/scores.csv",),
    ),
    "21_cohorts": Stage(
        depends=("seed", "sensitivity.updates", "further.cohort_seeds", "further.training_seeds", "variants"),
        reads=("worlds/{world}/scores.csv",),
        writes=("cohorts_metrics.csv", *_figures("cohorts.csv", "cohorts_claims.csv", "cohorts.png")),
    ),
    "22_symmetry": Stage(
        depends=(
            *("seed", "cohort.seed", "cohort.difficulty", "preprocess", "sensitivity.updates"),
            *("further.training_seeds", "further.symmetries", "further.symmetry_networks", "variants"),
        ),
        reads=("worlds/{world}/scores.csv",),
        writes=(
            *("symmetry_metrics.csv", *_figures("symmetry.csv", "symmetry_slopes.csv", "symmetry.png")),
            *_figures("symmetry_registration.csv", "misfit.png", "likeness.png"),
        ),
    ),
    "23_raw_series": Stage(
        depends=("seed", "cohort", "folds", "postprocess"),
        reads=("registration.csv", SCAN),
        writes=(
            *(SERIES, "series.csv", "series_areas.csv", "series_metrics.csv"),
            *_figures("raw_series.csv", "raw_series_areas.csv", "raw_series_steps.csv", "raw_series_curves.png"),
            *_figures("raw_series_maps.png", "raw_series_areas.png", "raw_series.png"),
        ),
        may_write=_figures("raw_series_residue.csv"),
    ),
    "24_beyond": Stage(
        depends=(
            *("seed", "folds.count", "training.max_updates", "prediction", "postprocess", "sensitivity"),
            *("further.candidates", "variants"),
        ),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
        writes=("beyond_metrics.csv", *_figures("beyond.csv", "beyond_pairs.csv", "beyond.png")),
    ),
    "25_learning_curve": Stage(
        depends=(
            *("seed", "cohort.training_patients", "cohort.max_slices", "cohort.difficulty"),
            *("preprocess.registration", "sampling", "training", "compute", "prediction", "postprocess"),
            *("sensitivity.updates", "further.curve_scans", "further.curve_rows", "further.curve_seed", "variants"),
        ),
        writes=(
            "learning_curve_metrics.csv",
            *_figures("learning_curve.csv", "learning_curve_steps.csv", "learning_curve.png"),
        ),
    ),
    "26_finalists": Stage(
        depends=(
            *("seed", "folds.count", "sampling.patches_per_case", "training", "postprocess", "sensitivity"),
            *("further.finalists", "variants"),
        ),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP),
        may_read=(f"{FOLD}/history.csv",),
        writes=(
            *("finalists_metrics.csv", *_figures("finalists.csv", "finalists_table2.csv", "finalists_tests.csv")),
            *_figures("finalists.png"),
        ),
    ),
    "27_chain": Stage(
        depends=(
            *("seed", "folds.count", "training.max_updates", "training.snapshots", "prediction", "postprocess"),
            *("sensitivity.updates", "further.chain", "further.confirming_seed", "further.confirming_training_seeds"),
            "variants",
        ),
        reads=("registration.csv", SCAN, f"{FOLD}/predictions.csv", MAP, "worlds/{world}/scores.csv"),
        writes=("chain_metrics.csv", *_figures("chain.csv", "chain_steps.csv", "chain_pairs.csv", "chain.png")),
        may_write=(  # where cohorts can be made, the votes where they are trained more than once
            *_figures("confirmed.csv", "confirmed_groups.csv", "confirmed_votes.csv", "confirmed.png"),
        ),
    ),
}


def depends(notebook: str, settings, variant: str = "", world: str = "") -> dict:
    """Collect the values that a notebook's results depend on, by name; of JSON's types, as a manifest holds them.

    Parameters
    ----------
    notebook : a name in STAGES
    settings : Settings
    variant, world : of the run, for a notebook that depends on its own

    Raises
    ------
    SettingsError : an unknown variant.
    """
    stage, values = STAGES[notebook], {}
    names = (*ALWAYS, *stage.depends)
    has_networks = any(path.endswith("network.safetensors") for path in (*stage.reads, *stage.may_read))
    has_networks |= bool({"world", "further.curve_rows"} & {*names})  # which train their own
    if variant:
        used = weights(variant, settings) + kept_as(variant, settings)
        row, settings = method(variant, settings)
        values = {f"variant.{key}": value for key, value in _row(row, has_networks).items()}
        values["variant.weights"] = used
    if "variants" in names:
        values = {f"variants.{name}": _row(row, has_networks) for name, row in VARIANTS.items()}
    if world:
        own = worlds(settings)[world]
        values |= {f"world.{key}": value for key, value in dataclasses.asdict(own).items()}
        for name in {*own.rows} - {*VARIANTS}:
            row, how = method(name, settings)
            values |= {f"world.{name}.{key}": value for key, value in _row(row, has_networks).items()}
            before, after = (flat(dataclasses.asdict(each)) for each in (settings, how))
            values |= {f"world.{name}.{key}": after[key] for key in after if after[key] != before[key]}
    if "further.curve_rows" in names:
        values |= {f"rows.{name}": _row(method(name, settings)[0], True) for name in settings.further.curve_rows}
    if "changes" in names:
        values |= {f"changes.{name}": dataclasses.asdict(CHANGES[name]) for name in settings.sensitivity.changes}
    for key, value in flat(dataclasses.asdict(settings)).items():
        if {key, key.split(".")[0]} & {*names} and key not in NO_NUMBER:
            values[key] = list(value) if isinstance(value, tuple) else value
    return values


def _row(variant, has_networks: bool) -> dict:
    """Return what a row of Table 1 says; where its networks pass scans, their code, too, which no import names."""
    row = dataclasses.asdict(variant)
    return row | {"network_code": module_digest(f"strokelib.{variant.network}")} if has_networks else row


def flat(settings: dict) -> dict:
    """Return {"seed": value, "training.rho": value, ...}."""
    values = {}
    for key, value in settings.items():
        values |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
    return values


def declared(paths, path: str) -> str:
    """Return the declared path that a path is one of, such as MAP for rt/fold0/case_1.nii.gz; none gives ""."""
    for pattern in paths:
        words = re.sub(r"\\\{(case|fold)\\\}", "[0-9]+", re.escape(pattern))
        words = re.sub(r"\\\{\w+\\\}", "[^/]+", words)
        if re.fullmatch(words, path):
            return pattern
    return ""


def maker(path: str) -> str:
    """Return the notebook that writes a path, given as declared or as it is.

    Raises
    ------
    KeyError : none does.
    """
    for name, stage in STAGES.items():
        if path in (*stage.writes, *stage.may_write) or declared((*stage.writes, *stage.may_write), path):
            return name
    raise KeyError(f"no notebook is declared to write {path}; see strokelib/run/stages.py")


def manifest(notebook: str, path: str) -> str:
    """Return the manifest that a path written by a notebook stands in: of the figures, a fold, a world, or the rest."""
    folders = path.split("/")[:-1]
    own_folder = notebook in ("05_crossvalidation", "20_another_cohort")
    home = folders[:1] if path.startswith("figures/") else folders[:2] if own_folder else []
    return "/".join([*home, f"{notebook}.manifest.json"])
