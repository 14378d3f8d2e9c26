"""Compiled steps, compiled in earnest, beside the same steps kernel by kernel; it takes a compiler and some minutes."""

import dataclasses

import numpy as np
import pytest
import torch
from test_training import changed, job, listed, scan

from strokelib import hardware, steps
from strokelib.losses import judged
from strokelib.network import Network
from strokelib.optimizer import make_optimizer
from strokelib.run.runtime import rng
from strokelib.run.variants import KINDS_OF_LOSS
from strokelib.stack import stack_scans

FARTHEST_LOGIT = 1e-3  # after no step: rounding alone
FARTHEST_FIRST = 1e-3  # of the first losses, relative
FARTHEST_LOSS = 0.03  # mean over 100 steps, relative; rounding grows from step to step as another seed would

pytestmark = pytest.mark.skipif(not hardware.can_compile("cpu"), reason="no compiler: see hardware.can_compile")


@pytest.fixture(scope="module")
def world():
    scans = [scan(n, n) for n in range(1, 5)]
    stack = stack_scans(scans, False, "cpu", 16)
    return stack, listed(scans, range(4), stack)


def recipe_of(compiled):
    return changed(job(None), compute={"compile": compiled, "precision": "float32"}).recipe


def fresh():
    torch.manual_seed(0)
    return Network(5).to(memory_format=torch.channels_last)


def test_the_loss_of_a_batch_is_the_same_compiled(world, monkeypatch):
    stack, found = world
    images, labels = next(steps.batches(stack, found, np.arange(16), 16, recipe_of(False).variant, None, None))
    network = fresh()
    kept = network.draw_kept(16, torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = network.train()(images, kept=kept)
        compiled = torch.compile(network)(images, kept=kept)
    assert float((plain - compiled).abs().max()) < FARTHEST_LOGIT
    losses = [steps.forward_pass(fresh().train(), recipe_of(way))(images, labels, kept)[0] for way in (False, True)]
    plain, compiled = (float(loss.detach()) for loss in losses)
    assert compiled == pytest.approx(plain, rel=1e-5)


def test_a_hundred_compiled_steps_follow_those_kernel_by_kernel(world):
    stack, found = world
    order = np.concatenate([rng(1, "order", part).permutation(len(found)) for part in range(13)])[: 100 * 16]
    losses = {}
    for compiled in (False, True):
        recipe = dataclasses.replace(recipe_of(compiled), elastic=(0.0, 0.12))
        network = fresh().train()
        optimizer = make_optimizer(network.parameters(), recipe.training)
        taken = steps.eager_steps(network, optimizer, recipe, stack, found)(order, 1)
        losses[compiled] = np.diff([0, *(float(total) for total, _ in taken)])
    away = np.abs(losses[True] / losses[False] - 1)
    assert len(away) == 100 and away[:3].max() < FARTHEST_FIRST
    assert abs(losses[True].mean() / losses[False].mean() - 1) < FARTHEST_LOSS
    assert losses[True][-10:].mean() < 0.5 * losses[True][:10].mean(), "and it learns"


def loss_and_gradient(judge, loss, logits, target):
    leaf = logits.clone().requires_grad_()
    found, sums = judge(leaf, target, loss)
    found.backward()
    return found.detach(), leaf.grad, sums


@pytest.mark.parametrize("loss", KINDS_OF_LOSS)
def test_each_loss_is_the_same_compiled(loss):
    """Torch writes C++ for the processor at hand, which may refuse it."""
    logits = torch.randn(4, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(4, 32, 32, dtype=torch.uint8)
    target[0, 4:20, 6:25] = target[1, 10, 10] = target[2] = 1
    torch.compiler.reset()
    compiled = loss_and_gradient(torch.compile(judged), loss, logits, target)
    plain = loss_and_gradient(judged, loss, logits, target)
    assert plain[1].abs().sum() > 0
    for one, other in zip(compiled, plain, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)
