"""A day on a GPU, in pieces of minutes: is it right, how fast is it, what would the paper's numbers take?

    python tools/gpu_day.py check speed dsc plan --out FOLDER

check   one training step against float64 on the CPU, folds side by side against each alone, a fold of the demo
        against the CPU
speed   the ladder: kernel by kernel, recorded, compiled; float32, TF32, bf16; one to five folds at once
dsc     the mean DSC of all folds after the same updates in each precision, over seeds
plan    an epoch of five folds by the paper's numbers, exact predictions, and what Table 1 takes by them
phantom the study of the settings file, from scans to Table 1, as far as `--seconds` reach; the next call goes on
chapters  the same, with the notebooks that a run makes only when asked for: other seeds, RT apart, leakage ...,
        or those that `--only` names
pack    what is worth keeping of it into a few files in FOLDER; `unpack` puts them back on another machine

Needs neither papermill nor snakemake, and no installation. `--settings tests/tiny.toml --tiny` runs the same code in
minutes on a CPU. Each part writes its table as soon as it is done; a bound that is missed is said in the table and by
the exit status. Notebooks 13 and 16, which need no GPU, are left to tools/run.py.
"""

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ahead  # noqa: F401, this copy of the project first
import gpu_pieces
import numpy as np
import pandas as pd
import torch

from strokelib import crossvalidation, inference, losses, metrics, patches, preprocess, steps, training
from strokelib.cases import Case
from strokelib.modalities import ISLES
from strokelib.network import Network
from strokelib.phantom.scan import make_case, plan_cohort
from strokelib.run.paths import place_environment
from strokelib.run.runtime import choose_device, prepare_torch, rng
from strokelib.run.settings import load_settings
from strokelib.run.variants import ASKED, VARIANTS

ROW = "rt_sm"  # the row of Table 1 that everything is measured on
# How far a gradient may lie from that of float64, as a share of its length.
FARTHEST = {"float32": 2e-3, "tf32": 2e-2, "bf16": 1e-1}
FARTHEST_LOSS = 0.03  # between a fold alone and beside others, mean of the first steps; sums in another order grow
FARTHEST_DSC = 0.06  # between devices, a fold of the demo: minutes of training, which rounding alone moves by points
EQUAL_DSC = 0.02  # between precisions, mean over folds and seeds
EPOCHS = 20  # of each network, for which the minutes of Table 1 are told
MEASURED, PIECES = ("check", "speed", "dsc", "plan"), ("unpack", "phantom", "chapters", "pack")
CAN_COMPILE = steps.can_compile  # before a way that is not to be compiled says no


@dataclass(frozen=True)
class Amount:
    """How much of everything."""

    steps: int = 200  # timed
    updates: int = 1500  # of a network whose DSC is taken
    seeds: tuple[int, ...] = (2018, 2019)
    at_once: tuple[int, ...] = (1, 2, 4, 5)
    demo: str = "demo"  # settings of the fold that is trained on both devices


@dataclass(frozen=True)
class Way:
    """One way to take a step."""

    precision: str
    recorded: bool
    compiled: bool

    @property
    def name(self) -> str:
        how = "recorded, compiled" if self.compiled else "recorded" if self.recorded else "kernel by kernel"
        return f"{self.precision}, {how}"


def ways(device, compiled=()) -> list[Way]:
    """List what to measure, the fastest last; on a CPU, where the rehearsal runs, what it can do of it."""
    precisions = ("float32", "tf32") if device.type == "cpu" else FARTHEST
    able = [Way(precision, True, True) for precision in compiled if device.type != "cpu" and CAN_COMPILE(device)]
    return [Way("float32", False, False), *(Way(precision, True, False) for precision in precisions), *able]


def make_scan(settings, number: int) -> preprocess.Preprocessed:
    """Make a training scan of the synthetic cohort in memory and preprocess it."""
    torch.set_num_threads(1)
    made = make_case(settings.cohort, "TRAINING", number)
    plan = [p for p in plan_cohort(settings.cohort) if p.split == "TRAINING"][number - 1]
    images = [made.images["CT" if name == "CT" else f"CT_{name}"] for name in ISLES]
    case = Case(np.stack(images).astype(np.float32), made.images["OT"] > 0, np.array(made.spacing), number, plan.name)
    return preprocess.preprocess_case(case, settings.preprocess.registration, "cpu")


def make_scans(settings) -> list[preprocess.Preprocessed]:
    """Make all training scans, on all cores."""
    count = sum(plan.split == "TRAINING" for plan in plan_cohort(settings.cohort))
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(make_scan, [settings] * count, range(1, count + 1)))


@dataclass(frozen=True, eq=False)
class Bench:
    """What every measurement trains on: one stack on the device, and each fold with its lists of patches."""

    settings: object
    stack: object
    folds: list
    device: torch.device
    ways: list[Way]


def lay_out(settings, scans, device, every: list[Way]) -> Bench:
    row = VARIANTS[ROW]
    stack = crossvalidation.resident(scans, row, settings, device.type)
    folds = []
    for number in range(settings.folds.count):
        fold = crossvalidation.split(scans, number, settings)
        folds.append((fold, crossvalidation.sets(fold, stack, row, settings)))
    return Bench(settings, stack, folds, device, every)


def by_way(settings, way: Way):
    """Prepare this process for steps taken in one of the ways; return the settings that ask for it."""
    prepare_torch(settings.threads, way.precision)
    steps.can_compile = lambda device: way.compiled
    how = dataclasses.replace(settings.compute, precision=way.precision, compile=way.recorded, portable=False)
    return dataclasses.replace(settings, compute=how)


def trained_for(bench: Bench, steps_an_epoch: int, epochs: int = 1):
    """Return settings in which a network is validated so many times, after so many steps; 0: after all its patches."""
    settings = bench.settings
    a_pass = min(len(sets.training) for _, sets in bench.folds) // settings.training.batch_size
    most = max(2, epochs * (steps_an_epoch or a_pass))  # the least that settings allow
    how = dataclasses.replace(
        settings.training, max_updates=most, patience=epochs, validate_every=steps_an_epoch, snapshots=()
    )
    return dataclasses.replace(settings, training=how)


def start(bench: Bench, settings, numbers, way: Way, folder: Path, evaluate: bool = False) -> list[tuple]:
    """Begin the trainings of some folds in one of the ways; return (job, training) of each.

    `settings` are those of the bench, or with another seed or another training.
    """
    settings = by_way(settings, way)
    found = []
    for number in numbers:
        fold, sets = bench.folds[number]
        (job,) = crossvalidation.jobs(fold, VARIANTS[ROW], settings, folder / f"fold{number}", [])
        sets = sets if evaluate else dataclasses.replace(sets, evaluated=[])
        found.append((job, training.training_steps(job, bench.stack, sets, bench.device)))
    return found


def wait(device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def finish(trainings, device) -> list[pd.DataFrame]:
    """Train to the end; return the history of each."""
    for _ in training.train_in_turn([run for _, run in trainings], device):
        pass
    return [training.read_history(job.network_file) for job, _ in trainings]


# ---- check


def gradient_errors(bench: Bench) -> list[dict]:
    """Compare loss and gradient of one step with those of float64 on the CPU, kernel by kernel and recorded."""
    fold, sets = bench.folds[0]
    listed = sets.training
    settings, row = bench.settings, VARIANTS[ROW]
    torch.manual_seed(0)
    network = Network(bench.stack.images.shape[-1]).to(memory_format=torch.channels_last).train()
    corners = listed.starts[rng(0, "check").permutation(len(listed))[: settings.training.batch_size]]
    cut = [patches.gather(part.cpu(), corners, row.patch_size) for part in (bench.stack.images, bench.stack.labels)]
    kept = network.draw_kept(len(corners), torch.Generator().manual_seed(0))
    flat = steps.flatten(network)
    exact = Network(network.in_channels).double().train()
    exact.load_state_dict(network.state_dict())
    masks = [k if k is None else k.double() for k in kept]
    loss = losses.training_loss(exact(cut[0].double(), kept=masks), cut[1], row.loss, settings.training.gdl_weights)
    loss.backward()
    named = dict(exact.named_parameters())
    truth = torch.cat([steps.as_line(named[name].grad) for name in flat.names])
    rows = []
    for way in bench.ways:
        (job,) = crossvalidation.jobs(fold, row, by_way(settings, way), None, [])
        there = Network(network.in_channels).to(bench.device, memory_format=torch.channels_last).train()
        there.load_state_dict(network.state_dict())
        own = steps.flatten(there)
        masks = [k if k is None else k.to(bench.device) for k in kept]
        if way.recorded:
            place = torch.from_numpy(corners.astype(np.int32)).to(bench.device)
            rows_bent = min(len(corners), steps.ROWS_AT_ONCE)  # none of which is: the shapes are those of training
            bend = torch.zeros(len(corners), dtype=torch.bool, device=bench.device)
            field = torch.zeros((rows_bent, 2, row.patch_size, row.patch_size), device=bench.device)
            got = steps.recorded_loss(there, own, job.recipe, bench.stack)((place, bend, field, None), masks)[0]
            got.backward()
            named = steps.views(own, [own.values.grad])
        else:
            got = steps.forward_pass(there, job.recipe)(*(part.to(bench.device) for part in cut), masks)[0]
            got.backward()
            named = {name: parameter.grad for name, parameter in there.named_parameters()}
        found = torch.cat([steps.as_line(named[name]) for name in own.names])
        far = float((found.cpu().double() - truth).norm() / truth.norm())
        bound = FARTHEST[way.precision]
        rows.append(checked("gradient of one step, " + way.name, far, bound))
        rows.append(checked("loss of one step, " + way.name, abs(got.item() / loss.item() - 1), bound))
        print(rows[-2], rows[-1], flush=True)
    return rows


def checked(what: str, found: float, bound: float) -> dict:
    return {"check": what, "found": found, "bound": bound, "passed": bool(found <= bound)}


def side_by_side(bench: Bench, amount: Amount) -> list[dict]:
    """Compare the loss of the first steps of each fold, trained alone and beside the others."""
    way, numbers, rows = bench.ways[-1], range(len(bench.folds)), []
    once = trained_for(bench, amount.steps // 2)
    with tempfile.TemporaryDirectory() as folder:
        together = finish(start(bench, once, numbers, way, Path(folder) / "together"), bench.device)
        for number, beside in zip(numbers, together, strict=True):
            (alone,) = finish(start(bench, once, [number], way, Path(folder) / "alone"), bench.device)
            far = abs(float(beside.loss[0] / alone.loss[0]) - 1)
            rows.append(checked(f"loss of fold {number} beside others, {way.name}", far, FARTHEST_LOSS))
    return rows


def demo_fold(amount: Amount, fastest: Way, device) -> list[dict]:
    """Train fold 0 of the demo on the CPU and on the device; compare the DSC."""
    settings, plainly = load_settings(amount.demo), Way("float32", False, False)
    scans, found = make_scans(settings), {}
    threads = settings.threads if device.type == "cpu" else os.cpu_count() // 2
    settings = dataclasses.replace(by_way(settings, plainly), threads=threads)  # which portable bits forbid
    for place, way in ((torch.device("cpu"), plainly), (device, fastest)):
        bench = lay_out(settings, scans, place, [way])
        with tempfile.TemporaryDirectory() as folder:
            trainings = start(bench, bench.settings, [0], way, Path(folder))
            finish(trainings, place)
            found[place.type, way.name] = dsc_of(bench, trainings)[0]
    (_, reference), (name, value) = list(found.items())
    told = f"DSC of a fold of the demo, CPU {reference:.3f}, {' '.join(name)} {value:.3f}: difference"
    return [checked(told, abs(value - reference), FARTHEST_DSC)]


def dsc_of(bench: Bench, trainings) -> list[float]:
    """Return the mean DSC at 0.5 of each fold's evaluated scans, in whole slices."""
    values = []
    for job, _ in trainings:
        network, _ = inference.load_network(job.network_file, bench.device)
        scans = bench.folds[job.recipe.fold][0].evaluated
        maps = (inference.predict_slices([network], scan.images, scan.mask) for scan in scans)
        values.append(np.mean([metrics.dsc(p > 0.5, scan.lesion) for p, scan in zip(maps, scans, strict=True)]))
    return values


def check(bench: Bench, amount: Amount) -> pd.DataFrame:
    return pd.DataFrame(
        gradient_errors(bench) + side_by_side(bench, amount) + demo_fold(amount, bench.ways[-1], bench.device)
    )


# ---- speed


def speed(bench: Bench, amount: Amount) -> pd.DataFrame:
    """Measure the ladder: every way with one fold and with most, the fastest with some in between."""
    rows = []
    for way in bench.ways:
        for at_once in sorted({min(n, len(bench.folds)) for n in amount.at_once}):
            if at_once > 1 and not way.recorded:
                continue
            if at_once in (1, max(amount.at_once)) or way == bench.ways[-1]:
                rows.append({"way": way.name, "folds": at_once} | rate(bench, way, at_once, amount))
                print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def dsc(bench: Bench, amount: Amount) -> pd.DataFrame:
    """Train all folds in each precision, in its fastest way, for the same updates and seeds; compare the mean DSC."""
    rows, thrice = [], trained_for(bench, amount.updates // 3, 3)
    fastest = {way.precision: way for way in bench.ways}
    for seed in amount.seeds:
        settings = dataclasses.replace(thrice, seed=seed)
        for precision, way in fastest.items():
            with tempfile.TemporaryDirectory() as folder:
                trainings = start(bench, settings, range(len(bench.folds)), way, Path(folder))
                finish(trainings, bench.device)
                mean = np.mean(dsc_of(bench, trainings))
            rows.append({"precision": precision, "way": way.name, "seed": seed, "updates": amount.updates, "dsc": mean})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    means = table.groupby("precision").dsc.mean()
    return table.assign(from_float32=table.precision.map(means - means["float32"]))


def rate(bench: Bench, way: Way, at_once: int, amount: Amount) -> dict:
    """Time steps of some folds in turn, after as many to warm up; return patches a second and what goes with it."""
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    warm, size = min(20, amount.steps), bench.settings.training.batch_size
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainings = start(bench, trained_for(bench, 0, 100), range(at_once), way, Path(folder))
        turns = training.train_in_turn([run for _, run in trainings], bench.device)
        next(turns)
        wait(bench.device)
        first = time.perf_counter() - began
        for _ in range(warm * at_once - 1):
            next(turns)
        wait(bench.device)
        began = time.perf_counter()
        for _ in range(amount.steps * at_once):
            next(turns)
        wait(bench.device)
        seconds = time.perf_counter() - began
        for _, run in trainings:
            run.close()
    peak = torch.cuda.max_memory_allocated() / 2**30 if bench.device.type == "cuda" else np.nan
    return {
        "patches_per_s": amount.steps * at_once * size / seconds,
        "ms_per_step": 1000 * seconds / amount.steps / at_once,
        "first_step_s": first,
        "gpu_gib": peak,
    }


# ---- plan


def plan(bench: Bench, amount: Amount, whole_epoch: bool) -> pd.DataFrame:
    """Measure an epoch of all folds and exact predictions; tell what Table 1 takes by them."""
    way, settings, device = bench.ways[-1], bench.settings, bench.device
    twice = trained_for(bench, 0 if whole_epoch else amount.steps, 2)
    with tempfile.TemporaryDirectory() as folder:
        trainings = start(bench, twice, range(len(bench.folds)), way, Path(folder), evaluate=True)
        began = time.perf_counter()
        for done, total in training.train_in_turn([run for _, run in trainings], device):
            if done == int(0.51 * total):  # all folds are in their second epoch; kernels were chosen in the first
                wait(device)
                second, left = time.perf_counter(), total - done
        wait(device)
        both_s, epoch_s = time.perf_counter() - began, (time.perf_counter() - second) * total / 2 / left
        network, _ = inference.load_network(trainings[0][0].network_file, device)
    prepare_torch(settings.threads, "float32")
    scan = sorted(bench.folds[0][0].scans, key=lambda scan: abs(scan.mask.shape[2] - 8))[0]
    windows = len(patches.patch_grid(scan.mask, settings.prediction.step, VARIANTS[ROW].patch_size))
    first = f"seconds of the first epoch, {len(bench.folds)} folds, {total // 2} steps"
    rows = [
        {"measured": first, "value": both_s - epoch_s},
        {"measured": "seconds of the second epoch, with validation", "value": epoch_s},
    ]
    each, how = {}, inference.sweep(VARIANTS[ROW], settings.prediction)
    for passes in (1, settings.prediction.passes):
        for _ in range(2):
            wait(device)
            began = time.perf_counter()
            generator = np.random.default_rng(0)
            inference.predict([network], scan.images, scan.mask, dataclasses.replace(how, passes=passes), generator)
            each[passes] = time.perf_counter() - began
        told = f"seconds of an exact scan of {scan.mask.shape[2]} slices, {windows} windows, passes {passes}, float32"
        rows.append({"measured": told, "value": each[passes]})
    cohort = sum(scan.mask.shape[2] for scan in bench.folds[0][0].scans) / scan.mask.shape[2]  # in scans of that size
    total = minutes_of_table1((both_s - epoch_s, epoch_s), [*each.values()], cohort, len(bench.folds))
    rows.append({"measured": f"minutes of Table 1 at {EPOCHS} epochs, extrapolated", "value": total})
    return pd.DataFrame(rows)


def minutes_of_table1(epochs_s, scan_s, scans: float, folds: int) -> float:
    """Reckon what Table 1 takes at EPOCHS epochs, all folds together, from what `plan` measures.

    Parameters
    ----------
    epochs_s : seconds of the first epoch of all folds, with lists of patches and compilation, and of a later one
    scan_s : seconds of an exact prediction of a scan in one pass, and in all passes
    scans : of that size, as many as the cohort comes to
    """
    first, later = epochs_s
    once, filtered = scan_s
    trained = 4 * (max(first - later, 0) + EPOCHS * later)  # baseline's two, rt, rt_sm, all at the speed of rt_sm
    seen = folds * scans * once  # what the first networks of the cascades see
    return (trained + seen + scans * (4 * once + filtered)) / 60


# ---- the day


def facts(device) -> dict:
    """Say what the numbers come from; versions other than the lock's are told, not refused."""
    names = ("torch", "triton", "numpy", "scipy", "pandas", "nibabel", "safetensors")
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else "none"
    return {"gpu": gpu, "cores": os.cpu_count(), "python": platform.python_version(), "versions": found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=(*MEASURED, *PIECES))
    parser.add_argument("--settings", default="phantom", help="settings of the cohort (phantom)")
    parser.add_argument("--out", default="results/gpu_day", help="folder of the tables (results/gpu_day)")
    parser.add_argument("--tiny", action="store_true", help="a few steps of everything, for a rehearsal")
    parser.add_argument("--compiled", default="float32,tf32,bf16", help="precisions, fastest last (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1e9, help="that phantom or chapters may take, about (no end)")
    parser.add_argument("--only", nargs="+", choices=list(ASKED), metavar="NOTEBOOK", help="of `chapters` (all)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (auto)")
    asked = parser.parse_args()
    compiled = asked.compiled.split(",")
    if unknown := [precision for precision in compiled if precision not in FARTHEST]:
        sys.exit(f"--compiled takes {', '.join(FARTHEST)}, with commas between them; got {', '.join(unknown)}")
    place_environment()
    try:
        device, settings, out = choose_device(asked.device), load_settings(asked.settings), Path(asked.out)
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    out.mkdir(parents=True, exist_ok=True)
    told = facts(device)
    (out / "facts.json").write_text(json.dumps(told, indent=1) + "\n")
    print(f"{settings.label}; {told}", flush=True)
    missed = 0
    measured = [part for part in asked.parts if part in MEASURED]
    if measured:
        amount = Amount(2, 3, (1,), (1, 2), asked.settings) if asked.tiny else Amount()
        every = ways(device, compiled)
        bench = lay_out(settings, make_scans(settings), device, every)
        missed = sum(measure(part, bench, amount, out, not asked.tiny) for part in measured)
        del bench
    for part in asked.parts:
        if part == "unpack":
            print(f"{gpu_pieces.unpack(settings, out)} files put back into {settings.results.name}")
        elif part in ("phantom", "chapters"):
            is_path = asked.settings.endswith(".toml")
            name = str(Path(asked.settings).resolve()) if is_path else asked.settings
            further = (asked.only or ASKED) if part == "chapters" else ()
            done = gpu_pieces.phantom(settings, name, device, asked.seconds, further)
            print("finished" if done else "not finished; call it again")
        elif part == "pack":
            for file in gpu_pieces.pack(settings, out, "chapters" in asked.parts):
                print(f"{file.name} {file.stat().st_size / 1e6:.1f} MB")
    return min(missed, 1)


def measure(part: str, bench: Bench, amount: Amount, out: Path, whole_epoch: bool) -> int:
    """Measure one part, write and print its table; return how many bounds it missed."""
    began = time.perf_counter()
    if part == "check":
        table = check(bench, amount)
        missed = int((~table.passed).sum())
    elif part == "speed":
        table, missed = speed(bench, amount), 0
    elif part == "dsc":
        table = dsc(bench, amount)
        missed = int((table.from_float32.abs() > EQUAL_DSC).any())
    else:
        table, missed = plan(bench, amount, whole_epoch), 0
    table.assign(cohort=bench.settings.label).to_csv(out / f"{part}.csv", index=False, float_format="%.6g")
    with pd.option_context("display.width", 200, "display.max_colwidth", 90, "display.max_rows", None):
        print(f"{table.to_string(index=False)}\n{part}: {time.perf_counter() - began:.0f} s", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
