import pytest
import torch
from decoders import check_passes

from strokelib import one_encoder_each
from strokelib.network import Network, count_parameters


def test_about_as_many_parameters_as_the_papers_network():
    """Five encoders of 4, 8, 16, 32 maps, two convolutions m x m x 9 a block; what fuses them; a block of 128 maps."""
    blocks = 5 * sum(2 * (9 * m * m + m) + 2 * 3 * m for m in (4, 8, 16, 32))
    downs = 5 * sum(9 * m * m + m + 3 * m for m in (4, 8, 16)) + 9 * 64 * 64 + 64 + 3 * 64
    fused = sum(5 * m // 2 * m + m for m in (8, 16, 32, 64)) + 160 * 64 + 64
    deepest, enter = 2 * (9 * 128 * 128 + 128) + 2 * 3 * 128, 5 * (9 * 4 + 4)
    found = count_parameters(one_encoder_each.Network(5))
    assert found == {"encoder": blocks + downs + fused + deepest + enter, "decoder": 147_626, "total": 645_386}
    assert found["total"] == pytest.approx(count_parameters(Network(10))["total"], rel=0.1)


def test_no_encoder_sees_another_modality():
    torch.manual_seed(0)
    network = one_encoder_each.Network(3).eval()
    images = torch.randn(2, 3, 32, 32)
    other = images.clone()
    other[:, 1] = torch.randn(2, 32, 32)
    with torch.no_grad():
        # The unfused features of the four upper levels, and at the last of them what comes before the dropout.
        for before, after in zip(network.deterministic(images, 4), network.deterministic(other, 4), strict=True):
            before, after = (features.unflatten(1, (3, -1)) for features in (before, after))
            assert torch.equal(before[:, [0, 2]], after[:, [0, 2]]) and not torch.equal(before[:, 1], after[:, 1])
        assert not torch.equal(network(images), network(other))


def test_maps_double_and_dropout_reaches_each_modality():
    network = one_encoder_each.Network(3)
    assert [block.maps for block in network.encoder] == [12, 24, 48, 96, 128]
    kept = network.draw_kept(2, torch.Generator().manual_seed(1))
    assert [None if mask is None else mask.shape[1] for mask in kept] == [None, None, 48, 96, 128]
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    assert not torch.equal(network.eval()(images, kept=kept), network(images))


def test_shapes_and_stochastic_passes():
    check_passes(one_encoder_each.Network)


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = one_encoder_each.Network(5)
    network(torch.randn(4, 5, 64, 64)).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in network.named_parameters() if "before" not in name)
