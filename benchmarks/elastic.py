"""Elastic deformation of patches of ten channels and their labels: ours against scipy and TorchIO.

Three works: deforming a batch by fields that are given, drawing the fields, and both. The first two are held against
scipy with the same fields and the same noise, and must agree. TorchIO draws fields of another kind, cubic B-splines
through random control points, so only the size of its displacements can be held against ours; it is asked for the same
result (each patch its own field, images linear, labels nearest), and its control points lie about as far apart as our
smoothing reaches.
"""

import measure
import numpy as np
import torch
from scipy import ndimage

from strokelib import patches
from strokelib.run.runtime import rng

COUNT, CHANNELS, SIDE = 64, 10, 64
ALPHA, GAMMA = 2.5, 0.12  # the paper's
TARGETS = {"scipy": 5}


def compare(repeats: int) -> list:
    """Measure deforming alone, drawing alone, and both."""
    return deforming(repeats) + drawing(repeats) + both(repeats)


def make_batch():
    """Make images of noise, the hardest to interpolate alike, in training's memory order, and discs as labels."""
    generator = rng(2018, "benchmark")
    images = torch.from_numpy(generator.standard_normal((COUNT, SIDE, SIDE, CHANNELS), dtype=np.float32))
    x, y = np.ogrid[:SIDE, :SIDE]
    middle = generator.integers(16, 48, (COUNT, 2, 1, 1))
    labels = torch.from_numpy(((x - middle[:, 0]) ** 2 + (y - middle[:, 1]) ** 2 < 12**2).astype(np.uint8))
    return images.permute(0, 3, 1, 2), labels


def deforming(repeats: int) -> list:
    images, labels = make_batch()
    field = patches.displacement(COUNT, SIDE, rng(2018, "elastic"), ALPHA, GAMMA)
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")).astype(np.float32)
    places = grid + field.numpy()
    # A plain reader would hold its patches in this order; for ours, permuting them is part of the work.
    plain_images, plain_labels = np.ascontiguousarray(images.numpy()), labels.numpy()

    def by_scipy():
        # grid-constant takes zeros from outside, as we do; "constant" would also zero what lies less than a voxel out.
        warped = np.empty_like(plain_images)
        moved = np.empty_like(plain_labels)
        for n, place in enumerate(places):
            for c in range(CHANNELS):
                ndimage.map_coordinates(plain_images[n, c], place, warped[n, c], order=1, mode="grid-constant")
            ndimage.map_coordinates(plain_labels[n], place, moved[n], order=0, mode="grid-constant")
        return warped, moved

    def by_ours():
        return patches.warp(images, labels, field)

    scipy = measure.peer("scipy")[1] + " map_coordinates"
    (warped, moved), (expected, expected_labels) = by_ours(), by_scipy()
    difference = float(np.abs(warped.numpy() - expected).max())
    require(difference <= 1e-4, f"images differ from scipy's by {difference:.1e}")
    require(np.array_equal(moved.numpy(), expected_labels), "labels differ from scipy's")
    seconds = measure.in_turn({"ours": by_ours, scipy: by_scipy}, repeats)
    agreement = {scipy: f"labels equal, images |difference| <= {difference:.1e} standard deviations"}
    work = f"deform {COUNT} patches of {CHANNELS} x {SIDE} x {SIDE} and labels by given fields"
    return measure.rows(work, seconds, "ours", agreement, repeats, {scipy: TARGETS["scipy"]})


def drawing(repeats: int) -> list:
    def by_ours():
        return patches.displacement(COUNT, SIDE, rng(2018, "elastic"), ALPHA, GAMMA)

    def by_scipy():
        noise = rng(2018, "elastic").random((COUNT, 2, SIDE, SIDE), dtype=np.float32) * 2 - 1
        return ALPHA * SIDE * ndimage.gaussian_filter(noise, GAMMA * SIDE, mode="constant", axes=(2, 3))

    scipy = measure.peer("scipy")[1] + " gaussian_filter"
    difference = float(np.abs(by_ours().numpy() - by_scipy()).max())
    require(difference <= 1e-4, f"fields differ from scipy's by {difference:.1e} voxels")
    seconds = measure.in_turn({"ours": by_ours, scipy: by_scipy}, repeats)
    agreement = {scipy: f"|difference| <= {difference:.1e} voxels"}
    return measure.rows(f"draw {COUNT} fields of 2 x {SIDE} x {SIDE}", seconds, "ours", agreement, repeats)


def both(repeats: int) -> list:
    work = f"draw fields and deform {COUNT} patches of {CHANNELS} x {SIDE} x {SIDE} and labels"
    images, labels = make_batch()
    contenders = {"ours": lambda: patches.elastic_deform(images, labels, rng(2018, "elastic"), ALPHA, GAMMA)}
    torchio, name = measure.peer("torchio")
    if torchio is None:
        return measure.missing(work, name)
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(measure.threads())
    # Its defaults: seven points span 64 voxels in steps of 16, twice our sigma of 7.7; beyond 8 voxels it warns of
    # folding. One slice cannot move out of its plane.
    deform = torchio.RandomElasticDeformation(num_control_points=7, max_displacement=(7.5, 7.5, 0), locked_borders=0)

    def by_torchio(images, labels):
        return [deform(torchio_subject(torchio, *pair)) for pair in zip(images, labels, strict=True)]

    # It copies what lies behind a tensor: of patches that are views of one batch, the whole batch each time.
    alone = [[patch.clone(memory_format=torch.contiguous_format) for patch in batch] for batch in (images, labels)]
    name += " RandomElasticDeformation"
    contenders[name] = lambda: by_torchio(*alone)
    repeats = min(repeats, 3)  # it takes seconds a batch
    size = displaced(by_torchio)
    own_size = float(patches.displacement(COUNT, SIDE, rng(2018, "elastic"), ALPHA, GAMMA).std())
    require(size > 1, f"TorchIO moved patches by {size:.1f} voxels only")
    agreement = {name: f"other fields: SD {size:.1f} voxels, ours {own_size:.1f}"}
    return measure.rows(work, measure.in_turn(contenders, repeats), "ours", agreement, repeats)


def torchio_subject(torchio, patch, label):
    image = torchio.ScalarImage(tensor=patch[..., None])
    return torchio.Subject(images=image, label=torchio.LabelMap(tensor=label[None, ..., None]))


def displaced(deform) -> float:
    """Measure how far a deformation moves, in voxels: what a ramp reads in the middle of a patch, less what it read."""
    ramp = torch.arange(SIDE, dtype=torch.float32)[:, None].expand(8, CHANNELS, SIDE, SIDE)
    inner = slice(16, 48)
    moved = torch.stack([subject["images"].data[0, inner, inner, 0] for subject in deform(ramp, make_batch()[1][:8])])
    return float((moved - ramp[:, 0, inner, inner]).std())


def require(holds: bool, message: str) -> None:
    if not holds:
        raise RuntimeError(f"not timed, because {message}")


if __name__ == "__main__":
    measure.main(compare)
