"""Cutting an epoch's training batches out of scans, without a network: ours against TorchIO and MONAI.

The work is the same in kind: from scans in memory with a lesion mask, choose half of the patch centers by the lesion
and half on healthy brain, cut 64 x 64 voxels of one slice in all ten modalities and in the labels, and stack them to
batches of 64. Where the tools differ, the difference is left in their favor:

- Ours spaces centers regularly, moves the lesion's by an offset, mixes the scans in every batch, and keeps zeros
  beyond the image's edge; its list of centers serves all epochs, but is drawn again here for every one.
- TorchIO draws centers from a map of probabilities, as far from the edge as the patch needs. Its queue holds one scan,
  which is its fastest, so a batch comes from one scan or two.
- MONAI draws centers from two lists of voxels, found once a scan and epoch, and moves those that are too near to the
  edge. All patches of a batch come from one scan, which is its fastest.

The scans are random numbers in an ellipse with a disc for a lesion: what voxels hold does not change the time.
"""

import dataclasses
import functools

import measure
import numpy as np
import torch

from strokelib import patches
from strokelib.preprocess import Preprocessed, resident
from strokelib.run.runtime import rng
from strokelib.run.settings import load_settings

SCANS, PER_SCAN, BATCH, SIDE = 2, 4096, 64, 64  # whole batches, and near the 4000 a scan of the paper
SHAPE = (256, 256, 8)
SAMPLING = dataclasses.replace(load_settings("phantom").sampling, patches_per_case=PER_SCAN)
EPOCH = f"{SCANS * PER_SCAN} patches of 10 x 64 x 64 with labels from {SCANS} scans of 10 x 256 x 256 x 8"
TARGETS = {"torchio": 12, "monai": 50}


def compare(repeats: int) -> list:
    """Measure a first epoch, with its centers, and a later one from centers that are there."""
    return first_epoch(repeats) + later_epoch(repeats)


def first_epoch(repeats: int) -> list:
    work = f"centers and batches, {EPOCH}"
    scans = make_scans()
    stack = resident(scans, mirrored=True, device="cpu", pad=SIDE // 2)
    peers, target, absent = {}, {}, []

    torchio, name = measure.peer("torchio")
    if torchio is None:
        absent += measure.missing(work, name)
    else:
        name = f"{name} Queue, LabelSampler"
        peers[name] = functools.partial(torchio_batches, torchio, [torchio_subject(torchio, scan) for scan in scans])
        target[name] = TARGETS["torchio"]

    monai, name = measure.peer("monai")
    if monai is None:
        absent += measure.missing(work, name)
    else:
        tensors = [monai_tensors(scan) for scan in scans]
        name = f"{name} RandCropByPosNegLabel"
        peers[name] = functools.partial(monai_batches, monai, tensors, True)
        peers[f"{name}, metadata off"] = functools.partial(monai_batches, monai, tensors, False)
        target[name] = TARGETS["monai"]

    agreement = {"ours": check(scans, stack)} | {name: alike(batches()) for name, batches in peers.items()}
    contenders = {"ours": lambda: epoch_of_ours(scans, stack)}
    contenders |= {name: functools.partial(exhaust, batches) for name, batches in peers.items()}
    seconds = measure.in_turn(contenders, repeats)
    return measure.rows(work, seconds, "ours", agreement, repeats, target) + absent


def exhaust(batches) -> None:
    for _ in batches():
        pass


def later_epoch(repeats: int) -> list:
    """Compare `gather` alone with the plain loop, on scans as they are stored and on the resident stack."""
    scans = make_scans()
    stack = resident(scans, mirrored=True, device="cpu", pad=SIDE // 2)
    listed, order = draw(scans, stack)
    pad = ((0, 0), (SIDE // 2, SIDE // 2), (SIDE // 2, SIDE // 2), (0, 0))
    stored = [(np.pad(scan.images, pad), np.pad(scan.lesion.astype(np.uint8), pad[1:])) for scan in scans]
    images, labels = stack.images.numpy(), stack.labels.numpy()

    def cut_stored(starts):
        places = [(*divmod(k, SHAPE[2]), x, y) for k, x, y in starts.tolist()]
        return (
            np.stack([stored[n][0][:, x : x + SIDE, y : y + SIDE, s] for n, s, x, y in places]),
            np.stack([stored[n][1][x : x + SIDE, y : y + SIDE, s] for n, s, x, y in places]),
        )

    def cut_resident(starts):
        places = starts.tolist()
        return (
            np.stack([images[k, x : x + SIDE, y : y + SIDE] for k, x, y in places]),
            np.stack([labels[k, x : x + SIDE, y : y + SIDE] for k, x, y in places]),
        )

    def epoch(cut):
        for starts in batch_starts(listed, order):
            cut(starts)

    plain, plain_resident = "numpy slices of stored scans", "numpy slices of the resident stack"
    cuts = {"ours": lambda starts: gather(stack, starts), plain: cut_stored, plain_resident: cut_resident}
    starts = next(batch_starts(listed, order))
    got, slow, quick = (cut(starts) for cut in cuts.values())
    require(np.array_equal(got[0], slow[0]) and np.array_equal(got[1], slow[1]), "gather and the loop differ")
    require(np.array_equal(got[0], np.moveaxis(quick[0], 3, 1)) and np.array_equal(got[1], quick[1]), "loops differ")
    contenders = {name: functools.partial(epoch, cut) for name, cut in cuts.items()}
    contenders["as many bytes, each batch copied in one run"] = functools.partial(copy_runs, images, len(order))
    seconds = measure.in_turn(contenders, repeats)
    agreement = {plain: "equal", plain_resident: "equal, channels last"}
    agreement["as many bytes, each batch copied in one run"] = "no sampling at all: what memory allows"
    return measure.rows(f"batches alone, {EPOCH}", seconds, "ours", agreement, repeats)


def copy_runs(images, patches_wanted: int) -> None:
    """Copy as many voxels as the epoch's patches hold, in batches, from one place of the stack after the other."""
    source, size = images.reshape(-1), BATCH * images.shape[-1] * SIDE**2
    for batch in range(patches_wanted // BATCH):
        begin = batch * size % (len(source) - size)
        source[begin : begin + size].copy()


def make_scans() -> list:
    """Make scans of random numbers: brain over 60 % of every slice, a lesion in the middle slices."""
    x, y = np.ogrid[: SHAPE[0], : SHAPE[1]]
    brain = ((x - 127.5) / 116) ** 2 + ((y - 127.5) / 108) ** 2 < 1
    scans = []
    for number in range(SCANS):
        generator = rng(2018, "benchmark", number)
        mask = np.repeat(brain[:, :, None], SHAPE[2], axis=2)
        lesion = np.zeros(SHAPE, bool)
        lesion[:, :, 2:6] = ((x - 100 - 10 * number) ** 2 + (y - 110) ** 2 < 20**2)[:, :, None]
        images = generator.standard_normal((10, *SHAPE), dtype=np.float32) * mask
        facts = {"spacing": np.ones(3), "number": number, "patient": str(number), "matrix": np.eye(3)}
        scans.append(Preprocessed(images=images, mask=mask, lesion=lesion, score=1.0, flip_score=1.0, **facts))
    return scans


def draw_centers(scans) -> list:
    return [
        patches.sample_centers(scan.lesion, scan.mask, SAMPLING, SIDE, rng(2018, "patches", scan.number))
        for scan in scans
    ]


def draw(scans, stack):
    """Draw the epoch's patches and their order, as training does."""
    listed = patches.patch_list(draw_centers(scans), stack.first_slice, stack.pad, SIDE)
    return listed, rng(2018, "order").permutation(len(listed))


def batch_starts(listed, order):
    for begin in range(0, len(order), BATCH):
        yield listed.starts[order[begin : begin + BATCH]]


def gather(stack, starts):
    return patches.gather(stack.images, starts, SIDE), patches.gather(stack.labels, starts, SIDE)


def epoch_of_ours(scans, stack):
    for starts in batch_starts(*draw(scans, stack)):
        gather(stack, starts)


def require(holds: bool, message: str) -> None:
    if not holds:
        raise RuntimeError(f"not timed, because {message}")


def check(scans, stack) -> str:
    """Hold every patch against the plain slice around its center, and count those that aim at the lesion."""
    centers = draw_centers(scans)
    listed = patches.patch_list(centers, stack.first_slice, stack.pad, SIDE)
    half = SIDE // 2
    edge = ((half, half), (half, half))
    place = 0
    for scan, chosen in zip(scans, centers, strict=True):
        require(2 * chosen.lesion.sum() == len(chosen.voxels), "not half of the patches aim at lesion")
        images, labels = gather(stack, listed.starts[place : place + PER_SCAN])
        for n, (x, y, s) in enumerate(chosen.voxels.tolist()):
            # Center x, y is at x + half, y + half of the padded slice, hence its patch starts at x, y there.
            plain = np.pad(scan.images[:, :, :, s], ((0, 0), *edge))[:, x : x + SIDE, y : y + SIDE]
            truth = np.pad(scan.lesion[:, :, s], edge)[x : x + SIDE, y : y + SIDE]
            require(np.array_equal(images[n], plain) and np.array_equal(labels[n], truth), "a patch differs")
            aimed = truth.any() if chosen.lesion[n] else scan.mask[x, y, s] and not scan.lesion[x, y, s]
            require(aimed, "a patch does not hold what it aims at")
        place += PER_SCAN
    return "equal to plain slices at every center; half aim at lesion"


def alike(found) -> str:
    """See that a peer's batches are of our size and kind, and that about half of its random centers are on lesion."""
    middle, total = 0, 0
    for images, labels in found:
        require(images.shape[1:] == (10, SIDE, SIDE, 1) and images.dtype == torch.float32, "a peer's images differ")
        require(labels.shape[1:] == (1, SIDE, SIDE, 1), "a peer's labels differ")
        middle += int((labels[:, 0, SIDE // 2, SIDE // 2, 0] == labels.max()).sum())
        total += len(images)
    require(total == SCANS * PER_SCAN, f"a peer made {total} patches")
    require(abs(middle / total - 0.5) < 0.05, f"{middle / total:.0%} of a peer's centers are on lesion")
    return f"same shapes and number; {middle / total:.0%} of its centers on lesion"


def torchio_subject(torchio, scan):
    """Label brain 1 and lesion 2, which the sampler takes half of each."""
    regions = torch.from_numpy(scan.mask.astype(np.uint8) + scan.lesion)[None]
    return torchio.Subject(
        images=torchio.ScalarImage(tensor=torch.from_numpy(scan.images)), regions=torchio.LabelMap(tensor=regions)
    )


def torchio_batches(torchio, subjects):
    sampler = torchio.LabelSampler((SIDE, SIDE, 1), "regions", {0: 0, 1: 0.5, 2: 0.5})
    # A queue shorter than one scan's patches stops with an error in 1.2.1; a longer one is slower.
    queue = torchio.Queue(torchio.SubjectsDataset(subjects), PER_SCAN, PER_SCAN, sampler, num_workers=0)
    for batch in torchio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0):
        yield batch["images"]["data"], batch["regions"]["data"]


def monai_tensors(scan):
    """Return images, labels and brain, each with channels first."""
    labels, brain = (torch.from_numpy(mask.astype(np.uint8))[None] for mask in (scan.lesion, scan.mask))
    return torch.from_numpy(scan.images), labels, brain


def monai_batches(monai, scans, track: bool):
    """Cut with the array transform: the dictionary's copies all that it does not cut, such as indices, every patch."""
    monai.data.set_track_meta(track)
    find = monai.transforms.FgBgToIndices()
    crop = monai.transforms.RandCropByPosNegLabel((SIDE, SIDE, 1), pos=1, neg=1, num_samples=BATCH)
    for images, labels, brain in scans:
        on_lesion, healthy = find(labels, brain)
        for _ in range(PER_SCAN // BATCH):
            crop.randomize(labels, on_lesion, healthy)
            pairs = zip(crop(images, randomize=False), crop(labels, randomize=False), strict=True)
            batch = monai.data.list_data_collate([{"images": image, "labels": label} for image, label in pairs])
            yield batch["images"], batch["labels"]


if __name__ == "__main__":
    measure.main(compare)
