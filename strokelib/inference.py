"""Scan to probability map: overlapping patches, stochastic passes, averaging networks."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from strokelib import patches
from strokelib.config import rng, write_whole
from strokelib.network import Network

CASCADE_THRESHOLD = 0.1  # where the baseline's first network must see lesion for its second one to count


def predict_case(
    networks,
    images,
    mask,
    step: int = 3,
    passes: int = 1,
    dropout: float = 0.1,
    patch_size: int = 64,
    batch_size: int = 32,
    generator=None,
    needed=None,
    mode: str = "patches",
):
    """Predict the lesion probability of one scan.

    Parameters
    ----------
    networks : sequence of Network, averaged patch by patch
    images : float32 (modality, x, y, slice), preprocessed; as many modalities as the networks take
    mask : bool (x, y, slice), the brain
    step : int, voxels between patch centers; the paper predicts at 3
    passes : int, 1 predicts without dropout, more average that many stochastic passes (uncertainty filtering)
    dropout : float, rate of the voxel-wise prediction dropout in the deepest resolution steps
    batch_size : int, patches at a time
    generator : torch.Generator on the networks' device; required for more than one pass
    needed : bool (x, y, slice) or None, predict these voxels alone, 0 elsewhere; what is predicted stays the same
    mode : "patches", the paper's, or "slices", an approximation that passes whole slices, cut to the brain's box

    Returns
    -------
    float32 (x, y, slice) : probability of lesion, 0 outside the brain.

    Raises
    ------
    ValueError : shapes that do not fit, a missing generator, an unknown mode.
    RuntimeError : the GPU's memory is too small for the batch.

    Source: Clèrigues et al. 2019, sec. 3.3 and 4.2 (bagging).
    """
    networks = list(networks)
    if not networks:
        raise ValueError("predict_case needs at least one network")
    if images.shape[1:] != mask.shape:
        raise ValueError(f"images {images.shape} and mask {mask.shape} differ in (x, y, slice)")
    if passes > 1 and generator is None:
        raise ValueError("stochastic passes need a generator; see inference.dropout_generator")
    for network in networks:
        network.eval().to(memory_format=torch.channels_last)
    rates = (0.0,) if passes == 1 else (dropout,) * passes
    needed = mask if needed is None else needed & mask
    try:
        if mode == "patches":
            return _predict_patches(networks, images, mask, step, rates, patch_size, batch_size, generator, needed)
        if mode == "slices":
            return _predict_slices(networks, images, mask, rates, generator, needed)
    except torch.cuda.OutOfMemoryError as error:
        raise RuntimeError(
            f"the GPU's memory is too small for {batch_size} patches at a time; lower prediction.batch_size"
        ) from error
    raise ValueError(f"mode must be 'patches' or 'slices', got {mode!r}")


def _lesion_probability(networks, batch, rates, generator):
    """Average the lesion probability of a batch over networks and passes, (n, h, w)."""
    total = 0
    for network in networks:
        state = network.deterministic(batch)  # computed once for all passes
        for rate in rates:
            logits = network.stochastic(state, rate, generator)
            total = total + torch.sigmoid(logits[:, 1] - logits[:, 0])
    return total / (len(networks) * len(rates))


def _stack(images, pad: int, device):
    """Lay a scan out as (slice, x, y, modality), padded with the background's zeros."""
    padded = np.pad(np.moveaxis(images, (3, 0), (0, 3)), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return torch.from_numpy(np.ascontiguousarray(padded, np.float32)).to(device)


@torch.inference_mode()
def _predict_patches(networks, images, mask, step, rates, patch_size, batch_size, generator, needed):
    device = next(networks[0].parameters()).device
    pad = patch_size // 2
    stack = _stack(images, pad, device)
    starts = patches.patch_grid(mask, step, patch_size, needed)
    total = torch.zeros(stack.shape[:3], device=device)
    for begin in range(0, len(starts), batch_size):
        part = starts[begin : begin + batch_size]
        batch = patches.gather(stack, part, patch_size)
        patches.accumulate(total, part, _lesion_probability(networks, batch, rates, generator))
    inside = (slice(None), slice(pad, -pad), slice(pad, -pad))
    count = patches.coverage(starts, tuple(total.shape), patch_size)[inside]
    mean = total[inside].cpu().numpy() / np.maximum(count, 1)
    return np.where(needed, np.moveaxis(mean, 0, 2), 0).astype(np.float32)


@torch.inference_mode()
def _predict_slices(networks, images, mask, rates, generator, needed, margin: int = 16):
    """Pass the box of the brain, a slice at a time.

    Differs: the network sees whole slices where the paper averages patches. Much faster; another estimator.
    """
    device = next(networks[0].parameters()).device
    probability = np.zeros(mask.shape, np.float32)
    if not mask.any():
        return probability
    box = []
    for axis in (0, 1):
        found = np.flatnonzero(mask.any(axis=(1 - axis, 2)))
        low = found[0]
        box.append((low, -(-(found[-1] + 1 - low + 2 * margin) // 16) * 16))
    (x, width), (y, height) = box
    room = width + height  # a generous pad, so that the box always fits
    stack = _stack(images, room, device)
    x, y = x - margin + room, y - margin + room
    stack = stack[:, x : x + width, y : y + height].permute(0, 3, 1, 2)
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        batch = stack[k : k + 1].contiguous(memory_format=torch.channels_last)
        full = np.zeros((mask.shape[0] + 2 * room, mask.shape[1] + 2 * room), np.float32)
        full[x : x + width, y : y + height] = _lesion_probability(networks, batch, rates, generator)[0].cpu()
        probability[:, :, k] = full[room:-room, room:-room]
    return np.where(needed, probability, 0).astype(np.float32)


def predict_cascade(first, second, images, mask, step: int, patch_size: int, batch_size: int = 32):
    """Predict with the baseline's two networks in cascade.

    The second network's probability counts where the first one's is above 0.1; elsewhere it is 0.

    Source: our reading of the workshop approach [19] that the paper calls baseline, after the same group's
    published cascade (Valverde et al., NeuroImage 2017); the workshop paper was not at hand.
    """
    probability = predict_case([first], images, mask, step, patch_size=patch_size, batch_size=batch_size)
    return predict_case(
        [second],
        images,
        mask,
        step,
        patch_size=patch_size,
        batch_size=batch_size,
        needed=probability > CASCADE_THRESHOLD,
    )


def dropout_generator(seed: int, fold: int, number: int, device="cpu") -> torch.Generator:
    """Make the generator of one scan's stochastic passes, a function of seed, fold and case alone."""
    generator = torch.Generator(device=device)
    return generator.manual_seed(int(rng(seed, "prediction dropout", fold, number).integers(2**62)))


def save_tensors(path, tensors: dict, facts: dict) -> Path:
    """Save tensors as safetensors with facts about them; the same content gives the same bytes."""
    # One JSON string, because safetensors writes several metadata entries in random order.
    metadata = {"facts": json.dumps(facts, sort_keys=True)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    return write_whole(Path(path), lambda temporary: save_file(tensors, temporary, metadata))


def read_facts(path) -> dict:
    """Read the facts saved with tensors, without the tensors; {} where there is no whole file."""
    try:
        with safe_open(Path(path), "pt") as file:
            return json.loads((file.metadata() or {})["facts"])
    except Exception:  # safetensors raises its own type; whatever the reason, there is nothing to go on from
        return {}


def save_network(path, network: Network, facts: dict) -> Path:
    """Save weights, with facts such as the digest of what they were trained from."""
    return save_tensors(path, network.state_dict(), {"in_channels": network.in_channels} | facts)


def load_network(path, device="cpu") -> tuple[Network, dict]:
    """Load a network for prediction, and the facts saved with it.

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
        network = Network(facts["in_channels"])
        network.load_state_dict(load_file(path))
    except Exception as error:
        raise ValueError(
            f"{path} is not a whole network of this project ({error}); delete it and train again"
        ) from error
    return network.to(device).eval(), facts
