"""How long does a run take on this machine? python tools/estimate.py SETTINGS measures for seconds and says it.

A few training steps and the prediction of a few patches are timed, of random numbers in the shape of scans; what each
notebook takes is reckoned from these and from the numbers in the settings. tools/run.py asks once a machine, keeps the
answer beside the results (estimate.json), and corrects it by the notebooks that have finished.
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import ahead  # this copy of the project first
import psutil

from strokelib.run import commands, portable, runtime
from strokelib.run.digest import digest
from strokelib.run.paths import place_environment
from strokelib.run.provenance import processor
from strokelib.run.settings import Settings, load_settings
from strokelib.run.variants import VARIANTS, main_rows, method, weights
from strokelib.run.worlds import worlds

SIDE = 64  # of the patches that are timed
STEPS = 4  # timed one after the other; the median counts
BRAIN_VOXELS = 20_000  # in a slice, by the demo's
BOX = 7.5  # patches as large as what `inference.predict_slices` takes of a slice
BEGIN_S = 10  # a kernel starts, packages load, scans are read, figures drawn
# Seconds of other notebooks in the demo, on a core whose training step takes STEP_S; the first go by slices.
BY_SLICES_S = {"cohort": 25, "preprocess": 40, "sampling": 30, "ablations": 35, "errors": 25, "trust": 20}
BY_SLICES_S |= {"ladder": 60, "sensitivity": 50, "raw_series": 240}
VOXELWISE_S = 60  # of the demo's training scans, which all fits of the logistic regression of notebook 20 take
ALWAYS_S = {"model": 20, "published": 10, "segment": 20, "overview": 10, "html": 12}
OTHER_S = 30  # of a rule that is not named here
WORLD = "other_cohort "  # before the name of a world of notebook 20: one takes hours, another minutes
DEMO_SLICES, STEP_S = 142, 0.75
UNKNOWN = {"seconds": {}, "jobs": {}, "device": "unknown", "speed": {}}  # as on a cluster, whose nodes differ
OWN_GIB, PATIENT_GIB = 1.0, 0.07  # of a notebook that trains, and for the scans of each patient: 5.4 GiB of the study
LONG_S = 24 * 3600  # a CPU that needs longer is not begun on without being told to
SMALL = {"isles2018": "isles2018_small", "synthetic": "study"}  # settings of hours, by data.source


@dataclass(frozen=True)
class Speed:
    """Seconds of this machine."""

    step: float  # a training step, by the settings' batch and precision
    patch: float  # a patch predicted without dropout
    filtered: float  # a patch predicted by the settings' passes


def measure(settings: Settings) -> tuple[Speed, str]:
    """Time training steps and predicted patches of random numbers; return the speed and the device's type.

    On a CPU the time is that of the processor at work: what other programs take meanwhile is not held against it.
    """
    import numpy as np
    import torch

    from strokelib import crossvalidation, inference, steps, training
    from strokelib.modalities import ISLES
    from strokelib.preprocess import Preprocessed

    device = runtime.choose_device("auto", settings.compute.portable)
    runtime.prepare_torch(settings.threads, settings.compute.precision)
    steps.can_compile = lambda device: False  # compiling takes a minute; a step is recorded all the same

    def clock() -> float:
        if device.type == "cpu":
            return time.process_time() / settings.threads
        torch.cuda.synchronize()
        return time.perf_counter()

    draw, shape, row = runtime.rng(0, "speed"), (192, 192, 1), VARIANTS["rt_sm"]
    x, y, _ = np.indices(shape)
    brain, lesion = (x - 96) ** 2 + (y - 96) ** 2 < 80**2, (x - 60) ** 2 + (y - 96) ** 2 < 15**2
    images = (draw.standard_normal((2 * len(ISLES), *shape)) * brain).astype(np.float32)
    scans = [
        Preprocessed(images, brain, lesion, np.ones(3), n, f"{n}", np.eye(3), 1.0, 1.0)
        for n in range(settings.folds.count + 2)
    ]
    fold = crossvalidation.split(scans, 0, settings)
    stack = crossvalidation.resident(scans, row, settings, device.type)
    sets = crossvalidation.sets(fold, stack, row, settings)
    with tempfile.TemporaryDirectory() as folder:
        (job,) = crossvalidation.jobs(fold, row, settings, Path(folder), [])
        training_steps, times = training.training_steps(job, stack, sets, device), []
        while len(times) < STEPS and next(training_steps, None):
            times.append(clock())
        training_steps.close()
    network = inference.make_network(row.network, len(images)).to(device)
    found = []
    for passes in (1, 1, settings.prediction.passes):  # the first one lays out memory
        how = inference.Sweep(16 if device.type == "cpu" else 2, passes, settings.prediction.dropout, SIDE)
        began = clock()
        inference.predict([network], images, brain, how, draw)
        found.append((clock() - began) * how.step**2 / brain.sum())
    step = float(np.median(np.diff(times))) if len(times) > 1 else STEP_S
    return Speed(step, *map(float, found[1:])), device.type


def reckon(settings: Settings, speed: Speed) -> tuple[dict[str, float], dict[str, int]]:
    """Return what a notebook of each rule takes at most, in seconds, and how many of it a whole run needs.

    Training may stop early, which nobody knows beforehand. Of real scans there are as many as ISLES 2018 has.
    """
    from strokelib.phantom.scan import plan_cohort

    how, trained, counts = settings.training, [], settings.folds.count
    plans = plan_cohort(settings.cohort)
    slices = {split: sum(p.slices for p in plans if p.split == split) for split in ("TRAINING", "TESTING")}
    scans = sum(p.split == "TRAINING" for p in plans)
    swept = BRAIN_VOXELS / settings.prediction.step**2  # patches of a slice
    sampled = round(scans * settings.sampling.patches_per_case * (counts - 1) / counts)
    stopping = sampled / (counts - 1)  # patches of a fold
    watched = min(how.stopping_batches * how.batch_size or stopping, stopping) + how.statistics_batches * how.batch_size
    rows = main_rows(settings)

    def fold(row, updates: int) -> float:
        """Train and predict one fold of a row."""
        size = (row.patch_size / SIDE) ** 2
        each = how.validate_every or sampled // how.batch_size
        validations = row.networks * math.ceil(updates // row.networks / each)
        judged = (watched * size + BOX * slices["TRAINING"] / counts) * speed.patch
        mapped = swept * slices["TRAINING"] / counts * speed.patch * size * row.networks
        mistaken = swept * slices["TRAINING"] * speed.patch * size * (row.networks - 1)
        return updates * speed.step * size + validations * judged + mapped + mistaken

    for name in rows:
        row, made = method(name, settings)
        if weights(name, settings) == name:
            trained.append(BEGIN_S + fold(row, made.training.max_updates))
    seconds = {"train": sum(trained) / len(trained)}
    seconds["predict"] = BEGIN_S + swept * slices["TRAINING"] / counts * speed.filtered
    seconds["leaderboard"] = 3 * BEGIN_S + swept * slices["TESTING"] * speed.patch * counts
    share = sum(slices.values()) / DEMO_SLICES
    seconds |= {rule: BEGIN_S + each * share for rule, each in BY_SLICES_S.items()} | ALWAYS_S
    jobs = {rule: 1 for rule in seconds if rule not in ("sensitivity", "raw_series")}
    for name, world in worlds(settings).items():
        share, asked = slices["TRAINING"] / DEMO_SLICES, settings.sensitivity
        times = (world.folds or asked.folds) * len(world.seeds or settings.further.training_seeds)
        networks = times * sum(fold(method(row, settings)[0], asked.updates) for row in world.rows)
        fits = VOXELWISE_S * share * world.voxelwise
        prepared = share * (BY_SLICES_S["cohort"] + BY_SLICES_S["preprocess"])
        seconds[f"{WORLD}{name}"] = BEGIN_S + prepared + networks + fits
    if settings.synthetic:  # one notebook that trains a network a row and size, on cohorts of its own
        asked, share = settings.further, slices["TRAINING"] / DEMO_SLICES
        made = 1.25 + math.ceil(asked.curve_scans[-1] / scans)  # to test, to hold out, to train on
        each = sum(fold(method(row, settings)[0], settings.sensitivity.updates) for row in asked.curve_rows)
        mapped = swept * 1.25 * slices["TRAINING"] * speed.patch * len(asked.curve_rows)
        new = made * share * (BY_SLICES_S["cohort"] + BY_SLICES_S["preprocess"])
        seconds["learning_curve"] = BEGIN_S + new + len(asked.curve_scans) * (each + mapped)
    jobs |= {"train": len(trained) * counts, "predict": (len(rows) - len(trained)) * counts}
    return seconds, jobs


def usual(seconds: dict[str, float], names: list[str]) -> dict[str, float]:
    """Return the seconds by rule, that of notebook 20 as the mean over the worlds of these names."""
    made = [seconds[f"{WORLD}{name}"] for name in names if f"{WORLD}{name}" in seconds]
    rules = {rule: each for rule, each in seconds.items() if not rule.startswith(WORLD)}
    return rules | ({WORLD.strip(): sum(made) / len(made)} if made else {})


def machine(settings: Settings, gpus: int) -> dict:
    """Say what an estimate holds for."""
    return {"settings": digest(settings), "processor": processor(), "cpus": os.cpu_count(), "gpus": gpus}


def estimate(settings: Settings, name: str, gpus: int) -> dict:
    """Return {"seconds": a notebook of each rule, "jobs": their number, "device", ...}, measured once a machine.

    Parameters
    ----------
    settings : Settings
    name : as tools take them, a name in configs/ or a path
    gpus : how many there are
    """
    file, here = settings.results / "estimate.json", machine(settings, gpus)
    try:
        found = json.loads(file.read_text())
        if {key: found[key] for key in here} == here:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    command = [sys.executable, __file__, name, "--json"]  # a process of its own, which gives the GPU back
    around = os.environ | portable.surroundings(settings)
    told = subprocess.run(command, cwd=runtime.ROOT, env=around, capture_output=True, text=True)
    if told.returncode:  # the notebooks will say what is wrong
        return UNKNOWN
    found = here | json.loads(told.stdout)
    with contextlib.suppress(OSError):  # what cannot be written, the run itself will tell
        runtime.write_whole(file, lambda path: path.write_text(json.dumps(found, indent=1) + "\n"))
    return found


def cores(settings: Settings) -> int:
    """Count the cores that a run takes: all, or as many as there is memory for, where that is less."""
    needed = OWN_GIB + PATIENT_GIB * settings.cohort.training_patients
    notebooks = max(1, int(psutil.virtual_memory().total / 2**30 / needed))
    return min(os.cpu_count() or 1, notebooks * settings.threads)


def at_once(found: dict, settings: Settings) -> int:
    """Count the notebooks that run at a time: as many as there are cores for their threads, or as share the GPUs."""
    if found["device"] == "cuda":
        return settings.compute.folds_at_once * max(1, found.get("gpus", 1))
    return max(1, cores(settings) // settings.threads)


def total(found: dict, settings: Settings) -> float:
    """Add up an estimate, in seconds."""
    many = {rule: found["seconds"][rule] * count for rule, count in found["jobs"].items() if count > 1}
    alone = [found["seconds"][rule] for rule, count in found["jobs"].items() if count == 1]
    return sum(alone) + sum(many.values()) / at_once(found, settings)


def too_long(found: dict, settings: Settings, target: str = "") -> str:
    """Say why a run, or a target of it, is not begun on a CPU: it takes days, and nothing is there; "" where it is."""
    if found["device"] != "cpu" or total(found, settings) < LONG_S or os.environ.get("FORCE", "") not in ("", "0"):
        return ""
    if any(settings.results.glob("*/fold*/network*.safetensors")):
        return ""
    here = amount(total(found, settings))
    began = (
        f"not begun: torch sees no GPU, and on this CPU {settings.name} takes up to {here} (a training step takes "
        f"{found['speed']['step']:.2f} s, measured just now{busy()})"
    )
    anyway = f"To begin all the same: FORCE=1 {commands.made_with(settings, target.replace('_', '-'))}"
    if settings.data.source in SMALL:
        small = load_settings(SMALL[settings.data.source])
        seconds, jobs = reckon(small, Speed(**found["speed"]))
        instead = total({"seconds": seconds, "jobs": jobs, "device": "cpu"}, small)
        if instead < total(found, settings):
            return (
                f"{began}. Take {small.name}, the same notebooks with less training, in up to {amount(instead)}: "
                f"{commands.made_with(small)}. {anyway}"
            )
    return f"{began}. {anyway}"


def busy() -> str:
    """Say that other programs take the cores, where they do."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f", while other programs use it: {load:.0f} at work on {cores} cores" if load > 1.5 * cores else ""


def amount(seconds: float) -> str:
    """Say a duration roughly."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}" if seconds >= 10 * length else f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def main() -> None:
    ahead.explain(__doc__)
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--json"]):
        sys.exit("usage: python tools/estimate.py SETTINGS; SETTINGS is a name in configs/ or a .toml file")
    place_environment()
    try:
        settings = load_settings(sys.argv[1])
    except (ValueError, OSError) as error:
        sys.exit(f"{error}")
    speed, device = measure(settings)
    seconds, jobs = reckon(settings, speed)
    found = {"device": device, "speed": asdict(speed), "seconds": seconds, "jobs": jobs}
    if sys.argv[2:]:
        print(json.dumps(found))
        return
    print(f"{settings.name} on this {device}{busy()}: {speed.step:.3f} s a step; early stopping takes fewer")
    for rule, count in jobs.items():
        print(f"  {rule:<12} {count:3d} x {amount(seconds[rule])}")
    print(f"  together about {amount(total(found, settings))}")


if __name__ == "__main__":
    main()
