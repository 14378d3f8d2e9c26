"""One fold of one set of weights: the loop, early stopping, checkpoint and resume."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from strokelib import losses, metrics
from strokelib.inference import predict_slices, read_facts, save_network, save_tensors
from strokelib.network import make_network
from strokelib.optimizer import make_optimizer
from strokelib.patches import PatchList
from strokelib.preprocess import Preprocessed
from strokelib.run.digest import digest, module_digest
from strokelib.run.runtime import gpu_memory, rng
from strokelib.run.settings import Training
from strokelib.run.variants import Variant
from strokelib.stack import Resident
from strokelib.steps import Flat, Recipe, batches, eager_steps, flatten, is_recorded, recorded_steps

VALIDATION_BATCHES = {"cpu": 1, "cuda": 16}  # passed through the network at a time


@dataclass(frozen=True)
class Job:
    """What one network is trained from, and where it goes."""

    name: str  # "network", or "network2" for the second of a cascade
    folder: Path
    recipe: Recipe
    data: str  # digest of the preprocessed scans, the split and the sampling

    @property
    def network_file(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / f"{self.name}.checkpoint.safetensors"

    @property
    def digest(self) -> str:
        """Say what the network depends on, part by part, each by its digest; `replaced` compares them."""
        recipe = self.recipe
        parts = {
            "code": digest(*map(module_digest, ("strokelib.training", f"strokelib.{recipe.variant.network}"))),
            "place": digest(self.name, recipe.fold),
            "seed": digest(recipe.seed),
            "variant": digest(recipe.variant),
            "training": digest(recipe.training, recipe.elastic),
            "compute": digest(dataclasses.replace(recipe.compute, folds_at_once=1)),  # which changes no network
            "data": digest(self.data),
        }
        return " ".join(f"{name}:{value}" for name, value in parts.items())


@dataclass(frozen=True, eq=False)
class Sets:
    """What a network is trained with, fixed before it begins."""

    training: PatchList
    stopping: PatchList
    evaluated: list[Preprocessed] = field(default_factory=list)  # whose DSC is followed from epoch to epoch (Fig. 3)


@dataclass(eq=False)
class State:
    """What a training has come to: all that a checkpoint holds."""

    network: torch.nn.Module
    flat: Flat | None  # its parameters as one vector, where steps are recorded
    optimizer: torch.optim.Optimizer
    history: list[dict]  # a row an epoch
    best: dict | None  # weights of the best epoch so far


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
    """Train one network, yielding (steps done, most steps there can be) as it goes.

    Parameters
    ----------
    job : Job
    stack : Resident, all scans on the device; patches are cut out of it by index
    sets : Sets
    device : torch device

    Writes <name>.checkpoint.safetensors after every epoch and, at the end, <name>.safetensors with the weights of the
    best epoch. A run that was killed resumes from its last whole epoch and ends with the same weights on the CPU; one
    that has finished yields nothing. A checkpoint made from anything else is not continued but replaced.

    Raises
    ------
    ValueError : an epoch that holds no batch.
    RuntimeError : the GPU's memory is too small.

    Source: Clèrigues et al. 2019, sec. 3.3 (Adadelta, batches of 64, early stopping with a patience of ten epochs,
    weights of the best epoch). Our choice: elastic fields are drawn anew every epoch; the last, smaller batch of an
    epoch is left out; validation DSC is taken on whole slices at a threshold of 0.5.
    """
    if is_finished(job):
        return
    with gpu_memory(
        f"to train on batches of {job.recipe.training.batch_size} patches with all scans in it; set "
        "compute.folds_at_once = 1, which goes on from the last whole epoch, or begin again with "
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
    more of the device; its steps to the last epoch allowed then count as done.
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


def _train(job: Job, stack: Resident, sets: Sets, device):
    recipe, settings, count = job.recipe, job.recipe.training, len(sets.training)
    state = _start(job, stack, device)
    network, history = state.network, state.history
    per_epoch = min(settings.patches_per_epoch or count, count)
    steps = per_epoch // settings.batch_size
    if steps == 0:
        raise ValueError(
            f"an epoch of {per_epoch} patches holds no batch of {settings.batch_size}; raise "
            "sampling.patches_per_case or training.patches_per_epoch"
        )
    if state.flat is None:
        epoch_steps = eager_steps(network, state.optimizer, recipe, stack, sets.training)
    else:
        epoch_steps = recorded_steps(network, state.flat, state.optimizer, recipe, stack, sets.training)
    watched = _watched(sets.stopping, count, per_epoch)
    while not _finished(history, settings):
        epoch = len(history) + 1
        order = rng(recipe.seed, "order", recipe.fold, epoch).permutation(count)[: steps * settings.batch_size]
        network.train()
        for step, (loss_sum, sums) in enumerate(epoch_steps(order, epoch), start=1):  # noqa: B007, used after the loop
            yield (epoch - 1) * steps + step, settings.max_epochs * steps
        row = {"epoch": epoch, "loss": float(loss_sum) / steps, "accuracy": losses.monitored(sums)["accuracy"]}
        row |= _validate(network, recipe, stack, sets.stopping, watched)
        row["validation_dsc"] = _validation_dsc(network, sets.evaluated, recipe.variant)
        row["best"] = _improves(row["monitored"], history, settings)
        history.append(row)
        if row["best"]:
            state.best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        _checkpoint(job, state)
    network.load_state_dict(state.best)
    save_network(job.network_file, network, {"digest": job.digest, "history": history})


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


def _improves(value: float, history: list[dict], settings: Training) -> bool:
    kept = [row["monitored"] for row in history if row["best"]]
    return not kept or value < kept[-1] - settings.min_improvement


def _finished(history: list[dict], settings: Training) -> bool:
    """Stop at the last epoch allowed, or after `patience` epochs in a row without an improvement."""
    if len(history) >= settings.max_epochs:
        return True
    return len(history) > settings.patience and not any(r["best"] for r in history[-settings.patience :])


def _watched(stopping_set: PatchList, n_training: int, per_epoch: int) -> np.ndarray:
    """Choose which stopping patches to watch: all, or as many in proportion as an epoch takes of the training set."""
    count = max(1, round(len(stopping_set) * per_epoch / n_training))
    return np.floor(np.arange(count) * len(stopping_set) / count).astype(int)


@torch.no_grad()
def _validate(network, recipe: Recipe, stack, stopping_set, watched, batch_size: int = 64) -> dict[str, float]:
    """Compute loss and monitored quantity of the watched patches; the loss by batches, as in training.

    On a GPU in the precision of training, which there decides how long it takes.
    """
    variant, on_gpu = recipe.variant, stack.images.is_cuda

    def loss_of(logits, labels):
        return losses.training_loss(logits, labels, variant.loss, recipe.training.gdl_weights)

    network.eval()
    sums, loss_sum = 0, 0
    at_once = batch_size * VALIDATION_BATCHES[stack.images.device.type]
    # No generator: deformed repeats would measure the augmentation.
    for images, labels in batches(stack, stopping_set, watched, at_once, variant, None, None):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=on_gpu and recipe.compute.precision == "bf16"):
            logits = network(images).float()
        whole = len(images) // batch_size if at_once > batch_size else 0  # batches whose losses are computed together
        if whole:
            parts = (part[: whole * batch_size].unflatten(0, (whole, batch_size)) for part in (logits, labels))
            loss_sum = loss_sum + torch.vmap(loss_of)(*parts).sum() * batch_size
        if rest := len(images) - whole * batch_size:
            loss_sum = loss_sum + loss_of(logits[-rest:], labels[-rest:]) * rest
        sums = sums + losses.error_sums(logits, labels)
    values = losses.monitored(sums)
    return {
        "validation_loss": float(loss_sum) / len(watched),
        "validation_accuracy": values["accuracy"],
        "monitored": values[variant.monitor],
    }


def _validation_dsc(network, evaluated, variant: Variant) -> float:
    values = [
        metrics.dsc(predict_slices([network], scan.inputs(variant.mirrored), scan.mask) > 0.5, scan.lesion)
        for scan in evaluated
    ]
    return float(np.mean(values)) if values else float("nan")


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
    state = State(network, flat, optimizer, history=[], best=None)
    facts = read_facts(job.checkpoint_file)
    if facts.get("digest") != job.digest:
        return state
    tensors = load_file(job.checkpoint_file, device=str(device))
    parts = {"network": {}, "best": {}, "optimizer": {}}
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        parts[part][name] = value
    network.load_state_dict(parts["network"])
    state.best, state.history = parts["best"], facts["history"]
    saved = optimizer.state_dict()
    saved["state"] = {}
    for key, value in parts["optimizer"].items():
        index, name = key.split("/")
        saved["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(saved)
    return state


def _checkpoint(job: Job, state: State) -> None:
    tensors = {f"network/{name}": value for name, value in state.network.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in values.items()}
    save_tensors(job.checkpoint_file, tensors, {"digest": job.digest, "history": state.history})


def read_history(network_file) -> pd.DataFrame:
    """Read the epochs a network was trained for, as saved with its weights.

    Returns
    -------
    frame, a row an epoch : loss, accuracy, validation_loss, validation_accuracy, monitored, validation_dsc, best.
    """
    facts = read_facts(network_file)
    if "history" not in facts:
        raise FileNotFoundError(f"{network_file} holds no training history; train it first with notebook 05")
    return pd.DataFrame(facts["history"])
