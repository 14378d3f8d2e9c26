import dataclasses

import numpy as np
import pytest
import torch
from decoders import check_passes
from test_training import job, listed, scan

from strokelib import crossvalidation, inference, patches, steps, two_streams
from strokelib.evaluation.remarks import passes_cost
from strokelib.inference import Sweep
from strokelib.network import Network, count_parameters, layer_table, margin_of
from strokelib.optimizer import make_optimizer
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS
from strokelib.stack import stack_scans

MARGIN = two_streams.Network.margin


def network(channels=5):
    torch.manual_seed(0)
    return two_streams.Network(channels).eval()


def test_the_second_stream_is_four_stages_of_an_encoder():
    """Blocks of 8 to 64 maps, what leads from one to the next, the first convolution, and what it says in 8 maps."""
    blocks = sum(2 * (9 * m * m + m) + 2 * 3 * m for m in (8, 16, 32, 64))
    ways = 90 * 8 + 8 + sum(9 * m * m + m + 3 * m for m in (8, 16, 32))
    found = count_parameters(two_streams.Network(10))["total"] - count_parameters(Network(10))["total"]
    assert found == blocks + ways + 64 * 8 + 8 and margin_of("two_streams") == 64 and margin_of("network") == 0
    sides = [row["side"] for row in layer_table(two_streams.Network(10)) if row["kind"] == "coarse"]
    assert sides == [96, 48, 24, 12], "192 voxels at half resolution, and on"


def test_it_sees_what_lies_forty_voxels_beyond_the_patch():
    images = torch.randn(1, 5, 192, 192, generator=torch.Generator().manual_seed(1))
    other = images.clone()
    other[..., :20, :20] += 3  # more than 40 voxels from the patch
    with torch.no_grad():
        first, second = network()(images), network()(other)
    assert first.shape == (1, 2, 64, 64) and not torch.equal(first, second)
    for cut, sides in ((2, "60 x 64"), (64, "-64 x 64")):
        with pytest.raises(ValueError, match=f"multiples of 16, got {sides} within a margin of 64"):
            network()(images[:, :, cut:-cut])


def test_what_is_seen_around_lies_where_it_belongs():
    """Told by a stream that passes on the brightness of the places alone, the first maps are those of the patch."""
    net = network(1)
    net.coarse = torch.nn.ModuleList([torch.nn.AvgPool2d(8)])
    net.tell = torch.nn.Identity()
    torch.nn.init.zeros_(net.enter.weight)
    torch.nn.init.zeros_(net.enter.bias)
    ramp = torch.arange(192.0)[:, None] + 1000 * torch.arange(192.0)
    with torch.no_grad():
        found = net.begin(ramp[None, None])
    np.testing.assert_allclose(found[0, 0].numpy(), ramp[64:128, 64:128].numpy(), rtol=1e-4)


def test_shapes_and_stochastic_passes():
    class Padded(two_streams.Network):
        """Given the margin as zeros."""

        def deterministic(self, x, *level):
            return super().deterministic(torch.nn.functional.pad(x, (MARGIN,) * 4), *level)

    check_passes(Padded)


def test_patches_are_cut_with_their_margin_and_a_stack_without_one_is_refused():
    stack = torch.randn(2, 60, 50, 3)
    starts = np.array([[0, 20, 12], [1, 28, 22]])
    whole = patches.gather(stack, starts, 16, 12)
    assert whole.shape == (2, 3, 40, 40)
    assert torch.equal(patches.within(whole, 12), patches.gather(stack, starts, 16))
    assert torch.equal(whole[1], stack[1, 16:56, 10:50].permute(2, 0, 1))
    with pytest.raises(ValueError, match="a patch at 12 has no margin of 13 voxels"):
        patches.gather(stack, starts, 16, 13)


@pytest.mark.parametrize("by", ["patches", "slices"])
def test_a_prediction_is_that_of_each_patch_with_its_surroundings(by):
    rng = np.random.default_rng(0)
    mask = np.zeros((40, 48, 1), bool)
    mask[4:30, 6:40] = True
    images = (rng.standard_normal((5, *mask.shape)) * mask).astype(np.float32)
    net = network()
    padded = torch.from_numpy(np.pad(images, ((0, 0), (144, 144), (144, 144), (0, 0))))[..., 0]
    if by == "slices":
        found = inference.predict_slices([net], images, mask)
        # A box of 26 x 34 voxels from (4, 6), widened to 32 x 48 on both sides: from (1, -1).
        batch = padded[None, :, 145 - MARGIN : 145 + 32 + MARGIN, 143 - MARGIN : 143 + 48 + MARGIN]
        with torch.no_grad():
            p = net(batch).softmax(1)[0, 1].numpy()
        expected = np.pad(p[:, 1:], ((1, 7), (0, 1)))
    else:
        how = Sweep(16, patch_size=32)
        found = inference.predict([net], images, mask, how).probability
        total, count = np.zeros((72, 80)), np.zeros((72, 80))
        for _, x, y in patches.patch_grid(mask, 16, 32):
            low = 144 - 16 - MARGIN
            batch = padded[None, :, low + x : low + x + 32 + 2 * MARGIN, low + y : low + y + 32 + 2 * MARGIN]
            with torch.no_grad():
                total[x : x + 32, y : y + 32] += net(batch).softmax(1)[0, 1].numpy()
            count[x : x + 32, y : y + 32] += 1
        expected = (total / np.maximum(count, 1))[16:-16, 16:-16]
    assert np.allclose(found[..., 0], np.where(mask[..., 0], expected, 0), atol=1e-5)


def test_a_scan_is_measured_with_what_lies_around_its_patches(monkeypatch):
    images = np.random.default_rng(0).standard_normal((5, 48, 48, 1)).astype(np.float32)
    mask = np.ones((48, 48, 1), bool)
    seen, measure = [], inference.measure_normalization
    monkeypatch.setattr(inference, "measure_normalization", lambda net, given: seen.extend(given) or measure(net, seen))
    how = Sweep(16, patch_size=32, scan_statistics=True)
    found = inference.predict([network()], images, mask, how).probability
    assert seen[0].shape == (9, 5, 32 + 2 * MARGIN, 32 + 2 * MARGIN) and np.isfinite(found).all()
    padded = torch.from_numpy(np.pad(images, ((0, 0), (80, 80), (80, 80), (0, 0))))[..., 0]
    for part, (_, x, y) in zip(seen[0], patches.patch_grid(mask, 16, 32), strict=True):
        assert torch.equal(part, padded[:, x : x + 160, y : y + 160])


def test_networks_with_other_margins_do_not_vote_together():
    images, mask = np.ones((5, 16, 16, 1), np.float32), np.ones((16, 16, 1), bool)
    with pytest.raises(ValueError, match=r"the same margin around a patch, got \[0, 64\]"):
        inference.predict([network(), Network(5)], images, mask, Sweep(16, patch_size=16))


def batch_of(deform: bool):
    """Return images and labels of a few patches as the two kinds of steps cut them, with a margin."""
    scans = [scan(n, n) for n in (1, 2)]
    row = dataclasses.replace(job(None).recipe.variant, network="two_streams")
    stack = stack_scans(scans, False, "cpu", row.patch_size // 2 + MARGIN)
    found = listed(scans, range(2), stack)
    found = dataclasses.replace(found, deform=np.full(len(found), deform))
    generator = np.random.default_rng(0)
    return row, stack, found, next(steps.batches(stack, found, np.arange(4), 4, row, generator, (2.5, 0.12)))


def test_elastic_copies_bend_the_patch_and_leave_what_lies_around():
    row, stack, found, (plain, labels) = batch_of(deform=False)
    _, _, _, (bent, moved) = batch_of(deform=True)
    assert plain.shape[-1] == row.patch_size + 2 * MARGIN and labels.shape[-1] == row.patch_size
    assert torch.equal(plain, patches.gather(stack.images, found.starts[:4], row.patch_size, MARGIN))
    inner = patches.within(bent, MARGIN)
    assert not torch.equal(inner, patches.within(plain, MARGIN)) and moved.shape == labels.shape
    around = torch.ones(bent.shape[-2:], dtype=torch.bool)
    patches.within(around, MARGIN).zero_()
    assert torch.equal(bent[..., around], plain[..., around])


@pytest.mark.parametrize("recorded", [False, True])
def test_it_learns_by_either_kind_of_steps(recorded):
    row, stack, found, _ = batch_of(deform=True)
    recipe = dataclasses.replace(job(None).recipe, variant=row, elastic=(2.5, 0.12))
    net = network().to(memory_format=torch.channels_last).train()
    before = net.tell.weight.detach().clone()
    if recorded:
        flat = steps.flatten(net)
        optimizer = make_optimizer([flat.values], recipe.training, recorded=True)
        take = steps.recorded_steps(net, flat, optimizer, recipe, stack, found)
    else:
        take = steps.eager_steps(net, make_optimizer(net.parameters(), recipe.training), recipe, stack, found)
    sums = [float(total) for total, _ in take(np.arange(3 * recipe.training.batch_size) % len(found), 1)]
    assert len(sums) == 3 and np.isfinite(sums).all() and not torch.equal(net.tell.weight, before)


def test_the_stack_of_a_variant_has_room_for_the_margin():
    settings = load_settings("demo")
    for name, pad in (("network", 32), ("two_streams", 96)):
        row = dataclasses.replace(VARIANTS["rt_sm"], network=name)
        assert crossvalidation.resident([scan(1, 1)], row, settings, "cpu").pad == pad


def test_passes_share_the_second_stream():
    """Three passes cost what comes before the dropout once, the second stream with it."""
    layers = layer_table(two_streams.Network(10))
    plain = [row for row in layers if row["kind"] != "coarse"]
    assert 1 < passes_cost(layers, 3) < passes_cost(plain, 3) < 3
