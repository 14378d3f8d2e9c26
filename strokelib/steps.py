"""The optimization steps of a training: kernel by kernel, or as one graph that lies on the device.

A step of 64 patches is some seven hundred small kernels. On a GPU starting them takes longer than running them, so
there a whole step (cutting the patches, elastic copies, loss, gradients, optimizer) can be recorded once and played
back, and nothing of it waits for the processor.
"""

import contextlib
import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from strokelib import losses, patches
from strokelib.hardware import can_compile, multiplies_bf16
from strokelib.network import Network, margin_of
from strokelib.packed import Packed, pack
from strokelib.patches import PatchList
from strokelib.run.runtime import rng
from strokelib.run.settings import Compute, Training
from strokelib.run.variants import Variant
from strokelib.stack import Resident

ROWS_AT_ONCE = 32  # rows for elastic copies come in so many, because another number is another graph to compile
ALIGNED = 8  # places: 16 bytes of bf16, what kernels read at a time
WARM_STEPS = 3  # before a graph is recorded: libraries choose their kernels, memory is laid out


@dataclass(frozen=True)
class Recipe:
    """What decides a step besides network and patches."""

    seed: int
    fold: int
    variant: Variant
    training: Training
    compute: Compute
    elastic: tuple[float, float]  # alpha, gamma
    flips: bool = False  # whether half of the patches are turned left to right
    threads: int = 1  # of the settings: on a CPU sums depend on it


@dataclass(frozen=True, eq=False)
class Flat:
    """The parameters of a network as one vector, of which they are views, so that an optimizer updates all at once.

    `values` (n,) float32 holds those of convolutions first, in its first `convolutions` places; `names` and `shapes`
    tell the parameters in their order. Those of four axes lie with channels last. Each begins at a multiple of ALIGNED
    places, which kernels that read several numbers at a time rely on; between them are zeros.
    """

    values: nn.Parameter
    convolutions: int
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]


def flatten(network) -> Flat:
    """Lay all parameters of a network into one vector; the network goes on working, on views of it."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    of_convolutions = {
        f"{name}.{key}"
        for name, module in network.named_modules()
        if isinstance(module, kinds)
        for key, _ in module.named_parameters()
    }
    parameters = dict(network.named_parameters())
    names = sorted(parameters, key=lambda name: name not in of_convolutions)  # stable: else as the network has them
    shapes = tuple(tuple(parameters[name].shape) for name in names)
    lines = [as_line(parameters[name].detach()) for name in names]
    lines = [functional.pad(line, (0, _places(len(line)) - len(line))) for line in lines]
    count = sum(_places(parameters[name].numel()) for name in of_convolutions)
    flat = Flat(nn.Parameter(torch.cat(lines)), count, tuple(names), shapes)
    for name, view in views(flat, [flat.values.detach()]).items():
        parameters[name].data = view
    return flat


def _places(count: int) -> int:
    return -(-count // ALIGNED) * ALIGNED


def as_line(tensor):
    """Return a tensor's numbers as a line, those of four axes with the second axis last."""
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).reshape(-1)


def views(flat: Flat, parts) -> dict:
    """Return the parameters by name as views of such a vector, given whole or in consecutive parts."""
    sizes, pieces = [_places(math.prod(shape)) for shape in flat.shapes], []
    for part in parts:
        count = next(n for n in range(len(sizes) + 1) if sum(sizes[:n]) == len(part))
        # Split and not cut out one by one: the gradient is then one concatenation.
        pieces += part.split(sizes[:count])
        sizes = sizes[count:]
    found = {}
    for name, shape, piece in zip(flat.names, flat.shapes, pieces, strict=True):
        line = piece[: math.prod(shape)]
        if len(shape) == 4:
            found[name] = line.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
        else:
            found[name] = line.view(shape)
    return found


def forward_pass(network, recipe: Recipe):
    """Make the function from a batch to its loss and error sums, in the precision and form that the settings ask for.

    It takes images, labels and what `Network.draw_kept` drew.
    """
    settings, variant = recipe.training, recipe.variant
    compiled, precision = means(recipe.compute, next(network.parameters()).device)

    def forward(images, labels, kept=None):
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            found = network(images, kept=kept)
        return losses.judged(found, labels, variant.loss, settings.gdl_weights)

    return torch.compile(forward) if compiled else forward


def means(compute: Compute, device) -> tuple[bool, str]:
    """Return whether steps are compiled on a device, and in which precision they multiply: as asked, where it can.

    Compiled steps need a compiler (see `can_compile`), else they are taken kernel by kernel: slower, the same up to
    rounding. A CPU takes bf16 where it multiplies bf16 (AVX-512 BF16 or AMX), and float32 where it would convert back
    and forth; "tf32" is a GPU's.
    """
    on_cpu = torch.device(device).type == "cpu"
    exact = on_cpu and not (compute.precision == "bf16" and multiplies_bf16())
    return compute.compile and can_compile(device), "float32" if exact else compute.precision


def batches(stack: Resident, patch_set: PatchList, order, batch_size: int, variant: Variant, generator, elastic):
    """Cut the patches of `order` batch by batch; deform those that are repeats, unless generator is None.

    What all of them need to know of their patches is brought to the device before the first batch. Our choice: the
    margin around a patch, of a network that is given one, is not deformed with it.
    """
    corners, margin = patches.on_device(patch_set.starts[order], stack.images.device), margin_of(variant.network)
    begins = range(0, len(order), batch_size)
    repeats = [np.flatnonzero(patch_set.deform[order[begin : begin + batch_size]]) for begin in begins]
    rows = torch.from_numpy(np.concatenate(repeats)).to(stack.images.device).split([len(r) for r in repeats])
    for begin, deformed in zip(begins, rows, strict=True):
        part = corners[begin : begin + batch_size]
        images = patches.gather(stack.images, part, variant.patch_size, margin).float()
        labels = patches.gather(stack.labels, part, variant.patch_size)
        if generator is not None and len(deformed):
            seen = patches.within(images, margin)
            seen[deformed], labels[deformed] = patches.elastic_deform(
                seen[deformed], labels[deformed], generator, *elastic
            )
        yield images, labels


def eager_steps(network, optimizer, recipe: Recipe, stack: Resident, patch_set: PatchList):
    """Make the function that takes steps one kernel after the other.

    Returns
    -------
    function of (order, part), the patches of some steps and the number of this part of the training : a generator that
        takes a step each time and yields the sum of the losses and of `losses.error_sums` so far, both on the device,
        where nothing waits for them.
    """
    forward, size = forward_pass(network, recipe), recipe.training.batch_size

    def take(order, part: int):
        bend = rng(recipe.seed, "elastic", recipe.fold, part)
        drop = torch.Generator(stack.images.device).manual_seed(_dropout_seed(recipe, part))
        turn = rng(recipe.seed, "flips", recipe.fold, part)
        loss_sum, sums = 0, 0
        for images, labels in batches(stack, patch_set, order, size, recipe.variant, bend, recipe.elastic):
            if recipe.flips:
                turned = torch.from_numpy(turn.random(len(images)) < 0.5).to(images.device)
                images, labels = patches.flip(images, labels, turned)
            loss, errors = forward(images, labels, network.draw_kept(len(images), drop))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                loss_sum = loss_sum + loss.detach()
                sums = sums + errors
            yield loss_sum, sums

    return take


def _dropout_seed(recipe: Recipe, part: int) -> int:
    """Seed what drops channels, anew for every part, so that a resumed run is the same."""
    return int(rng(recipe.seed, "dropout", recipe.fold, part).integers(2**62))


def is_recorded(compute: Compute, device) -> bool:
    """Tell whether steps are recorded: where settings ask for compiled steps and the device is a GPU."""
    return compute.compile and torch.device(device).type == "cuda"


def recorded_steps(network, flat: Flat, optimizer, recipe: Recipe, stack: Resident, patch_set: PatchList):
    """Make the function that takes steps by playing back one recorded step.

    Parameters
    ----------
    flat : Flat, of the network
    optimizer : of `flat.values` alone; capturable on CUDA
    others as `eager_steps`

    Returns
    -------
    function of (order, part) : as that of `eager_steps`.

    The steps are those of `eager_steps` up to rounding and to other draws of the elastic fields. In precision bf16 the
    convolutions take weights and images rounded to it; batch normalization, loss and the optimizer stay float32.
    Without CUDA the same step is computed anew each time, which is how it is tested.
    """
    device, size, side = stack.images.device, recipe.training.batch_size, recipe.variant.patch_size
    generator = torch.Generator(device)
    number = torch.zeros(1, dtype=torch.int64, device=device)
    totals = torch.zeros((), device=device), torch.zeros(6, dtype=torch.float64, device=device)
    loss_of = recorded_loss(network, flat, recipe, stack)
    plan, replay, rows = [], None, 0

    def step():
        corners, bend = (part.index_select(0, number)[0] for part in plan)
        field = None
        if rows:
            noise = torch.rand((rows, 2, side, side), generator=generator, device=device)
            field = patches.smooth_field(noise, *recipe.elastic)
        kept = network.draw_kept(size, generator)
        turned = torch.rand(size, generator=generator, device=device) < 0.5 if recipe.flips else None
        optimizer.zero_grad(set_to_none=True)
        loss, errors = loss_of((corners, bend, field, turned), kept)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            totals[0].add_(loss.detach())
            totals[1].add_(errors)
            number.add_(1)

    def take(order, part: int):
        nonlocal replay, rows
        deform = patch_set.deform[order].reshape(-1, size)
        most = int(deform.sum(axis=1).max())
        # A batch is a set: its elastic copies come first, so that a fixed number of rows holds them all.
        order = np.take_along_axis(order.reshape(-1, size), np.argsort(~deform, axis=1, kind="stable"), axis=1)
        found = patch_set.starts[order].astype(np.int32), patch_set.deform[order]
        if not plan:
            plan.extend(torch.from_numpy(part).to(device) for part in found)
        for place, values in zip(plan, found, strict=True):
            place[: len(values)].copy_(torch.from_numpy(values))  # the last part of a training may be shorter
        if replay is None or most > rows:
            rows = min(size, -(-most // ROWS_AT_ONCE) * ROWS_AT_ONCE)
            with _unchanged(network, optimizer):
                replay = _record(step, generator, number)
        for counted in (number, *totals):
            counted.zero_()
        generator.manual_seed(_dropout_seed(recipe, part))
        for _ in range(len(order)):
            replay()
            yield totals

    return take


def recorded_loss(network, flat: Flat, recipe: Recipe, stack: Resident):
    """Make the function from (corners, bend, field, turned) and masks to loss and error sums of `recorded_steps`.

    corners int32 (n, 3) are cut out of the stack; bend bool (n,) tells which of the first rows take the displacement
    field (rows, 2, side, side), None for none; turned bool (n,), which are flipped, None for none; masks are those of
    `Network.draw_kept`.
    """
    function = _compiled_loss() if stack.images.is_cuda and can_compile(stack.images.device) else _loss
    # Exact float32 is not multiplied in blocks, only the paper's network can be packed, and packing moves voxels.
    packed = recipe.compute.precision != "float32" and type(network) is Network
    module = Packed(network) if packed and recipe.variant.loss not in losses.BY_PLACE else network
    margin = margin_of(recipe.variant.network)  # asked here, as an import cannot be compiled

    def loss_of(cut, kept):
        return function(module, flat.values, flat, recipe, stack, (*cut, margin), kept)

    return loss_of


def _loss(module, values, flat: Flat, recipe: Recipe, stack: Resident, cut, kept):
    """Cut a batch and compute its loss and error sums; the first rows are bent by the field where `bend` says so.

    `module` is a network, or one that is packed; `cut` ends with the margin around a patch.
    """
    corners, bend, field, turned, margin = cut
    side, rounded = recipe.variant.patch_size, recipe.compute.precision == "bf16"
    images = patches.gather(stack.images, corners, side, margin).float()
    labels = patches.gather(stack.labels, corners, side)
    if field is not None:
        rows, bend = len(field), bend[: len(field)]
        seen = patches.within(images[:rows], margin)
        warped, moved = patches.warp(seen, labels[:rows], field)
        bent = torch.where(bend[:, None, None, None], warped, seen)
        if margin:
            whole = images[:rows].clone()
            patches.within(whole, margin).copy_(bent)
            bent = whole
        images = torch.cat([bent, images[rows:]])
        labels = torch.cat([torch.where(bend[:, None, None], moved, labels[:rows]), labels[rows:]])
    if turned is not None:
        images, labels = patches.flip(images, labels, turned)
    parts = [values[: flat.convolutions], values[flat.convolutions :]]
    if rounded:
        images, parts[0] = images.bfloat16(), parts[0].bfloat16()
    named = views(flat, parts)
    if isinstance(module, Packed):
        images, labels = pack(images), pack(labels)
        named = {f"network.{name}": view for name, view in named.items()}
    images = images.contiguous(memory_format=torch.channels_last)
    found = torch.func.functional_call(module, named, (images,), {"kept": kept})
    return losses.judged(found, labels, recipe.variant.loss, recipe.training.gdl_weights)


@functools.cache
def _compiled_loss():
    """Compile `_loss` once for all networks of a process; each new shape of patches takes half a minute, once."""
    # All rows of all notebooks in one process, each with its loss, side, batch and number of bent patches: beyond the
    # limit a step would run uncompiled, and slower, without a word.
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = 1024
    return torch.compile(_loss, dynamic=False)


@contextlib.contextmanager
def _unchanged(network, optimizer):
    """Take steps that do not count: network and optimizer are afterwards what they were, in the same memory."""
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    (values,) = optimizer.param_groups[0]["params"]
    state = {name: value.clone() for name, value in optimizer.state[values].items()}
    yield
    network.load_state_dict(weights)
    for name, value in optimizer.state[values].items():
        value.copy_(state[name]) if name in state else value.zero_()  # all optimizers begin with zeros
    optimizer.zero_grad(set_to_none=True)


def _record(step, generator, number):
    """Record a step as a CUDA graph; return the function that plays it back. Without CUDA return the step itself."""
    if generator.device.type != "cuda":
        return step
    side, current = torch.cuda.Stream(), torch.cuda.current_stream()
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(WARM_STEPS):
            number.zero_()
            step()
        number.zero_()
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    # On a stream of its own: graphs recorded on one stream share cuBLAS's memory, and could not be played side by side.
    with torch.cuda.graph(graph, stream=side):
        step()
    return graph.replay
