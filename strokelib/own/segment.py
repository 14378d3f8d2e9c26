"""Segment a scan of one's own with the networks that ship: each says what it sees, and their mean counts."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from strokelib import inference, metrics, patches
from strokelib.evaluation.conformal import MODES, VolumeInterval, load_interval
from strokelib.inference import Sweep
from strokelib.modalities import ISLES, inputs
from strokelib.nifti import CaseError
from strokelib.own import checks
from strokelib.own.scan import OwnScan
from strokelib.postprocess import Pair, binarize
from strokelib.preprocess import Preprocessed, preprocess_case
from strokelib.run.runtime import ROOT, choose_device

NETWORKS = ROOT / "networks"  # those that ship, with docs/model_card.md
FACTS, INTERVALS = "facts.json", "volume_interval.json"
SAME_SHARE, SAME_ML = 0.02, 0.5  # by which the volumes of a core on two grids may differ without a word
TIMED = 32  # patches, from which the time of "exact" is reckoned
EXACT_STEP = 16  # voxels between patches: that of the study which the networks, and the interval, come from


@dataclass(frozen=True, eq=False)
class Networks:
    """Networks that vote, and what is known of them."""

    members: tuple
    pair: Pair  # by which their lesions are told
    intervals: dict[str, VolumeInterval]  # by mode
    facts: dict

    @property
    def sha256(self) -> tuple[str, ...]:
        """The checksum of each network's file."""
        return tuple(row["sha256"] for row in self.facts["networks"])

    @property
    def words(self) -> str:
        """Name them in a line."""
        return (
            f"{len(self.members)} networks ({self.facts['variant']} of {self.facts['settings']}, trained on the "
            f"{self.facts['cohort']}; docs/model_card.md)"
        )


@dataclass(frozen=True, eq=False)
class Segmented:
    """A scan with what the networks say of it; arrays (x, y, slice) on the networks' grid."""

    scan: OwnScan
    preprocessed: Preprocessed
    probability: np.ndarray  # float32, the mean of the networks; 0 outside the brain
    uncertainty: np.ndarray  # float32, standard deviation between the networks
    core: np.ndarray  # bool
    mode: str
    volume_ml: float
    interval: VolumeInterval
    remarks: tuple[str, ...]  # of the scan, and of what the networks never saw

    @property
    def interval_ml(self) -> tuple[float, float]:
        """Between which volumes an outlined core lies, at the interval's level."""
        return self.interval.of(self.volume_ml)


def load_networks(folder=NETWORKS, device: str = "cpu") -> Networks:
    """Load the networks of a folder, each file held against the sha256 that the folder's facts.json tells.

    Raises
    ------
    FileNotFoundError : no facts.json there, or a network or the table of volume intervals is missing.
    ValueError : a file is damaged, or not the one that the facts are of; the intervals are those of other networks.
    """
    folder, place = Path(folder), choose_device(device)
    if not (folder / FACTS).is_file():
        raise FileNotFoundError(f"no {FACTS} in {folder}; networks ship with the project, in {NETWORKS.name}/")
    facts, members = _facts(folder), []
    for row in facts["networks"]:
        path = folder / row["file"]
        again = "get it again" + (f" with git checkout -- {folder.name}" if folder == NETWORKS else "")
        if not path.is_file():
            raise FileNotFoundError(f"{path}, which {FACTS} beside it names, is missing; {again}")
        if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != row["sha256"]:
            raise ValueError(
                f"{path} has sha256 {found}, expected {row['sha256']}: it is damaged or another network; {again}"
            )
        members.append(inference.load_network(path, place)[0])
        if members[-1].in_channels != len(inputs(ISLES, with_mirrored=True)):
            raise ValueError(f"{path} takes {members[-1].in_channels} images, expected {', '.join(ISLES)} and mirrored")
    pair = Pair(facts["threshold"], facts["min_lesion_voxels"])
    intervals = {mode: load_interval(folder / INTERVALS, mode) for mode in MODES}
    _check_intervals(folder / INTERVALS, facts)
    return Networks(tuple(members), pair, intervals, facts)


def _facts(folder: Path) -> dict:
    """Read what a folder of networks tells of them, or say what is expected there."""
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        for row in facts["networks"]:
            _ = row["file"], row["sha256"]
        _ = facts["threshold"], facts["min_lesion_voxels"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} tells of no networks of this project ({type(error).__name__}: {error}), expected the file that "
            "tools/publish_networks.py writes"
        ) from error
    return facts


def _check_intervals(path: Path, facts: dict) -> None:
    """Refuse intervals of other networks, or of another pair, which would promise what nobody measured."""
    made = json.loads(path.read_text(encoding="utf-8"))
    of = {row["file"]: row["sha256"] for row in facts["networks"]}
    now = {"networks": of, "threshold": facts["threshold"], "min_lesion_voxels": facts["min_lesion_voxels"]}
    if odd := [name for name, value in now.items() if made.get(name, value) != value]:
        raise ValueError(
            f"{path} was made for other {', '.join(odd)} than {path.with_name(FACTS)} tells; make it again with "
            "tools/calibrate_volumes.py"
        )


def prepare(scan: OwnScan) -> Preprocessed:
    """Preprocess a scan as those that the networks were trained on.

    Raises
    ------
    CaseError : the scan has other modalities than the networks take, or cannot be preprocessed; its name is named.
    """
    if scan.case.modalities != ISLES:
        raise CaseError(
            f"{scan.name}: it has {', '.join(scan.case.modalities)}, the networks take {', '.join(ISLES)} in this "
            "order; add what is missing"
        )
    try:
        return preprocess_case(scan.case, device="cpu")  # as for the scans that the intervals were made from
    except CaseError as error:  # which speaks of a case and its number
        raise CaseError(str(error).replace(f"case_{scan.case.number}:", f"{scan.name}:")) from error


def exact_seconds(prepared: Preprocessed, networks: Networks) -> float:
    """Estimate how long "exact" takes for a scan on this machine, from a batch of its own patches.

    Parameters
    ----------
    prepared : of `prepare`
    networks : of `load_networks`
    """
    side = Sweep.patch_size
    starts = patches.patch_grid(prepared.mask, EXACT_STEP, side, prepared.mask)
    batch = torch.zeros((TIMED, len(prepared.images), side, side), device=next(networks.members[0].parameters()).device)
    batch = batch.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(2):  # the first one warms up
            began = time.perf_counter()
            networks.members[0].stochastic(networks.members[0].deterministic(batch)).sum().item()
            took = time.perf_counter() - began
    return took / TIMED * len(starts) * len(networks.members)


def segment(scan: OwnScan, prepared: Preprocessed, networks: Networks, mode: str = "slices") -> Segmented:
    """Find the core of a scan, how far the networks lie apart, and the core's volume with its interval.

    Parameters
    ----------
    scan : OwnScan
    prepared : of `prepare`
    networks : of `load_networks`
    mode : "slices", whole slices at once, a second or two; "exact", overlapping patches averaged as in the study

    Raises
    ------
    ValueError : an unknown mode.

    Our choice: no stochastic passes. Of one scan the networks differ by more than passes of one network do, and what
    they say without dropout needs no seed.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be 'slices' or 'exact', got {mode!r}")
    images, mask = prepared.inputs(mirrored=True), prepared.mask
    if mode == "exact":
        each = inference.predict(networks.members, images, mask, Sweep(EXACT_STEP), keep=["each"]).each
    else:
        each = np.stack([inference.predict_slices([member], images, mask) for member in networks.members])
    probability = each.mean(axis=0, dtype=np.float32)
    core = binarize(probability, networks.pair)
    volume = metrics.volume_ml(core, prepared.spacing)
    return Segmented(
        scan,
        prepared,
        probability,
        each.std(axis=0, dtype=np.float32),
        core,
        mode,
        volume,
        networks.intervals[mode],
        (*scan.remarks, *_as_written(scan, core, volume), *checks.outside_training(scan, prepared)),
    )


def _as_written(scan: OwnScan, core, volume: float) -> list[str]:
    """Say where the core's mask in the scan's own grid, which is what is written, has another volume than is told.

    Slabs at the ends of a scan reach beyond it, and a voxel of the networks' grid is not always a number of its own.
    """
    own = np.count_nonzero(scan.grid.back(core, order=0)) * abs(np.linalg.det(scan.grid.affine[:3, :3])) / 1000
    if abs(own - volume) <= max(SAME_SHARE * volume, SAME_ML):
        return []
    return [
        f"the core's mask in the scan's own grid has {own:.1f} mL, that of the networks' grid {volume:.1f}: the second "
        "is what the page and the row tell"
    ]
