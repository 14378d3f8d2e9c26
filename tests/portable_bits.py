"""Print the sha256 of what each stage of the method computes on one small synthetic scan, one stage a line, in order.

    python tools/pinned.py demo python tests/portable_bits.py

and as another processor, in a quarter of an hour (qemu-user 10; 7.2 stops at the first gather instruction):

    python tools/pinned.py demo qemu-x86_64 -cpu Haswell .venv/bin/python tests/portable_bits.py

The first line that is another than in `portable_bits.json` names the stage whose bits depend on the processor, or on a
version: a release of torch, numpy or scipy may round otherwise, and then the file is made anew and says who was seen.
"""

import dataclasses
import hashlib

import numpy as np
import torch

from strokelib import cases, inference, patches, preprocess, steps
from strokelib.network import Network
from strokelib.optimizer import make_optimizer
from strokelib.phantom.scan import make_case
from strokelib.run.runtime import prepare_torch, rng
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS
from strokelib.stack import stack_scans

STEPS, BATCH = 3, 4
NAMES = ("CT", "CT_CBF", "CT_CBV", "CT_MTT", "CT_Tmax")  # of the modalities, in their order


def say(stage: str, arrays) -> None:
    """Print the stage with the sha256 of its arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array.detach() if isinstance(array, torch.Tensor) else array))
    print(f"{stage}: {found.hexdigest()}", flush=True)


def synthetic(settings) -> cases.Case:
    """Make a scan of two slices."""
    cohort = dataclasses.replace(settings.cohort, training_patients=1, testing_patients=1, max_slices=2)
    made = make_case(cohort, "TRAINING", 1)
    say("scan", [made.images[name] for name in sorted(made.images)])
    images = np.stack([made.images[name] for name in NAMES]).astype(np.float32)
    return cases.Case(images, made.images["OT"] > 0, np.array(made.spacing), 1, "1")


def train(settings, scan):
    """Take a few steps on patches of the scan, half of them elastic copies; return the network."""
    variant = VARIANTS["rt_sm"]
    stack = stack_scans([scan], variant.mirrored, "cpu", variant.patch_size // 2)
    count, side = STEPS * settings.training.batch_size, variant.patch_size
    sampling = dataclasses.replace(settings.sampling, patches_per_case=count)
    centers = patches.sample_centers(scan.lesion, scan.mask, sampling, side, rng(0, "patches", 0, scan.number))
    listed = patches.patch_list([centers], stack.first_slice, stack.pad, side)
    listed = dataclasses.replace(listed, deform=np.arange(len(listed)) % 2 == 1)
    elastic = settings.sampling.elastic_alpha, settings.sampling.elastic_gamma
    order = rng(0, "order").permutation(len(listed))
    batch = next(steps.batches(stack, listed, order, settings.training.batch_size, variant, rng(0), elastic))
    say("batch", batch)
    torch.manual_seed(0)
    network = Network(stack.images.shape[-1], dropout=settings.training.dropout, momentum=0.1)
    network = network.to(memory_format=torch.channels_last)
    say("first weights", network.state_dict().values())
    optimizer = make_optimizer(network.parameters(), settings.training, portable=True)
    recipe = steps.Recipe(0, 0, variant, settings.training, settings.compute, elastic)
    taken = steps.eager_steps(network, optimizer, recipe, stack, listed)(order, 1)
    for step, sums in enumerate(taken, start=1):
        say(f"loss of step {step}", sums)
        say(f"gradient of step {step}", [parameter.grad for parameter in network.parameters()])
        say(f"weights after step {step}", network.state_dict().values())
    return network


def main() -> None:
    settings = load_settings("demo")
    settings = dataclasses.replace(settings, training=dataclasses.replace(settings.training, batch_size=BATCH))
    prepare_torch(1)
    scan = preprocess.preprocess_case(synthetic(settings), settings.preprocess.registration, "cpu")
    say("registration", [scan.matrix])
    say("preprocessed", [scan.images, scan.mask])
    network = train(settings, scan)
    # Few patches and small batches, so that an emulated processor comes to the end in minutes.
    how = inference.Sweep(step=64, passes=2)
    found = inference.predict([network], scan.images, scan.mask, how, rng(1), keep=("spread",))
    say("prediction", [found.probability, found.spread])


if __name__ == "__main__":
    main()
