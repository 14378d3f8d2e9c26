"""Exact prediction at the paper's step of 3 voxels with three stochastic passes, one slice of a synthetic scan.

A scan of 8 slices is 8 times this work. Ours covers the brain; MONAI's sliding window knows no brain and covers the
whole slice, or the brain's box with half a window around it, where it is given that. All run our network with its
prediction dropout, channels last, with the batch that suits each. "The plain way" covers the brain, too, patch by
patch through the whole network, contiguous, in batches of 64, as the authors' release does. `agreement` says how many
windows each one passes.
"""

import measure
import numpy as np
import torch

from strokelib import inference, patches
from strokelib.network import Network
from strokelib.run import runtime

STEP, PASSES, SIDE = 3, 3, 64


def scan():
    """Return a slice of random values in a brain that fills as much of it as the cohort's do, 35 %."""
    x, y = np.mgrid[:256, :256]
    mask = (((x - 127) / 80) ** 2 + ((y - 127) / 93) ** 2 < 1)[..., None]
    images = np.random.default_rng(0).standard_normal((10, *mask.shape)).astype(np.float32)
    return images * mask, mask


def with_monai(inferer, network, images, batch_size: int, step: int, rate: float, passes: int = 1):
    """Average `passes` calls of MONAI's sliding window, (slice, x, y)."""
    generator, device = torch.Generator().manual_seed(0), next(network.parameters()).device

    def predictor(batch):
        keys = torch.randint(-(2**31), 2**31, (len(batch),), generator=generator, dtype=torch.int32).to(device)
        logits = network(batch.to(memory_format=torch.channels_last), rate, keys)
        return torch.sigmoid(logits[:, 1:] - logits[:, :1])

    volume = torch.from_numpy(np.moveaxis(images, 3, 0).copy()).to(device)
    with torch.inference_mode():
        found = sum(
            inferer(volume, (SIDE, SIDE), batch_size, predictor, overlap=1 - step / SIDE) for _ in range(passes)
        )
    return (found / passes)[:, 0].cpu().numpy()


def plainly(network, images, mask, device):
    """Predict the brain's patches one batch of 64 after the other, the whole network for each pass."""
    pad = SIDE // 2
    starts = patches.patch_grid(mask, STEP, SIDE)
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    total, count = np.zeros(padded.shape[1:]), np.zeros(padded.shape[1:])
    generator = torch.Generator().manual_seed(0)
    for begin in range(0, len(starts), 64):
        part = starts[begin : begin + 64]
        batch = np.stack([padded[:, i : i + SIDE, j : j + SIDE, k] for k, i, j in part])
        with torch.inference_mode():
            keys = torch.randint(-(2**31), 2**31, (PASSES, len(part)), generator=generator, dtype=torch.int32)
            batch = torch.from_numpy(batch).to(device)
            values = sum(network(batch, 0.1, key.to(device)).softmax(1)[:, 1] for key in keys).cpu().numpy() / PASSES
        for (k, i, j), value in zip(part, values, strict=True):
            total[i : i + SIDE, j : j + SIDE, k] += value
            count[i : i + SIDE, j : j + SIDE, k] += 1
    return (total / np.maximum(count, 1))[pad:-pad, pad:-pad] * mask


def compare(repeats: int) -> list:
    repeats = 1  # half a minute each, after as long a warm-up
    device = runtime.choose_device("auto")
    torch.manual_seed(0)
    network = Network(10).eval().to(device, memory_format=torch.channels_last)
    contiguous = Network(10).eval().to(device)
    contiguous.load_state_dict(network.state_dict())
    images, mask = scan()
    count = len(patches.patch_grid(mask, STEP, SIDE))
    work = f"exact prediction of a slice, step {STEP}, {PASSES} passes"

    def ours():
        how = inference.Sweep(STEP, PASSES, patch_size=SIDE)
        return inference.predict([network], images, mask, how, np.random.default_rng(0)).probability

    contenders = {"ours": ours, "the plain way": lambda: plainly(contiguous, images, mask, device)}
    far = float(np.abs(ours() - plainly(contiguous, images, mask, device)).max())
    if far > 0.05:
        raise SystemExit(f"the plain way and ours differ by {far:.2g}, more than other draws of the dropout explain")
    agreement = {
        "ours": f"{count} windows",
        "the plain way": f"{count} windows; other draws of the dropout, |difference| <= {far:.0e}",
    }
    monai, version = measure.peer("monai")
    if monai is None:
        return measure.rows(work, measure.in_turn(contenders, repeats), "ours", agreement, repeats) + measure.missing(
            work, version
        )
    from monai.inferers import sliding_window_inference as inferer

    # Without dropout and on the same windows (every cell of the slice, padded alike) both are the same estimator.
    padded = np.pad(images, ((0, 0), (24, 24), (24, 24), (0, 0)))
    theirs = with_monai(inferer, network, padded, 32, 16, 0.0)
    how = inference.Sweep(16, patch_size=SIDE)
    same = inference.predict([network], images, np.ones_like(mask), how).probability
    far = float(np.abs(np.moveaxis(theirs, 0, 2)[24:-24, 24:-24] - same).max())
    if far > 1e-5:
        raise SystemExit(f"MONAI and ours differ by {far:.2g} on the same windows without dropout")
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in ((1, 2), (0, 2)))
    half = SIDE // 2  # so that a window can lie on every voxel of the box
    box = images[:, rows[0] - half : rows[-1] + half, columns[0] - half : columns[-1] + half]
    targets = {}
    for name, part in (("whole slice", images), ("brain's box", box)):
        contender = f"{version}, {name}"
        sides = [-(-(side - SIDE) // STEP) + 1 for side in part.shape[1:3]]
        contenders[contender] = lambda part=part: with_monai(inferer, network, part, 64, STEP, 0.1, PASSES)
        agreement[contender] = f"{sides[0] * sides[1]} windows; the same windows: |difference| <= {far:.0e}"
        targets[contender] = 2.0 if name == "whole slice" else None
    return measure.rows(work, measure.in_turn(contenders, repeats), "ours", agreement, repeats, targets)


if __name__ == "__main__":
    measure.main(compare)
