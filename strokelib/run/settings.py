"""All that a run depends on, read from TOML into frozen dataclasses that refuse what cannot be used."""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from strokelib.modalities import SOURCES
from strokelib.run import runtime, toml
from strokelib.run.checks import Section, SettingsError, inside, nearest, require
from strokelib.run.paths import placed
from strokelib.run.variants import (
    CHANGES,
    FINALISTS,
    LOSSES,
    REMARKS,
    TRIED,
    VARIANTS,
    links,
    unfit_for_sets,
)
from strokelib.vocabulary import OUTCOMES

SMALLEST_PATCH = min(row.patch_size for row in VARIANTS.values())  # a larger step of prediction would leave gaps


@dataclass(frozen=True)
class Data(Section):
    """Where the scans lie."""

    source: Annotated[str, SOURCES]
    folder: str  # holds TRAINING/ and TESTING/; see `paths.placed`
    skip_bad_cases: bool  # go on without scans that cannot be used, instead of stopping in notebook 02

    def __post_init__(self):
        super().__post_init__()
        named = self.folder.strip() not in ("", ".") and "\0" not in self.folder
        require(named, f"data.folder must name a folder, such as 'data/isles2018', got {self.folder!r}")


@dataclass(frozen=True)
class Cohort(Section):
    """The synthetic cohort; ignored where data.source is another."""

    seed: Annotated[int, "[0, inf)"]
    training_patients: Annotated[int, "[1, 63]"]  # 63 and 40 take every row of the real geometry table
    testing_patients: Annotated[int, "[1, 40]"]
    max_slices: Annotated[int, "[2, inf)"]  # geometry rows with more slices are left out (22 keeps all)
    difficulty: Annotated[str, ("easy", "real", "hard")]
    series_cases: Annotated[int, "[0, inf)"]  # the first so many training cases get their 4-D series written, too
    compress: bool  # .nii.gz instead of .nii
    jobs: Annotated[int, "[1, 1024]"]  # processes


@dataclass(frozen=True)
class Preprocess(Section):
    registration: Annotated[str, ("rigid", "affine")]  # rotation and two shifts; or scales and shear, too


@dataclass(frozen=True)
class Folds(Section):
    count: Annotated[int, "[2, inf)"]
    scheme: Annotated[str, ("contiguous", "balanced", "by_scan", "by_slice")]  # the last two leak: notebook 17
    inner_split: bool  # early stopping on scans held out of the training part, not on the evaluated ones


@dataclass(frozen=True)
class Sampling(Section):
    patches_per_case: Annotated[int, "[2, inf)"]
    elastic_alpha: Annotated[float, "[0, inf)"]  # displacement scale as a factor of the mean patch side
    elastic_gamma: Annotated[float, "(0, inf)"]  # Gaussian sigma as a factor of the mean patch side
    lesion_offset: bool  # move lesion centers at random; off is for notebook 09, as is the next
    balanced: bool  # half of the centers on lesion
    flips: bool  # turn half of the patches left to right; the paper does not


@dataclass(frozen=True)
class Training(Section):
    batch_size: Annotated[int, "[2, inf)"]
    max_updates: Annotated[int, "[2, inf)"]  # of a row of Table 1 in a fold; the networks of a cascade share them
    validate_every: Annotated[int, "[0, inf)"]  # updates; 0: when all patches have been seen, the paper's epoch
    stopping_batches: Annotated[int, "[0, inf)"]  # of the stopping set, always the same; 0 takes all, as the paper does
    patience: Annotated[int, "[1, inf)"]  # validations without improvement before training stops
    min_improvement: Annotated[float, "[0, inf)"]
    optimizer: Annotated[str, ("adadelta", "adamw", "sgd")]  # the last two for notebook 19
    rho: Annotated[float, "(0, 1)"]  # Adadelta
    learning_rate: Annotated[float, "(0, inf)"]
    schedule: Annotated[str, ("constant", "one_cycle")]  # of the learning rate; see `optimizer.paced`
    statistics_batches: Annotated[int, "[0, 1000]"]  # to measure batch normalization on; 0: as it remembers
    batch_norm_momentum: Annotated[float, "(0, 1]"]  # of what it remembers from step to step
    averaging: Annotated[float, "[0, 1)"]  # share of the old in a running average of the weights; 0 for none
    dropout: Annotated[float, "[0, 1)"]  # channel dropout in the three deepest encoder blocks
    gdl_weights: Annotated[str, ("volume", "squared")]  # 1/v or 1/v^2, beside the cross-entropy
    snapshots: tuple[int, ...]  # updates at which single networks are kept, too, for the budget curve

    def __post_init__(self):
        super().__post_init__()
        for count in self.snapshots:
            every = self.validate_every
            require(
                every > 0 and count > 0 and count % every == 0,
                f"each of training.snapshots must be a multiple of training.validate_every, {every}, got {count}",
            )
        paced = self.schedule == "constant" or self.optimizer == "adamw"
        require(paced, f"training.schedule = 'one_cycle' needs training.optimizer = 'adamw', got {self.optimizer!r}")
        message = "a network on the way of one cycle is none of a shorter one: leave training.snapshots empty, or take "
        require(not self.snapshots or self.schedule == "constant", message + "training.schedule = 'constant'")
        rising = list(self.snapshots) == sorted({*self.snapshots})
        require(rising, f"training.snapshots must rise from value to value, got {list(self.snapshots)}")


@dataclass(frozen=True)
class Compute(Section):
    """How the work is laid on the device; predictions are made with exact float32, but for "tf32"."""

    resident: Annotated[str, ("float32", "float16")]  # type of the scans in memory; the second takes half the size
    precision: Annotated[str, ("float32", "tf32", "bf16")]  # of convolutions in training, where it can: `steps.means`
    compile: bool  # compile the training step, where it can; on CUDA it is recorded, too. Takes minutes, once
    folds_at_once: Annotated[int, "[1, 1024]"]  # notebooks that share one GPU
    portable: bool  # the same bits on every x86-64 processor with AVX2, on the CPU alone; see `run.portable`

    def __post_init__(self):
        super().__post_init__()
        require(
            not self.portable or (self.precision == "float32" and not self.compile),
            "compute.portable needs compute.precision = 'float32' and compute.compile = false: what is rounded to "
            f"fewer bits or compiled is the processor's own; got {self.precision!r} and {str(self.compile).lower()}",
        )


@dataclass(frozen=True)
class Prediction(Section):
    step: Annotated[int, f"[1, {SMALLEST_PATCH}]"]  # voxels between patch centers in x and y
    passes: Annotated[int, "[1, inf)"]  # stochastic passes of uncertainty filtering
    dropout: Annotated[float, "[0, 1)"]  # voxel-wise
    dropout_level: Annotated[int, "[1, 5]"]  # it acts in this resolution step and those below; 3 in the paper, 1 in all
    flips: bool  # average with the patch turned left to right
    batch_size: Annotated[int, "[0, inf)"]  # patches at a time, 0 for what suits the device; changes last bits


@dataclass(frozen=True)
class Postprocess(Section):
    thresholds: Annotated[tuple[float, ...], "(0, 1)"]
    min_lesion_voxels: Annotated[tuple[int, ...], "[1, inf)"]


@dataclass(frozen=True)
class Sensitivity(Section):
    """What is trained or predicted once more, with one thing changed."""

    seeds: tuple[int, ...]  # every row of Table 1 again in all folds, for notebook 11
    updates: Annotated[int, "[2, inf)"]  # of what is trained with one thing changed, for notebooks 09, 10 and 12
    inner: bool  # whether rt_sm is trained with inner folds, too, for notebook 10
    changes: tuple[str, ...]  # names in CHANGES, for notebook 09
    folds: Annotated[int, "[1, inf)"]  # in which the changes are tried: the first so many
    apart_folds: Annotated[int, "[1, inf)"]  # in which RT is taken apart, for notebook 12

    def __post_init__(self):
        super().__post_init__()
        for name in self.changes:
            listed = f"must be one of {', '.join(CHANGES)}, got {name!r}{nearest(name, CHANGES)}"
            require(name in CHANGES, f"each of sensitivity.changes {listed}")
        for seed in self.seeds:
            inside(seed, "each of sensitivity.seeds", "[0, inf)")
        for name in ("seeds", "changes"):
            values = getattr(self, name)
            require(len(set(values)) == len(values), f"sensitivity.{name} names a value twice: {list(values)}")


@dataclass(frozen=True)
class Further(Section):
    """What notebooks 17 to 27 train: sensitivity.updates each but for leakage, in the first sensitivity.folds folds.

    The chain, its confirmation and the ways to make folds take all folds.
    """

    leakage_updates: Annotated[int, "[2, inf)"]  # of each way to make folds, in all folds, for notebook 17
    losses: tuple[str, ...]  # names in LOSSES, for notebook 18
    remarks: tuple[str, ...]  # names in REMARKS, for notebook 19
    candidates: tuple[str, ...]  # names in TRIED, for notebook 24
    finalists: tuple[str, ...]  # names in FINALISTS, for notebook 26
    cohort_seeds: tuple[int, ...]  # of other cohorts, for notebook 21
    training_seeds: tuple[int, ...]  # of the networks there, and of those of notebook 22
    symmetries: tuple[float, ...]  # shares of mirror-symmetric anatomy, for notebook 22
    symmetry_networks: tuple[float, ...]  # of these, where networks are trained, too
    curve_scans: Annotated[tuple[int, ...], "[1, inf)"]  # to train on, for notebook 25
    curve_rows: tuple[str, ...]  # of Table 1, or names in TRIED, of one network
    curve_seed: Annotated[int, "[0, inf)"]  # of the cohort that is tested; those after it are held out and trained on
    chain: tuple[str, ...]  # names in TRIED, one upon the other, from rt_sm to beyond: notebook 27
    confirming_seed: Annotated[int, "[0, inf)"]  # of the cohort that it is confirmed on, once; named before any run
    confirming_training_seeds: tuple[int, ...]  # of the networks there

    def __post_init__(self):
        super().__post_init__()
        named = {"losses": LOSSES, "remarks": REMARKS, "candidates": TRIED, "curve_rows": VARIANTS | TRIED}
        for key, known in (named | {"finalists": FINALISTS, "chain": TRIED}).items():
            for name in getattr(self, key):
                listed = f"must be one of {', '.join(known)}, got {name!r}{nearest(name, known)}"
                require(name in known, f"each of further.{key} {listed}")
        for key in ("cohort_seeds", "training_seeds", "confirming_training_seeds", "symmetries"):
            for value in getattr(self, key):
                inside(value, f"each of further.{key}", "[0, 1]" if key == "symmetries" else "[0, inf)")
        worlds = [f"{share:.2f}" for share in self.symmetries]  # by which they go
        message = f"further.symmetries must differ in two decimals, got {list(self.symmetries)}"
        require(len({*worlds}) == len({*self.symmetries}), message)
        for share in self.symmetry_networks:
            listed = f"must be one of further.symmetries, {list(self.symmetries)}, got {share}"
            require(share in self.symmetries, f"each of further.symmetry_networks {listed}")
        for name in self.curve_rows:
            unfit = unfit_for_sets(name)
            require(not unfit, f"each of further.curve_rows must suit any cohort, got {name!r}: {unfit}")
        for key, values in vars(self).items():
            if isinstance(values, tuple):
                require(len(set(values)) == len(values), f"further.{key} names a value twice: {list(values)}")
        links(self.chain)  # which refuses changes that cannot stand one upon the other


@dataclass(frozen=True)
class Claims(Section):
    """What is asked of a difference, named before any run."""

    share: Annotated[float, "(0, 1]"]  # of the paper's difference, below which ours is called smaller


@dataclass(frozen=True)
class Drawing(Section):
    """How figures are drawn; decides no number."""

    colors: Annotated[str, OUTCOMES]  # of right, too much and missed; see `vocabulary.OUTCOMES`


@dataclass(frozen=True)
class Settings(Section):
    """All that a run depends on, besides the notebook's own parameters."""

    name: str
    seed: Annotated[int, "[0, inf)"]
    threads: Annotated[int, "[1, 1024]"]  # CPU threads of a notebook; part of the settings because sums depend on it
    data: Data
    cohort: Cohort
    preprocess: Preprocess
    folds: Folds
    sampling: Sampling
    training: Training
    compute: Compute
    prediction: Prediction
    postprocess: Postprocess
    sensitivity: Sensitivity
    further: Further
    claims: Claims
    drawing: Drawing

    def __post_init__(self):
        super().__post_init__()
        require(
            not self.compute.portable or self.threads == 1,
            f"compute.portable needs threads = 1, because sums depend on their number; got {self.threads}",
        )
        if self.synthetic:
            count, patients = self.folds.count, self.cohort.training_patients
            message = f"folds.count must be at most cohort.training_patients, {patients}, got {count}"
            require(count <= patients, message)
            left = patients - -(-patients // count)  # outside the largest fold, to train and to stop on
            message = "folds.inner_split needs two patients outside each fold: raise cohort.training_patients, "
            require(left >= 2 or not self.folds.inner_split, f"{message}{patients}, or folds.count, {count}")

    @property
    def synthetic(self) -> bool:
        return self.data.source == "synthetic"

    @property
    def drawn(self) -> Cohort | None:
        """The cohort that the scans are of, by which a series that was not written is drawn again; None for others.

        Who takes nothing else of it need not depend on `cohort`: the scans enter by their contents.
        """
        return self.cohort if self.synthetic else None

    @property
    def data_root(self) -> Path:
        """Folder with TRAINING/ and TESTING/. STROKELIB_DATA says where scans lie that are not synthetic."""
        elsewhere = "" if self.synthetic else os.environ.get("STROKELIB_DATA")
        return placed(elsewhere or self.data.folder)

    @property
    def results(self) -> Path:
        """Folder of all that a run writes. STROKELIB_RESULTS says where such folders lie, such as on a scratch disk."""
        return placed(os.environ.get("STROKELIB_RESULTS") or "results") / self.name

    @property
    def kept(self) -> Path:
        """Folder of what the project publishes of a run; tools/keep.py alone writes there."""
        return runtime.ROOT / "figures" / self.name

    @property
    def source(self) -> str:
        """What the scans are before any of them was looked at: those of a download may be anybody's."""
        if self.data.source == "isles2018":
            return f"scans of {os.path.basename(os.path.abspath(self.data_root))}"
        return SOURCES[self.data.source].label

    @property
    def label(self) -> str:
        """What every figure and table made from these scans must say, as notebook 01 wrote it into cohort.csv."""
        table = self.results / "cohort.csv"
        if not table.is_file():
            return self.source
        with open(table, newline="", encoding="utf-8", errors="replace") as file:
            return next(csv.DictReader(file), {}).get("cohort") or self.source


def check_fold(settings: Settings, fold: int) -> None:
    """Refuse the number of a fold that the settings do not have.

    Raises
    ------
    SettingsError : it is not 0 to folds.count - 1.
    """
    require(fold in range(settings.folds.count), f"fold must be 0 to {settings.folds.count - 1}, got {fold!r}")


def check_sensitivity(settings: Settings) -> None:
    """Refuse settings of notebooks 09 and 12 that cannot be tried; here, because no other notebook asks.

    Raises
    ------
    SettingsError : more folds than there are.
    """
    count = settings.folds.count
    for key in ("folds", "apart_folds"):
        tried = getattr(settings.sensitivity, key)
        require(tried <= count, f"sensitivity.{key} must be at most folds.count, {count}, got {tried}")


def load_settings(name_or_path) -> Settings:
    """Read settings by name (configs/<name>.toml) or by path; the file's stem names the results folder.

    Raises
    ------
    FileNotFoundError : there is no such file; lists the names there are.
    SettingsError : no TOML, an unknown, missing or mistyped key, or a value out of range, by name.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = runtime.ROOT / "configs" / f"{name_or_path}.toml"
    if not path.is_file():
        names = sorted(p.stem for p in (runtime.ROOT / "configs").glob("*.toml"))
        raise FileNotFoundError(f"no settings file {path}; settings are one of {names} or a path")
    try:
        table = toml.read(path)
        require("name" not in table, "unknown key name; the results are named after the file")
        require(
            bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", path.stem)),
            "rename the file: its name is that of the folder of the results, and takes letters, digits, '_', '-' and "
            "'.' only",
        )
        settings = toml.build(Settings, table | {"name": path.stem}, "")
        # Not in Settings, which a change of seed or budget makes anew.
        require(
            settings.seed not in settings.sensitivity.seeds,
            f"sensitivity.seeds must be other than the study's own, {settings.seed}; leave it out",
        )
        most, passed, changed = settings.training.max_updates, settings.training.snapshots, settings.sensitivity.updates
        below = f"each of training.snapshots must be below training.max_updates, {most}, got {list(passed)}"
        require(not passed or passed[-1] < most, below)
        require(
            changed in (*passed, most),
            "sensitivity.updates must be training.max_updates or one of training.snapshots, so that the rows of Table "
            f"1 are there at this budget: one of {[*passed, most]}, got {changed}",
        )
        require(
            settings.folds.scheme in ("contiguous", "balanced"),
            "folds.scheme must be 'contiguous' or 'balanced', by patient; the other two leak and are for notebook 17, "
            f"which trains with them by itself: make leakage; got {settings.folds.scheme!r}",
        )
        again = [name for name in settings.further.candidates if TRIED[name].key == "again"]
        require(
            not again or settings.folds.scheme == "contiguous",
            f"further.candidates names {again}, and another seed makes other folds where folds.scheme is "
            f"{settings.folds.scheme!r}; leave it out, or use 'contiguous'",
        )
        leaked = settings.further.leakage_updates
        require(
            leaked in (*passed, most),
            "further.leakage_updates must be training.max_updates or one of training.snapshots, so that the folds of "
            f"the settings are there at this budget: one of {[*passed, most]}, got {leaked}",
        )
        confirming = settings.further.confirming_seed
        require(
            confirming != settings.cohort.seed,
            "further.confirming_seed must be other than cohort.seed, by whose scans the chain was chosen; got "
            f"{confirming}",
        )
        return settings
    except SettingsError as error:
        raise SettingsError(f"{path.name}: {error}") from None
