"""Training with sampling on 94 scans of the real sizes: patches a second, folds side by side, and peak memory.

Each fold is a process of its own that holds all scans as notebook 05 does, as preprocessed scans and as the resident
tensor, and takes steps of 64 patches with elastic deformation of the repeats. On the CPU two folds at once with a
thread each stand against one fold with two threads; on a GPU one, two and four folds share it, in float32 and in the
faster settings, and an exact scan with three passes is timed. Values are random, sizes those of ISLES 2018
(`data/isles18_cases.csv`). There is no peer; the bounds are 12 GB of memory and, on a GPU, 8 GB of its own.
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

from strokelib import inference, patches, preprocess, training
from strokelib.run import runtime
from strokelib.run.runtime import ROOT
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS

WARM, STEPS = 3, {"cpu": 20, "cuda": 400}


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
    """Take the steps of one fold, after all others are ready, too; answer with seconds and peaks."""
    runtime.prepare_torch(threads, compute.precision)
    settings, device = load_settings("phantom"), runtime.choose_device("auto")
    cohort = scans()
    stack = preprocess.resident(cohort, True, device.type, 32, compute.resident)
    listed = patches.sample_set(cohort, range(len(cohort)), stack.first_slice, stack.pad, 4000, 64, 0, 0)
    job = training.Job(
        "network", None, 0, 0, VARIANTS["rt_sm"], settings.training, compute, (2.5, 0.12), ""
    )
    torch.manual_seed(0)
    network = training.Network(10).to(device, memory_format=torch.channels_last)
    optimizer, forward = training.make_optimizer(network, job.training), training.forward_pass(network, job)
    order = runtime.rng(0, "order").permutation(len(listed))
    batches = training.batches(stack, listed, order, 64, job.variant, runtime.rng(0, "elastic"), job.elastic)

    def take(steps):
        for images, labels in itertools.islice(batches, steps):
            optimizer.zero_grad(set_to_none=True)
            forward(images, labels)[0].backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    take(WARM)
    start.wait()
    began = time.perf_counter()
    take(STEPS[device.type])
    seconds = time.perf_counter() - began
    case = cohort[0]
    inference.predict_case([network], case.images, case.mask, 16, 3, generator=np.random.default_rng(0))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kB on Linux
    of_gpu = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
    answers.put((seconds, memory, of_gpu, stack.images.nbytes / 2**30, len(listed)))


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
    seconds, memory, of_gpu, tensor, _ = found.max(axis=0)
    steps = STEPS["cuda" if of_gpu else "cpu"]
    rate = at_once * steps * 64 / seconds
    told = f"{rate:,.0f} patches/s; each peak {memory:.1f} GiB (bound 12 GB), tensor {tensor:.2f} GiB"
    return 1e6 / rate, told + (f", GPU {of_gpu:.1f} GiB (bound 8 GB)" if of_gpu else "")


def compare(repeats: int) -> list:
    exact = load_settings("phantom").compute
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        ways = {f"{n} folds on the GPU" if n > 1 else "one fold": (n, 1, exact) for n in (1, 2, 4)}
        for change in ({"precision": "tf32"}, {"precision": "bf16"}, {"compile": True}):
            name = "one fold, " + ", ".join(f"{key} {value}" for key, value in change.items())
            ways[name] = (1, 1, dataclasses.replace(exact, **change))
    else:
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
    found = measure.rows(title, seconds, "one fold", agreement, 1)
    return found + (exact_scan() if on_gpu else [])


def exact_scan() -> list:
    """Time one whole scan of 8 slices at step 3 with three passes on the GPU."""
    torch.manual_seed(0)
    network = training.Network(10).eval().to("cuda", memory_format=torch.channels_last)
    case = next(case for case in scans() if case.mask.shape[2] == 8)

    def predict():
        return inference.predict_case([network], case.images, case.mask, 3, 3, generator=np.random.default_rng(0))

    seconds = measure.in_turn({"ours": predict}, 3)
    return measure.rows("exact scan of 8 slices, step 3, 3 passes", seconds, "ours", {"ours": "target 1 s"}, 3)


if __name__ == "__main__":
    measure.main(compare)
