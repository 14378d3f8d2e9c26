import dataclasses

import numpy as np
import pytest
import torch

from strokelib import inference, patches
from strokelib.inference import Sweep
from strokelib.network import Network, make_network
from strokelib.run.settings import load_settings
from strokelib.run.variants import VARIANTS, method


def network(seed, channels=5):
    torch.manual_seed(seed)
    return Network(channels).eval()


@pytest.fixture(scope="module")
def scan():
    rng = np.random.default_rng(0)
    mask = np.zeros((72, 64, 2), bool)
    mask[10:60, 8:50] = True
    mask[30:40, :, 1] = False
    images = (rng.standard_normal((5, *mask.shape)) * mask).astype(np.float32)
    return images, mask


def plainly(networks, images, mask, step, size, passes=None):
    """The method sentence by sentence: every patch alone, summed in place, divided by the count."""
    pad = size // 2
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    total, count = np.zeros(padded.shape[1:]), np.zeros(padded.shape[1:])
    for k in range(mask.shape[2]):
        for x0 in range(0, mask.shape[0], step):
            for y0 in range(0, mask.shape[1], step):
                if not mask[x0 : x0 + step, y0 : y0 + step, k].any():
                    continue
                x = min(x0 + step // 2, mask.shape[0] - 1)
                y = min(y0 + step // 2, mask.shape[1] - 1)
                patch = torch.from_numpy(padded[None, :, x : x + size, y : y + size, k])
                with torch.no_grad():
                    p = np.mean([n(patch).softmax(1)[0, 1].numpy() for n in networks], axis=0)
                total[x : x + size, y : y + size, k] += p
                count[x : x + size, y : y + size, k] += 1
    mean = (total / np.maximum(count, 1))[pad:-pad, pad:-pad]
    return np.where(mask, mean, 0)


@pytest.mark.parametrize(("step", "size", "batch"), [(9, 32, 7), (16, 48, 64)])
def test_prediction_is_the_plain_method(scan, step, size, batch):
    nets = [network(0), network(1)]
    ours = inference.predict(nets, *scan, Sweep(step, patch_size=size, batch_size=batch)).probability
    assert ours.dtype == np.float32 and ours.shape == scan[1].shape
    assert np.abs(ours - plainly(nets, *scan, step, size)).max() < 1e-5
    assert (ours[~scan[1]] == 0).all() and (ours[scan[1]] > 0).all()


@pytest.mark.parametrize("passes", [1, 3])
def test_flips_average_with_the_network_turned(scan, passes):
    """Of a symmetric scan the map is symmetric, and the mean of the plain map and its own mirror image."""
    how, keep = Sweep(16, passes, 0.3, 32), ("spread",) if passes > 1 else ()
    drawn = [np.random.default_rng(3) for _ in range(2)]
    both, plain = (
        inference.predict([network(0)], *scan, dataclasses.replace(how, flips=flips), generator, keep=keep)
        for flips, generator in zip((True, False), drawn, strict=True)
    )
    assert np.abs(both.probability - plain.probability).max() > 1e-3
    assert (both.probability[~scan[1]] == 0).all() and both.probability.max() <= 1
    symmetric = scan[0] + scan[0][:, ::-1], np.ones_like(scan[1])
    whole = inference.predict_slices([network(0)], *symmetric, dataclasses.replace(how, flips=True, passes=1))
    assert np.allclose(whole, whole[::-1], atol=1e-6), "of a symmetric scan the map is symmetric"
    alone = inference.predict_slices([network(0)], *symmetric)
    assert np.allclose(whole, (alone + alone[::-1]) / 2, atol=1e-6) and not np.allclose(alone, alone[::-1], atol=1e-3)


class Normalized(torch.nn.Module):
    """Normalize the inputs and weigh them, voxel by voxel."""

    margin = 0

    def __init__(self):
        super().__init__()
        self.norm, self.leave = torch.nn.BatchNorm2d(5), torch.nn.Conv2d(5, 2, 1)

    def forward(self, x):
        return self.stochastic(self.deterministic(x))

    def deterministic(self, x):
        return self.norm(x)

    def stochastic(self, state, rate=0.0, keys=None):
        return self.leave(state)


@pytest.mark.parametrize("predict", [
    lambda *given: inference.predict(*given).probability,
    inference.predict_slices,
])  # fmt: skip
def test_normalization_by_the_scan_is_blind_to_the_scale_of_its_inputs(scan, predict):
    torch.manual_seed(0)
    images, mask = scan
    network, how = Normalized().eval(), Sweep(16, patch_size=32, scan_statistics=True)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = predict([network], images, mask, how)
    plain = predict([network], images, mask, dataclasses.replace(how, scan_statistics=False))
    scales = np.array([2, 3, 0.5, 7, 1], np.float32)[:, None, None, None]
    assert np.allclose(predict([network], images * scales, mask, how), found, atol=1e-4)
    assert np.abs(found - plain).max() > 0.01
    assert np.allclose(predict([network], images, mask, dataclasses.replace(how, batch_size=3)), found, atol=1e-6)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items()), "it stays as it was"


def test_the_scan_is_measured_on_patches_of_its_whole_grid(scan):
    """By hand: mean and deviation of each input over all patches, then the weights."""
    torch.manual_seed(0)
    (images, mask), network = scan, Normalized().eval()
    padded = torch.from_numpy(np.pad(images, ((0, 0), (16, 16), (16, 16), (0, 0))))
    cut = torch.stack([padded[:, x : x + 32, y : y + 32, k] for k, x, y in patches.patch_grid(mask, 16, 32)])
    assert len(cut) < inference.MEASURED
    mean, deviation = cut.mean((0, 2, 3)), (cut.var((0, 2, 3)) + 1e-5).sqrt()
    values = (torch.from_numpy(images) - mean[:, None, None, None]) / deviation[:, None, None, None]
    weight, bias = network.leave.weight[..., 0, 0], network.leave.bias
    lesion = torch.einsum("c,cxyk->xyk", weight[1] - weight[0], values) + bias[1] - bias[0]
    expected = np.where(mask, torch.sigmoid(lesion).detach(), 0)
    found = inference.predict([network], images, mask, Sweep(16, patch_size=32, scan_statistics=True)).probability
    assert np.allclose(found, expected, atol=1e-5)


def test_of_many_patches_so_many_at_regular_steps_are_measured(scan, monkeypatch):
    """Three of all: the first, that after a third, that after two thirds."""
    images, mask = scan
    seen, measure = [], inference.measure_normalization
    monkeypatch.setattr(inference, "MEASURED", 3)
    monkeypatch.setattr(inference, "measure_normalization", lambda net, given: seen.extend(given) or measure(net, seen))
    inference.predict([Normalized().eval()], images, mask, Sweep(16, patch_size=32, scan_statistics=True))
    starts = patches.patch_grid(mask, 16, 32)
    padded = torch.from_numpy(np.pad(images, ((0, 0), (16, 16), (16, 16), (0, 0))))
    chosen = starts[[0, len(starts) // 3, 2 * len(starts) // 3]]
    assert torch.equal(seen[0], torch.stack([padded[:, x : x + 32, y : y + 32, k] for k, x, y in chosen]))


def test_a_variant_says_whether_the_scan_is_measured():
    for name, measured in (("rt_sm", False), ("scan_statistics", True)):
        row, how = method(name, load_settings("study"))
        assert inference.sweep(row, how.prediction).scan_statistics is measured


def test_needed_voxels_are_the_same_and_the_rest_is_zero(scan):
    needed = np.zeros_like(scan[1])
    needed[20:25, 20:30, 0] = True
    whole, part = (inference.predict([network(0)], *scan, Sweep(8, patch_size=32), needed=n) for n in (None, needed))
    whole, part = whole.probability, part.probability
    assert np.allclose(part[needed], whole[needed], atol=1e-6) and (part[~needed] == 0).all()


def test_stochastic_passes_are_seeded_and_average_towards_each_other(scan):
    def run(seed, passes):
        how = Sweep(16, passes, dropout=0.3, patch_size=32)
        return inference.predict([network(0)], *scan, how, np.random.default_rng(seed)).probability

    assert np.array_equal(run(1, 3), run(1, 3))
    few, many = (np.abs(run(1, n) - run(2, n)).mean() for n in (2, 16))
    assert 0 < many < 0.6 * few  # 16 passes against 2: the spread should fall by sqrt(8)
    with pytest.raises(ValueError, match="need a generator"):
        inference.predict([network(0)], *scan, Sweep(16, passes=3, patch_size=32))


def test_the_cascade_counts_the_second_where_the_first_sees_lesion(scan):
    first, second, how = network(0), network(3), Sweep(16, patch_size=48)
    p1, p2 = (inference.predict([one], *scan, how).probability for one in (first, second))
    shift = float(np.quantile(p1[scan[1]], 0.5))
    with torch.no_grad():  # move the first network's output so that its 0.1 splits the brain in half
        wanted = np.log(0.1 / 0.9) - np.log(shift / (1 - shift))
        first.leave.bias[1] += float(wanted)
    p1 = inference.predict([first], *scan, how).probability
    both = inference.predict_cascade(first, second, *scan, how)
    counts = p1 > 0.1
    assert 0.2 < counts[scan[1]].mean() < 0.8
    assert np.allclose(both[counts], p2[counts], atol=1e-6) and (both[~counts] == 0).all()


def test_a_stochastic_prediction_does_not_depend_on_the_batch_size(scan):
    one, two = (
        inference.predict(
            [network(0), network(1)], *scan, Sweep(16, 3, 0.3, 32, batch), np.random.default_rng(3)
        ).probability
        for batch in (0, 5)
    )
    assert np.abs(one - two).max() < 1e-5


def test_the_level_of_dropout_changes_stochastic_passes_alone(scan):
    """The more levels drop, the farther the passes lie apart; one pass without dropout knows of no level."""
    def predict(level, passes=3):
        how = Sweep(16, passes, 0.3, 32, level=level)
        return inference.predict([network(0)], *scan, how, np.random.default_rng(3), keep=("spread",) * (passes > 1))

    found = {level: predict(level) for level in (1, 3, 5)}
    usual = inference.predict([network(0)], *scan, Sweep(16, 3, 0.3, 32), np.random.default_rng(3))
    assert np.array_equal(found[3].probability, usual.probability), "3 is the paper's"
    spreads = [found[level].spread[scan[1]].mean() for level in (5, 3, 1)]
    assert spreads == sorted(spreads) and len(set(spreads)) == 3
    assert np.abs(found[5].probability - found[1].probability).max() > 1e-3
    alone = [predict(level, 1).probability for level in (1, 3, 5)]
    assert np.abs(alone[0] - alone[1]).max() < 1e-6 and np.abs(alone[2] - alone[1]).max() < 1e-6
    plain = [inference.predict([network(0)], *scan, Sweep(16, 3, 0.0, 32, level=level), np.random.default_rng(3))
             for level in (1, 5)]  # fmt: skip
    assert np.abs(plain[0].probability - plain[1].probability).max() < 1e-6, "a rate of 0"


@pytest.mark.parametrize(("name", "level"), [("rt_sm_uf", 3), ("dropout_everywhere", 1), ("dropout_deepest", 5)])
def test_a_change_of_level_reaches_the_sweep(name, level):
    row, how = method(name, load_settings("study"))
    made = inference.sweep(row, how.prediction)
    assert made.level == level and made.passes == how.prediction.passes


def test_the_spread_is_that_of_the_passes_of_each_patch(scan):
    """Patches that do not overlap: the spread over the map is the spread between its single passes."""
    images, mask = scan
    how = Sweep(32, 3, 0.3, 32)
    kept = inference.predict([network(0)], images, mask, how, np.random.default_rng(4), keep=("spread",))
    alone = inference.predict([network(0)], images, mask, how, np.random.default_rng(4))
    assert np.array_equal(kept.probability, alone.probability)
    assert alone.spread is None and kept.each is None and kept.spread.dtype == np.float32
    spread = kept.spread
    starts = patches.patch_grid(mask, 32, 32)
    drawn = inference._keys([0], (0.3,) * 3, len(starts), np.random.default_rng(4), "cpu")[0]
    stack = inference._stack(images, 16, "cpu")
    with torch.no_grad():
        batch = patches.gather(stack, starts, 32)
        passes = torch.stack([network(0)(batch, 0.3, key).softmax(1)[:, 1] for key in drawn]).numpy()
    k, i, j = starts[1]
    x, y = slice(max(i - 16, 0), i + 16), slice(max(j - 16, 0), j + 16)
    inside = passes[:, 1, max(16 - i, 0) :, max(16 - j, 0) :][:, : mask[x, y].shape[0], : mask[x, y].shape[1]]
    expected = np.where(mask[x, y, k], inside.std(axis=0), 0)
    assert np.abs(spread[x, y, k] - expected).max() < 1e-5 and spread[mask].min() > 0
    with pytest.raises(ValueError, match="two passes at least"):
        inference.predict([network(0)], images, mask, Sweep(32), keep=("spread",))


def test_networks_kept_apart_are_the_vote_on_average(scan):
    images, mask = scan
    networks, how = [network(0), network(1)], Sweep(16, 3, 0.3, 32)
    kept = inference.predict(networks, images, mask, how, np.random.default_rng(4), keep=("each",))
    vote = inference.predict(networks, images, mask, how, np.random.default_rng(4))
    each = kept.each
    assert each.shape == (2, *mask.shape) and each.dtype == kept.probability.dtype == np.float32
    assert np.array_equal(kept.probability, each.mean(axis=0))
    assert np.abs(kept.probability - vote.probability).max() < 1e-6 and vote.each is None and kept.spread is None
    first = inference.predict(networks[:1], images, mask, how, np.random.default_rng(4)).probability
    assert np.array_equal(each[0], first), "the first network draws as it does alone"
    assert np.abs(each[1] - first).max() > 1e-3


def test_spread_and_networks_can_be_kept_together(scan):
    networks, how = [network(0), network(1)], Sweep(16, 2, 0.3, 32)

    def predict(*keep):
        return inference.predict(networks, *scan, how, np.random.default_rng(4), keep=keep)

    both, spread, each = predict("each", "spread"), predict("spread").spread, predict("each").each
    assert np.array_equal(both.spread, spread) and np.array_equal(both.each, each)
    assert not both.spread[~scan[1]].any() and not both.each[:, ~scan[1]].any()


@pytest.mark.parametrize("keep", [("spred",), "spread", ("each", "all")])
def test_what_cannot_be_kept_is_named(scan, keep):
    with pytest.raises(ValueError, match="keep may hold 'spread' and 'each', got '"):
        inference.predict([network(0)], *scan, Sweep(16, 2), np.random.default_rng(0), keep=keep)


def test_a_variant_takes_several_passes_where_it_filters_by_uncertainty_alone():
    prediction = load_settings("demo").prediction
    assert prediction.passes > 1
    for row in VARIANTS.values():
        how = inference.sweep(row, prediction)
        passes = prediction.passes if row.uncertainty_filtering else 1
        assert how == Sweep(prediction.step, passes, prediction.dropout, row.patch_size, prediction.batch_size)
        assert how.rates == ((prediction.dropout,) * passes if row.uncertainty_filtering else (0.0,))


def test_slices_of_several_groups_are_those_of_each_group_alone(scan):
    """Slices at once share a box; a gap without brain and a last, smaller group change nothing else."""
    images, mask = (np.concatenate([part] * 3, axis=-1)[..., : inference.SLICES_AT_ONCE + 2] for part in scan)
    mask = mask.copy()
    mask[..., 1] = False
    ours = inference.predict_slices([network(0)], images, mask)
    parts = [slice(0, inference.SLICES_AT_ONCE), slice(inference.SLICES_AT_ONCE, None)]
    alone = [inference.predict_slices([network(0)], images[..., p], mask[..., p]) for p in parts]
    assert np.abs(ours - np.concatenate(alone, axis=-1)).max() < 1e-6 and not ours[..., 1].any()
    assert ours[mask].min() > 0


def test_slices_pass_the_box_of_the_brain(scan):
    images, mask = scan
    ours = inference.predict_slices([network(0)], images, mask)
    # The box of this mask is x 10 to 60 and y 8 to 50, widened to 64 x 48: 7 voxels before x, 3 before y.
    with torch.no_grad():
        plain = network(0)(torch.from_numpy(images[None, :, 3:67, 5:53, 0].copy())).softmax(1)[0, 1].numpy()
    assert np.abs(ours[10:60, 8:50, 0] - plain[7:57, 3:45]).max() < 1e-5 and not ours[~mask].any()
    assert not inference.predict_slices([network(0)], images, np.zeros_like(mask)).any()


def test_stochastic_slices_are_seeded_and_need_a_generator(scan):
    def run(seed, passes=3):
        how = Sweep(passes=passes, dropout=0.3)
        return inference.predict_slices([network(0)], *scan, how, np.random.default_rng(seed))

    assert np.array_equal(run(1), run(1)) and not np.array_equal(run(1), run(2))
    assert np.array_equal(run(1, passes=1), inference.predict_slices([network(0)], *scan)), "without dropout"
    with pytest.raises(ValueError, match="need a generator"):
        inference.predict_slices([network(0)], *scan, Sweep(passes=3))


def test_needed_voxels_of_slices_are_the_same_and_the_rest_is_zero(scan):
    needed = np.zeros_like(scan[1])
    needed[20:25, 20:30, 0] = True
    whole, part = (inference.predict_slices([network(0)], *scan, needed=which) for which in (None, needed))
    assert np.array_equal(part[needed], whole[needed]) and part[needed].all() and not part[~needed].any()


@pytest.mark.parametrize("predict", [inference.predict, inference.predict_slices])
def test_a_network_whose_training_diverged_finds_nothing(scan, predict):
    diverged = network(0)
    with torch.no_grad():
        for parameter in diverged.parameters():
            parameter.fill_(np.nan)
    found = predict([diverged], *scan, Sweep(16, patch_size=32))
    probability = getattr(found, "probability", found)
    assert probability.dtype == np.float32 and not probability.any()


@pytest.mark.parametrize("shifts", [2, 3, 4, 16])
def test_shifted_slices_come_back_to_their_place(scan, shifts):
    """A network that passes its input on: each position then gives the same, whatever the shift."""
    images, mask = scan

    class Copy(Network):
        def deterministic(self, x):
            return x

        def stochastic(self, state, rate=0.0, keys=None):
            return torch.cat([torch.zeros_like(state[:, :1]), state[:, :1]], dim=1)

    ours = inference.predict_slices([Copy(5)], images, mask, shifts=shifts)
    assert np.allclose(ours, np.where(mask, 1 / (1 + np.exp(-images[0])), 0), atol=1e-6)
    with pytest.raises(ValueError, match="shifts must be"):
        inference.predict_slices([Copy(5)], images, mask, shifts=0)


@pytest.mark.parametrize("predict", [inference.predict, inference.predict_slices])
def test_bad_arguments_are_named(scan, predict):
    images, mask = scan
    with pytest.raises(ValueError, match="differ in"):
        predict([network(0)], images[:, 1:], mask, Sweep())
    with pytest.raises(ValueError, match="at least one network"):
        predict([], images, mask, Sweep())
    with pytest.raises(ValueError, match="takes 5 modalities, got 3"):
        predict([network(0)], images[:3], mask, Sweep(16))


def test_networks_come_back_from_disk_bit_for_bit(tmp_path, scan):
    saved = network(4)
    path = inference.save_network(tmp_path / "n.safetensors", saved, {"digest": "abc"})
    loaded, facts = inference.load_network(path)
    assert facts["digest"] == "abc" and inference.read_facts(path) == facts
    pairs = zip(saved.state_dict().values(), loaded.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    again = inference.save_network(tmp_path / "m.safetensors", saved, {"digest": "abc"})
    assert path.read_bytes() == again.read_bytes()


def test_another_network_comes_back_as_what_it_is(tmp_path, narrow, scan):
    torch.manual_seed(0)
    saved = make_network(narrow, 5).eval()
    path = inference.save_network(tmp_path / "n.safetensors", saved, {"digest": "abc"})
    loaded, facts = inference.load_network(path)
    assert facts["network"] == narrow and type(loaded) is type(saved)
    maps = [inference.predict([one], *scan, Sweep(16, patch_size=32)).probability for one in (saved, loaded)]
    assert np.array_equal(*maps) and (maps[0][scan[1]] > 0).all()
    path = inference.save_network(path, saved, {"network": "network"})
    with pytest.raises(ValueError, match="delete it and train again"):
        inference.load_network(path)


def test_missing_and_damaged_networks_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="train it first with notebook 05"):
        inference.load_network(tmp_path / "none.safetensors")
    path = inference.save_network(tmp_path / "n.safetensors", network(0), {})
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="delete it and train again"):
        inference.load_network(path)
    assert inference.read_facts(path) == {}


def test_dropout_generators_differ_by_case_and_fold():
    draws = [
        inference.dropout_generator(*key).random(3).tolist()
        for key in ((1, 0, 1), (1, 0, 2), (1, 1, 1), (2, 0, 1), (1, 0, 1))
    ]
    assert draws[0] == draws[4] and len({str(d) for d in draws}) == 4
