"""One fold of one set of weights: the loop, early stopping, checkpoint and resume."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from strokelib import losses, metrics, patches
from strokelib.inference import predict_case, read_facts, save_network, save_tensors
from strokelib.network import Network
from strokelib.patches import PatchList
from strokelib.preprocess import Resident
from strokelib.run.digest import digest, module_digest
from strokelib.run.runtime import rng
from strokelib.run.settings import Compute, Training
from strokelib.run.variants import Variant


@dataclass(frozen=True)
class Job:
    """What one network is trained from, and where it goes."""

    name: str  # "network", or "network2" for the second of a cascade
    folder: Path
    fold: int
    seed: int
    variant: Variant
    training: Training
    compute: Compute
    elastic: tuple[float, float]  # alpha, gamma
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
        parts = {
            "code": module_digest("strokelib.training"),
            "place": digest(self.name, self.fold),
            "seed": digest(self.seed),
            "variant": digest(self.variant),
            "training": digest(self.training, self.elastic),
            "compute": digest(dataclasses.replace(self.compute, folds_at_once=1)),  # which changes no network
            "data": digest(self.data),
        }
        return " ".join(f"{name}:{value}" for name, value in parts.items())


def train_fold(
    job: Job,
    stack: Resident,
    training_set: PatchList,
    stopping_set: PatchList,
    evaluated=(),
    device="cpu",
) -> Iterator[tuple[int, int]]:
    """Train one network, yielding (steps done, most steps there can be) as it goes.

    Parameters
    ----------
    job : Job
    stack : Resident, all scans on the device; patches are cut out of it by index
    training_set, stopping_set : PatchList, fixed before training
    evaluated : sequence of Preprocessed, scans whose DSC is followed from epoch to epoch (Fig. 3)
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
    try:
        yield from _train(job, stack, training_set, stopping_set, evaluated, device)
    except torch.cuda.OutOfMemoryError as error:
        raise RuntimeError(
            f"the GPU's memory is too small to train on batches of {job.training.batch_size} patches with all scans in "
            "it; set compute.folds_at_once = 1, which goes on from the last whole epoch, or begin again with "
            "compute.resident = 'float16', a lower training.batch_size or device = 'cpu'"
        ) from error


def _train(job: Job, stack: Resident, training_set: PatchList, stopping_set: PatchList, evaluated, device):
    settings, variant = job.training, job.variant
    state = _start(job, stack, device)
    network, optimizer = state["network"], state["optimizer"]
    forward = forward_pass(network, job)
    per_epoch = min(settings.patches_per_epoch or len(training_set), len(training_set))
    steps = per_epoch // settings.batch_size
    if steps == 0:
        raise ValueError(
            f"an epoch of {per_epoch} patches holds no batch of {settings.batch_size}; raise "
            "sampling.patches_per_case or training.patches_per_epoch"
        )
    watched = _watched(stopping_set, len(training_set), per_epoch)
    history = state["history"]
    while not _finished(history, settings):
        epoch = len(history) + 1
        generator = rng(job.seed, "elastic", job.fold, epoch)
        order = rng(job.seed, "order", job.fold, epoch).permutation(len(training_set))
        # Training dropout draws from torch's own generator, set anew every epoch so that a resumed run is the same.
        torch.manual_seed(int(rng(job.seed, "dropout", job.fold, epoch).integers(2**62)))
        network.train()
        sums, loss_sum = 0, 0
        order = order[: steps * settings.batch_size]
        cut = batches(stack, training_set, order, settings.batch_size, variant, generator, job.elastic)
        for step, (images, labels) in enumerate(cut):
            loss, errors = forward(images, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():  # summed on the device: nothing waits for it before the epoch's end
                loss_sum = loss_sum + loss.detach()
                sums = sums + errors
            yield (epoch - 1) * steps + step + 1, settings.max_epochs * steps
        row = {"epoch": epoch, "loss": float(loss_sum) / steps, "accuracy": losses.monitored(sums)["accuracy"]}
        row |= _validate(network, stack, stopping_set, watched, variant, settings)
        row["validation_dsc"] = _validation_dsc(network, evaluated, variant)
        row["best"] = _improves(row["monitored"], history, settings)
        history.append(row)
        if row["best"]:
            state["best"] = {name: value.detach().clone() for name, value in network.state_dict().items()}
        _checkpoint(job, state)
    network.load_state_dict(state["best"])
    save_network(job.network_file, network, {"digest": job.digest, "history": history})


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


def forward_pass(network, job: Job):
    """Make the function from a batch to its loss and error sums, in the precision and form that the job asks for."""
    settings, variant, compute = job.training, job.variant, job.compute

    def forward(images, labels):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=compute.precision == "bf16"):
            logits = network(images)
        logits = logits.float()
        loss = losses.training_loss(logits, labels, variant.loss, settings.gdl_weights)
        return loss, losses.error_sums(logits.detach(), labels)

    if not compute.compile:
        return forward
    # "reduce-overhead" captures a graph on CUDA, where launching small kernels takes longer than running them.
    compiled = torch.compile(forward, mode="reduce-overhead" if torch.cuda.is_available() else "default")

    def captured(images, labels):
        torch.compiler.cudagraph_mark_step_begin()
        loss, errors = compiled(images, labels)
        return loss, errors.clone()  # the graph's own memory is written again by the next step

    return captured


def make_optimizer(network, settings: Training, foreach: bool = True):
    """Make Adadelta; with `foreach` it updates all parameters together, not one after the other."""
    return torch.optim.Adadelta(
        network.parameters(), lr=settings.learning_rate, rho=settings.rho, foreach=foreach
    )


def batches(stack: Resident, patch_set: PatchList, order, batch_size: int, variant: Variant, generator, elastic):
    """Cut the patches of `order` batch by batch; deform those that are repeats, unless generator is None.

    What an epoch needs to know of its patches is brought to the device before the first batch.
    """
    corners = patches.on_device(patch_set.starts[order], stack.images.device)
    begins = range(0, len(order), batch_size)
    repeats = [np.flatnonzero(patch_set.deform[order[begin : begin + batch_size]]) for begin in begins]
    rows = torch.from_numpy(np.concatenate(repeats)).to(stack.images.device).split([len(r) for r in repeats])
    for begin, deformed in zip(begins, rows, strict=True):
        part = corners[begin : begin + batch_size]
        images = patches.gather(stack.images, part, variant.patch_size).float()
        labels = patches.gather(stack.labels, part, variant.patch_size)
        if generator is not None and len(deformed):
            bent = patches.elastic_deform(images[deformed], labels[deformed], generator, *elastic)
            images[deformed], labels[deformed] = bent
        yield images, labels


def _watched(stopping_set: PatchList, n_training: int, per_epoch: int) -> np.ndarray:
    """Choose which stopping patches to watch: all, or as many in proportion as an epoch takes of the training set."""
    count = max(1, round(len(stopping_set) * per_epoch / n_training))
    return np.floor(np.arange(count) * len(stopping_set) / count).astype(int)


@torch.no_grad()
def _validate(network, stack, stopping_set, watched, variant, settings, batch_size: int = 64) -> dict[str, float]:
    network.eval()
    sums, loss_sum = 0, 0
    # No generator: deformed repeats would measure the augmentation.
    for images, labels in batches(stack, stopping_set, watched, batch_size, variant, None, None):
        logits = network(images)
        loss = losses.training_loss(logits, labels, variant.loss, settings.gdl_weights)
        loss_sum = loss_sum + loss * len(images)
        sums = sums + losses.error_sums(logits, labels)
    values = losses.monitored(sums)
    return {
        "validation_loss": float(loss_sum) / len(watched),
        "validation_accuracy": values["accuracy"],
        "monitored": values[variant.monitor],
    }


def _validation_dsc(network, evaluated, variant: Variant) -> float:
    channels = 10 if variant.mirrored else 5
    values = [
        metrics.dsc(predict_case([network], case.images[:channels], case.mask, mode="slices") > 0.5, case.lesion)
        for case in evaluated
    ]
    return float(np.mean(values)) if values else float("nan")


def _start(job: Job, stack: Resident, device) -> dict:
    """Make a network and its optimizer, or take up where the checkpoint of the same job left them."""
    settings = job.training
    torch.manual_seed(int(rng(job.seed, "weights", job.name, job.fold).integers(2**62)))
    network = Network(stack.images.shape[-1], dropout=settings.dropout, momentum=settings.batch_norm_momentum)
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(network, settings)
    state = {"network": network, "optimizer": optimizer, "history": [], "best": None}
    facts = read_facts(job.checkpoint_file)
    if facts.get("digest") != job.digest:
        return state
    tensors = load_file(job.checkpoint_file, device=str(device))
    parts = {"network": {}, "best": {}, "optimizer": {}}
    for key, value in tensors.items():
        part, name = key.split("/", 1)
        parts[part][name] = value
    network.load_state_dict(parts["network"])
    state["best"] = parts["best"]
    state["history"] = facts["history"]
    saved = optimizer.state_dict()
    saved["state"] = {}
    for key, value in parts["optimizer"].items():
        index, name = key.split("/")
        saved["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(saved)
    return state


def _checkpoint(job: Job, state: dict) -> None:
    tensors = {f"network/{name}": value for name, value in state["network"].state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in state["best"].items()}
    for index, values in state["optimizer"].state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in values.items()}
    save_tensors(job.checkpoint_file, tensors, {"digest": job.digest, "history": state["history"]})


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
