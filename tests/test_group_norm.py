import torch
from decoders import check_passes
from torch import nn

from strokelib import group_norm
from strokelib.network import Network, count_parameters


def test_it_has_as_many_parameters_as_the_papers_network_and_nothing_of_the_batch():
    network = group_norm.Network(10)
    assert count_parameters(network) == count_parameters(Network(10))
    kinds = [type(part) for part in network.modules()]
    assert group_norm.GroupNorm in kinds and nn.GroupNorm not in kinds and nn.BatchNorm2d not in kinds


def test_it_normalizes_in_float32_what_comes_in_bf16():
    """CUDA's own refuses bf16 with parameters in float32, which a CPU takes."""
    layer, x = group_norm.GroupNorm(2, 4), torch.randn(3, 4, 5, 5)
    found, whole = layer(x.bfloat16()), nn.functional.group_norm(x.bfloat16().float(), 2, eps=layer.eps)
    assert found.dtype == torch.bfloat16 and torch.equal(found, whole.bfloat16())
    assert torch.equal(layer(x), nn.functional.group_norm(x, 2, layer.weight, layer.bias, layer.eps))


def test_a_patch_is_the_same_whatever_its_batch():
    torch.manual_seed(0)
    network = group_norm.Network(5).train()  # training mode, in which batch normalization would mix them
    images = torch.randn(3, 5, 32, 32)
    assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-5)


def test_shapes_and_stochastic_passes():
    check_passes(group_norm.Network)
