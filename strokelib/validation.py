"""What a training is judged by on its way: statistics measured, the stopping set, the DSC of whole slices."""

import numpy as np
import torch

from strokelib import losses, metrics
from strokelib.inference import predict_slices
from strokelib.network import measure_normalization
from strokelib.patches import PatchList
from strokelib.run.runtime import rng
from strokelib.run.settings import Training
from strokelib.run.variants import Variant
from strokelib.stack import Resident
from strokelib.steps import Recipe, batches

VALIDATION_BATCHES = {"cpu": 1, "cuda": 16}  # passed through the network at a time
MONITORS = ("l1_error", "dice")  # of losses.monitored: whichever a variant stops on, both are followed


def measure_statistics(network, recipe: Recipe, stack: Resident, training_set: PatchList) -> None:
    """Set mean and variance of batch normalization to those of training patches, with the weights as they are.

    The mean over training.statistics_batches seeded batches, the same at every validation, without elastic copies and
    without dropout, which prediction does not see either. 0 leaves what it remembers of past steps.

    Differs: the paper predicts with running statistics, which after few steps still are of an earlier network.
    """
    settings = recipe.training
    if settings.statistics_batches == 0:
        return
    size = settings.batch_size
    count = min(settings.statistics_batches, len(training_set) // size)
    order = rng(recipe.seed, "statistics", recipe.fold).permutation(len(training_set))[: count * size]
    cut = batches(stack, training_set, order, size, recipe.variant, None, None)
    measure_normalization(network, (images for images, _ in cut))


def watched(count: int, settings: Training) -> np.ndarray:
    """Choose which of the stopping patches to watch, at regular steps, the same at every validation; or all."""
    chosen = min(count, settings.stopping_batches * settings.batch_size or count)
    return np.floor(np.arange(chosen) * count / chosen).astype(int)


@torch.no_grad()
def validate(network, recipe: Recipe, stack: Resident, stopping_set: PatchList) -> dict[str, float]:
    """Compute loss, accuracy and monitored quantities of the watched patches; the loss by batches, as in training.

    On a GPU in the precision of training, which there decides how long it takes.
    """
    variant, on_gpu, batch_size = recipe.variant, stack.images.is_cuda, recipe.training.batch_size

    def loss_of(logits, labels):
        return losses.training_loss(logits, labels, variant.loss, recipe.training.gdl_weights)

    network.eval()
    chosen = watched(len(stopping_set), recipe.training)
    sums, loss_sum = 0, 0
    at_once = batch_size * VALIDATION_BATCHES[stack.images.device.type]
    # No generator: deformed repeats would measure the augmentation.
    for images, labels in batches(stack, stopping_set, chosen, at_once, variant, None, None):
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
        "validation_loss": float(loss_sum) / len(chosen),
        "validation_accuracy": values["accuracy"],
        "monitored": values[variant.monitor],
    } | {monitor: values[monitor] for monitor in MONITORS}


def validation_dsc(network, evaluated, variant: Variant) -> float:
    """Average the DSC of scans by a network, on whole slices at a threshold of 0.5; NaN without a scan."""
    values = [
        metrics.dsc(predict_slices([network], scan.inputs(variant.mirrored), scan.mask) > 0.5, scan.lesion)
        for scan in evaluated
    ]
    return float(np.mean(values)) if values else float("nan")
