"""Training with sampling on 94 scans of the real sizes: patches a second, folds side by side, and peak memory.

Each fold is a process of its own that holds all scans as notebook 05 does, as preprocessed scans and as the resident
tensor, and takes steps of 64 patches with elastic deformation of the repeats. Two folds at once with a thread each
stand against one fold with two threads. Values are random, sizes those of ISLES 2018 (`data/isles18_cases.csv`). There
is no peer; the bound is 12 GB of memory. What a GPU does, `tools/gpu_day.py` measures.
"""

import dataclasses
import itertools
import multiprocessing
import resource
import time

import measure
import numpy as np
import pandas as pd
import torch

from strokelib import crossvalidation, inference, preprocess, steps
from strokelib.network import Network
from strokelib.run import runtime
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS

WARM, STEPS = 3, 20


def scans() -> list:
    """Make preprocessed scans of 256 x 256 voxels with as many slices as the real ones have."""
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


def work(threads: int, compute, start, answers) -> None:
    """Take the steps of one fold, after all others are ready, too; answer with seconds and peak memory."""
    runtime.prepare_torch(threads, compute.precision)
    settings = load_settings("phantom")
    cohort, row = scans(), VARIANTS["rt_sm"]
    stack = preprocess.resident(cohort, True, "cpu", 32, compute.resident)
    sampling = dataclasses.replace(settings.sampling, patches_per_case=4000)
    settings, every = dataclasses.replace(settings, seed=0, sampling=sampling), np.arange(len(cohort))
    fold = crossvalidation.Fold(0, cohort, train=every, stop=every, evaluate=every)
    listed = crossvalidation.patch_set(fold, every, stack, row, settings)
    recipe = steps.Recipe(0, 0, row, settings.training, compute, (2.5, 0.12))
    torch.manual_seed(0)
    network = Network(len(stack.inputs)).to(memory_format=torch.channels_last)
    optimizer = steps.make_optimizer(network.parameters(), settings.training)
    order = runtime.rng(0, "order").permutation(len(listed))
    taken = steps.eager_steps(network, optimizer, recipe, stack, listed)(order, 1)
    for _ in itertools.islice(taken, WARM):
        pass
    start.wait()
    began = time.perf_counter()
    for _ in itertools.islice(taken, STEPS):
        pass
    seconds = time.perf_counter() - began
    case = cohort[0]
    inference.predict([network], case.images, case.mask, inference.Sweep(16, 3), np.random.default_rng(0))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux
    answers.put((seconds, memory, stack.images.nbytes / 2**30))


def folds(at_once: int, threads: int, compute) -> tuple[float, str]:
    """Run folds side by side; return the seconds for a million patches, and what else there is to say."""
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(at_once), context.Queue()
    children = [context.Process(target=work, args=(threads, compute, start, answers)) for _ in range(at_once)]
    for child in children:
        child.start()
    found = np.array([answers.get(timeout=900) for _ in children])
    for child in children:
        child.join()
    seconds, memory, tensor = found.max(axis=0)
    rate = at_once * STEPS * 64 / seconds
    return 1e6 / rate, f"{rate:,.0f} patches/s; each peak {memory:.1f} GiB (bound 12 GB), tensor {tensor:.2f} GiB"


def compare(repeats: int) -> list:
    exact = dataclasses.replace(load_settings("phantom").compute, precision="float32", compile=False)
    ways = {
        "one fold": (1, 1, exact),
        "one fold, 2 threads": (1, 2, exact),
        "two folds, 1 thread each": (2, 1, exact),
        "one fold, resident as float16": (1, 1, dataclasses.replace(exact, resident="float16")),
    }
    seconds, agreement = {}, {}
    for name, how in ways.items():
        seconds[name], agreement[name] = folds(*how)
    title = "training with sampling, 94 scans, a million patches of 10 x 64 x 64"
    return measure.rows(title, seconds, "one fold", agreement, 1)


if __name__ == "__main__":
    measure.main(compare)
