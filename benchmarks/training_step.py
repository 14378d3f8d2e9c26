"""One training step of 64 patches of 10 x 64 x 64: forward, loss, backward, Adadelta.

Ours kernel by kernel is what `training.train_fold` does with the demo's settings: channels last in memory, our own
backward pass of PReLU, the optimizer's updates for all parameters at once. Against it the form of the authors' release:
the same network of torch's own parts, eager, contiguous. What the study's settings ask for is compiled, which fuses
batch normalization, PReLU, dropout and sums, and in bf16 where the processor multiplies it (`steps.means`).
"""

import dataclasses
import time

import measure
import torch
from torch import nn

from strokelib import steps
from strokelib.hardware import can_compile, multiplies_bf16
from strokelib.network import Network, PReLU
from strokelib.optimizer import make_optimizer
from strokelib.run import runtime
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS

PATCHES = 64
WORK = f"training step, {PATCHES} patches of 10 x 64 x 64"
AUTHORS, EAGER = "the authors' form: eager, contiguous", "ours, kernel by kernel"
FEW, MANY = 1.4, 2  # least ratio of kernel by kernel to the fastest, without and with bf16 in hardware


def network(ours: bool, device) -> Network:
    torch.manual_seed(0)
    made = Network(10)
    if ours:
        return made.to(device, memory_format=torch.channels_last)
    for module in list(made.modules()):
        for name, child in module.named_children():
            if isinstance(child, PReLU):
                setattr(module, name, nn.PReLU(child.num_parameters, init=0.0))
    return made.to(device)


def make_step(ours: bool, images, labels, **compute):
    """Return a function that takes one step and returns its loss."""
    settings = load_settings("phantom")
    exact = dataclasses.replace(settings.compute, precision="float32", compile=False)
    compute = dataclasses.replace(exact, **compute)
    recipe = steps.Recipe(0, 0, VARIANTS["rt_sm"], settings.training, compute, (2.5, 0.12))
    net = network(ours, images.device)
    images = images.to(memory_format=torch.channels_last) if ours else images.contiguous()
    forward = steps.forward_pass(net, recipe)
    optimizer = make_optimizer(net.parameters(), settings.training, foreach=ours)

    def step():
        loss, _ = forward(images, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def convolutions(step) -> float:
    """Return the share of a step that the convolutions take, forward and backward."""
    with torch.profiler.profile() as profiler:
        for _ in range(2):
            step()
    spent = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    return sum(time for name, time in spent.items() if "convolution" in name) / sum(spent.values())


def compare(repeats: int) -> list:
    device = runtime.choose_device("auto")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(PATCHES, 10, 64, 64, generator=generator).to(device)
    labels = (torch.rand(PATCHES, 64, 64, generator=generator) > 0.9).to(torch.uint8).to(device)
    steps = {EAGER: make_step(True, images, labels), AUTHORS: make_step(False, images, labels)}
    if not can_compile(device):
        print("no compiler: see hardware.can_compile")
    else:
        steps["ours, compiled"] = make_step(True, images, labels, compile=True)
    if device.type == "cuda" or multiplies_bf16():
        steps["ours, compiled, bf16"] = make_step(True, images, labels, compile=True, precision="bf16")
    fastest = list(steps)[-1]
    agreement, reference = {}, None
    for name, step in steps.items():
        began = time.perf_counter()
        found = torch.tensor([step() for _ in range(3)])
        reference = found if reference is None else reference
        far = float((found / reference - 1).abs().max())
        if far > (0.02 if "bf16" in name else 1e-3):
            raise SystemExit(f"{name}: the losses of three steps differ from ours by {far:.2g} of their value")
        first = f"; first steps {time.perf_counter() - began:.0f} s" if "compiled" in name else ""
        agreement[name] = f"losses of 3 steps within {far:.0e}{first}"
    for name, step in steps.items():
        agreement[name] += f"; {convolutions(step):.0%} of it in convolutions"
    seconds = measure.in_turn(steps, repeats)
    target = {EAGER: MANY if "bf16" in fastest else FEW, AUTHORS: 2}
    return measure.rows(WORK, seconds, EAGER, agreement, repeats, {AUTHORS: 1.25}) + measure.rows(
        f"{WORK}, as the study's settings ask", seconds, fastest, {}, repeats, target
    )


if __name__ == "__main__":
    measure.main(compare)
