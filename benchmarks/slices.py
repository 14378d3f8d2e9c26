"""Whole slices (`predict_slices`) in place of overlapping patches: how much faster, and how far from the exact map.

On scans of the demo's synthetic cohort with the networks that `make demo` trained; without them this subject is left
out. Time is that of one scan with three stochastic passes. DSC and HD are means over scans that the networks have not
seen, without dropout, at a threshold of 0.5 and a smallest lesion of 50 voxels.
"""

import time

import measure
import numpy as np
import pandas as pd

from strokelib import inference, metrics, postprocess, preprocess
from strokelib.inference import Sweep
from strokelib.run import runtime
from strokelib.run.settings import load_settings

SCANS_PER_FOLD = 2
STEP, PASSES = 3, 3
WORK = f"a scan, {PASSES} passes"


def unseen_scans(settings):
    """Yield (network, scan): of each fold the scans with the largest and the median lesion."""
    for fold in range(settings.folds.count):
        folder = settings.results / "rt_sm" / f"fold{fold}"
        network, _ = inference.load_network(folder / "network.safetensors", runtime.choose_device("auto"))
        table = pd.read_csv(folder / "predictions.csv").sort_values("truth_volume_ml")
        for case in table.case.iloc[[-1, len(table) // 2]][:SCANS_PER_FOLD]:
            file = settings.results / "preprocessed" / "TRAINING" / f"case_{case}.npz"
            yield network, preprocess.load_preprocessed(file)


def quality(predict, pairs, exact) -> str:
    """Say mean DSC and HD, and how far the maps lie from the exact ones."""
    rows = []
    for (network, scan), reference in zip(pairs, exact, strict=True):
        found = predict(network, scan)
        masks = postprocess.binarize(found, postprocess.Pair(0.5, 50))
        rows.append(
            (
                metrics.dsc(masks, scan.lesion),
                metrics.hausdorff(masks, scan.lesion, scan.spacing),
                np.abs(found - reference)[scan.mask].mean(),
            )
        )
    dsc, hd, far = np.mean(rows, axis=0)
    return f"{len(rows)} scans: DSC {dsc:.4f}, HD {hd:.1f} mm, mean |difference| {far:.4f}"


def counted(predict, network, scan) -> tuple:
    """Predict a scan; return the map and how many voxels went through the network for it."""
    sizes = []
    hook = network.enter.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0][:, 0].numel()))
    try:
        return predict(network, scan), sum(sizes)
    finally:
        hook.remove()


def compare(repeats: int) -> list:
    settings = load_settings("demo")
    try:
        pairs = list(unseen_scans(settings))
    except FileNotFoundError:
        return measure.missing(WORK, "slices against patches: run make demo first")

    def whole(shifts, passes=1):
        return lambda network, scan: inference.predict_slices(
            [network], scan.images, scan.mask, Sweep(passes=passes), np.random.default_rng(0), shifts=shifts
        )

    def patchwise(step, passes=1):
        return lambda network, scan: inference.predict(
            [network], scan.images, scan.mask, Sweep(step, passes), np.random.default_rng(0)
        ).probability

    def timed(predict):
        return lambda: predict(*pairs[0])

    first, passed = counted(patchwise(STEP), *pairs[0])
    exact = [first, *(patchwise(STEP)(*pair) for pair in pairs[1:])]
    fewer = passed / counted(whole(1), *pairs[0])[1]
    exact_name = f"patches, step {STEP} (exact)"
    contenders = {f"slices, {shifts} shifts" if shifts > 1 else "slices": timed(whole(shifts, PASSES))
                  for shifts in (1, 2, 4)}
    contenders |= {f"patches, step {step}": timed(patchwise(step, PASSES)) for step in (20, 48)}
    known = iter(exact)
    agreement = {exact_name: quality(lambda *_: next(known), pairs, exact)}
    ways = [whole(1), whole(2), whole(4), patchwise(20), patchwise(48)]
    agreement |= {name: quality(way, pairs, exact) for name, way in zip(contenders, ways, strict=True)}
    agreement["slices"] += f"; {fewer:.0f} times fewer voxels through the network, which bounds the ratio"
    seconds = measure.in_turn(contenders, repeats)
    began = time.perf_counter()  # minutes, so once, and warm by now
    timed(patchwise(STEP, PASSES))()
    seconds[exact_name] = time.perf_counter() - began
    return measure.rows(WORK, seconds, "slices", agreement, repeats, {exact_name: 300})


if __name__ == "__main__":
    measure.main(compare)
