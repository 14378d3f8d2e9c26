import pytest
import torch
from decoders import check_passes

from strokelib import multi_scale
from strokelib.network import EncoderBlock, Network, count_parameters


@pytest.mark.parametrize("channels", [5, 9, 10])
def test_as_many_parameters_as_the_papers_network(channels):
    assert count_parameters(multi_scale.Network(channels)) == count_parameters(Network(channels))
    assert count_parameters(multi_scale.Network(10))["total"] == 592_610


def test_each_part_sees_voxels_at_its_own_distance():
    """A one in the middle, seen by kernels that are all ones: nine places, 1, 2 or 4 voxels apart."""
    scales, image = multi_scale.Scales(8), torch.zeros(1, 8, 17, 17)
    image[0, 0, 8, 8] = 1
    for part in scales.parts:
        torch.nn.init.ones_(part.weight)
        torch.nn.init.zeros_(part.bias)
    found = scales(image)[0].detach()
    for maps, step in ((slice(0, 4), 1), (slice(4, 6), 2), (slice(6, 8), 4)):
        expected = torch.zeros(17, 17)
        expected[8 - step : 9 + step : step, 8 - step : 9 + step : step] = 1
        assert torch.equal(found[maps], expected.expand(found[maps].shape))


def test_all_blocks_but_the_deepest_reach_five_voxels_far_in_place_of_two():
    torch.manual_seed(0)
    network = multi_scale.Network(5).eval()
    kinds = [type(block.conv1) for block in network.encoder]
    assert kinds == [multi_scale.Scales] * 4 + [torch.nn.Conv2d]
    one, image = torch.zeros(1, 8, 25, 25), torch.randn(1, 8, 25, 25)
    one[0, :, 12, 12] = 1
    plain = EncoderBlock(8, 0.01, 0.0).eval()
    for block, reach in ((network.encoder[0], 5), (plain, 2)):
        with torch.no_grad():
            changed = (block(image + one) != block(image)).any(dim=1)[0].nonzero() - 12
        assert changed.abs().max() == reach


def test_shapes_and_stochastic_passes():
    check_passes(multi_scale.Network)
