import torch
from decoders import check_passes
from torch.nn import functional

from strokelib import deep_supervision, losses
from strokelib.network import Network, count_parameters


def test_two_convolutions_of_one_voxel_are_added():
    """16 and 32 maps to two logits each: 2 (16 + 1) + 2 (32 + 1)."""
    own, plain = (count_parameters(kind(10)) for kind in (deep_supervision.Network, Network))
    assert own["total"] == 592_710 and own["total"] - plain["total"] == 2 * 17 + 2 * 33
    assert own["encoder"] == plain["encoder"], "what is read off the decoder belongs to it"


def test_while_it_trains_it_says_what_coarser_levels_see_and_at_prediction_the_finest_alone():
    torch.manual_seed(0)
    network, images = deep_supervision.Network(5).train(), torch.randn(2, 5, 32, 48)
    found = network(images)
    assert len(found) == 3 and all(logits.shape == (2, 2, 32, 48) for logits in found)
    for logits, step in zip(found[1:], (2, 4), strict=True):  # linear between the middles of step x step places
        small = functional.avg_pool2d(logits, step)
        again = functional.interpolate(small, scale_factor=step, mode="bilinear", align_corners=False)
        inner = (..., slice(2 * step, -2 * step), slice(2 * step, -2 * step))
        spread = logits[inner].std()
        assert (again - logits)[inner].abs().mean() < 0.5 * spread
    alone = network.eval()(images)
    assert torch.is_tensor(alone) and alone.shape == (2, 2, 32, 48)
    plain = Network(5).eval()
    plain.load_state_dict({key: value for key, value in network.state_dict().items() if "coarser" not in key})
    assert torch.equal(plain(images), alone), "at prediction it is the paper's network"


def test_shapes_and_stochastic_passes():
    check_passes(deep_supervision.Network)


def test_every_parameter_learns():
    torch.manual_seed(0)
    network, target = deep_supervision.Network(5), (torch.rand(4, 64, 64) < 0.3).float()
    sum(losses.gdl_cross_entropy(logits, target) for logits in network(torch.randn(4, 5, 64, 64))).backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in network.named_parameters() if "before" not in name)
