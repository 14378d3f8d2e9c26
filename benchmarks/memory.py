"""Peak memory of training on 94 scans of the real sizes, and of predicting one.

The scans are held twice, as notebook 05 holds them: as preprocessed scans and as the resident tensor. Values are
random, sizes those of ISLES 2018 (`data/isles18_cases.csv`). There is no peer; the bounds are 12 GB of memory and, on a
GPU, 8 GB of its own.
"""

import resource
import time

import measure
import numpy as np
import pandas as pd
import torch

from strokelib import config, inference, patches, preprocess, training
from strokelib.config import ROOT

STEPS = 8


def scans() -> list:
    """Make 94 preprocessed scans of 256 x 256 voxels with as many slices as the real ones."""
    facts = pd.read_csv(ROOT / "data" / "isles18_cases.csv").query("split == 'train'")
    generator = np.random.default_rng(0)
    x, y = np.mgrid[:256, :256]
    brain = ((x - 127) / 80) ** 2 + ((y - 127) / 93) ** 2 < 1
    lesion = brain & (((x - 80) / 20) ** 2 + ((y - 110) / 30) ** 2 < 1)
    found = []
    for number, slices in enumerate(facts.slices, start=1):
        mask, truth = (np.repeat(m[..., None], slices, axis=2) for m in (brain, lesion))
        images = generator.standard_normal((10, *mask.shape), dtype=np.float32) * mask
        spacing, matrix = np.array([0.86, 0.86, 6.0]), np.eye(3)
        found.append(preprocess.Preprocessed(images, mask, truth, spacing, number, f"p{number}", matrix, 0.9, 0.8))
    return found


def compare(repeats: int) -> list:
    settings, device = config.load_settings("phantom"), config.choose_device("auto")
    cohort = scans()
    stack = preprocess.resident(cohort, True, device.type, 32, settings.compute.resident)
    slices = stack.images.shape[0]
    listed = patches.sample_set(cohort, range(len(cohort)), stack.first_slice, stack.pad, 4000, 64, 0, 0)
    job = training.Job(
        "network", None, 0, 0, config.variant("rt_sm"), settings.training, settings.compute, (2.5, 0.12), ""
    )
    torch.manual_seed(0)
    network = training.Network(10).to(device, memory_format=torch.channels_last)
    optimizer, forward = training.make_optimizer(network, job.training), training.forward_pass(network, job)
    order = config.rng(0, "order").permutation(len(listed))
    began = time.perf_counter()
    batches = training.batches(stack, listed, order, 64, job.variant, config.rng(0, "elastic"), job.elastic)
    for _, (images, labels) in zip(range(STEPS), batches, strict=False):
        forward(images, labels)[0].backward()
        optimizer.step()
    seconds = (time.perf_counter() - began) / STEPS
    case = cohort[0]
    inference.predict_case([network], case.images, case.mask, 16, 3, generator=np.random.default_rng(0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux
    told = f"peak {peak:.1f} GiB of memory (bound: 12 GB), tensor of {stack.images.nbytes / 2**30:.2f} GiB"
    if device.type == "cuda":
        told += f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the GPU (bound: 8 GB)"
    work = f"training step with sampling, {len(cohort)} scans of {slices} slices, {len(listed)} patches"
    return measure.rows(work, {"ours": seconds}, "ours", {"ours": told}, STEPS)


if __name__ == "__main__":
    measure.main(compare)
