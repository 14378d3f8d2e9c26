import torch
from decoders import check_passes

from strokelib import pointwise
from strokelib.network import Network, count_parameters


def test_two_convolutions_of_one_voxel_stand_before_the_first():
    """42 inputs to 32 maps and 16, a slope each, then 16 in place of 42 to the first 8."""
    own, plain = (count_parameters(kind(42))["total"] for kind in (pointwise.Network, Network))
    assert own - plain == 42 * 32 + 32 + 32 + 32 * 16 + 16 + 16 - 26 * 8 * 9 and own == 594_994


def test_before_its_first_convolution_it_sees_one_voxel():
    torch.manual_seed(0)
    network = pointwise.Network(7).eval()
    images = torch.randn(1, 7, 16, 16)
    other = images.clone()
    other[..., 8, 8] += 1
    with torch.no_grad():
        changed = (network.enter[:4](images) != network.enter[:4](other)).any(dim=1)[0].nonzero()
        around = (network.enter(images) != network.enter(other)).any(dim=1)[0].nonzero()
    assert changed.tolist() == [[8, 8]] and (around - 8).abs().max() == 1


def test_shapes_and_stochastic_passes():
    check_passes(pointwise.Network)
