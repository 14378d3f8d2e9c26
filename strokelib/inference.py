"""Scan to probability map: overlapping patches, stochastic passes, averaging networks."""

import copy
import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from scipy import ndimage
from torch.nn import functional

from strokelib import patches
from strokelib.network import STOCHASTIC_LEVEL, make_network, measure_normalization
from strokelib.run.runtime import gpu_memory, rng, write_whole
from strokelib.run.settings import Prediction
from strokelib.run.variants import Variant

CASCADE_THRESHOLD = 0.1  # where the baseline's first network must see lesion for its second one to count
AT_ONCE = {"cpu": 128, "cuda": 1024}  # patches a batch; more are no faster, and need memory
TOO_SMALL = "for one scan; end what else uses it, or set device = 'cpu'"
LOG = logging.getLogger(__name__)
MEASURED = 256  # patches of a scan, at most, that batch normalization is measured on, all at once
SLICES_AT_ONCE = 4  # of `predict_slices`; they share a box, so the map depends on it


@dataclass(frozen=True)
class Sweep:
    """How a scan is taken through networks, patch by patch."""

    step: int = 3  # voxels between patch centers, as in the authors' code; the paper says "regular"
    passes: int = 1  # 1 predicts without dropout, more average so many stochastic passes (uncertainty filtering)
    dropout: float = 0.1  # rate of the voxel-wise prediction dropout in the deepest resolution steps
    patch_size: int = 64
    batch_size: int = 0  # patches at a time, fewer where memory is short: speed alone; 0 takes what suits the device
    level: int = STOCHASTIC_LEVEL  # the first resolution step with prediction dropout
    flips: bool = False  # average with what is said of the patch turned left to right
    scan_statistics: bool = False  # batch normalization by what is measured on the scan, not on those trained on

    @property
    def rates(self) -> tuple[float, ...]:
        """The dropout of each pass."""
        return (0.0,) if self.passes == 1 else (self.dropout,) * self.passes


def sweep(variant: Variant, prediction: Prediction) -> Sweep:
    """Return how a variant is predicted: its own patch side, and several passes where it filters by uncertainty."""
    passes = prediction.passes if variant.uncertainty_filtering else 1
    how = (prediction.dropout, variant.patch_size, prediction.batch_size, prediction.dropout_level, prediction.flips)
    return Sweep(prediction.step, passes, *how, variant.scan_statistics)


@dataclass(frozen=True, eq=False)
class Predicted:
    """What `predict` found, all float32 and 0 outside the brain."""

    probability: np.ndarray  # (x, y, slice), of lesion
    spread: np.ndarray | None = None  # (x, y, slice), how far the stochastic passes lie apart
    each: np.ndarray | None = None  # (network, x, y, slice), what each network says


def predict(networks, images, mask, how: Sweep, generator=None, needed=None, keep=()) -> Predicted:
    """Predict the lesion probability of one scan.

    Parameters
    ----------
    networks : sequence of Network, averaged patch by patch
    images : float32 (input, x, y, slice), preprocessed; as many inputs as the networks take
    mask : bool (x, y, slice), the brain
    how : Sweep
    generator : numpy.random.Generator; required for more than one pass
    needed : bool (x, y, slice) or None, predict these voxels alone, 0 elsewhere; without dropout their values are
        those of a whole prediction
    keep : what to return beside the probability. "spread": the standard deviation between the passes of a patch
        (divisor: passes), averaged over the patches that hold the voxel; "each": the map of each network, with the
        dropout that it draws among the others. Their mean is the probability, then

    Returns
    -------
    Predicted

    Raises
    ------
    ValueError : shapes that do not fit, a missing generator, a spread of one pass, something unknown to keep.
    RuntimeError : the GPU's memory is too small for the scan; for a batch, a smaller one is taken and logged.

    Source: Clèrigues et al. 2019, sec. 3.3 and 4.2 (bagging). Our choice: 0 outside of the brain mask; the spread
    within a patch, as the mean of hundreds of patches hardly differs from pass to pass.
    """
    networks, needed = _checked(networks, images, mask, how.passes, generator, needed)
    if unknown := {*keep} - {"spread", "each"}:
        raise ValueError(f"keep may hold 'spread' and 'each', got {', '.join(map(repr, sorted(unknown)))}")
    if "spread" in keep and how.passes < 2:
        raise ValueError(f"a spread needs two passes at least, got {how.passes}")
    with gpu_memory(TOO_SMALL):
        networks = _measured(networks, images, mask, how)
        return _predict_patches(networks, images, mask, how, generator, needed, keep)


def predict_slices(networks, images, mask, how: Sweep = Sweep(), generator=None, needed=None, shifts: int = 1):
    """Predict one scan by whole slices: the box of the brain, a few slices at a time.

    Parameters
    ----------
    how : Sweep, of which passes, dropout and flips count; step and side of patches only where the scan is measured
    shifts : int, the average of so many positions on the network's grid of 16 voxels
    others as `predict`

    Returns
    -------
    float32 (x, y, slice) : probability of lesion, 0 outside the brain.

    Raises
    ------
    ValueError : as `predict`, or no shift.
    RuntimeError : the GPU's memory is too small for the scan.

    Differs: the network sees whole slices where the paper averages patches. Hundreds of times faster; another
    estimator, as near to the exact one as `benchmarks/slices.py` says.
    """
    networks, needed = _checked(networks, images, mask, how.passes, generator, needed)
    if shifts < 1:
        raise ValueError(f"shifts must be >= 1, got {shifts}")
    with gpu_memory(TOO_SMALL):
        networks = _measured(networks, images, mask, how)
        return _predict_slices(networks, images, mask, how, generator, needed, shifts)


def _checked(networks, images, mask, passes: int, generator, needed):
    """Return networks ready to predict, and the voxels to predict."""
    networks = list(networks)
    if not networks:
        raise ValueError("a prediction needs at least one network")
    if len(margins := {network.margin for network in networks}) > 1:
        raise ValueError(f"networks that vote must be given the same margin around a patch, got {sorted(margins)}")
    if images.shape[1:] != mask.shape:
        raise ValueError(f"images {images.shape} and mask {mask.shape} differ in (x, y, slice)")
    if passes > 1 and generator is None:
        raise ValueError("stochastic passes need a generator; see inference.dropout_generator")
    for network in networks:
        network.eval().to(memory_format=torch.channels_last)
    return networks, mask if needed is None else needed & mask


def _measured(networks, images, mask, how: Sweep):
    """Return networks whose batch normalization goes by patches of this scan, where the sweep asks for it.

    Source: Nado et al. 2020 (batch normalization at prediction). Our choice: patches at regular steps along the grid
    that would be predicted, no more than MEASURED, without dropout.
    """
    starts = patches.patch_grid(mask, how.step, how.patch_size) if how.scan_statistics else []
    if not len(starts):
        return networks
    device, count, margin = next(networks[0].parameters()).device, min(MEASURED, len(starts)), networks[0].margin
    chosen = starts[np.arange(count) * len(starts) // count] + np.array([0, margin, margin])
    corners = patches.on_device(chosen, device)
    stack = _stack(images, how.patch_size // 2 + margin, device)
    networks = [copy.deepcopy(network) for network in networks]
    for network in networks:
        measure_normalization(network, [patches.gather(stack, corners, how.patch_size, margin)])
        network.eval()
    return networks


def _keys(networks, rates, count: int, generator, device):
    """Draw what decides the dropout: (network, pass, patch) int32, or None where there is none."""
    if not any(rates):
        return None
    keys = generator.integers(-(2**31), 2**31, (len(networks), len(rates), count), dtype=np.int32)
    return torch.from_numpy(keys).to(device)


def _lesion_probability(networks, batch, how: Sweep, keys, keep=()) -> list:
    """Average the lesion probability of a batch over its passes and networks; tensors (n, h, w).

    Returns the mean over all, or that of each network where these are to be kept; then the spread, where it is. Where
    the batch turned left to right counts, too, each is the mean of both; they share the dropout.
    """
    if how.flips:
        once = dataclasses.replace(how, flips=False)
        here = _lesion_probability(networks, batch, once, keys, keep)
        turned = _lesion_probability(networks, batch.flip(2), once, keys, keep)
        return [(one + other.flip(1)) / 2 for one, other in zip(here, turned, strict=True)]
    means, spread = [], 0
    for i, network in enumerate(networks):
        # Computed once for all passes. A network need not know of other levels than the paper's.
        level = () if how.level == STOCHASTIC_LEVEL else (how.level,)
        state = network.deterministic(batch, *level)
        values = []
        for j, rate in enumerate(how.rates):
            logits = network.stochastic(state, rate, None if keys is None else keys[i, j])
            values.append(torch.sigmoid(logits[:, 1] - logits[:, 0]))
        means.append(sum(values[1:], values[0]) / len(values))
        if "spread" in keep:  # written out: torch.std over a first axis of three took a tenth of a prediction
            variance = sum((value - means[-1]).square_() for value in values) / len(values)
            # The root by its reciprocal: torch's own is MKL's, which rounds otherwise on another maker's processors.
            spread = spread + variance.rsqrt_().reciprocal_()
    if "each" not in keep:
        means = [sum(means[1:], means[0]) / len(networks)]
    return [*means, spread / len(networks)] if "spread" in keep else means


def _stack(images, pad: int, device):
    """Lay a scan out as (slice, x, y, input), padded with the background's zeros."""
    images = torch.from_numpy(np.asarray(images, np.float32)).to(device)  # laid out there, where it takes no time
    return functional.pad(images.permute(3, 1, 2, 0), (0, 0, pad, pad, pad, pad)).contiguous()


@torch.inference_mode()
def _predict_patches(networks, images, mask, how: Sweep, generator, needed, keep) -> Predicted:
    device, rates = next(networks[0].parameters()).device, how.rates
    margin = networks[0].margin
    pad = how.patch_size // 2 + margin
    stack = _stack(images, pad, device)
    starts = patches.patch_grid(mask, how.step, how.patch_size, needed) + np.array([0, margin, margin])
    keys = _keys(networks, rates, len(starts), generator, device)
    corners = patches.on_device(starts, device)
    means = len(networks) if "each" in keep else 1
    count = means + ("spread" in keep)
    batch_size, totals = how.batch_size or AT_ONCE[device.type], None
    while totals is None:
        try:
            totals = _totals(networks, stack, corners, how, keys, keep, (count, batch_size))
        except torch.cuda.OutOfMemoryError:
            if batch_size == 1:
                raise
        if totals is None:  # only now, as the error holds what the failed batch took
            torch.cuda.empty_cache()
            batch_size //= 2
            LOG.warning("the GPU's memory is too small for %d patches at a time, taking %d", 2 * batch_size, batch_size)
    inside = (slice(None), slice(pad, -pad), slice(pad, -pad))
    covered = np.maximum(patches.coverage(starts, tuple(stack.shape[:3]), how.patch_size)[inside], 1)
    maps = [np.moveaxis(total[inside].cpu().numpy() / covered, 0, 2) for total in totals]
    maps = [np.where(needed, _number(values), 0).astype(np.float32) for values in maps]
    spread = maps.pop() if "spread" in keep else None
    each = np.stack(maps) if "each" in keep else None
    return Predicted(maps[0] if each is None else each.mean(axis=0), spread, each)


def _totals(networks, stack, corners, how: Sweep, keys, keep, counts):
    """Add up what the patches of a scan say: (map, slice, x, y), on the device. Counts: of maps, of patches a batch."""
    count, batch_size = counts
    totals = torch.zeros((count, *stack.shape[:3]), device=stack.device)
    for begin in range(0, len(corners), batch_size):
        part = slice(begin, begin + batch_size)
        batch = patches.gather(stack, corners[part], how.patch_size, networks[0].margin)
        found = _lesion_probability(networks, batch, how, None if keys is None else keys[:, :, part], keep)
        for total, values in zip(totals, found, strict=True):
            patches.accumulate(total, corners[part], values)
    return totals


@torch.inference_mode()
def _predict_slices(networks, images, mask, how: Sweep, generator, needed, shifts: int):
    probability = np.zeros(mask.shape, np.float32)
    if not needed.any():
        return probability
    device = next(networks[0].parameters()).device
    margin = networks[0].margin
    pad = 32 + margin  # a box is at most 16 voxels wider than its brain, and moves by less than 16
    brain = ndimage.find_objects(mask.view(np.uint8))[0]
    stack = _stack(images[:, *brain], pad, device).permute(0, 3, 1, 2)
    mask = mask[brain]
    total = torch.zeros((len(stack), *stack.shape[2:]), device=device)
    keys = _keys(networks, how.rates, len(stack) * shifts, generator, device)
    for begin in range(0, len(stack), SLICES_AT_ONCE):
        group = slice(begin, begin + SLICES_AT_ONCE)
        area = mask[:, :, group].any(axis=2)
        if not area.any():
            continue
        sides = [np.flatnonzero(area.any(axis=axis)) for axis in (1, 0)]
        for shift in range(shifts):
            box = [
                _box(side[0], side[-1] + 1, 16 * step // shifts, pad)
                for side, step in zip(sides, (shift, -shift % shifts), strict=True)
            ]
            seen = [slice(side.start - margin, side.stop + margin) for side in box]
            batch = stack[group, :, *seen].contiguous(memory_format=torch.channels_last)
            part = slice(shift * len(stack) + begin, shift * len(stack) + begin + len(batch))
            found = _lesion_probability(networks, batch, how, None if keys is None else keys[:, :, part])
            total[group, *box] += found[0] / shifts
    probability[brain] = np.moveaxis(total[:, pad:-pad, pad:-pad].cpu().numpy(), 0, 2)
    return np.where(needed, _number(probability), 0)


def _number(values):
    """Take what is no number for 0: a network whose training diverged says NaN everywhere, and finds nothing."""
    return np.nan_to_num(values, nan=0.0)


def _box(begin: int, end: int, offset: int, pad: int) -> slice:
    """Widen a range, moved back by `offset`, to a multiple of 16."""
    length = -(-(end - begin + offset) // 16) * 16
    low = begin - offset - (length - offset - (end - begin)) // 2 + pad
    return slice(low, low + length)


def predict_cascade(first, second, images, mask, how: Sweep) -> np.ndarray:
    """Predict with the baseline's two networks in cascade; parameters as `predict`.

    Returns
    -------
    float32 (x, y, slice) : the second network's probability where the first one's is above 0.1, elsewhere 0.

    Source: our reading of the workshop approach [19] that the paper calls baseline, after the same group's
    published cascade (Valverde et al., NeuroImage 2017); the workshop paper was not at hand.
    """
    seen = predict([first], images, mask, how).probability > CASCADE_THRESHOLD
    return predict([second], images, mask, how, needed=seen).probability


def dropout_generator(seed: int, fold: int, number: int) -> np.random.Generator:
    """Make the generator of one scan's stochastic passes, a function of seed, fold and case alone."""
    return rng(seed, "prediction dropout", fold, number)


def save_tensors(path, tensors: dict, facts: dict) -> Path:
    """Save tensors as safetensors with facts about them; the same content gives the same bytes."""
    # One JSON string, because safetensors writes several metadata entries in random order.
    metadata = {"facts": json.dumps(facts, sort_keys=True)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # Not by save_file, which says "I/O error" of a full disk, in an error of its own type.
    return write_whole(Path(path), lambda temporary: temporary.write_bytes(save(tensors, metadata)))


def read_facts(path) -> dict:
    """Read the facts saved with tensors, without the tensors; {} where there is no whole file."""
    try:
        with safe_open(Path(path), "pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
        return facts if isinstance(facts, dict) else {}
    except Exception:  # safetensors raises its own type; whatever the reason, there is nothing to go on from
        return {}


def save_network(path, network, facts: dict, weights: dict | None = None) -> Path:
    """Save a network's weights, or others of its form, with facts such as the digest of what they were trained from."""
    own = {"in_channels": network.in_channels, "network": type(network).__module__.rpartition(".")[2]}
    return save_tensors(path, network.state_dict() if weights is None else weights, own | facts)


def load_network(path, device="cpu") -> tuple:
    """Load a network for prediction.

    Returns
    -------
    the network, and the facts saved with it.

    Raises
    ------
    FileNotFoundError : the network has not been trained yet.
    ValueError : the file is damaged or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no network {path}; train it first with notebook 05")
    facts = read_facts(path)
    try:
        network = make_network(facts["network"], facts["in_channels"])
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole network of this project ({error}); delete it and train again"
        ) from error
    return network.to(device).eval(), facts
