"""Settings from TOML as frozen dataclasses, paths from the repository root, generators from one seed."""

import contextlib
import csv
import dataclasses
import difflib
import hashlib
import itertools
import json
import math
import os
import re
import tomllib
import types
import typing
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


class SettingsError(ValueError):
    """A settings file holds something that cannot be used; the message says what to change."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SettingsError(message)


def _nearest(name: str, known) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _inside(value, where: str, interval: str) -> None:
    """Refuse a number outside of an interval written as in mathematics: "[1, 63]", "(0, 1)", "[2, inf)"."""
    low, high = map(float, interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    allowed = f"{'>=' if interval[0] == '[' else '>'} {low:g}" if high == math.inf else f"in {interval}"
    _require(above and below, f"{where} must be {allowed}, got {value}")


def _within(section, where: str, **intervals: str) -> None:
    """Refuse a section of which a number is outside of its interval."""
    for key, interval in intervals.items():
        _inside(getattr(section, key), f"{where}{key}", interval)


def _one_of(section, where: str, **choices) -> None:
    """Refuse a text that is not among those known; name these, and the nearest of them."""
    for key, known in choices.items():
        value, names = getattr(section, key), [repr(name) for name in known]
        listed = f"{', '.join(names[:-1])} or {names[-1]}"
        _require(value in known, f"{where}{key} must be {listed}, got {value!r}{_nearest(value, known)}")


def _grid(values, where: str, interval: str) -> None:
    """Refuse an empty, unsorted or repeating grid, and one with a value outside of the interval."""
    _require(bool(values), f"{where} must hold a value at least, got an empty list")
    for value in values:
        _inside(value, f"each of {where}", interval)
    _require(
        all(a < b for a, b in itertools.pairwise(values)),
        f"{where} must rise from value to value, got {list(values)}",
    )


@dataclass(frozen=True)
class Data:
    """Where the scans lie."""

    source: str  # "synthetic" or "isles2018"
    folder: str  # holds TRAINING/ and TESTING/; relative to the repository root
    skip_bad_cases: bool  # go on without scans that cannot be used, instead of stopping in notebook 02

    def __post_init__(self):
        _one_of(self, "data.", source=("synthetic", "isles2018"))
        _require(
            self.folder.strip() not in ("", ".") and "\0" not in self.folder,
            f"data.folder must name a folder, such as 'data/isles2018', got {self.folder!r}",
        )


@dataclass(frozen=True)
class Cohort:
    """The synthetic cohort; ignored where data.source is isles2018."""

    seed: int
    training_patients: int  # 63 and 40 take every row of the real geometry table
    testing_patients: int
    max_slices: int  # geometry rows with more slices are left out (22 keeps all)
    difficulty: str  # "easy", "real" or "hard"
    series_cases: int  # the first so many training cases get their 4-D series written, too
    compress: bool  # .nii.gz instead of .nii
    jobs: int  # processes

    def __post_init__(self):
        _one_of(self, "cohort.", difficulty=("easy", "real", "hard"))
        _within(self, "cohort.", seed="[0, inf)", training_patients="[1, 63]", testing_patients="[1, 40]")
        _within(self, "cohort.", max_slices="[2, inf)", series_cases="[0, inf)", jobs="[1, 1024]")


@dataclass(frozen=True)
class Preprocess:
    registration: str  # "rigid" (rotation, two shifts) or "affine" (adds scales and shear)

    def __post_init__(self):
        _one_of(self, "preprocess.", registration=("rigid", "affine"))


@dataclass(frozen=True)
class Folds:
    count: int
    scheme: str  # "contiguous" in case order, or "balanced" by slice count
    inner_split: bool  # early stopping on scans held out of the training part, not on the evaluated ones

    def __post_init__(self):
        _within(self, "folds.", count="[2, inf)")
        _one_of(self, "folds.", scheme=("contiguous", "balanced"))


@dataclass(frozen=True)
class Sampling:
    patches_per_case: int
    elastic_alpha: float  # displacement scale as a factor of the mean patch side
    elastic_gamma: float  # Gaussian sigma as a factor of the mean patch side
    lesion_offset: bool  # move lesion centers at random; off is for notebook 08, as is the next
    balanced: bool  # half of the centers on lesion

    def __post_init__(self):
        _within(self, "sampling.", patches_per_case="[2, inf)", elastic_alpha="[0, inf)", elastic_gamma="(0, inf)")


@dataclass(frozen=True)
class Training:
    batch_size: int
    patches_per_epoch: int  # 0 takes the whole patch list every epoch, as the paper does
    max_epochs: int
    patience: int  # epochs without improvement before training stops
    min_improvement: float
    rho: float  # Adadelta
    learning_rate: float
    batch_norm_momentum: float  # of the running statistics that prediction uses
    dropout: float  # channel dropout in the three deepest encoder blocks
    gdl_weights: str  # "volume" for 1/v, "squared" for 1/v^2

    def __post_init__(self):
        _within(self, "training.", batch_size="[2, inf)", patches_per_epoch="[0, inf)", max_epochs="[1, inf)")
        _within(self, "training.", patience="[1, inf)", min_improvement="[0, inf)", rho="(0, 1)")
        _within(self, "training.", learning_rate="(0, inf)", batch_norm_momentum="(0, 1]", dropout="[0, 1)")
        _one_of(self, "training.", gdl_weights=("volume", "squared"))
        _require(
            self.patches_per_epoch == 0 or self.patches_per_epoch >= self.batch_size,
            f"training.patches_per_epoch must be 0 (all patches) or at least training.batch_size, {self.batch_size}, "
            f"got {self.patches_per_epoch}",
        )


@dataclass(frozen=True)
class Compute:
    """How the work is laid on the device; the tables are made with exact float32."""

    resident: str  # type of the scans in memory: "float32" or "float16", half the size
    precision: str  # of convolutions: "float32", "tf32" (CUDA) or "bf16" (mixed, in training only)
    compile: bool  # compile the training step; on CUDA as a captured graph. Takes up to a minute a network
    folds_at_once: int  # notebooks that share one GPU

    def __post_init__(self):
        _one_of(self, "compute.", resident=("float32", "float16"), precision=("float32", "tf32", "bf16"))
        _within(self, "compute.", folds_at_once="[1, 1024]")


@dataclass(frozen=True)
class Prediction:
    step: int  # voxels between patch centers in x and y
    passes: int  # stochastic passes of uncertainty filtering
    dropout: float  # voxel-wise, in the deepest resolution steps
    batch_size: int  # patches at a time, 0 for what suits the device; changes speed and memory alone

    def __post_init__(self):
        smallest = min(row.patch_size for row in VARIANTS.values())  # a larger step would leave gaps
        _within(self, "prediction.", step=f"[1, {smallest}]", passes="[1, inf)", dropout="[0, 1)")
        _within(self, "prediction.", batch_size="[0, inf)")


@dataclass(frozen=True)
class Postprocess:
    thresholds: tuple[float, ...]
    min_lesion_voxels: tuple[int, ...]

    def __post_init__(self):
        _grid(self.thresholds, "postprocess.thresholds", "(0, 1)")
        _grid(self.min_lesion_voxels, "postprocess.min_lesion_voxels", "[1, inf)")


@dataclass(frozen=True)
class Variant:
    """One row of Table 1."""

    networks: int  # 2 for a cascade
    loss: str  # "gdl_cross_entropy" or "cross_entropy"
    monitor: str  # "l1_error" or "dice"
    patch_size: int  # a multiple of 16
    mirrored: bool  # ten modalities instead of five
    uncertainty_filtering: bool  # stochastic passes at prediction

    def __post_init__(self):
        _within(self, "variant.", networks="[1, 2]")
        _one_of(self, "variant.", loss=("gdl_cross_entropy", "cross_entropy"), monitor=("l1_error", "dice"))
        _require(
            self.patch_size >= 16 and self.patch_size % 16 == 0,
            f"variant.patch_size must be a multiple of 16, got {self.patch_size}",
        )


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


# What notebook 08 looks at: patch sides of the paper's section 3.1, the baseline's of 4.1, what else is said to matter
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


@dataclass(frozen=True)
class Sensitivity:
    """What is trained or predicted once more, with one thing changed."""

    seeds: tuple[int, ...]  # rt and rt_sm again in all folds, for notebook 06
    changes: tuple[str, ...]  # names in CHANGES, for notebook 08
    folds: int  # in which the changes are tried: the first so many

    def __post_init__(self):
        _within(self, "sensitivity.", folds="[1, inf)")
        for name in self.changes:
            _require(
                name in CHANGES,
                f"each of sensitivity.changes must be one of {', '.join(CHANGES)}, got {name!r}"
                f"{_nearest(name, CHANGES)}",
            )
        for seed in self.seeds:
            _inside(seed, "each of sensitivity.seeds", "[0, inf)")
        for name in ("seeds", "changes"):
            values = getattr(self, name)
            _require(len(set(values)) == len(values), f"sensitivity.{name} names a value twice: {list(values)}")


@dataclass(frozen=True)
class Drawing:
    """How figures are drawn; decides no number."""

    colors: str  # of right, too much and missed: "paper" (green, red, blue) or "colorblind" (yellow, vermilion, blue)

    def __post_init__(self):
        _one_of(self, "drawing.", colors=("paper", "colorblind"))


SEEDED = ("rt", "rt_sm")  # what is trained with other seeds: the step whose gain depends on the training most


@dataclass(frozen=True)
class Settings:
    """All that a run depends on, besides the notebook's own parameters."""

    name: str
    seed: int
    threads: int  # CPU threads of a notebook; part of the settings because sums depend on it
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
    drawing: Drawing

    def __post_init__(self):
        _within(self, "", seed="[0, inf)", threads="[1, 1024]")
        _require(
            self.sensitivity.folds <= self.folds.count,
            f"sensitivity.folds must be at most folds.count, {self.folds.count}, got {self.sensitivity.folds}",
        )
        if self.synthetic:
            patients = self.cohort.training_patients
            _require(
                self.folds.count <= patients,
                f"folds.count must be at most cohort.training_patients, {patients}, got {self.folds.count}",
            )
            _require(
                patients >= 3 or not self.folds.inner_split,
                f"folds.inner_split needs cohort.training_patients of 3 at least, got {patients}",
            )

    @property
    def synthetic(self) -> bool:
        return self.data.source == "synthetic"

    @property
    def data_root(self) -> Path:
        """Folder with TRAINING/ and TESTING/. STROKELIB_DATA says where a download of ISLES 2018 lies."""
        elsewhere = os.environ.get("STROKELIB_DATA")
        return Path(elsewhere) if elsewhere and not self.synthetic else ROOT / self.data.folder

    @property
    def results(self) -> Path:
        return ROOT / "results" / self.name

    @property
    def figures(self) -> Path:
        return ROOT / "figures" / self.name

    @property
    def label(self) -> str:
        """What every figure and table made from these scans must say, that some are left out included."""
        source = "synthetic cohort" if self.synthetic else "ISLES 2018"
        listed = self.results / "bad_cases.csv"  # of notebook 01
        if not listed.is_file():
            return source
        with open(listed, newline="", encoding="utf-8") as file:
            bad = len(list(csv.DictReader(file)))
        return f"{source}, {bad} bad case{'s' if bad > 1 else ''} left out" if bad else source


def changes(settings: "Settings") -> dict[str, Change]:
    """Return all changes by name: those of notebook 08, and another seed such as rt_seed2019 for each setting."""
    seeds = {f"{row}_seed{n}": Change(row, "seed", n) for row in SEEDED for n in settings.sensitivity.seeds}
    return CHANGES | seeds


def weights(name: str, settings: "Settings") -> str:
    """Name the variant or change whose trained networks a variant or change predicts with; often its own."""
    change = changes(settings).get(name)
    if change and change.key.startswith("prediction."):
        return WEIGHTS[change.variant]
    return WEIGHTS.get(name, name)


def variant(name: str) -> Variant:
    """Look up a row of Table 1 by its name in code."""
    if name not in VARIANTS:
        raise SettingsError(
            f"unknown variant {name!r}; choose one of {', '.join(VARIANTS)}{_nearest(name, VARIANTS)}"
        )
    return VARIANTS[name]


def method(name: str, settings: "Settings") -> tuple[Variant, "Settings"]:
    """Look up how a row of Table 1, or one of its changes, is trained and predicted.

    Returns
    -------
    the variant and the settings, one of which differs from those given where the name is that of a change.

    Raises
    ------
    SettingsError : an unknown name.
    """
    if name in VARIANTS:
        return VARIANTS[name], settings
    known = changes(settings)
    if name not in known:
        names = [*VARIANTS, *known]
        raise SettingsError(f"unknown variant {name!r}; choose one of {', '.join(names)}{_nearest(name, names)}")
    change = known[name]
    row = VARIANTS[change.variant]
    section, _, key = change.key.rpartition(".")
    if section:
        value = dataclasses.replace(getattr(settings, section), **{key: change.value})
        return row, dataclasses.replace(settings, **{section: value})
    if key == "seed":
        return row, dataclasses.replace(settings, seed=change.value)
    return dataclasses.replace(row, **{key: change.value}), settings


def check_fold(settings: Settings, fold: int) -> None:
    """Refuse the number of a fold that the settings do not have.

    Raises
    ------
    SettingsError : it is not 0 to folds.count - 1.
    """
    _require(fold in range(settings.folds.count), f"fold must be 0 to {settings.folds.count - 1}, got {fold!r}")


def _build(kind, table, where: str):
    """Turn a TOML table into a dataclass, refusing unknown, missing and mistyped keys by name."""
    if not isinstance(table, dict):
        raise SettingsError(f"{where} must be a table, got {table!r}")
    hints = typing.get_type_hints(kind)
    prefix = f"{where}." if where else ""
    for key in table:
        if key not in hints:
            raise SettingsError(f"unknown key {prefix}{key}{_nearest(key, hints)}")
    values = {}
    for key, hint in hints.items():
        if key not in table:
            raise SettingsError(f"missing key {prefix}{key}")
        values[key] = _convert(hint, table[key], f"{prefix}{key}")
    return kind(**values)


def _convert(hint, value, where: str):
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)
    if isinstance(hint, types.GenericAlias):  # tuple[item, ...]
        if not isinstance(value, list):
            raise SettingsError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(typing.get_args(hint)[0], v, where) for v in value)
    if hint is float and type(value) is int:
        value = float(value) if abs(value) < 2**63 else math.inf  # a float cannot hold every int
    if type(value) is not hint:
        raise SettingsError(f"{where} must be {hint.__name__}, got {value!r}")
    if hint in (int, float) and not abs(value) < 2**63:  # nor NaN
        raise SettingsError(f"{where} must be a finite number below 2^63, got {value}")
    return value


def _check_changes(settings: Settings) -> None:
    """Refuse changes that cannot be tried; here, and not in Settings, which a change of one of them makes anew."""
    _require(
        settings.seed not in settings.sensitivity.seeds,
        f"sensitivity.seeds must be other than the study's own, {settings.seed}; leave it out",
    )
    for name in settings.sensitivity.changes:
        change = CHANGES[name]
        side = change.value if change.key == "patch_size" else VARIANTS[change.variant].patch_size
        _require(
            settings.prediction.step <= side,
            f"sensitivity.changes holds {name!r}, whose patches of {side} leave gaps at a prediction.step of "
            f"{settings.prediction.step}; leave it out or take a smaller step",
        )


def load_settings(name_or_path) -> Settings:
    """Read settings by name (configs/<name>.toml) or by path; the file's stem names the results folder.

    Raises
    ------
    FileNotFoundError : there is no such file; lists the names there are.
    SettingsError : no TOML, an unknown, missing or mistyped key, or a value out of range, by name.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = ROOT / "configs" / f"{name_or_path}.toml"
    if not path.is_file():
        names = sorted(p.stem for p in (ROOT / "configs").glob("*.toml"))
        raise FileNotFoundError(f"no settings file {path}; settings are one of {names} or a path")
    try:
        table = _read_toml(path)
        _require("name" not in table, "unknown key name; the results are named after the file")
        _require(
            bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", path.stem)),
            "rename the file: its name is that of the folder of the results, and takes letters, digits, '_', '-' and "
            "'.' only",
        )
        settings = _build(Settings, table | {"name": path.stem}, "")
        _check_changes(settings)
        return settings
    except SettingsError as error:
        raise SettingsError(f"{path.name}: {error}") from None


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of the decoding, of TOML, of brackets in thousands
        raise SettingsError(f"not a TOML file: {error}") from None


def rng(seed: int, *keys) -> np.random.Generator:
    """Derive an independent generator from the seed and keys such as ("patches", fold).

    Strings enter by their CRC-32, so the stream depends on nothing but the arguments.
    """
    words = [zlib.crc32(k.encode()) if isinstance(k, str) else int(k) for k in keys]
    return np.random.default_rng([int(seed), *words])


def digest(*items) -> str:
    """Return 16 hex digits that change when any item does (dataclasses, numbers, strings, lists)."""

    def plain(item):
        return dataclasses.asdict(item) if dataclasses.is_dataclass(item) else item

    text = json.dumps([plain(item) for item in items], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def choose_device(name: str = "auto"):
    """Return the torch device: "auto" takes CUDA where there is one.

    Raises
    ------
    ValueError : "cuda" is asked for and there is none, or the name is unknown.
    """
    import torch  # here, so that reading settings costs no second and a half

    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda' was asked for but torch sees no GPU; use device='cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def prepare_torch(threads: int, precision: str = "float32") -> None:
    """Set what torch takes from the process: threads, precision of convolutions on CUDA, and how memory is kept.

    Exact float32 has to be asked for: on CUDA torch convolves in TF32 by default.
    """
    import ctypes

    import threadpoolctl
    import torch

    # Sums depend on the number of threads: torch's own, and those of numpy's linear algebra.
    torch.set_num_threads(threads)
    threadpoolctl.threadpool_limits(threads)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True  # batches are of one size: the fastest algorithm is looked for once
    # glibc gives large buffers back to the system after every operation, which costs a tenth of a training step.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt:
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, the most it takes
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def write_whole(path: Path, write) -> Path:
    """Call `write(temporary path)`, then rename onto `path`: the file is there whole or not at all.

    The temporary name keeps the suffixes, because writers choose the format by them.

    Raises
    ------
    OSError : the disk is full or may not be written to; the message names the file, which is as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"cannot write {path} ({error.strerror or error}); make room on the disk, or make the folder writable, and "
            "run this again: it goes on from here",
        ) from error
    finally:
        with contextlib.suppress(OSError):  # of a folder that may not be written to, which holds none
            temporary.unlink(missing_ok=True)
    return path
