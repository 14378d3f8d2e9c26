"""What the faster settings of `[compute]` cost in DSC: one fold of the demo trained in each of them.

Needs the preprocessed scans of `make demo`; without them this subject is left out. Every training starts from the same
weights and sees the same patches in the same order. bf16 is tried where the hardware multiplies it, TF32 on CUDA only.
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
from strokelib.run import runtime
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS

WORK = "training rt_sm, fold 0 of the demo, and predicting its scans"


def train(settings, scans, folder: Path) -> tuple[float, float]:
    """Train as notebook 05 does; return seconds and the mean DSC of the evaluated scans at a threshold of 0.5."""
    device, row = runtime.choose_device("auto"), VARIANTS["rt_sm"]
    runtime.prepare_torch(measure.threads(), settings.compute.precision)
    fold = crossvalidation.split(scans, 0, settings)
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
    return seconds, float(np.mean(values))


def compare(repeats: int) -> list:
    settings = load_settings("demo")
    try:
        facts = pd.read_csv(settings.results / "registration.csv").query("split == 'TRAINING'")
    except FileNotFoundError:
        return measure.missing(WORK, "precision: run make demo first")
    folder = settings.results / "preprocessed" / "TRAINING"
    scans = [preprocess.load_preprocessed(folder / f"case_{case}.npz") for case in facts.case]
    changes = {"float32": {}, "scans as float16": {"resident": "float16"}}
    if torch.cuda.is_available():
        changes |= {"tf32": {"precision": "tf32"}, "compiled": {"compile": True}}
    if torch.cuda.is_available() or torch.cpu.get_capabilities().get("avx512_bf16"):
        changes["bf16"] = {"precision": "bf16"}
    seconds, agreement = {}, {}
    for name, change in changes.items():
        compute = dataclasses.replace(settings.compute, portable=False, **change)
        with tempfile.TemporaryDirectory() as temporary:
            changed = dataclasses.replace(settings, compute=compute)
            seconds[name], dsc = train(changed, scans, Path(temporary))
        agreement[name] = f"mean DSC {dsc:.4f}"
    return measure.rows(WORK, seconds, "float32", agreement, 1)


if __name__ == "__main__":
    measure.main(compare)
