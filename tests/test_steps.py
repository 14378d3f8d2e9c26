"""A recorded step is the eager one: here without CUDA, where it is computed anew each time instead of played back."""

import dataclasses

import numpy as np
import pytest
import torch
from test_training import job, listed, scan

from strokelib import deep_supervision, steps
from strokelib.network import Network
from strokelib.optimizer import make_optimizer
from strokelib.run.runtime import rng
from strokelib.stack import stack_scans

SIDE = 32


@pytest.fixture(scope="module")
def world():
    scans = [scan(n, n) for n in range(1, 5)]
    stack = stack_scans(scans, False, "cpu", SIDE // 2)
    found = listed(scans, range(4), stack)
    return stack, dataclasses.replace(found, deform=np.arange(len(found)) % 5 == 0)


def take(
    world, recorded: bool, elastic=(0.0, 0.12), epochs=1, training=None, count=None, flips=False, loss=None, **compute
):
    """Take the steps of some epochs, of so many patches; return the losses step by step and the network."""
    stack, found = world
    base = job(None, **(training or {})).recipe
    compute = dataclasses.replace(base.compute, **compute)
    row = dataclasses.replace(base.variant, loss=loss or base.variant.loss)
    recipe = dataclasses.replace(base, elastic=elastic, flips=flips, compute=compute, variant=row)
    torch.manual_seed(0)
    network = Network(5).to(memory_format=torch.channels_last).train()
    if recorded:
        flat = steps.flatten(network)
        optimizer = make_optimizer([flat.values], base.training, recorded=True)
        epoch_steps = steps.recorded_steps(network, flat, optimizer, recipe, stack, found)
    else:
        optimizer = make_optimizer(network.parameters(), base.training)
        epoch_steps = steps.eager_steps(network, optimizer, recipe, stack, found)
    sums = []
    for epoch in range(1, epochs + 1):
        order = rng(1, "order", epoch).permutation(len(found))[:count]
        sums.append([float(total) for total, _ in epoch_steps(order, epoch)])
    return np.diff(sums, prepend=0), network


@pytest.fixture(scope="module")
def eager(world):
    return take(world, False)


@pytest.mark.parametrize("precision", ["float32", "tf32"])  # the latter passes packed patches
def test_a_recorded_step_is_the_eager_one(world, eager, precision):
    """The first losses agree to rounding; Adadelta's first steps then divide by almost nothing and spread it."""
    found, network = take(world, True, precision=precision)
    losses, plain = eager
    assert np.abs(found / losses - 1)[0, :2].max() < 1e-3 and np.abs(found / losses - 1).max() < 0.05
    assert set(network.state_dict()) == set(plain.state_dict())
    for name, value in network.state_dict().items():
        assert value.shape == plain.state_dict()[name].shape


@pytest.mark.parametrize(("optimizer", "rate", "off"), [("sgd", 0.01, 1e-5), ("adamw", 1e-3, 1e-3)])
def test_a_recorded_step_is_the_eager_one_by_other_optimizers(world, optimizer, rate, off):
    """Without elastic copies batches keep their order, and patches the channels they drop: rounding alone is left.

    SGD's steps are in proportion to the gradient, rounding included; AdamW's first ones have but its sign.
    """
    stack, found = world
    plain = stack, dataclasses.replace(found, deform=np.zeros(len(found), bool))
    how = {"optimizer": optimizer, "learning_rate": rate}
    (losses, eager), (recorded, network) = (take(plain, way, training=how, count=64) for way in (False, True))
    assert losses.shape == (1, 4) and np.abs(recorded / losses - 1).max() < off
    assert recorded[0, 3] < 0.9 * recorded[0, 0], "it learns"
    if optimizer == "sgd":
        for name, value in network.named_parameters():
            assert torch.allclose(value, dict(eager.named_parameters())[name], rtol=1e-3, atol=1e-5), name


def test_a_loss_that_looks_at_places_is_not_packed(world):
    """Packing moves voxels: the boundary loss would count steps between some that are not neighbors."""
    kept = [take(world, recorded, loss="boundary", **{"precision": "tf32"} if recorded else {})
            for recorded in (False, True)]  # fmt: skip
    np.testing.assert_allclose(kept[1][0][0, :2], kept[0][0][0, :2], rtol=1e-3)  # packed they are off by 2.5e-3


def test_bf16_rounds_and_learns_as_well(world, eager):
    found, network = take(world, True, precision="bf16")
    assert not np.array_equal(found, eager[0]) and np.abs(found / eager[0] - 1).max() < 0.1
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_recorded_steps_repeat_and_elastic_copies_change_them(world):
    one, _ = take(world, True, (2.5, 0.12), epochs=2)
    same, _ = take(world, True, (2.5, 0.12), epochs=2)
    still, _ = take(world, True, (0.0, 0.12), epochs=2)
    assert np.array_equal(one, same) and not np.array_equal(one, still)
    assert one[1].mean() < one[0].mean()


def test_only_marked_patches_are_bent(world):
    """With no mark among the rows, a field of any size changes nothing; with marks it does."""
    stack, found = world
    recipe = job(None).recipe
    network = Network(5).to(memory_format=torch.channels_last).train()
    loss_of = steps.recorded_loss(network, steps.flatten(network), recipe, stack)
    corners = torch.from_numpy(found.starts[:16].astype(np.int32))
    field = 3 * torch.randn(8, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    kept = network.draw_kept(16, torch.Generator().manual_seed(0))
    bend = torch.zeros(16, dtype=torch.bool)
    plain, none, some = (
        float(loss_of(cut, kept)[0].detach())
        for cut in (
            (corners, bend, None, None),
            (corners, bend, field, None),
            (corners, bend.logical_not(), field, None),
        )
    )
    assert plain == none != some


def test_turned_patches_are_turned_and_all_of_them_turned_are_the_network_turned(world):
    """A network whose kernels are turned left to right says of turned patches what it said of them before."""
    stack, found = world
    corners, no = torch.from_numpy(found.starts[:16].astype(np.int32)), torch.zeros(16, dtype=torch.bool)
    losses = {}
    for turned in (None, no, ~no):
        for kernels in ("as they are", "turned"):
            torch.manual_seed(0)
            network = Plain(5)
            if kernels == "turned":
                network.conv.weight.data = network.conv.weight.data.flip(2)
            loss_of = steps.recorded_loss(network, steps.flatten(network), job(None).recipe, stack)
            key = "none" if turned is None else str(bool(turned[0]))
            losses[key, kernels] = float(loss_of((corners, no, None, turned), None)[0].detach())
    assert losses["none", "as they are"] == losses["False", "as they are"] != losses["True", "as they are"]
    assert losses["True", "turned"] == pytest.approx(losses["none", "as they are"], rel=1e-6)


class Plain(torch.nn.Module):
    """One convolution."""

    def __init__(self, in_channels):
        super().__init__()
        self.conv = torch.nn.Conv2d(in_channels, 2, 3, padding=1)

    def forward(self, x, kept=None):
        return self.conv(x)


@pytest.mark.parametrize("recorded", [False, True])
def test_half_of_the_patches_are_turned_where_asked_for(world, monkeypatch, recorded):
    """The same share either way; none where it is not asked for."""
    stack, found = world
    seen = []
    flip = steps.patches.flip
    monkeypatch.setattr(steps.patches, "flip", lambda *batch: seen.append(batch[2]) or flip(*batch))
    take((stack, found), recorded)
    assert not seen
    take((stack, found), recorded, flips=True)
    share = torch.cat(seen).float().mean().item()
    assert len(seen) == len(found) // 16 and 0.35 < share < 0.65


@pytest.mark.parametrize("recorded", [False, True])
def test_a_network_that_is_supervised_at_several_depths_learns(world, monkeypatch, recorded):
    monkeypatch.setattr("test_steps.Network", deep_supervision.Network)
    found, network = take(world, recorded, epochs=3)
    torch.manual_seed(0)
    first = deep_supervision.Network(5).coarser[0].weight
    assert found[-1].mean() < found[0].mean() and not torch.equal(network.coarser[0].weight, first)


def test_a_flat_network_is_the_same_network():
    torch.manual_seed(0)
    network = Network(10).to(memory_format=torch.channels_last).eval()
    images = torch.randn(2, 10, 32, 32).to(memory_format=torch.channels_last)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        expected = network(images)
        flat = steps.flatten(network)
        assert torch.equal(network(images), expected)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in network.parameters() if p.ndim == 4)
    addresses = [p.data_ptr() - flat.values.data_ptr() for p in network.parameters()]
    assert all(address % (4 * steps.ALIGNED) == 0 for address in addresses) and len(set(addresses)) == len(addresses)
    with torch.no_grad():
        flat.values.zero_()
    assert all((p == 0).all() for p in network.parameters())
    named = steps.views(flat, [flat.values[: flat.convolutions], flat.values[flat.convolutions :]])
    assert all("conv" in n or n.split(".")[0] in ("enter", "leave", "up") for n in list(named)[:10])
    assert {n: v.shape for n, v in named.items()} == {n: p.shape for n, p in network.named_parameters()}


@pytest.mark.parametrize("kind", ["adadelta", "adamw", "sgd"])
def test_steps_that_do_not_count_leave_nothing_behind(world, kind):
    """What a recording does first: steps are taken, and network and optimizer are as before, in the same memory."""
    network = Network(5).to(memory_format=torch.channels_last).train()
    flat = steps.flatten(network)
    optimizer = make_optimizer([flat.values], job(None, optimizer=kind).recipe.training, recorded=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for again in (False, True):
        with steps._unchanged(network, optimizer):
            network(torch.randn(2, 5, 32, 32)).sum().backward()
            flat.values.grad = torch.ones_like(flat.values)
            optimizer.step()
            if again:
                state = {name: value.clone() for name, value in optimizer.state[flat.values].items()}
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
        assert all((value == 0).all() for value in optimizer.state[flat.values].values())
    assert any((value != 0).any() for value in state.values())


def test_recording_is_for_gpus_that_are_asked_to():
    compute = job(None).recipe.compute
    compiled = dataclasses.replace(compute, compile=True)
    assert [steps.is_recorded(c, d) for c in (compute, compiled) for d in ("cpu", "cuda")] == [False] * 3 + [True]
