import torch

from strokelib import bare_decoder
from strokelib.network import count_parameters


def test_what_leads_up_is_all_that_is_left():
    """Transposed convolutions from 2 m to m maps, and 8 maps to 2 classes."""
    left = sum(2 * m * m * 9 + m for m in (8, 16, 32, 64)) + 8 * 2 * 9 + 2
    assert count_parameters(bare_decoder.Network(10)) == {"encoder": 444_984, "decoder": left, "total": 444_984 + left}
    assert left == 98_186


def test_shapes_and_stochastic_passes():
    torch.manual_seed(0)
    network = bare_decoder.Network(5).eval()
    images, keys = torch.randn(2, 5, 32, 48), torch.tensor([1, 2], dtype=torch.int32)
    with torch.no_grad():
        plain, state = network(images), network.deterministic(images)
        assert plain.shape == (2, 2, 32, 48) and torch.equal(plain, network.stochastic(state))
        assert not torch.equal(plain, network.stochastic(state, 0.3, keys))
