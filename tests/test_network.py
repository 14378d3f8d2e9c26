import pytest
import torch

from strokelib.network import Network, PReLU, _drop_voxels, count_parameters, layer_table, make_network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Network(10).eval()


def test_parameters_are_the_papers(network):
    assert count_parameters(network) == {"encoder": 444_984, "decoder": 147_626, "total": 592_610}
    assert round(444_984 / 592_610, 4) == 0.7509
    # Five modalities fewer at the input: 5 maps x 8 x 3 x 3.
    assert count_parameters(Network(5))["total"] == 592_610 - 360


def test_latent_space_is_4_by_4_with_128_maps(network):
    rows = {row["stage"]: row for row in layer_table(network, 64)}
    assert (rows["encoder.4"]["maps"], rows["encoder.4"]["side"]) == (128, 4)
    assert [rows[f"encoder.{level}"]["maps"] for level in range(5)] == [8, 16, 32, 64, 128]
    assert [rows[f"decoder.{level}"]["side"] for level in range(4)] == [64, 32, 16, 8]
    assert sum(row["parameters"] for row in rows.values()) == 592_610


@pytest.mark.parametrize("shape", [(16, 16), (48, 48), (64, 64), (80, 32), (208, 176)])
def test_any_multiple_of_16_keeps_its_size(network, shape):
    with torch.no_grad():
        assert network(torch.zeros(1, 10, *shape)).shape == (1, 2, *shape)


def test_other_sides_and_channels_are_refused(network):
    with pytest.raises(ValueError, match="multiples of 16, got 60 x 64"):
        network(torch.zeros(1, 10, 60, 64))
    with pytest.raises(ValueError, match="takes 10 modalities, got 5"):
        network(torch.zeros(1, 5, 64, 64))


def keys(seed, n):
    return torch.randint(-(2**31), 2**31, (n,), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


def test_dropped_voxels_are_as_random_as_they_should_be():
    """Rate, scale, and independence of patches, places, neighbors and maps, to what 2000 patches can tell."""
    ones = torch.ones(2000, 8, 6, 6).to(memory_format=torch.channels_last)
    for rate in (0.1, 0.5):
        values = _drop_voxels(ones, rate, keys(0, 2000), 2)
        assert values.unique().tolist() == [0, pytest.approx(1 / (1 - rate))]
        dropped = (values == 0).float()
        variance = rate * (1 - rate)
        assert abs(dropped.mean() - rate) < 4 * (variance / dropped.numel()) ** 0.5
        for axes, count in (((0,), 2000), ((1, 2, 3), 288)):  # a voxel over patches, a patch over voxels
            spread = dropped.mean(axes).std()
            assert spread == pytest.approx((variance / count) ** 0.5, rel=0.15)
        centered = dropped - rate
        other = (_drop_voxels(ones, rate, keys(0, 2000), 3) == 0).float() - rate
        for a, b in (
            (centered[:-1], centered[1:]),
            (centered[:, :-1], centered[:, 1:]),
            (centered[..., :-1], centered[..., 1:]),
            (centered, other),
        ):
            assert abs((a * b).mean() / variance) < 5 / a.numel() ** 0.5


def test_what_is_dropped_does_not_depend_on_the_batch(network):
    x, key = torch.randn(6, 10, 32, 32, generator=torch.Generator().manual_seed(1)), keys(5, 6)
    with torch.no_grad():
        whole = network(x, 0.3, key)
        parts = torch.cat([network(x[i : i + 2], 0.3, key[i : i + 2]) for i in (0, 2, 4)])
    assert torch.allclose(whole, parts, atol=1e-5)


def test_prediction_dropout_is_off_at_rate_0_and_seeded_otherwise(network):
    x = torch.randn(2, 10, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(network(x), network(x))

        def draw(seed, rate=0.1):
            return network(x, rate, keys(seed, 2))

        assert torch.equal(draw(1), draw(1))
        assert not torch.equal(draw(1), draw(2))
        assert not torch.equal(draw(1), network(x))


def test_shared_state_gives_the_same_passes_bit_for_bit(network):
    x = torch.randn(2, 10, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        state = network.deterministic(x)
        shared = [network.stochastic(state, 0.1, keys(s, 2)) for s in (1, 2, 3)]
        alone = [network(x, 0.1, keys(s, 2)) for s in (1, 2, 3)]
    assert all(torch.equal(a, b) for a, b in zip(shared, alone, strict=True))


def test_prediction_dropout_leaves_the_shallow_levels_alone(network):
    """Levels 1 and 2 take no dropout: the state holds them, and no rate enters there."""
    x = torch.randn(1, 10, 64, 64, generator=torch.Generator().manual_seed(2))
    seen = {}
    hooks = [
        module.register_forward_hook(lambda _m, inputs, _o, name=name: seen.setdefault(name, []).append(inputs))
        for name, module in (("deep", network.decoder[2]), ("shallow", network.decoder[1]))
    ]
    with torch.no_grad():
        network(x, 0.5, keys(1, 1))
    for hook in hooks:
        hook.remove()
    assert seen["deep"][0][1] == 0.5 and seen["shallow"][0][1] == 0.0


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_prediction_dropout_begins_at_the_level_that_is_asked_for(network, level):
    """No rate enters above it, on the way down and on the way up; from it down to the fifth, one does."""
    x = torch.randn(2, 10, 32, 32, generator=torch.Generator().manual_seed(2))
    seen = {}
    hooks = [
        block.register_forward_pre_hook(lambda _m, inputs, key=(group, at): seen.update({key: inputs[1:2]}))
        for group in ("encoder", "decoder")
        for at, block in enumerate(getattr(network, group), start=1)
    ]
    with torch.no_grad():
        state = network.deterministic(x, level)
        assert len(state) == level + 1, "skips above, the input and what its block begins with"
        assert set(seen) == {("encoder", above) for above in range(1, level)} and not any(seen.values())
        drawn = network.stochastic(state, 0.5, keys(1, 2))
        for hook in hooks:
            hook.remove()
        assert all(seen["encoder", deeper] == (0.5,) for deeper in range(level + 1, 6))
        assert {at: seen["decoder", at] for at in range(1, 5)} == {at: (0.5 * (at >= level),) for at in range(1, 5)}
        again, other = (network.stochastic(state, 0.5, keys(seed, 2)) for seed in (1, 2))
        assert torch.equal(drawn, again) and not torch.equal(drawn, other)
        assert torch.equal(network.stochastic(state), network(x)), "without a rate all levels are the same"


def test_training_dropout_removes_whole_channels_in_deep_blocks_only(network):
    rates = [block.dropout for block in network.encoder]
    assert rates == [0.0, 0.0, 0.2, 0.2, 0.2]


def test_activations_start_with_slope_0_and_the_papers_constants(network):
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(n.eps == 1e-3 and n.momentum == 0.01 for n in norms) and len(norms) == 10 + 4 + 4
    assert all((m.weight == 0).all() for m in network.modules() if isinstance(m, torch.nn.PReLU))


def test_gradients_reach_every_parameter(network):
    torch.manual_seed(0)
    fresh = Network(5).train()
    fresh(torch.randn(4, 5, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in fresh.parameters())


def test_our_prelu_has_torchs_values_and_gradients():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 6, 5, generator=generator)
    x[0, 0, 0, 0] = 0.0  # the kink belongs to the lower side in both
    gradient = torch.randn(3, 4, 6, 5, generator=generator)
    results = []
    for layer in (PReLU(4, init=0.3), torch.nn.PReLU(4, init=0.3)):
        inputs = x.clone().to(memory_format=torch.channels_last).requires_grad_()
        output = layer(inputs)
        output.backward(gradient)
        results.append((output, inputs.grad, layer.weight.grad))
    for ours, torchs in zip(*results, strict=True):
        assert torch.allclose(ours, torchs, rtol=1e-6, atol=1e-6)


def test_a_network_is_made_by_the_name_of_its_module(narrow):
    made = make_network("network", 5, dropout=0.3, momentum=0.05)
    assert type(made) is Network and made.in_channels == 5
    same = Network(5, dropout=0.3, momentum=0.05)
    assert str(made) == str(same), "dropout and momentum, too"
    other = make_network(narrow, 5)
    assert type(other).__module__ == "strokelib.narrow" and other.in_channels == 5
    assert count_parameters(other)["total"] < count_parameters(made)["total"]


@pytest.mark.parametrize("kind", ["", "..network", "run.runtime", "no network", "1"])
def test_what_names_no_module_beside_this_one_is_refused(kind):
    with pytest.raises(ValueError, match="a network is named by its module in strokelib"):
        make_network(kind, 5)


def test_a_module_that_is_not_there_or_holds_no_network_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"strokelib\.nowhere"):
        make_network("nowhere", 5)
    with pytest.raises(AttributeError, match=r"strokelib\.losses.* no attribute 'Network'"):
        make_network("losses", 5)
