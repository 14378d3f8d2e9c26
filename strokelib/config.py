"""Settings from TOML as frozen dataclasses, paths from the repository root, generators from one seed."""

import csv
import dataclasses
import difflib
import hashlib
import json
import os
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


@dataclass(frozen=True)
class Data:
    """Where the scans lie."""

    source: str  # "synthetic" or "isles2018"
    folder: str  # holds TRAINING/ and TESTING/; relative to the repository root
    skip_bad_cases: bool  # go on without scans that cannot be used, instead of stopping in notebook 02

    def __post_init__(self):
        _require(
            self.source in ("synthetic", "isles2018"),
            f"data.source must be 'synthetic' or 'isles2018', got {self.source!r}",
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
        _require(
            self.difficulty in ("easy", "real", "hard"),
            f"cohort.difficulty must be 'easy', 'real' or 'hard', got {self.difficulty!r}",
        )
        _require(
            1 <= self.training_patients <= 63,
            f"cohort.training_patients must be 1 to 63, got {self.training_patients}",
        )
        _require(
            1 <= self.testing_patients <= 40,
            f"cohort.testing_patients must be 1 to 40, got {self.testing_patients}",
        )
        _require(self.max_slices >= 2, f"cohort.max_slices must be >= 2, got {self.max_slices}")
        _require(self.jobs >= 1, f"cohort.jobs must be >= 1, got {self.jobs}")


@dataclass(frozen=True)
class Preprocess:
    registration: str  # "rigid" (rotation, two shifts) or "affine" (adds scales and shear)

    def __post_init__(self):
        _require(
            self.registration in ("rigid", "affine"),
            f"preprocess.registration must be 'rigid' or 'affine', got {self.registration!r}",
        )


@dataclass(frozen=True)
class Folds:
    count: int
    scheme: str  # "contiguous" in case order, or "balanced" by slice count
    inner_split: bool  # early stopping on scans held out of the training part, not on the evaluated ones

    def __post_init__(self):
        _require(self.count >= 2, f"folds.count must be >= 2, got {self.count}")
        _require(
            self.scheme in ("contiguous", "balanced"),
            f"folds.scheme must be 'contiguous' or 'balanced', got {self.scheme!r}",
        )


@dataclass(frozen=True)
class Sampling:
    patches_per_case: int
    elastic_alpha: float  # displacement scale as a factor of the mean patch side
    elastic_gamma: float  # Gaussian sigma as a factor of the mean patch side

    def __post_init__(self):
        _require(
            self.patches_per_case >= 2,
            f"sampling.patches_per_case must be >= 2, got {self.patches_per_case}",
        )
        _require(self.elastic_alpha >= 0, "sampling.elastic_alpha must be >= 0")
        _require(self.elastic_gamma > 0, "sampling.elastic_gamma must be > 0")


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
        _require(self.batch_size >= 2, f"training.batch_size must be >= 2, got {self.batch_size}")
        _require(self.max_epochs >= 1, f"training.max_epochs must be >= 1, got {self.max_epochs}")
        _require(self.patience >= 1, f"training.patience must be >= 1, got {self.patience}")
        _require(
            0 < self.batch_norm_momentum <= 1,
            f"training.batch_norm_momentum must be in (0, 1], got {self.batch_norm_momentum}",
        )
        _require(self.patches_per_epoch >= 0, "training.patches_per_epoch must be >= 0")
        _require(0 <= self.dropout < 1, f"training.dropout must be in [0, 1), got {self.dropout}")
        _require(
            self.gdl_weights in ("volume", "squared"),
            f"training.gdl_weights must be 'volume' or 'squared', got {self.gdl_weights!r}",
        )


@dataclass(frozen=True)
class Compute:
    """How the work is laid on the device; the tables are made with exact float32."""

    resident: str  # type of the scans in memory: "float32" or "float16", half the size
    precision: str  # of convolutions: "float32", "tf32" (CUDA) or "bf16" (mixed, in training only)
    compile: bool  # compile the training step; on CUDA as a captured graph. Takes up to a minute a network
    folds_at_once: int  # notebooks that share one GPU

    def __post_init__(self):
        _require(
            self.resident in ("float32", "float16"),
            f"compute.resident must be 'float32' or 'float16', got {self.resident!r}",
        )
        _require(
            self.precision in ("float32", "tf32", "bf16"),
            f"compute.precision must be 'float32', 'tf32' or 'bf16', got {self.precision!r}",
        )
        _require(self.folds_at_once >= 1, f"compute.folds_at_once must be >= 1, got {self.folds_at_once}")


@dataclass(frozen=True)
class Prediction:
    step: int  # voxels between patch centers in x and y
    passes: int  # stochastic passes of uncertainty filtering
    dropout: float  # voxel-wise, in the deepest resolution steps
    batch_size: int  # patches at a time, 0 for what suits the device; changes speed and memory alone

    def __post_init__(self):
        _require(self.step >= 1, f"prediction.step must be >= 1, got {self.step}")
        _require(self.passes >= 1, f"prediction.passes must be >= 1, got {self.passes}")
        _require(0 <= self.dropout < 1, "prediction.dropout must be in [0, 1)")
        _require(self.batch_size >= 0, "prediction.batch_size must be >= 0")


@dataclass(frozen=True)
class Postprocess:
    thresholds: tuple[float, ...]
    min_lesion_voxels: tuple[int, ...]

    def __post_init__(self):
        _require(
            bool(self.thresholds) and all(0 < t < 1 for t in self.thresholds),
            f"postprocess.thresholds must lie between 0 and 1, got {self.thresholds}",
        )
        _require(
            bool(self.min_lesion_voxels) and all(s >= 1 for s in self.min_lesion_voxels),
            f"postprocess.min_lesion_voxels must be >= 1, got {self.min_lesion_voxels}",
        )


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
        _require(self.networks in (1, 2), f"variant.networks must be 1 or 2, got {self.networks}")
        _require(
            self.loss in ("gdl_cross_entropy", "cross_entropy"),
            f"variant.loss must be 'gdl_cross_entropy' or 'cross_entropy', got {self.loss!r}",
        )
        _require(
            self.monitor in ("l1_error", "dice"),
            f"variant.monitor must be 'l1_error' or 'dice', got {self.monitor!r}",
        )
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

    def __post_init__(self):
        _require(self.threads >= 1, f"threads must be >= 1, got {self.threads}")

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


def variant(name: str) -> Variant:
    """Look up a row of Table 1 by its name in code."""
    if name not in VARIANTS:
        raise SettingsError(
            f"unknown variant {name!r}; choose one of {', '.join(VARIANTS)}{_nearest(name, VARIANTS)}"
        )
    return VARIANTS[name]


def _nearest(name: str, known) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


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
        return float(value)
    if type(value) is not hint:
        raise SettingsError(f"{where} must be {hint.__name__}, got {value!r}")
    return value


def load_settings(name_or_path) -> Settings:
    """Read settings by name (configs/<name>.toml) or by path; the file's stem names the results folder.

    Raises
    ------
    FileNotFoundError : there is no such file; lists the names there are.
    SettingsError : an unknown, missing or mistyped key, or a value out of range, by name.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = ROOT / "configs" / f"{name_or_path}.toml"
    if not path.is_file():
        names = sorted(p.stem for p in (ROOT / "configs").glob("*.toml"))
        raise FileNotFoundError(f"no settings file {path}; settings are one of {names} or a path")
    try:
        table = tomllib.loads(path.read_text())
        return _build(Settings, {"name": path.stem} | table, "")
    except (tomllib.TOMLDecodeError, SettingsError) as error:
        raise SettingsError(f"{path.name}: {error}") from None


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
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
