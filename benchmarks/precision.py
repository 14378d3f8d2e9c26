"""What the faster settings of `[compute]` cost in DSC: all folds of the demo trained in each of them, by two seeds.

Needs the preprocessed scans of `make demo`; without them this subject is left out. Every training of a fold and seed
starts from the same weights and sees the same patches in the same order. Rounding alone moves the DSC of a network by
points, so means over folds and seeds are compared: they must lie within EQUAL of float32's, kernel by kernel. Compiled
steps are tried where there is a compiler, bf16 where the hardware multiplies it, TF32 on CUDA only.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import measure
import numpy as np
import pandas as pd
import torch

from strokelib import crossvalidation, inference, metrics, preprocess, training
from strokelib.hardware import can_compile, multiplies_bf16
from strokelib.run import runtime
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS

WORK = "training rt_sm, the folds of the demo by two seeds, and predicting their scans"
EQUAL = 0.02  # DSC


def train(settings, scans, number: int, folder: Path) -> tuple[float, list[float]]:
    """Train a fold as notebook 05 does; return seconds and the DSC of the evaluated scans at a threshold of 0.5."""
    device, row = runtime.choose_device("auto"), VARIANTS["rt_sm"]
    runtime.prepare_torch(measure.threads(), settings.compute.precision)
    fold = crossvalidation.split(scans, number, settings)
    stack = crossvalidation.resident(scans, row, settings, device.type)
    sets = crossvalidation.sets(fold, stack, row, settings)
    (job,) = crossvalidation.jobs(fold, row, settings, folder, [])
    began = time.perf_counter()
    training.train_fold(job, stack, dataclasses.replace(sets, evaluated=[]), device)
    seconds = time.perf_counter() - began
    network, _ = inference.load_network(job.network_file, device)
    how, values = inference.sweep(row, settings.prediction), []
    for scan in fold.evaluated:
        found = inference.predict([network], scan.inputs(row.mirrored), scan.mask, how)
        values.append(metrics.dsc(found.probability > 0.5, scan.lesion))
    return seconds, values


def compare(repeats: int) -> list:
    settings = load_settings("demo")
    try:
        facts = pd.read_csv(settings.results / "registration.csv").query("split == 'TRAINING'")
    except FileNotFoundError:
        return measure.missing(WORK, "precision: run make demo first")
    folder = settings.results / "preprocessed" / "TRAINING"
    scans = [preprocess.load_preprocessed(folder / f"case_{case}.npz") for case in facts.case]
    exact = {"precision": "float32", "compile": False, "resident": "float32", "portable": False}
    ways = {"kernel by kernel": {}, "scans as float16": {"resident": "float16"}}
    on_gpu = torch.cuda.is_available()
    if can_compile("cuda" if on_gpu else "cpu"):
        ways["compiled"] = {"compile": True}
    if on_gpu:
        ways["tf32"] = {"precision": "tf32"}
    if on_gpu or multiplies_bf16():
        ways["compiled, bf16"] = {"precision": "bf16", "compile": True}
    seconds, agreement, reference = {}, {}, None
    for name, change in ways.items():
        compute, spent, values = dataclasses.replace(settings.compute, **exact | change), [], []
        for seed in (settings.seed, settings.seed + 1):
            changed = dataclasses.replace(settings, compute=compute, seed=seed)
            for fold in range(settings.folds.count):
                with tempfile.TemporaryDirectory() as temporary:
                    took, dsc = train(changed, scans, fold, Path(temporary))
                spent.append(took)
                values += dsc
        seconds[name], mean = float(np.median(spent)), float(np.mean(values))
        reference = mean if reference is None else reference
        if abs(mean - reference) > EQUAL:
            raise SystemExit(f"{name}: the mean DSC is {mean:.4f}, kernel by kernel {reference:.4f}")
        agreement[name] = f"mean DSC {mean:.4f}"
    return measure.rows(WORK, seconds, "kernel by kernel", agreement, len(spent))


if __name__ == "__main__":
    measure.main(compare)
