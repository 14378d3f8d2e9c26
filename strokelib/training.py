"""One fold of one set of weights: the loop, early stopping, checkpoint and resume."""

import contextlib
import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from strokelib import losses
from strokelib.inference import read_facts, save_network, save_tensors
from strokelib.network import make_network
from strokelib.optimizer import make_optimizer, pace, paced
from strokelib.patches import PatchList
from strokelib.preprocess import Preprocessed
from strokelib.run.digest import digest, module_digest
from strokelib.run.runtime import gpu_memory, rng
from strokelib.run.settings import Training
from strokelib.stack import Resident
from strokelib.steps import Flat, Recipe, eager_steps, flatten, is_recorded, recorded_steps
from strokelib.validation import MONITORS, measure_statistics, validate, validation_dsc

LOG = logging.getLogger(__name__)
# Modules whose code decides no weight: scans enter by their contents, and validation DSC is followed, no more.
NO_WEIGHT = ("strokelib.preprocess", "strokelib.nifti", "strokelib.metrics", "strokelib.inference")


@dataclass(frozen=True)
class Job:
    """What one network is trained from, and where it goes."""

    name: str  # "network", or "network2" for the second of a cascade
    folder: Path
    recipe: Recipe
    data: str  # digest of the preprocessed scans, the split and the sampling

    def kept_file(self, kept: str) -> Path:
        """Say where a network goes that is kept beside the final one; see `variants.kept_as`."""
        return self.folder / f"{self.name}{kept}.safetensors"

    @property
    def network_file(self) -> Path:
        return self.kept_file("")

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / f"{self.name}.checkpoint.safetensors"

    @property
    def digest(self) -> str:
        """Say what the network depends on, part by part, each by its digest; `replaced` compares them."""
        recipe = self.recipe
        modules = (f"strokelib.{name}" for name in ("training", recipe.variant.network))
        parts = {
            "code": digest(*(module_digest(name, NO_WEIGHT) for name in modules)),
            "place": digest(self.name, recipe.fold),
            "seed": digest(recipe.seed),
            "variant": digest(recipe.variant),
            "training": digest(recipe.training, recipe.elastic, recipe.flips),
            "compute": digest(dataclasses.replace(recipe.compute, folds_at_once=1)),  # which changes no network
            "threads": digest(recipe.threads),
            "data": digest(self.data),
        }
        return " ".join(f"{name}:{value}" for name, value in parts.items())


@dataclass(frozen=True, eq=False)
class Sets:
    """What a network is trained with, fixed before it begins."""

    training: PatchList
    stopping: PatchList
    evaluated: list[Preprocessed] = field(default_factory=list)  # whose DSC is followed on the way (Fig. 3)


@dataclass(eq=False)
class State:
    """What a training has come to: all that a checkpoint holds."""

    network: torch.nn.Module
    flat: Flat | None  # its parameters as one vector, where steps are recorded
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None  # of its weights, where training.averaging asks for it
    history: list[dict]  # a row a validation
    best: dict[str, dict]  # by monitor, weights of the best validation so far


def train_fold(job: Job, stack: Resident, sets: Sets, device="cpu", watch: Callable | None = None) -> None:
    """Train one network to its end.

    Parameters
    ----------
    job, stack, sets, device : as `training_steps`
    watch : function that goes through an iterable of (steps done, most there can be) and shows it, such as
        `run.notebook.watch`; None shows nothing
    """
    (watch or tuple)(training_steps(job, stack, sets, device))


def training_steps(job: Job, stack: Resident, sets: Sets, device="cpu") -> Iterator[tuple[int, int]]:
    """Train one network, yielding (updates done, most updates there can be) as it goes.

    Parameters
    ----------
    job : Job
    stack : Resident, all scans on the device; patches are cut out of it by index
    sets : Sets
    device : torch device

    Writes <name>.checkpoint.safetensors after every validation and, at the end, <name>.safetensors with the weights of
    the best one, and <name>.<monitor>.safetensors with those that the other monitor would have kept; for each of
    training.snapshots, <name>.at<updates>.safetensors and <name>.at<updates>.<monitor>.safetensors: what a training of
    so many updates keeps. A run that was killed resumes from its last validation and ends with the same weights on the
    CPU; one that has finished yields nothing. A checkpoint made from anything else is not continued but replaced.

    Raises
    ------
    ValueError : fewer patches than a batch.
    RuntimeError : the GPU's memory is too small.

    Source: Clèrigues et al. 2019, sec. 3.3 (Adadelta, batches of 64, early stopping with a patience of ten epochs,
    weights of the best epoch). Differs: a validation comes every training.validate_every updates, which may be less
    than an epoch, and patience counts validations; batch normalization is measured before each (see
    `measure_statistics`), and the stopping set may be a fixed part of all its patches. Our choice: elastic fields are
    drawn anew for every pass; the last, smaller batch of a pass is left out; validation DSC is taken on whole slices
    at a threshold of 0.5.
    """
    if is_finished(job):
        return
    with gpu_memory(
        f"to train on batches of {job.recipe.training.batch_size} patches with all scans in it; set "
        "compute.folds_at_once = 1, which goes on from the last validation, or begin again with "
        "compute.resident = 'float16', a lower training.batch_size or device = 'cpu'"
    ):
        yield from _train(job, stack, sets, device)


def train_in_turn(trainings, device) -> Iterator[tuple[int, int]]:
    """Take the steps of several trainings in turn, yielding (steps done, most there can be) of all together.

    Parameters
    ----------
    trainings : sequence of what `training_steps` returned, such as the folds of a variant that share one stack
    device : torch device; on CUDA each training has a stream of its own, so that their small kernels run side by side

    A training is the same as it is alone, up to the order of sums on a GPU. One that stops early leaves the others
    more of the device; its updates to the last one allowed then count as done.
    """
    on_gpu = torch.device(device).type == "cuda"
    streams = [torch.cuda.Stream() if on_gpu else None for _ in trainings]
    if on_gpu:
        torch.cuda.synchronize()  # what they share was made on another stream
    done, running = [(0, 0)] * len(trainings), list(range(len(trainings)))
    while running:
        for i in list(running):
            with torch.cuda.stream(streams[i]) if on_gpu else contextlib.nullcontext():
                step = next(trainings[i], None)
            if step is None:
                running.remove(i)
                done[i] = done[i][1], done[i][1]
            else:
                done[i] = step
                yield tuple(map(sum, zip(*done, strict=True)))


def most_updates(recipe: Recipe) -> int:
    """Return how many updates a network takes at most: the networks of a cascade share those of their row."""
    return recipe.training.max_updates // recipe.variant.networks


def _train(job: Job, stack: Resident, sets: Sets, device):
    recipe, settings, count = job.recipe, job.recipe.training, len(sets.training)
    a_pass, most = count // settings.batch_size, most_updates(recipe)
    if a_pass == 0:
        raise ValueError(
            f"the {count} patches of this fold hold no batch of {settings.batch_size}; raise "
            "sampling.patches_per_case or lower training.batch_size"
        )
    state = _start(job, stack, device)
    if state.flat is None:
        take = eager_steps(state.network, state.optimizer, recipe, stack, sets.training)
    else:
        take = recorded_steps(state.network, state.flat, state.optimizer, recipe, stack, sets.training)
    while not _finished(state.history, settings, most):
        done, number = state.history[-1]["updates"] if state.history else 0, len(state.history) + 1
        until = min(done + (settings.validate_every or a_pass), most)
        state.network.train()
        steps = take(_order(recipe, count, done, until), number)
        for update in range(done + 1, until + 1):
            if settings.schedule != "constant":
                pace(state.optimizer, paced(settings, update - 1, most))
            loss_sum, sums = next(steps)
            if state.average is not None:
                state.average.update_parameters(state.network)
            yield update, most
        row = {"updates": until, "epochs": until / a_pass, "loss": float(loss_sum) / (until - done)}
        row["accuracy"] = losses.monitored(sums)["accuracy"]
        _judge(state, row, recipe, stack, sets)
        if until in settings.snapshots and recipe.variant.networks == 1:
            _keep(job, state, f".at{until}")
        _checkpoint(job, state)
    for updates in settings.snapshots if recipe.variant.networks == 1 else ():
        if updates > state.history[-1]["updates"]:  # it stopped before: more would have changed nothing
            _keep(job, state, f".at{updates}")
    _keep(job, state, "")


def _order(recipe: Recipe, count: int, begin: int, end: int) -> np.ndarray:
    """List the patches of some updates, (updates * batch,); all are taken once, in random order, before any again."""
    size = recipe.training.batch_size
    a_pass = count // size
    parts = []
    for number in range(begin // a_pass, (end - 1) // a_pass + 1):
        order = rng(recipe.seed, "order", recipe.fold, number + 1).permutation(count)
        first, last = max(begin - number * a_pass, 0), min(end - number * a_pass, a_pass)
        parts.append(order[first * size : last * size])
    return np.concatenate(parts)


def _judge(state: State, row: dict, recipe: Recipe, stack: Resident, sets: Sets) -> None:
    """Validate what training has come to, add a row to the history, and keep the weights where they are the best."""
    network = state.network if state.average is None else state.average.module
    measure_statistics(network, recipe, stack, sets.training)
    row |= validate(network, recipe, stack, sets.stopping)
    row["validation_dsc"] = validation_dsc(network, sets.evaluated, recipe.variant)
    for monitor in MONITORS:
        own = monitor == recipe.variant.monitor
        flag = "best" if own else "other_best"
        row[flag] = _improves(row[monitor], [(past[monitor], past[flag]) for past in state.history], recipe.training)
        if row[flag]:
            state.best[monitor] = {name: value.detach().clone() for name, value in network.state_dict().items()}
    state.history.append(row)


def _keep(job: Job, state: State, kept: str) -> None:
    """Write the best weights so far, by the variant's own monitor and, named after it, by the other."""
    facts = {"digest": job.digest, "history": state.history}
    # The final network comes last: it says that all is there.
    for monitor in sorted(MONITORS, key=lambda name: name == job.recipe.variant.monitor):
        name = kept if monitor == job.recipe.variant.monitor else f"{kept}.{monitor}"
        save_network(job.kept_file(name), state.network, facts, state.best[monitor])


def is_finished(job: Job) -> bool:
    """Tell whether the network of a job is there: trained to the end by this code from these data and settings."""
    return read_facts(job.network_file).get("digest") == job.digest


def replaced(job: Job) -> str:
    """Say why training cannot go on from the checkpoint that is there and begins anew; "" where it can, or none is."""
    found = read_facts(job.checkpoint_file).get("digest")
    if found in (None, job.digest):
        return ""
    old, new = (dict(part.split(":") for part in text.split() if ":" in part) for text in (found, job.digest))
    other = [name for name in new if old.get(name) != new[name]]
    return f"{job.checkpoint_file.name} was made with other {', '.join(other)}: it is replaced, training begins anew"


def _improves(value: float, past: list[tuple[float, bool]], settings: Training) -> bool:
    """Tell whether a monitored value is better than the last that was kept, of earlier (value, was it kept?).

    The first is kept whatever it is; one that is no number gives way to any number.
    """
    kept = [earlier for earlier, was_kept in past if was_kept]
    return not kept or value < kept[-1] - settings.min_improvement or math.isnan(kept[-1]) > math.isnan(value)


def _finished(history: list[dict], settings: Training, most: int) -> bool:
    """Stop at the last update allowed, or after `patience` validations in a row without an improvement."""
    if history and history[-1]["updates"] >= most:
        return True
    return len(history) > settings.patience and not any(r["best"] for r in history[-settings.patience :])


def _start(job: Job, stack: Resident, device) -> State:
    """Make a network and its optimizer, or take up where the checkpoint of the same job left them."""
    recipe, settings = job.recipe, job.recipe.training
    torch.manual_seed(int(rng(recipe.seed, "weights", job.name, recipe.fold).integers(2**62)))
    kind, channels = recipe.variant.network, stack.images.shape[-1]
    network = make_network(kind, channels, settings.dropout, settings.batch_norm_momentum)
    network = network.to(device, memory_format=torch.channels_last)
    flat = flatten(network) if is_recorded(recipe.compute, device) else None
    parameters = network.parameters() if flat is None else [flat.values]
    optimizer = make_optimizer(parameters, settings, recorded=flat is not None, portable=recipe.compute.portable)
    average = None
    if settings.averaging:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.averaging))
    state = State(network, flat, optimizer, average, history=[], best={})
    facts = read_facts(job.checkpoint_file)
    if facts.get("digest") != job.digest:
        return state
    if facts.get("recorded") != (flat is not None):  # what an optimizer remembers is laid out otherwise
        LOG.warning(
            "%s is of a training %s a GPU that records its steps: it is replaced, training begins anew",
            job.checkpoint_file.name,
            "without" if flat is not None else "on",
        )
        return state
    tensors = load_file(job.checkpoint_file, device=str(device))
    parts = {"network": {}, "average": {}, "optimizer": {}, **{monitor: {} for monitor in MONITORS}}
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        parts[part][name] = value
    network.load_state_dict(parts["network"])
    if average is not None:
        average.load_state_dict(parts["average"])
    state.best, state.history = {monitor: parts[monitor] for monitor in MONITORS}, facts["history"]
    saved = optimizer.state_dict()
    saved["state"] = {}
    for key, value in parts["optimizer"].items():
        index, name = key.split("/")
        saved["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(saved)
    return state


def _checkpoint(job: Job, state: State) -> None:
    tensors = {f"network/{name}": value for name, value in state.network.state_dict().items()}
    if state.average is not None:
        tensors |= {f"average/{name}": value for name, value in state.average.state_dict().items()}
    for monitor, weights in state.best.items():
        tensors |= {f"{monitor}/{name}": value for name, value in weights.items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in values.items()}
    facts = {"digest": job.digest, "recorded": state.flat is not None, "history": state.history}
    save_tensors(job.checkpoint_file, tensors, facts)


def read_history(network_file) -> pd.DataFrame:
    """Read how a network was trained, as saved with its weights.

    Returns
    -------
    frame, a row a validation : updates so far, in epochs of the paper (all patches once), too; loss and accuracy of the
    training patches since the one before; validation_loss, validation_accuracy, l1_error, dice, monitored (that of the
    two which the variant stops on) of the stopping set; validation_dsc; best (was it kept?) and other_best (would it
    have been by the other monitor?).
    """
    facts = read_facts(network_file)
    if "history" not in facts:
        raise FileNotFoundError(f"{network_file} holds no training history; train it first with notebook 05")
    return pd.DataFrame(facts["history"])
